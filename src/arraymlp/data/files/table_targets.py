"""The columns of a table that are to be predicted, as targets; and the others, as features."""

from collections.abc import Sequence

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.files.cells import INTEGER, fits_int64
from arraymlp.data.files.table_file import require_columns
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.values import BOOLEANS

DIFFERENT = 10  # rows from which on texts that are all different are no classes


def target_of(frame: Frame, names: Sequence[str]) -> tuple[Frame, HostArray]:
    """The other columns, and these as targets.

    Integers are classes as they are (int64), texts and booleans are classes by their names (NumPy's
    strings), and other numbers are for regression (float64).

    Args:
        frame: (N, n).
        names: of the targets: one, or several columns of numbers or booleans.

    Returns:
        The features; and the targets (N,), or (N, k) for k names: int64 where all are integers or
        booleans, else float64.

    Raises:
        ValueError: such columns are not there, nothing else is, a target is missing or is a date,
            or several are texts.
    """
    names = tuple(names)
    require_columns(frame.names, names)
    if len(set(names)) < len(names):
        raise ValueError(f"a target is named twice: {', '.join(names)}")
    others = [name for name in frame.names if name not in names]
    if not others:
        raise ValueError("it needs columns: features, and a target")
    if len(names) == 1:
        target = _classes_or_numbers(frame.column(names[0]), names[0])
    else:
        parts = [_numbers(frame.column(name), name) for name in names]
        target = np.column_stack(parts)
    return frame.select(others), target


def require_learnable(y: HostArray, name: str) -> None:
    """Raise a ValueError for a target (N,) of which nothing can be learnt.

    It is the same in every row; or texts that are different in every row, as identifiers are.
    """
    if y.ndim != 1 or len(y) < 2:
        return
    if (y[1:] == y[0]).all():
        raise ValueError(
            f"the target {name!r} is {y[0].item()!r} in every row: there is nothing to learn"
        )
    if y.dtype.kind == "U" and len(y) > DIFFERENT and len(np.unique(y)) == len(y):
        raise ValueError(
            f"the target {name!r} is a different text in every row, as {y[0].item()!r} and "
            f"{y[1].item()!r}: it names rows, and no classes"
        )


def _classes_or_numbers(column: Column, name: str) -> HostArray:
    if isinstance(column, np.ndarray) and column.dtype.kind == "b":
        column = Texts(column.astype(np.int32), BOOLEANS)
    if isinstance(column, np.ndarray):
        return _numbers(column, name)
    _require_all(column.codes >= 0, name)
    for code, value in enumerate(column.values):
        if "\0" in value:  # at a text's end NumPy cuts it off
            rows = np.flatnonzero(column.codes == code)
            if len(rows):
                raise ValueError(f"row {rows[0]} has a null character in its target, {value!r}")
    if all(map(INTEGER.fullmatch, column.values)):  # texts because of one that is too long
        for value in column.values:
            if not fits_int64(value):
                raise ValueError(f"the target {name!r} has an integer beyond int64, {value[:30]}")
    classes: HostArray = np.asarray(column.values or [""])[column.codes]
    return classes


def _numbers(column: Column, name: str) -> HostArray:
    if isinstance(column, Texts):
        raise ValueError(f"of several targets each must be numbers, but {name!r} is texts")
    kind = column.dtype.kind
    if kind == "M":
        raise ValueError(f"the target {name!r} is dates, which cannot be predicted")
    if kind == "f":
        _require_all(~np.isnan(column), name)
        return column
    if kind == "u" and len(column) and column.max() >= 2**63:
        raise ValueError(f"the target {name!r} has an integer beyond int64, {column.max()}")
    return column.astype(np.int64)


def _require_all(present: HostArray, name: str) -> None:
    if not present.all():
        missing = np.flatnonzero(~present)
        others = f", nor in {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise ValueError(
            f"the target {name!r} has no value in row {missing[0]}{others}: leave such rows out"
        )
