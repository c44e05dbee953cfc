"""Columns of pyarrow as columns of a `Frame`."""

from importlib import import_module
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames import Column, Texts


def column_of(array: Any) -> Column:
    """An array of pyarrow: numbers, booleans, texts, dates or times.

    Raises:
        ValueError: it is none of these.
    """
    pa: Any = import_module("pyarrow")
    kind, types = array.type, pa.types
    if types.is_dictionary(kind):
        if not _is_text(types, kind.value_type):
            return column_of(array.dictionary_decode())
        return texts_of(array)
    if _is_text(types, kind):
        if not types.is_string(kind):
            array = array.cast(pa.large_string())
        return texts_of(array.dictionary_encode())
    if types.is_null(kind):
        return np.full(len(array), np.nan)
    if types.is_boolean(kind) and array.null_count:
        codes = array.cast(pa.int32()).fill_null(-1).to_numpy()
        return Texts(codes, ("False", "True"))
    if types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif types.is_integer(kind) and array.null_count:
        array = array.cast(pa.float64(), safe=False)
    elif types.is_timestamp(kind) and kind.tz is not None:
        array = array.cast(pa.timestamp(kind.unit))  # its values are in UTC
    elif not (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
    ):
        raise ValueError(f"it must be numbers, texts or dates, not {kind}")
    values: HostArray = array.to_numpy(zero_copy_only=False)
    return values


def _is_text(types: Any, kind: Any) -> bool:
    view = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or view(kind))


def texts_of(array: Any) -> Texts:
    """An array of pyarrow's dictionary type, whose values are texts."""
    indices = array.indices.fill_null(-1) if array.indices.null_count else array.indices
    codes = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return _distinct(codes, array.dictionary.to_pylist())


def _distinct(codes: HostArray, values: list[str | None]) -> Texts:
    """Texts whose values may repeat, or be missing."""
    if None not in values and len(set(values)) == len(values):
        return Texts(codes, tuple(str(value) for value in values))
    positions: dict[str, int] = {}
    new = [-1 if v is None else positions.setdefault(v, len(positions)) for v in values]
    return Texts(np.asarray([*new, -1], dtype=np.int32)[codes], tuple(positions))
