"""X, y, weights and validation data that are refused, and in which words."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn.exceptions import DataConversionWarning, NotFittedError

from arraymlp import Backend, MLPClassifier, MLPRegressor, resolve
from conftest import on_host
from sklearn_pairs import (
    COLUMNS,
    EACH,
    LABELS,
    QUICK,
    SCORES,
    TARGETS,
    THEIRS,
    Given,
    HostArray,
    N,
    X,
    quick_fit,
    quietly,
    refusal,
)


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
    "ragged": [[1.0, 2.0], [3.0]] * (N // 2),
    "an infinite object": changed(2, 1, inf).astype(object),
}


@EACH
@pytest.mark.parametrize("bad", BAD_X.values(), ids=BAD_X)
def test_bad_x_is_refused_in_the_words_of_scikit_learn(Estimator: type, bad: Any) -> None:
    y = TARGETS[Estimator]
    ours, theirs = (refusal(of(**QUICK).fit, bad, y) for of in (Estimator, THEIRS[Estimator]))
    assert (str(ours), type(ours)) == (str(theirs), type(theirs))
    if bad is None:
        return
    models = quick_fit(Estimator), quietly(THEIRS[Estimator](**QUICK).fit, X, y)
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
        "ragged": [[1], [1, 2]] * (N // 2),
    },
    MLPRegressor: {
        "too short": SCORES[:-1],
        "nothing": None,
        "nan": np.where(LABELS == 1, nan, LABELS),
        "infinity": np.where(LABELS == 1, inf, LABELS),
        "three dimensions": SCORES[:, :, None],
        "ragged": [[1.0], [1.0, 2.0]] * (N // 2),
        "words": np.array(["one", "two", "three"], dtype=object)[LABELS],
    },
}


@pytest.mark.parametrize(
    ("Estimator", "bad"),
    [
        pytest.param(Estimator, bad, id=f"{Estimator.__name__}-{name}")
        for Estimator in TARGETS
        for name, bad in BAD_Y[Estimator].items()
    ],
)
def test_bad_y_is_refused_in_the_words_of_scikit_learn(Estimator: type, bad: Any) -> None:
    ours, theirs = (refusal(of(**QUICK).fit, X, bad) for of in (Estimator, THEIRS[Estimator]))
    assert (str(ours), type(ours)) == (str(theirs), type(theirs))


@pytest.mark.parametrize("bad", [SCORES[:, 0], SCORES], ids=["a column", "columns"])
def test_numbers_are_no_classes(bad: HostArray) -> None:
    assert "Unknown label type: continuous" in str(refusal(MLPClassifier(**QUICK).fit, X, bad))


def test_counts_are_not_negative() -> None:
    refused = refusal(MLPRegressor("poisson", **QUICK).fit, X, SCORES)
    assert "poisson needs targets from 0" in str(refused)


BAD_WEIGHTS: dict[str, tuple[Any, str]] = {
    "negative": (np.where(LABELS == 1, -0.5, 1.0), "negative"),
    "all zero": (np.zeros(N), "Sample weights must contain at least one non-zero number."),
    "all zero, as one number": (0.0, "Sample weights must contain at least one non-zero number."),
    "too few": (np.ones(N - 1), f"sample_weight.shape == ({N - 1},), expected ({N},)!"),
    "too many": (np.ones(N + 1), f"sample_weight.shape == ({N + 1},), expected ({N},)!"),
    "a table": (np.ones((N, 1)), "Sample weights must be 1D array or scalar"),
    "none": (np.ones(0), "0 sample(s)"),
    "nan": (np.where(LABELS == 1, nan, 1.0), "Input sample_weight contains NaN"),
    "infinity": (np.where(LABELS == 1, inf, 1.0), "Input sample_weight contains infinity"),
    "words": (np.array(["heavy"] * N, dtype=object), "heavy"),
}


@EACH
@pytest.mark.parametrize(("bad", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_bad_weights_are_refused(Estimator: type, bad: Any, words: str, solver: str) -> None:
    model = Estimator(**QUICK, solver=solver)
    assert words in str(refusal(model.fit, X, TARGETS[Estimator], bad))
    if solver == "adam":
        more = {"classes": np.arange(3)} if Estimator is MLPClassifier else {}
        assert words in str(refusal(model.partial_fit, X, TARGETS[Estimator], bad, **more))


@pytest.mark.parametrize("value", [nan, inf], ids=["nan", "inf"])
def test_what_is_not_finite_is_refused_on_a_device(quick_backend: Backend, value: float) -> None:
    bad = quick_backend.asarray(changed(2, 1, value))
    good, y = quick_backend.asarray(X), quick_backend.asarray(LABELS)
    words = "contains NaN" if np.isnan(value) else "contains infinity"
    if quick_backend.name != "numpy":
        words = f"X must be finite, but X[2, 1] is {value}"
    model = MLPClassifier(**QUICK)
    assert words in str(refusal(model.fit, bad, y))
    quietly(model.fit, good, y)
    before = on_host(model.coefs_[0]).copy()
    for call in (model.predict, model.predict_proba, lambda X_: model.partial_fit(X_, y)):
        assert words in str(refusal(call, bad))
    refused = refusal(MLPClassifier(**QUICK).fit, good, y, X_val=bad, y_val=y)
    assert "NaN" in str(refused) or "inf" in str(refused) or "finite" in str(refused)
    weights = quick_backend.asarray(np.where(LABELS == 1, value, 1.0))
    assert "sample_weight contains" in str(refusal(model.fit, good, y, weights))
    bad_numbers = quick_backend.asarray(np.where(LABELS == 1, value, 0.5))
    assert "contains" in str(refusal(MLPRegressor(**QUICK).fit, good, bad_numbers))
    np.testing.assert_array_equal(on_host(model.coefs_[0]), before)


@EACH
def test_the_shape_of_device_arrays_is_checked(Estimator: type, quick_backend: Backend) -> None:
    there, y = (
        quick_backend.asarray(X.astype(np.float32)),
        quick_backend.asarray(TARGETS[Estimator].astype(np.float32)),
    )
    model = Estimator(**QUICK)
    assert "Expected 2D array, got 1D array instead" in str(refusal(model.fit, there[:, 0], y))
    assert f"inconsistent numbers of samples: [{N}, {N - 1}]" in str(
        refusal(model.fit, there, y[:-1])
    )
    assert "requires y to be passed" in str(refusal(model.fit, there, None))
    quietly(model.fit, there, y)
    few = quick_backend.asarray(X[:, :3].astype(np.float32))
    assert "X has 3 features, but" in str(refusal(model.predict, few))
    assert "X has 3 features, but" in str(refusal(model.partial_fit, few, y))


def test_a_column_of_device_labels_is_warned_of(quick_backend: Backend) -> None:
    model = MLPClassifier(**QUICK)
    with pytest.warns() as caught:
        model.fit(
            quick_backend.asarray(X.astype(np.float32)), quick_backend.asarray(LABELS[:, None])
        )
    assert DataConversionWarning in [warning.category for warning in caught]
    assert model.n_outputs_ == 3


def test_x_must_be_where_it_is_trained(quick_backend: Backend, strict_backend: Backend) -> None:
    other = resolve("numpy") if quick_backend.name != "numpy" else strict_backend
    there = quick_backend.asarray(X.astype(np.float32))
    model = MLPClassifier(**QUICK, backend=other.name, device=other.device)
    if quick_backend.name == "numpy":  # data on the host go anywhere
        assert quietly(model.fit, there, LABELS).backend_ == other
        return
    refused = refusal(model.fit, there, LABELS)
    assert isinstance(refused, ValueError)
    home = f"{quick_backend.name}, device {quick_backend.device_name}"
    assert f"X is on {home}, but {other.name}" in str(refused)
    assert not hasattr(model, "network_")


def test_x_must_be_on_the_device_it_is_trained_on(strict_backend: Backend) -> None:
    there = strict_backend.asarray(X)
    for given in ({"device": "device2"}, {"backend": "array_api_strict", "device": "device2"}):
        refused = refusal(MLPClassifier(**QUICK, **given).fit, there, LABELS)
        assert "device1" in str(refused)
        assert "device2" in str(refused)
    elsewhere = resolve("array_api_strict", "device2").asarray(X)
    model = quietly(MLPClassifier(**QUICK).fit, there, LABELS)
    assert "same device" in str(refusal(model.predict, elsewhere))
    assert "same device" in str(refusal(model.partial_fit, elsewhere, LABELS))
    moved = model.to("array_api_strict", "device2")
    np.testing.assert_array_equal(on_host(moved.predict(elsewhere)), on_host(model.predict(there)))


def test_to_refuses_what_is_not_there(strict_backend: Backend) -> None:
    with pytest.raises(NotFittedError):
        MLPClassifier().to("numpy")
    model = quick_fit(MLPClassifier)
    assert "did you mean 'numpy'?" in str(refusal(model.to, "numpi"))
    assert "device7" in str(refusal(model.to, "array_api_strict", "device7"))


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


@EACH
@pytest.mark.parametrize(("given", "more", "words"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_bad_validation_data_are_refused(
    Estimator: type, given: Given, more: Given, words: str
) -> None:
    model = Estimator(**QUICK | given)
    assert words in str(refusal(model.fit, X, TARGETS[Estimator], **more))


def test_validation_data_have_known_classes() -> None:
    more = {"X_val": X, "y_val": LABELS + 1}
    refused = refusal(MLPClassifier(**QUICK).fit, X, LABELS, **more)
    assert "`y` has classes not in `self.classes_`" in str(refused)
    fewer = {"X_val": X[:3], "y_val": np.zeros(3, dtype=int)}  # which need not be all
    assert len(quietly(MLPClassifier(**QUICK).fit, X, LABELS, **fewer).validation_scores_) == 2


def test_validation_data_are_of_the_namespace_of_x(strict_backend: Backend) -> None:
    more = {"X_val": strict_backend.asarray(X), "y_val": LABELS}
    refused = refusal(MLPClassifier(**QUICK).fit, X, LABELS, **more)
    assert "must use the same namespace" in str(refused)


def test_validation_targets_have_as_many_columns() -> None:
    for Estimator, y, y_val in (
        (MLPRegressor, SCORES, SCORES[:, 0]),
        (MLPRegressor, SCORES[:, 0], SCORES),
        (MLPClassifier, COLUMNS, LABELS),
        (MLPClassifier, LABELS, COLUMNS),
    ):
        model = Estimator(**QUICK)
        assert isinstance(refusal(model.fit, X, y, X_val=X, y_val=y_val), ValueError)


def test_parts_have_no_validation_data() -> None:
    with pytest.raises(TypeError, match="X_val"):
        MLPRegressor(**QUICK).partial_fit(X, SCORES, X_val=X, y_val=SCORES)
