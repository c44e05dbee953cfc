"""Training that goes on, by ``partial_fit`` and by warm starts, as scikit-learn's does."""

from math import inf

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")


from arraymlp import MLPClassifier, MLPRegressor
from sklearn_pairs import (
    BASE,
    COLUMNS,
    EACH,
    LABELS,
    SCORES,
    SGD_SOLVER,
    TARGETS,
    TWO,
    WEIGHT,
    Both,
    Given,
    HostArray,
    N,
    X,
    assert_parity,
    warned,
)

# Calls one after another: (method, rows, what is set before).
PARTS = [slice(0, 20), slice(20, 27), slice(27, 50), slice(0, 50), slice(49, 50)]
SEQUENCES: dict[str, tuple[Given, list[tuple[str, slice, Given]]]] = {
    "partial fits": ({}, [("partial_fit", rows, {}) for rows in PARTS]),
    "partial fits by sgd": (SGD_SOLVER, [("partial_fit", rows, {}) for rows in PARTS]),
    "partial fits, no shuffle": ({"shuffle": False}, [("partial_fit", rows, {}) for rows in PARTS]),
    "partial fits, invscaling": (
        SGD_SOLVER | {"learning_rate": "invscaling", "power_t": 0.2},
        [("partial_fit", rows, {}) for rows in PARTS],
    ),
    "partial fits, adaptive": (
        SGD_SOLVER | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.5},
        [("partial_fit", slice(0, 50), {})] * 8,
    ),
    "partial fits of one epoch": (
        {"max_iter": 1},
        [("partial_fit", PARTS[3], {}), ("partial_fit", PARTS[3], {})],
    ),
    "fits anew": ({}, [("fit", PARTS[3], {}), ("fit", PARTS[2], {"max_iter": 3})]),
    "a warm start": (
        {"warm_start": True, "max_iter": 4},
        [("fit", PARTS[3], {}), ("fit", PARTS[3], {}), ("fit", PARTS[2], {"max_iter": 5})],
    ),
    "a warm start of sgd": (
        SGD_SOLVER | {"warm_start": True, "max_iter": 4, "learning_rate": "invscaling"},
        [("fit", PARTS[3], {}), ("fit", PARTS[3], {"learning_rate_init": 0.02})],
    ),
    "a warm start that stops": (
        {"warm_start": True, "max_iter": 40, "tol": 0.05, "n_iter_no_change": 2},
        [("fit", PARTS[3], {})] * 4,
    ),
    "a warm start, then partial fits": (
        {"warm_start": True, "max_iter": 4},
        [("fit", PARTS[3], {}), ("partial_fit", PARTS[3], {}), ("partial_fit", PARTS[3], {})],
    ),
    "a fit, then partial fits": (
        {"max_iter": 4},
        [("fit", PARTS[3], {}), ("partial_fit", PARTS[1], {}), ("partial_fit", PARTS[2], {})],
    ),
    "partial fits, then a fit": ({}, [("partial_fit", PARTS[3], {}), ("fit", PARTS[3], {})]),
    "partial fits, then a warm start": (
        {},
        [("partial_fit", PARTS[3], {}), ("fit", PARTS[3], {"warm_start": True, "max_iter": 4})],
    ),
    "a warm start, a partial fit, a warm start": (
        SGD_SOLVER | {"warm_start": True, "max_iter": 2},
        [
            ("fit", PARTS[3], {}),
            ("partial_fit", PARTS[3], {}),
            ("fit", PARTS[3], {}),
            ("partial_fit", PARTS[3], {}),
        ],
    ),
}


# Each sequence for both estimators, by turns with weights and without.
TURNS = [
    pytest.param(name, Estimator, weight, id=f"{name}-{Estimator.__name__}")
    for number, name in enumerate(SEQUENCES)
    for Estimator, weight in zip(TARGETS, (None, WEIGHT + 0.1)[:: (1, -1)[number % 2]], strict=True)
]


