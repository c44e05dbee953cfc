"""Bad data is refused in one clear line before training."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, MultilayerPerceptron, resolve, train
from arraymlp.data.inputs import all_finite
from refusals import COLUMNS, NUMBERS, N, X, Y, assert_says, changed, quick, refusal

# X

BAD_X = {
    "number": (3.0, ["X must be 2-D (samples, features)", "0-D"]),
    "1-D": (X[:, 0], ["X must be 2-D (samples, features)", "1-D", "(12,)"]),
    "3-D": (X[None], ["X must be 2-D (samples, features)", "3-D", "(1, 12, 4)"]),
    "strings": (X.astype(str), ["X must be numeric", "<U32", "text has to be encoded"]),
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


HUGE = float(np.finfo("float32").max)


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1.0, -2.0], True),
        ([], True),
        ([HUGE, HUGE, HUGE, 1.0], True),  # whose sum is infinite
        ([HUGE, HUGE, -HUGE, -HUGE], True),
        ([1.0, nan], False),
        ([inf, 1.0], False),
        ([-inf, 1.0], False),
        ([inf, -inf], False),
        ([HUGE, HUGE, nan], False),
    ],
    ids=str,
)
def test_finite_numbers_are_told_by_their_sum(
    backend: Backend, values: list[float], finite: bool
) -> None:
    column = np.repeat(np.asarray(values, "float32")[:, None], 1000, axis=1)
    assert all_finite(backend.asarray(column), backend) is finite


def test_what_cupy_would_compile_for_seconds_is_not_used(
    strict_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a reduction that CuPy compiles when it is first used")

    for name in ("all", "any"):
        monkeypatch.setattr(strict_backend.xp, name, compiled)
    given: dict[str, Any] = {"validation": 0.25, "metrics": ("roc_auc", "log_loss")}
    quick(X, Y % 2, backend="array_api_strict", device="device1", **given)
    quick(X, NUMBERS, backend="array_api_strict", device="device1")


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
    "strings for regression": (
        ["a", "b", "c"] * 4,
        {"loss": "squared_error"},
        ["squared_error needs numbers", "y is 1-D of text"],
    ),
    "columns of strings": ([["a", "b"]] * N, {}, ["y is 2-D of text"]),
    "strings, one missing": (
        np.asarray([*"abc" * 3, "a", "b", None], object),
        {},
        ["y has labels that are texts", f"row {N - 1} has none"],
    ),
    "strings and numbers": (
        np.asarray(["a", *range(N - 1)], object),
        {},
        ["y has labels that are texts", "row 1 has 0"],
    ),
    "objects": ([None] * N, {}, ["y must be numeric", "object", "astype('float32')"]),
    "complex": (Y + 1j, {}, ["y must be numeric", "complex128"]),
    "dates": (Y.astype("datetime64[s]"), {}, ["y must be numeric", "datetime64"]),
    "ragged": ([[1, 0]] * (N - 1) + [[1]], {}, ["y is not an array", "inhomogeneous"]),
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
        (Y, (X, Y - 1), ["the validation y", "labels the network does not know", "[-1]"]),
        (Y, (X, Y.astype(str)), ["the validation y has labels that are text", "are integers"]),
        (Y.astype(str), (X, Y), ["the validation y has labels that are integers", "are text"]),
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


# Integers that look like numbers


@pytest.mark.parametrize(
    ("n", "kinds", "warns"),
    [(300, 150, True), (300, 31, True), (300, 30, False), (300, 20, False), (30, 20, False)],
)
def test_many_integers_for_few_rows_are_doubted_as_classes(
    n: int, kinds: int, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = np.random.default_rng(0).normal(size=(n, 2)), 1000 + np.arange(n) % kinds
    train(x, y, epochs=1, hidden=(2,), batch_size=30, backend="numpy")
    doubts = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(doubts) == warns
    if warns:
        words = [f"{kinds} different integers in {n} rows", "loss='squared_error'", "astype(float)"]
        assert_says(doubts[0].getMessage(), words)


def test_who_chose_the_loss_is_not_doubted(caplog: pytest.LogCaptureFixture) -> None:
    x, y = np.random.default_rng(0).normal(size=(300, 2)), np.arange(300) % 150
    how: dict[str, Any] = {"epochs": 1, "hidden": (2,), "batch_size": 30, "backend": "numpy"}
    run = train(x, y, loss="softmax_cross_entropy", **how)
    train(x, y, network=run.network, epochs=1, batch_size=30)
    numbers = train(x, y, loss="absolute_error", **how)
    assert numbers.network.sizes[-1] == 1
    assert not caplog.records


def test_numbers_that_validation_alone_has_are_refused_with_the_loss_for_them() -> None:
    message = refusal(quick, X, Y, validation=(X, Y + 50))
    assert_says(message, ["labels the network does not know", "loss='squared_error'"])


@pytest.mark.parametrize(
    "value",
    [b"ab", bytearray(b"ab"), np.ma.masked, [3, np.ma.masked], np.ma.array([3, 4], mask=[0, 1])],
    ids=str,
)
def test_what_only_looks_like_numbers_is_no_setting(value: Any) -> None:
    for name in ("hidden", "seed"):
        with pytest.raises(ValueError, match=name):
            arraymlp.Settings(**{name: value})


def test_a_masked_value_in_a_sequence_is_not_none() -> None:
    """None means that the initial weights are not known."""
    with pytest.raises(ValueError, match="unknown initializer '--'"):
        arraymlp.Settings(initializer=np.ma.array(["auto", "auto"], mask=[0, 1]))


def test_data_frames_of_numbers_booleans_and_nullable_columns_are_tables() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0].astype(float), "b": X[:, 1] > 0})
    frame["c"] = pandas.array([1, 2, 3] * 4, dtype="Int64")
    assert quick(frame, Y).network.sizes[0] == 3
    frame["c"] = pandas.array([1, 2, None] * 4, dtype="Int64")
    assert_says(refusal(quick, frame, Y), ["X must be finite", "X[2, 2] is nan"])
    for odd in (pandas.date_range("2020", periods=N), ["1", "2", "3"] * 4, [1j, 2, 3] * 4):
        frame["c"] = odd
        assert "X must be numeric" in refusal(quick, frame, Y, encode=False)
    frame["c"] = ["red", "blue", "red"] * 4
    words = ["X must be numeric", "text has to be encoded", "encode=True does it of a data frame"]
    assert_says(refusal(quick, frame, Y, encode=False), words)
