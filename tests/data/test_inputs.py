"""Bad data and bad settings are refused in one clear line before training; good data is not."""

import logging
from collections.abc import Callable, Iterator, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import arraymlp.training.loop
from arraymlp import Backend, MultilayerPerceptron, Run, resolve, train
from arraymlp.data.inputs import targets
from arraymlp.initializers import normal
from arraymlp.nn.initializers import INITIALIZERS
from arraymlp.nn.losses import LOSSES, Huber, Loss, Quantile
from arraymlp.optimizers import SGD
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.training.settings import PRESETS
from conftest import on_host

N = 12
# Whole numbers from 0 to 9, which every numeric dtype can hold.
X = np.random.default_rng(0).integers(0, 10, (N, 4)).astype(np.float32)
Y = np.arange(N) % 3
NUMBERS = X[:, :2] / 10
COLUMNS = np.eye(3, dtype=np.int64)[Y]


def quick(*args: Any, **settings: Any) -> Run:
    """Train as little as possible, on NumPy where nothing else is said."""
    small = {"epochs": 1, "batch_size": 4, "backend": "numpy"}
    if "network" not in settings:
        small["hidden"] = (3,)
    return train(*args, **{**small, **settings})


def began(*args: Any) -> None:
    pytest.fail("training began")


def refusal(call: Callable[..., Any], *args: Any, **settings: Any) -> str:
    """The one line with which a call is refused before any training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arraymlp.training.loop, "run_epoch", began)
        with pytest.raises((ValueError, TypeError)) as caught:
            call(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_says(message: str, words: Sequence[str]) -> None:
    for word in words:
        assert word in message


def changed(row: int, column: int, value: float, dtype: str = "float32") -> np.ndarray:
    values = X.astype(dtype)
    values[row, column] = value
    return values


# X

BAD_X = {
    "number": (3.0, ["X must be 2-D (samples, features)", "0-D"]),
    "1-D": (X[:, 0], ["X must be 2-D (samples, features)", "1-D", "(12,)"]),
    "3-D": (X[None], ["X must be 2-D (samples, features)", "3-D", "(1, 12, 4)"]),
    "strings": (X.astype(str), ["X must be numeric", "<U32"]),
    "objects": (X.astype(object), ["X must be numeric", "object"]),
    "None": ([[None, 1.0]] * N, ["X must be numeric", "object"]),
    "mapping": ({"a": X}, ["X must be numeric", "object"]),
    "complex": (X + 1j, ["X must be numeric", "complex64"]),
    "dates": (X.astype("datetime64[s]"), ["X must be numeric", "datetime64"]),
    "durations": (X.astype("timedelta64[s]"), ["X must be numeric", "timedelta64"]),
    "huge integers": ([[10**400, 1]] * N, ["X must be numeric", "object"]),
    "ragged": ([[1.0, 2.0]] * (N - 1) + [[1.0]], ["X is not an array", "inhomogeneous"]),
    "no rows": (X[:0], ["X is empty", "(0, 4)"]),
    "no features": (X[:, :0], ["X is empty", "(12, 0)"]),
    "NaN": (changed(3, 2, nan), ["X must be finite", "X[3, 2] is nan", "1 such"]),
    "infinity": (changed(5, 0, -inf), ["X must be finite", "X[5, 0] is -inf", "1 such"]),
    "overflow": (changed(7, 1, 1e39, "float64"), ["X[7, 1]", "inf as float32", "1 such"]),
}


@pytest.mark.parametrize(("bad", "words"), BAD_X.values(), ids=BAD_X)
def test_bad_x_is_refused(bad: Any, words: list[str]) -> None:
    assert_says(refusal(quick, bad, Y), words)


@pytest.mark.parametrize(("bad", "words"), BAD_X.values(), ids=BAD_X)
def test_bad_x_is_refused_in_prediction(
    bad: Any, words: list[str], classifier: MultilayerPerceptron
) -> None:
    for method in (classifier.predict, classifier.predict_proba, classifier.logits):
        assert_says(refusal(method, bad), words)


@pytest.mark.parametrize(("bad", "words"), BAD_X.values(), ids=BAD_X)
def test_bad_validation_x_is_refused(bad: Any, words: list[str]) -> None:
    message = refusal(quick, X, Y, validation=(bad, Y))
    assert "the validation X" in message
    assert_says(message.replace("the validation X", "X"), words)


def test_all_values_that_are_not_finite_are_counted(backend: Backend) -> None:
    bad = changed(3, 2, nan)
    bad[4, 0], bad[9, 3] = inf, -inf
    message = refusal(quick, bad, Y, backend=backend.name, device=backend.device)
    assert_says(message, ["X[3, 2] is nan", "3 such values"])


def test_bad_values_beyond_the_first_thousands_of_rows_are_found() -> None:
    many = np.zeros((10_000, 2), np.float32)
    many[9_876, 1] = nan
    assert "X[9876, 1] is nan" in refusal(quick, many, np.arange(10_000) % 2)


def test_what_overflows_float32_fits_float64() -> None:
    assert quick(changed(7, 1, 1e39, "float64"), Y, dtype="float64").network.dtype == "float64"


def test_x_and_y_come_together() -> None:
    assert_says(refusal(quick, X), ["y is missing", "MNIST"])
    assert_says(refusal(quick, None, Y), ["X is missing", "MNIST"])


# y

BAD_Y = {
    "number": (3, {}, ["y must be 1-D or 2-D", "0-D"]),
    "3-D": (np.zeros((N, 2, 2)), {}, ["y must be 1-D or 2-D", "3-D", "(12, 2, 2)"]),
    "too short": (Y[:-1], {}, ["y has 11 samples", "12 rows"]),
    "lying": (Y[None], {}, ["y has 1 samples", "12 rows"]),
    "empty": (Y[:0], {}, ["y has 0 samples", "12 rows"]),
    "no columns": (NUMBERS[:, :0], {}, ["y", "empty", "(12, 0)"]),
    "no integer columns": (COLUMNS[:, :0], {}, ["y", "empty", "(12, 0)"]),
    "strings": (["a", "b", "c"] * 4, {}, ["y must be numeric", "<U1"]),
    "objects": ([None] * N, {}, ["y must be numeric", "object"]),
    "complex": (Y + 1j, {}, ["y must be numeric", "complex128"]),
    "dates": (Y.astype("datetime64[s]"), {}, ["y must be numeric", "datetime64"]),
    "ragged": ([[1, 0]] * (N - 1) + [[1]], {}, ["y is not an array", "inhomogeneous"]),
    "negative labels": (Y - 1, {}, ["labels must not be negative", "y contains -1"]),
    "labels beyond int64": (
        Y.astype(np.uint64) + np.uint64(2**63),
        {},
        ["labels", str(2**63)[:15]],
    ),
    "float labels": (
        Y.astype(float),
        {"loss": "softmax_cross_entropy"},
        ["needs integer labels", "float64", "astype(int)", "squared_error"],
    ),
    "float labels for two classes": (
        (Y > 0).astype(float),
        {"loss": "binary_cross_entropy"},
        ["needs integer labels", "float64", "astype(int)", "squared_error"],
    ),
    "one class": (Y * 0 + 7, {}, ["y contains one class only (7)", "two or more"]),
    "three classes of two": (
        Y,
        {"loss": "binary_cross_entropy"},
        ["needs two classes", "y has 3", "softmax_cross_entropy"],
    ),
    "NaN": (
        np.where(Y == 1, nan, 1.0),
        {},
        ["y must be finite", "y[1, 0] is nan", "4 such"],
    ),
    "infinite": (np.where(COLUMNS, 1.0, inf), {}, ["y[0, 1] is inf", "24 such"]),
    "multi-label above 1": (COLUMNS * 2, {}, ["from 0 to 1", "0 to 2", "squared_error"]),
    "multi-label below 0": (COLUMNS - 1, {}, ["from 0 to 1", "-1 to 0", "squared_error"]),
    "one-hot of two": (
        np.ones((N, 3)),
        {"loss": "softmax_cross_entropy"},
        ["one-hot", "add up to 1", "off by 2", "binary_cross_entropy"],
    ),
    "a negative count": (
        np.where(X[:, :2] == X[5, 1], -3.0, 2.0),
        {"loss": "poisson"},
        ["poisson needs targets from 0", "] is -3 ("],
    ),
    "negative integer counts": (
        Y - 1,
        {"loss": "poisson"},
        ["poisson needs targets from 0", "y[0, 0] is -1", "4 such"],
    ),
    "one-hot of none": (
        np.zeros((N, 3)),
        {"loss": "softmax_cross_entropy"},
        ["one-hot", "add up to 1", "off by 1"],
    ),
}


@pytest.mark.parametrize(("bad", "settings", "words"), BAD_Y.values(), ids=BAD_Y)
def test_bad_y_is_refused(bad: Any, settings: dict[str, Any], words: list[str]) -> None:
    assert_says(refusal(quick, X, bad, **settings), words)


# Validation


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1.5, -0.1, nan])
def test_a_validation_fraction_lies_between_0_and_1(fraction: float) -> None:
    message = refusal(quick, X, Y, validation=fraction)
    assert_says(message, ["validation fraction", "between 0 and 1", repr(fraction)])


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_validation_fraction_leaves_neither_side_empty(fraction: float) -> None:
    message = refusal(quick, X, Y, validation=fraction)
    assert_says(message, [str(fraction), "12 rows", "empty"])


@pytest.mark.parametrize("things", [(), (X,), (X, Y, Y, Y)], ids=len)
def test_a_validation_tuple_has_two_or_three_things(things: tuple[Any, ...]) -> None:
    message = refusal(quick, X, Y, validation=things)
    assert_says(message, ["validation must be", "(X, y)", f"{len(things)} things"])


@pytest.mark.parametrize("other", [True, "0.5", [X, Y], X], ids=lambda v: type(v).__name__)
def test_validation_is_a_fraction_or_a_tuple(other: Any) -> None:
    message = refusal(quick, X, Y, validation=other)
    assert_says(message, ["validation must be", "a fraction", "(X, y)"])


@pytest.mark.parametrize(
    ("y", "validation", "words"),
    [
        (Y, (X[:, :3], Y), ["the validation X has 3 features", "4 are expected"]),
        (Y, (X, Y[:5]), ["the validation y has 5 samples", "12 rows"]),
        (Y, (X, Y + 1), ["the validation y", "labels the network does not know", "[3]"]),
        (Y, (X, Y.astype(float)), ["the validation y", "integer labels", "float64"]),
        (Y, (X, Y - 1), ["the validation y", "negative", "-1"]),
        (Y, (X, None), ["the validation y must be numeric"]),
        (NUMBERS, (X, X[:, :3]), ["the validation y has 3 columns", "2 outputs"]),
        (NUMBERS, (X, NUMBERS * nan), ["the validation y must be finite"]),
    ],
)
def test_validation_data_must_fit_the_training_data(
    y: Any, validation: tuple[Any, Any], words: list[str]
) -> None:
    assert_says(refusal(quick, X, y, validation=validation), words)


def test_validation_counts_are_not_negative_either() -> None:
    message = refusal(quick, X, Y, loss="poisson", validation=(X, Y - 1))
    assert_says(message, ["poisson needs targets from 0", "the validation y[0, 0] is -1"])


def test_validation_need_not_hold_every_class() -> None:
    run = quick(X, Y, validation=(X[:1], Y[:1]))
    assert len(run.history["validation_error"]) == 1


def test_rows_that_fill_no_minibatch_are_dropped_with_a_warning_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="last 2 of 12 samples") as record:
        train(X, Y, hidden=(3,), epochs=1, batch_size=5, drop_last=True, backend="numpy")
    assert [warning.filename for warning in record] == [__file__]


def test_going_on_warns_of_dropped_rows_too() -> None:
    run = quick(X, Y)
    with pytest.warns(UserWarning, match="last 2 of 12 samples") as record:
        train(network=run, epochs=1, batch_size=5, drop_last=True)
    assert [warning.filename for warning in record] == [__file__]


# Settings

WHOLE_NUMBERS = (-1, 1.5, "3", True)
BAD_SETTINGS = [
    *(({"hidden": (width,)}, ["width", repr(width)]) for width in (0, *WHOLE_NUMBERS)),
    ({"hidden": (5, 0)}, ["width", "from 1", "not 0"]),
    ({"hidden": (5, 2.5)}, ["width", "from 1", "not 2.5"]),
    ({"hidden": (5, True)}, ["width", "from 1", "not True"]),
    ({"hidden": (5, "5")}, ["width", "from 1", "not '5'"]),
    ({"hidden": (5, (5, 5))}, ["width", "from 1", "not (5, 5)"]),
    ({"hidden": "55"}, ["hidden must be a sequence", "'55'"]),
    ({"hidden": 5}, ["hidden must be a sequence", "5"]),
    ({"activation": "rleu"}, ["unknown activation 'rleu'", "did you mean 'relu'?", "tanh"]),
    ({"activation": 3}, ["unknown activation 3", "relu", "tanh"]),
    ({"loss": "squared_eror"}, ["unknown loss", "did you mean 'squared_error'?", *LOSSES]),
    ({"loss": "mse"}, ["unknown loss 'mse'", *LOSSES]),
    ({"loss": 3}, ["unknown loss 3", *LOSSES]),
    ({"optimizer": "sdg"}, ["unknown optimizer 'sdg'", "did you mean 'sgd'?", *OPTIMIZERS]),
    ({"optimizer": 3}, ["optimizer", "3"]),
    ({"optimizer": SGD}, ["optimizer", "SGD"]),
    ({"initializer": "he_norml"}, ["unknown init", "did you mean 'he_normal'?", *INITIALIZERS]),
    ({"initializer": 3}, ["unknown initializer 3", *INITIALIZERS]),
    ({"preset": "labb"}, ["unknown preset 'labb'", "did you mean 'lab'?", *PRESETS]),
    ({"preset": None}, ["unknown preset None", *PRESETS]),
    ({"backend": "nunpy"}, ["unknown backend 'nunpy'", "did you mean 'numpy'?", "torch"]),
    ({"dtype": "float16"}, ["unknown dtype 'float16'", "float32, float64"]),
    ({"dtype": "double"}, ["unknown dtype 'double'", "float32, float64"]),
    ({"dtype": np.float32}, ["unknown dtype", "float32, float64"]),
    ({"reduction": "mena"}, ["unknown reduction 'mena'", "did you mean 'mean'?", "sum"]),
    *(
        ({"learning_rate": rate}, ["learning_rate must be a positive number", repr(rate)])
        for rate in (0, -0.1, nan, inf, "0.1", True)
    ),
    ({"learning_rate": [0.1, -0.1]}, ["learning_rate must be a positive number", "-0.1"]),
    ({"learning_rate": [0.1, "0.1"]}, ["learning_rate must be a positive number", "'0.1'"]),
    ({"learning_rate": [0.1, 0.2]}, ["learning_rate has 2 values", "one network"]),
    ({"learning_rate": []}, ["learning_rate", "empty"]),
    ({"learning_rate": [0.1], "seed": [0, 1]}, ["learning_rate has 1 values", "2 members"]),
    ({"learning_rate": [0.1] * 3, "seed": [0, 1]}, ["learning_rate has 3 values", "2 members"]),
    (
        {"optimizer": SGD(momentum=[0.5] * 3), "seed": [0, 1]},
        ["momentum has 3 values", "2 members"],
    ),
    *(({"epochs": n}, ["epochs must be a whole number from 0", repr(n)]) for n in WHOLE_NUMBERS),
    *(
        ({"batch_size": n}, ["batch_size must be a whole number from 1", repr(n)])
        for n in (0, *WHOLE_NUMBERS)
    ),
    ({"batch_size": 13}, ["batch_size 13 is larger than the data", "12 training samples"]),
    (
        {"batch_size": 7, "validation": 0.5},
        ["batch_size 7 is larger than the data", "6 training samples"],
    ),
    *(({"seed": n}, ["seed must be a whole number from 0", repr(n)]) for n in WHOLE_NUMBERS),
    ({"seed": [0, 1.5]}, ["seed must be a whole number from 0", "1.5"]),
    ({"seed": []}, ["seed", "empty"]),
    *(({"order_seed": n}, ["order_seed must be a whole", repr(n)]) for n in WHOLE_NUMBERS),
    *(
        ({name: "no"}, [name, "'no'", "True", "False"])
        for name in ("shuffle", "drop_last", "training_error", "probes")
    ),
    ({"callbacks": [3]}, ["callback", "3"]),
    ({"callbacks": 3}, ["callback", "3"]),
    ({"network": "relu"}, ["network must be", "str"]),
    ({"device": "gpu"}, ["NumPy computes on 'cpu' alone", "'gpu'"]),
]


@pytest.mark.parametrize(
    ("bad", "words"), BAD_SETTINGS, ids=["-".join(map(str, s.values())) for s, _ in BAD_SETTINGS]
)
def test_a_bad_setting_is_refused(bad: dict[str, Any], words: list[str]) -> None:
    assert_says(refusal(quick, X, Y, **bad), words)


@pytest.mark.parametrize(
    "several",
    [
        {"hidden": [3, 2]},
        {"hidden": range(3, 1, -1)},
        {"hidden": np.array([3, 2])},
        {"hidden": (np.int64(3), np.uint8(2))},
        {"seed": range(2)},
        {"seed": np.arange(2)},
        {"seed": [0, 1], "learning_rate": np.array([0.1, 0.2], np.float32)},
        {"learning_rate": np.array(0.1)},
        {"learning_rate": np.float32(0.1)},
    ],
    ids=repr,
)
def test_values_may_come_in_any_sequence(several: dict[str, Any]) -> None:
    settings = quick(X, Y, **several).settings
    for name, value in several.items():
        plain = getattr(settings, name)
        assert plain == (tuple(np.asarray(value).tolist()) if np.ndim(value) else float(value))


def test_a_bad_setting_is_refused_before_the_data_is_looked_at() -> None:
    assert "unknown activation" in refusal(quick, "no data", Y, activation="rleu")


@pytest.mark.parametrize("momentum", [1, -0.1, nan, "0.9", True, [0.5, 1]])
def test_momentum_is_from_0_up_to_1(momentum: Any) -> None:
    bad = momentum[-1] if isinstance(momentum, list) else momentum
    message = refusal(SGD, momentum)
    assert_says(message, ["momentum must be from 0 up to but not 1", repr(bad)])


def test_momentum_of_members_is_not_empty() -> None:
    assert "momentum is empty" in refusal(SGD, [])


def test_nesterov_needs_momentum() -> None:
    assert "nesterov needs a momentum" in refusal(SGD, 0.0, nesterov=True)


@pytest.mark.parametrize("std", [0, -1.0, nan, inf, "1", None])
def test_a_standard_deviation_is_positive(std: Any) -> None:
    assert_says(refusal(normal, std), ["std must be a positive number", repr(std)])


# Networks that exist


@pytest.fixture(scope="module")
def classifier() -> MultilayerPerceptron:
    return quick(X, Y).network


@pytest.fixture(scope="module")
def regressor() -> MultilayerPerceptron:
    return quick(X, NUMBERS).network


@pytest.mark.parametrize(
    "own",
    [
        {"hidden": (3,)},
        {"activation": "relu"},
        {"loss": "auto"},
        {"initializer": "auto"},
        {"dtype": "float32"},
        {"hidden": (3,), "dtype": "float32"},
    ],
    ids=", ".join,
)
def test_what_a_network_has_is_not_given_again(
    own: dict[str, Any], classifier: MultilayerPerceptron
) -> None:
    message = refusal(quick, X, Y, network=classifier, **own)
    assert_says(message, [*own, "network=, which has its own"])


def test_a_run_has_a_seed_and_a_network_has_none(classifier: MultilayerPerceptron) -> None:
    run = quick(X, Y, network=classifier, seed=3)  # of dropout
    assert run.settings.seed == 3
    assert_says(refusal(quick, X, Y, network=run, seed=3), ["seed", "which has its own"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((), ["X and y are needed"]),
        ((X,), ["y is missing"]),
        ((X[:, :3], Y), ["X has 3 features", "4 are expected"]),
        ((X, Y + 1), ["labels the network does not know: [3]", "[0, 1, 2]"]),
        ((X, NUMBERS[:, 0]), ["needs integer labels", "float32"]),
        ((X, COLUMNS[:, :2]), ["one-hot"]),
    ],
)
def test_going_on_needs_data_that_fits(
    data: tuple[Any, ...], words: list[str], classifier: MultilayerPerceptron
) -> None:
    assert_says(refusal(quick, *data, network=classifier), words)


def test_going_on_needs_as_many_columns(regressor: MultilayerPerceptron) -> None:
    message = refusal(quick, X, X[:, :3], network=regressor)
    assert_says(message, ["y has 3 columns", "2 outputs"])


def test_going_on_with_quantiles_needs_as_many_columns() -> None:
    network = quick(X, NUMBERS, loss="quantile").network
    message = refusal(quick, X, X[:, :3], network=network)
    assert_says(message, ["y has 3 columns", "6 outputs, 3 a column"])


def test_going_on_with_a_run_needs_a_batch_that_its_data_fills() -> None:
    message = refusal(quick, network=quick(X, Y), batch_size=13)
    assert_says(message, ["batch_size 13 is larger than the data", "12 training samples"])


@pytest.mark.parametrize("columns", [X[:, :3], np.hstack([X, X])], ids=["fewer", "more"])
def test_prediction_needs_the_same_number_of_features(
    columns: Any, classifier: MultilayerPerceptron
) -> None:
    for method in (classifier.predict, classifier.predict_proba, classifier.logits):
        message = refusal(method, columns)
        assert_says(message, [f"X has {columns.shape[1]} features", "4 are expected"])


def test_regression_has_no_probabilities(regressor: MultilayerPerceptron) -> None:
    assert "squared_error predicts no probabilities" in refusal(regressor.predict_proba, X)


# Devices


@pytest.fixture
def other_device() -> Backend:
    return resolve("array_api_strict", "device2", fallback=False)


BOTH = ["device device2", "device device1"]


def test_x_and_y_lie_on_one_device(strict_backend: Backend, other_device: Backend) -> None:
    message = refusal(
        quick, strict_backend.asarray(X), other_device.asarray(Y), backend="auto", device=None
    )
    assert_says(message, ["y is on", *BOTH])


def test_validation_data_lies_on_the_device_too(
    strict_backend: Backend, other_device: Backend
) -> None:
    validation = (other_device.asarray(X), Y)
    message = refusal(quick, strict_backend.asarray(X), Y, backend="auto", validation=validation)
    assert_says(message, ["the validation X is on", *BOTH])


def test_device_data_is_not_moved_to_the_backend_named(strict_backend: Backend) -> None:
    message = refusal(quick, strict_backend.asarray(X), Y, backend="numpy")
    assert_says(message, ["X is on array_api_strict, device device1", "numpy, device cpu"])


def test_device_data_is_not_moved_to_the_device_named(strict_backend: Backend) -> None:
    message = refusal(quick, strict_backend.asarray(X), Y, backend="auto", device="device2")
    assert_says(message, ["the data is on device1", "device='device2'"])


def test_device_labels_do_not_choose_the_backend(other_device: Backend) -> None:
    message = refusal(quick, X, other_device.asarray(Y))
    assert_says(message, ["y is on array_api_strict, device device2", "numpy, device cpu"])


def test_a_network_takes_no_arrays_from_elsewhere(
    classifier: MultilayerPerceptron, backend: Backend
) -> None:
    if backend.name == "numpy":
        pytest.skip("the network is on NumPy")
    message = refusal(classifier.predict, backend.asarray(X))
    assert_says(message, [f"X is on {backend.name}", "numpy, device cpu"])


# Good data

X_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda a: a.tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())),
    "float64": lambda a: a.astype("float64"),
    "float16": lambda a: a.astype("float16"),
    "uint8": lambda a: a.astype("uint8"),
    "int64": lambda a: a.astype("int64"),
    "big-endian": lambda a: a.astype(">f4"),
    "Fortran-ordered": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}
Y_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda a: a.tolist(),
    "uint8": lambda a: a.astype("uint8"),
    "int32": lambda a: a.astype("int32"),
    "uint64": lambda a: a.astype("uint64"),
    "big-endian": lambda a: a.astype(">i4"),
    "one column": lambda a: a[:, None],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
}


@pytest.fixture(scope="module")
def expected() -> Iterator[Callable[[Backend], Run]]:
    """The run on plain data, one for each backend."""
    runs: dict[str, Run] = {}

    def run_on(backend: Backend) -> Run:
        if backend.name not in runs:
            runs[backend.name] = on(backend, X, Y)
        return runs[backend.name]

    yield run_on
    runs.clear()


def on(backend: Backend, x: Any, y: Any, **settings: Any) -> Run:
    return quick(x, y, backend=backend.name, device=backend.device, **settings)


def assert_same_run(actual: Run, expected: Run) -> None:
    assert actual.backend == expected.backend
    assert actual.network.loss == expected.network.loss
    for a, b in zip(actual.network.layers, expected.network.layers, strict=True):
        assert (on_host(a.weights) == on_host(b.weights)).all()
        assert (on_host(a.bias) == on_host(b.bias)).all()


@pytest.mark.parametrize("form", X_FORMS.values(), ids=X_FORMS)
def test_every_form_of_x_trains_the_same_network(
    backend: Backend, form: Callable[..., Any], expected: Callable[[Backend], Run]
) -> None:
    run = on(backend, form(X), Y)
    assert_same_run(run, expected(backend))
    assert (run.network.predict(form(X)) == run.network.predict(X)).all()


@pytest.mark.parametrize("form", Y_FORMS.values(), ids=Y_FORMS)
def test_every_form_of_y_trains_the_same_network(
    backend: Backend, form: Callable[..., Any], expected: Callable[[Backend], Run]
) -> None:
    run = on(backend, X, form(Y))
    assert_same_run(run, expected(backend))
    labels = run.network.predict(backend.asarray(X))
    assert (on_host(labels) == run.network.predict(X)).all()


def test_device_arrays_train_the_same_network(
    backend: Backend, expected: Callable[[Backend], Run]
) -> None:
    x, y = backend.asarray(X), backend.asarray(Y, "int32")
    run = quick(x, y, backend="auto" if backend.name != "numpy" else "numpy")
    assert_same_run(run, expected(backend))
    assert (on_host(x) == X).all()
    assert (on_host(y) == Y).all()


def test_host_arrays_are_not_written(backend: Backend) -> None:
    x, y = X.copy(), NUMBERS.copy()
    on(backend, x, y, hidden=(), epochs=2)
    assert (x == X).all()
    assert (y == NUMBERS).all()


@pytest.mark.parametrize("form", ["uint8", "int32", "bool"])
def test_device_data_that_is_not_floating_point_is_converted(backend: Backend, form: str) -> None:
    host = (X > 4).astype(form)
    run = quick(backend.asarray(host), Y, backend="auto" if backend.name != "numpy" else "numpy")
    assert_same_run(run, on(backend, host, Y))


def test_data_frames_and_series_are_taken(
    numpy_backend: Backend, expected: Callable[[Backend], Run]
) -> None:
    pandas = pytest.importorskip("pandas")
    frame, series = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(Y)
    run = quick(frame, series)
    assert_same_run(run, expected(numpy_backend))
    assert (run.network.predict(frame) == run.network.predict(X)).all()
    assert_same_run(quick(frame, pandas.DataFrame({"label": Y})), expected(numpy_backend))


def test_a_data_frame_with_text_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(N), "b": ["x"] * N})
    assert_says(refusal(quick, frame, Y), ["X must be numeric", "object"])


def test_a_missing_value_in_a_data_frame_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.array([None, *range(1, N)], dtype="Int64")})
    assert "X[0, 0] is nan" in refusal(quick, frame, Y)


def test_labels_need_not_be_contiguous(backend: Backend) -> None:
    run = on(backend, X, Y * 10 + 5)
    assert run.network.classes.tolist() == [5, 15, 25]
    assert set(run.network.predict(X)) <= {5, 15, 25}


def test_labels_wider_than_the_devices_integers_are_not_cut_short() -> None:
    backend = resolve("jax", fallback=False) if pytest.importorskip("jax") else None
    network = on(backend, X, Y + 2**40).network
    assert (network.predict(X) >= 2**40).all()
    if backend.xp.arange(1).dtype == "int32":
        message = refusal(network.predict, backend.asarray(X, "float32"))
        assert_says(message, ["labels", str(2**40)[:10]])


# loss="auto"


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "classes"),
    [
        (Y, "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y[:, None], "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y.astype("uint8"), "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y > 0, "softmax_cross_entropy", 2, [0, 1]),
        ((Y > 0)[:, None], "softmax_cross_entropy", 2, [0, 1]),
        (COLUMNS, "binary_cross_entropy", 3, None),
        (COLUMNS == 1, "binary_cross_entropy", 3, None),
        (COLUMNS.astype(float), "squared_error", 3, None),
        (NUMBERS, "squared_error", 2, None),
        (NUMBERS[:, 0], "squared_error", 1, None),
        (NUMBERS[:, :1], "squared_error", 1, None),
        (NUMBERS.astype("float16"), "squared_error", 2, None),
    ],
)
def test_the_targets_choose_the_loss(
    y: Any,
    loss: str,
    n_outputs: int,
    classes: list[int] | None,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="arraymlp"):
        made = targets(y, N, backend, "float32")
    assert (made.loss.name, made.n_outputs) == (loss, n_outputs)
    assert classes == (None if made.classes is None else made.classes.tolist())
    assert f"loss: {loss}" in caplog.text


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "classes"),
    [
        (Y * 2, "squared_error", 1, None),
        (COLUMNS, "softmax_cross_entropy", 3, [0, 1, 2]),
        (COLUMNS * 0.5 + 1 / 6, "softmax_cross_entropy", 3, [0, 1, 2]),
        (COLUMNS * 0.5, "binary_cross_entropy", 3, None),
        ((Y > 0) + 4, "binary_cross_entropy", 1, [4, 5]),
        (Y, "absolute_error", 1, None),
        (COLUMNS, "huber", 3, None),
        (Y, "poisson", 1, None),
        (NUMBERS, "poisson", 2, None),
        (Y, "quantile", 3, None),
        (NUMBERS[:, :1], "quantile", 3, None),
        (NUMBERS, "quantile", 6, None),
        (NUMBERS, Quantile((0.2, 0.8)), 4, None),
        (NUMBERS, Huber(2.0), 2, None),
    ],
)
def test_a_loss_that_is_given_decides(
    y: Any, loss: str | Loss, n_outputs: int, classes: list[int] | None, backend: Backend
) -> None:
    made = targets(y, N, backend, "float32", loss=loss)
    assert made.loss == (loss if isinstance(loss, Loss) else LOSSES[loss])
    assert made.n_outputs == n_outputs
    assert classes == (None if made.classes is None else made.classes.tolist())
