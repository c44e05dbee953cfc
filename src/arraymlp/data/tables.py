"""Data files for the command line: rows of numbers and a target, from .npz, .csv and .parquet."""

import csv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp._checks import nearest, require_table
from arraymlp.backends.array import HostArray

# The libraries that read Parquet, the first installed one of which is used.
PARQUET: dict[str, Callable[[Path], Any]] = {
    "polars": lambda path: import_module("polars").read_parquet(path),
    "pyarrow": lambda path: import_module("pyarrow.parquet").read_table(path),
    "pandas": lambda path: import_module("pandas").read_parquet(path),
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
        elif len(classes) > NAMED:
            text += " (for regression on these integers: --loss squared_error)"
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
    readers = {".npz": _npz, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
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
    for row, value in enumerate(y.tolist()):
        if not isinstance(value, str) or not value:
            raise ValueError(f"a target must be a number or a string, but row {row} has {value!r}")
    names, numbers = np.unique(y.astype(str), return_inverse=True)
    return numbers, names.tolist()


def _npz(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    name = target or "y"
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz file")
    with np.load(path, allow_pickle=False) as file:
        for array in ("X", name):
            if array not in file:
                raise ValueError(f"it has no array {array!r}, but {', '.join(file.files)}")
        return file["X"], file[name], name


def _csv(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = file.readline(), file.readline()
    delimiter = max(",;\t", key=lines[0].count)
    first, second = (next(csv.reader([line], delimiter=delimiter), []) for line in lines)
    if len(first) < 2:
        raise ValueError("it needs columns: features, and a target")
    header = not any(map(_is_number, first))
    columns = [v.strip() for v in first] if header else [str(i) for i in range(len(first))]
    if "" in columns:
        raise ValueError("a column has no name: if it numbers the rows, leave it out")
    if header and not second:
        raise ValueError("it has no rows")
    if second and len(second) != len(first):
        raise ValueError(f"its first line has {len(first)} columns, its second {len(second)}")
    target_column = _column(columns, target)
    features = [i for i in range(len(columns)) if i != target_column]
    form: dict[str, Any] = {
        "delimiter": delimiter,
        "skiprows": int(header),
        "comments": None,
        "quotechar": '"',
        "encoding": "utf-8-sig",
        "ndmin": 1,
    }
    try:
        X = np.loadtxt(path, usecols=features, **{**form, "ndmin": 2})
    except ValueError as error:
        raise ValueError(f"features must be numbers in every row ({error})") from error
    y = np.char.strip(np.loadtxt(path, usecols=target_column, dtype=str, **form))
    name = columns[target_column]
    for dtype in (np.int64, np.float64):
        try:
            return X, y.astype(dtype), name
        except ValueError:
            continue
    return X, y, name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    for read in PARQUET.values():
        try:
            table = read(path)
        except ImportError:
            continue
        except (OSError, ValueError):
            raise
        except Exception as error:  # each library has its own
            raise ValueError(f"not readable as Parquet ({error})") from error
        break
    else:
        raise ModuleNotFoundError("a .parquet file needs one of these: pip install pyarrow")
    columns = [str(name) for name in getattr(table, "column_names", None) or table.columns]
    target_name = columns[_column(columns, target)]
    features = []
    for name in columns:
        values = np.asarray(table[name].to_numpy())
        if name == target_name:
            y = values
        elif values.dtype.kind in "biuf":
            features.append(values)
        else:
            raise ValueError(f"feature {name!r} must be numbers, not {values.dtype}")
    return np.column_stack(features) if features else np.empty((len(y), 0)), y, target_name


def _column(columns: list[str], name: str | None) -> int:
    if name is None:
        return len(columns) - 1
    if name not in columns:
        shown = ", ".join(columns[:NAMED]) + (", ..." if len(columns) > NAMED else "")
        hint = nearest(columns, name) or "."
        raise ValueError(f"there is no column {name!r}{hint} There is {shown}")
    return columns.index(name)
