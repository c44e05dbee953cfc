"""Patience: how long a figure of the history has not been better, and when that is long enough."""

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


class Patience:
    """Epochs since a figure was last better, member by member.

    With the best figure b of all epochs so far (of a figure that is better when smaller), the next
    one f, and min_change c,

        f < b                   f is the best so far:  b <- f
        f < b and f <= b - c    f is an improvement:   waited <- 0
        otherwise                                      waited <- waited + 1

    as scikit-learn counts. So with c > 0 small steps lower b without ending the wait, and what
    counts next is measured from there. The first number is always best, and an improvement. There
    are two differences: here a figure that only equals the best, with c = 0, is no improvement (nor
    is it in PyTorch), and NaN is none either. A first NaN leaves b infinite.

    scikit-learn and PyTorch act once the count *exceeds* theirs: ours is their number + 1.

    Attributes:
        best: the best figure so far, () or (K,); infinite before the first.
        waited: epochs since the last improvement, () or (K,).
    """

    def __init__(
        self,
        monitor: str,
        epochs: int | Sequence[int],
        min_change: float | Sequence[float],
        greater_is_better: bool,
    ) -> None:
        """Wait for a first figure.

        Args:
            monitor: the column of the history.
            epochs: how many to wait, from 1; or K values, one a member.
            min_change: what an improvement is at least, from 0, in the figure's own unit; or K.
            greater_is_better: as for an accuracy; False as for a loss.

        Raises:
            ValueError: a constant is none of these.
        """
        epochs, min_change = to_python(epochs), to_python(min_change)
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(
                f"monitor must be the name of a column of the history, not {monitor!r}"
            )
        require_numbers("patience", epochs, EPOCHS)
        require_numbers("min_change", min_change, NOT_NEGATIVE)
        if not isinstance(greater_is_better, bool | np.bool):
            raise ValueError(f"greater_is_better must be True or False, not {greater_is_better!r}")
        self.monitor = monitor
        self._epochs, self._min_change = (
            np.asarray(as_floats(epochs)),
            np.asarray(as_floats(min_change)),
        )
        self._sign = -1.0 if greater_is_better else 1.0
        self.best: HostArray = np.asarray(self._sign * inf)
        self.waited: HostArray = np.asarray(0)

    def observe(self, record: Mapping[str, Any]) -> HostArray:
        """Take in an epoch's record; return where its figure is the best so far, () or (K,) bool.

        Raises:
            ValueError: the record has no such column, or not a figure for each given constant.
        """
        figure = np.asarray(lookup(record, self.monitor, "column to monitor"), dtype=float)
        for name, value in (("patience", self._epochs), ("min_change", self._min_change)):
            if value.ndim and value.shape != figure.shape:
                raise ValueError(
                    f"{name} has {value.size} values, but {self.monitor} has {figure.size}"
                )
        now, best = self._sign * figure, self._sign * self.best
        better = np.asarray(now < best)
        self.best = np.where(better, figure, self.best)
        self.waited = np.where(better & (now <= best - self._min_change), 0, self.waited + 1)
        return better

    @property
    def exhausted(self) -> HostArray:
        """Where the last improvement was as many epochs ago as one is to wait, () or (K,) bool."""
        return np.asarray(self.waited >= self._epochs)

    def some(self, members: Sequence[int]) -> "Patience":
        """The patience of some members, as it stands."""
        chosen = copy(self)
        for name in ("best", "waited", "_epochs", "_min_change"):
            value = getattr(self, name)
            setattr(chosen, name, value[list(members)] if value.ndim else value)
        return chosen

    def restart(self, mask: HostArray) -> None:
        """Begin to wait anew where the mask is true; the best figure stays."""
        self.waited = np.where(mask, 0, self.waited)
