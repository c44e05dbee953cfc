"""The rows that an epoch trains on, and the sums of the losses of its steps."""

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple, TypeVar

from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, DataSettings
from arraymlp.data.minibatches import Minibatch, minibatches
from arraymlp.data.orders import Orders, dense_blocks, planned_epoch, windows
from arraymlp.data.row_plans import MemberRows
from arraymlp.data.stream import Streamed

_Rows = TypeVar("_Rows", "MemberRows", "EpochRows")


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
        plans: the rows of members that have rows of their own, in their order; then ``order`` is
            None, and ``first`` and ``stop`` are those of the longest.
    """

    x: Array
    y: Array
    weight: Array | None
    order: Array | None
    batch_size: int
    first: int
    stop: int
    plans: tuple[MemberRows, ...] | None = None

    @property
    def steps(self) -> int:
        """The number of minibatches."""
        return -(-(self.stop - self.first) // self.batch_size)

    def part(self, start: int, stop: int) -> "EpochRows":
        """The rows of the steps from start to stop - 1."""

        def cut(rows: _Rows) -> _Rows:
            first = rows.first + start * self.batch_size
            end = first + (stop - start) * self.batch_size
            return rows._replace(first=first, stop=min(rows.stop, end))

        plans = self.plans and tuple(map(cut, self.plans))
        return cut(self)._replace(plans=plans)

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


def epoch_parts(
    data: Data, settings: DataSettings, backend: Backend, epoch: int, skip: int, orders: Orders
) -> Generator[EpochRows, None, None]:
    """The rows of an epoch: all at once, or where they are larger than memory window by window.

    Args:
        data: the rows.
        settings: batch size, window, shuffling and so on.
        backend: of the data.
        epoch: counted from 0.
        skip: the number of steps to leave out at the start.
        orders: the run's.
    """
    X, y, weight, size = data.X, data.y.values, data.y.loss_weight, settings.batch_size

    def end(n: int) -> int:
        return n - n % size if settings.drop_last else n

    if data.row_plans is not None:
        assert not isinstance(X, Streamed)
        plans = planned_epoch(data, settings, backend, epoch).member_rows(skip * size)
        longest = max(plan.stop for plan in plans)
        yield EpochRows(X, y, weight, None, size, skip * size, longest, plans)
    elif not isinstance(X, Streamed):
        order = orders.of(epoch)[1]
        yield EpochRows(X, y, weight, order, size, skip * size, end(int(X.shape[0])))
    elif not orders.by_window:
        for x, targets, w in dense_blocks(data, settings, backend, orders.of(epoch)[0], skip):
            yield EpochRows(x, targets, w, None, size, 0, int(x.shape[0]))
    else:
        order = orders.of(epoch)[0]
        with closing(windows(data, settings, backend, order, skip)) as of_windows:
            for x, rows, here, skipped in of_windows:
                of_weight = None if weight is None else weight[rows, ...]
                n = end(int(x.shape[0]))
                yield EpochRows(x, y[rows, ...], of_weight, here, size, skipped * size, n)


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
        """The sums over the minibatches of both, in new arrays: a step may write its own again."""
        return LossSums(
            self.loss + more.loss, self.weight + more.weight, self.penalty + more.penalty
        )


NO_SUMS = LossSums()
