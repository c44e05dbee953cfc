"""Inference: the class probabilities of many rows, by equal networks in each library."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from arraymlp.backends.array import HostArray
from benchmarks.peers import AbsentError, Task, imported
from benchmarks.rounds import (
    OURS,
    Candidate,
    Goal,
    Plan,
    Result,
    blas_threads,
    measure,
    timed,
    torch_threads,
)
from benchmarks.training import make_task, mnist

Predict = Callable[[], HostArray]
CHUNK = 1000


def case_h(plan: Plan) -> list[Result]:
    """`predict_proba` of the lab's network."""
    task = make_task(mnist(), (100, 100), 100, plan)
    X, n = task.X, len(task.X)
    makers: dict[str, tuple[Callable[[], Predict], Any]] = {
        OURS: (lambda: lambda: np.asarray(task.network.predict_proba(X)), blas_threads),
        "PyTorch": (lambda: torch_predict(task, n), torch_threads),
        f"PyTorch, {CHUNK:,} rows at once": (lambda: torch_predict(task, CHUNK), torch_threads),
        "JAX": (lambda: jax_predict(task), None),
        "scikit-learn": (lambda: sklearn_predict(task), blas_threads),
    }
    sizes = "-".join(map(str, task.network.sizes))
    result = Result("h", f"{sizes}: probabilities of {n:,} rows", n)
    expected = task.network.predict_proba(X)
    work: dict[str, Candidate | str] = {}
    most_apart = 0.0
    for name, (make, threads) in makers.items():
        if not plan.peers and name.startswith(("PyTorch", "JAX")):
            work[name] = "left out"
            continue
        try:
            predict = make()
        except AbsentError as error:
            work[name] = str(error)
            continue
        difference = float(np.max(np.abs(predict() - expected)))
        assert difference < 1e-5, f"{name}: from equal weights probabilities differ by {difference}"
        most_apart = max(most_apart, difference)
        work[name] = Candidate(timed(predict), threads)
        if name != OURS:
            result.goals[name] = Goal(OURS, 1.1 if name == "JAX" else 1.0)
    result.notes.append(f"the probabilities differ by at most {most_apart:.0e}")
    return [measure(result, work, plan.share(3))]


def torch_predict(task: Task, rows: int) -> Predict:
    """PyTorch, ``rows`` at once."""
    torch = imported("torch")
    X, parameters = torch.from_numpy(task.X), [torch.from_numpy(a) for a in task.parameters]

    def forward(x: Any) -> Any:
        for i in range(0, len(parameters), 2):
            x = x @ parameters[i] + parameters[i + 1]
            if i < len(parameters) - 2:
                x = torch.relu_(x)
        return torch.softmax(x, dim=1)

    def predict() -> HostArray:
        with torch.inference_mode():
            if rows == len(X):
                return forward(X).numpy()  # type: ignore[no-any-return]
            return torch.cat([forward(x) for x in X.split(rows)]).numpy()  # type: ignore[no-any-return]

    return predict


def jax_predict(task: Task) -> Predict:
    """JAX, compiled."""
    jax = imported("jax")
    import jax.numpy as jnp

    X, parameters = jnp.asarray(task.X), [jnp.asarray(a) for a in task.parameters]

    def forward(parameters: Any, x: Any) -> Any:
        for i in range(0, len(parameters), 2):
            x = x @ parameters[i] + parameters[i + 1]
            if i < len(parameters) - 2:
                x = jnp.maximum(x, 0)
        return jax.nn.softmax(x)

    compiled = jax.jit(forward)
    return lambda: np.asarray(compiled(parameters, X))


def sklearn_predict(task: Task) -> Predict:
    """scikit-learn, with our weights in place of those of a short fit."""
    model = MLPClassifier(task.network.sizes[1:-1], max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(task.X[:1000], task.y[:1000])
    parameters = task.parameters
    model.coefs_, model.intercepts_ = parameters[::2], [b[0] for b in parameters[1::2]]
    return lambda: model.predict_proba(task.X)
