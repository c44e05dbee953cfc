"""Which columns of a table a model takes, and what it makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraymlp.app.tables.models import Model
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.table_file import TableFile
from arraymlp.data.files.table_files import open_table
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.values import text_of

NAMED = 10  # columns that a message lists
KINDS: Mapping[str, Kind] = {"numbers": "number", "categories": "text", "dates": "time"}


@dataclass(frozen=True)
class Inputs:
    """The columns of a table that a model takes.

    Attributes:
        names: of the columns it takes, in its order.
        ignored: names of the others.
        encoded: whether the model makes features of them itself.
        codes: the columns of categories that are written as numbers.
    """

    names: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    encoded: bool = False
    codes: frozenset[str] = field(default_factory=frozenset)

    def of(self, frame: Frame) -> Frame | HostArray:
        """What the model predicts from: the columns, or (N, n) numbers.

        Raises:
            ValueError: a column is no numbers, and the model has nothing to make numbers of it.
        """
        columns = [self._column(name, frame.column(name)) for name in self.names]
        if self.encoded:
            return Frame(self.names, tuple(columns))
        numbers = []
        for name, column in zip(self.names, columns, strict=True):
            if isinstance(column, Texts) or column.dtype.kind not in "biuf":
                raise ValueError(
                    f"column {name!r} is no numbers, and the model takes nothing else: it was "
                    "trained on arrays; arraymlp train makes models that take columns of all kinds"
                )
            numbers.append(column)
        return np.column_stack(numbers)

    def _column(self, name: str, column: Column) -> Column:
        if name not in self.codes or not isinstance(column, Texts):
            return column
        return Texts(column.codes, tuple(map(_as_number, column.values)))


def _as_number(text: str) -> str:
    """A category written as a number in the form that a column of numbers gives it: 3 for 3.0."""
    try:
        return text_of(float(text))
    except ValueError:
        return text


def open_inputs(
    model: Model, data: str, targets: Sequence[str] | None = None, beside: Sequence[str] = ()
) -> tuple[TableFile, Inputs]:
    """A table file, and which of its columns a model takes: by name, where it knows their names.

    Args:
        model: a model.
        data: the file, as for `open_table`.
        targets: columns that are to be read, too.
        beside: further ones, as texts where the model does not take them.

    Raises:
        ValueError: some that the model takes are missing; or there are others than so many, of
            which it does not know the names; or as of `open_table`.
        OSError: the file cannot be read.
    """
    if model.features is None:
        file = open_table(data)
        besides = {*(targets or model.targets), *beside}
        others = [name for name in file.names if name not in besides]
        if len(others) != model.network.sizes[0]:
            file.close()
            raise ValueError(
                f"{file.title}: the model takes {model.network.sizes[0]} columns, of which it does "
                f"not know the names, but there are {len(others)}: {listed(others)}"
            )
        return file, Inputs(tuple(others))
    for name in targets or ():
        if name in model.features:
            raise ValueError(f"{name!r} is a column that the model takes, and not one it predicts")
    columns = {column.name: column for column in model.columns}
    kinds: dict[str, Kind] = {
        name: KINDS[columns[name].kind] if name in columns else "number" for name in model.features
    }
    of_targets: Kind = "text" if model.has_texts else "number"
    texts: dict[str, Kind] = {name: "text" for name in beside if name not in kinds}
    file = open_table(data, kinds | texts | dict.fromkeys(targets or (), of_targets))
    ignored = tuple(name for name in file.extra if name not in model.targets)
    codes = [c.name for c in columns.values() if isinstance(c, Categories) and _are_numbers(c)]
    return file, Inputs(model.features, ignored, model.encoded, frozenset(codes))


def _are_numbers(column: Categories) -> bool:
    return bool(column.values) and all(_as_number(value) == value for value in column.values)


def listed(names: Sequence[Any], n: int = NAMED) -> str:
    """The first few names, separated by commas."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(map(str, names[:n])) + more
