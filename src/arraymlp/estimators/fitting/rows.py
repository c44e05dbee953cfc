"""Which rows are trained on, which are held out, and in what order: as scikit-learn draws them."""

import pickle
from copy import deepcopy
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

    Args:
        random: draws them, each epoch's when it is first asked for.
        first_epoch: the first epoch of the call.
    """

    def __init__(self, random: np.random.RandomState, first_epoch: int = 0) -> None:
        self._random, self._next_epoch = random, first_epoch
        self._order: HostArray | None = None
        self._begins_with = deepcopy(random).bytes(8).hex()

    def __repr__(self) -> str:
        """Equal for objects that began with the same random state."""
        return f"SklearnOrders({self._begins_with})"

    def state(self) -> bytes:
        """Equal for objects that will give the same orders."""
        return pickle.dumps((self._random, self._order, self._next_epoch))

    def __call__(self, n: int, epoch: int) -> HostArray:
        """Return an epoch's order of n rows; those before it are drawn on the way.

        Raises:
            ValueError: a later epoch's was asked for before, and this one is gone.
        """
        while self._next_epoch <= epoch:
            drawn = np.arange(n)
            self._random.shuffle(drawn)
            self._order = drawn if self._order is None else self._order[drawn]
            self._next_epoch += 1
        if self._order is None or epoch != self._next_epoch - 1:
            raise ValueError(f"the order of epoch {epoch} is not to be had any more")
        return self._order
