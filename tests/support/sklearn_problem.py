"""A small problem, and small networks that learn it, for whatever is built around estimators."""

from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import arraymlp
from conftest import on_host

X = np.random.default_rng(90).normal(2.0, 3.0, size=(60, 4))
SCORES = X @ np.random.default_rng(91).normal(size=(4, 3))
Y = np.argmax(SCORES - SCORES.mean(axis=0), axis=1)
NAMES = np.array(["red", "green", "blue"])[Y]
COLUMNS = (SCORES.mean(axis=0) < SCORES).astype(int)
Z = np.sin(SCORES / 3)
WEIGHT = np.random.default_rng(92).uniform(0.5, 2.0, size=60)
FEATURES = ["a", "b", "c", "d"]
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6,),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])


def mlp(name: str, of: Any = arraymlp, **parameters: Any) -> Any:
    """An estimator of ours, or scikit-learn's."""
    return getattr(of, name)(**{**SMALL, **parameters})


def target(name: str) -> Any:
    return NAMES if name == "MLPClassifier" else Z[:, 0]


def fitted(name: str = "MLPClassifier", **parameters: Any) -> Any:
    return mlp(name, **parameters).fit(X, target(name))


def assert_close(ours: Any, theirs: Any) -> None:
    """The same figures but for rounding, or the same labels."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype.kind == theirs.dtype.kind
    if ours.dtype.kind in "fc":
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    else:
        np.testing.assert_array_equal(ours, theirs)


def assert_same_network(a: Any, b: Any) -> None:
    """Equal bit by bit."""
    for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert on_host(x).tobytes() == on_host(y).tobytes()


classify = partial(mlp, "MLPClassifier")
regress = partial(mlp, "MLPRegressor")
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(6,), (4, 3)]}


def frame(library: str, values: Any = X, names: Any = FEATURES) -> Any:
    """A data frame of pandas or polars, whose names this scikit-learn can read."""
    module = pytest.importorskip(library)
    data = module.DataFrame({name: values[:, i] for i, name in enumerate(names)})
    if not hasattr(StandardScaler().fit(data), "feature_names_in_"):  # 1.7 with polars 2
        pytest.skip(f"scikit-learn {sklearn.__version__} reads no names of {library}'s frames")
    return data


def public(model: Any) -> set[str]:
    """Fitted attributes by scikit-learn's rule, of the instance and of its class."""
    names = {n for n in dir(model) if n.endswith("_") and not n.startswith("_")}
    return {n for n in names if hasattr(model, n)}


# What is searched for


CLASSIFY, REGRESS = classify(max_iter=8), regress(max_iter=8)
RATES = {"alpha": [1e-4, 1.0], "learning_rate_init": [0.002, 0.05]}
IN_PIPELINE = {f"mlpclassifier__{name}": values for name, values in RATES.items()}


def scaled(model: Any = CLASSIFY, **given: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), model, **given)


def assert_same_search(ours: Any, theirs: Any) -> None:
    """The same results but for rounding and times, and the same best estimator."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, expected in theirs.cv_results_.items():
        actual = ours.cv_results_[key]
        if key.startswith("param"):
            assert type(actual) is type(expected)
            assert list(map(str, actual)) == list(map(str, expected)), key
            assert getattr(actual, "dtype", None) == getattr(expected, "dtype", None)
            mask = getattr(expected, "mask", None)
            np.testing.assert_array_equal(getattr(actual, "mask", None), mask)
        elif key.endswith("_time"):
            assert actual.shape == expected.shape
            assert (actual >= 0).all()
        else:
            assert actual.dtype == expected.dtype, key
            np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-9, err_msg=key)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name)), name
    assert str(getattr(ours, "best_params_", None)) == str(getattr(theirs, "best_params_", None))
    assert type(ours.scorer_) is type(theirs.scorer_)
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")
    if hasattr(theirs, "best_estimator_"):
        np.testing.assert_array_equal(ours.predict(X[:5]), theirs.predict(X[:5]))


def two_scores(estimator: Any, x: Any, y: Any) -> dict[str, float]:
    p = estimator.predict_proba(x)
    return {"right": accuracy_score(y, estimator.predict(x)), "sure": float(p.max(axis=1).mean())}
