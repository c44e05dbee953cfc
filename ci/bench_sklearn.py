"""Time `MLPClassifier.fit` against scikit-learn's: the same data, dtype, network and steps.

Called by ci/bench. Both run in one process, in turn, with every number of BLAS threads; they are
compared on one thread, and each on its better number. (Ours limits itself to one for products of
this size.) The bare matrix products of the same steps say how fast a fit could be.
"""

import statistics
import warnings
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any

from products import bare_epoch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs
from threadpoolctl import threadpool_limits

from arraymlp import MLPClassifier, load_mnist
from arraymlp.backend import HostArray

SIZES, EPOCHS, GOAL = (784, 100, 100, 10), 3, 2.0
NAMES = ("products", "arraymlp", "scikit-learn")
CASES = list(product(("float32", "float64"), ("adam", "sgd"), (200, 100)))


def products(X: HostArray, batch: int) -> float:
    """Seconds of the products of one epoch."""
    epoch = bare_epoch(X, SIZES, batch)
    started = perf_counter()
    epoch()
    return perf_counter() - started


def fit(kind: Any, X: HostArray, y: HostArray, **given: Any) -> float:
    """Seconds of one of a fit's epochs, on which its data checks and set-up are spread."""
    estimator = kind(SIZES[1:-1], max_iter=EPOCHS, random_state=0, **given)
    started = perf_counter()
    estimator.fit(X, y)
    seconds = perf_counter() - started
    assert estimator.n_iter_ == EPOCHS
    return seconds / EPOCHS


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
        medians = {key: statistics.median(values) for key, values in times.items()}
        better = {name: min((medians[name, t], t) for t in threads)[1] for name in work}
        rows.append(
            {
                "dtype": dtype,
                "solver": solver,
                "batch": batch,
                "seconds": {f"{name}, {t} threads": v for (name, t), v in medians.items()},
                "threads": better,
                "times_faster_on_one_thread": _ratio(times, 1, 1),
                "times_faster": _ratio(times, better["scikit-learn"], better["arraymlp"]),
            }
        )
    return rows


def _ratio(times: dict[tuple[str, int], list[float]], theirs: int, ours: int) -> float:
    """Median over the rounds of scikit-learn's time over ours, on so many threads."""
    pairs = zip(times["scikit-learn", theirs], times["arraymlp", ours], strict=True)
    return statistics.median(a / b for a, b in pairs)


def report(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    print(
        f"\nMLPClassifier.fit, {'-'.join(map(str, SIZES))}, 60,000 rows, shuffled: seconds an "
        "epoch, set-up included (threads)"
    )
    print(
        "  dtype    solver  batch   one thread: products  arraymlp  scikit-learn  ratio"
        "   each at its better: arraymlp   scikit-learn   ratio"
    )
    for row in rows:
        of, best = row["seconds"], row["threads"]
        one = "  ".join(f"{of[f'{n}, 1 threads']:.3f} s" for n in NAMES)
        own = "  ".join(f"{of[f'{n}, {best[n]} threads']:.3f} s ({best[n]})" for n in NAMES[1:])
        print(
            f"  {row['dtype']:8} {row['solver']:7} {row['batch']:5}   {one}  "
            f"{row['times_faster_on_one_thread']:.2f}   {own}  {row['times_faster']:.2f}"
        )
    print(f"  (goal: {GOAL:.0f} times)")
