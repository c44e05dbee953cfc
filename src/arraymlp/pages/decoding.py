"""Features of a run's data as the cells of the table that they were made of.

A run keeps features and not the table. Numbers beyond the ends of a map come back as these ends,
and missing ones without a feature of their own as the number that stood for them: as the network
sees them.
"""

from collections.abc import Sequence

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories, Dates, Numbers
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.encoding.number_maps import (
    Mixed,
    Nothing,
    NumberMap,
    Piecewise,
    Quantiles,
    Standardized,
)
from arraymlp.pages.columns import CATEGORY, OTHER, InputColumn, category_cells

DIGITS = 6  # that float32 keeps of a number, of the range of its column


def decoded(
    encoding: TableEncoding, columns: Sequence[InputColumn], features: HostArray
) -> HostArray:
    """Rows of a page (N, n), float64, of features (N, width) that an encoding made of a table."""
    ends = np.cumsum([column.width for column in encoding.columns]).tolist()
    found = {}
    for column, start, end in zip(encoding.columns, [0, *ends], ends, strict=False):
        part = features[:, start:end]
        if isinstance(column, Categories):
            found[column.name] = category_cells(column, part)
        else:
            found[column.name] = _numbers(column, part)
    n = len(features)
    unknown = {c.name: np.full(n, OTHER if c.kind == CATEGORY else np.nan) for c in columns}
    return np.column_stack([(unknown | found)[column.name] for column in columns])


def _numbers(column: Numbers | Dates, features: HostArray) -> HostArray:
    width = column.map.width
    numbers = _inverse(column.map, features[:, :width], column.fill)
    if column.indicator:
        numbers = np.where(features[:, width] > 0.5, np.nan, numbers)
    return _rounded(numbers)


def _inverse(map: NumberMap, features: HostArray, fill: float) -> HostArray:
    """Numbers (N,) of their features (N, width)."""
    match map:
        case Nothing():
            return np.full(len(features), fill)
        case Mixed():
            return np.asarray(features[:, 0] * map.number.deviation + map.number.mean)
        case Standardized():
            return np.asarray(features[:, 0] * map.deviation + map.mean)
        case Piecewise():
            parts = np.clip(features + np.asarray(map.means), 0, 1)
            return np.asarray(map.edges[0] + parts @ np.diff(map.edges))
        case Quantiles():
            return np.interp(features[:, 0], map.scores, map.knots)
    bounded = np.clip(features[:, 0], -2.9999, 2.9999)  # z / sqrt(1 + (z/3)^2) solved for z
    return np.asarray(map.centre + map.scale * bounded / np.sqrt(1 - (bounded / 3) ** 2))


def _rounded(numbers: HostArray) -> HostArray:
    """Numbers without the digits that float32 made up, so that 22 is not 21.999998."""
    known = numbers[np.isfinite(numbers)]
    span = float(np.ptp(known)) if len(known) else 0.0
    if span == 0:
        return numbers
    size = np.floor(np.log10(span)) + 1
    rounded: HostArray = np.round(numbers, int(np.clip(DIGITS - size, -300, 300)))
    return rounded
