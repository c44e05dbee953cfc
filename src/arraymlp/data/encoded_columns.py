"""Columns of a table as features: numbers, dates and categories, each with what was learnt of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np

from arraymlp._checks import lookup
from arraymlp.backends.array import HostArray
from arraymlp.data.frame_values import DAY, text_of
from arraymlp.data.frames import Column, Texts
from arraymlp.data.number_maps import NUMBER_MAPS, NumberMap
from arraymlp.data.plain import (
    read_flag,
    read_list,
    read_number,
    read_object,
    read_text,
)

# Writes the features of some rows into (width, B) of float64.
Writer: TypeAlias = Callable[[slice, HostArray], None]


class EncodedColumn(Protocol):
    """A column of a table, and how it becomes features."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """Of the column."""

    @property
    def width(self) -> int:
        """The number of features."""

    def feature_names(self) -> list[str]:
        """What they are called."""

    def writer(self, values: Column) -> Writer:
        """What writes the features of the rows of a column; a ValueError where it is of another
        kind.
        """

    def to_json(self) -> dict[str, Any]:
        """What `of_json` of the class takes."""

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        """The column of which ``to_json`` said that; a ValueError where it is none."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: as a map has them, the missing ones as the median.

    Attributes:
        name: of the column.
        map: from numbers to features.
        fill: what stands for a missing number, the median of the training rows.
        indicator: whether the last feature is 1 where a number is missing, else 0: where numbers
            were missing in the training rows.
    """

    name: str
    map: NumberMap
    fill: float
    indicator: bool
    kind: ClassVar[str] = "numbers"

    @property
    def width(self) -> int:
        return self.map.width + self.indicator

    def feature_names(self) -> list[str]:
        return [*self.map.names(self.name), *[f"{self.name} (missing)"] * self.indicator]

    def writer(self, values: Column) -> Writer:
        numbers = self._numbers(values)

        def write(rows: slice, out: HostArray) -> None:
            x = numbers(rows)
            finite = np.isfinite(x)
            out[self.map.width :] = 0
            if not finite.all():
                missing = np.isnan(x)
                if not (finite | missing).all():
                    row = rows.start + int(np.argmin(finite | missing))
                    raise ValueError(infinite(self.name, row))
                x[missing] = self.fill
                out[self.map.width :] = missing
            self.map.write(x, out[: self.map.width])

        return write

    def _numbers(self, values: Column) -> Callable[[slice], HostArray]:
        """What gives the numbers of some rows, in float64, NaN where one is missing."""
        if isinstance(values, Texts):
            _require_none(values, self.name, "numbers")
            return lambda rows: np.full(rows.stop - rows.start, np.nan)
        if values.dtype.kind == "M":
            raise ValueError(f"column {self.name!r} must be numbers, but it has dates")
        return lambda rows: values[rows].astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "map": self.map.kind,
            "learnt": self.map.to_json(),
            "fill": self.fill,
            "indicator": self.indicator,
        }

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        names = ("kind", "name", "map", "learnt", "fill", "indicator")
        value = read_object(value, names, where)
        number_map = lookup(NUMBER_MAPS, read_text(value["map"], f"{where}.map"), "map of numbers")
        return cls(
            read_text(value["name"], f"{where}.name"),
            number_map.of_json(value["learnt"], f"{where}.learnt"),
            read_number(value["fill"], f"{where}.fill"),
            read_flag(value["indicator"], f"{where}.indicator"),
        )


@dataclass(frozen=True)
class Dates(Numbers):
    """A column of dates or times, as numbers: days since the beginning of 1970, in UTC."""

    kind: ClassVar[str] = "dates"

    def _numbers(self, values: Column) -> Callable[[slice], HostArray]:
        if isinstance(values, Texts):
            _require_none(values, self.name, "dates")
            return lambda rows: np.full(rows.stop - rows.start, np.nan)
        if values.dtype.kind != "M":
            if values.dtype.kind == "f" and np.isnan(values).all():
                return lambda rows: values[rows].astype(np.float64)
            raise ValueError(f"column {self.name!r} must be dates, but it has numbers")
        return lambda rows: days(values[rows])


def days(values: HostArray) -> HostArray:
    """Dates (N,) as days since the beginning of 1970; NaN for NaT."""
    since: HostArray = (values - np.datetime64(0, "D")) / DAY
    return since


def infinite(name: str, row: int) -> str:
    """The message for a number that is infinite."""
    return f"column {name!r} has an infinite number in row {row}: only NaN is a missing one"


def _require_none(values: Texts, name: str, what: str) -> None:
    """A ValueError where a column has a text, but should have something else."""
    present = values.codes >= 0
    if present.any():
        row = int(np.argmax(present))
        text = values.values[values.codes[row]]
        raise ValueError(f"column {name!r} must be {what}, but row {row} has {text!r}")


@dataclass(frozen=True)
class Categories:
    """A column of categories: a feature for each, 1 where the row has it, else 0.

    Numbers and booleans have the category of their text, "3" or "True".

    Attributes:
        name: of the column.
        values: the categories that have a feature of their own.
        missing: whether rows without one have a feature, which follows: where there were enough of
            these in training rows.
        other: whether all else has a feature, the last: rare and unseen categories and, where it
            has no feature of its own, a missing one. Where not, their features are all 0.
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
            raise ValueError(f"column {self.name!r} has no categories")

    @property
    def width(self) -> int:
        return len(self.values) + self.missing + self.other

    def feature_names(self) -> list[str]:
        return [
            *[f"{self.name}={value}" for value in self.values],
            *[f"{self.name} (missing)"] * self.missing,
            *[f"{self.name} (other)"] * self.other,
        ]

    def writer(self, values: Column) -> Writer:
        texts = as_texts(values, self.name)
        # Where there is no feature, the row after the last, which is cut off.
        unseen = self.width - self.other
        positions = {value: i for i, value in enumerate(self.values)}
        found = [positions.get(value, unseen) for value in texts.values]
        found.append(len(self.values) if self.missing else unseen)
        features = np.asarray(found, dtype=np.intp)

        def write(rows: slice, out: HostArray) -> None:
            at = features[texts.codes[rows]]
            row = np.arange(len(at))
            out[:] = 0
            if not self.other:
                row = np.flatnonzero(at < self.width)
                at = at[row]
            out[at, row] = 1

        return write

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "values": list(self.values),
            "missing": self.missing,
            "other": self.other,
        }

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        value = read_object(value, ("kind", "name", "values", "missing", "other"), where)
        texts = read_list(value["values"], f"{where}.values")
        return cls(
            read_text(value["name"], f"{where}.name"),
            tuple(read_text(v, f"{where}.values[{i}]") for i, v in enumerate(texts)),
            read_flag(value["missing"], f"{where}.missing"),
            read_flag(value["other"], f"{where}.other"),
        )


def as_texts(values: Column, name: str) -> Texts:
    """A column as categories: numbers and booleans by their texts."""
    if isinstance(values, Texts):
        return values
    if values.dtype.kind == "M":
        raise ValueError(f"column {name!r} must be categories, but it has dates")
    if values.dtype.kind == "b":
        return Texts(values.astype(np.int32), ("False", "True"))
    distinct, codes = np.unique(values, return_inverse=True)  # NaN is the last, once
    if distinct.dtype.kind == "f" and len(distinct) and np.isnan(distinct[-1]):
        distinct = distinct[:-1]
        codes = np.where(codes < len(distinct), codes, -1)
    return Texts(codes.astype(np.int32), tuple(text_of(v) for v in distinct.tolist()))


COLUMNS: Mapping[str, type[EncodedColumn]] = {
    kind.kind: kind for kind in (Numbers, Dates, Categories)
}
