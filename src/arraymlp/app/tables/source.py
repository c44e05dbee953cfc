"""The rows to learn from: the columns of a data file, and those that are to be predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arraymlp.app.tables.evaluation import windows
from arraymlp.app.tables.inputs import listed
from arraymlp.app.tables.target import Target, target_of
from arraymlp.backends.array import HostArray
from arraymlp.data.frames import Column, Frame, Texts
from arraymlp.data.iso_times import ISO, times_of
from arraymlp.data.table_file import TableFile, errors_of, require_columns
from arraymlp.data.table_targets import target_of as parted


@dataclass(frozen=True, eq=False)
class Source:
    """Rows to learn from.

    Attributes:
        name: of the file.
        table: the columns to learn from.
        target: what is to be predicted.
    """

    name: str
    table: Frame
    target: Target

    def __len__(self) -> int:
        return len(self.target.values)

    def describe(self) -> str:
        """How many rows and columns there are."""
        n = len(self.table.names)
        return f"{len(self):,} rows, {n} column{'s' * (n != 1)} beside the target"

    def whole(self, names: Sequence[str]) -> Frame:
        """These of the columns to learn from, and after them the targets."""
        values = self.target.values
        columns = [values] if values.ndim == 1 else list(values.T)
        kept = self.table.select(names)
        targets = tuple(map(as_column, columns))
        return Frame((*names, *self.target.names), (*kept.columns, *targets))

    def sample(self, rows: HostArray) -> Frame:
        """Of these rows as many as an encoding is learnt of."""
        return self.table[rows]

    def rows(self, numbers: HostArray | None) -> Iterator[tuple[Frame, HostArray]]:
        """Rows with these numbers (None for all) and their targets, some at a time."""
        table, y = self.table, self.target.values
        if numbers is not None:
            table, y = table[numbers], y[numbers]
        yield from zip(windows(table), windows(y), strict=True)


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
    frame = file.read()
    with errors_of(file.title):
        table, values = parted(frame.select([*features, *names]), names)
        return Source(file.title, with_dates(table), target_of(names, values, classifies))


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
