"""Sums over rows and columns, as matrix products with ones.

NumPy reduces a stack of small matrices slowly, several times slower than BLAS multiplies it by a
vector of ones; on other backends the two are alike.
"""

from typing import Any

import array_api_compat

from arraymlp.backend import Array


def over_rows(a: Array, xp: Any) -> Array:
    """(..., B, n) summed over its B rows: (..., 1, n)."""
    return xp.matmul(_ones(a, (1, int(a.shape[-2])), xp), a)


def over_columns(a: Array, xp: Any) -> Array:
    """(..., B, n) summed over its n columns: (..., B, 1)."""
    return xp.matmul(a, _ones(a, (int(a.shape[-1]), 1), xp))


def _ones(a: Array, shape: tuple[int, int], xp: Any) -> Array:
    return xp.ones(shape, dtype=a.dtype, device=array_api_compat.device(a))
