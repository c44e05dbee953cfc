"""Models of tables as graphs: raw columns in, the same predictions out."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("pandas")

import pandas

import arraymlp
from arraymlp import Ensemble, TableEncoder, load, to_onnx
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.encoding.number_maps import NUMBER_MAPS
from arraymlp.exports.graph import Graph
from arraymlp.exports.inputs import encoded, table_inputs
from onnx_runs import evaluators, expected, feeds_of, given, require_same

N = 60
HOW: dict[str, Any] = {"hidden": (5,), "epochs": 2, "backend": "numpy"}


def table() -> Any:
    """Columns of every kind, with values missing, and names that a graph has, too."""
    random = np.random.default_rng(0)
    X = random.normal(size=N) * 1e6 + 1e9
    X[3:9] = np.nan
    return pandas.DataFrame(
        {
            "X": X,
            "label": np.where(random.random(N) < 0.3, None, random.choice(["u", "v", "ü w"], N)),
            "values.7": random.integers(0, 4, N),
            "Größe (cm)": random.exponential(size=N),
            "yes?": random.random(N) < 0.4,
            "since": pandas.Timestamp("2020-01-01")
            + pandas.to_timedelta(random.integers(0, 90_000, N), "h"),
            "n": random.integers(0, 3, N) * 1.5,
            "constant": np.where(random.random(N) < 0.3, np.nan, 1.0),
            "y": random.normal(size=N) * 100,
            "kind": random.choice(["ant", "bee", "ü"], N),
        }
    )


TABLE = table()
FEATURES = TABLE.drop(columns=["y", "kind"])
ENCODER = TableEncoder(dates=True, categories=["n"], min_frequency=2)


def unseen() -> Any:
    """Rows far from those trained on, of categories that were not there, all missing and more."""
    rows = FEATURES.iloc[:6].copy()
    for column in rows:
        if rows[column].dtype == object or str(rows[column].dtype) in ("str", "string"):
            rows[column] = ["new", "x", None, "u", "U", "ü w "]
    rows["X"] = [-1e300, 1e300, np.nan, 0, -1e9, 1e12]
    rows["n"] = [7.0, np.nan, -0.0, 3.0, 1.5, 1e300]
    rows["yes?"] = [True, False] * 3
    return rows


ROWS = pandas.concat([FEATURES, unseen()], ignore_index=True)


def encoded_by(encoding: TableEncoding, rows: Any) -> list[np.ndarray]:
    graph = Graph()
    graph.output("features", encoded(encoding, table_inputs(graph, [encoding])))
    model = graph.to_model({})
    feeds = feeds_of(model, rows)
    return [given(evaluator, model, feeds)["features"] for evaluator in evaluators(model)]


@pytest.mark.parametrize("numbers", NUMBER_MAPS)
def test_features_are_those_of_the_encoding(numbers: str) -> None:
    encoder = TableEncoder(numbers, dates=True, categories=["n"], min_frequency=2, bins=9)
    encoding = encoder.learn(FEATURES)
    wide = encoding.padded(encoding.width + 3)
    wanted = wide.transform(ROWS, "float64")
    for n in (0, 1, len(ROWS)):
        for features in encoded_by(wide, ROWS[:n]):
            assert features.shape == wanted[:n].shape
            assert features.dtype == np.float64
            np.testing.assert_allclose(features, wanted[:n], rtol=1e-13, atol=1e-13)


def test_an_empty_text_is_a_missing_one_unless_it_is_a_category() -> None:
    rows = pandas.DataFrame({"a": ["", "b"] * 10, "b": [None, "b"] * 10})
    encoding = TableEncoder().learn(rows)
    for features in encoded_by(encoding, rows):
        np.testing.assert_array_equal(features, encoding.transform(rows, "float64"))


def test_one_text_for_missing_and_empty_is_refused() -> None:
    rows = pandas.DataFrame({"a": ["", "b", None] * 10})
    with pytest.raises(ValueError, match="column 'a' has texts of no length beside missing ones"):
        table_inputs(Graph(), [TableEncoder().learn(rows)])


def test_booleans_are_texts_as_they_are_written() -> None:
    encoding = TableEncoder().learn(pandas.DataFrame({"a": [True, False] * 10}))
    rows = pandas.DataFrame({"a": ["TRUE", "true", "True", "1", "0", "FALSE", "no"]})
    for features in encoded_by(encoding, rows):
        np.testing.assert_array_equal(features, encoding.transform(rows, "float64"))
        np.testing.assert_array_equal(features, np.eye(3)[[1, 1, 1, 1, 0, 0, 2], :2])


@pytest.mark.parametrize("target", ["kind", "y"])
def test_a_network_of_a_table_takes_raw_columns(target: str, tmp_path: Any) -> None:
    run = arraymlp.train(FEATURES.assign(t=TABLE[target]), "t", encode=ENCODER, **HOW)
    model = to_onnx(run, tmp_path / "model.onnx")
    assert [i.name for i in model.graph.input] == list(run.network.features)
    wanted = expected(run.network, ROWS)
    outputs = [output.name for output in model.graph.output]
    if target == "kind":  # a column is called label
        assert outputs == ["label_", "probabilities"]
        wanted["label_"] = wanted.pop("label")
    require_same(model, feeds_of(model, ROWS), wanted)
    loaded = load(tmp_path / "model.onnx")
    assert loaded.predict(ROWS).tolist() == run.network.predict(ROWS).tolist()
    assert (loaded.encoding, loaded.targets) == (run.network.encoding, ("t",))


def test_folds_have_encodings_of_their_own() -> None:
    result = arraymlp.sweep(
        FEATURES, TABLE["y"], encode=ENCODER, cv=3, seed=[1, 2], hidden=(4,), epochs=2
    )
    members = [member.network for member in result]
    assert len({network.encoding for network in members}) == 3
    model = to_onnx(result)
    require_same(model, feeds_of(model, ROWS), expected(Ensemble(members), ROWS))
    stacked = arraymlp.MultilayerPerceptron.stacked(members)
    require_same(to_onnx(stacked), feeds_of(model, ROWS), expected(Ensemble(members), ROWS))


def test_columns_that_a_graph_cannot_have_are_refused() -> None:
    y = np.arange(N) % 2
    for name, words in (("", "a column without"), ("layers.0.bias", "as a tensor of the model is")):
        run = arraymlp.train(FEATURES[["X"]].set_axis([name], axis=1), y, encode=True, **HOW)
        with pytest.raises(ValueError, match=words):
            to_onnx(run)
    frames = (
        pandas.DataFrame({"a": np.arange(N) % 7 * 1.5}),
        pandas.DataFrame({"a": ["u", "v"] * 30}),
    )
    networks = [arraymlp.train(frame, y, encode=True, **HOW).network for frame in frames]
    with pytest.raises(ValueError, match="'a' is of numbers for some networks, not for all"):
        to_onnx(Ensemble(networks))
