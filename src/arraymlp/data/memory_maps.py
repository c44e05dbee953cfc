"""A memmap that travels to another process by its path: the process there maps the same file."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray

SAME_TIME = 2_000_000_000  # nanoseconds by which file systems may round the time of a change


@dataclass(frozen=True)
class MapOfFile:
    """Where an array is in a file, and what the file was then.

    Attributes:
        path: of the file, absolute.
        size: of the file, in bytes.
        changed: when it was last changed, in nanoseconds.
        start: the first byte that is mapped.
        length: bytes that are mapped.
        offset: of the array's first value, in bytes from ``start``.
        shape: of the array.
        strides: of the array, in bytes.
        dtype: of the array.
    """

    path: str
    size: int
    changed: int
    start: int
    length: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: HostArray) -> "MapOfFile":
        """Of a memmap, or of a part of one.

        Raises:
            TypeError: its file has no path, or does not have the values that the array has.
        """
        whole = _mapped(array)
        path = getattr(whole, "filename", None)
        if whole is None or path is None:
            raise TypeError("a memmap of a file without a path cannot be sent to another process")
        if whole.mode == "c":
            raise TypeError(
                f"a memmap with mode='c' cannot be sent to another process: what was written to it "
                f"is not in {path}; open it with mode='r'"
            )
        if whole.mode != "r":
            whole.flush()  # else the file would be changed later, by the system
        found = os.stat(path)
        return cls(
            os.path.abspath(path),
            found.st_size,
            found.st_mtime_ns,
            whole.offset,
            whole.nbytes,
            _address(array) - _address(whole),
            array.shape,
            array.strides,
            array.dtype,
        )

    def open(self) -> HostArray:
        """The array, read-only.

        Raises:
            OSError: the file is not there, or is another than it was.
        """
        found = os.stat(self.path)
        if found.st_size != self.size or abs(found.st_mtime_ns - self.changed) > SAME_TIME:
            raise OSError(f"{self.path} is another file than where it was sent from")
        mapped = np.memmap(self.path, np.uint8, "r", self.start, (self.length,))
        return np.ndarray(self.shape, self.dtype, mapped, self.offset, self.strides)


def is_map(array: object) -> bool:
    """True for a memmap, or a part of one, whose file is open."""
    return isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None


def _mapped(array: HostArray) -> Any:
    """The memmap of a whole file, or of the part that was mapped, of which an array is a view."""
    found: Any = array
    while isinstance(found.base, np.ndarray):
        found = found.base
    return found if is_map(found) else None


def _address(array: HostArray) -> int:
    """Of the first value, in bytes."""
    address: int = array.__array_interface__["data"][0]
    return address
