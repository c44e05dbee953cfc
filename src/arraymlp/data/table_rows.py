"""Tables larger than memory; see the branch that reads them."""

from collections.abc import Sequence
from typing import Any

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding import TableEncoding
from arraymlp.data.frames import Column, Frame


class TableRows:
    """A table on disk."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        raise NotImplementedError

    def sample(self, n: int, rows: HostArray | None = None) -> Frame:
        """Some rows."""
        raise NotImplementedError

    def column(self, name: str) -> Column:
        """A column in memory."""
        raise NotImplementedError

    def select(self, names: Sequence[str]) -> "TableRows":
        """Some columns."""
        raise NotImplementedError


class EncodedRows:
    """Its features."""

    def __init__(self, table: TableRows, encoding: TableEncoding, dtype: str) -> None:
        self.shape, self.dtype = (len(table), encoding.width), dtype

    def __getitem__(self, rows: slice) -> Any:
        raise NotImplementedError
