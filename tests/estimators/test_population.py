"""Estimators that are fitted together are what each one's own fit makes of them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold

from arraymlp import MLPClassifier, MLPRegressor
from arraymlp.estimators.population import fit_together

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(150, 5))
LABELS = np.array(["no", "perhaps", "yes"])[np.digitize(X[:, 0] + X[:, 1] ** 2, [0.5, 1.5])]
NUMBERS = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)
WEIGHT = rng.uniform(0.5, 2, len(X))
# 100, 101 and 99 rows to train on: the last minibatches are of 36, 37 and 35
FOLDS = [np.sort(rng.permutation(150)[:n]) for n in (100, 101, 99)]
FEW: dict[str, Any] = {"hidden_layer_sizes": (8,), "batch_size": 32, "max_iter": 6}


def assert_as_alone(
    estimators: Sequence[Any], y: Any, weight: Any = None, rows: Sequence[Any] | None = None
) -> None:
    """Fit them together, and clones of them alone, and compare all that they learned."""
    rows = rows or [FOLDS[i % len(FOLDS)] for i in range(len(estimators))]
    alone = [clone(e) for e in estimators]
    assert fit_together(estimators, X, y, weight, rows) == [None] * len(estimators)
    for together, single, its_rows in zip(estimators, alone, rows, strict=True):
        single.fit(X[its_rows], y[its_rows], None if weight is None else weight[its_rows])
        assert together.n_iter_ == single.n_iter_
        assert together.get_params() == single.get_params()
        assert vars(together).keys() == vars(single).keys()
        for name in ("loss_curve_", "validation_scores_", "best_loss_", "loss_", "t_"):
            ours, theirs = getattr(together, name, None), getattr(single, name, None)
            if theirs is None:
                assert ours is None
            else:
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=name)
        for ours, theirs in zip(together.coefs_, single.coefs_, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        ours, theirs = together.predict(X), single.predict(X)
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_array_equal(ours, theirs)


CLASSIFIERS: list[dict[str, Any]] = [
    {},
    {"early_stopping": True, "max_iter": 15, "n_iter_no_change": 2},
    {"early_stopping": "loss", "max_iter": 15, "n_iter_no_change": 2},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
    {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.5},
    {"solver": "adamw", "gradient_clip": 0.1},
    {"dropout": 0.3},
    {"class_weight": "balanced"},
    {"shuffle": False},
    {"solver": "lbfgs"},
]


@pytest.mark.parametrize("given", CLASSIFIERS, ids=str)
def test_classifiers_of_several_folds_rates_and_seeds(given: dict[str, Any]) -> None:
    estimators = [
        MLPClassifier(random_state=seed, learning_rate_init=rate, **{**FEW, **given})
        for seed in (0, 1)
        for rate in (0.001, 0.05)
        for _ in FOLDS
    ]
    assert_as_alone(estimators, LABELS)


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"class_weight": {"yes": 3.0}}])
def test_sample_weights(given: dict[str, Any]) -> None:
    estimators = [MLPClassifier(random_state=0, alpha=a, **FEW, **given) for a in (0.0, 1e-3, 1.0)]
    assert_as_alone(estimators, LABELS, WEIGHT)


def test_regressors_of_several_losses_with_weights() -> None:
    losses = ("squared_error", "huber", "absolute_error", "squared_error", "quantile", "huber")
    estimators = [MLPRegressor(loss, random_state=i, **FEW) for i, loss in enumerate(losses)]
    assert_as_alone(estimators, NUMBERS, WEIGHT)


def test_different_networks_and_solvers_in_one_call() -> None:
    estimators = [
        MLPClassifier((4,), random_state=0, max_iter=5, batch_size=32),
        MLPClassifier((6, 5), random_state=0, max_iter=5, batch_size=32, activation="tanh"),
        MLPClassifier((4,), random_state=0, max_iter=7, batch_size=50, dtype="float32"),
        MLPClassifier((4,), random_state=0, max_iter=5, batch_size=32, solver="lbfgs"),
        MLPClassifier((4,), random_state=0, max_iter=5, batch_size=32, warm_start=True),
        MLPClassifier((4,), random_state=3, max_iter=5, batch_size=32),
    ]
    assert_as_alone(estimators, LABELS)


def test_a_fold_without_a_class_is_fitted_without_it() -> None:
    rows = [np.flatnonzero(LABELS != "perhaps"), FOLDS[0]]
    estimators = [MLPClassifier(random_state=0, **FEW) for _ in rows]
    assert_as_alone(estimators, LABELS, rows=rows)
    assert [list(e.classes_) for e in estimators] == [["no", "yes"], ["no", "perhaps", "yes"]]


def test_each_has_its_own_error() -> None:
    estimators = [
        MLPClassifier(random_state=0, **FEW),
        MLPClassifier(alpha=-1.0),
        MLPClassifier(random_state=0, solver="sgd", learning_rate_init=1e300, **FEW),
        MLPClassifier(activation="no such"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        failures = fit_together(estimators, X, LABELS)
    assert failures[0] is None
    assert estimators[0].score(X, LABELS) > 0.3
    for failure, words in zip(failures[1:], ("alpha", "non-finite", "activation"), strict=True):
        assert isinstance(failure, ValueError)
        assert words in str(failure)


def test_they_train_as_one_population(monkeypatch: pytest.MonkeyPatch) -> None:
    from arraymlp.sweeps import partition

    sizes, train_population = [], partition.train_population

    def noted(specs: Any, *rest: Any, **given: Any) -> Any:
        sizes.append(len(specs))
        return train_population(specs, *rest, **given)

    monkeypatch.setattr(partition, "train_population", noted)
    folds = [train for train, _ in StratifiedKFold(3).split(X, LABELS)]
    estimators = [
        MLPClassifier(random_state=0, alpha=a, **FEW) for a in (1e-4, 1e-2) for _ in folds
    ]
    fit_together(estimators, X, LABELS, rows=folds * 2)
    assert sum(sizes) == 6
    assert min(sizes) > 1
