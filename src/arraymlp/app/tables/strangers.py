"""Columns of categories in which a model knows nothing, which may be the same in other words."""

from collections.abc import Sequence

import numpy as np

from arraymlp.app.tables.inputs import listed
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.columns import Categories, EncodedColumn, as_texts
from arraymlp.data.frames.frame import Frame

SHOWN = 5  # categories that a line lists


def strangers(columns: Sequence[EncodedColumn], X: Frame | HostArray) -> list[str]:
    """A line for each column of categories of which none was there in training.

    One such value is nothing to speak of. Where all are, as TRUE and FALSE for True and False, the
    predictions are made without the column.

    Args:
        columns: of the model.
        X: the first rows that it is to predict from.
    """
    lines = []
    for column in columns:
        if not isinstance(column, Categories) or not isinstance(X, Frame):
            continue
        texts = as_texts(X.column(column.name), column.name)
        present = [texts.values[code] for code in np.unique(texts.codes) if code >= 0]
        if present and not set(present) & set(column.values):
            lines.append(
                f"column {column.name!r} has {listed(present, SHOWN)}, of which the model knows "
                f"none: it knows {listed(column.values, SHOWN)}"
            )
    return lines
