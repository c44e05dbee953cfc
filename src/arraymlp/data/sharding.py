"""Minibatches cut into shards, of which a process has, and reads, those that are its own."""

from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import blocks
from arraymlp.data.data import Data, DataSettings
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.orders import Orders
from arraymlp.data.stream import Streamed
from arraymlp.data.stripes import bounds, own_rows


class ShardedMinibatch(Minibatch):
    """A minibatch of which this process has some shards; targets and weights are of all its rows.

    Attributes:
        x: None: its rows are in the shards.
        shards: of this process, those that have rows, by number.
        mine: the numbers of all shards of this process.
    """

    def __init__(self, y: Array, weight: Array | None, mine: range) -> None:
        super().__init__(None, y, weight)  # type: ignore[arg-type]  # no process has all of x
        self.shards: dict[int, Minibatch] = {}
        self.mine = mine

    @property
    def rows(self) -> int:
        """The number of rows of all shards, B."""
        return int(self.y.shape[0])


class Sharding:
    """The minibatches of a run in shards.

    Args:
        data: all rows, without row plans.
        settings: with a number of shards.
        backend: of the data.
        orders: of the run's epochs.
        mine: the shards of this process.
    """

    def __init__(
        self, data: Data, settings: DataSettings, backend: Backend, orders: Orders, mine: range
    ) -> None:
        assert settings.shards is not None
        self._data, self._settings, self._backend = data, settings, backend
        self._orders, self._mine, self._shards = orders, mine, settings.shards
        self._window = data.window(settings)
        self._own: dict[int, HostArray] = {}  # by the rows of a window: the last one may have fewer
        self._kept: Streamed | None = None
        self._count = 0  # of windows of which this process has rows
        if orders.by_window:
            assert isinstance(data.X, Streamed)
            n = int(data.X.shape[0])
            own = [block.start + self._own_rows(block) for block in blocks(n, self._window)]
            self._kept = data.X.kept(np.concatenate(own))
            self._count = sum(len(rows) > 0 for rows in own)

    def _own_rows(self, window: slice) -> HostArray:
        """The rows of a window that this process reads, counted from the window's first."""
        settings, rows = self._settings, window.stop - window.start
        if rows not in self._own:
            size, in_order = settings.batch_size, not settings.shuffle
            self._own[rows] = own_rows(rows, size, self._shards, self._mine, in_order)
        return self._own[rows]

    def batches(self, epoch: int, skip: int = 0) -> Generator[ShardedMinibatch, None, None]:
        """The minibatches of an epoch, without the first ``skip``."""
        data, size = self._data, self._settings.batch_size
        X, y, weight = data.X, data.y.values, data.y.loss_weight
        host, order = self._orders.of(epoch)
        if self._kept is not None:
            yield from self._windowed(self._kept, host, skip)
            return

        def rows(block: slice) -> Array:
            if isinstance(X, Streamed):
                here = np.arange(block.start, block.stop) if host is None else host[block]
                return X.gather(here, self._backend)
            return self._taken(X, order, block)

        n = int(X.shape[0])
        stop = n - n % size if self._settings.drop_last else n
        for block in islice(blocks(stop, size), skip, None):
            w = None if weight is None else self._taken(weight, order, block)
            yield self._batch(self._taken(y, order, block), w, block.start, rows)

    def _windowed(
        self, kept: Streamed, order: HostArray | None, skip: int
    ) -> Generator[ShardedMinibatch, None, None]:
        """The same of rows that are read window by window."""
        data, size, backend = self._data, self._settings.batch_size, self._backend
        y, weight, n = data.y.values, data.y.loss_weight, int(data.X.shape[0])
        per_window = -(-self._window // size)
        of_whole = len(self._own_rows(slice(0, min(n, self._window))))
        first, skip = divmod(skip, per_window)
        # The last window may have more: of 11 rows in one minibatch shard 3 of 8 has 1, of 10 2.
        with closing(kept.windows(backend, of_whole, first, self._count)) as read:
            for window in islice(blocks(n, self._window), first, None):
                own = self._own_rows(window)
                x = next(read) if len(own) else None
                here = None if order is None else order[window] - window.start
                drawn = None if here is None else backend.asarray(here)
                w = None if weight is None else weight[window, ...]
                targets = y[window, ...]
                m = window.stop - window.start
                stop = m - m % size if self._settings.drop_last else m

                def rows(
                    block: slice,
                    x: Array | None = x,
                    here: HostArray | None = here,
                    own: HostArray = own,
                ) -> Array:
                    """Rows of this process at positions in the window's order."""
                    assert x is not None
                    if here is not None:
                        return backend.xp.take(x, backend.asarray(here[block] - own[0]), axis=0)
                    at = int(np.searchsorted(own, block.start))
                    return x[at : at + block.stop - block.start, :]

                for block in islice(blocks(stop, size), skip, None):
                    its_w = None if w is None else self._taken(w, drawn, block)
                    its_y = self._taken(targets, drawn, block)
                    yield self._batch(its_y, its_w, block.start, rows)
                skip = 0

    def _taken(self, a: Array, order: Array | None, block: slice) -> Array:
        """The entries of a at positions of an order."""
        return a[block, ...] if order is None else self._backend.xp.take(a, order[block], axis=0)

    def _batch(
        self, y: Array, weight: Array | None, start: int, rows: Callable[[slice], Array]
    ) -> ShardedMinibatch:
        """The minibatch of targets y (B,) or (B, n), which begins at a position of the order."""
        w = weight.mT if weight is not None and weight.ndim == 2 else weight
        batch = ShardedMinibatch(y, w, self._mine)
        ends = bounds(batch.rows, self._shards)
        for s in self._mine:
            a, b = ends[s], ends[s + 1]
            if a < b:
                x = rows(slice(start + a, start + b))
                its_w = None if w is None else w[..., a:b]
                batch.shards[s] = Minibatch(x, y[a:b, ...], its_w, first=a, whole=batch)
        return batch
