"""The rows to learn from: the columns of a data file, and those that are to be predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymlp.app.tables.evaluation import windows
from arraymlp.app.tables.inputs import listed
from arraymlp.app.tables.target import Target, target_of
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import require_all_finite
from arraymlp.data.files.iso_times import ISO, times_of
from arraymlp.data.files.table_file import TableFile, errors_of, require_columns
from arraymlp.data.files.table_rows import TableRows, fits_memory
from arraymlp.data.files.table_targets import target_of as parted
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.table_input import LEARNT_OF

IN_MEMORY = 4  # bytes of a table for each of its file


@dataclass(frozen=True, eq=False)
class Source:
    """Rows to learn from, in memory or, where they are larger, on the disk.

    Attributes:
        name: of the file.
        table: with all columns.
        names: of the columns to learn from.
        target: what is to be predicted.
    """

    name: str
    table: Frame | TableRows
    names: tuple[str, ...]
    target: Target

    def __len__(self) -> int:
        return len(self.target.values)

    @property
    def in_memory(self) -> bool:
        """Whether the table is in memory."""
        return isinstance(self.table, Frame)

    def describe(self) -> str:
        """How many rows and columns there are."""
        n = len(self.names)
        where = "" if self.in_memory else ", larger than memory"
        return f"{len(self):,} rows, {n} column{'s' * (n != 1)} beside the target{where}"

    def data(
        self, names: Sequence[str], rows: HostArray | None = None
    ) -> tuple[Frame | TableRows, Any]:
        """X and y for `train`: in memory these columns with the targets, and the targets' names.

        Args:
            names: of the columns to learn from.
            rows: of a table in memory, by their numbers; None for all.
        """
        values = self.target.values
        if isinstance(self.table, TableRows):
            return self.table, values
        targets = tuple(map(as_column, [values] if values.ndim == 1 else list(values.T)))
        kept = self.table.select(names)
        frame = Frame((*names, *self.target.names), (*kept.columns, *targets))
        of_targets = list(self.target.names)
        y = of_targets if len(of_targets) > 1 else of_targets[0]
        return (frame if rows is None else frame[rows]), y

    def sample(self, rows: HostArray) -> Frame:
        """The columns to learn from, of as many of these rows as an encoding is learnt of."""
        if isinstance(self.table, Frame):
            table = self.table.select(self.names)
            with errors_of(self.name):
                require_all_finite(table)
            return table[rows]
        return with_dates(self.table.sample(LEARNT_OF, 0, rows, self.names))

    def rows(self, numbers: HostArray) -> Iterator[tuple[Frame, HostArray]]:
        """Rows with these numbers, which ascend, and their targets, some at a time."""
        for chosen in windows(numbers):
            if isinstance(self.table, Frame):
                yield self.table.select(self.names)[chosen], self.target.values[chosen]
            else:
                yield self.table.take(chosen, self.names), self.target.values[chosen]

    def on_disk(self, file: TableFile) -> "Source":
        """The same rows, which are no longer in memory, until the file is closed."""
        rows = TableRows(file)
        file.at_end(rows.close)
        return replace(self, table=rows)


def as_column(values: HostArray) -> Column:
    """Targets (N,) as a column of a table."""
    if values.dtype.kind != "U":
        return values
    distinct, codes = np.unique(values, return_inverse=True)
    return Texts(codes.astype(np.int32), tuple(distinct.tolist()))


def read_source(
    file: TableFile, target: str | None, classifies: bool | None, ignore: Sequence[str] = ()
) -> Source:
    """The rows of a file.

    Args:
        file: the file.
        target: the column to be predicted, or several, separated by commas; None for the last one,
            and in a .npz file for y.
        classifies: True where it is of classes, False for numbers, None for what it seems to be.
        ignore: columns to leave out.

    Raises:
        ValueError: the file is none; no column, or one that nothing can learn, is to be predicted;
            or no other is left.
        OSError: it cannot be read.
    """
    with errors_of(file.title):
        names = file.targets(target)
        require_columns(file.names, ignore)
        for name in names:
            if name in ignore:
                raise ValueError(f"the target {name!r} is among the columns to leave out")
        features = [name for name in file.features(names) if name not in ignore]
        if not features:
            raise ValueError("no column is left to learn from")
    table: Frame | TableRows
    if fits_memory(IN_MEMORY * file.n_bytes):
        frame = with_dates(file.read())
        table, few = frame, frame.select([*names, features[0]])
    else:
        stored = TableRows(file)
        file.at_end(stored.close)
        table, few = stored, stored.read(names=[*names, features[0]])
    with errors_of(file.title):
        _, values = parted(few, names)
        return Source(file.title, table, tuple(features), target_of(names, values, classifies))


def require_target(file: TableFile, target: str | None) -> None:
    """A ValueError that lists the columns, where none is said to be predicted."""
    if target is None:
        raise ValueError(
            f"{file.title}: say by --target which column is to be predicted: there is "
            f"{listed(file.names)}"
        )


def with_dates(frame: Frame) -> Frame:
    """The frame with times for columns of texts that are all dates or times, as a CSV has them."""
    return Frame(frame.names, tuple(map(_maybe_dates, frame.names, frame.columns)))


def _maybe_dates(name: str, column: Column) -> Column:
    if not isinstance(column, Texts) or not any(map(ISO.fullmatch, column.values[:1])):
        return column
    try:
        return times_of(column, name, 0)
    except ValueError:
        return column
