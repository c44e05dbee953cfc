"""Columns of the libraries of tables: pandas, polars and pyarrow.

Whoever has an object of a library has imported it: none is imported here.
"""

import sys
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames.arrays import Reading, array_column
from arraymlp.data.frames.frame import Column, Texts
from arraymlp.data.frames.values import booleans, objects


def _library(name: str) -> Any:
    return sys.modules[name]


# pandas


def read_pandas(X: Any) -> Reading:
    """Of a data frame of pandas."""
    return Reading(list(X.columns), [X.iloc[:, i] for i in range(X.shape[1])], _pandas)


def _pandas(series: Any) -> Column:
    pd = _library("pandas")
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return array_column(series.to_numpy())
    if isinstance(dtype, pd.CategoricalDtype):
        return _recode(series.cat.codes.to_numpy(), series.cat.categories.tolist())
    if isinstance(dtype, pd.StringDtype):
        codes, values = series.factorize(use_na_sentinel=True)
        return _recode(codes, values.tolist())
    if isinstance(dtype, pd.ArrowDtype):
        return _arrow(series.array.__arrow_array__())
    if isinstance(dtype, pd.DatetimeTZDtype):
        return array_column(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if isinstance(dtype, pd.SparseDtype):
        return array_column(np.asarray(series.array))
    if isinstance(dtype, pd.BooleanDtype):
        return booleans(series.to_numpy(dtype=bool, na_value=False), series.isna().to_numpy())
    if pd.api.types.is_numeric_dtype(dtype):
        if series.hasnans:
            return array_column(series.to_numpy(dtype=np.float64, na_value=np.nan))
        return array_column(series.to_numpy(dtype=dtype.numpy_dtype))
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


def read_polars(X: Any) -> Reading:
    """Of a data frame of polars."""
    return Reading(X.columns, X.get_columns(), _polars)


def _polars(series: Any) -> Column:
    pl = _library("polars")
    dtype = series.dtype
    if dtype == pl.Boolean:
        return booleans(series.fill_null(False).to_numpy(), series.is_null().to_numpy())
    if dtype.is_numeric() or dtype == pl.Null:
        if series.null_count() or dtype.is_decimal() or dtype == pl.Null:
            series = series.cast(pl.Float64)
        return array_column(series.to_numpy())
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
        return array_column(series.to_numpy())
    if dtype == pl.Object:
        return objects(series.to_list())
    raise ValueError(f"it must be numbers, texts or dates, not {dtype}")


# pyarrow


def read_arrow(X: Any) -> Reading:
    """Of a Table or RecordBatch of pyarrow."""
    return Reading(X.schema.names, X.columns, _arrow)


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
        return array_column(_to_numpy(column))
    if types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind):
        return _arrow_texts(column)
    if getattr(types, "is_string_view", lambda _: False)(kind):
        return _arrow_texts(column.cast(pa.large_string()))
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return array_column(_to_numpy(column))
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
