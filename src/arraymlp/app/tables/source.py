"""The rows to learn from: the columns of a data file, and those that are to be predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arraymlp.app.tables.evaluation import windows
from arraymlp.app.tables.inputs import listed
from arraymlp.app.tables.target import Target, target_of
from arraymlp.backends.array import HostArray
from arraymlp.data.frames import Frame
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
        return f"{len(self):,} rows, {len(self.table.names)} columns beside the target"

    def sample(self, rows: HostArray) -> Frame:
        """Of these rows as many as an encoding is learnt of."""
        return self.table[rows]

    def rows(self, numbers: HostArray | None) -> Iterator[tuple[Frame, HostArray]]:
        """Rows with these numbers (None for all) and their targets, some at a time."""
        table, y = self.table, self.target.values
        if numbers is not None:
            table, y = table[numbers], y[numbers]
        yield from zip(windows(table), windows(y), strict=True)


def read_source(
    file: TableFile, target: str | None, classifies: bool | None, ignore: Sequence[str]
) -> Source:
    """The rows of a file.

    Args:
        file: the file.
        target: the column to be predicted, or several, separated by commas.
        classifies: True where it is of classes, False for numbers, None for what it seems to be.
        ignore: columns to leave out.

    Raises:
        ValueError: the file is none; no column, or one that nothing can learn, is to be predicted;
            or no other is left.
        OSError: it cannot be read.
    """
    with errors_of(file.title):
        names = target_names(file, target)
        require_columns(file.names, ignore)
        for name in names:
            if name in ignore:
                raise ValueError(f"the target {name!r} is among the columns to leave out")
        if not set(file.names) - {*names, *ignore}:
            raise ValueError("no column is left to learn from")
    frame = file.read()
    with errors_of(file.title):
        kept = frame.select([name for name in frame.names if name not in ignore])
        table, values = parted(kept, names)
        return Source(file.title, table, target_of(names, values, classifies))


def target_names(file: TableFile, target: str | None) -> tuple[str, ...]:
    """The columns to be predicted; a ValueError lists all where none, or no such, is named."""
    if target is None:
        raise ValueError(
            f"say by --target which column is to be predicted: there is {listed(file.names)}"
        )
    names = (target,) if target in file.names else tuple(n.strip() for n in target.split(","))
    require_columns(file.names, names)
    return names
