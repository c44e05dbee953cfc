"""A table that is read from where it is stored, block by block, in each pass anew."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.elsewhere.block_kinds import as_kind
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.files.table_file import compact, join
from arraymlp.data.frames.frame import Frame

BYTES_AT_ONCE = 64 * 2**20  # of blocks that are read together, at 8 bytes a value


class TableBlocks(Protocol):
    """Where a table's blocks are read.

    Attributes:
        title: what it is, for messages.
        names: of its columns.
    """

    title: str
    names: tuple[str, ...]

    @property
    def lengths(self) -> Sequence[int]:
        """The number of rows of each block."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, in all blocks together, by its name."""

    def read(self, blocks: range, names: Sequence[str]) -> list[Frame]:
        """Consecutive blocks, with these columns; together or each as a frame.

        Raises:
            OSError: they cannot be read; the message names them.
            ValueError: they are no longer what they were.
        """


class BlockTable(LargeTable):
    """A table in blocks.

    Reading some rows reads the blocks that they lie in; nothing of them is kept.

    Args:
        blocks: of the table.
        names: of the columns; by default all.
    """

    def __init__(self, blocks: TableBlocks, names: Sequence[str] | None = None) -> None:
        self._blocks = blocks
        self.title = blocks.title
        self.names = blocks.names if names is None else tuple(names)
        self._known_ends: list[int] | None = None

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, by its name."""
        return self._blocks.kinds

    @property
    def _ends(self) -> list[int]:
        """One past the last row of each block."""
        if self._known_ends is None:
            self._known_ends = list(accumulate(self._blocks.lengths))
            if not self._known_ends or not self._known_ends[-1]:
                raise ValueError(f"{self.title}: it has no rows")
        return self._known_ends

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The lengths of the blocks, along the rows alone."""
        lengths = np.diff(self._ends, prepend=0)
        return (tuple(lengths[lengths > 0].tolist()),)

    def __len__(self) -> int:
        return self._ends[-1]

    def take(self, rows: range | HostArray, names: Sequence[str] | None = None) -> Frame:
        """See `LargeTable`."""
        names = self.names if names is None else tuple(names)
        if not len(rows):
            return self.take(range(1), names)[:0]
        return join(list(self._parts(rows, names)))

    def _parts(self, rows: range | HostArray, names: Sequence[str]) -> Iterator[Frame]:
        """Some of the rows at a time."""
        ends, most = self._ends, max(1, BYTES_AT_ONCE // (8 * max(len(names), 1)))
        a = 0
        while a < len(rows):
            first = last = bisect_right(ends, int(rows[a]))
            start = ends[first - 1] if first else 0
            b = bisect_left(rows, ends[last], a)
            while b < len(rows):  # as many neighbours as are asked for and fit
                after = last + 1
                while ends[after] == ends[last]:
                    after += 1
                if int(rows[b]) >= ends[after] or ends[after] - start > most:
                    break
                last, b = after, bisect_left(rows, ends[after], b)
            frame = self._frame(range(first, last + 1), names)
            chosen = rows[a:b]
            if len(chosen) == chosen[-1] - chosen[0] + 1:
                part = frame[int(chosen[0]) - start : int(chosen[-1]) + 1 - start]
            else:
                part = frame[np.asarray(chosen) - start]
            yield Frame(part.names, tuple(map(compact, part.columns)))
            a = b

    def _frame(self, blocks: range, names: Sequence[str]) -> Frame:
        """Blocks as one frame, of the kinds of the whole table."""
        kinds, parts = self._blocks.kinds, []
        for frame in filter(len, self._blocks.read(blocks, names)):
            columns = (
                as_kind(column, kinds[name], f"{self.title}: column {name!r}")
                for name, column in zip(frame.names, frame.columns, strict=True)
            )
            parts.append(Frame(frame.names, tuple(columns)))
        return join(parts)
