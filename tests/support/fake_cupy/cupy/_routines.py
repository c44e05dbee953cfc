"""Arrays made, put together, rearranged and sorted."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cupy import _compiled, _state
from cupy._ndarray import HostArray, by_rows, ndarray, on_device, require_here

__all__ = [
    "arange",
    "argsort",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "broadcast_arrays",
    "broadcast_to",
    "concatenate",
    "copyto",
    "empty",
    "empty_like",
    "expand_dims",
    "eye",
    "flip",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "moveaxis",
    "ndim",
    "nonzero",
    "ones",
    "ones_like",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "searchsorted",
    "shape",
    "size",
    "sort",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unique",
    "zeros",
    "zeros_like",
]

# Made


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    blocking: bool = False,
) -> ndarray:
    """An array of what the host or the device has."""
    if isinstance(obj, ndarray):
        return obj.astype(obj.dtype if dtype is None else dtype, order, copy=bool(copy))
    if isinstance(obj, list | tuple) and obj and all(isinstance(x, ndarray) for x in obj):
        return stack(obj).astype(obj[0].dtype if dtype is None else dtype, copy=False)
    stream = _state.current_stream()
    stream.refuse()
    by_columns = isinstance(obj, np.ndarray) and obj.flags.fnc and order in "KA"
    host = np.array(obj, dtype=dtype, order="F" if by_columns or order == "F" else "C", ndmin=ndmin)
    new = ndarray(host.shape, host.dtype, order="F" if by_columns or order == "F" else "C")
    if host.ndim == 0:
        new.fill(host)
        return new
    if copy is False:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    _state.counts["host to device"] += 1
    stream.queue(lambda: np.copyto(new._host, host))
    return new


def asarray(a: Any, dtype: Any = None, order: str = "K", *, blocking: bool = False) -> ndarray:
    return array(a, dtype, None, order)


def ascontiguousarray(a: ndarray, dtype: Any = None) -> ndarray:
    return a.astype(a.dtype if dtype is None else dtype, "C", copy=False)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> ndarray:
    """Arrays of CuPy's alone: those of the host are refused, as CuPy does."""
    if device is not None:
        raise NotImplementedError("from_dlpack() does not support device yet.")
    if not isinstance(x, ndarray):
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. "
            "Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    return x.copy() if copy else x.view()


def asnumpy(a: Any) -> HostArray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", shape: Any = None
) -> ndarray:
    like = np.empty_like(prototype._host, dtype=dtype, shape=shape)
    by_columns = like.flags.f_contiguous and not like.flags.c_contiguous
    return ndarray(like.shape, like.dtype, order="F" if by_columns else "C")


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    new = ndarray(shape, dtype, order=order)
    _state.current_stream().queue(lambda: new._host.fill(0))
    return new


def zeros_like(a: ndarray, dtype: Any = None, order: str = "K", shape: Any = None) -> ndarray:
    new = empty_like(a, dtype, order, shape)
    _state.current_stream().queue(lambda: new._host.fill(0))
    return new


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    new = ndarray(shape, dtype, order=order)
    new.fill(1)
    return new


def ones_like(a: ndarray, dtype: Any = None, order: str = "K", shape: Any = None) -> ndarray:
    new = empty_like(a, dtype, order, shape)
    new.fill(1)
    return new


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        is_array = isinstance(fill_value, ndarray)
        dtype = fill_value.dtype if is_array else np.asarray(fill_value).dtype
    new = ndarray(shape, dtype, order=order)
    copyto(new, fill_value)
    return new


def full_like(a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K") -> ndarray:
    new = empty_like(a, dtype, order)
    copyto(new, fill_value)
    return new


def copyto(dst: ndarray, src: Any) -> None:
    """CuPy fills with a number by ``dst.fill``."""
    dst[...] = src


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    start, stop = (0, start) if stop is None else (start, stop)
    if dtype is None:
        dtype = float if any(isinstance(x, float) for x in (start, stop, step)) else int
    size = max(0, math.ceil((stop - start) / step))
    new = np.arange(start, stop, step, dtype=dtype)[:size]
    scalar = new.dtype
    _compiled.elementwise("cupy_arange", [scalar, scalar, new], new.shape)
    return on_device(new)


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, **given: Any) -> ndarray:
    new = np.linspace(start, stop, num, endpoint, **given)
    _compiled.elementwise("cupy_linspace", [np.dtype(float), np.dtype(float), new], new.shape)
    return on_device(new)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> ndarray:
    new = zeros((N, N if M is None else M), dtype)
    diagonal = new._view(
        np.lib.stride_tricks.as_strided(new._host, (min(new.shape),), (sum(new.strides),))
    )
    diagonal.fill(1)
    return new


# Put together


def concatenate(
    tup: Sequence[ndarray], axis: int | None = 0, out: Any = None, **given: Any
) -> ndarray:
    """Arrays one after the other: a copy of each into its place, or many of them by one kernel."""
    arrays = list(tup)
    if axis is None:
        arrays, axis = [a.ravel() for a in arrays], 0
    if not all(isinstance(a, ndarray) for a in arrays):
        raise TypeError("Only cupy arrays can be concatenated")
    require_here(*arrays)
    new = np.concatenate([a._host for a in arrays], axis=axis, **given)
    new = by_rows(new)
    if len(arrays) > 8 and len({a.dtype for a in arrays}) == 1:
        same = len({a.shape for a in arrays}) == 1 and all(a.flags.c_contiguous for a in arrays)
        kind = "same_size" if same else "single"
        key = new.dtype.char, new.ndim
        _compiled.compiled(_compiled.ELEMENTWISE, f"cupy_concatenate_{kind}", key)
    else:
        begin = 0
        for a in arrays:
            where = [slice(None)] * new.ndim
            where[axis] = slice(begin, begin + a.shape[axis])
            _compiled.elementwise("cupy_copy", [a._host, new[tuple(where)]], a.shape)
            begin += a.shape[axis]
    return on_device(new)


