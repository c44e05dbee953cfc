"""A table larger than memory: kept on the disk after one reading, and given in windows of rows."""

import shutil
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.memory import host_memory
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.files.stored_blocks import StoredBlock, write_block
from arraymlp.data.files.table_file import TableFile, cast, compact, join_columns
from arraymlp.data.frames.frame import Column, Frame

SHARE = 1 / 4  # of the free memory that a table may fill


def fits_memory(n_bytes: int) -> bool:
    """Whether that much is at most a quarter of the memory that is free; True if none can tell."""
    memory = host_memory()
    return memory is None or n_bytes <= SHARE * memory[0]


class TableRows(LargeTable):
    """The rows of a table, in a temporary file that is removed at the end.

    Reading some of them takes no more memory than these do; what was read before is not kept.

    Args:
        table: is read once, or twice where a column proves to be texts only below.
        folder: for the file; by default where the system has temporary files.

    Raises:
        ValueError, OSError: as of `TableFile.attempt`; or the disk is full.
    """

    _whole: "TableRows | None" = None

    def __init__(self, table: TableFile, folder: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="arraymlp-", dir=folder))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.title, self.names = table.title, table.used
        self._numbers = {name: i for i, name in enumerate(self.names)}
        try:
            self._blocks = table.settled_by(self._write)
        except BaseException:
            self.close()
            raise
        self._kinds = table.kinds()
        self._stops = np.asarray([block.stop for block in self._blocks])

    def _write(self, frames: Iterable[Frame]) -> list[StoredBlock]:
        blocks: list[StoredBlock] = []
        with self._path.open("wb") as file:
            for frame in frames:
                start = blocks[-1].stop if blocks else 0
                blocks.append(write_block(file, frame, start))
        return blocks

    @property
    def _path(self) -> Path:
        return self._folder / "rows"

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, by its name."""
        return self._kinds

    def __len__(self) -> int:
        return self._blocks[-1].stop

    def select(self, names: Sequence[str]) -> Self:
        """The same rows with these columns, in this order."""
        selected = super().select(names)
        selected._whole = self  # whose end removes the file
        return selected

    def take(self, rows: range | HostArray, names: Sequence[str] | None = None) -> Frame:
        """See `LargeTable`."""
        names = self.names if names is None else tuple(names)
        numbers = [self._numbers[name] for name in names]
        if not len(rows):
            return self.take(range(1), names)[:0]
        with self._path.open("rb") as file:
            parts = list(self._parts(file, rows, numbers))
        columns = [join_columns(column) for column in zip(*parts, strict=True)]
        return cast(Frame(names, tuple(columns)), self._kinds)

    def _parts(
        self, file: BinaryIO, rows: range | HostArray, columns: Sequence[int]
    ) -> Iterator[list[Column]]:
        """The columns of these rows, block by block."""
        a = 0
        while a < len(rows):
            block = self._blocks[int(np.searchsorted(self._stops, rows[a], side="right"))]
            b = bisect_left(rows, block.stop, a)
            first, last = int(rows[a]), int(rows[b - 1])
            values = block.read(file, first, last + 1, columns)
            if last - first > b - a - 1:  # some in between are not among them
                chosen = np.asarray(rows[a:b]) - first
                values = [column[chosen] for column in values]
            yield [compact(column) for column in values]
            a = b

    def __reduce__(self) -> str:
        raise TypeError(
            f"{self.title} is kept in a temporary file, which another process does not have: give "
            "a folder of Parquet files, or a data frame of dask"
        )

    def close(self) -> None:
        """Remove the file."""
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
