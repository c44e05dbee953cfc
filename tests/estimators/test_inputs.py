"""What MLPClassifier and MLPRegressor refuse, in which words, and that this changes nothing."""

import warnings
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn import neural_network
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from arraymlp import Backend, Dropout, MLPClassifier, MLPRegressor, resolve
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.losses import LOSSES
from conftest import on_host

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]
N = 30
RNG = np.random.default_rng(60)
X = RNG.normal(size=(N, 4))
LABELS = np.arange(N) % 3
NUMBERS = RNG.normal(size=(N, 2))
COLUMNS = (NUMBERS > 0).astype(int)
BASE: Given = {"hidden_layer_sizes": (3,), "max_iter": 2, "batch_size": N, "random_state": 0}
THEIRS = {
    MLPClassifier: neural_network.MLPClassifier,
    MLPRegressor: neural_network.MLPRegressor,
}
KINDS: dict[type, HostArray] = {MLPClassifier: LABELS, MLPRegressor: NUMBERS[:, 0]}
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def refusal(call: Callable[..., Any], *arguments: Any, **more: Any) -> Exception:
    """What is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError, AttributeError)) as refused:
            call(*arguments, **more)
    return refused.value


def quietly(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **more)


def fitted(kind: type, y: Any = None, **given: Any) -> Any:
    return quietly(kind(**BASE | given).fit, X, KINDS[kind] if y is None else y)


# --- parameters ----------------------------------------------------------------------------------


SHARED: dict[str, list[Any]] = {  # with scikit-learn, whose words they are refused in
    "hidden_layer_sizes": [0, -1, 3.5, None, "100"],
    "alpha": [-1e-9, nan, None, "0.1"],
    "batch_size": [0, -1, 2.5, None, "all"],
    "learning_rate": ["cosine", None, 0.1],
    "learning_rate_init": [0, -0.1, nan, None, "small"],
    "power_t": [-0.1, None],
    "max_iter": [0, -1, 1.5, None],
    "shuffle": [None, "yes", 2],
    "tol": [-1e-9, None, "0"],
    "verbose": ["loud", None, -1],
    "warm_start": [None, "yes"],
    "momentum": [-0.1, 1.1, None],
    "nesterovs_momentum": [None, "yes"],
    "early_stopping": [None, "validation_loss"],
    "validation_fraction": [-0.1, 1.0, 1.5, None],
    "beta_1": [-0.1, 1.0, None],
    "beta_2": [-0.1, 1.0, None],
    "epsilon": [0.0, -1e-8, None],
    "n_iter_no_change": [0, -1, 2.5, None, -inf],
    "max_fun": [0, -1, 1.5, None],
}
OURS: dict[str, list[Any]] = {
    "activation": ["sine", None, 3, {"relu"}],
    "solver": ["rmsprop", None, 1],
    "random_state": [-1, "seed", 1.5],
    "backend": [3, ["numpy"]],
    "dtype": ["float16", None, np.float32],
    "dropout": [-0.1, 1.0, None, "half"],
    "gradient_clip": [0.0, -1.0, "no"],
    "loss": ["hinge", None, 3],
}
OF_ONE: dict[type, dict[str, list[Any]]] = {
    MLPClassifier: {
        "class_weight": ["unbalanced", 3, [1.0, 2.0]],
        "loss": ["squared_error", "softmax_cross_entropy", "huber"],
    },
    MLPRegressor: {"loss": ["log_loss", "softmax_cross_entropy", "Huber"]},
}
EVERY_VALUE = [
    pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{value!r}")
    for kind in KINDS
    for table in (SHARED, OURS, OF_ONE[kind])
    for name, values in table.items()
    for value in values
]


def words_of(error: Exception) -> list[str]:
    """The words of a message; what is allowed is a set in it, in any order."""
    return sorted(word.strip(",.{}") for word in str(error).split())


@pytest.mark.parametrize(("kind", "name", "value"), EVERY_VALUE)
def test_bad_parameters_are_refused(kind: type, name: str, value: Any) -> None:
    model = kind(**BASE).set_params(**{name: value})  # which accepts all
    refused = refusal(model.fit, X, KINDS[kind])
    assert isinstance(refused, InvalidParameterError)
    assert f"The {name!r} parameter of {kind.__name__} must be" in str(refused)
    if name in SHARED:
        theirs = THEIRS[kind](**BASE).set_params(**{name: value})
        assert words_of(refused) == words_of(refusal(theirs.fit, X, KINDS[kind]))
    partial = refusal(model.partial_fit, X, KINDS[kind]) if name != "solver" else refused
    assert str(partial) == str(refused)
    assert vars(model) == {**vars(kind(**BASE)), name: value}


def test_every_constraint_of_scikit_learn_is_tried() -> None:
    for kind in KINDS:
        known = {*SHARED, *OURS, *OF_ONE[kind]}
        assert THEIRS[kind]._parameter_constraints.keys() <= known
        ours = kind._parameter_constraints
        assert {name for name in ours if ours[name] != "no_validation"} == known


EDGES: Given = {
    "alpha": 0,
    "power_t": 0.0,
    "tol": 0,
    "momentum": 1.0,
    "beta_1": 0.0,
    "beta_2": 0.0,
    "validation_fraction": 0.0,
    "n_iter_no_change": inf,
    "batch_size": np.int64(5),
    "learning_rate_init": np.float32(0.1),
    "hidden_layer_sizes": np.int32(4),
    "verbose": 0,
    "gradient_clip": 1e-30,
    "dropout": 0.999,
}


@EACH_KIND
@pytest.mark.parametrize("name", EDGES)
def test_values_at_the_edge_are_allowed(kind: type, name: str) -> None:
    model = fitted(kind, **{"solver": "sgd" if name == "momentum" else "adam", name: EDGES[name]})
    assert model.n_iter_ == 2


@EACH_KIND
def test_names_that_are_no_parameters_are_refused(kind: type) -> None:
    with pytest.raises(TypeError, match="learning_rte"):
        kind(learning_rte=0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rte'"):
        kind().set_params(learning_rte=0.1)


PARAMETERS: dict[str, tuple[Given, str]] = {
    "a width of nothing": ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
    "a negative width": ({"hidden_layer_sizes": [-3]}, "hidden_layer_sizes must be > 0"),
    "a width that is no whole number": (
        {"hidden_layer_sizes": (3, 2.5)},
        "hidden_layer_sizes must be whole numbers, got [3, 2.5]",
    ),
    "a width in words": ({"hidden_layer_sizes": ("3",)}, "hidden_layer_sizes must be whole"),
    "an activation that is not known": (
        {"activation": ("relo",)},
        "unknown activation 'relo': did you mean 'relu'?",
    ),
    "too few activations": ({"activation": ("relu",), "hidden_layer_sizes": (3, 2)}, "activation"),
    "too many activations": ({"activation": ["relu", "tanh"]}, "activation"),
    "activations of no type": ({"activation": (None,)}, "unknown activation None"),
    "a backend that is not known": ({"backend": "numpi"}, "did you mean 'numpy'?"),
    "a device that NumPy lacks": (
        {"backend": "numpy", "device": "cuda:0"},
        "NumPy computes on 'cpu' alone, not on 'cuda:0'",
    ),
    "a device for a backend that has one": (
        {"backend": resolve("numpy"), "device": "cpu"},
        "was given together with a Backend",
    ),
    "a callback that is none": ({"callbacks": 3}, "a callback must be a function"),
    "callbacks in a string": ({"callbacks": "print"}, "a callback must be a function"),
    "a class as a callback": ({"callbacks": [print, int]}, "a callback must be a function"),
}


@EACH_KIND
@pytest.mark.parametrize(("given", "words"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_that_cannot_be_are_refused(kind: type, given: Given, words: str) -> None:
    model = kind(**BASE | given)
    refused = refusal(model.fit, X, KINDS[kind])
    assert isinstance(refused, ValueError)
    assert words in str(refused)


# --- X, y and weights ----------------------------------------------------------------------------


def changed(row: int, column: int, value: Any, dtype: Any = float) -> HostArray:
    bad = X.astype(dtype)
    bad[row, column] = value
    return bad


BAD_X: dict[str, Any] = {  # which scikit-learn refuses in the same words
    "nan": changed(2, 1, nan),
    "infinity": changed(2, 1, -inf),
    "nan in single precision": changed(2, 1, nan, np.float32),
    "sparse nan": sparse.csr_array(changed(2, 1, nan)),
    "one row": X[0],
    "a number": 3.0,
    "three dimensions": X[:, :, None],
    "no rows": X[:0],
    "no features": X[:, :0],
    "strings": X.astype(str).astype(object) + "x",
    "complex numbers": X + 1j,
    "nothing": None,
    "ragged": [[1.0, 2.0], [3.0]] * 15,
    "an infinite object": changed(2, 1, inf).astype(object),
}


@EACH_KIND
@pytest.mark.parametrize("bad", BAD_X.values(), ids=BAD_X)
def test_bad_x_is_refused_in_the_words_of_scikit_learn(kind: type, bad: Any) -> None:
    y = KINDS[kind]
    ours, theirs = (refusal(of(**BASE).fit, bad, y) for of in (kind, THEIRS[kind]))
    assert (str(ours), type(ours)) == (str(theirs), type(theirs))
    if bad is None:
        return
    models = fitted(kind), quietly(THEIRS[kind](**BASE).fit, X, y)
    for method in ("predict", "predict_proba"):
        if hasattr(models[0], method):
            ours, theirs = (refusal(getattr(model, method), bad) for model in models)
            assert (str(ours), type(ours)) == (str(theirs), type(theirs))


BAD_Y: dict[type, dict[str, Any]] = {
    MLPClassifier: {
        "too short": LABELS[:-1],
        "nothing": None,
        "nan": np.where(LABELS == 1, nan, LABELS),
        "three dimensions": COLUMNS[:, :, None],
        "several classes of several outputs": np.column_stack([LABELS, LABELS]),
        "ragged": [[1], [1, 2]] * 15,
    },
    MLPRegressor: {
        "too short": NUMBERS[:-1],
        "nothing": None,
        "nan": np.where(LABELS == 1, nan, LABELS),
        "infinity": np.where(LABELS == 1, inf, LABELS),
        "three dimensions": NUMBERS[:, :, None],
        "ragged": [[1.0], [1.0, 2.0]] * 15,
        "words": np.array(["one", "two", "three"], dtype=object)[LABELS],
    },
}


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        pytest.param(kind, bad, id=f"{kind.__name__}-{name}")
        for kind in KINDS
        for name, bad in BAD_Y[kind].items()
    ],
)
def test_bad_y_is_refused_in_the_words_of_scikit_learn(kind: type, bad: Any) -> None:
    ours, theirs = (refusal(of(**BASE).fit, X, bad) for of in (kind, THEIRS[kind]))
    assert (str(ours), type(ours)) == (str(theirs), type(theirs))


@pytest.mark.parametrize("bad", [NUMBERS[:, 0], NUMBERS], ids=["a column", "columns"])
def test_numbers_are_no_classes(bad: HostArray) -> None:
    assert "Unknown label type: continuous" in str(refusal(MLPClassifier(**BASE).fit, X, bad))


def test_counts_are_not_negative() -> None:
    refused = refusal(MLPRegressor("poisson", **BASE).fit, X, NUMBERS)
    assert "poisson needs targets from 0" in str(refused)


BAD_WEIGHTS: dict[str, tuple[Any, str]] = {
    "negative": (np.where(LABELS == 1, -0.5, 1.0), "negative"),
    "all zero": (np.zeros(N), "Sample weights must contain at least one non-zero number."),
    "all zero, as one number": (0.0, "Sample weights must contain at least one non-zero number."),
    "too few": (np.ones(N - 1), "sample_weight.shape == (29,), expected (30,)!"),
    "too many": (np.ones(N + 1), "sample_weight.shape == (31,), expected (30,)!"),
    "a table": (np.ones((N, 1)), "Sample weights must be 1D array or scalar"),
    "none": (np.ones(0), "0 sample(s)"),
    "nan": (np.where(LABELS == 1, nan, 1.0), "Input sample_weight contains NaN"),
    "infinity": (np.where(LABELS == 1, inf, 1.0), "Input sample_weight contains infinity"),
    "words": (np.array(["heavy"] * N, dtype=object), "heavy"),
}


@EACH_KIND
@pytest.mark.parametrize(("bad", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_bad_weights_are_refused(kind: type, bad: Any, words: str, solver: str) -> None:
    model = kind(**BASE, solver=solver)
    assert words in str(refusal(model.fit, X, KINDS[kind], bad))
    if solver == "adam":
        more = {"classes": np.arange(3)} if kind is MLPClassifier else {}
        assert words in str(refusal(model.partial_fit, X, KINDS[kind], bad, **more))


@pytest.mark.parametrize("value", [nan, inf], ids=["nan", "inf"])
def test_what_is_not_finite_is_refused_on_every_backend(backend: Backend, value: float) -> None:
    dtype = "float32" if backend.name == "jax" else "float64"
    bad = backend.asarray(changed(2, 1, value), dtype)
    good, y = backend.asarray(X, dtype), backend.asarray(LABELS)
    words = "contains NaN" if np.isnan(value) else "contains infinity"
    if backend.name != "numpy":
        words = f"X must be finite, but X[2, 1] is {value}"
    model = MLPClassifier(**BASE)
    assert words in str(refusal(model.fit, bad, y))
    quietly(model.fit, good, y)
    before = on_host(model.coefs_[0]).copy()
    for call in (model.predict, model.predict_proba, lambda X_: model.partial_fit(X_, y)):
        assert words in str(refusal(call, bad))
    refused = refusal(MLPClassifier(**BASE).fit, good, y, X_val=bad, y_val=y)
    assert "NaN" in str(refused) or "inf" in str(refused) or "finite" in str(refused)
    weights = backend.asarray(np.where(LABELS == 1, value, 1.0), dtype)
    assert "sample_weight contains" in str(refusal(model.fit, good, y, weights))
    bad_numbers = backend.asarray(np.where(LABELS == 1, value, 0.5), dtype)
    assert "contains" in str(refusal(MLPRegressor(**BASE).fit, good, bad_numbers))
    np.testing.assert_array_equal(on_host(model.coefs_[0]), before)


@EACH_KIND
def test_the_shape_of_device_arrays_is_checked(kind: type, backend: Backend) -> None:
    there, y = (
        backend.asarray(X.astype(np.float32)),
        backend.asarray(KINDS[kind].astype(np.float32)),
    )
    model = kind(**BASE)
    assert "Expected 2D array, got 1D array instead" in str(refusal(model.fit, there[:, 0], y))
    assert "inconsistent numbers of samples: [30, 29]" in str(refusal(model.fit, there, y[:-1]))
    assert "requires y to be passed" in str(refusal(model.fit, there, None))
    quietly(model.fit, there, y)
    few = backend.asarray(X[:, :3].astype(np.float32))
    assert "X has 3 features, but" in str(refusal(model.predict, few))
    assert "X has 3 features, but" in str(refusal(model.partial_fit, few, y))


def test_a_column_of_device_labels_is_warned_of(backend: Backend) -> None:
    model = MLPClassifier(**BASE)
    with pytest.warns() as told:
        model.fit(backend.asarray(X.astype(np.float32)), backend.asarray(LABELS[:, None]))
    assert DataConversionWarning in [one.category for one in told]
    assert model.n_outputs_ == 3


def test_x_must_be_where_it_is_trained(backend: Backend, strict_backend: Backend) -> None:
    other = resolve("numpy") if backend.name != "numpy" else strict_backend
    there = backend.asarray(X.astype(np.float32))
    model = MLPClassifier(**BASE, backend=other.name, device=other.device)
    if backend.name == "numpy":  # data on the host go anywhere
        assert quietly(model.fit, there, LABELS).backend_ == other
        return
    refused = refusal(model.fit, there, LABELS)
    assert isinstance(refused, ValueError)
    assert f"X is on {backend.name}, device {backend.device_name}, but {other.name}" in str(refused)
    assert not hasattr(model, "network_")


def test_x_must_be_on_the_device_it_is_trained_on(strict_backend: Backend) -> None:
    there = strict_backend.asarray(X)
    for given in ({"device": "device2"}, {"backend": "array_api_strict", "device": "device2"}):
        refused = refusal(MLPClassifier(**BASE, **given).fit, there, LABELS)
        assert "device1" in str(refused)
        assert "device2" in str(refused)
    elsewhere = resolve("array_api_strict", "device2").asarray(X)
    model = quietly(MLPClassifier(**BASE).fit, there, LABELS)
    assert "same device" in str(refusal(model.predict, elsewhere))
    assert "same device" in str(refusal(model.partial_fit, elsewhere, LABELS))
    moved = model.to("array_api_strict", "device2")
    np.testing.assert_array_equal(on_host(moved.predict(elsewhere)), on_host(model.predict(there)))


def test_to_refuses_what_is_not_there(strict_backend: Backend) -> None:
    with pytest.raises(NotFittedError):
        MLPClassifier().to("numpy")
    model = fitted(MLPClassifier)
    assert "did you mean 'numpy'?" in str(refusal(model.to, "numpi"))
    assert "device7" in str(refusal(model.to, "array_api_strict", "device7"))


# --- validation data -----------------------------------------------------------------------------


BAD_VALIDATION: dict[str, tuple[Given, Given, str]] = {
    "no y_val": ({}, {"X_val": X}, "y_val is missing: give X_val and y_val, or neither"),
    "no X_val": ({}, {"y_val": LABELS}, "X_val is missing: give X_val and y_val, or neither"),
    "a fraction besides": (
        {"validation_fraction": 0.2},
        {"X_val": X, "y_val": LABELS},
        "X_val and validation_fraction both say what to validate with",
    ),
    "a fraction and early stopping besides": (
        {"validation_fraction": 0.3, "early_stopping": True},
        {"X_val": X, "y_val": LABELS},
        "X_val and validation_fraction both say what to validate with",
    ),
    "other lengths": ({}, {"X_val": X, "y_val": LABELS[:-1]}, "inconsistent numbers of samples"),
    "other features": ({}, {"X_val": X[:, :3], "y_val": LABELS}, "X has 3 features"),
    "nan": ({}, {"X_val": changed(1, 1, nan), "y_val": LABELS}, "contains NaN"),
    "no rows": ({}, {"X_val": X[:0], "y_val": LABELS[:0]}, "0 sample(s)"),
}


@EACH_KIND
@pytest.mark.parametrize(("given", "more", "words"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_bad_validation_data_are_refused(kind: type, given: Given, more: Given, words: str) -> None:
    model = kind(**BASE | given)
    assert words in str(refusal(model.fit, X, KINDS[kind], **more))


def test_validation_data_have_known_classes() -> None:
    more = {"X_val": X, "y_val": LABELS + 1}
    refused = refusal(MLPClassifier(**BASE).fit, X, LABELS, **more)
    assert "`y` has classes not in `self.classes_`" in str(refused)
    fewer = {"X_val": X[:3], "y_val": np.zeros(3, dtype=int)}  # which need not be all
    assert len(quietly(MLPClassifier(**BASE).fit, X, LABELS, **fewer).validation_scores_) == 2


def test_validation_data_are_of_the_namespace_of_x(strict_backend: Backend) -> None:
    more = {"X_val": strict_backend.asarray(X), "y_val": LABELS}
    refused = refusal(MLPClassifier(**BASE).fit, X, LABELS, **more)
    assert "must use the same namespace" in str(refused)


def test_validation_targets_have_as_many_columns() -> None:
    for kind, y, y_val in (
        (MLPRegressor, NUMBERS, NUMBERS[:, 0]),
        (MLPRegressor, NUMBERS[:, 0], NUMBERS),
        (MLPClassifier, COLUMNS, LABELS),
        (MLPClassifier, LABELS, COLUMNS),
    ):
        model = kind(**BASE)
        assert isinstance(refusal(model.fit, X, y, X_val=X, y_val=y_val), ValueError)


def test_parts_have_no_validation_data() -> None:
    with pytest.raises(TypeError, match="X_val"):
        MLPRegressor(**BASE).partial_fit(X, NUMBERS, X_val=X, y_val=NUMBERS)


# --- class weights -------------------------------------------------------------------------------


BAD_CLASS_WEIGHTS: dict[str, tuple[Any, Any, str]] = {
    "an unknown class": (LABELS, {0: 2.0, 7: 1.0}, "class_weight names [7], but the classes are"),
    "an unknown string": (np.array(["a", "b", "c"])[LABELS], {"d": 1.0}, "names ['d']"),
    "positions of strings": (np.array(["a", "b", "c"])[LABELS], {0: 2.0}, "names [0]"),
    "negative": (LABELS, {0: -1.0}, "class_weight must be finite and not negative"),
    "infinite": (LABELS, {0: inf}, "class_weight must be finite and not negative"),
    "nan": (LABELS, {0: nan}, "class_weight must be finite and not negative"),
    "a word": (LABELS, {0: "much"}, "class_weight must be finite and not negative"),
    "all zero": (LABELS, {0: 0.0, 1: 0.0, 2: 0.0}, "class_weight is 0 for every class"),
    "of several labels": (COLUMNS, {0: 2.0}, "class_weight is for one class a sample"),
    "balanced labels": (COLUMNS, "balanced", "class_weight is for one class a sample"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(("y", "bad", "words"), BAD_CLASS_WEIGHTS.values(), ids=BAD_CLASS_WEIGHTS)
def test_bad_class_weights_are_refused(y: Any, bad: Any, words: str, solver: str) -> None:
    model = MLPClassifier(**BASE, class_weight=bad, solver=solver)
    refused = refusal(model.fit, X, y)
    assert isinstance(refused, ValueError)
    assert words in str(refused)


def test_parts_cannot_be_balanced() -> None:
    model = MLPClassifier(**BASE, class_weight="balanced")
    refused = refusal(model.partial_fit, X, LABELS, classes=[0, 1, 2])
    assert "class_weight 'balanced' is not supported for partial_fit" in str(refused)


# --- solvers and losses --------------------------------------------------------------------------


NOT_FOR_LBFGS: dict[str, tuple[Given, Given, str]] = {
    "dropout": ({"dropout": 0.1}, {}, "dropout"),
    "dropout of features": ({"dropout": Dropout(0.0, 0.1)}, {}, "dropout"),
    "clipping": ({"gradient_clip": 1.0}, {}, "gradient_clip"),
    "callbacks": ({"callbacks": [print]}, {}, "callbacks"),
    "one callback": ({"callbacks": print}, {}, "callbacks"),
    "validation data": ({}, {"X_val": X, "y_val": LABELS}, "X_val"),
}


@EACH_KIND
@pytest.mark.parametrize(("given", "more", "name"), NOT_FOR_LBFGS.values(), ids=NOT_FOR_LBFGS)
def test_lbfgs_refuses_what_it_has_no_use_for(
    kind: type, given: Given, more: Given, name: str
) -> None:
    model = kind(**BASE | given, solver="lbfgs")
    refused = refusal(model.fit, X, KINDS[kind], **more)
    assert str(refused) == f"{name} is for the stochastic solvers; solver='lbfgs' has none"


@EACH_KIND
def test_lbfgs_takes_what_means_nothing(kind: type) -> None:
    fitted(kind, solver="lbfgs", dropout=Dropout(), gradient_clip=None, callbacks=[])


@EACH_KIND
def test_lbfgs_has_no_parts(kind: type) -> None:
    model = kind(**BASE, solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as refused:
        model.partial_fit(X, KINDS[kind])
    assert "lbfgs is not stochastic" in str(refused.value.__cause__)


LOSSES_THAT_DO_NOT_FIT: dict[str, tuple[type, Any, Any, str]] = {
    "three classes in one output": (
        MLPClassifier,
        LABELS,
        LOSSES["binary_cross_entropy"],
        "the loss binary_cross_entropy cannot tell 3 classes",
    ),
    "several labels as classes": (
        MLPClassifier,
        COLUMNS,
        LOSSES["softmax_cross_entropy"],
        "the loss softmax_cross_entropy cannot tell several labels",
    ),
    "numbers for classes": (
        MLPClassifier,
        LABELS,
        LOSSES["squared_error"],
        "the loss squared_error cannot tell 3 classes",
    ),
    "quantiles for labels": (
        MLPClassifier,
        COLUMNS,
        Quantile(),
        "the loss quantile cannot tell several labels",
    ),
    "classes for numbers": (
        MLPRegressor,
        NUMBERS,
        LOSSES["softmax_cross_entropy"],
        "the loss softmax_cross_entropy is for classes, and not for MLPRegressor",
    ),
    "labels for numbers": (
        MLPRegressor,
        NUMBERS,
        LOSSES["binary_cross_entropy"],
        "the loss binary_cross_entropy is for classes, and not for MLPRegressor",
    ),
    "a threshold for each of two": (MLPRegressor, NUMBERS, Huber((1.0, 2.0)), "2 values"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("kind", "y", "loss", "words"), LOSSES_THAT_DO_NOT_FIT.values(), ids=LOSSES_THAT_DO_NOT_FIT
)
def test_a_loss_that_does_not_fit_is_refused(
    kind: type, y: Any, loss: Any, words: str, solver: str
) -> None:
    assert words in str(refusal(kind(**BASE, loss=loss, solver=solver).fit, X, y))


# --- going on ------------------------------------------------------------------------------------


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
        NUMBERS,
        {"hidden_layer_sizes": (3, 3)},
        lambda model: model.partial_fit(X, NUMBERS),
        "hidden_layer_sizes is [3, 3] now, but",
    ),
    "another activation": (
        MLPRegressor,
        NUMBERS,
        {"activation": "tanh"},
        lambda model: model.partial_fit(X, NUMBERS),
        "activation",
    ),
    "another loss": (
        MLPRegressor,
        NUMBERS,
        {"loss": "huber", "warm_start": True},
        lambda model: model.fit(X, NUMBERS),
        "loss",
    ),
    "another dtype": (
        MLPRegressor,
        NUMBERS,
        {"dtype": "float32", "warm_start": True},
        lambda model: model.fit(X, NUMBERS),
        "dtype",
    ),
    "fewer columns": (
        MLPRegressor,
        NUMBERS,
        {"warm_start": True},
        lambda model: model.fit(X, NUMBERS[:, 0]),
        "outputs",
    ),
    "more columns in parts": (
        MLPRegressor,
        NUMBERS[:, 0],
        {},
        lambda model: model.partial_fit(X, NUMBERS),
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
        "X has 3 features, but MLPClassifier is expecting 4 features as input",
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


@pytest.mark.parametrize(("kind", "y", "given", "call", "words"), GOING_ON.values(), ids=GOING_ON)
def test_a_refusal_to_go_on_leaves_the_network_as_it_is(
    kind: type, y: Any, given: Given, call: Callable[[Any], Any], words: str
) -> None:
    model = fitted(kind, y)
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
    model.set_params(**BASE | {name: kind().get_params()[name] for name in given})
    model.set_params(**BASE)
    quietly(model.partial_fit, X, y)  # and it can go on


METHODS = ("predict", "predict_proba", "predict_log_proba", "score", "predict_quantiles", "save")


@EACH_KIND
def test_what_is_not_fitted_cannot_be_asked(kind: type) -> None:
    model = kind() if kind is MLPClassifier else kind("quantile")
    arguments = {"score": (X, KINDS[kind]), "save": ("nowhere",)}
    for method in METHODS:
        if hasattr(model, method):
            with pytest.raises(
                NotFittedError, match=f"This {kind.__name__} instance is not fitted"
            ):
                getattr(model, method)(*arguments.get(method, (X,)))
    for name in ("coefs_", "intercepts_", "backend_", "network_", "classes_", "loss_curve_"):
        assert not hasattr(model, name)


@EACH_KIND
def test_weights_that_do_not_fit_cannot_be_set(kind: type) -> None:
    model = fitted(kind)
    with pytest.raises(ValueError, match=r"shorter|argument 2"):
        model.coefs_ = model.coefs_[:1]
    with pytest.raises(ValueError, match="reshape"):
        model.intercepts_ = [np.zeros(2), np.zeros(3 if kind is MLPClassifier else 1)]
    with pytest.raises(AttributeError, match="before it is fitted"):
        kind().coefs_ = []
