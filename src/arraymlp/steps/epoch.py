"""The rows that an epoch trains on, and the sums of losses over its steps."""

from typing import NamedTuple

from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.data.minibatches import Minibatch, minibatches


class EpochRows(NamedTuple):
    """What an epoch, or the rest of one, trains on, on the device.

    Attributes:
        x: (N, n_features).
        y: (N,) class positions, or (N, n) numbers.
        weight: of each sample, (N,), or (N, K) for one a member; None where all are alike.
        order: (N,) numbers of rows, int32; None for the rows as they stand.
        batch_size: rows of a step.
        first: where in the order the first step begins.
        stop: where the last one ends.
    """

    x: Array
    y: Array
    weight: Array | None
    order: Array | None
    batch_size: int
    first: int
    stop: int

    def part(self, start: int, stop: int) -> "EpochRows":
        """The rows of some of its steps."""
        first = self.first + start * self.batch_size
        return self._replace(
            first=first, stop=min(self.stop, first + (stop - start) * self.batch_size)
        )

    def minibatch(self, number: int, backend: Backend) -> Minibatch:
        """The rows of the step of this number."""
        size = self.batch_size
        how = (size, self.order, False, backend, self.first // size + number, self.weight)
        return next(minibatches(self.x, self.y, *how))


class LossSums(NamedTuple):
    """Losses of minibatches, each computed before its update, and added up.

    Each is a number, or () or (K,) on the device.

    Attributes:
        loss: summed over the samples, each times its weight.
        weight: of all samples: their number, where all are alike.
        penalty: alpha / 2 |W|^2, summed over the minibatches; 0 without alpha.
    """

    loss: Array | float = 0.0
    weight: Array | float = 0.0
    penalty: Array | float = 0.0

    def plus(self, more: "LossSums") -> "LossSums":
        """The sums of these minibatches and more."""
        return LossSums(*(a + b for a, b in zip(self, more, strict=True)))
