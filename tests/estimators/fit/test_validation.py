"""Rows given to validate with: X_val and y_val."""

from math import inf
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import metrics
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, train_test_split

from arraymlp import MLPClassifier, MLPEnsembleClassifier, MLPRegressor, MLPSearchCV
from sklearn_pairs import (
    BASE,
    EACH,
    FEATURES,
    LABELS,
    SCORES,
    SGD_SOLVER,
    TARGETS,
    X_VAL,
    Y_VAL,
    Both,
    HostArray,
    N,
    X,
    assert_parity,
    drawn,
    warned,
)


@EACH
def test_validation_data_change_nothing_but_what_is_reported(Estimator: type) -> None:
    both = Both(Estimator)
    warned(both.theirs.fit, X, TARGETS[Estimator])
    warned(both.ours.fit, X, TARGETS[Estimator], X_val=X_VAL, y_val=Y_VAL[Estimator])
    scores, losses = both.ours.validation_scores_, both.ours.validation_loss_curve_
    assert len(scores) == len(losses) == both.ours.n_iter_
    assert scores[-1] == pytest.approx(both.ours.score(X_VAL, Y_VAL[Estimator]), rel=1e-9)
    assert losses[-1] == pytest.approx(mean_loss(both.ours, X_VAL, Y_VAL[Estimator]), rel=1e-9)
    assert both.ours.best_validation_score_ is None
    both.ours.validation_scores_ = None
    assert_parity(both)


def mean_loss(model: Any, X: HostArray, y: HostArray) -> float:
    if isinstance(model, MLPClassifier):
        return float(metrics.log_loss(y, model.predict_proba(X), labels=model.classes_))
    return float(((model.predict(X) - y) ** 2).mean() / 2)


@EACH
def test_early_stopping_watches_the_validation_data(Estimator: type) -> None:
    given = SGD_SOLVER | {
        "early_stopping": True,
        "n_iter_no_change": 2,
        "max_iter": 80,
        "tol": 0.01,
    }
    model = Estimator(**BASE | given)
    assert warned(model.fit, X, TARGETS[Estimator], X_val=X_VAL, y_val=Y_VAL[Estimator]) == []
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 80
    assert model.t_ == N * model.n_iter_  # no row was held out
    assert model.best_validation_score_ == max(scores)
    assert model.score(X_VAL, Y_VAL[Estimator]) == pytest.approx(max(scores), rel=1e-9)
    best, waited = -inf, []
    for score in scores:
        waited.append(0 if not waited or score >= best + 0.01 else waited[-1] + 1)
        best = max(best, score)
    assert waited[-1] == 3
    assert max(waited[:-1]) < 3
    losses = model.validation_loss_curve_
    assert losses[int(np.argmax(scores))] == pytest.approx(
        mean_loss(model, X_VAL, Y_VAL[Estimator])
    )


@EACH
@pytest.mark.parametrize("own_rows", [True, False])
def test_early_stopping_may_watch_the_loss(Estimator: type, own_rows: bool) -> None:
    given = {"early_stopping": "loss", "n_iter_no_change": 2, "max_iter": 300}
    model = Estimator(**BASE | given | {"learning_rate_init": 0.05, "tol": 0.001})
    validation = {"X_val": X_VAL, "y_val": Y_VAL[Estimator]} if own_rows else {}
    assert warned(model.fit, X, TARGETS[Estimator], **validation) == []
    losses = model.validation_loss_curve_
    assert len(losses) == len(model.validation_scores_) == model.n_iter_ < 300
    assert model.best_validation_loss_ == min(losses) < losses[-1]
    assert model.best_validation_score_ is model.best_loss_ is None
    best, waited = inf, []
    for loss in losses:
        waited.append(0 if loss <= best - 0.001 else waited[-1] + 1)
        best = min(best, loss)
    assert waited[-1] == 3
    assert max(waited[:-1]) < 3
    if own_rows:
        assert mean_loss(model, X_VAL, Y_VAL[Estimator]) == pytest.approx(min(losses), rel=1e-9)


@EACH
def test_a_warm_start_by_the_loss_keeps_the_best_network(Estimator: type) -> None:
    given = {"early_stopping": "loss", "warm_start": True, "max_iter": 20}
    model = Estimator(**BASE | given | {"learning_rate_init": 0.03})
    warned(model.fit, X, TARGETS[Estimator])
    best, before = model.best_validation_loss_, [np.array(w) for w in model.coefs_]
    n = model.n_iter_
    warned(model.set_params(learning_rate_init=3.0, max_iter=3).fit, X, TARGETS[Estimator])
    assert min(model.validation_loss_curve_[n:]) > best == model.best_validation_loss_
    for a, b in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_params(early_stopping=True, learning_rate_init=0.03)
    warned(model.fit, X, TARGETS[Estimator])  # another figure, whose best begins anew
    assert model.best_validation_score_ == max(model.validation_scores_[-3:])


def test_what_watches_the_loss_is_cloned_searched_and_one_of_many() -> None:
    model = MLPClassifier(**BASE | {"early_stopping": "loss", "max_iter": 4})
    assert clone(model).get_params()["early_stopping"] == "loss"
    grid = {"early_stopping": [False, True, "loss"]}
    search = MLPSearchCV(model, grid, cv=2, refit=False)
    warned(search.fit, X, LABELS)
    theirs = GridSearchCV(model, grid, cv=2, refit=False)
    warned(theirs.fit, X, LABELS)
    scores = search.cv_results_["mean_test_score"]
    assert scores.tolist() == pytest.approx(theirs.cv_results_["mean_test_score"].tolist())
    ensemble = MLPEnsembleClassifier(model, n_estimators=2, random_state=0)
    warned(ensemble.fit, X, LABELS)
    for member in ensemble.estimators_:
        assert member.best_validation_loss_ == min(member.validation_loss_curve_)


def test_the_split_has_a_loss_as_well() -> None:
    model = MLPRegressor(**BASE | {"early_stopping": True, "validation_fraction": 0.2})
    warned(model.fit, X, SCORES)
    assert len(model.validation_loss_curve_) == model.n_iter_
    random = np.random.RandomState(3)
    drawn(random, (FEATURES, 7, 4, 3), ("relu", "relu"))
    _, rows = train_test_split(np.arange(N), random_state=random, test_size=0.2)
    best = int(np.argmax(model.validation_scores_))
    assert model.validation_scores_[best] == pytest.approx(model.score(X[rows], SCORES[rows]))
    # the mean of the columns, as the loss that is reported of the training
    expected = ((model.predict(X[rows]) - SCORES[rows]) ** 2).mean() / 2
    assert model.validation_loss_curve_[best] == pytest.approx(expected)


def test_validation_data_in_a_warm_start() -> None:
    model = MLPClassifier(**BASE | {"warm_start": True, "max_iter": 2})
    warned(model.fit, X, LABELS)
    assert model.validation_scores_ is None
    for n in (2, 4):
        warned(model.fit, X, LABELS, X_val=X_VAL, y_val=Y_VAL[MLPClassifier])
        assert len(model.validation_scores_) == len(model.validation_loss_curve_) == n
