"""What a graph takes: the features of a network, or the raw columns of which it makes them.

The formulas of encodings are those of `arraymlp.data.encoding.number_maps` and
`arraymlp.data.encoding.columns`; as there, all is computed in float64.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories, EncodedColumn
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.encoding.number_maps import (
    FARTHEST,
    Mixed,
    Nothing,
    NumberMap,
    Piecewise,
    SmoothlyClipped,
    Standardized,
)
from arraymlp.exports.graph import ML, Graph, Value
from arraymlp.exports.namespace import xp
from arraymlp.training.model import MultilayerPerceptron

Columns = dict[str, Value]  # (N, 1) each, by name
Features = Callable[[MultilayerPerceptron], Value]  # of a network, (N, n)


def features_of(graph: Graph, networks: Sequence[MultilayerPerceptron]) -> Features:
    """What gives the features of each of these networks, and the inputs that it is made of.

    That is ``X``, of the widest of their dtypes; or, where they encode tables, the raw columns.

    Raises:
        ValueError: as of `table_inputs`.
    """
    encodings = [n.encoding for n in networks if isinstance(n.encoding, TableEncoding)]
    if not encodings:
        dtype = np.result_type(*(network.dtype for network in networks))
        x = graph.input("X", dtype, networks[0].sizes[0])
        return lambda network: x
    columns = table_inputs(graph, encodings)
    made: list[tuple[object, Value]] = []  # several stacks may have one encoding

    def features(network: MultilayerPerceptron) -> Value:
        assert isinstance(network.encoding, TableEncoding)
        if not any(encoding == network.encoding for encoding, _ in made):
            made.append((network.encoding, encoded(network.encoding, columns)))
        return next(value for encoding, value in made if encoding == network.encoding)

    return features


def table_inputs(graph: Graph, encodings: Iterable[TableEncoding]) -> Columns:
    """An input for each column that one of the encodings uses.

    Numbers are float64, NaN where one is missing; dates are numbers, days since the beginning of
    1970; categories are texts, "" where one is missing.

    Raises:
        ValueError: a column has no name, or is of numbers in one encoding and of categories in
            another one; or a text of no length is one of its categories, and a missing one another.
    """
    inputs: Columns = {}
    for column in (column for encoding in encodings for column in encoding.columns):
        dtype = np.dtype("O" if isinstance(column, Categories) else "float64")
        if not column.name:
            raise ValueError("an input of an ONNX graph has a name, but there is a column without")
        if isinstance(column, Categories) and column.missing and "" in column.values:
            raise ValueError(
                f"column {column.name!r} has texts of no length beside missing ones, and a graph "
                'has only "" for both: name one of them before the training'
            )
        if column.name not in inputs:
            inputs[column.name] = graph.input(column.name, dtype, 1)
        elif inputs[column.name].dtype != dtype:
            raise ValueError(f"column {column.name!r} is of numbers for some networks, not for all")
    return inputs


def encoded(encoding: TableEncoding, columns: Columns) -> Value:
    """The features (N, width), in float64, of an encoding of columns."""
    parts = [part for column in encoding.columns for part in _features(column, columns)]
    features = xp.concat(parts, axis=-1)
    return xp.pad(features, encoding.padding) if encoding.padding else features


def _features(column: EncodedColumn, columns: Columns) -> list[Value]:
    """The features of a column, side by side."""
    x = columns[column.name]
    if isinstance(column, Categories):
        return [_one_hot(column, x)]
    missing = xp.isnan(x)
    features = _mapped(column.map, xp.where(missing, column.fill, x))
    return features + [missing.cast("float64")] * column.indicator


def _one_hot(column: Categories, texts: Value) -> Value:
    """1 in the feature of the row's category, else 0, (N, width)."""
    unseen = column.width - column.other  # no feature, or the last
    places = {"": len(column.values) if column.missing else unseen}
    places |= {text: i for i, value in enumerate(column.values) for text in column.spellings(value)}
    place = texts.graph.node(
        "LabelEncoder",
        [texts],
        texts.shape,
        np.int64,
        domain=ML,
        keys_strings=list(places),
        values_int64s=list(places.values()),
        default_int64=unseen,
    )
    return xp.equal(place, np.arange(column.width)).cast("float64")


def _mapped(of: NumberMap, x: Value) -> list[Value]:
    """The features of numbers (N, 1) by a map: none, or one value (N, width)."""
    if isinstance(of, Nothing):
        return []
    if isinstance(of, Standardized):
        return [_scaled(x, of.mean, of.deviation)]
    if isinstance(of, SmoothlyClipped):
        z = _scaled(x, of.centre, of.scale)
        return [z / xp.sqrt(1 + (z / 3) ** 2)]
    if isinstance(of, Mixed):
        low, high = of.ends
        bins = _mapped(of.bins, x) if of.width > 1 else []
        within = xp.maximum(xp.minimum(x, high), low)
        return [*_mapped(of.number, within), *(parts * 0.5 for parts in bins)]
    if isinstance(of, Piecewise):
        return [_parts_below(x, np.asarray(of.edges)) - np.asarray(of.means)]
    scores = np.asarray(of.scores)
    steps = x.graph.constant(np.diff(scores)[:, None])
    return [xp.matmul(_parts_below(x, np.asarray(of.knots)), steps) + scores[0]]


def _scaled(x: Value, centre: float, scale: float) -> Value:
    z = (x - centre) * (1 / scale)
    return xp.maximum(xp.minimum(z, FARTHEST), -FARTHEST)


def _parts_below(x: Value, edges: HostArray) -> Value:
    """What part of each bin is below x (N, 1), from 0 to 1: (N, n_bins)."""
    parts = (x - edges[:-1]) * (1 / np.diff(edges))
    return xp.maximum(xp.minimum(parts, 1.0), 0.0)
