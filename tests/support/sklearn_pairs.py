"""Our estimators and scikit-learn's, made alike and called alike, and the data they learn from."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn import neural_network

from arraymlp import MLPClassifier, MLPRegressor

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]
N, FEATURES = 50, 5
RNG = np.random.default_rng(30)
X = RNG.normal(size=(N, FEATURES))
SCORES = X @ RNG.normal(size=(FEATURES, 3)) + RNG.normal(0, 0.7, (N, 3))
LABELS = SCORES.argmax(axis=1)
TWO = (SCORES[:, 0] > 0).astype(int)
COLUMNS = (SCORES > 0).astype(int)
COUNTS = RNG.poisson(np.exp(SCORES / 2))
WEIGHT = RNG.uniform(0.1, 2, N)
WEIGHT[0] = 0
X_VAL = RNG.normal(size=(30, FEATURES))
SPARSE_X = X * (np.random.default_rng(31).random(X.shape) < 0.4)
BATCH = 16  # three, and one of two rows
BASE: Given = {
    "hidden_layer_sizes": (7, 4),
    "alpha": 0.1,
    "batch_size": BATCH,
    "learning_rate_init": 0.01,
    "max_iter": 9,
    "random_state": 3,
}
QUICK: Given = {"hidden_layer_sizes": (3,), "max_iter": 2, "batch_size": N, "random_state": 0}
SGD_SOLVER: Given = {"solver": "sgd", "learning_rate_init": 0.05}
RTOL, ATOL = 1e-9, 1e-11
THEIRS = {
    MLPClassifier: neural_network.MLPClassifier,
    MLPRegressor: neural_network.MLPRegressor,
}
TARGETS: dict[type, HostArray] = {MLPClassifier: LABELS, MLPRegressor: SCORES[:, 0]}
Y_VAL: dict[type, HostArray] = {
    MLPClassifier: RNG.integers(0, 3, 30),
    MLPRegressor: RNG.normal(size=30),
}
EACH = pytest.mark.parametrize("Estimator", TARGETS, ids=lambda Estimator: Estimator.__name__)
Warned = list[tuple[type, str]]


def warned(call: Callable[..., Any], *arguments: Any, **more: Any) -> Warned:
    """Every warning of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **more)
    return [(warning.category, str(warning.message)) for warning in caught]


class Both:
    """Our estimator and scikit-learn's, made alike and called alike."""

    def __init__(self, Estimator: type, **given: Any) -> None:
        self.ours, self.theirs = (of(**BASE | given) for of in (Estimator, THEIRS[Estimator]))
        self.warned: Warned = []

    def __call__(self, method: str, *arguments: Any, **more: Any) -> "Both":
        """Call a method of both, which must warn of the same."""
        warned_of = [
            warned(getattr(model, method), *arguments, **more) for model in (self.ours, self.theirs)
        ]
        assert warned_of[0] == warned_of[1]
        self.warned = warned_of[0]
        return self

    def fit(self, *arguments: Any, **more: Any) -> "Both":
        return self("fit", *arguments, **more)

    def partial_fit(self, *arguments: Any, **more: Any) -> "Both":
        return self("partial_fit", *arguments, **more)

    def set(self, **given: Any) -> None:
        for model in (self.ours, self.theirs):
            model.set_params(**given)

    def refusals(self, method: str, *arguments: Any, **more: Any) -> tuple[Exception, Exception]:
        """The errors of a call that both refuse."""
        return tuple(  # type: ignore[return-value]
            refusal(getattr(model, method), *arguments, **more)
            for model in (self.ours, self.theirs)
        )


def quietly(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """Call it without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **more)


def quick_fit(Estimator: type, y: Any = None, **given: Any) -> Any:
    """An estimator after a fit of two steps."""
    return quietly(Estimator(**QUICK | given).fit, X, TARGETS[Estimator] if y is None else y)


def refusal(call: Callable[..., Any], *arguments: Any, **more: Any) -> Exception:
    """The error of a call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, AttributeError, TypeError)) as refused:
            call(*arguments, **more)
    return refused.value


