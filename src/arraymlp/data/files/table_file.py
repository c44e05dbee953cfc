"""A file with a table: read whole, or some rows at a time, as often as one likes."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

from arraymlp._checks import nearest
from arraymlp.backends.array import HostArray
from arraymlp.data.files.cells import Kind
from arraymlp.data.frames.frame import Column, Frame, Texts

NAMED = 20  # columns that a message lists
Result = TypeVar("Result")


class Unsettled(Exception):  # noqa: N818  # no error: it never leaves this room
    """What has been read must be forgotten and read again: a column is another than it seemed."""


class TableFile(ABC):
    """A file with a table.

    Attributes:
        title: the file, for messages.
        names: of all its columns.
        used: of the columns that are read, in their order: those whose kinds were given, or all.
        extra: of the others.
    """

    def __init__(self, title: str, names: Sequence[str], kinds: Mapping[str, Kind] | None) -> None:
        self.title, self.names = title, tuple(names)
        self.used = tuple(kinds) if kinds else self.names
        used = set(self.used)
        self.extra = tuple(name for name in names if name not in used)
        self._is_settled = bool(kinds)
        self._then: list[Callable[[], object]] = []

    @abstractmethod
    def attempt(self) -> Iterator[Frame]:
        """All rows, some at a time, as the columns look so far.

        A block's integers may be another's numbers. Each call begins anew.

        Raises:
            Unsettled: at the end, where a column is not what it seemed: texts, no numbers.
            ValueError: the file is damaged, or it is no table; the message names it.
            OSError: it cannot be read.
        """

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """How many bytes the table takes, in the file as CSV or in memory: for `fits_memory`."""

    @property
    @abstractmethod
    def settled(self) -> dict[str, Kind]:
        """What each column is, as far as the file has been read; all of it, or `settle`."""

    @property
    def default_targets(self) -> tuple[str, ...]:
        """What is predicted from the other columns where nobody says it: the last one."""
        return self.names[-1:]

    def targets(self, given: str | None = None) -> tuple[str, ...]:
        """The columns that are to be predicted.

        Args:
            given: a column's name; several, parted by commas; or None for the last one, and in
                a .npz file y.

        Raises:
            ValueError: there is no such column.
        """
        if given is None:
            return self.default_targets
        if given in self.names:
            return (given,)
        names = tuple(part.strip() for part in given.split(","))
        require_columns(self.names, names)
        return names

    def features(self, targets: Sequence[str]) -> tuple[str, ...]:
        """What the targets may be predicted from: the other columns, in a .npz file those of X."""
        return tuple(name for name in self.names if name not in targets)

    def settled_by(self, read: Callable[[Iterator[Frame]], Result]) -> Result:
        """What a function makes of all rows; it is called again where it was given wrong ones."""
        while True:
            try:
                result = read(self.attempt())
            except Unsettled:
                continue
            self._is_settled = True
            return result

    def kinds(self) -> dict[str, Kind]:
        """What each column is, by its name; the file is read once for it, if it was not yet."""
        if not self._is_settled:
            self.settled_by(lambda frames: sum(map(len, frames)))
        return self.settled

    def blocks(self, rows: int | None = None) -> Iterator[Frame]:
        """All rows, in order, some at a time; each call begins anew.

        Args:
            rows: of a block, at most; by default as many as come together.

        Raises:
            ValueError, OSError: as `attempt` says.
        """
        kinds = self.kinds()
        for frame in self.attempt():
            block = cast(frame, kinds)
            for a in range(0, len(block), rows or len(block) or 1):
                yield block[a : a + rows] if rows else block

    def read(self) -> Frame:
        """The whole table.

        Raises:
            ValueError, OSError: as `attempt` says.
        """
        return cast(self.settled_by(lambda frames: join(list(frames))), self.settled)

    def at_end(self, then: Callable[[], object]) -> None:
        """Have a function called when the file is closed."""
        self._then.append(then)

    def close(self) -> None:
        """Remove what was kept of standard input."""
        while self._then:
            self._then.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def errors_of(title: str) -> Iterator[None]:
    """Have the message of a ValueError begin with the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error


def require_columns(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a ValueError that lists the columns which are wanted, but not there."""
    there = set(names)
    missing = [name for name in wanted if name not in there]
    if not missing:
        return
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    if len(missing) == 1:
        hint = nearest(names, missing[0]) or "."
        raise ValueError(f"there is no column {missing[0]!r}{hint} There is {shown}")
    lacking = ", ".join(map(repr, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
    raise ValueError(f"there are no columns {lacking}. There is {shown}")


def require_different(names: Sequence[str]) -> None:
    """Raise a ValueError where columns have the same name."""
    for name, count in Counter(names).items() if len(set(names)) < len(names) else ():
        if count > 1:
            raise ValueError(f"{count} columns have the name {name!r}")


def kind_of(column: Column) -> Kind:
    """What a column is, by its values."""
    if isinstance(column, Texts):
        return "text"
    kinds: dict[str, Kind] = {"b": "boolean", "i": "integer", "u": "integer", "M": "time"}
    return kinds.get(column.dtype.kind, "number")


def cast(frame: Frame, kinds: Mapping[str, Kind]) -> Frame:
    """The frame with float64 for every column of numbers that are not integers everywhere."""
    columns = [
        column.astype(np.float64)
        if kinds[name] == "number" and isinstance(column, np.ndarray) and column.dtype.kind in "iu"
        else column
        for name, column in zip(frame.names, frame.columns, strict=True)
    ]
    return Frame(frame.names, tuple(columns))


def join(frames: Sequence[Frame]) -> Frame:
    """Frames with the same columns, one after the other."""
    if len(frames) == 1:
        return frames[0]
    first = frames[0]
    columns = zip(*(frame.columns for frame in frames), strict=True)
    return Frame(first.names, tuple(join_columns(column) for column in columns))


def join_columns(parts: Sequence[Column]) -> Column:
    """Parts of a column, one after the other."""
    if not isinstance(parts[0], Texts):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    positions: dict[str, int] = {}
    codes: list[HostArray] = []
    for part in parts:
        assert isinstance(part, Texts)
        known = [positions.setdefault(value, len(positions)) for value in part.values]
        codes.append(np.asarray([*known, -1], dtype=np.int32)[part.codes])
    return Texts(np.concatenate(codes), tuple(positions))


def compact(column: Column) -> Column:
    """The column; if there are more different texts than rows, with those alone that it has."""
    if not isinstance(column, Texts) or len(column.values) <= len(column):
        return column
    used = np.unique(column.codes[column.codes >= 0])
    codes = np.where(column.codes >= 0, np.searchsorted(used, column.codes), -1)
    return Texts(codes.astype(np.int32), tuple(column.values[code] for code in used.tolist()))
