"""Indices: views by slices and integers, copies by arrays, and writing by either."""

import operator
from typing import Any

import numpy as np

from cupy import _compiled, _state
from cupy._ndarray import HostArray, ndarray, on_device, require_here


def got(array: ndarray, key: Any) -> ndarray:
    """``array[key]``."""
    keys = _keys(key)
    if not any(isinstance(k, ndarray) for k in keys):
        host = array._host[tuple(keys)]
        if not isinstance(host, np.ndarray):  # one number: NumPy has a scalar for it
            host = array._host[(*keys, ...)]
        return array._view(host)
    require_here(array, *keys)
    new = np.array(array._host[_hosts(keys)], order="C")
    arrays = [k for k in keys if isinstance(k, ndarray)]
    if any(k.dtype.kind == "b" for k in arrays):
        _state.current_stream().refuse()
        _state.counts["device to host"] += 1  # the number of rows that are chosen
        _compiled.compiled(_compiled.ELEMENTWISE, "cupy_getitem_mask", (array.dtype.char, new.ndim))
    elif len(arrays) == 1:
        _taken(array._host, arrays[0]._host, new)
    else:
        _prepared(arrays)
        _taken(array._host, arrays[0]._host, new)
    return on_device(new)


def set_to(array: ndarray, key: Any, value: Any) -> None:
    """``array[key] = value``; arrays of the host are refused where no array is an index."""
    keys = _keys(key)
    require_here(array, value, *keys)
    stream = _state.current_stream()
    if any(isinstance(k, ndarray) for k in keys):
        if not isinstance(value, ndarray):
            value = _uploaded(np.asarray(value, dtype=array.dtype))
        if any(isinstance(k, ndarray) and k.dtype.kind == "b" for k in keys):
            stream.refuse()
            _state.counts["device to host"] += 1
        chars = array.dtype.char, value.dtype.char, array.ndim
        _compiled.compiled(_compiled.ELEMENTWISE, "cupy_scatter_update", chars)
        hosts, here, numbers = _hosts(keys), array._host, value._host
        stream.queue(lambda: operator.setitem(here, hosts, numbers))
        return
    target = array._host[(*keys, ...)] if Ellipsis not in keys else array._host[tuple(keys)]
    view = array._view(target)
    if not isinstance(value, ndarray):
        view.fill(value)
        return
    source = value._host.reshape(_without_ones(value.shape))
    np.broadcast_to(source, target.shape)
    same = source.shape == target.shape and source.strides == target.strides
    if not (same and target.flags.c_contiguous and source.dtype == target.dtype):
        _compiled.elementwise("cupy_copy", [source, target], target.shape)

    def work() -> None:
        with np.errstate(all="ignore"):
            np.copyto(target, source, casting="unsafe")

    stream.queue(work)


def take(a: ndarray, indices: Any, axis: int | None = None, out: Any = None) -> ndarray:
    """Rows along an axis by their numbers. Stricter than CuPy, whose numbers out of range wrap."""
    if not isinstance(indices, ndarray):
        indices = _uploaded(np.asarray(indices, dtype=int))
    require_here(a, indices)
    new = np.asarray(np.take(a._host, indices._host, axis=axis), order="C")
    along = indices._host
    if axis is not None and along.ndim:
        after = a.ndim - axis % a.ndim - 1
        along = along.reshape((1,) * (axis % a.ndim) + along.shape + (1,) * after)
    _taken(a._host, along, new)
    return on_device(new)


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    """Numbers along an axis by theirs, for each row."""
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    require_here(a, indices)
    new = np.take_along_axis(a._host, indices._host, axis)
    _compiled.compiled(_compiled.ELEMENTWISE, "cupy_arange", ("l",))
    _prepared([indices] * a.ndim)
    _taken(a._host, new, new)
    return on_device(new)


def _taken(a: HostArray, along: HostArray, new: HostArray) -> None:
    along = along if along.ndim == new.ndim else along.reshape(-1)[: new.size].reshape(-1)
    if along.ndim != new.ndim and along.size != new.size:
        along = new
    integers = [np.dtype("int64")] * 4
    _compiled.elementwise("cupy_take", [along, *integers, new], new.shape, [a])


def _prepared(arrays: list[ndarray]) -> None:
    for one in arrays:
        key = one.dtype.char, one.ndim
        _compiled.compiled(_compiled.ELEMENTWISE, "cupy_prepare_array_indexing", key)


def _keys(key: Any) -> list[Any]:
    keys = list(key) if isinstance(key, tuple) else [key]
    for i, one in enumerate(keys):
        is_plain = one is None or one is Ellipsis or isinstance(one, slice | ndarray)
        if is_plain or (np.isscalar(one) and not isinstance(one, bool | np.bool_)):
            continue
        host = np.asarray(one)
        if host.dtype.kind not in "biu":
            raise IndexError("arrays used as indices must be of integer or boolean type")
        keys[i] = _uploaded(host)
    return keys


def _hosts(keys: list[Any]) -> tuple[Any, ...]:
    return tuple(key._host if isinstance(key, ndarray) else key for key in keys)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _uploaded(host: HostArray) -> ndarray:
    from cupy import array

    return array(host)
