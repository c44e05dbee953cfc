"""Populations against the bare products, against solo runs, and against peers that can do it."""

import statistics
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
from products import folded_epoch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from threadpoolctl import threadpool_limits

import arraymlp
from arraymlp.backend import HostArray

SIZES, BATCH, ROWS, RATE, EPOCHS = (784, 100, 100, 10), 100, 12_000, 0.01, 2
Layers = list[tuple[HostArray, HostArray]]


def alternated(work: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, all of them in turn in each round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(repeats + 1):
        for name, do in work.items():
            started = perf_counter()
            do()
            if round_:
                times[name].append(perf_counter() - started)
    return times


def limited(do: Callable[[], Any], threads: int) -> Callable[[], Any]:
    """The same with so many BLAS threads."""

    def run() -> Any:
        with threadpool_limits(threads, user_api="blas"):
            return do()

    return run


def sixteen(k: int, repeats: int, threads: Sequence[int]) -> dict[str, Any]:
    """K networks 784-100-100-10: seconds an epoch, and the loss that each arrives at."""
    mnist = arraymlp.load_mnist()
    X, y = mnist.X_train[:ROWS], mnist.y_train[:ROWS].astype(np.int32)
    losses: dict[str, list[float]] = {}
    drawn = arraymlp.train(X, y, seed=list(range(k)), epochs=0, backend="numpy").network
    layers: Layers = [(layer.weights, layer.bias) for layer in drawn.layers]

    def ours() -> None:
        found = arraymlp.sweep(
            X, y, seed=range(k), optimizer="sgd", learning_rate=RATE, epochs=EPOCHS,
            shuffle=False, batch_size=BATCH, backend="numpy",
        )  # fmt: skip
        losses["arraymlp"] = [member.history["loss"][-1] for member in found]

    products = folded_epoch(X, SIZES, BATCH, k)

    def bare() -> None:
        for _ in range(EPOCHS):
            products()

    work = {f"bare products, {t} threads": limited(bare, t) for t in threads} | {"arraymlp": ours}
    if find_spec("jax"):
        jax_epochs = jax_population(X, y, layers)

        def with_jax() -> None:
            losses["jax vmap(scan)"] = jax_epochs()

        work["jax vmap(scan)"] = with_jax
    if find_spec("torch"):
        for t in threads:
            name = f"torch.func, {t} threads"
            torch_epochs = torch_population(X, y, layers, t)

            def with_torch(name: str = name, go: Callable[[], list[float]] = torch_epochs) -> None:
                losses[name] = go()

            work[name] = with_torch
    times = alternated(work, repeats)
    agree = {
        name: float(np.max(np.abs(np.subtract(v, losses["arraymlp"]))))
        for name, v in losses.items()
    }
    assert max(agree.values()) < 1e-4, f"the losses differ: {agree}"
    return {name: [t / EPOCHS for t in values] for name, values in times.items()}


def jax_population(X: HostArray, y: HostArray, layers: Layers) -> Callable[[], list[float]]:
    """The same training in JAX: vmap over members of a scan over minibatches, compiled."""
    import jax
    import jax.numpy as jnp

    xs = jnp.asarray(X.reshape(-1, BATCH, X.shape[1]))
    ys = jnp.asarray(y.reshape(-1, BATCH))

    def loss(params: Any, x: Any, t: Any) -> Any:
        for i, (w, b) in enumerate(params):
            x = x @ w + b
            x = jnp.maximum(x, 0) if i < len(params) - 1 else x
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1))

    def step(params: Any, batch: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, *batch)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), value

    epoch = jax.jit(jax.vmap(lambda p: jax.lax.scan(step, p, (xs, ys))))
    first = [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers]

    def go() -> list[float]:
        params = first
        for _ in range(EPOCHS):
            params, values = epoch(params)
        return [float(v) for v in values.mean(axis=1)]

    return go


