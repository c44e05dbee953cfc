"""Products of matrices."""

from typing import Any

import numpy as np

from cupy import _compiled, _state
from cupy._memory import require_free
from cupy._ndarray import HostArray, by_rows, ndarray, on_device, require_here
from cupy._routines import ascontiguousarray

__all__ = [
    "dot",
    "matmul",
    "outer",
    "tensordot",
]


def matmul(a: ndarray, b: ndarray, out: Any = None) -> ndarray:
    """Products by cuBLAS; stacks of matrices are copied where they are not by rows."""
    if not (isinstance(a, ndarray) and isinstance(b, ndarray)):
        raise TypeError("operands of a product must be arrays of CuPy's")
    require_here(a, b, out)
    if _state.current_stream().captured is not None:
        raise NotImplementedError(
            "calling cuBLAS API during stream capture is currently unsupported"
        )
    ahead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    require_free((*ahead, *a.shape[-2:-1], *b.shape[-1:]), np.result_type(a.dtype, b.dtype))
    with np.errstate(all="ignore"):
        new = by_rows(np.matmul(a._host, b._host))
    if max(a.ndim, b.ndim) <= 2:
        _product(a, b, new)
    else:
        _stack(a, b, new)
    if out is None:
        return on_device(new)
    if out.shape != new.shape or not np.can_cast(new.dtype, out.dtype):
        raise ValueError("Output array has an invalid size")
    if out.dtype != new.dtype or not out.flags.c_contiguous:
        _compiled.elementwise("cupy_copy", [new, out._host], new.shape)
    np.copyto(out._host, new)
    return out


def _product(a: ndarray, b: ndarray, new: HostArray) -> None:
    if new.size == 1:  # a product of two vectors
        _compiled.elementwise(
            "cupy_multiply", [a._host.ravel(), b._host.ravel(), a._host.ravel()], (a.size,)
        )
        return
    for x in (a, b):
        if x.dtype != new.dtype:
            x = x.astype(new.dtype)
        if not (x.flags.c_contiguous or x.flags.f_contiguous):
            x.copy()
    if new.dtype.kind in "biu":
        _compiled.compiled(_compiled.OWN, "_tensordot_core_int_kernel", (new.dtype.char,))


def _stack(a: ndarray, b: ndarray, new: HostArray) -> None:
    spread = False
    for x in (a, b):
        ascontiguousarray(x, new.dtype)
        ahead = (1,) * (new.ndim - x.ndim) + x.shape[:-2]
        spread |= ahead != new.shape[:-2]
    if new.dtype.kind in "biu":
        _compiled.compiled(_compiled.OWN, "_tensordot_core_int_batched", (new.dtype.char, spread))
    elif spread:
        _compiled.compiled(_compiled.ELEMENTWISE, "cupy_mat_ptrs", (new.ndim,))


def dot(a: ndarray, b: ndarray, out: Any = None) -> ndarray:
    return matmul(a, b)


def outer(a: ndarray, b: ndarray) -> ndarray:
    return a.reshape(-1, 1) * b.reshape(1, -1)


def tensordot(a: ndarray, b: ndarray, axes: Any = 2) -> ndarray:
    require_here(a, b)
    return on_device(by_rows(np.tensordot(a._host, b._host, axes)))


ndarray.__matmul__ = matmul  # type: ignore[attr-defined]
ndarray.dot = dot  # type: ignore[attr-defined]
