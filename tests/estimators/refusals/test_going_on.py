"""A refused fit changes nothing, and what is not fitted cannot be asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.exceptions import NotFittedError

from arraymlp import MLPClassifier, MLPRegressor
from sklearn_pairs import (
    COLUMNS,
    EACH,
    LABELS,
    QUICK,
    SCORES,
    TARGETS,
    Given,
    N,
    X,
    quick_fit,
    quietly,
    refusal,
)

# What is fitted, what is set then, and what is called.
GOING_ON: dict[str, tuple[type, Any, Given, Callable[[Any], Any], str]] = {
    "another width": (
        MLPClassifier,
        LABELS,
        {"warm_start": True, "hidden_layer_sizes": (4,)},
        lambda model: model.fit(X, LABELS),
        "hidden_layer_sizes is [4] now, but",
    ),
    "another width in parts": (
        MLPRegressor,
        SCORES,
        {"hidden_layer_sizes": (3, 3)},
        lambda model: model.partial_fit(X, SCORES),
        "hidden_layer_sizes is [3, 3] now, but",
    ),
    "another activation": (
        MLPRegressor,
        SCORES,
        {"activation": "tanh"},
        lambda model: model.partial_fit(X, SCORES),
        "activation",
    ),
    "another loss": (
        MLPRegressor,
        SCORES,
        {"loss": "huber", "warm_start": True},
        lambda model: model.fit(X, SCORES),
        "loss",
    ),
    "another dtype": (
        MLPRegressor,
        SCORES,
        {"dtype": "float32", "warm_start": True},
        lambda model: model.fit(X, SCORES),
        "dtype",
    ),
    "fewer columns": (
        MLPRegressor,
        SCORES,
        {"warm_start": True},
        lambda model: model.fit(X, SCORES[:, 0]),
        "outputs",
    ),
    "more columns in parts": (
        MLPRegressor,
        SCORES[:, 0],
        {},
        lambda model: model.partial_fit(X, SCORES),
        "outputs",
    ),
    "labels for classes": (
        MLPClassifier,
        LABELS % 2,
        {},
        lambda model: model.partial_fit(X, COLUMNS),
        "several labels a sample",
    ),
    "other classes": (
        MLPClassifier,
        LABELS,
        {"warm_start": True},
        lambda model: model.fit(X, LABELS + 1),
        "warm_start can only be used where `y` has the same classes",
    ),
    "fewer features": (
        MLPClassifier,
        LABELS,
        {"warm_start": True},
        lambda model: model.fit(X[:, :3], LABELS),
        "X has 3 features, but MLPClassifier is expecting 5 features as input",
    ),
    "early stopping in parts": (
        MLPClassifier,
        LABELS,
        {"early_stopping": True},
        lambda model: model.partial_fit(X, LABELS),
        "partial_fit does not support early_stopping=True",
    ),
    "classes that are balanced, in parts": (
        MLPClassifier,
        LABELS,
        {"class_weight": "balanced"},
        lambda model: model.partial_fit(X, LABELS),
        "class_weight 'balanced' is not supported for partial_fit",
    ),
    "bad weights": (
        MLPClassifier,
        LABELS,
        {"warm_start": True},
        lambda model: model.fit(X, LABELS, -np.ones(N)),
        "negative",
    ),
    "dropout for lbfgs": (
        MLPClassifier,
        LABELS,
        {"warm_start": True, "solver": "lbfgs", "dropout": 0.5},
        lambda model: model.fit(X, LABELS),
        "dropout is for the stochastic solvers",
    ),
    "no y_val": (
        MLPClassifier,
        LABELS,
        {"warm_start": True},
        lambda model: model.fit(X, LABELS, X_val=X),
        "y_val is missing",
    ),
}


@pytest.mark.parametrize(
    ("Estimator", "y", "given", "call", "words"), GOING_ON.values(), ids=GOING_ON
)
def test_a_refusal_to_go_on_leaves_the_network_as_it_is(
    Estimator: type, y: Any, given: Given, call: Callable[[Any], Any], words: str
) -> None:
    model = quick_fit(Estimator, y)
    model.set_params(**given)
    before = dict(vars(model))
    weights = [w.copy() for w in (*model.coefs_, *model.intercepts_)]
    predicted = model.predict(X)
    refused = refusal(call, model)
    assert isinstance(refused, ValueError)
    assert words in str(refused)
    for now, then in zip((*model.coefs_, *model.intercepts_), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(model.predict(X), predicted)
    for name, value in before.items():
        assert vars(model)[name] is value, name
    model.set_params(**QUICK | {name: Estimator().get_params()[name] for name in given})
    model.set_params(**QUICK)
    quietly(model.partial_fit, X, y)  # and it can go on


METHODS = ("predict", "predict_proba", "predict_log_proba", "score", "predict_quantiles", "save")


@EACH
def test_what_is_not_fitted_cannot_be_asked(Estimator: type) -> None:
    model = Estimator() if Estimator is MLPClassifier else Estimator("quantile")
    arguments = {"score": (X, TARGETS[Estimator]), "save": ("nowhere",)}
    for method in METHODS:
        if hasattr(model, method):
            with pytest.raises(
                NotFittedError, match=f"This {Estimator.__name__} instance is not fitted"
            ):
                getattr(model, method)(*arguments.get(method, (X,)))
    for name in ("coefs_", "intercepts_", "backend_", "network_", "classes_", "loss_curve_"):
        assert not hasattr(model, name)


@EACH
def test_weights_that_do_not_fit_cannot_be_set(Estimator: type) -> None:
    model = quick_fit(Estimator)
    with pytest.raises(ValueError, match=r"shorter|argument 2"):
        model.coefs_ = model.coefs_[:1]
    with pytest.raises(ValueError, match="reshape"):
        model.intercepts_ = [np.zeros(2), np.zeros(3 if Estimator is MLPClassifier else 1)]
    with pytest.raises(AttributeError, match="before it is fitted"):
        Estimator().coefs_ = []
