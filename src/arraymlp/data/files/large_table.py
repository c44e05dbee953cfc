"""A table larger than memory, of which some rows at a time are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.files.cells import Kind
from arraymlp.data.frames.frame import Column, Frame


class LargeTable(ABC):
    """The rows of a table that is not in memory.

    Attributes:
        title: what it is, for messages.
        names: of its columns.
    """

    title: str
    names: tuple[str, ...]

    @property
    @abstractmethod
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, by its name."""

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...] | None:
        """The lengths of what is read as a whole, (rows, ...) along each axis, if there is such."""
        return None

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int]:
        """(N, n), the numbers of rows and columns."""
        return len(self), len(self.names)

    def __getitem__(self, rows: slice) -> Frame:
        return self.read(rows)

    def select(self, names: Sequence[str]) -> Self:
        """The same rows with these columns, in this order."""
        selected = object.__new__(type(self))
        selected.__dict__.update(self.__dict__)
        selected.names = tuple(names)
        return selected

    def column(self, name: str) -> Column:
        """A column, in memory."""
        return self.read(names=[name]).columns[0]

    def read(self, rows: slice = slice(None), names: Sequence[str] | None = None) -> Frame:
        """Consecutive rows (B, n).

        Args:
            rows: without a step.
            names: of the columns, in the order wanted; by default all.
        """
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows are read one after the other, not with a step of {step}")
        return self.take(range(start, max(start, stop)), names)

    @abstractmethod
    def take(self, rows: range | HostArray, names: Sequence[str] | None = None) -> Frame:
        """Rows (B, n) by their numbers, which ascend.

        Args:
            rows: (B,).
            names: as for `read`.
        """

    def sample(
        self,
        n: int,
        seed: int | np.random.Generator,
        rows: HostArray | None = None,
        names: Sequence[str] | None = None,
    ) -> Frame:
        """Rows drawn at random, without replacement, in their order; all where there are no more.

        Args:
            n: how many.
            seed: of the draw.
            rows: the numbers of those to draw from, which ascend; by default all.
            names: as for `read`.
        """
        total = len(self) if rows is None else len(rows)
        if n >= total:
            return self.take(range(total) if rows is None else rows, names)
        drawn = np.sort(np.random.default_rng(seed).choice(total, n, replace=False))
        return self.take(drawn if rows is None else rows[drawn], names)
