"""A population's K numbers as three: the least, the median, the greatest."""

from collections.abc import Sequence
from math import nan
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray


class Spread(NamedTuple):
    """Of K numbers those that are finite; NaN where none is.

    Attributes:
        median: the middle one, or the mean of the middle two.
        low: the least.
        high: the greatest.
        finite: how many are finite.
        n: how many there are.
    """

    median: float
    low: float
    high: float
    finite: int
    n: int

    def text(self, form: str = ".5g") -> str:
        """It in words: ``0.25 (0.2 to 0.31)``."""
        if not self.finite:
            return "nan"
        notes = [f"{self.low:{form}} to {self.high:{form}}"] if self.low < self.high else []
        if self.finite < self.n:
            notes.append(f"{self.n - self.finite} of {self.n} not finite")
        beside = f" ({'; '.join(notes)})" if notes else ""
        return f"{self.median:{form}}{beside}"


def spread(values: Sequence[Any]) -> Spread:
    """The spread of numbers; None counts as not finite."""
    row = as_numbers(values)
    low, median, high = (float(part[0]) for part in spreads(row[None, :]))
    return Spread(median, low, high, int(np.isfinite(row).sum()), len(row))


def spreads(rows: HostArray) -> tuple[HostArray, HostArray, HostArray]:
    """Least, median and greatest of the finite numbers of each row (E, K), as (E,) each."""
    ordered = np.sort(np.where(np.isfinite(rows), rows, np.nan), axis=1)  # NaN comes last
    known = np.isfinite(ordered).sum(axis=1)
    each = np.arange(len(ordered))

    def at(place: HostArray) -> HostArray:
        inside = np.clip(place, 0, max(ordered.shape[1] - 1, 0))
        picked: HostArray = np.where(known > 0, ordered[each, inside], np.nan)
        return picked

    if not ordered.shape[1]:
        nothing = np.full(len(ordered), nan)
        return nothing, nothing, nothing
    median = at((known - 1) // 2) / 2 + at(known // 2) / 2  # halves do not overflow
    return at(np.zeros_like(known)), median, at(known - 1)


def is_numbers(value: object) -> bool:
    """True of a list of numbers, None among them."""
    return isinstance(value, list | tuple) and all(v is None or isinstance(v, Real) for v in value)


def as_numbers(values: Sequence[Any]) -> HostArray:
    """Numbers as float64, with NaN for None and for what is no number."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.asarray([v if isinstance(v, Real) else nan for v in values], np.float64)
