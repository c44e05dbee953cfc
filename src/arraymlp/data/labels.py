"""Labels that are texts, from whatever holds them."""

from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.data.frames.frame import Texts
from arraymlp.data.frames.values import is_missing


def text_labels(y: Any, what: str) -> HostArray | None:
    """The labels as NumPy's strings, of y's shape; None where y holds no texts.

    Args:
        y: anything `numpy.asarray` takes, a column of a data frame among it, or `Texts`.
        what: the argument's name, for messages.

    Raises:
        ValueError: some are texts and others are missing, or something else; or one ends in a null
            character, which NumPy would cut off.
    """
    if isinstance(y, Texts):
        array = y.to_numpy()
    elif is_device_array(y) or isinstance(y, np.ma.MaskedArray):
        return None
    else:
        try:
            array = np.asarray(y)
        except ValueError:  # ragged lists, which `numeric` refuses
            return None
        if array.dtype.kind == "T" or (array.dtype.kind == "U" and array is not y):
            # In a list NumPy makes texts of numbers and NaN, and cuts off null characters.
            array = np.asarray(y, dtype=object)
    if array.dtype.kind == "U":
        return array
    if array.dtype != object or not any(isinstance(value, str) for value in array.ravel()):
        return None
    for row, value in enumerate(array.ravel()):
        if not isinstance(value, str):
            raise ValueError(
                f"{what} has labels that are texts, but row {row} has "
                f"{'none' if is_missing(value) else repr(value)}"
            )
        if value.endswith("\0"):
            raise ValueError(f"row {row} of {what} has a label that ends in a null character")
    return array.astype(str)
