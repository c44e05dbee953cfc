"""bfloat16 in NumPy, by comparison with the neighbours, for the tests of rounding kernels."""

from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]


def to_bfloat16(a: HostArray) -> HostArray:
    """The bits of the bfloat16 nearest to each number, of two equally near the even one."""
    low = np.abs(a).view(np.uint32) >> 16
    infinite = 0x7F80
    high = np.minimum(low + 1, infinite)

    def size(bits: HostArray) -> HostArray:
        return np.where(bits == infinite, 2.0**128, from_bfloat16(bits).astype(np.float64))

    true = np.where(np.isinf(a), 2.0**128, np.abs(a).astype(np.float64))
    below, above = true - size(low), size(high) - true
    up = (above < below) | ((above == below) & (low % 2 == 1))
    return (np.where(up, high, low) | np.signbit(a) << 15).astype(np.uint16)


def from_bfloat16(bits: HostArray) -> HostArray:
    """The numbers of these bits, in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
