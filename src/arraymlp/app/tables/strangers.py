"""Columns of categories in which a model knows nothing, which may be the same in other words."""

from collections.abc import Sequence

from arraymlp.app.tables.inputs import listed
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories, EncodedColumn
from arraymlp.data.frames.frame import Frame

SHOWN = 5  # categories that a line lists


def strangers(columns: Sequence[EncodedColumn], X: Frame | HostArray) -> list[str]:
    """A line for each column of categories of which none was there in training.

    One such value is nothing to speak of. Where all are, as MALE and FEMALE for male and female,
    the predictions are made without the column.

    Args:
        columns: of the model.
        X: the first rows that it is to predict from.
    """
    lines = []
    for column in columns:
        if not isinstance(column, Categories) or not isinstance(X, Frame):
            continue
        if unknown := column.unknown(X.column(column.name)):
            lines.append(
                f"column {column.name!r} has {listed(unknown, SHOWN)}, of which the model knows "
                f"none: it knows {listed(column.values, SHOWN)}"
            )
    return lines
