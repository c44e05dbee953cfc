"""Makes a `Frame` of what users have: pandas, polars, pyarrow, NumPy; none of them is needed.

What a column becomes goes by what is in it, not by the library it is from, so that the same table
gives the same frame: numbers as they are, with NaN where one is missing; booleans as they are, or
as the texts "False" and "True" where one is missing; texts and categories as `Texts`; dates and
times in UTC; durations as days.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arraymlp.data.frames.arrays import Reading, read_array, read_records
from arraymlp.data.frames.frame import Frame
from arraymlp.data.frames.libraries import read_arrow, read_pandas, read_polars


def is_frame(X: object) -> bool:
    """True for a table whose columns have names; False for plain arrays and lists."""
    return isinstance(X, Frame) or _reader(X) is not None


def frame_of(X: Any, what: str = "X") -> Frame:
    """The table as a `Frame`; arrays are not copied where that can be helped.

    Args:
        X: a frame; a data frame of pandas or polars; a Table or RecordBatch of pyarrow; a NumPy
            array of records; or an array or lists (N, n), whose columns are called x0, x1, ...
        what: the argument's name, for messages.

    Raises:
        ValueError: X is not such a table, has no columns, names that are no texts or that repeat,
            or a column that is neither numbers nor texts nor dates.
        TypeError: a value is neither a number nor a text nor a date.
    """
    if isinstance(X, Frame):
        return X
    reader = _reader(X)
    names, columns, read = read_array(X, what) if reader is None else reader(X)
    if not names:
        shape = getattr(X, "shape", (0, 0))
        raise ValueError(
            f"{what} has 0 feature(s) (shape={shape}) while a minimum of 1 is required."
        )
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"the names of the columns of {what} must be texts, not {name!r}")
    if len(set(names)) < len(names):
        repeated = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{what} has several columns of the name {repeated!r}")
    columns = [_column(read, *pair) for pair in zip(names, columns, strict=True)]
    return Frame(tuple(names), tuple(columns))


def _column(read: Callable[[Any], Any], name: str, column: Any) -> Any:
    try:
        return read(column)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"column {name!r}: {error}") from error


# Which classes of a library are tables, and how they are read.
_LIBRARIES: Mapping[tuple[str, str], Callable[[Any], Reading]] = {
    ("pandas", "DataFrame"): read_pandas,
    ("polars", "DataFrame"): read_polars,
    ("pyarrow", "Table"): read_arrow,
    ("pyarrow", "RecordBatch"): read_arrow,
}


def _reader(X: object) -> Callable[[Any], Reading] | None:
    """What reads a table whose columns have names; None for anything else. It imports nothing."""
    for (module, kind), read in _LIBRARIES.items():
        if isinstance(X, getattr(sys.modules.get(module), kind, ())):
            return read
    return read_records if isinstance(X, np.ndarray) and X.dtype.names is not None else None
