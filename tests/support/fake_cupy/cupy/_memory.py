"""Device memory on the host: what is allocated, where it lies, and when there is no more of it."""

import bisect
import math
import threading
from typing import Any

import numpy as np

from cupy import _state
from cupy._errors import CUDARuntimeError

HostArray = np.ndarray[Any, Any]
UNIT = 512  # bytes that sizes are rounded up to
UNWRITTEN = 0xFF  # what memory that is not written yet is full of: NaN, -1


class OutOfMemoryError(MemoryError):
    """As CuPy's, with its words."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes)."
        )


class MemoryPool:
    """The memory of one device; CuPy's pool keeps what is freed, and so does this one.

    Laxer than CuPy's: what is free fits every request of no more bytes, as if it were in one piece.
    """

    def __init__(self) -> None:
        self.used = self.kept = 0  # kept: used, or freed and not given back

    def require(self, size: int) -> None:
        """Raise an OutOfMemoryError where so many bytes are not free."""
        if self.used + size > _state.TOTAL_MEMORY:
            raise OutOfMemoryError(size, self.kept)

    def take(self, size: int) -> None:
        """Count an allocation."""
        self.require(size)
        self.used += size
        self.kept = max(self.kept, self.used)

    def give_back(self, size: int) -> None:
        """Count it no longer."""
        self.used -= size

    def used_bytes(self) -> int:
        """Bytes that arrays have."""
        return self.used

    def total_bytes(self) -> int:
        """Those, and what was freed."""
        return self.kept

    def free_bytes(self) -> int:
        """Bytes that were freed, and are kept for the next array."""
        return self.kept - self.used

    def free_all_blocks(self, stream: object = None) -> None:
        """Give back what was freed."""
        self.kept = self.used


POOLS = [MemoryPool() for _ in range(_state.DEVICES)]
_lock = threading.RLock()  # of the tables below; an array may be freed within them
_starts: list[int] = []  # addresses of the blocks there are
_blocks: dict[
    int, tuple[int, int]
] = {}  # by address: the end, and a number that no other block has
_numbers = iter(range(1, 2**62))


class Block:
    """An allocation; what it is freed for, its address may soon be another's."""

    def __init__(self, host: HostArray) -> None:
        if _state.current_stream().captured is not None:
            raise RuntimeError("memory is allocated while a stream is captured")
        self.device_id = _state.device()
        self.size = -(-max(host.nbytes, 1) // UNIT) * UNIT
        POOLS[self.device_id].take(self.size)
        self.host, self.start = host, host.ctypes.data
        with _lock:
            bisect.insort(_starts, self.start)
            _blocks[self.start] = self.start + host.nbytes, next(_numbers)

    def __del__(self) -> None:
        start = getattr(self, "start", None)
        if start is None:  # there was no memory for it
            return
        with _lock:
            del _starts[bisect.bisect_left(_starts, start)], _blocks[start]
        POOLS[self.device_id].give_back(self.size)


def require_free(shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what the device has no memory for, before the host needs memory for it."""
    POOLS[_state.device()].require(math.prod(shape) * np.dtype(dtype).itemsize)


def unwritten(nbytes: int) -> HostArray:
    """Bytes of new memory, aligned as CUDA's."""
    require_free((nbytes,), np.uint8)
    raw = np.empty(nbytes + UNIT, np.uint8)
    first = -raw.ctypes.data % UNIT
    view = raw[first : first + nbytes]
    view.fill(UNWRITTEN)
    return view


def owner(address: int) -> tuple[int, int, int] | None:
    """The block that an address lies in: its start, its end and its number; None for none."""
    with _lock:
        i = bisect.bisect_right(_starts, address) - 1
        if i < 0:
            return None
        start = _starts[i]
        end, number = _blocks[start]
    return (start, end, number) if address < end else None


def require_allocated(address: int, nbytes: int) -> None:
    """Raise what a kernel's access to other memory ends with."""
    found = owner(address)
    if found is None or address + nbytes > found[1]:
        raise CUDARuntimeError(700)


class MemoryPointer:
    """An address in device memory, as ``array.data`` is."""

    def __init__(self, block: Block, ptr: int) -> None:
        self.mem, self.ptr, self.device_id = block, ptr, block.device_id

    def __int__(self) -> int:
        return self.ptr

    @property
    def device(self) -> Any:
        """Where it lies."""
        from cupy.cuda.device import Device

        return Device(self.device_id)
