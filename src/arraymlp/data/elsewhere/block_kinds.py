"""What the columns of a table are that is read block by block, each of which says it of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from arraymlp.data.files.cells import Kind
from arraymlp.data.files.table_file import kind_of
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.values import BOOLEANS

# What a kind is where some of the values are missing: as in a table in memory.
WITH_MISSING: Mapping[Kind, Kind] = {"integer": "number", "boolean": "text"}


@dataclass
class BlockKinds:
    """What columns are, as far as blocks have been seen.

    Attributes:
        known: the kind of each column, by its name; None where no value was seen yet.
        gaps: names of columns with missing values.
        texts: names of columns that are of texts by their type, where none is there.
    """

    known: dict[str, Kind | None]
    gaps: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, names: Sequence[str]) -> "BlockKinds":
        """Of columns of which nothing has been seen."""
        return cls(dict.fromkeys(names))

    def note(self, frame: Frame, what: str) -> None:
        """Take a block into account.

        Args:
            frame: the block.
            what: it is, for messages.

        Raises:
            ValueError: a column is of another kind than in the blocks before.
        """
        if not len(frame):
            return
        for name, column in zip(frame.names, frame.columns, strict=True):
            if _is_missing(column):
                self.gaps.add(name)
                if isinstance(column, Texts):
                    self.texts.add(name)
                continue
            known, kind = self.known[name], kind_of(column)
            if _has_booleans(column) and known in ("boolean", None):
                kind = "boolean"  # with missing ones
                self.gaps.add(name)
            together = {known, kind}
            if together == {"integer", "number"}:
                kind = "number"
            elif known is not None and known != kind:
                raise ValueError(
                    f"{what}: column {name!r} has {kind}s, but the rows before have {known}s: "
                    "give it one type"
                )
            self.known[name] = kind

    @property
    def settled(self) -> dict[str, Kind]:
        """What each column is, all blocks together."""
        kinds: dict[str, Kind] = {}
        for name, known in self.known.items():
            kind = known or ("text" if name in self.texts else "number")
            kinds[name] = WITH_MISSING.get(kind, kind) if name in self.gaps else kind
        return kinds


def as_kind(column: Column, kind: Kind, what: str) -> Column:
    """A block's column as one of the kind that it has in the whole table.

    Raises:
        ValueError: it is another.
    """
    if kind == "text" and isinstance(column, np.ndarray):
        if column.dtype.kind == "b":
            return Texts(column.astype(np.int32), BOOLEANS)
        if _is_missing(column):
            return Texts(np.full(len(column), -1, np.int32), ())
    elif kind == "time" and _is_missing(column):
        return np.full(len(column), np.datetime64("NaT", "us"))
    elif kind == "number" and isinstance(column, Texts) and _is_missing(column):
        return np.full(len(column), np.nan)
    found = kind_of(column)
    if kind == "number" and found == "integer":
        return np.asarray(column, dtype=np.float64)
    if found != kind and len(column):
        raise ValueError(f"{what} has {found}s, but they were {kind}s when it was read first")
    return column


def _is_missing(column: Column) -> bool:
    """Whether no value is there, so that nothing says what the column is."""
    if isinstance(column, Texts):
        return not column.values
    return column.dtype.kind == "f" and bool(np.isnan(column).all())


def _has_booleans(column: Column) -> bool:
    """Whether a column has the texts that booleans become where some are missing."""
    return isinstance(column, Texts) and column.values == BOOLEANS
