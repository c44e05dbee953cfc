"""A table's columns as features: numbers, dates and categories, each with what was learnt of it.

Each class says how wide its features are, what they are called, and gives a writer for a column: a
function that writes the features of some rows into an array (B, width).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.number_maps import NumberMap
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.values import BOOLEANS, DAY, text_of

TRUTHS = {text.casefold(): str(digit) for digit, text in enumerate(BOOLEANS)}

Writer: TypeAlias = Callable[[slice, HostArray], None]


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: as a map has them, the missing ones as the median.

    Attributes:
        name: of the column.
        map: from numbers to features.
        fill: what stands for a missing number, the median of the training rows.
        indicator: whether there is one more feature, 1 where a number is missing, else 0.
    """

    name: str
    map: NumberMap
    fill: float
    indicator: bool
    kind: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        if not self.width:
            raise ValueError(f"column {self.name!r} has no features")

    @property
    def width(self) -> int:
        """The number of features."""
        return self.map.width + self.indicator

    def feature_names(self) -> list[str]:
        """What they are called."""
        return [*self.map.names(self.name), *[f"{self.name} (missing)"] * self.indicator]

    def writer(self, values: Column) -> Writer:
        """What writes the features of rows; a ValueError where the column has no numbers."""
        if isinstance(values, Texts) or values.dtype.kind not in "biuf":
            values = _all_missing(values, self.name, self.kind)
        return lambda rows, out: self._write(values[rows].astype(np.float64), rows.start, out)

    def _write(self, x: HostArray, start: int, out: HostArray) -> None:
        """Features of numbers (B,), a copy of those from row ``start`` on, into out (B, width)."""
        finite = np.isfinite(x)
        out[:, self.map.width :] = 0
        if not finite.all():
            missing = np.isnan(x)
            require_finite(x, self.name, start)
            x[missing] = self.fill
            out[:, self.map.width :] = missing[:, None]
        self.map.write(x, out[:, : self.map.width])


@dataclass(frozen=True)
class Dates(Numbers):
    """A column of dates or times, as numbers: days since the beginning of 1970, in UTC."""

    kind: ClassVar[str] = "dates"

    def writer(self, values: Column) -> Writer:
        """What writes the features of rows; a ValueError where the column has no dates."""
        if isinstance(values, Texts) or values.dtype.kind != "M":
            missing = _all_missing(values, self.name, self.kind)
            return lambda rows, out: self._write(missing[rows].copy(), rows.start, out)
        return lambda rows, out: self._write(days(values[rows]), rows.start, out)


def days(values: HostArray) -> HostArray:
    """Dates (N,) as days since the beginning of 1970; NaN for NaT."""
    since: HostArray = (values - np.datetime64(0, "D")) / DAY
    return since


def require_finite(x: HostArray, name: str, start: int = 0) -> None:
    """A ValueError where one of a column's numbers, from row ``start`` on, is infinite."""
    infinite = np.isinf(x)
    if infinite.any():
        row = start + int(np.argmax(infinite))
        raise ValueError(
            f"column {name!r} has an infinite number in row {row}: they must be finite, or missing"
        )


def require_all_finite(frame: Frame) -> None:
    """The same of a table's columns: before some of its rows are taken, which counts them anew."""
    for name, column in zip(frame.names, frame.columns, strict=True):
        if not isinstance(column, Texts) and column.dtype.kind == "f":
            require_finite(column, name)


