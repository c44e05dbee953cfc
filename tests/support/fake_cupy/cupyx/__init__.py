"""``cupyx``: page-locked memory."""

from typing import Any

import numpy as np


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray[Any, Any]:
    """An array of the host that a copy can be made of while the host goes on."""
    array = np.empty(shape, dtype, order="F" if order == "F" else "C")
    array.reshape(-1).view(np.uint8).fill(0xFF)
    return array
