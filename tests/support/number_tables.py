"""A data file as arrays: features that are all numbers, and a target."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arraymlp._checks import require_table
from arraymlp.backends.array import HostArray
from arraymlp.data.files.table_file import errors_of
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_targets import target_of
from arraymlp.data.frames.frame import Frame, Texts

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


def read_table(path: Path | str, target: str | None = None) -> Table:
    """Read a data file whose features are numbers.

    Args:
        path: as for `open_table`.
        target: the target's column, or several, parted by commas; by default the last one.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as `open_table`; and features that are no
            numbers, or missing.
    """
    with open_table(path) as table:
        with errors_of(table.title):
            names = table.targets(target)
        frame = table.read()
        with errors_of(table.title):
            features, y = target_of(frame.select((*table.features(names), *names)), names)
            X = _matrix(features)
            require_table(X.shape, "X")
    if y.dtype.kind != "U":
        return Table(X, y, ",".join(names))
    classes, numbers = np.unique(y, return_inverse=True)
    return Table(X, numbers, names[0], classes.tolist())


def _matrix(features: Frame) -> HostArray:
    columns = []
    for name, column in zip(features.names, features.columns, strict=True):
        if isinstance(column, Texts):
            row = int(np.argmax(column.codes >= 0))
            shown = column.to_numpy()[row]
            raise ValueError(f"features must be numbers, but {name!r} has {shown!r} in row {row}")
        if column.dtype.kind not in "biuf":
            raise ValueError(f"features must be numbers, but {name!r} has dates")
        if column.dtype.kind == "f" and np.isnan(column).any():
            row = int(np.argmax(np.isnan(column)))
            raise ValueError(f"features must be numbers, but {name!r} has none in row {row}")
        columns.append(column)
    return np.column_stack(columns)
