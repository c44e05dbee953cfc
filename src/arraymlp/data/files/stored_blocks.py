"""Blocks of a table on the disk: each value as small as it can be without a loss."""

import json
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames.frame import Column, Frame, Texts


class StoredColumn(NamedTuple):
    """Where a column of a block is in a file.

    Attributes:
        offset: in bytes, of its numbers, times or codes.
        stored: their dtype there.
        dtype: that which they had.
        texts: of a column of texts, the place of its different ones, (offset, length); else None.
    """

    offset: int
    stored: np.dtype[np.generic]
    dtype: np.dtype[np.generic]
    texts: tuple[int, int] | None

    def read(self, file: BinaryIO, start: int, stop: int) -> Column:
        """The values of rows of the block, by their numbers in it."""
        file.seek(self.offset + start * self.stored.itemsize)
        values = np.fromfile(file, self.stored, stop - start).astype(self.dtype, copy=False)
        if self.texts is None:
            return values
        file.seek(self.texts[0])
        return Texts(values, tuple(json.loads(file.read(self.texts[1]))))


class StoredBlock(NamedTuple):
    """Where a block is in a file: the numbers of its first row and of the next block's; columns."""

    start: int
    stop: int
    columns: tuple[StoredColumn, ...]

    def read(self, file: BinaryIO, start: int, stop: int, columns: Sequence[int]) -> list[Column]:
        """Columns, by their numbers, of rows by those that they have in the table."""
        return [self.columns[i].read(file, start - self.start, stop - self.start) for i in columns]


def write_block(file: BinaryIO, frame: Frame, start: int) -> StoredBlock:
    """Write a block, whose first row has that number, at the end of a file."""
    columns = tuple(_write(file, column) for column in frame.columns)
    return StoredBlock(start, start + len(frame), columns)


def _write(file: BinaryIO, column: Column) -> StoredColumn:
    texts = None
    if isinstance(column, Texts):
        content = json.dumps(column.values, ensure_ascii=False).encode()
        texts = (file.tell(), len(content))
        file.write(content)
    values = column.codes if isinstance(column, Texts) else column
    small = np.ascontiguousarray(values.astype(_smallest(values), copy=False))
    offset = file.tell()
    small.tofile(file)
    return StoredColumn(offset, small.dtype, values.dtype, texts)


def _smallest(values: HostArray) -> np.dtype[np.generic]:
    """The smallest dtype that holds the values without a loss."""
    kind, dtype = values.dtype.kind, np.dtype(values.dtype)
    if kind in "iu":
        least, most = values.min(), values.max()
        for small in (np.dtype(f"{kind}{size}") for size in (1, 2, 4)):
            if np.iinfo(small).min <= least and most <= np.iinfo(small).max:
                return small
    return dtype
