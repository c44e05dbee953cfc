"""Clones, pickles and copies of the estimators."""

import copy
import io
import pickle
import sys
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import joblib
import sklearn
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

import arraymlp
from arraymlp import Backend, Dropout, MLPClassifier, MLPRegressor
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.losses import get_loss
from conftest import named, on_host
from sklearn_problem import (
    BOTH,
    NAMES,
    X,
    Y,
    Z,
    assert_close,
    assert_same_network,
    classify,
    fitted,
    mlp,
    regress,
    target,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]
PARAMETERS: dict[str, dict[str, Any]] = {
    "loss": {"loss": get_loss("binary_cross_entropy")},
    "dropout": {"dropout": Dropout(hidden=0.2, input=0.1)},
    "weights": {"class_weight": {"red": 2.0, "blue": 0.5}},
    "list": {"hidden_layer_sizes": [5, 4], "activation": ["tanh", "relu"]},
    "array": {"hidden_layer_sizes": np.array([5, 4])},
    "infinity": {"n_iter_no_change": inf},
    "RandomState": {"random_state": np.random.RandomState(3)},
    "Generator": {"random_state": np.random.default_rng(3)},
    "callbacks": {"callbacks": [print]},
    "backend": {"backend": arraymlp.resolve("numpy")},
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_a_clone_has_the_parameters_and_nothing_else(parameters: dict[str, Any]) -> None:
    original = MLPClassifier(**parameters)
    twin = clone(original)
    assert twin is not original
    assert twin.get_params().keys() == original.get_params().keys()
    for name, value in original.get_params().items():
        copied = twin.get_params()[name]
        assert type(copied) is type(value)
        if name == "random_state" and value is not None:
            assert copied is not value
            assert copied.__getstate__().__repr__() == value.__getstate__().__repr__()
        else:
            np.testing.assert_equal(copied, value)


@BOTH
def test_a_clone_of_a_fitted_one_is_not_fitted(name: str) -> None:
    model = fitted(name)
    twin = clone(model)
    assert vars(twin).keys() == vars(mlp(name)).keys()
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(twin)
    assert_same_network(twin.fit(X, target(name)), model)


def test_a_clone_keeps_the_loss_of_a_regressor() -> None:
    for loss in (Huber(0.5), Quantile((0.1, 0.5, 0.9))):
        assert clone(MLPRegressor(loss)).loss == loss


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def dumped(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = pytest.mark.parametrize(
    "copied", [pickled, dumped, copy.deepcopy], ids=lambda f: f.__name__
)


@COPIES
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "adamw", "dropout": 0.25},
        {"random_state": np.random.RandomState(5), "dropout": Dropout(0.1, 0.1)},
        {"random_state": np.random.default_rng(5)},
        {"loss": get_loss("softmax_cross_entropy"), "class_weight": {"red": 3.0}},
        {"backend": "torch", "solver": "sgd"},
    ],
    ids=named,
)
def test_a_copy_predicts_the_same_and_goes_on_bit_for_bit(
    copied: Callable[[Any], Any], parameters: dict[str, Any]
) -> None:
    if "backend" in parameters:
        pytest.importorskip(parameters["backend"])
    original = fitted(**copy.deepcopy(parameters)).partial_fit(X, NAMES)
    twin = copied(original)
    assert_same_network(twin, original)
    if original.backend_ == twin.backend_:
        assert twin.predict_proba(X).tolist() == original.predict_proba(X).tolist()
    assert twin.predict(X).tolist() == original.predict(X).tolist()
    before = [w.copy() for w in original.coefs_]
    for _ in range(3):
        twin.partial_fit(X, NAMES)
    for now, then in zip(original.coefs_, before, strict=True):
        assert now.tolist() == then.tolist()  # which the copy's training has not changed
    for _ in range(3):
        original.partial_fit(X, NAMES)
    assert_same_network(twin, original)
    assert twin.loss_curve_ == original.loss_curve_
    assert twin.t_ == original.t_


@COPIES
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_copy_of_a_regressor_warms_up_bit_for_bit(
    copied: Callable[[Any], Any], solver: str
) -> None:
    original = regress(solver=solver, warm_start=True).fit(X, Z)
    twin = copied(original)
    assert twin.predict(X).tolist() == original.predict(X).tolist()
    assert_same_network(twin.fit(X, Z), original.fit(X, Z))


def test_a_pickle_is_not_tied_to_where_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    original = fitted(backend="torch").partial_fit(X, NAMES)
    assert original.backend_.name == "torch"
    expected = original.predict_proba(X)
    content = pickle.dumps(original)
    assert original.backend_.name == "torch"
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, name, None)
    opened = pickle.loads(content)
    assert opened.backend_.name == "numpy"
    assert_close(opened.predict_proba(X), expected)


def test_a_pickle_is_small_and_has_no_data() -> None:
    rows = np.tile(X, (200, 1))
    model = classify(max_iter=2).fit(rows, np.tile(NAMES, 200))
    assert len(pickle.dumps(model)) < rows.nbytes / 10


def test_a_pickle_of_data_on_a_device_goes_back_there(quick_backend: Backend) -> None:
    there = quick_backend.asarray
    original = classify().fit(there(X), there(Y))
    twin = pickled(original)
    assert twin.backend_ == original.backend_
    assert_same_network(twin, original)
    predicted = twin.predict(there(X))
    assert arraymlp.backends.registry.backend_of(predicted) == quick_backend
    assert on_host(predicted).tolist() == on_host(original.predict(there(X))).tolist()
    if quick_backend.name != "numpy":
        with pytest.raises(ValueError, match="must use the same namespace and the same device"):
            twin.predict(X)
