"""Where the storage chunks of an array begin and end, so that each is read whole, and once."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from arraymlp.backends.array import HostArray

Numbers = Sequence[int] | HostArray  # ascending row numbers


class StorageChunks:
    """The chunks of an array along its rows, of one length or of lengths of their own.

    Args:
        lengths: of a chunk, in rows; or of each chunk in turn.
    """

    def __init__(self, lengths: int | Sequence[int]) -> None:
        self._size = lengths if isinstance(lengths, int) else 0
        self._ends = [] if isinstance(lengths, int) else list(accumulate(lengths))

    def end(self, row: int) -> int:
        """One past the last row of the chunk that a row lies in."""
        if self._size:
            return (row // self._size + 1) * self._size
        return self._ends[bisect_right(self._ends, row)]

    def stop(self, rows: Numbers, start: int, at_once: int) -> int:
        """Where to end a read that begins with ``rows[start]``.

        It is of neighbouring chunks, in each of which some of the rows lie, and ends where one
        does. There are ``at_once`` rows in them together at most; one chunk may have more.

        Args:
            rows: the numbers of rows to read, ascending.
            start: a position in them.
            at_once: rows, counted from the first that is read.

        Returns:
            The position in ``rows`` after the last one to read.
        """
        first = int(rows[start])
        end = self.end(first)
        stop = bisect_left(rows, end, start)
        while stop < len(rows):
            after = self.end(end)
            if int(rows[stop]) >= after or after - first > at_once:
                break
            end, stop = after, bisect_left(rows, after, stop)
        return stop


def storage_chunks(array: Any) -> StorageChunks | None:
    """The chunks that an array says it has; None where any rows may be read alone.

    HDF5 and Zarr say (rows, ...), dask says ((rows, rows, ...), ...).
    """
    chunks = getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or not chunks:
        return None
    lengths = chunks[0]
    if isinstance(lengths, tuple):
        return StorageChunks([int(length) for length in lengths])
    return StorageChunks(int(lengths)) if isinstance(lengths, int) and lengths > 1 else None
