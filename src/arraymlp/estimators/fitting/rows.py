"""Which rows are trained on, which are held out, and in what order: as scikit-learn draws them."""

import pickle
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.registry import backend_of


def take_rows(values: Any, rows: HostArray) -> Any:
    """These rows of an array, a sparse matrix, a frame or a list; a device array stays there."""
    if is_device_array(values):
        backend = backend_of(values)
        with backend.active():
            return backend.xp.take(values, backend.asarray(rows), axis=0)
    return _safe_indexing(values, rows)


def early_stopping_split(
    n: int, fraction: float, strata: HostArray | None, random: np.random.RandomState
) -> tuple[HostArray, HostArray]:
    """Split n rows into those to train on and those held out, as scikit-learn does.

    Args:
        n: how many rows there are.
        fraction: of them, to hold out.
        strata: (n,) labels, each of which has the same share of both parts; None for a plain split.
        random: draws the rows.

    Raises:
        ValueError: fewer than two rows would be held out, or fewer than there are strata.
    """
    rows, held_out = train_test_split(
        np.arange(n), random_state=random, test_size=fraction, stratify=strata
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    return rows, held_out


class SklearnOrders:
    """The orders of the rows that scikit-learn draws, each a shuffle of the one before.

    It is a function for ``shuffle`` of `arraymlp.train`.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random
        self._order: HostArray | None = None

    def state(self) -> bytes:
        """Equal for objects that will give the same orders."""
        return pickle.dumps((self._random, self._order))

    def __call__(self, n: int, epoch: int) -> HostArray:
        """Return the next order of n rows; epochs must be asked for one after another."""
        drawn = np.arange(n)
        self._random.shuffle(drawn)
        self._order = drawn if self._order is None else self._order[drawn]
        return self._order