def assert_parity(both: Both, X: Any = X, rtol: float = RTOL, atol: float = ATOL) -> None:
    """The same records, the same network, the same predictions."""
    ours, theirs = both.ours, both.theirs
    counts = ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_")
    for name in (*counts, "_no_improvement_count"):
        assert getattr(ours, name) == getattr(theirs, name), name
    figures = ("loss_", "best_loss_", "best_validation_score_")
    for name in (*figures, "loss_curve_", "validation_scores_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
    assert_same_weights(ours, theirs, rtol, atol)
    assert_same_predictions(ours, theirs, X, rtol, atol)


def assert_same_weights(ours: Any, theirs: Any, rtol: float = RTOL, atol: float = ATOL) -> None:
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype, name
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


def assert_same_predictions(
    ours: Any, theirs: Any, X: Any = X, rtol: float = RTOL, atol: float = ATOL
) -> None:
    a, b = ours.predict(X), theirs.predict(X)
    assert type(a) is type(b)
    assert a.dtype == b.dtype
    if sparse.issparse(b):
        a, b = a.toarray(), b.toarray()
    if not hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        return
    np.testing.assert_array_equal(a, b)
    assert ours.classes_.dtype == theirs.classes_.dtype
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    for method in ("predict_proba", "predict_log_proba"):
        a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


SETTINGS: dict[str, Given] = {
    "adam": {},
    "adam with other constants": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
    "sgd": SGD_SOLVER | {"momentum": 0.0},
    "momentum": SGD_SOLVER | {"nesterovs_momentum": False},
    "nesterov": SGD_SOLVER | {"momentum": 0.8},
    "momentum of 1": SGD_SOLVER | {"momentum": 1.0, "learning_rate_init": 0.001},
    "invscaling": SGD_SOLVER | {"learning_rate": "invscaling", "power_t": 0.25},
    "invscaling of adam": {"learning_rate": "invscaling"},
    "adaptive": SGD_SOLVER
    | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.03, "max_iter": 40},
    "identity": {"activation": "identity"},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "one row a step": {"batch_size": 1, "max_iter": 2},
    "batches of 7": {"batch_size": 7},
    "all rows at once": {"batch_size": N},
    "batch_size auto": {"batch_size": "auto"},
    "more than all rows": {"batch_size": 1000},
    "no shuffle": {"shuffle": False},
    "no penalty": {"alpha": 0.0},
    "a large penalty": {"alpha": 20.0},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "no hidden layer, logistic": {"hidden_layer_sizes": (), "activation": "logistic"},
    "sizes as a number": {"hidden_layer_sizes": 8},
    "sizes as a list": {"hidden_layer_sizes": [6, 5, 4]},
    "sizes as an array": {"hidden_layer_sizes": np.array([6, 5])},
    "one epoch": {"max_iter": 1},
    "many epochs": {"max_iter": 80, "tol": 0.0},
    "many epochs of sgd": SGD_SOLVER | {"max_iter": 80, "tol": 0.0, "batch_size": 7},
    "stops": {"max_iter": 80, "tol": 0.03, "n_iter_no_change": 2},
    "never stops": {"max_iter": 30, "tol": 1.0, "n_iter_no_change": inf},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60},
    "early stopping of sgd": SGD_SOLVER
    | {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60, "tol": 0.01},
    "early stopping, adaptive": SGD_SOLVER
    | {
        "early_stopping": True,
        "learning_rate": "adaptive",
        "n_iter_no_change": 1,
        "max_iter": 50,
        "tol": 0.01,
    },
    "a third for early stopping": {"early_stopping": True, "validation_fraction": 0.33},
}


def drawn(
    random: np.random.RandomState, sizes: tuple[int, ...], activations: tuple[str, ...]
) -> list[tuple[HostArray, HostArray]]:
    """Initial weights and biases as scikit-learn draws them."""
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        of = activations[min(i, len(activations) - 1)] if activations else ""
        bound = np.sqrt((2 if of in ("logistic", "sigmoid") else 6) / (n_in + n_out))
        layers.append(
            (random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, n_out))
        )
    return layers
