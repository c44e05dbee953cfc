"""The rows that an epoch trains on, and the sums of the losses of its steps."""

from typing import NamedTuple

from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.data.minibatches import Minibatch, minibatches


class EpochRows(NamedTuple):
    """The rows that an epoch, or the rest of one, trains on; all arrays are on the device.

    Attributes:
        x: (N, n_features).
        y: (N,) class positions, or (N, n) numbers.
        weight: the samples' weights, (N,), or (N, K) for one a member; None where all are 1.
        order: row numbers (N,), int32; None for the rows as they stand.
        batch_size: the number of rows of a step.
        first: the position in the order at which the first step begins.
        stop: the position past the last step's last row.
    """

    x: Array
    y: Array
    weight: Array | None
    order: Array | None
    batch_size: int
    first: int
    stop: int

    def part(self, start: int, stop: int) -> "EpochRows":
        """The rows of the steps from start to stop - 1."""
        first = self.first + start * self.batch_size
        return self._replace(
            first=first, stop=min(self.stop, first + (stop - start) * self.batch_size)
        )

    def minibatch(self, number: int, backend: Backend) -> Minibatch:
        """The rows of the step of that number, from 0."""
        size = self.batch_size
        batches = minibatches(
            self.x,
            self.y,
            size,
            backend=backend,
            weight=self.weight,
            order=self.order,
            skip=self.first // size + number,
        )
        return next(batches)


class LossSums(NamedTuple):
    """The losses of minibatches, each computed before its update, summed.

    Each sum is a number, or () or (K,) on the device.

    Attributes:
        loss: the samples' losses, each times the sample's weight.
        weight: the samples' weights; the number of samples where all weights are 1.
        penalty: alpha / 2 |W|^2 of each minibatch; 0 without alpha.
    """

    loss: Array | float = 0.0
    weight: Array | float = 0.0
    penalty: Array | float = 0.0

    def plus(self, more: "LossSums") -> "LossSums":
        """The sums over the minibatches of both."""
        return LossSums(
            self.loss + more.loss, self.weight + more.weight, self.penalty + more.penalty
        )
