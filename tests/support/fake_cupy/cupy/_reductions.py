"""Sums and the like."""

from typing import Any

import numpy as np

from cupy import _compiled
from cupy._compiled import ORDERED, SUMMED
from cupy._ndarray import HostArray, by_rows, ndarray, on_device, require_here

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]

Axis = int | tuple[int, ...] | None


def _axes(a: ndarray, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(a.ndim))
    given = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    return tuple(sorted(int(np.lib.array_utils.normalize_axis_index(x, a.ndim)) for x in given))


def _reduced(
    function: Any, name: str, chars: str, a: ndarray, axis: Axis, out: Any, **given: Any
) -> ndarray:
    """A reduction by NumPy; those of these dtypes have a kernel of CuPy's where the axes fit."""
    if not isinstance(a, ndarray):
        raise TypeError(f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(a)})")
    if out is not None:
        raise NotImplementedError("the fake's reductions give new arrays")
    require_here(a)
    with np.errstate(all="ignore"):
        new = by_rows(function(a._host, axis=axis, **given))
    axes = _axes(a, axis)
    wanted = given.get("dtype")
    converts = wanted is not None and np.dtype(wanted) != a.dtype
    if converts or not _compiled.ready(a._host, axes, chars):
        _compiled.reduction(f"cupy_{name}", a._host, axes, new)
    return on_device(new)


def sum(
    a: ndarray, axis: Axis = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    given = {} if dtype is None else {"dtype": dtype}
    return _reduced(np.sum, "sum", SUMMED, a, axis, out, keepdims=keepdims, **given)


def prod(
    a: ndarray, axis: Axis = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    given = {} if dtype is None else {"dtype": dtype}
    return _reduced(np.prod, "prod", SUMMED, a, axis, out, keepdims=keepdims, **given)


def max(a: ndarray, axis: Axis = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _reduced(np.max, "max", ORDERED, a, axis, out, keepdims=keepdims)


def min(a: ndarray, axis: Axis = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _reduced(np.min, "min", ORDERED, a, axis, out, keepdims=keepdims)


def all(a: ndarray, axis: Axis = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _reduced(np.all, "all", "", a, axis, out, keepdims=keepdims)


def any(a: ndarray, axis: Axis = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _reduced(np.any, "any", "", a, axis, out, keepdims=keepdims)


def count_nonzero(a: ndarray, axis: Axis = None) -> ndarray:
    return _reduced(np.count_nonzero, "count_nonzero", "", a, axis, None)


def _place(function: Any, name: str, a: ndarray, axis: Any, keepdims: bool) -> ndarray:
    """CuPy has a kernel for the place in all of an array, and not for that in each row."""
    require_here(a)
    new = by_rows(function(a._host, axis=axis, keepdims=keepdims))
    axes = _axes(a, axis)
    if len(axes) < a.ndim or not _compiled.ready(a._host, axes, ORDERED):
        _compiled.reduction(f"cupy_{name}", a._host, axes, new)
    else:  # a view of the key that was found
        _compiled.elementwise("cupy_copy", [np.empty(1, "int32"), np.empty(1, "int64")], (1,))
    return on_device(new)


def argmax(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    return _place(np.argmax, "argmax", a, axis, keepdims)


def argmin(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    return _place(np.argmin, "argmin", a, axis, keepdims)


def mean(
    a: ndarray, axis: Axis = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    """The mean: where CuPy has a kernel for the sum, that, and a division."""
    require_here(a)
    if out is not None:
        raise NotImplementedError("the fake's reductions give new arrays")
    summed = np.dtype(dtype or ("float64" if a.dtype.kind in "biu" else a.dtype))
    axes = _axes(a, axis)
    with np.errstate(all="ignore"):
        new = by_rows(np.mean(a._host, axis=axis, dtype=dtype, keepdims=keepdims))
    if a.size and summed == a.dtype and _compiled.ready(a._host, axes, ORDERED):
        operands = [new, np.dtype("int64"), new]
        _compiled.elementwise("cupy_true_divide", operands, new.shape)
    else:
        _compiled.reduction("cupy_mean", a._host, axes, new)
    result = on_device(new)
    return result if dtype is None else result.astype(dtype)


def var(
    a: ndarray,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
) -> ndarray:
    return _spread(np.var, a, axis, dtype, ddof, keepdims)


def std(
    a: ndarray,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
) -> ndarray:
    result = _spread(np.std, a, axis, dtype, ddof, keepdims)
    _compiled.elementwise("cupy_sqrt", [result._host, result._host], result.shape)
    return result


def _spread(
    function: Any, a: ndarray, axis: Axis, dtype: Any, ddof: float, keepdims: bool
) -> ndarray:
    require_here(a)
    mean(a, axis, dtype, keepdims=True)
    with np.errstate(all="ignore"):
        new = by_rows(function(a._host, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims))
    key = (a.dtype.char, a.ndim, bool(a.flags.c_contiguous), _axes(a, axis), new.ndim)
    _compiled.compiled(_compiled.REDUCTION, f"cupy_var_core_{new.dtype}", key)
    return on_device(new)


def cumsum(a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
    return _scan(np.cumsum, a, axis, dtype)


def cumprod(a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
    return _scan(np.cumprod, a, axis, dtype)


def _scan(function: Any, a: ndarray, axis: Any, dtype: Any) -> ndarray:
    """CuPy copies, and scans the copy by a kernel it has, or along an axis one of its own."""
    require_here(a)
    new: HostArray = by_rows(function(a._host, axis=axis, dtype=dtype))
    _compiled.elementwise("cupy_copy", [a._host.reshape(new.shape), new], new.shape)
    if a.ndim > 1 and axis is not None:
        _compiled.compiled(_compiled.OWN, f"cupy_{function.__name__}", (new.dtype.char,))
    return on_device(new)


for _name, _function in {
    "sum": sum,
    "prod": prod,
    "max": max,
    "min": min,
    "all": all,
    "any": any,
    "argmax": argmax,
    "argmin": argmin,
    "mean": mean,
    "var": var,
    "std": std,
    "cumsum": cumsum,
}.items():
    setattr(ndarray, _name, _function)
