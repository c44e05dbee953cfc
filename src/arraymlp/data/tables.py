"""Data files for the command line: rows of numbers and a target, from .npz, .csv and .parquet."""

import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp._checks import require_table
from arraymlp.backends.array import HostArray
from arraymlp.data.csv_table import column_of, read_csv

# The libraries that read Parquet, the first installed one of which is used. Not polars, which on
# some damaged files ends the process.
PARQUET: dict[str, Callable[[Path], Any]] = {
    "pyarrow": lambda path: import_module("pyarrow.parquet").read_table(path),
    "pandas": lambda path: _with_text_names(import_module("pandas").read_parquet(path)),
}
NAMED = 20  # classes that a description lists


@dataclass(frozen=True)
class Table:
    """The contents of a data file.

    Attributes:
        X: (n_samples, n_features), numbers.
        y: (n_samples,) or (n_samples, n_columns): integers for classes, else floating-point.
        target: the name of y.
        names: the classes' names, by their numbers in y, where the file has names; else None.
    """

    X: HostArray
    y: HostArray
    target: str
    names: list[str] | None = None

    def describe(self) -> str:
        """Its numbers of rows and features, and how its target is understood, as text."""
        n, features = self.X.shape
        text = f"{n} rows, {features} features; target {self.target}: "
        if self.y.dtype.kind == "f":
            return text + "numbers, for regression"
        if self.y.ndim == 2:
            return text + f"{self.y.shape[1]} columns of integers"
        classes = np.unique(self.y)
        text += f"{len(classes)} classes"
        if self.names is not None:
            shown = [f"{i} = {name}" for i, name in enumerate(self.names[:NAMED])]
            text += ", " + ", ".join(shown) + (", ..." if len(self.names) > NAMED else "")
        return text


def read_table(path: Path, target: str | None = None) -> Table:
    """Read a data file.

    Args:
        path: ``.npz`` with arrays X and y; or ``.csv`` (also with ; or tabs) or ``.parquet``, with
            a column for each feature and one for the target.
        target: the target's column, by name or, in a CSV file without a header, by number from 0
            (or the array in an ``.npz`` file); by default the last (or y).

    Raises:
        ValueError: another kind of file, or one without such columns or arrays of numbers.
        OSError: it cannot be read.
        ModuleNotFoundError: no library that reads Parquet is installed.
    """
    readers = {".npz": _npz, ".csv": read_csv, ".tsv": read_csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: a data file is .npz, .csv or .parquet")
    with path.open("rb"):  # an OSError that names the file, whatever would read it
        pass
    try:
        X, y, name = reader(path, target)
        require_table(X.shape, "X")
        values, names = _target(y)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Table(X, values, name, names)


def _target(y: HostArray) -> tuple[HostArray, list[str] | None]:
    """Numbers unchanged; or the classes' numbers, in the order of their names, and the names."""
    if y.dtype.kind in "iuf":
        return y, None
    if y.dtype.kind == "b":
        return y.astype(np.int64), ["False", "True"]
    if y.dtype.kind == "S":
        y = y.astype(str)
    try:
        values = y.tolist()
    except SystemError as error:  # NumPy's, where an array's bytes are no text
        raise ValueError(f"targets that are no text ({error})") from error
    if {type(value) for value in values} == {bool, type(None)}:  # a nullable column of booleans
        raise ValueError(f"a target is missing: row {values.index(None)} has none")
    for row, value in enumerate(values):
        if not isinstance(value, str) or not value:
            raise ValueError(f"a target must be a number or a string, but row {row} has {value!r}")
        if "\0" in value:  # at a text's end NumPy cuts it off
            raise ValueError(f"row {row} has a null character in its target, {value!r}")
    names, numbers = np.unique(y.astype(str), return_inverse=True)
    return numbers, names.tolist()


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


def _npz(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    name = target or "y"
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz file")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for array in ("X", name):
                if array not in file:
                    raise ValueError(f"it has no array {array!r}, but {', '.join(file.files)}")
                _require_size(file.zip, array)
            X, y = file["X"], file[name]
    except _UNREADABLE as error:
        raise ValueError(f"not readable as .npz ({type(error).__name__}: {error})") from error
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must be numbers, not {X.dtype}")
    if y.ndim == 0:
        raise ValueError(f"{name} must be an array of targets, not one value")
    return X, y, name


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


def _parquet(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    for read in PARQUET.values():
        try:
            with _parquet_errors():
                table = read(path)
        except ImportError:
            continue
        break
    else:
        raise ModuleNotFoundError("a .parquet file needs one of these: pip install pyarrow")
    columns = [str(name) for name in getattr(table, "column_names", None) or table.columns]
    with _parquet_errors():
        index = {name for name in _index_columns(path, columns) if name != target}
    columns = [name for name in columns if name not in index]
    if not columns:
        raise ValueError("it has no columns")
    target_name = columns[column_of(columns, target)]
    features = []
    for name in columns:
        try:
            values = np.asarray(table[name].to_numpy())
        except Exception as error:  # each library has its own
            raise ValueError(f"column {name!r} is no column of values ({error})") from error
        if values.ndim != 1:
            raise ValueError(f"column {name!r} has several values in a row")
        if name == target_name:
            y = values
        elif values.dtype.kind in "biuf":
            features.append(values)
        else:
            raise ValueError(f"feature {name!r} must be numbers, not {values.dtype}")
    return np.column_stack(features) if features else np.empty((len(y), 0)), y, target_name


@contextmanager
def _parquet_errors() -> Iterator[None]:
    """Turn what a library raises of a damaged file into a ValueError."""
    try:
        yield
    except (ImportError, ValueError):
        raise
    except Exception as error:  # each library has its own; pyarrow's OSErrors have no number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"not readable as Parquet ({error})") from error


def _with_text_names(frame: Any) -> Any:
    """A pandas data frame whose columns have text for names."""
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _index_columns(path: Path, columns: list[str]) -> set[str]:
    """The columns that are the index of a pandas data frame, which are no features.

    pandas says in the file's metadata which they are; without a library that reads these, those
    are taken for it that have the names of an index without one.
    """
    try:
        metadata = import_module("pyarrow.parquet").read_schema(path).pandas_metadata or {}
    except ImportError:
        return {name for name in columns if re.fullmatch(r"__index_level_\d+__", name)}
    return {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
