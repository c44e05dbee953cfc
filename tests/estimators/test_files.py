"""Model files of estimators: what is loaded, on NumPy, is what was saved."""

import json
import os
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from safetensors.numpy import load as from_bytes
from scipy.sparse import csr_array, issparse
from sklearn.exceptions import NotFittedError

import arraymlp
from arraymlp import Backend, Dropout, MLPClassifier, MLPRegressor, ModelFileError, resolve
from arraymlp.estimators.files import save_estimator
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import get_loss
from conftest import on_host
from problems import columns, counts, labels, numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = labels()
SMALL: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
RECORDED = {  # what a fit leaves, besides the network, and no run, history or finding
    "n_features_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
}
CURVES = {
    "best_loss_",
    "loss_curve_",
    "best_validation_score_",
    "best_validation_loss_",
    "validation_scores_",
    "validation_loss_curve_",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def classifier(y: Any = Y, **parameters: Any) -> Any:
    return MLPClassifier(**{**SMALL, **parameters}).fit(X, y)


def regressor(y: Any = None, **parameters: Any) -> Any:
    return MLPRegressor(**{**SMALL, **parameters}).fit(X, numbers()[1][:, 0] if y is None else y)


def there_and_back(original: Any, path: Path) -> Any:
    assert original.save(path) is None
    return type(original).load(path)


def assert_same_array(actual: Any, expected: Any) -> None:
    """Equal bit by bit."""
    assert type(actual) is type(expected) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tolist() == expected.tolist()
    assert actual.dtype.kind == "O" or actual.tobytes() == expected.tobytes()


def assert_same_figures(actual: Any, expected: Any, *, curves: bool = True) -> None:
    """Every fitted attribute that a file has is there, and is equal in value and type."""
    for name in RECORDED | CURVES if curves else RECORDED:
        a, b = getattr(actual, name), getattr(expected, name)
        assert type(a) is type(b), name
        assert a == b, name
    if not curves:
        assert not CURVES & vars(actual).keys()
    assert hasattr(actual, "feature_names_in_") == hasattr(expected, "feature_names_in_")


def assert_same(actual: Any, expected: Any, *, curves: bool = True) -> None:
    """The same parameters, fitted attributes and predictions, bit by bit, both on NumPy."""
    assert type(actual) is type(expected)
    assert actual.get_params() == expected.get_params()
    assert_same_figures(actual, expected, curves=curves)
    for a, b in zip(actual.coefs_, expected.coefs_, strict=True):
        assert_same_array(a, b)
    for a, b in zip(actual.intercepts_, expected.intercepts_, strict=True):
        assert_same_array(a, b)
    assert_same_array(actual.predict(X), expected.predict(X))
    if hasattr(expected, "classes_"):
        assert_same_array(actual.classes_, expected.classes_)
        assert_same_array(actual.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize(
    "names",
    [
        np.array([-3, 0, 70]),
        np.array([3, 8, 200], dtype=np.uint8),
        np.array([0, 1, 2**62]),
        np.array([0.0, 1.0, 7.0]),
        np.array(["a", "bb", "ccc ü"]),
        np.array(["a", "bb", "ccc ü"], dtype=object),
        np.array(["2024-02-28", "2024-02-29", "2024-03-01"], dtype="datetime64[D]"),
    ],
    ids=repr,
)
def test_labels(names: Any, path: Path) -> None:
    original = classifier(names[Y])
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert set(loaded.predict(X)) <= set(names)
    assert loaded.score(X, names[Y]) == original.score(X, names[Y])


@pytest.mark.parametrize(
    "y",
    [Y > 0, np.array(["no", "yes"])[(Y > 0) * 1], np.where(Y > 0, 7, 3), np.full(len(X), "all")],
    ids=["bool", "two names", "two numbers", "one class"],
)
def test_two_classes_or_one(y: Any, path: Path) -> None:
    original = classifier(y)
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert set(loaded.predict(X)) <= set(y)


def test_several_labels_a_sample(path: Path) -> None:
    original = classifier(columns()[1])
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert loaded.predict(X).shape == columns()[1].shape
    with pytest.raises(ValueError, match="a sample before"):
        loaded.partial_fit(X, Y)


def test_several_labels_in_a_sparse_matrix(path: Path) -> None:
    original = classifier(csr_array(columns()[1]))
    loaded = there_and_back(original, path)
    assert_same_figures(loaded, original)
    predicted = loaded.predict(X)
    assert issparse(predicted)
    assert_same_array(predicted.toarray(), original.predict(X).toarray())


@pytest.mark.parametrize(
    ("y", "parameters"),
    [
        (numbers()[1][:, 0], {}),
        (numbers()[1], {}),
        (numbers()[1][:, 0], {"loss": "absolute_error"}),
        (numbers()[1], {"loss": "huber"}),
        (numbers()[1], {"loss": Huber(0.25)}),
        (counts()[1][:, 0], {"loss": "poisson"}),
        (numbers()[1][:, 0], {"loss": "quantile"}),
        (numbers()[1][:, 0], {"loss": Quantile((0.05, 0.5, 0.95))}),
        (numbers()[1], {"loss": Quantile((0.05, 0.25, 0.95))}),
    ],
    ids=lambda value: str(value.get("loss")) if isinstance(value, dict) else str(value.shape),
)
def test_numbers(y: Any, parameters: dict[str, Any], path: Path) -> None:
    original = regressor(y, **parameters)
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert hasattr(loaded, "predict_quantiles") == ("uantile" in str(parameters))
    if "uantile" in str(parameters):
        assert_same_array(loaded.predict_quantiles(X), original.predict_quantiles(X))


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "adamw", "alpha": 0.1},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 6},
        {"hidden_layer_sizes": (6, 5), "activation": ("tanh", "silu")},
        {"activation": "logistic"},
        {"dropout": 0.25, "gradient_clip": 0.5},
        {"dropout": Dropout(hidden=0.25, input=0.125)},
        {"class_weight": "balanced"},
        {"class_weight": {0: 2.0, 2: 0.5}},
        {"loss": get_loss("softmax_cross_entropy")},
        {"n_iter_no_change": inf, "tol": 0.0},
        {"n_iter_no_change": np.int64(4), "alpha": np.float32(0.5), "verbose": 0},
        {"early_stopping": True, "validation_fraction": 0.25},
        {"batch_size": 8, "shuffle": False, "warm_start": True},
        {"dtype": "float32"},
        {"backend": "numpy"},
    ],
    ids=str,
)
def test_parameters(parameters: dict[str, Any], path: Path) -> None:
    original = classifier(**parameters)
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    for name, value in parameters.items():
        assert getattr(loaded, name) == value