def stack(tup: Sequence[ndarray], axis: int = 0, out: Any = None, **given: Any) -> ndarray:
    return concatenate([expand_dims(a, axis) for a in tup], axis, out, **given)


# Asked


def ndim(a: Any) -> int:
    return a.ndim if isinstance(a, ndarray) else np.ndim(a)


def shape(a: Any) -> tuple[int, ...]:
    return a.shape if isinstance(a, ndarray) else np.shape(a)


def size(a: Any, axis: Any = None) -> int:
    return np.size(a._host if isinstance(a, ndarray) else a, axis)


# Rearranged


def reshape(a: ndarray, shape: Any, order: str = "C", *, copy: bool | None = None) -> ndarray:
    return a.reshape(shape, order=order, copy=copy)


def ravel(a: ndarray, order: str = "C") -> ndarray:
    return a.ravel(order)


def expand_dims(a: ndarray, axis: Any) -> ndarray:
    return a._view(np.expand_dims(a._host, axis))


def squeeze(a: ndarray, axis: Any = None) -> ndarray:
    return a.squeeze(axis)


def transpose(a: ndarray, axes: Any = None) -> ndarray:
    return a.transpose(axes)


def moveaxis(a: ndarray, source: Any, destination: Any) -> ndarray:
    return a._view(np.moveaxis(a._host, source, destination))


def swapaxes(a: ndarray, axis1: int, axis2: int) -> ndarray:
    return a.swapaxes(axis1, axis2)


def flip(m: ndarray, axis: Any = None) -> ndarray:
    return m._view(np.flip(m._host, axis))


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return array._view(np.broadcast_to(array._host, shape))


def broadcast_arrays(*args: ndarray) -> list[ndarray]:
    hosts = np.broadcast_arrays(*[a._host for a in args])
    return [a._view(host) for a, host in zip(args, hosts, strict=True)]


def _moved(function: Any, a: ndarray, *args: Any, **given: Any) -> ndarray:
    """Copied to other places."""
    require_here(a)
    new = by_rows(function(a._host, *args, **given))
    _compiled.compiled(
        _compiled.ELEMENTWISE, f"cupy_{function.__name__}", (new.dtype.char, new.ndim)
    )
    return on_device(new)


def roll(a: ndarray, shift: Any, axis: Any = None) -> ndarray:
    return _moved(np.roll, a, shift, axis)


def tile(A: ndarray, reps: Any) -> ndarray:
    return _moved(np.tile, A, reps)


def repeat(a: ndarray, repeats: Any, axis: Any = None) -> ndarray:
    return _moved(np.repeat, a, repeats, axis)


def tril(m: ndarray, k: int = 0) -> ndarray:
    return _moved(np.tril, m, k)


def triu(m: ndarray, k: int = 0) -> ndarray:
    return _moved(np.triu, m, k)


# Sorted


def sort(a: ndarray, axis: int | None = -1, kind: Any = None) -> ndarray:
    """By Thrust, which is compiled with CuPy."""
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    copy = a.flatten() if axis is None else a.copy()
    copy._host.sort(-1 if axis is None else axis)
    return copy


def argsort(a: ndarray, axis: int | None = -1, kind: Any = None) -> ndarray:
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    a.copy()
    return on_device(by_rows(np.argsort(a._host, axis, kind="stable")))


def searchsorted(a: ndarray, v: ndarray, side: str = "left", sorter: Any = None) -> ndarray:
    require_here(a, v)
    new = by_rows(np.searchsorted(a._host, v._host, side))
    _compiled.compiled(
        _compiled.ELEMENTWISE, "cupy_searchsorted", (a.dtype.char, v.dtype.char, v.ndim)
    )
    return on_device(new)


def nonzero(a: ndarray) -> tuple[ndarray, ...]:
    _state.current_stream().refuse()
    _state.counts["device to host"] += 1
    _compiled.compiled(_compiled.ELEMENTWISE, "cupy_nonzero_kernel", (a.dtype.char, a.ndim))
    return tuple(on_device(by_rows(x)) for x in np.nonzero(a._host))


def unique(ar: ndarray, *args: Any, **given: Any) -> Any:
    _state.current_stream().refuse()
    _state.counts["device to host"] += 1
    _compiled.compiled(_compiled.ELEMENTWISE, "cupy_unique", (ar.dtype.char,))
    result = np.unique(ar._host, *args, **given)
    if isinstance(result, tuple):
        return tuple(on_device(by_rows(x)) for x in result)
    return on_device(by_rows(result))


def _take(a: ndarray, indices: Any, axis: Any = None) -> ndarray:
    from cupy._indexing import take

    return take(a, indices, axis)


ndarray.sort = lambda self, axis=-1: self._host.sort(axis)  # type: ignore[attr-defined]
ndarray.argsort = argsort  # type: ignore[attr-defined]
ndarray.take = _take  # type: ignore[attr-defined]
