"""Sums over rows and columns; of narrow matrices as products with ones.

NumPy reduces many short rows slowly, up to twenty times slower than BLAS multiplies them by a
vector of ones; on other backends the two are alike.
"""

from typing import Any

import array_api_compat

from arraymlp.backend import Array

NARROW = 8  # columns; from as many on a reduction is quick enough


def over_rows(a: Array, xp: Any) -> Array:
    """(..., B, n) summed over its B rows: (..., 1, n)."""
    if a.shape[-1] >= NARROW:
        return xp.sum(a, axis=-2, keepdims=True)
    return xp.matmul(_ones(a, (1, int(a.shape[-2])), xp), a)


def over_columns(a: Array, xp: Any) -> Array:
    """(..., B, n) summed over its n columns: (..., B, 1)."""
    if a.shape[-1] >= NARROW:
        return xp.sum(a, axis=-1, keepdims=True)
    return xp.matmul(a, _ones(a, (int(a.shape[-1]), 1), xp))


def _ones(a: Array, shape: tuple[int, int], xp: Any) -> Array:
    return xp.ones(shape, dtype=a.dtype, device=array_api_compat.device(a))
