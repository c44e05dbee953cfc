"""Estimators as graphs: labels and probabilities by scikit-learn's names, means and spreads."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("sklearn", minversion="1.7")

from sklearn.exceptions import NotFittedError

import arraymlp
from arraymlp import (
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    MLPSearchCV,
)
from arraymlp.losses import Quantile
from onnx_runs import require_same

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HOW: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4))
NUMBERS = RANDOM.normal(size=(60, 2))
THIRDS = np.arange(60) % 3
LABELS = {
    "texts": np.array(["ant", "bee", "ü"])[THIRDS],
    "two texts": np.array(["no", "yes"])[THIRDS // 2],
    "objects": np.array(["ant", "bee", "ü"], dtype=object)[THIRDS],
    "integers": THIRDS * 5 - 3,
    "two integers": THIRDS // 2 * 2 - 1,
    "bytes": (THIRDS * 100).astype("u1"),
    "whole floats": THIRDS * 2.0,
    "booleans": THIRDS == 1,
    "one class": np.full(60, 7),
    "one text": np.full(60, "a"),
    "several labels": (RANDOM.random((60, 3)) < 0.4).astype(int),
}


def labels_as_onnx_has_them(labels: np.ndarray) -> np.ndarray:
    return labels.astype(object if labels.dtype.kind in "UO" else np.int64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of", LABELS)
def test_a_classifier_has_labels_and_probabilities(of: str, dtype: str) -> None:
    rows = X.astype(dtype)
    model = MLPClassifier(**HOW).fit(rows, LABELS[of])
    wanted = {
        "label": labels_as_onnx_has_them(model.predict(rows)),
        "probabilities": model.predict_proba(rows),
    }
    require_same(arraymlp.to_onnx(model), {"X": rows}, wanted, dtype)


@pytest.mark.parametrize("of", ["texts", "two integers", "one class", "several labels"])
def test_an_ensemble_of_classifiers_has_the_mean_and_the_spread(of: str) -> None:
    rows = X.astype("float32")
    model = MLPEnsembleClassifier(MLPClassifier(**HOW), 3, random_state=0).fit(rows, LABELS[of])
    p, spread = model.predict_proba(rows, return_std=True)
    wanted = {
        "label": labels_as_onnx_has_them(model.predict(rows)),
        "probabilities": p,
        "spread": spread,
    }
    require_same(arraymlp.to_onnx(model), {"X": rows}, wanted)


LOSSES = ["squared_error", "poisson", Quantile((0.5,)), Quantile((0.1, 0.4, 0.9))]


def column(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_regressor_has_numbers(loss: Any, targets: int) -> None:
    rows = X.astype("float32")
    y = abs(NUMBERS[:, 0] if targets == 1 else NUMBERS)
    model = MLPRegressor(loss, **HOW).fit(rows, y)
    wanted = {"variable": column(model.predict(rows))}
    if getattr(loss, "outputs_per_target", 1) > 1:
        wanted["quantiles"] = model.predict_quantiles(rows)
    require_same(arraymlp.to_onnx(model), {"X": rows}, wanted)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_ensemble_of_regressors_has_the_mean_and_the_spread(loss: Any, targets: int) -> None:
    rows = X.astype("float32")
    y = abs(NUMBERS[:, 0] if targets == 1 else NUMBERS)
    model = MLPEnsembleRegressor(MLPRegressor(loss, **HOW), 3, random_state=0).fit(rows, y)
    mean, spread = model.predict(rows, return_std=True)
    wanted = {"variable": column(mean), "spread": column(spread)}
    if getattr(loss, "outputs_per_target", 1) > 1:
        wanted["quantiles"] = model.ensemble_.predict(rows)
    require_same(arraymlp.to_onnx(model), {"X": rows}, wanted)


def test_a_search_is_its_best_estimator() -> None:
    search = MLPSearchCV(MLPClassifier(**HOW), {"alpha": [0.1, 1.0]}, cv=2).fit(X, LABELS["texts"])
    wanted = {
        "label": labels_as_onnx_has_them(search.predict(X)),
        "probabilities": search.predict_proba(X),
    }
    require_same(arraymlp.to_onnx(search), {"X": X}, wanted, "float64")


def test_what_is_not_fitted_is_refused() -> None:
    for model in (MLPClassifier(), MLPEnsembleRegressor(), MLPSearchCV(MLPClassifier(), {})):
        with pytest.raises(NotFittedError):
            arraymlp.to_onnx(model)
    search = MLPSearchCV(MLPClassifier(**HOW), {"alpha": [0.1]}, refit=False, cv=2)
    with pytest.raises(ValueError, match="a search with refit=False has no best estimator"):
        arraymlp.to_onnx(search.fit(X, LABELS["texts"]))


def test_labels_that_onnx_has_not_are_refused() -> None:
    days = np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]")[THIRDS // 2]
    model = MLPClassifier(**HOW).fit(X, days)
    with pytest.raises(ValueError, match="labels that are integers or texts, and none of datetime"):
        arraymlp.to_onnx(model)


def test_other_estimators_are_refused() -> None:
    from sklearn.linear_model import LinearRegression

    with pytest.raises(ValueError, match="and not <class 'sklearn"):
        arraymlp.to_onnx(LinearRegression())


@pytest.mark.parametrize("of", LABELS)
def test_the_network_that_is_loaded_knows_the_labels(of: str, tmp_path: Any) -> None:
    model = MLPClassifier(**HOW).fit(X, LABELS[of])
    arraymlp.to_onnx(model, tmp_path / "model.onnx")
    loaded = arraymlp.load(tmp_path / "model.onnx")
    assert loaded.predict_proba(X).tolist() == model.predict_proba(X).tolist()
    if len(model.classes_) > 1:  # of one class alone it has two, numbered
        assert loaded.predict(X).tolist() == model.predict(X).tolist()
