"""Columns of Python's objects, as pandas and lists have them, become numbers, texts or times."""

import datetime
import decimal
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames.frame import Column, Texts

DAY = np.timedelta64(1, "D")
BOOLEANS = ("False", "True")  # in this order, so that their numbers are codes


def strings(values: Sequence[Any]) -> Texts:
    """A column of texts; None is a missing one."""
    positions: dict[str, int] = {}
    codes = np.fromiter(
        (-1 if v is None else positions.setdefault(v, len(positions)) for v in values),
        dtype=np.int32,
        count=len(values),
    )
    return Texts(codes, tuple(positions))


def booleans(values: HostArray, missing: HostArray) -> Column:
    """A column of booleans (N,); their texts where some are missing."""
    if not missing.any():
        return values
    return Texts(np.where(missing, -1, values).astype(np.int32), BOOLEANS)


def durations(values: HostArray) -> HostArray:
    """Lengths of time (N,) as days; NaN for NaT."""
    days: HostArray = values / DAY
    return days


def text_of(value: Any) -> str:
    """A value as a category's text: whole numbers have no decimal point, whatever their type."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return str(int(value))
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def objects(values: Sequence[Any]) -> Column:
    """A column of any objects.

    Numbers, booleans and dates are such where all are; else numbers among texts are texts, too.
    Missing are None, NaN, NaT and pandas' NA.

    Raises:
        TypeError: a value is neither a number nor a text nor a date.
    """
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        if kinds == {type(None)}:
            return np.full(len(values), np.nan)
        return strings(values)
    missing = np.fromiter(map(is_missing, values), dtype=bool, count=len(values))
    known = [v for v, m in zip(values, missing, strict=True) if not m] if missing.any() else values
    kinds = set(map(type, known))
    if not known:
        return np.full(len(values), np.nan)
    if all(issubclass(k, bool | np.bool) for k in kinds):
        whole = [False if m else v for v, m in zip(values, missing, strict=True)]
        return booleans(np.asarray(whole, dtype=bool), missing)
    # These before numbers, among which NumPy counts its own.
    if all(issubclass(k, datetime.timedelta | np.timedelta64) for k in kinds):
        return _placed(durations(np.asarray(known, dtype="timedelta64[us]")), missing, np.nan)
    if all(issubclass(k, numbers.Real | decimal.Decimal | np.bool) for k in kinds):
        return _numbers(known, missing)
    if all(issubclass(k, datetime.date | np.datetime64) for k in kinds):
        return _times(known, missing)
    pairs = enumerate(zip(values, missing.tolist(), strict=True))
    return strings([None if m else _as_text(v, row) for row, (v, m) in pairs])


def is_missing(value: Any) -> bool:
    """True for None, NaN, NaT and pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, numbers.Real | decimal.Decimal):
        return bool(value != value)
    return False


def _as_text(value: Any, row: int) -> str:
    if not isinstance(value, str | bool | np.bool | numbers.Real | decimal.Decimal):
        raise TypeError(
            f"argument must be a string or a number, not {type(value).__name__} (row {row})"
        )
    return text_of(value)


def _numbers(known: Sequence[Any], missing: HostArray) -> HostArray:
    """Integers where all are and fit 64 bits, else floats."""
    try:
        found = np.asarray(known)
        if found.dtype.kind not in "iuf":
            found = np.asarray(known, dtype=np.float64)
    except OverflowError as error:
        raise ValueError("it has an integer beyond float64") from error
    return _placed(found, missing, np.nan)


def _times(known: Sequence[Any], missing: HostArray) -> HostArray:
    """Dates and times, in UTC where they have a zone, as datetime64 of microseconds."""
    utc = datetime.timezone.utc  # noqa: UP017
    plain = [
        v.astimezone(utc).replace(tzinfo=None)
        if isinstance(v, datetime.datetime) and v.tzinfo is not None
        else v
        for v in known
    ]
    return _placed(np.asarray(plain, dtype="datetime64[us]"), missing, np.datetime64("NaT"))


def _placed(known: HostArray, missing: HostArray, absent: Any) -> HostArray:
    """The known values in the rows that have one."""
    if not missing.any():
        return known
    dtype = known.dtype if known.dtype.kind == "M" else np.float64
    column = np.full(len(missing), absent, dtype=dtype)
    column[~missing] = known
    return column
