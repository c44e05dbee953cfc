"""Patience: the number of epochs without improvement of a figure, and when it is too large."""

from collections.abc import Mapping, Sequence
from copy import copy
from math import inf
from numbers import Integral
from typing import Any

import numpy as np

from arraymlp._checks import NOT_NEGATIVE, Rule, as_floats, lookup, require_numbers, to_python
from arraymlp.backends.array import HostArray

EPOCHS = Rule(
    "a whole number of epochs from 1 (with a patience of 0 every epoch, better or not, would be "
    "one too many)",
    lambda n: n >= 1 and isinstance(n, Integral),
)

OF_BEST = 1e-4  # PyTorch's ReduceLROnPlateau has the same


class Patience:
    """Epochs since a figure was last better, member by member.

    With the best figure b of all epochs so far (of a figure that is better when smaller), the next
    one f, and min_change c::

        f < b                   f is the best so far:  b <- f
        f < b and f <= b - c    f is an improvement:   waited <- 0
        otherwise                                      waited <- waited + 1

    So scikit-learn counts. With c > 0 small steps lower b without ending the wait, and what counts
    next is measured from there. The first number is always best, and an improvement. There are two
    differences: here a figure that only equals the best, with c = 0, is no improvement (nor
    is it in PyTorch), and NaN is none either. A first NaN leaves b infinite.

    scikit-learn and PyTorch act once the count *exceeds* their patience: here it is theirs + 1.

    Attributes:
        best: the best figure so far, () or (K,); infinite before the first.
        waited: epochs since the last improvement, () or (K,).
    """

    def __init__(
        self,
        monitor: str,
        epochs: int | Sequence[int],
        min_change: float | Sequence[float] | None,
        greater_is_better: bool,
    ) -> None:
        """Wait for the first figure.

        Args:
            monitor: the column of the history.
            epochs: the number of epochs to wait, from 1; or K values, one a member.
            min_change: the least improvement that ends the wait, from 0, in the figure's own unit;
                or K values; None for a ten-thousandth of the best figure so far.
            greater_is_better: True as for an accuracy; False as for a loss.

        Raises:
            ValueError: an argument is none of these.
        """
        epochs, min_change = to_python(epochs), to_python(min_change)
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(
                f"monitor must be the name of a column of the history, not {monitor!r}"
            )
        require_numbers("patience", epochs, EPOCHS)
        if min_change is not None:
            require_numbers("min_change", min_change, NOT_NEGATIVE)
        if not isinstance(greater_is_better, bool | np.bool):
            raise ValueError(f"greater_is_better must be True or False, not {greater_is_better!r}")
        self.monitor = monitor
        self._epochs: HostArray = np.asarray(as_floats(epochs))
        self._min_change: HostArray | None = (
            None if min_change is None else np.asarray(as_floats(min_change))
        )
        self._sign = -1.0 if greater_is_better else 1.0
        self.best: HostArray = np.asarray(self._sign * inf)
        self.waited: HostArray = np.asarray(0)

    def observe(self, record: Mapping[str, object]) -> HostArray:
        """Take in an epoch's record; return where its figure is the best so far, () or (K,) bool.

        Raises:
            ValueError: the record lacks the column, or has fewer or more figures than constants.
        """
        figure = np.asarray(lookup(record, self.monitor, "column to monitor"), dtype=float)
        for name, value in (("patience", self._epochs), ("min_change", self._min_change)):
            if value is not None and value.ndim and value.shape != figure.shape:
                raise ValueError(
                    f"{name} has {value.size} values, but {self.monitor} has {figure.size}"
                )
        cost, least_cost = self._sign * figure, self._sign * self.best
        better = np.asarray(cost < least_cost)
        change = self._min_change
        if change is None:
            change = np.where(np.isfinite(self.best), OF_BEST * np.abs(self.best), 0.0)
        improved = better & (cost <= least_cost - change)
        self.best = np.where(better, figure, self.best)
        self.waited = np.where(improved, 0, self.waited + 1)
        return better

    @property
    def exhausted(self) -> HostArray:
        """Where the last improvement is ``epochs`` or more epochs ago, () or (K,) bool."""
        return np.asarray(self.waited >= self._epochs)

    def select_members(self, members: Sequence[int]) -> "Patience":
        """The patience of these members, as it stands."""
        selected = copy(self)
        for name in ("best", "waited", "_epochs", "_min_change"):
            value = getattr(self, name)
            setattr(selected, name, value[list(members)] if np.ndim(value) else value)
        return selected

    def state(self) -> dict[str, Any]:
        """What it has seen, in JSON's types."""
        return {"best": self.best.tolist(), "waited": self.waited.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` returned; a ValueError for anything else."""
        best, waited = np.asarray(state["best"]), np.asarray(state["waited"])
        if best.dtype.kind != "f" or waited.dtype.kind != "i" or np.any(waited < 0):
            raise ValueError("it has no figures of epochs that were waited for")
        self.best, self.waited = best, waited

    def restart(self, mask: HostArray) -> None:
        """Restart the wait where the mask is true; the best figure stays."""
        self.waited = np.where(mask, 0, self.waited)