@pytest.mark.parametrize(("name", "Estimator", "weight"), TURNS)
def test_goes_on_as_scikit_learn_does(name: str, Estimator: type, weight: HostArray | None) -> None:
    given, calls = SEQUENCES[name]
    both = Both(Estimator, **given)
    for number, (method, rows, change) in enumerate(calls):
        both.set(**change)
        more = {} if weight is None else {"sample_weight": weight[rows]}
        if Estimator is MLPClassifier and method == "partial_fit" and number == 0:
            more["classes"] = np.arange(3)
        both(method, X[rows], TARGETS[Estimator][rows], **more)
        assert_parity(both)


@EACH
def test_another_rate_counts_from_the_next_partial_fit_on(Estimator: type) -> None:
    """scikit-learn keeps the one that it began with."""
    steps = []
    for rate in (0.01, 0.03):
        model = Estimator(**BASE | {"solver": "sgd", "momentum": 0.0, "batch_size": N})
        more = {"classes": np.arange(3)} if Estimator is MLPClassifier else {}
        model.partial_fit(X, TARGETS[Estimator], **more)
        before = model.coefs_[0].copy()
        model.set_params(learning_rate_init=rate).partial_fit(X, TARGETS[Estimator])
        steps.append(model.coefs_[0] - before)
    np.testing.assert_allclose(3 * steps[0], steps[1], rtol=1e-9, atol=1e-14)


def test_early_stopping_may_begin_and_end_in_a_warm_start() -> None:
    model = MLPRegressor(**BASE | {"warm_start": True, "max_iter": 3})
    for early, scored in ((False, 0), (True, 3), (False, 3), (True, 6)):
        warned(model.set_params(early_stopping=early).fit, X, SCORES[:, 0])
        assert model.n_iter_ == 3
        assert len(model.validation_scores_ or []) == scored
    assert len(model.loss_curve_) == 12
    assert model.best_loss_ <= min(model.loss_curve_[:3])
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_a_partial_fit_need_not_see_all_classes() -> None:
    both = Both(MLPClassifier)
    order = np.argsort(LABELS, kind="stable")
    for rows in np.array_split(order, 5):
        assert len(np.unique(LABELS[rows])) < 3
        both.partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
        assert_parity(both)


@pytest.mark.parametrize("y", [TWO, np.array(["b", "a"])[TWO], TWO == 1], ids=["0", "b", "False"])
def test_partial_fits_of_two_classes(y: HostArray) -> None:
    both = Both(MLPClassifier)
    for rows in (PARTS[0], PARTS[2]):
        assert_parity(both.partial_fit(X[rows], y[rows], classes=np.unique(y)))


def test_partial_fits_of_several_labels() -> None:
    both = Both(MLPClassifier)
    for rows in (PARTS[0], PARTS[2]):
        assert_parity(both.partial_fit(X[rows], COLUMNS[rows], classes=[0, 1, 2]))


@EACH
def test_a_warm_start_goes_on_from_the_best_epoch(Estimator: type) -> None:
    y = (X[:, 0] > 0).astype(int) if Estimator is MLPClassifier else SCORES[:, 0]
    given = {"learning_rate_init": 0.02, "max_iter": 6, "validation_fraction": 0.4}
    both = Both(Estimator, warm_start=True, early_stopping=True, **given)
    best = -inf
    for _ in range(3):
        both.fit(X, y)
        assert both.ours.best_validation_score_ > best  # else see the next test
        best = both.ours.best_validation_score_
        assert_parity(both)


@EACH
def test_a_warm_start_that_only_worsens_keeps_the_best_network(Estimator: type) -> None:
    """scikit-learn trains its best weights in place, and so returns the last."""
    given = {"warm_start": True, "early_stopping": True, "validation_fraction": 0.4}
    model = Estimator(**BASE | given | {"max_iter": 60, "learning_rate_init": 0.03})
    warned(model.fit, X, TARGETS[Estimator])
    best, before = model.best_validation_score_, [np.array(w) for w in model.coefs_]
    model.set_params(learning_rate_init=3.0, max_iter=3)
    warned(model.fit, X, TARGETS[Estimator])
    assert len(model.validation_scores_) == len(model.loss_curve_) > 3
    assert max(model.validation_scores_[-3:]) < best == model.best_validation_score_
    for a, b in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(a, b)
