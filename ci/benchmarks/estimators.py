"""`MLPClassifier.fit` against scikit-learn's: the same data, dtype, network and steps."""

import warnings
from functools import partial

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs

from arraymlp import MLPClassifier
from arraymlp.backends.array import HostArray
from benchmarks.products import bare_epoch
from benchmarks.rounds import (
    BARE,
    OURS,
    Candidate,
    Goal,
    Plan,
    Result,
    blas_threads,
    measure,
    timed,
)
from benchmarks.training import mnist

SIZES, ROWS, BATCH, EPOCHS = (784, 100, 100, 10), 30_000, 200, 2
GOALS = {
    ("float32", "adam"): 2.5,
    ("float32", "sgd"): 2.2,
    ("float64", "adam"): 1.7,
    ("float64", "sgd"): 1.7,
}


def fit(
    classifier: type[MLPClassifier] | type[Theirs], X: HostArray, y: HostArray, solver: str
) -> float:
    """Seconds per epoch of a fit; its data checks and set-up are spread over the epochs."""
    estimator = classifier(
        SIZES[1:-1], max_iter=EPOCHS, random_state=0, solver=solver, batch_size=BATCH
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after two epochs, of course
        seconds = timed(partial(estimator.fit, X, y))()
    assert estimator.n_iter_ == EPOCHS
    return seconds / EPOCHS


def case_fits(plan: Plan) -> list[Result]:
    """A result for each dtype and solver."""
    results = []
    for (dtype, solver), goal in GOALS.items():
        images, digits = mnist()
        n = plan.rows(ROWS, BATCH)
        X, y = images[:n].astype(dtype), digits[:n]
        short = max(5, n // 10 // BATCH) * BATCH
        few = timed(bare_epoch(X[:short], SIZES, BATCH))
        work = {BARE: Candidate(timed(bare_epoch(X, SIZES, BATCH)), blas_threads, few)}
        for name, classifier in ((OURS, MLPClassifier), ("scikit-learn", Theirs)):
            trial = partial(fit, classifier, X[:short], y[:short], solver)
            work[name] = Candidate(partial(fit, classifier, X, y, solver), blas_threads, trial)
        title = f"MLPClassifier.fit, {dtype}, {solver}, batch {BATCH}, {n:,} rows: an epoch"
        result = Result("fits", title, n, goals={"scikit-learn": Goal(OURS, goal)})
        results.append(measure(result, work, plan.share(4)))
    return results
