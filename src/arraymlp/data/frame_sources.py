"""Makes a `Frame` of what users have: pandas, polars, pyarrow, NumPy; none of them is needed.

What a column becomes goes by what is in it, not by the library it is from, so that the same table
gives the same frame: numbers as they are, with NaN where one is missing; booleans as they are, or
as the texts "False" and "True" where one is missing; texts and categories as `Texts`; dates and
times in UTC; durations as days.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.registry import backend_of
from arraymlp.data.frame_values import booleans, durations, objects, strings
from arraymlp.data.frames import Column, Frame, Texts


def is_frame(X: object) -> bool:
    """True for a table whose columns have names; False for plain arrays and lists."""
    return (
        isinstance(X, Frame)
        or any(_is_of(X, *source) for source in _SOURCES)
        or (isinstance(X, np.ndarray) and X.dtype.names is not None)
    )


def frame_of(X: Any, what: str = "X") -> Frame:
    """The table as a `Frame`; arrays are not copied where that can be helped.

    Args:
        X: a frame; a data frame of pandas or polars; a Table or RecordBatch of pyarrow; a NumPy
            array of records; or an array or lists (N, n), whose columns are called x0, x1, ...
        what: the argument's name, for messages.

    Raises:
        ValueError: X is not such a table, has no columns, names that are no texts or
            that repeat, or a column that is neither numbers nor texts nor dates.
        TypeError: a value is neither a number nor a text.
    """
    if isinstance(X, Frame):
        return X
    for module, kinds in _SOURCES:
        if _is_of(X, module, kinds):
            frame = _of_columns(*_READERS[module](X), what)
            break
    else:
        if isinstance(X, np.ndarray) and X.dtype.names is not None:
            frame = _of_columns(X.dtype.names, [_field(X, n) for n in X.dtype.names], _array, what)
        else:
            frame = _of_array(X, what)
    if not frame.columns:
        raise ValueError(
            f"{what} has 0 feature(s) (shape={frame.shape}) while a minimum of 1 is required."
        )
    return frame


# Each library's classes that are tables.
_SOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pandas", ("DataFrame",)),
    ("polars", ("DataFrame",)),
    ("pyarrow", ("Table", "RecordBatch")),
)


def _is_of(X: object, module: str, kinds: tuple[str, ...]) -> bool:
    """Whether it is of one of a library's classes; without importing the library."""
    library = sys.modules.get(module)
    return library is not None and isinstance(X, tuple(getattr(library, kind) for kind in kinds))


def _library(name: str) -> Any:
    """The library whose object is at hand, and which is so imported already."""
    return sys.modules[name]


Reading = tuple[Sequence[Any], Sequence[Any], Callable[[Any], Column]]


def _of_columns(
    names: Sequence[Any], columns: Sequence[Any], read: Callable[[Any], Column], what: str
) -> Frame:
    """The frame of a library's columns; the messages of ``read`` are completed by the name."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"the names of the columns of {what} must be texts, not {name!r}")
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        raise ValueError(f"{what} has several columns of the name {repeated[0]!r}")
    return Frame(tuple(names), tuple(map(_named(read), names, columns)))


def _named(read: Callable[[Any], Column]) -> Callable[[str, Any], Column]:
    def read_column(name: str, column: Any) -> Column:
        try:
            return read(column)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"column {name!r}: {error}") from error

    return read_column


# NumPy


def _field(X: HostArray, name: str) -> HostArray:
    if X.ndim != 1:
        raise ValueError(f"an array of records must be 1-D, not {X.ndim}-D")
    return X[name]


def _of_array(X: Any, what: str) -> Frame:
    if hasattr(X, "toarray"):
        raise ValueError(f"{what} is sparse, which is not supported: give {what}.toarray()")
    if hasattr(X, "collect") and hasattr(X, "collect_schema"):
        raise ValueError(f"{what} is a lazy frame: give {what}.collect()")
    if hasattr(X, "__dataframe__") or hasattr(X, "__arrow_c_stream__"):
        raise ValueError(
            f"{what} is a {type(X).__module__.partition('.')[0]} {type(X).__name__}, which is not "
            "read: make a data frame of pandas or polars of it, or a table of pyarrow"
        )
    values = backend_of(X).to_numpy(X) if is_device_array(X) else X
    if not isinstance(values, np.ndarray):
        values = _rectangle(values, what)
    if values.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {values.ndim}D array instead as {what}. Reshape your data: "
            f"{what}.reshape(-1, 1) is one column, {what}.reshape(1, -1) one row"
        )
    names = [f"x{i}" for i in range(values.shape[1])]
    return _of_columns(names, [values[:, i] for i in range(values.shape[1])], _array, what)


def _rectangle(values: Any, what: str) -> HostArray:
    """Lists of lists as an array; of objects where they hold anything but numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US":  # numbers among texts would have become texts
            array = np.asarray(values, dtype=object)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is no table, with as many values in each row: {error}") from error
    return array


