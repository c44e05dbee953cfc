"""NumPy's .npz files as tables."""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.table_file import TableFile, errors_of, kind_of, require_columns
from arraymlp.data.frames.arrays import array_column
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.values import BOOLEANS

ROWS = 2**16  # of a block
TARGET = "y"

# What NumPy and zipfile raise of damaged files.
_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
)


class NpzFile(TableFile):
    """A .npz file as a table; see `arraymlp.data.files.table_files.open_table`.

    Each array (N,) is a column; an array X (N, n) is the columns x0, x1, ..., and any other array
    (N, n) the columns name0, name1, ... Those of y come last.
    """

    def __init__(self, path: Path, title: str, kinds: Mapping[str, Kind] | None = None) -> None:
        with errors_of(title):
            self.groups, columns = _columns(_arrays(path))
            if len({len(column) for column in columns.values()}) != 1:
                rows = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
                raise ValueError(f"its arrays have different numbers of rows: {rows[:300]}")
            require_columns(tuple(columns), tuple(kinds or ()))
            if not len(next(iter(columns.values()))):
                raise ValueError("it has no rows")
            self._bytes = sum(column.nbytes for column in columns.values())
            super().__init__(title, tuple(columns), kinds)
            values = [_column(name, columns[name], (kinds or {}).get(name)) for name in self.used]
        self._frame = Frame(self.used, tuple(values))
        self._is_settled = True

    @property
    def n_bytes(self) -> int:
        """See `TableFile`; it is in memory."""
        return self._bytes

    @property
    def settled(self) -> dict[str, Kind]:
        """See `TableFile`."""
        return {n: kind_of(c) for n, c in zip(self.used, self._frame.columns, strict=True)}

    @property
    def default_targets(self) -> tuple[str, ...]:
        """The columns of the array y, or else the last one."""
        return self.groups.get(TARGET, self.names[-1:])

    def targets(self, given: str | None = None) -> tuple[str, ...]:
        """See `TableFile`; the name of an array stands for all of its columns."""
        return self.groups.get(given or TARGET) or super().targets(given)

    def features(self, targets: Sequence[str]) -> tuple[str, ...]:
        """See `TableFile`."""
        return self.groups.get("X") or super().features(targets)

    def attempt(self) -> Iterator[Frame]:
        """See `TableFile`."""
        for a in range(0, len(self._frame), ROWS):
            yield self._frame[a : a + ROWS]

    def read(self) -> Frame:
        """See `TableFile`."""
        return self._frame


def _arrays(path: Path) -> dict[str, HostArray]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz file")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for array in file.files:
                _require_size(file.zip, array)
            return {array: file[array] for array in file.files}
    except _UNREADABLE as error:
        raise ValueError(f"not readable as .npz ({type(error).__name__}: {error})") from error


def _require_size(archive: zipfile.ZipFile, array: str) -> None:
    """Raise a ValueError where an array's header does not say the size that the file has of it."""
    entry = archive.getinfo(f"{array}.npy")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        values = entry.file_size - member.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != values:
        raise ValueError(
            f"{array} is said to be {shape} of {dtype}, but the file has {values} bytes of it"
        )


def _columns(
    arrays: Mapping[str, HostArray],
) -> tuple[dict[str, tuple[str, ...]], dict[str, HostArray]]:
    """The names of each array's columns, and the columns, those of y last."""
    groups: dict[str, tuple[str, ...]] = {}
    columns: dict[str, HostArray] = {}
    for name in sorted(arrays, key=lambda name: name == TARGET):
        array = arrays[name]
        if array.ndim not in (1, 2) or 0 in array.shape[1:]:
            raise ValueError(
                f"an array must be a column (N,) or columns (N, n), but {name} is of shape "
                f"{array.shape}"
            )
        stem = "x" if name == "X" else name
        parts = (
            {name: array} if array.ndim == 1 else {f"{stem}{i}": c for i, c in enumerate(array.T)}
        )
        groups[name] = tuple(parts)
        for part, column in parts.items():
            if part in columns:
                raise ValueError(f"2 columns have the name {part!r}")
            columns[part] = column
    if not columns:
        raise ValueError("it has no arrays")
    return groups, columns


def _column(name: str, values: HostArray, given: Kind | None) -> Column:
    try:
        column = array_column(values)
    except (ValueError, SystemError) as error:  # SystemError is NumPy's, for what is no text
        raise ValueError(f"column {name!r}: {error}") from error
    if isinstance(column, np.ndarray) and column.dtype.kind == "b" and given == "text":
        return Texts(column.astype(np.int32), BOOLEANS)
    if isinstance(column, np.ndarray) and column.dtype.kind in "biu" and given == "number":
        return column.astype(np.float64)
    return column
