"""The inputs of a model as a page has them: a column is numbers, dates or categories.

A row of a page is a list of numbers, one a column: a number, days since 1970, or the position of a
category; NaN for a missing number or date, `MISSING` and `OTHER` for a category.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories, EncodedColumn, days
from arraymlp.data.encoding.number_maps import (
    Mixed,
    Nothing,
    NumberMap,
    Piecewise,
    Quantiles,
    Standardized,
)
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.pages.subject import Subject

MISSING, OTHER = -1, -2  # positions of a missing category, and of one without a feature of its own
NUMBER, DATE, CATEGORY = "number", "date", "category"
KINDS = {"numbers": NUMBER, "dates": DATE, "categories": CATEGORY}
AROUND = 3.0  # deviations from the mean that a slider covers where nothing else is known


@dataclass(frozen=True)
class InputColumn:
    """A column that a page has an input for.

    Attributes:
        name: of the column.
        kind: "number", "date" or "category".
        values: the categories.
        missing: whether the model knows what a missing value means.
        other: whether all other categories have a feature of their own.
        low: the least number that is offered.
        high: the greatest.
        start: what the page begins with.
        whole: whether all numbers of the examples are whole.
        encoded: how a model has it; None for what the network takes as it is.
    """

    name: str
    kind: str = NUMBER
    values: tuple[str, ...] = ()
    missing: bool = False
    other: bool = False
    low: float = -AROUND
    high: float = AROUND
    start: float = 0.0
    whole: bool = False
    encoded: EncodedColumn | None = None

    def to_dict(self) -> dict[str, Any]:
        """It in JSON's types, for ``play.js``."""
        names = ("name", "kind", "values", "missing", "other", "low", "high", "start", "whole")
        return {name: getattr(self, name) for name in names}

    def cells(self, values: Column) -> HostArray:
        """A table's column as numbers of a page (N,), float64.

        Raises:
            ValueError: its values are of another kind than those trained on.
        """
        assert self.encoded is not None
        write = self.encoded.writer(values)  # which refuses other kinds
        if not isinstance(self.encoded, Categories):
            if isinstance(values, Texts):
                return np.full(len(values), np.nan)
            if values.dtype.kind == "M":
                return days(values)
            numbers: HostArray = values.astype(np.float64)
            return numbers
        features = np.zeros((len(values), self.encoded.width))
        write(slice(0, len(values)), features)
        cells = category_cells(self.encoded, features)
        return np.where(_absent(values), MISSING, cells)

    def ranged(self, cells: HostArray) -> "InputColumn":
        """The column with the range of some cells (N,), where there are different ones."""
        known = cells[np.isfinite(cells)]
        if self.kind == CATEGORY:
            common = np.bincount(known[known >= 0].astype(int), minlength=1)
            return replace(self, start=float(common.argmax()) if len(known) else self.start)
        if not len(known):
            return self
        low, high = float(known.min()), float(known.max())
        if low == high:
            low, high = min(low, self.low), max(high, self.high)
        middle = float(np.sort(known)[len(known) // 2])
        return replace(self, low=low, high=high, start=middle, whole=bool((known % 1 == 0).all()))


def columns_of(subject: Subject) -> list[InputColumn]:
    """The columns that any of a model's networks takes.

    Raises:
        ValueError: its networks take a column in different ways.
    """
    first = subject.first
    if subject.stacks[0].encoding is None:
        names = first.features or tuple(f"x{i}" for i in range(first.sizes[0]))
        columns = [InputColumn(name) for name in names]
        if first.inputs is not None:
            mean, scale = (np.atleast_2d(a)[0] for a in (first.inputs.mean, first.inputs.scale))
            columns = [
                _around(column, float(m), float(s))
                for column, m, s in zip(columns, mean, scale, strict=True)
            ]
        return columns
    every: dict[str, InputColumn] = {}
    for stack in subject.stacks:
        assert stack.encoding is not None
        for encoded in stack.encoding.columns:
            column = _of_encoded(encoded)
            before = every.get(column.name)
            every[column.name] = column if before is None else _joined(before, column)
    return list(every.values())


def _of_encoded(encoded: EncodedColumn) -> InputColumn:
    kind = KINDS[encoded.kind]
    if isinstance(encoded, Categories):
        column = InputColumn(encoded.name, kind, encoded.values, encoded.missing, encoded.other)
        return replace(column, start=0.0 if encoded.values else OTHER, encoded=encoded)
    column = InputColumn(encoded.name, kind, missing=encoded.indicator, encoded=encoded)
    low, high = _range(encoded.map, encoded.fill)
    return replace(column, low=low, high=high, start=encoded.fill)


def _range(map: NumberMap, fill: float) -> tuple[float, float]:
    """About the range of the numbers that a map was learnt of."""
    match map:
        case Mixed():
            return map.ends
        case Piecewise():
            return map.edges[0], map.edges[-1]
        case Quantiles():
            return map.knots[0], map.knots[-1]
        case Nothing():
            return fill - 1, fill + 1
        case Standardized(mean, deviation):
            return mean - AROUND * deviation, mean + AROUND * deviation
    return map.centre - AROUND * map.scale, map.centre + AROUND * map.scale


def _around(column: InputColumn, mean: float, scale: float) -> InputColumn:
    return replace(column, low=mean - AROUND * scale, high=mean + AROUND * scale, start=mean)


def _joined(a: InputColumn, b: InputColumn) -> InputColumn:
    """The column of two networks, which may have learnt of different rows."""
    if a.kind != b.kind:
        raise ValueError(
            f"some networks take column {a.name!r} as {a.kind}, others as {b.kind}: make a page of "
            "one of them, network.member(k)"
        )
    values = tuple(dict.fromkeys((*a.values, *b.values)))
    low, high = min(a.low, b.low), max(a.high, b.high)
    missing, other = a.missing or b.missing, a.other or b.other
    return replace(a, values=values, missing=missing, other=other, low=low, high=high)


def category_cells(column: Categories, features: HostArray) -> HostArray:
    """The positions of categories (N,), float64, of their features (N, width)."""
    at = features.argmax(axis=1)
    cells: HostArray = at.astype(np.float64)
    cells[at == len(column.values)] = MISSING if column.missing else OTHER
    cells[(at > len(column.values)) | ~features.any(axis=1)] = OTHER
    return cells


def _absent(values: Column) -> HostArray:
    if isinstance(values, Texts):
        return np.asarray(values.codes < 0)
    if values.dtype.kind != "f":
        return np.zeros(len(values), dtype=np.bool)
    return np.asarray(np.isnan(values))


def table_cells(columns: Sequence[InputColumn], table: Frame) -> HostArray:
    """A table's rows as rows of a page (N, n), float64.

    Raises:
        ValueError: it lacks a column, or has one of another kind.
    """
    missing = [column.name for column in columns if column.name not in table.names]
    if missing:
        raise ValueError(f"the examples lack the columns {', '.join(map(repr, missing))}")
    return np.column_stack([column.cells(table.column(column.name)) for column in columns])
