"""Pipelines as graphs: an encoder and a network by this package, the others by skl2onnx."""

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx")
pytest.importorskip("pandas")

import pandas
import skl2onnx
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from arraymlp import (
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    MLPSearchCV,
    TableEncoder,
    load,
    to_onnx,
)
from arraymlp.exports.skl2onnx import register
from arraymlp.losses import Quantile
from onnx_runs import feeds_of, given, sessions

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HOW: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4)).astype("float32") * 3 + 1
THIRDS = np.arange(60) % 3
TEXTS = np.array(["ant", "bee", "ü"])[THIRDS]
TABLE = pandas.DataFrame(
    {
        "a": np.where(THIRDS == 0, np.nan, X[:, 0].astype(float)),
        "kind": RANDOM.choice(["u", "v", "w"], 60),
        "n": RANDOM.integers(0, 3, 60),
    }
)
ESTIMATORS = {
    "texts": (MLPClassifier(**HOW), TEXTS),
    "integers": (MLPClassifier(**HOW), THIRDS * 5 - 3),
    "two": (MLPClassifier(**HOW), THIRDS == 1),
    "one": (MLPClassifier(**HOW), np.full(60, "a")),
    "several labels": (MLPClassifier(**HOW), np.eye(3, dtype=int)[THIRDS]),
    "ensemble": (MLPEnsembleClassifier(MLPClassifier(**HOW), 2, random_state=0), TEXTS),
    "number": (MLPRegressor(**HOW), X[:, 0]),
    "numbers": (MLPRegressor(**HOW), X[:, :2]),
    "median": (MLPRegressor(Quantile((0.1, 0.5)), **HOW), X[:, 0]),
    "regressors": (MLPEnsembleRegressor(MLPRegressor(**HOW), 2, random_state=0), X[:, 0]),
    "search": (MLPSearchCV(MLPClassifier(**HOW), {"alpha": [0.1, 1.0]}, cv=2), TEXTS),
    "search of numbers": (MLPSearchCV(MLPRegressor(**HOW), {"alpha": [0.1]}, cv=2), X[:, 0]),
}


def require_same(model: Any, feeds: Any, pipeline: Any, rows: Any, spread: bool = False) -> None:
    """A graph gives what a pipeline gives, for no rows, one, and all."""
    classifies = hasattr(pipeline, "predict_proba")
    for session in sessions(model):
        for n in (0, 1, len(rows)):
            there = given(session, model, {name: values[:n] for name, values in feeds.items()})
            names = ["label", "probabilities"] if classifies else ["variable"]
            assert there.keys() == {*names, *["spread"] * spread}
            predicted = pipeline.predict(rows)[:n]
            if classifies:
                p = pipeline.predict_proba(rows)[:n]
                np.testing.assert_allclose(there["probabilities"], p, atol=1e-6)
                assert there["label"].tolist() == predicted.astype(there["label"].dtype).tolist()
            else:
                wanted = predicted.reshape(n, -1) if n else predicted.reshape(0, 1)
                np.testing.assert_allclose(there["variable"], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of", ESTIMATORS)
def test_a_pipeline_is_its_steps(of: str, dtype: str) -> None:
    estimator, y = ESTIMATORS[of]
    rows = X.astype(dtype)
    pipeline = make_pipeline(StandardScaler(), PCA(3), estimator).fit(rows, y)
    model = to_onnx(pipeline)
    assert model.ir_version <= 8
    assert {o.domain: o.version for o in model.opset_import}[""] == 13
    if of != "numbers":
        require_same(model, {"X": rows}, pipeline, rows)
        return
    for session in sessions(model):
        there = given(session, model, {"X": rows})
        np.testing.assert_allclose(there["variable"], pipeline.predict(rows), atol=1e-5)


def test_skl2onnx_converts_by_its_own_call_and_newest_opset() -> None:
    register()
    register()  # does nothing more
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**HOW)).fit(X, TEXTS)
    require_same(
        skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False}), {"X": X}, pipeline, X
    )
    by_class = skl2onnx.to_onnx(pipeline, X[:1])
    for session in sessions(by_class):
        there = given(session, by_class, {"X": X})
        p = pipeline.predict_proba(X)
        assert there["output_probability"][0].keys() == {"ant", "bee", "ü"}
        assert there["output_probability"][5]["bee"] == pytest.approx(p[5, 1], abs=1e-6)


