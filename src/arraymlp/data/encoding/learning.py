"""What an encoding learns of the columns of training rows, and which are left out, and why."""

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil, isinf
from typing import Any

import numpy as np

from arraymlp._checks import is_number, lookup, require_switch, unknown
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import (
    Categories,
    Dates,
    EncodedColumn,
    Numbers,
    as_texts,
    days,
    require_finite,
)
from arraymlp.data.encoding.encoding import TableEncoding, listed
from arraymlp.data.encoding.number_maps import NUMBER_MAPS, Nothing
from arraymlp.data.frames.frame import Column, Frame, Texts

ENOUGH = 20  # rows, from which on one can say that a column numbers them
MANY = 1000  # rows: more than there are years
EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
MOST = 0.9  # of texts being different, they nearly all differ


@dataclass(frozen=True)
class LeftOut:
    """A column that is not encoded, and why."""

    why: str


@dataclass(frozen=True)
class Learning:
    """What a `TableEncoder` is told, checked; see there."""

    numbers: str
    bins: int
    min_frequency: float
    max_categories: int
    categories: int | Collection[str]
    dates: bool
    keep: Collection[str]

    def __post_init__(self) -> None:
        lookup(NUMBER_MAPS, self.numbers, "numbers")
        _require_whole("bins", self.bins, 1, 1000)
        _require_whole("max_categories", self.max_categories, 2, 10_000)
        share = self.min_frequency
        if _is_whole(share):
            _require_whole("min_frequency", share, 1, 2**53)
        elif not is_number(share) or not 0 < share < 1:
            raise ValueError(
                "min_frequency must be a number of rows from 1, or a part of them between 0 and 1, "
                f"not {share!r}"
            )
        if _is_whole(self.categories):
            _require_whole("categories", self.categories, 0, 10_000)
        else:
            _require_names("categories", self.categories, " or a whole number")
        _require_names("keep", self.keep)
        require_switch("dates", self.dates)

    def _require_columns(self, names: Collection[str]) -> None:
        """A ValueError where settings name columns that there are not."""
        named = () if isinstance(self.categories, int | np.integer) else self.categories
        for what, told in (("categories", named), ("keep", self.keep)):
            for name in told:
                if name not in names:
                    raise unknown(names, name, f"column in {what}")

    def learn(self, frame: Frame) -> tuple[TableEncoding, dict[str, str]]:
        """The encoding of training rows, and the columns left out, with the reasons, by name.

        Raises:
            ValueError: there are no rows, settings name columns that there are not, a number is
                infinite, or no column is left.
        """
        if not len(frame):
            raise ValueError(f"X has no rows to learn of: 0 sample(s) (shape={frame.shape})")
        self._require_columns(frame.names)
        columns: list[EncodedColumn] = []
        left_out: dict[str, str] = {}
        for name, values in zip(frame.names, frame.columns, strict=True):
            learnt = self._column(name, values)
            if isinstance(learnt, LeftOut):
                left_out[name] = learnt.why
            else:
                columns.append(learnt)
        if not columns:
            rows = "1 sample" if len(frame) == 1 else f"{len(frame)} rows"
            raise ValueError(f"no column of {rows} can be encoded: {reasons(left_out)}")
        return TableEncoding(tuple(columns)), left_out

    def _column(self, name: str, values: Column) -> EncodedColumn | LeftOut:
        """How a column of training rows is encoded, or why it is not."""
        if isinstance(values, Texts):
            return self._categories(name, values)
        if values.dtype.kind == "M":
            if np.isnat(values).all():
                return LeftOut("no values")
            if not self.dates:
                return LeftOut("dates; TableEncoder(dates=True) encodes them")
            return self._numbers(name, days(values), Dates)
        if self._are_categories(name, values):
            return self._categories(name, as_texts(values, name))
        return self._numbers(name, values, Numbers)

    def _are_categories(self, name: str, values: HostArray) -> bool:
        """Whether numbers are categories: booleans, those named, and integers with few values."""
        if values.dtype.kind == "b":
            return True
        if not isinstance(self.categories, int | np.integer):
            return name in self.categories
        if not self.categories:
            return False
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        whole = known.dtype.kind in "iu" or bool((np.floor(known) == known).all())
        return whole and 0 < len(np.unique(known)) <= self.categories

    def _numbers(
        self, name: str, values: HostArray, kind: type[Numbers]
    ) -> EncodedColumn | LeftOut:
        x = values.astype(np.float64)
        missing = np.isnan(x)
        x = x[~missing] if missing.any() else x
        if not len(x):
            return LeftOut("no values")
        least, greatest = float(x.min()), float(x.max())
        if isinf(least) or isinf(greatest):
            require_finite(values, name)
        span = greatest - least
        if isinf(span):
            raise ValueError(f"column {name!r} has numbers too far apart: {least} and {greatest}")
        n = len(x)
        low, high = np.partition(x, [(n - 1) // 2, n // 2])[[(n - 1) // 2, n // 2]]
        median = float(0.5 * low + 0.5 * high)
        if span <= max(10 * EPS * max(-least, greatest), TINY):  # what is left is rounding
            return kind(name, Nothing(), median, True) if n < len(values) else LeftOut("constant")
        if kind is Numbers and name not in self.keep and n == len(values) and _number_rows(x, span):
            return LeftOut(f"it numbers the rows; keep=[{name!r}] encodes it")
        return kind(name, NUMBER_MAPS[self.numbers].learn(x, self.bins), median, n < len(values))

    def _categories(self, name: str, texts: Texts) -> EncodedColumn | LeftOut:
        n = len(texts)
        present = texts.codes >= 0
        counts = np.bincount(texts.codes[present], minlength=len(texts.values))
        known = int(counts.sum())
        occurring = np.flatnonzero(counts)
        if not known:
            return LeftOut("no values")
        if len(occurring) == 1 and known == n:
            return LeftOut("constant")
        share = self.min_frequency
        least = int(share) if _is_whole(share) else ceil(round(share * n, 9))
        # A missing value counts as one more category, with None for its text.
        candidates: list[tuple[int, str | None]] = [
            (int(counts[i]), texts.values[i]) for i in occurring if counts[i] >= least
        ]
        if n - known >= least:
            candidates.append((n - known, None))
        different = len(occurring) + (known < n)
        if different > self.max_categories or len(candidates) < different:
            candidates.sort(key=lambda c: (-c[0], c[1] is not None, c[1] or ""))
            candidates = candidates[: self.max_categories - 1]
        chosen = [text for _, text in candidates]
        if not chosen:
            alike = (
                "texts that nearly all differ" if len(occurring) > MOST * known else "rare texts"
            )
            return LeftOut(f"{alike}, none in {least} rows")
        return Categories(
            name,
            tuple(sorted(text for text in chosen if text is not None)),
            None in chosen,
            len(chosen) < different,
        )


def reasons(left_out: dict[str, str]) -> str:
    """The columns that are left out, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    return "; ".join(f"{listed(names)} ({why})" for why, names in by_reason.items())


def _number_rows(x: HostArray, span: float) -> bool:
    """Whether numbers are such as one numbers rows with: whole, different, with few gaps.

    Some rows may be missing, as of a part of a table. Numbers from elsewhere than 0 or 1, of which
    there are few, may as well be years.
    """
    n = len(x)
    from_one = x.min() >= 0 and x.max() <= 2 * n
    if n < ENOUGH or span >= 2 * n or not (from_one or n >= MANY) or (x != np.floor(x)).any():
        return False
    return len(np.unique(x)) == n


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _require_whole(what: str, value: Any, least: int, most: int) -> None:
    if not _is_whole(value) or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, not {value!r}")


def _require_names(what: str, value: Any, other: str = "") -> None:
    listed = isinstance(value, Collection) and not isinstance(value, str | bytes)
    if not listed or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{what} must be a list of names of columns{other}, not {value!r}")
