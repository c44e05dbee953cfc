"""`MLPClassifier.fit` against scikit-learn's: the same data, dtype, network and steps."""

import warnings
from functools import partial
from itertools import product
from typing import Any

from bench_rounds import BARE, OURS, Candidate, Goal, Plan, Result, blas_threads, measure, timed
from bench_train import mnist
from products import bare_epoch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs

from arraymlp import MLPClassifier
from arraymlp.backends.array import HostArray

SIZES, ROWS, BATCH, EPOCHS, GOAL = (784, 100, 100, 10), 30_000, 200, 2, 2.0


def fit(kind: Any, X: HostArray, y: HostArray, solver: str) -> float:
    """Seconds of one of a fit's epochs, on which its data checks and set-up are spread."""
    estimator = kind(SIZES[1:-1], max_iter=EPOCHS, random_state=0, solver=solver, batch_size=BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after two epochs, of course
        seconds = timed(partial(estimator.fit, X, y))()
    assert estimator.n_iter_ == EPOCHS
    return seconds / EPOCHS


def case_fits(plan: Plan) -> list[Result]:
    """A result for each dtype and solver."""
    results = []
    for dtype, solver in product(("float32", "float64"), ("adam", "sgd")):
        images, digits = mnist()
        n = plan.rows(ROWS, BATCH)
        X, y = images[:n].astype(dtype), digits[:n]
        short = max(5, n // 10 // BATCH) * BATCH
        few = timed(bare_epoch(X[:short], SIZES, BATCH))
        work = {BARE: Candidate(timed(bare_epoch(X, SIZES, BATCH)), blas_threads, few)}
        for name, kind in ((OURS, MLPClassifier), ("scikit-learn", Theirs)):
            trial = partial(fit, kind, X[:short], y[:short], solver)
            work[name] = Candidate(partial(fit, kind, X, y, solver), blas_threads, trial)
        title = f"MLPClassifier.fit, {dtype}, {solver}, batch {BATCH}, {n:,} rows: an epoch"
        result = Result("fits", title, n, goals={"scikit-learn": Goal(OURS, GOAL)})
        results.append(measure(result, work, plan.share(4)))
    return results
