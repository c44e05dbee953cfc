"""The features of a table larger than memory: made as they are read, window by window."""

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.frames.frame import Texts
from arraymlp.data.sources import OwnRows


class FeatureRows(OwnRows):
    """What is trained on like an array that is read by slices; see `arraymlp.data.stream`.

    Attributes:
        shape: (N, width), of features.
        dtype: of the features.
        ndim: 2.
        chunks: the lengths of what the table reads as a whole, if there is such.
    """

    ndim = 2

    def __init__(self, rows: LargeTable, width: int, dtype: str) -> None:
        self._rows = rows
        self.dtype = np.dtype(dtype)
        self.shape = (len(rows), width)
        self.chunks = rows.chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> HostArray:
        if not isinstance(rows, slice):
            raise TypeError(f"rows are read by slices, not by {type(rows).__name__}")
        return self._read(rows)

    def _read(self, rows: slice) -> HostArray:
        raise NotImplementedError

    def __array__(self, dtype: object = None, copy: bool | None = None) -> HostArray:
        raise TypeError("these rows are larger than memory: read some of them, rows[a:b]")


class EncodedRows(FeatureRows):
    """Features that an encoding makes.

    Args:
        rows: of the table.
        encoding: of its columns.
        dtype: "float32" or "float64".
    """

    def __init__(self, rows: LargeTable, encoding: TableEncoding, dtype: str = "float32") -> None:
        super().__init__(rows, encoding.width, dtype)
        self._encoding = encoding

    def _read(self, rows: slice) -> HostArray:
        frame = self._rows.read(rows, self._encoding.names)
        return self._encoding.transform(frame, self.dtype.name)


class PlainRows(FeatureRows):
    """The columns of a table of numbers, as they are.

    Attributes:
        columns: their names.

    Args:
        rows: of the table.

    Raises:
        ValueError: a column is no numbers.
    """

    def __init__(self, rows: LargeTable) -> None:
        self.columns = rows.names
        for name in rows.names:
            if rows.kinds[name] in ("text", "time"):
                raise ValueError(
                    f"{rows.title} must be numeric, but column {name!r} is {rows.kinds[name]}: "
                    "encode=True makes features of it"
                )
        super().__init__(rows, len(rows.names), "float64")

    def _read(self, rows: slice) -> HostArray:
        frame = self._rows.read(rows)
        columns = [column for column in frame.columns if not isinstance(column, Texts)]
        return np.column_stack(columns)
