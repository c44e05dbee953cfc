"""Training: an epoch in arraymlp, in its peers, and the bare products that it contains."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

import arraymlp
from arraymlp.backends.array import HostArray
from benchmarks.peers import (
    AbsentError,
    Epoch,
    Task,
    jax_scan,
    ours,
    scikit_learn,
    torch_compiled,
    torch_eager,
)
from benchmarks.products import bare_epoch
from benchmarks.rounds import (
    ARRAY,
    BARE,
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

PEERS: dict[str, Callable[[Task], Epoch]] = {
    "PyTorch": torch_eager,
    "torch.compile": torch_compiled,
    "JAX": jax_scan,
    "scikit-learn": scikit_learn,
}
THREADS: dict[str, Any] = {"PyTorch": torch_threads, "torch.compile": torch_threads, "JAX": None}
FASTER = {name: Goal(OURS, 1.0) for name in PEERS}
TOLERANCE = 1e-4  # of a mean loss after an epoch in float32


@cache
def mnist() -> tuple[HostArray, HostArray]:
    """The 60,000 training images as float32, and their digits."""
    data = arraymlp.datasets.load_mnist(dtype="float32")
    return data.X_train, data.y_train.astype(np.int64)


def synthetic(rows: int, features: int, classes: int) -> tuple[HostArray, HostArray]:
    """Standard normal features, and classes that a linear rule gives."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), dtype=np.float32)
    return X, np.argmax(X @ rng.standard_normal((features, classes)), axis=1)


def make_task(
    data: tuple[HostArray, HostArray], hidden: tuple[int, ...], batch: int, plan: Plan, **given: Any
) -> Task:
    """A task on as many rows of the data as the plan says."""
    rows = plan.rows(len(data[0]), batch)
    X, y = data[0][:rows], data[1][:rows]
    drawn = arraymlp.train(X, y, hidden=hidden, epochs=0, backend="numpy")
    return Task(X, y, drawn.network, batch, **given)


def case_a(plan: Plan) -> list[Result]:
    """The lab's network on MNIST."""
    goals = {"PyTorch": Goal(OURS, 1.8), "JAX": Goal(OURS, 1.3), "scikit-learn": Goal(OURS, 2.0)}
    task = make_task(mnist(), (100, 100), 100, plan)
    return both_orders("a", task, plan, FASTER | goals, (1.05, 1.1))


def case_b(plan: Plan) -> list[Result]:
    """Many rows of few features."""
    data = synthetic(199_936, 28, 2)
    goals = FASTER | {"JAX": Goal(OURS, 1.15)}
    return both_orders("b", make_task(data, (256, 256), 256, plan), plan, goals)


def case_c(plan: Plan) -> list[Result]:
    """Layers so wide that the products are nearly all there is."""
    data = synthetic(10_240, 784, 10)
    task = make_task(data, (1024, 1024), 512, plan)
    return both_orders("c", task, plan, FASTER, (1.05, 1.05))


def case_g(plan: Plan) -> list[Result]:
    """Case a with Adam and dropout. Losses are compared without dropout: masks differ."""
    with_dropout = make_task(mnist(), (100, 100), 100, plan, adam=True, rate=0.001, dropout=0.2)
    compared = with_dropout.without_dropout(min(len(with_dropout.X), 3000))
    losses = {
        name: epoch(len(compared.X), False)[1]
        for name, epoch in implementations(compared, plan).items()
        if not isinstance(epoch, str) and name != "scikit-learn"  # which has no dropout
    }
    notes = [f"without dropout, {len(compared.X):,} rows: {note}" for note in agreement(losses)]
    goals = FASTER | {"JAX": Goal(OURS, 1.5)}
    results = both_orders("g", with_dropout, plan, goals, (1.15, 1.15))
    results[0].notes += notes
    return results


def implementations(task: Task, plan: Plan) -> dict[str, Epoch | str]:
    """Each library's epoch, or why it is absent."""
    epochs: dict[str, Epoch | str] = {OURS: ours(task, "auto"), ARRAY: ours(task, "array")}
    for name, make in PEERS.items():
        if not plan.peers and name != "scikit-learn":
            epochs[name] = "left out"
            continue
        try:
            epochs[name] = make(task)
        except AbsentError as error:
            epochs[name] = str(error)
    return epochs


def both_orders(
    case: str,
    task: Task,
    plan: Plan,
    goals: dict[str, Goal],
    of_bare: tuple[float | None, float | None] = (None, None),
) -> list[Result]:
    """Rows in order, with losses compared, then shuffled, on the same number of threads.

    Args:
        case: its letter.
        task: what to do.
        plan: how long to measure.
        goals: for the peers' times.
        of_bare: the most that ours is to take of the bare products' time, in either order.
    """
    epochs = implementations(task, plan)
    n = len(task.X)
    short = min(n, max(4, n // 10 // task.batch) * task.batch)
    losses: dict[bool, dict[str, Any]] = {False: {}, True: {}}

    def run(name: str, epoch: Epoch, rows: int, shuffled: bool) -> float:
        seconds, loss = epoch(rows, shuffled)
        assert loss is None or np.isfinite(loss), f"{name}: the loss is {loss}"
        if rows == n:
            losses[shuffled][name] = loss
        return seconds

    whole, few = (bare_epoch(task.X[:rows], task.network.sizes, task.batch) for rows in (n, short))
    how = f"{'Adam' if task.adam else 'SGD'}{f', dropout {task.dropout}' if task.dropout else ''}"
    title = f"{'-'.join(map(str, task.network.sizes))}, batch {task.batch}, {how}, {n:,} rows"
    results: list[Result] = []
    for shuffled, bound in zip((False, True), of_bare, strict=True):
        bare = Candidate(timed(whole), blas_threads, timed(few))
        work: dict[str, Candidate | str] = {BARE: bare}
        for name, epoch in epochs.items():
            if isinstance(epoch, str):
                work[name] = epoch
                continue
            threads = THREADS.get(name, blas_threads)
            trial = partial(run, name, epoch, short, shuffled) if threads else None
            work[name] = Candidate(partial(run, name, epoch, n, shuffled), threads, trial)
        order = "shuffled" if shuffled else "in order"
        aims = goals if bound is None else {OURS: Goal(BARE, bound), **goals}
        result = Result(case, f"{title}, {order}: an epoch", n, goals=aims)
        result.threads = dict(results[0].threads) if results else {}
        results.append(measure(result, work, plan.share(2)))
    if not task.dropout:
        results[0].notes += agreement(losses[False])
    return results


def agreement(losses: dict[str, Any]) -> list[str]:
    """A note on how much the losses differ from ours; one that is None cannot be compared.

    Raises:
        AssertionError: by more than rounding explains: something else was computed.
    """
    apart = {
        name: float(np.max(np.abs(loss - losses[OURS])))
        for name, loss in losses.items()
        if loss is not None and name != OURS
    }
    far = [f"{name}'s by {a:.1e}" for name, a in apart.items() if not a <= TOLERANCE]
    assert not far, f"from equal weights the losses differ from ours: {', '.join(far)}"
    if not apart:
        return []
    left_out = [name for name, loss in losses.items() if loss is None]
    but = f"; {', '.join(left_out)} draws its own weights" if left_out else ""
    return [f"from equal weights the mean losses differ by at most {max(apart.values()):.0e}{but}"]