def test_weights_of_classes_that_have_names(path: Path) -> None:
    names = np.array(["a", "b", "c"])
    original = classifier(names[Y], class_weight={"b": 3.0, "a": 1})
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert loaded.class_weight == {"b": 3.0, "a": 1}


def test_sizes_in_an_array(path: Path) -> None:
    loaded = there_and_back(classifier(hidden_layer_sizes=np.array([6, 5])), path)
    assert_same_array(loaded.hidden_layer_sizes, np.array([6, 5]))


def test_lbfgs_leaves_no_curve(path: Path) -> None:
    original = classifier(solver="lbfgs")
    loaded = there_and_back(original, path)
    assert_same(loaded, original, curves=False)


def test_validation_of_ones_own(path: Path) -> None:
    original = MLPRegressor(**SMALL).fit(*numbers(), X_val=X, y_val=numbers()[1])
    loaded = there_and_back(original, path)
    assert_same(loaded, original)
    assert len(loaded.validation_scores_) == 3


@pytest.mark.parametrize(
    "given", [np.random.RandomState(0), np.random.default_rng(0)], ids=["RandomState", "Generator"]
)
def test_a_random_state_that_is_no_number_becomes_none(given: Any, path: Path) -> None:
    original = classifier(random_state=given)
    loaded = there_and_back(original, path)
    assert loaded.random_state is None
    assert_same(loaded, original.set_params(random_state=None))