def torch_population(
    X: HostArray, y: HostArray, layers: Layers, threads: int
) -> Callable[[], list[float]]:
    """The same training in PyTorch: torch.func's vmap of grad_and_value, step by step."""
    import torch
    from torch.func import grad_and_value, vmap

    x_all, y_all = torch.from_numpy(X), torch.from_numpy(y.astype(np.int64))

    def loss(params: Any, x: Any, t: Any) -> Any:
        for i in range(0, len(params), 2):
            x = x @ params[i] + params[i + 1]
            x = torch.relu(x) if i < len(params) - 2 else x
        return torch.nn.functional.cross_entropy(x, t)

    both = vmap(grad_and_value(loss), in_dims=(0, None, None))

    def go() -> list[float]:
        torch.set_num_threads(threads)
        params = tuple(torch.from_numpy(a.copy()) for pair in layers for a in pair)
        for _ in range(EPOCHS):
            total = torch.zeros(len(layers[0][0]))
            for start in range(0, len(X), BATCH):
                grads, values = both(
                    params, x_all[start : start + BATCH], y_all[start : start + BATCH]
                )
                with torch.no_grad():
                    for p, g in zip(params, grads, strict=True):
                        p.sub_(g, alpha=RATE)
                    total += values
        return [float(v) for v in total / (len(X) // BATCH)]

    return go


def tiny(repeats: int) -> dict[str, list[float]]:
    """64 networks 20-16-3 on 2,000 rows, 10 epochs: together, one by one, and scikit-learn's."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 20)).astype(np.float32)
    y = np.argmax(X @ rng.normal(size=(20, 3)), axis=1)
    common: dict[str, Any] = {"hidden": (16,), "learning_rate": 0.05, "optimizer": "sgd"}
    common |= {"epochs": 10, "batch_size": 100, "backend": "numpy"}

    def scikit_learn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for seed in range(64):
                SklearnClassifier(
                    (16,), solver="sgd", momentum=0, learning_rate_init=0.05, batch_size=100,
                    alpha=0, max_iter=10, tol=0, n_iter_no_change=10, random_state=seed,
                ).fit(X, y)  # fmt: skip

    def solo() -> None:
        for seed in range(64):
            arraymlp.train(X, y, seed=seed, **common)

    work = {
        "together": lambda: arraymlp.sweep(X, y, seed=range(64), **common),
        "one by one": solo,
        "scikit-learn": limited(scikit_learn, 1),
    }
    return alternated(work, repeats)


def search(repeats: int, dtype: str) -> dict[str, Any]:
    """24 settings x 5 folds on digits, 50 epochs each: seconds, and the best mean scores."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(dtype)
    grid = {
        "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
        "learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    }
    same: dict[str, Any] = {"max_iter": 50, "tol": 0.0, "n_iter_no_change": 50, "random_state": 0}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found: dict[str, Any] = {}

    def peer() -> None:
        model = GridSearchCV(SklearnClassifier(**same), grid, cv=folds, n_jobs=2, refit=False)
        found["scikit-learn"] = model.fit(X, y)

    def ours() -> None:
        model = arraymlp.MLPSearchCV(arraymlp.MLPClassifier(**same), grid, cv=folds, refit=False)
        found["arraymlp"] = model.fit(X, y)

    # 24 networks on each of 5 folds of 7 whole minibatches; the eighth, of 37 rows, is left out.
    products = folded_epoch(X[:1400], (64, 100, 10), 200, 24)

    def bare() -> None:
        for _ in range(5 * 50):
            products()

    work = {"bare products": limited(bare, 2), "arraymlp": ours, "scikit-learn": limited(peer, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        times = alternated(work, repeats)
    best = {name: float(model.best_score_) for name, model in found.items()}
    i = found["scikit-learn"].best_index_
    spread = float(found["scikit-learn"].cv_results_["std_test_score"][i]) / len(range(5)) ** 0.5
    return {"seconds": times, "best": best, "standard_error": spread, "dtype": dtype}


def compare_populations(repeats: int, threads: Sequence[int]) -> dict[str, Any]:
    """All of it, as figures."""
    return {
        "784-100-100-10": {str(k): sixteen(k, repeats, threads) for k in (1, 4, 16)},
        "64 x 20-16-3": tiny(repeats),
        "search": [search(max(1, repeats // 3), dtype) for dtype in ("float64", "float32")],
    }


def report_populations(figures: dict[str, Any]) -> None:
    """Print it."""
    median = statistics.median
    print("\npopulations of 784-100-100-10: milliseconds an epoch of 12,000 rows, each network's")
    for k, measured in figures["784-100-100-10"].items():
        each = {name: 1000 * median(values) / int(k) for name, values in measured.items()}
        ratio = each["arraymlp"] / min(v for name, v in each.items() if name.startswith("bare"))
        cells = ", ".join(f"{name} {v:.0f}" for name, v in each.items())
        print(f"  K = {k}: {cells}; ours {ratio:.2f} times bare (goal for 16: at most 1.35)")
    print("\n64 networks 20-16-3, 2,000 rows, 10 epochs")
    each = {name: median(values) for name, values in figures["64 x 20-16-3"].items()}
    for name, goal in (("one by one", 10), ("scikit-learn", 30)):
        together, other = each["together"], each[name]
        times = f"together {together:.2f} s, {name} {other:.2f} s"
        print(f"  {times}: {other / together:.1f} times (goal: {goal})")
    print("\n24 settings x 5 folds on digits, 50 epochs, against GridSearchCV(n_jobs=2)")
    for found in figures["search"]:
        ours, theirs = (median(found["seconds"][name]) for name in ("arraymlp", "scikit-learn"))
        a, b = found["best"]["arraymlp"], found["best"]["scikit-learn"]
        bare = median(found["seconds"]["bare products"])
        times = f"{found['dtype']}: {ours:.1f} s and {theirs:.1f} s (bare products {bare:.1f} s)"
        scores = f"{a:.4f} and {b:.4f} (standard error {found['standard_error']:.4f})"
        print(f"  {times}: {theirs / ours:.1f} times (goal: 5); best mean score {scores}")
