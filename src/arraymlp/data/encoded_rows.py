"""The features of a table larger than memory: encoded as they are read, window by window."""

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.files.table_rows import TableRows


class EncodedRows:
    """What is trained on like an array that is read by slices; see `arraymlp.data.stream`.

    Attributes:
        shape: (N, width), of features.
        dtype: of the features.
        ndim: 2.

    Args:
        rows: of the table.
        encoding: of its columns.
        dtype: "float32" or "float64".
    """

    ndim = 2

    def __init__(self, rows: TableRows, encoding: TableEncoding, dtype: str = "float32") -> None:
        self._rows, self._encoding = rows, encoding
        self.dtype = np.dtype(dtype)
        self.shape = (len(rows), encoding.width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> HostArray:
        if not isinstance(rows, slice):
            raise TypeError(f"rows are read by slices, not by {type(rows).__name__}")
        frame = self._rows.read(rows, self._encoding.names)
        return self._encoding.transform(frame, self.dtype.name)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> HostArray:
        raise TypeError("these rows are larger than memory: read some of them, rows[a:b]")
