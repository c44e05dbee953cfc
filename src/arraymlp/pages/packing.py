"""Numbers as the bytes of a page: one deflated block, in which JSON says what lies where.

``decode.js`` reads it. Floats are kept as byte planes, the first bytes of all numbers before the
second ones, since the bytes with the exponents are alike and deflate well.
"""

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray

Place = list[Any]  # type, first byte, number of values


@dataclass
class Block:
    """Arrays one behind the other, of which each is found by its place."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, values: HostArray) -> Place:
        """Append an array of int8, uint8, float32 or float64; return its place."""
        array = np.ascontiguousarray(values)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        planes = little.reshape(-1, 1).view(np.uint8).T.tobytes()
        place: Place = [array.dtype.name, self.size, array.size]
        self.parts.append(planes)
        self.size += len(planes)
        return place

    def text(self) -> str:
        """All of it, deflated (RFC 1950), in base64."""
        return base64.b64encode(zlib.compress(b"".join(self.parts), 9)).decode()


def narrow(values: HostArray) -> HostArray:
    """Float64 values as float32 where that loses nothing, else as they are."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single, values, equal_nan=True) else values
