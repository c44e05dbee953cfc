"""A small training, and the one line with which a call is refused before any training."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import arraymlp.training.loop
from arraymlp import Run, train

N = 12
# Whole numbers from 0 to 9, which every numeric dtype can hold.
X = np.random.default_rng(0).integers(0, 10, (N, 4)).astype(np.float32)
Y = np.arange(N) % 3
NUMBERS = X[:, :2] / 10
COLUMNS = np.eye(3, dtype=np.int64)[Y]


def quick(*args: Any, **settings: Any) -> Run:
    """Train as little as possible, on NumPy where nothing else is said."""
    small = {"epochs": 1, "batch_size": 4, "backend": "numpy"}
    if "network" not in settings:
        small["hidden"] = (3,)
    return train(*args, **{**small, **settings})


def began(*args: Any) -> None:
    pytest.fail("training began")


def refusal(call: Callable[..., Any], *args: Any, **settings: Any) -> str:
    """The one line with which a call is refused before any training."""
    with pytest.MonkeyPatch.context() as patch:
        for way_to_train in ("run_epoch", "run_epoch_together"):
            patch.setattr(arraymlp.training.loop, way_to_train, began)
        with pytest.raises((ValueError, TypeError)) as caught:
            call(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_says(message: str, words: Sequence[str]) -> None:
    for word in words:
        assert word in message


def changed(row: int, column: int, value: float, dtype: str = "float32") -> np.ndarray:
    values = X.astype(dtype)
    values[row, column] = value
    return values
