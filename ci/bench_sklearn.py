"""Time `MLPClassifier.fit` against scikit-learn's: the same data, dtype, network and steps.

Called by ci/bench. Both run in one process, in turn, each with every number of BLAS threads, and
keep their better one. The bare matrix products of the same steps say how fast a fit could be.
"""

import statistics
import warnings
from functools import partial
from itertools import pairwise, product
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs
from threadpoolctl import threadpool_limits

from arraymlp import MLPClassifier, load_mnist
from arraymlp.backend import HostArray

SIZES, GOAL = (784, 100, 100, 10), 2.0
CASES = list(product(("float32", "float64"), ("adam", "sgd"), (200, 100)))


def products(X: HostArray, batch: int) -> float:
    """Seconds of the products of one epoch, into preallocated outputs."""
    rng = np.random.default_rng(0)
    weights = [rng.random(shape).astype(X.dtype) for shape in pairwise(SIZES)]
    sums = [np.empty((batch, n), X.dtype) for n in SIZES[1:]]
    gradients = [np.empty_like(w) for w in weights]
    started = perf_counter()
    for start in range(0, len(X), batch):
        passes = [X[start : start + batch], *sums]
        for x, w, s in zip(passes, weights, sums, strict=False):
            np.matmul(x, w, out=s)
        for i in reversed(range(len(weights))):
            np.matmul(passes[i].T, sums[i], out=gradients[i])
            if i > 0:
                np.matmul(sums[i], weights[i].T, out=sums[i - 1])
    return perf_counter() - started


def fit(kind: Any, X: HostArray, y: HostArray, **given: Any) -> float:
    """Seconds of one epoch in a fit of one, whose data checks and set-up count too."""
    estimator = kind(SIZES[1:-1], max_iter=1, random_state=0, **given)
    started = perf_counter()
    estimator.fit(X, y)
    assert estimator.n_iter_ == 1
    return perf_counter() - started


def compare(repeats: int, threads: list[int]) -> list[dict[str, Any]]:
    """A row for each dtype, solver and batch size."""
    mnist = load_mnist(dtype="float32")
    rows = []
    for dtype, solver, batch in CASES:
        X, y = mnist.X_train.astype(dtype), mnist.y_train
        given = {"solver": solver, "batch_size": batch}
        work = {
            "products": partial(products, X, batch),
            "arraymlp": partial(fit, MLPClassifier, X, y, **given),
            "scikit-learn": partial(fit, Theirs, X, y, **given),
        }
        times: dict[tuple[str, int], list[float]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after one epoch, of course
            for round_ in range(repeats + 1):
                for name, t in product(work, threads):
                    with threadpool_limits(t, user_api="blas"):
                        seconds = work[name]()
                    if round_:  # the first round warms up
                        times.setdefault((name, t), []).append(seconds)
        row: dict[str, Any] = {"dtype": dtype, "solver": solver, "batch": batch}
        best = {}
        for name in work:
            medians = {t: statistics.median(times[name, t]) for t in threads}
            t = min(medians, key=medians.__getitem__)
            best[name], row[name] = times[name, t], {"seconds": medians[t], "threads": t}
        pairs = zip(best["scikit-learn"], best["arraymlp"], strict=True)
        row["times_faster"] = statistics.median(theirs / ours for theirs, ours in pairs)
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    print(
        f"\nMLPClassifier.fit, {'-'.join(map(str, SIZES))}, 60,000 rows, shuffled; seconds an epoch"
        " (threads), each at its better number of threads"
    )
    print("  dtype    solver  batch   products        arraymlp        scikit-learn    times faster")
    for row in rows:
        cells = "  ".join(
            f"{row[name]['seconds']:.3f} s ({row[name]['threads']})   "
            for name in ("products", "arraymlp", "scikit-learn")
        )
        print(
            f"  {row['dtype']:8} {row['solver']:7} {row['batch']:5}   {cells}  "
            f"{row['times_faster']:.2f}"
        )
    print(f"  (goal: {GOAL:.0f} times)")