def test_what_is_of_a_session_or_a_machine_becomes_none(path: Path) -> None:
    original = classifier(callbacks=[print_nothing], device="cpu", backend="numpy")
    loaded = there_and_back(original, path)
    assert loaded.callbacks is None
    assert loaded.device is None
    assert_same(loaded, original.set_params(callbacks=None, device=None))


def print_nothing(event: Any) -> None:
    pass


def test_an_activation_or_a_backend_becomes_its_name(path: Path) -> None:
    original = classifier(activation=ACTIVATIONS["tanh"], backend=resolve("numpy"))
    loaded = there_and_back(original, path)
    assert (loaded.activation, loaded.backend) == ("tanh", "numpy")
    assert_same(loaded, original.set_params(activation="tanh", backend="numpy"))


def test_feature_names(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d ü"])
    original = MLPClassifier(**SMALL).fit(frame, Y)
    loaded = there_and_back(original, path)
    assert_same_array(loaded.feature_names_in_, original.feature_names_in_)
    assert loaded.predict(frame).tolist() == original.predict(frame).tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        loaded.predict(X)


def test_a_subclass(path: Path) -> None:
    class Mine(MLPClassifier):
        pass

    original = Mine(**SMALL).fit(X, Y)
    assert_same(there_and_back(original, path), original)
    with pytest.raises(ModelFileError, match="Mine"):
        MLPClassifier.load(path)


@pytest.mark.parametrize("make_path", [str, Path])
def test_a_path_may_be_text(make_path: Callable[[Path], Any], path: Path) -> None:
    original = classifier()
    original.save(make_path(path))
    assert_same(MLPClassifier.load(make_path(path)), original)


def test_saving_changes_nothing_and_gives_the_same_file_again(path: Path) -> None:
    original = classifier(dropout=Dropout(0.1))
    before = deepcopy(original)
    original.save(path)
    assert original.__dict__.keys() == before.__dict__.keys()
    assert_same(original, before)
    content = path.read_bytes()
    MLPClassifier.load(path).save(path)
    assert path.read_bytes() == content


def test_from_every_backend_it_opens_on_numpy(quick_backend: Backend, path: Path) -> None:
    there = partial(quick_backend.asarray, dtype="float32")
    original = MLPClassifier(**SMALL).fit(there(X), quick_backend.asarray(Y))
    loaded = there_and_back(original, path)
    assert loaded.backend_.name == "numpy"
    assert_same_figures(loaded, original)
    for a, b in zip(loaded.coefs_, original.coefs_, strict=True):
        assert_same_array(a, on_host(b))
    assert_same_array(loaded.classes_, on_host(original.classes_))
    expected = on_host(original.predict_proba(there(X)))
    np.testing.assert_allclose(loaded.predict_proba(X.astype("float32")), expected, rtol=1e-5)
    moved = loaded.to(quick_backend)
    assert on_host(moved.predict(there(X))).tolist() == on_host(original.predict(there(X))).tolist()


def test_trained_on_torch_it_opens_where_torch_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    original = classifier(backend="torch")
    assert original.backend_.name == "torch"
    original.save(path)
    expected = original.predict_proba(X)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, name, None)
    loaded = MLPClassifier.load(path)
    assert loaded.backend == "torch"  # where it was trained, and will be again
    assert loaded.backend_.name == "numpy"
    np.testing.assert_allclose(loaded.predict_proba(X), expected, rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_it_is_a_file_of_a_network_too(solver: str, path: Path) -> None:
    original = classifier(solver=solver)
    original.save(path)
    network = arraymlp.load(path)
    assert_same_array(network.predict_proba(X), original.predict_proba(X))
    assert network.loss == original.network_.loss


@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw"])
def test_partial_fit_goes_on(solver: str, path: Path) -> None:
    names = np.array(["a", "b", "c"])
    original = classifier(names[Y], solver=solver, learning_rate_init=0.01)
    loaded = there_and_back(original, path)
    before = [w.copy() for w in loaded.coefs_]
    for _ in range(5):
        assert loaded.partial_fit(X, names[Y]) is loaded
    assert all((w != b).any() for w, b in zip(loaded.coefs_, before, strict=True))
    assert len(loaded.loss_curve_) == 3 + 5
    assert loaded.loss_curve_[:3] == original.loss_curve_
    assert loaded.loss_ < original.loss_
    assert loaded.t_ == original.t_ + 5 * len(X)
    with pytest.raises(ValueError, match="`y` has classes not in"):
        loaded.partial_fit(X, np.array(["a", "b", "z"])[Y])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        loaded.partial_fit(X, names[Y], classes=["a", "b"])


def test_a_fit_goes_on_counting_epochs_without_improvement(path: Path) -> None:
    loaded = there_and_back(classifier(warm_start=True, tol=10.0, n_iter_no_change=3), path)
    loaded.fit(X, Y)  # the first of the three before counts as an improvement
    assert loaded.n_iter_ == 2
    assert len(loaded.loss_curve_) == 3 + 2


def test_a_fit_may_go_on_or_begin_anew(path: Path) -> None:
    original = classifier(warm_start=True)
    loaded = there_and_back(original, path)
    original.fit(X, Y)  # which has no state of the optimiser either
    assert_same(loaded.fit(X, Y), original)
    fresh = loaded.set_params(warm_start=False).fit(X, Y)
    assert_same(fresh, classifier())


def header_of(content: bytes) -> dict[str, Any]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["arraymlp"])


