"""Columns of NumPy's arrays, of any dtype, and of what becomes one: lists, device arrays."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.registry import backend_of
from arraymlp.data.frames.frame import Column
from arraymlp.data.frames.values import booleans, durations, objects, strings


class Reading(NamedTuple):
    """A table that is about to be read.

    Attributes:
        names: of its columns, whatever they are.
        columns: as the library has them.
        read: makes a frame's column of such a one; a ValueError or TypeError where it is none.
    """

    names: Sequence[Any]
    columns: Sequence[Any]
    read: Callable[[Any], Column]


def read_records(X: HostArray) -> Reading:
    """Of an array (N,) of records."""
    if X.ndim != 1:
        raise ValueError(f"an array of records must be 1-D, not {X.ndim}-D")
    names = X.dtype.names or ()
    return Reading(names, [X[name] for name in names], array_column)


def read_array(X: Any, what: str) -> Reading:
    """Of an array (N, n), or what becomes one; its columns are called x0, x1, ...

    Args:
        X: of NumPy, of a device, or lists of lists.
        what: the argument's name, for messages.
    """
    if hasattr(X, "toarray"):
        raise ValueError(f"{what} is sparse, which is not supported: give {what}.toarray()")
    if hasattr(X, "collect") and hasattr(X, "collect_schema"):
        raise ValueError(f"{what} is a lazy frame: give {what}.collect()")
    if hasattr(X, "__dataframe__") or hasattr(X, "__arrow_c_stream__"):
        kind = f"{type(X).__module__.partition('.')[0]}.{type(X).__name__}"
        raise ValueError(
            f"{what} is of {kind}, which is not read: make a data frame of pandas or polars of it, "
            "or a table of pyarrow"
        )
    values = backend_of(X).to_numpy(X) if is_device_array(X) else X
    if not isinstance(values, np.ndarray):
        values = _rectangle(values, what)
    if values.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {values.ndim}D array instead as {what}. Reshape your data: "
            f"{what}.reshape(-1, 1) is one column, {what}.reshape(1, -1) one row"
        )
    n = values.shape[1]
    return Reading([f"x{i}" for i in range(n)], [values[:, i] for i in range(n)], array_column)


def _rectangle(values: Any, what: str) -> HostArray:
    """Lists of lists as an array; of objects where they hold anything but numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US":  # numbers among texts would have become texts
            array = np.asarray(values, dtype=object)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is no table, with as many values in each row: {error}") from error
    return array


def array_column(values: HostArray) -> Column:
    """A column (N,) of any dtype."""
    if values.ndim != 1:
        raise ValueError("it has several values in a row")
    if isinstance(values, np.ma.MaskedArray):
        return _without_mask(values)
    kind = values.dtype.kind
    if kind in "biuf":
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    if kind == "M":
        return values
    if kind == "m":
        return durations(values)
    if kind == "U":
        return strings(values.tolist())
    if kind == "S":
        return strings([value.decode() for value in values.tolist()])
    if kind in "OT":  # T: texts of any length, among which others may stand for missing ones
        return objects(values.tolist())
    if kind == "c":
        raise ValueError("Complex data not supported")
    raise ValueError(f"it must be numbers, texts or dates, not {values.dtype}")


def _without_mask(values: Any) -> Column:
    """A masked column as one with a missing one where it has no value."""
    if not np.ma.is_masked(values):
        return array_column(np.asarray(values))
    if values.dtype.kind == "b":
        return booleans(np.asarray(values), np.ma.getmaskarray(values))
    number = values.dtype.kind in "iuf"
    column = np.array(values, dtype=np.float64 if number else object)
    column[np.ma.getmaskarray(values)] = np.nan if number else None
    return array_column(column)