def test_columns_transformed_by_scikit_learn_go_to_a_network() -> None:
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]), (StandardScaler(), ["n"])
    )
    rows = TABLE.drop(columns="a").astype({"n": "float32"})
    pipeline = make_pipeline(columns, MLPClassifier(**HOW)).fit(rows, TEXTS)
    with pytest.raises(ValueError, match=r"skl2onnx\.to_onnx\(pipeline, X\) takes those of X"):
        to_onnx(pipeline)
    register()
    model = skl2onnx.to_onnx(pipeline, rows, options={"zipmap": False})
    feeds = {"kind": rows[["kind"]].to_numpy(object), "n": rows[["n"]].to_numpy("float32")}
    require_same(model, feeds, pipeline, rows)


ENCODED = {
    "texts": (MLPClassifier(**HOW), TEXTS),
    "ensemble": (MLPEnsembleClassifier(MLPClassifier(**HOW), 2, random_state=0), TEXTS),
    "number": (MLPRegressor(**HOW), X[:, 0]),
}


@pytest.mark.parametrize("of", ENCODED)
def test_an_encoder_and_a_network_need_no_skl2onnx(
    of: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    estimator, y = ENCODED[of]
    pipeline = make_pipeline(TableEncoder(), estimator).fit(TABLE, y)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    model = to_onnx(pipeline, tmp_path / "model.onnx")
    assert {i.name for i in model.graph.input} == {"a", "kind", "n"}
    require_same(model, feeds_of(model, TABLE), pipeline, TABLE, of == "ensemble")
    loaded = load(tmp_path / "model.onnx")
    assert loaded.features == ("a", "kind", "n")
    if of == "number":
        np.testing.assert_allclose(loaded.predict(TABLE), pipeline.predict(TABLE), atol=1e-6)


@pytest.mark.parametrize("of", ENCODED)
def test_between_an_encoder_and_a_network_may_be_other_steps(of: str) -> None:
    estimator, y = ENCODED[of]
    encoder = TableEncoder(dtype="float64", categories=["n"])
    pipeline = make_pipeline(encoder, VarianceThreshold(0.05), estimator).fit(TABLE, y)
    model = to_onnx(pipeline)
    require_same(model, feeds_of(model, TABLE), pipeline, TABLE)


def test_an_encoder_of_arrays_takes_a_table_of_numbers() -> None:
    register()
    encoder = TableEncoder(categories=["x3"]).fit(np.round(X))
    features = encoder.transform(np.round(X))
    whole = skl2onnx.to_onnx(encoder, np.round(X).astype("int64"))
    for session in sessions(whole):
        there = given(session, whole, {"X": np.round(X).astype("int64")})
        np.testing.assert_allclose(there["variable"], features, atol=1e-7)
    with pytest.raises(ValueError, match="column 'x3' must be texts, or integers, in ONNX"):
        skl2onnx.to_onnx(encoder, X)
    names = [(f"x{i}", skl2onnx.common.data_types.FloatTensorType([None, 1])) for i in (0, 3)]
    with pytest.raises(ValueError, match="the graph has no input for column 'x1'"):
        skl2onnx.to_onnx(encoder, initial_types=names)
    flags = [("X", skl2onnx.common.data_types.BooleanTensorType([None, 4]))]
    with pytest.raises(ValueError, match="'X' must be numbers or texts, not Boolean"):
        skl2onnx.to_onnx(encoder, initial_types=flags)


def test_a_search_of_pipelines_is_its_best_one() -> None:
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**HOW))
    search = MLPSearchCV(pipeline, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2).fit(X, TEXTS)
    require_same(to_onnx(search), {"X": X}, search, X)
    register()
    model = skl2onnx.to_onnx(search, X[:1], options={id(search): {"zipmap": False}})
    require_same(model, {"X": X}, search, X)


def test_a_file_of_a_pipeline_is_written_but_not_loaded(tmp_path: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(**HOW)).fit(X, X[:, 0])
    model = to_onnx(pipeline, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == model.SerializeToString()
    with pytest.raises(ValueError, match="without the header of a network"):
        load(tmp_path / "model.onnx")


def test_pipelines_that_are_not_of_this_package_or_not_fitted_are_refused() -> None:
    with pytest.raises(NotFittedError):
        to_onnx(make_pipeline(StandardScaler(), MLPRegressor()))
    other = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, TEXTS)
    with pytest.raises(ValueError, match="to_onnx takes a network, a run"):
        to_onnx(other)


def test_without_skl2onnx_the_message_has_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(**HOW)).fit(X, X[:, 0])
    monkeypatch.delitem(sys.modules, "arraymlp.exports.skl2onnx")
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install skl2onnx"):
        to_onnx(pipeline)
