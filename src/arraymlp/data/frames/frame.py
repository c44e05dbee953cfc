"""Tables in memory: named columns of numbers, texts or times, whatever library they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts, each distinct one kept once.

    Attributes:
        codes: (N,) int32, positions in ``values``; -1 where there is none.
        values: the distinct texts, in any order; some may not occur.
    """

    codes: HostArray
    values: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | HostArray) -> "Texts":
        return Texts(self.codes[rows], self.values)

    def to_numpy(self) -> HostArray:
        """The texts (N,), objects: strings, and None where there is none."""
        return np.asarray([*self.values, None], dtype=object)[self.codes]


# Numbers (N,) of a real or boolean dtype, NaN where one is missing; times (N,) of dtype
# datetime64, NaT where one is missing; or texts.
Column: TypeAlias = HostArray | Texts


@dataclass(frozen=True, eq=False)
class Frame:
    """A table: columns of one length, by name.

    Attributes:
        names: of the columns, each different.
        columns: in that order.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @property
    def shape(self) -> tuple[int, int]:
        """(N, n), the numbers of rows and columns."""
        return len(self), len(self.columns)

    def __getitem__(self, rows: slice | HostArray) -> "Frame":
        return Frame(self.names, tuple(column[rows] for column in self.columns))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> HostArray:
        """The table as an array (N, n): of numbers, or of objects where it has others."""
        if copy is False:
            raise ValueError("a table's columns have to be copied to be an array")
        columns = [c.to_numpy() if isinstance(c, Texts) else c for c in self.columns]
        numbers = all(column.dtype.kind in "biuf" for column in columns)
        stacked = np.column_stack(columns if numbers else [c.astype(object) for c in columns])
        return stacked if dtype is None else stacked.astype(dtype)

    def column(self, name: str) -> Column:
        """The column of that name."""
        return self.columns[self.names.index(name)]

    def select(self, names: Sequence[str]) -> "Frame":
        """These columns, in this order."""
        columns = dict(zip(self.names, self.columns, strict=True))
        return Frame(tuple(names), tuple(columns[name] for name in names))