def test_the_header_has_all_that_is_no_number_of_the_network(path: Path) -> None:
    classifier(class_weight={0: 2.0}, loss=get_loss("softmax_cross_entropy")).save(path)
    content = path.read_bytes()
    estimator = header_of(content)["estimator"]
    assert estimator["kind"] == "MLPClassifier"
    assert set(estimator["parameters"]) == set(MLPClassifier().get_params())
    assert estimator["parameters"]["class_weight"] == {"mapping": [[0, 2.0]]}
    assert estimator["fitted"]["classes"] == {"array": [0, 1, 2], "dtype": "<i8"}
    assert set(from_bytes(content)) == {
        "layers.0.weights",
        "layers.0.bias",
        "layers.1.weights",
        "layers.1.bias",
    }


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_the_file_is_replaced_whole_or_not_at_all(
    step: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    old = classifier()
    old.save(path)
    new = classifier(random_state=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            new.save(path)
    assert os.listdir(path.parent) == [path.name]
    assert_same(MLPClassifier.load(path), old)
    assert_same(there_and_back(new, path), new)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_what_is_not_fitted_is_not_saved(Estimator: Any, path: Path) -> None:
    with pytest.raises(NotFittedError, match=f"{Estimator.__name__} instance is not fitted yet"):
        Estimator().save(path)
    assert not path.exists()


def test_what_is_infinite_or_no_number_stays_so(path: Path) -> None:
    original = classifier(n_iter_no_change=inf, early_stopping=True)
    original.loss_curve_[1], original.best_validation_score_ = float("nan"), -inf
    original.save(path)
    assert b"NaN" not in path.read_bytes()
    assert b"Infinity" not in path.read_bytes()
    loaded = MLPClassifier.load(path)
    assert loaded.n_iter_no_change == inf
    assert loaded.best_validation_score_ == -inf
    np.testing.assert_equal(loaded.loss_curve_, original.loss_curve_)


def test_what_has_no_form_in_json_is_not_saved(path: Path) -> None:
    class Own(Huber):
        pass

    wide = np.empty(20, "<U1000000")  # which `load` would not believe
    network = classifier().network_
    with pytest.raises(ValueError, match="classes cannot be written to a model file"):
        save_estimator(path, "MLPClassifier", network, {}, {"classes": wide})
    with pytest.raises(ValueError, match=r"loss .*Own|Own.* is not of this package"):
        regressor(loss=Own(1.0)).save(path)
    assert not path.exists()
