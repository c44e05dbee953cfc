"""A reader for IDX files, the format of MNIST, for which NumPy has none.

The format, from http://yann.lecun.com/exdb/mnist/: two zero bytes, a byte for the type, a byte
for the number of dimensions, a big-endian uint32 for the size of each, then the elements,
big-endian, in C order.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE = 1 << 18


class IDXError(ValueError):
    """A file is not well-formed IDX; the message names the file, the byte and what was expected."""


def read_idx(file: str | os.PathLike[str] | BinaryIO) -> npt.NDArray[Any]:
    """Read one IDX file, plain or gzip (told apart by the first two bytes, not by the file's name).

    Memory follows the bytes that are there, never the sizes that the header claims.

    Args:
        file: a path, or a binary file object, which is read from where it stands to its end and
            left open.

    Returns:
        An array of the shape and type in the header (uint8, int8, int16, int32, float32 or float64;
        shape () where there are no dimensions), in native byte order, C-contiguous, writable.

    Raises:
        IDXError: the file is not IDX, ends early, goes on after its last element, is a damaged gzip
            file, or has more dimensions or elements than a NumPy array can.
        OSError: the file cannot be opened or read.
        ValueError: it is neither a path nor a file object.
    """
    if isinstance(file, (str, os.PathLike)):
        with Path(file).open("rb") as opened:
            return read_idx(opened)
    if not callable(getattr(file, "read", None)):
        raise ValueError(f"read_idx takes a path or a binary file object, not {file!r}")
    name = str(getattr(file, "name", file))
    content = file.read()
    plain = io.BytesIO(content)
    stream = gzip.GzipFile(fileobj=plain) if content[:2] == b"\x1f\x8b" else plain
    with stream:
        try:
            return _parse(stream, name)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            where = f"after {stream.tell()} decompressed bytes"
            raise IDXError(f"{name}: the gzip data is damaged {where}: {error}") from error


def _parse(stream: io.BufferedIOBase, name: str) -> npt.NDArray[Any]:
    """The array in `stream`, an IDX file already decompressed; errors give offsets into it."""

    def fail(problem: str) -> NoReturn:
        raise IDXError(f"{name}: {problem}")

    magic = _read(stream, 4)
    if any(magic[:2]):
        fail(f"not an IDX file: bytes 0 to 1 are {magic[:2].hex(' ')}, expected 00 00")
    if len(magic) < 4:
        fail(f"the header is cut short: expected 4 bytes from byte 0, found {len(magic)}")
    if magic[2] not in _DTYPES:
        codes = " ".join(f"{code:02x}" for code in _DTYPES)
        fail(f"not an IDX type: byte 2 is {magic[2]:02x}, expected one of {codes}")
    dtype, dimensions = np.dtype(_DTYPES[magic[2]]), magic[3]

    header = _read(stream, 4 * dimensions)
    if len(header) < 4 * dimensions:
        fail(
            f"the header is cut short: expected {4 * dimensions} bytes of sizes from byte 4, "
            f"found {len(header)}"
        )
    sizes = struct.unpack(f">{dimensions}I", header)
    start = 4 + len(header)
    try:
        # A view of one element: NumPy's limits on dimensions and total size, at no memory.
        np.broadcast_to(np.empty((), dtype), sizes)
    except ValueError as error:
        fail(f"no array can have the {dimensions} sizes in bytes 4 to {start - 1}: {error}")

    expected = math.prod(sizes) * dtype.itemsize
    data = _read(stream, expected)
    size = len(data)
    while piece := stream.read1(_PIECE):
        size += len(piece)
    if size != expected:
        fail(
            f"the data is {'cut short' if size < expected else 'followed by more bytes'}: "
            f"expected {expected} bytes from byte {start} for {dtype.name} of shape {sizes}, "
            f"found {size}"
        )
    return np.ndarray(sizes, dtype, buffer=data).astype(dtype.newbyteorder("="), copy=False)


def _read(stream: io.BufferedIOBase, size: int) -> bytearray:
    """Up to `size` bytes of `stream`; grown as they arrive, since `size` may be a lie."""
    data = bytearray()
    # read1, since a read that meets gzip damage drops the good bytes it had before it.
    while piece := stream.read1(min(size - len(data), _PIECE)):
        data += piece
    return data
