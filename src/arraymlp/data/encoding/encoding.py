"""How a table's columns become a network's features: what was learnt, as a value.

A `TableEncoding` needs neither the training rows nor any library but NumPy; it goes with the
network, into its file, as plain JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from arraymlp._checks import lookup
from arraymlp.backends.array import HostArray
from arraymlp.data.blocks import blocks
from arraymlp.data.encoding.columns import EncodedColumn
from arraymlp.data.encoding.plain import of_plain, to_plain
from arraymlp.data.frames.frame import Frame
from arraymlp.data.frames.sources import frame_of

DTYPES = ("float32", "float64")
MAX_WIDTH = 2**24  # features; more are a damaged file's
CACHE = 2**21  # bytes of a block of rows' features, which are written by columns
LEAST_ROWS = 512  # of a block, however wide
LISTED = 20  # names in a message


@dataclass(frozen=True)
class TableEncoding:
    """Columns of a table to features (N, width). Equal where its columns are.

    Attributes:
        columns: what becomes features, in this order.
        padding: how many features that are always 0 follow; see `padded`.
    """

    columns: tuple[EncodedColumn, ...]
    padding: int = 0

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("an encoding has at least one column")
        if len(set(self.names)) < len(self.columns):
            raise ValueError("columns of an encoding have the same name")
        if self.padding < 0 or self.width > MAX_WIDTH:
            raise ValueError(f"an encoding has at most {MAX_WIDTH} features, not {self.width}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are used."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(column.width for column in self.columns) + self.padding

    def feature_names_out(self) -> list[str]:
        """The features' names (width,), each different."""
        names = [name for column in self.columns for name in column.feature_names()]
        return _different([*names, *[f"(padding {i})" for i in range(self.padding)]])

    def padded(self, width: int) -> Self:
        """The same with features at the end that are always 0, so that there are ``width``."""
        padding = self.padding + width - self.width
        if padding < 0:
            raise ValueError(f"an encoding of {self.width} features cannot have {width}")
        return replace(self, padding=padding)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same of columns with other names; those not mentioned keep theirs."""
        columns = [replace(c, name=names.get(c.name, c.name)) for c in self.columns]
        return replace(self, columns=tuple(columns))

    def transform(self, X: Any, dtype: str = "float32") -> HostArray:
        """The features (N, width) of a table, computed in float64 and rounded once; all finite.

        Args:
            X: as for `TableEncoder.learn`. Its columns are taken by their names, in any order;
                others than those are ignored.
            dtype: of the result, "float32" or "float64".

        Raises:
            ValueError: columns are missing, or of another kind, or have infinite numbers; or as of
                `TableEncoder.learn`.
        """
        lookup(dict.fromkeys(DTYPES), dtype, "dtype")
        frame = frame_of(X)
        writers = [
            column.writer(values)
            for column, values in zip(self.columns, self._select(frame), strict=True)
        ]
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        out = np.empty((len(frame), self.width), dtype=dtype)
        out[:, ends[-1] :] = 0
        with np.errstate(over="ignore"):  # numbers very far from those learnt of
            for rows in blocks(len(frame), max(LEAST_ROWS, CACHE // out.itemsize // self.width)):
                part = out[rows]
                for write, start, end in zip(writers, [0, *ends], ends, strict=False):
                    write(rows, part[:, start:end])
        return out

    def _select(self, frame: Frame) -> list[Any]:
        """The columns that are used; errors as of `require_columns`."""
        columns = dict(zip(frame.names, frame.columns, strict=True))
        self.require_columns(frame.names)
        return [columns[name] for name in self.names]

    def require_columns(self, names: Sequence[str]) -> None:
        """Raise a ValueError that lists the columns which a table with these names lacks."""
        there = set(names)
        missing = [name for name in self.names if name not in there]
        if missing:
            raise ValueError(
                f"X lacks {len(missing)} of {len(self.columns)} columns: {listed(missing)}; "
                f"it has {listed(names)}"
            )

    def to_json(self) -> dict[str, Any]:
        """The encoding in JSON's types, for `of_json`; its numbers are kept to the last bit."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def of_json(cls, value: Any, where: str = "encoding") -> Self:
        """The encoding of which `to_json` said that.

        Args:
            value: of JSON's types.
            where: it stands, for messages.

        Raises:
            ValueError: it is none, or one of a newer version; the message says where.
        """
        encoding: Self = of_plain(cls, value, where)
        return encoding


def listed(names: Sequence[str]) -> str:
    """Names for a message, not more than fit it."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more


def _different(names: list[str]) -> list[str]:
    """The names; one that was there before is numbered."""
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 2
        while names[i] in taken:
            names[i] = f"{name} #{number}"
            number += 1
        taken.add(names[i])
    return names