@dataclass(frozen=True)
class Categories:
    """A column of categories: a feature for each, 1 where the row has it, else 0.

    Numbers and booleans have the category of their text, "3" or "True"; 0 and 1, and TRUE and
    false, are booleans where those were learnt, and booleans are 0 and 1 where numbers were.

    Attributes:
        name: of the column.
        values: the categories that have a feature of their own.
        missing: whether rows without one have a feature, which follows: where there were enough of
            these among the training rows.
        other: whether all else has a feature, the last: rare and unseen categories and, without a
            feature of their own, missing ones. Where not, all their features are 0.
    """

    name: str
    values: tuple[str, ...]
    missing: bool
    other: bool
    kind: ClassVar[str] = "categories"

    def __post_init__(self) -> None:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"categories of column {self.name!r} repeat")
        if not self.width:
            raise ValueError(f"column {self.name!r} has no features")

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.values) + self.missing + self.other

    def feature_names(self) -> list[str]:
        """What they are called."""
        return [
            *[f"{self.name}={value}" for value in self.values],
            *[f"{self.name} (missing)"] * self.missing,
            *[f"{self.name} (other)"] * self.other,
        ]

    def writer(self, values: Column) -> Writer:
        """What writes the features of rows; a ValueError for dates and infinite numbers."""
        texts = self._as_theirs(as_texts(values, self.name), values)
        other = self.width - self.other  # without such a feature, one beyond the last
        positions = {value: i for i, value in enumerate(self.values)}
        features = [positions.get(value, other) for value in texts.values]
        features.append(len(self.values) if self.missing else other)  # of code -1
        feature_of = np.asarray(features, dtype=np.intp)

        def write(rows: slice, out: HostArray) -> None:
            columns = feature_of[texts.codes[rows]]
            present = np.flatnonzero(columns < self.width)
            out[:] = 0
            out[present, columns[present]] = 1

        return write

    @property
    def _booleans(self) -> dict[str, str]:
        """What false, true, 0 and 1 are of the categories, "" for none; empty of no booleans."""
        theirs = {value.casefold(): value for value in self.values}
        if not len(theirs) == len(self.values) > 0 or not theirs.keys() <= TRUTHS.keys():
            return {}
        return {t: theirs.get(text, "") for text, digit in TRUTHS.items() for t in (text, digit)}

    def spellings(self, value: str) -> list[str]:
        """What is taken for a category: itself; booleans in the cases that are written, or 0, 1."""
        if not self._booleans:
            return [value]
        text = value.casefold()
        return [text, text.upper(), text.capitalize(), TRUTHS[text]]

    def unknown(self, values: Column) -> list[str]:
        """The categories of rows, sorted, where none of them has a feature; else none."""
        texts = self._as_theirs(as_texts(values, self.name), values)
        present = {texts.values[code] for code in np.unique(texts.codes) if code >= 0}
        return [] if present & set(self.values) else sorted(present)

    def _as_theirs(self, texts: Texts, values: Column) -> Texts:
        """Booleans as 0 and 1 where the categories are numbers, and these where booleans are.

        As texts, booleans have any case: spreadsheets write TRUE.
        """
        known = self._booleans
        if not known:
            booleans = not isinstance(values, Texts) and values.dtype.kind == "b"
            numbers = booleans and bool(self.values) and all(map(_is_whole, self.values))
            return Texts(texts.codes, ("0", "1")) if numbers else texts
        for code, text in enumerate(texts.values):
            if not isinstance(values, Texts) and text.casefold() not in known:
                row = int(np.argmax(texts.codes == code))
                raise ValueError(
                    f"column {self.name!r} must be booleans, or 0 and 1, but row {row} has {text}"
                )
        return Texts(texts.codes, tuple(known.get(t.casefold(), t) for t in texts.values))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


EncodedColumn: TypeAlias = Numbers | Dates | Categories


def as_texts(values: Column, name: str) -> Texts:
    """A column as categories, numbers and booleans by their texts.

    A ValueError for dates, and for infinite numbers.
    """
    if isinstance(values, Texts):
        return values
    if values.dtype.kind == "b":
        return Texts(values.astype(np.int32), BOOLEANS)
    if values.dtype.kind not in "iuf":
        values = _all_missing(values, name, Categories.kind)
    require_finite(values, name)
    distinct, codes = np.unique(values, return_inverse=True)  # NaN is the last, and once
    if distinct.dtype.kind == "f" and len(distinct) and np.isnan(distinct[-1]):
        distinct = distinct[:-1]
        codes = np.where(codes < len(distinct), codes, -1)
    return Texts(codes.astype(np.int32), tuple(map(text_of, distinct.tolist())))


def _all_missing(values: Column, name: str, kind: str) -> HostArray:
    """NaN (N,) for a column without any value; a ValueError for one with values of another kind."""
    if isinstance(values, Texts):
        known = values.codes >= 0
    else:
        known = ~(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values))
    if known.any():
        row = int(np.argmax(known))
        raise ValueError(f"column {name!r} must be {kind}, but row {row} has {_shown(values, row)}")
    return np.full(len(values), np.nan)


def _shown(values: Column, row: int) -> Any:
    if isinstance(values, Texts):
        return repr(values.values[values.codes[row]])
    return values[row]