def _array(values: HostArray) -> Column:
    """A column (N,) of any dtype."""
    if values.ndim != 1:
        raise ValueError("it has several values in a row")
    if isinstance(values, np.ma.MaskedArray):
        values = _without_mask(values)
    kind = values.dtype.kind
    if kind in "biuf":
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    if kind == "M":
        return values
    if kind == "m":
        return durations(values)
    if kind == "U" or values.dtype == np.dtypes.StringDType():
        return strings(values.tolist())
    if kind == "S":
        return strings([value.decode() for value in values.tolist()])
    if kind == "O":
        return objects(values.tolist())
    if kind == "c":
        raise ValueError("Complex data not supported")
    raise ValueError(f"it must be numbers, texts or dates, not {values.dtype}")


def _without_mask(values: Any) -> HostArray:
    """A masked column as one with NaN or None where it has no value."""
    if not np.ma.is_masked(values):
        return np.asarray(values)
    number = values.dtype.kind in "biuf"
    column = np.array(values, dtype=np.float64 if number else object)
    column[np.ma.getmaskarray(values)] = np.nan if number else None
    return column


# pandas


def _read_pandas(X: Any) -> Reading:
    return list(X.columns), [X.iloc[:, i] for i in range(X.shape[1])], _pandas


def _pandas(series: Any) -> Column:
    pd = _library("pandas")
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return _array(series.to_numpy())
    if isinstance(dtype, pd.CategoricalDtype):
        return _recode(series.cat.codes.to_numpy(), series.cat.categories.tolist())
    if isinstance(dtype, pd.StringDtype):
        codes, values = series.factorize(use_na_sentinel=True)
        return _recode(codes, values.tolist())
    if isinstance(dtype, pd.ArrowDtype):
        return _arrow(series.array.__arrow_array__())
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _array(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if isinstance(dtype, pd.SparseDtype):
        return _array(np.asarray(series.array))
    if isinstance(dtype, pd.BooleanDtype):
        return booleans(series.to_numpy(dtype=bool, na_value=False), series.isna().to_numpy())
    if pd.api.types.is_numeric_dtype(dtype):
        if series.hasnans:
            return _array(series.to_numpy(dtype=np.float64, na_value=np.nan))
        return _array(series.to_numpy(dtype=dtype.numpy_dtype))
    if dtype.kind == "O":
        return objects(series.tolist())
    raise ValueError(f"it must be numbers, texts or dates, not {dtype}")


def _recode(codes: HostArray, values: list[Any]) -> Texts:
    """The texts of which these are the codes; the values may be any a category can have."""
    if set(map(type, values)) <= {str} and len(set(values)) == len(values):
        return Texts(np.asarray(codes, dtype=np.int32), tuple(values))
    try:
        texts = objects([*values, ""])  # one text among them makes texts of them all
    except TypeError as error:
        raise ValueError(f"its categories must be texts or numbers ({error})") from error
    assert isinstance(texts, Texts)
    positions = np.append(texts.codes[:-1], np.int32(-1))  # which code -1 takes
    return Texts(positions[codes], texts.values)


# polars


def _read_polars(X: Any) -> Reading:
    return X.columns, X.get_columns(), _polars


def _polars(series: Any) -> Column:
    pl = _library("polars")
    dtype = series.dtype
    if dtype == pl.Boolean:
        return booleans(series.fill_null(False).to_numpy(), series.is_null().to_numpy())
    if dtype.is_numeric() or dtype == pl.Null:
        if series.null_count() or dtype.is_decimal() or dtype == pl.Null:
            series = series.cast(pl.Float64)
        return _array(series.to_numpy())
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
        values = series.drop_nulls().unique()
        codes = series.replace_strict(
            values, range(len(values)), default=None, return_dtype=pl.Int32
        )
        return Texts(codes.fill_null(-1).to_numpy(), tuple(values.to_list()))
    if dtype == pl.Datetime and dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if dtype in (pl.Date, pl.Datetime, pl.Duration):
        return _array(series.to_numpy())
    if dtype == pl.Object:
        return objects(series.to_list())
    raise ValueError(f"it must be numbers, texts or dates, not {dtype}")


# pyarrow


def _read_arrow(X: Any) -> Reading:
    return X.column_names, X.columns, _arrow


def _arrow(column: Any) -> Column:
    pa = _library("pyarrow")
    kind = column.type
    types = pa.types
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind):
        return booleans(_to_numpy(column.fill_null(False)), _to_numpy(column.is_null()))
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
        kind = column.type
    if types.is_integer(kind) or types.is_floating(kind):
        return _array(_to_numpy(column))
    if types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind):
        return _arrow_texts(column)
    if getattr(types, "is_string_view", lambda _: False)(kind):
        return _arrow_texts(column.cast(pa.large_string()))
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return _array(_to_numpy(column))
    raise ValueError(f"it must be numbers, texts or dates, not {kind}")


def _to_numpy(column: Any) -> HostArray:
    """The values; NaN or NaT where one is missing."""
    pa = _library("pyarrow")
    if isinstance(column, pa.ChunkedArray):
        return np.asarray(column.to_numpy())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _arrow_texts(column: Any) -> Column:
    pa = _library("pyarrow")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # since some version of no chunks
            column = pa.concat_arrays(column.chunks)
    codes = column.indices.fill_null(-1) if column.indices.null_count else column.indices
    return _recode(codes.to_numpy(zero_copy_only=False), column.dictionary.to_pylist())


_READERS: dict[str, Callable[[Any], Reading]] = {
    "pandas": _read_pandas,
    "polars": _read_polars,
    "pyarrow": _read_arrow,
}
