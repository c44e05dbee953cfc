"""The order of an epoch's rows, drawn and sent ahead of time, and the epoch's minibatches."""

from collections.abc import Callable, Generator
from contextlib import closing

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, DataSettings
from arraymlp.data.minibatches import Minibatch, epoch_order, minibatches, user_order
from arraymlp.data.row_plans import PlannedEpoch
from arraymlp.data.stream import Streamed, window_rows


class Orders:
    """The orders of a run's epochs, where all members see all rows in one order.

    An order is drawn on the host, where a permutation of 60,000 rows takes a millisecond, and its
    copy on the device takes the minibatches. The next epoch's order can be prepared while the
    device is at work, which then need not wait for it.
    """

    def __init__(self, data: Data, settings: DataSettings, backend: Backend) -> None:
        self._n, self._window = int(data.X.shape[0]), data.window(settings)
        by_rows = settings.window is None and not is_by_window(data, settings)
        self._shards = None if by_rows else settings.shards
        self._settings, self._backend = settings, backend
        self.by_window = is_by_window(data, settings)
        if self.by_window and callable(settings.shuffle):
            raise ValueError("an order of one's own, shuffle=f, needs X in memory and no window")
        # A function of the user's is called only in the epoch that its order is for.
        drawn = settings.shuffle and not callable(settings.shuffle) and data.row_plans is None
        self._ahead = bool(drawn) and backend.name != "numpy"
        self._known: dict[int, tuple[HostArray | None, Array | None]] = {}

    def of(self, epoch: int) -> tuple[HostArray | None, Array | None]:
        """The row numbers in an epoch's order, (n,) int32, on the host and on the device.

        Both are None for the order of the file; the second also for data that is read by windows.
        Repeated calls for one epoch return the same arrays.
        """
        host, device = self._known.pop(epoch, (None, None))
        if host is None:
            host = self._order(epoch)
        if device is None and host is not None and not self.by_window:
            device = self._backend.asarray(host)
        self._known = {epoch: (host, device)}
        return host, device

    def prepare(self, epoch: int) -> None:
        """Draw an epoch's order and queue its copy to the device, behind the work queued so far.

        This does nothing on NumPy, or for an order that is a function of the user's.
        """
        if not self._ahead or epoch in self._known:
            return
        host, device = self._order(epoch), None
        # PyTorch would wait for the device first; CuPy and JAX return at once.
        if not self.by_window and self._backend.name != "torch":
            device = self._backend.asarray(host)
        self._known[epoch] = host, device

    def _order(self, epoch: int) -> HostArray | None:
        shuffle, n = self._settings.shuffle, self._n
        if callable(shuffle):
            return user_order(shuffle, n, epoch)
        if not shuffle:
            return None
        stripes = None if self._shards is None else (self._settings.batch_size, self._shards)
        return epoch_order(n, self._settings.order_seed, epoch, self._window, stripes)


def is_by_window(data: Data, settings: DataSettings) -> bool:
    """True where an epoch brings the rows to the device window by window."""
    X = data.X
    return isinstance(X, Streamed) and not (X.any_order and data.window(settings) >= X.shape[0])


def epoch_batches(
    data: Data,
    settings: DataSettings,
    backend: Backend,
    epoch: int,
    skip: int = 0,
    orders: Orders | None = None,
) -> Generator[Minibatch, None, None]:
    """The minibatches of an epoch, from memory or window by window.

    Args:
        data: the rows.
        settings: batch size, window, shuffling and so on.
        backend: of the data.
        epoch: counted from 0.
        skip: the number of minibatches to leave out at the start.
        orders: the run's; without them the order is drawn anew.

    Raises:
        ValueError: shuffle is a function of the user's and the data is read by windows.
    """
    if data.row_plans is not None:
        planned = planned_epoch(data, settings, backend, epoch)
        yield from planned.minibatches(data.X, data.y.values, data.y.loss_weight, skip)
        return
    orders = orders or Orders(data, settings, backend)
    host_order, order = orders.of(epoch)
    if orders.by_window:
        yield from _windowed(data, settings, backend, host_order, skip)
        return
    yield from minibatches(
        data.X,
        data.y.values,
        settings.batch_size,
        backend=backend,
        weight=data.y.loss_weight,
        order=order,
        drop_last=settings.drop_last,
        skip=skip,
        gather=_gather(data.X, host_order, backend),
    )


def _gather(
    X: Array | Streamed, order: HostArray | None, backend: Backend
) -> Callable[[slice], Array] | None:
    """A function that brings sparse rows at positions of an order; None for rows in memory."""
    if not isinstance(X, Streamed):
        return None
    rows = np.arange(X.shape[0]) if order is None else order
    return lambda block: X.gather(rows[block], backend)


def planned_epoch(data: Data, settings: DataSettings, backend: Backend, epoch: int) -> PlannedEpoch:
    """An epoch of members with row plans."""
    assert data.row_plans is not None
    return PlannedEpoch(
        data.row_plans,
        epoch,
        backend,
        batch_size=settings.batch_size,
        window=None if settings.window is None else data.window(settings),
        drop_last=settings.drop_last,
    )


def _windowed(
    data: Data, settings: DataSettings, backend: Backend, order: HostArray | None, skip: int
) -> Generator[Minibatch, None, None]:
    """The minibatches of an epoch whose rows are read window by window."""
    y, weight = data.y.values, data.y.loss_weight
    with closing(windows(data, settings, backend, order, skip)) as of_windows:
        for x, rows, here, skipped in of_windows:
            yield from minibatches(
                x,
                y[rows, ...],
                settings.batch_size,
                backend=backend,
                weight=None if weight is None else weight[rows, ...],
                order=here,
                drop_last=settings.drop_last,
                skip=skipped,
            )


def windows(
    data: Data, settings: DataSettings, backend: Backend, order: HostArray | None, skip: int
) -> Generator[tuple[Array, slice, Array | None, int], None, None]:
    """Yield the windows of an epoch: rows, where they stand, their order, and steps to leave out.

    Args:
        data: the rows, a `Streamed`.
        settings: batch size and window.
        backend: of the rows.
        order: of all rows, on the host; None for the rows as they stand.
        skip: the number of steps of the epoch to leave out at the start.
    """
    X = data.X
    assert isinstance(X, Streamed)
    window, size = data.window(settings), settings.batch_size
    first, skip = divmod(skip, -(-window // size))  # whole windows, and minibatches of the next
    with closing(X.windows(backend, window, first)) as read:
        for i, x in enumerate(read, first):
            rows = slice(i * window, i * window + x.shape[0])
            here = None if order is None else backend.asarray(order[rows] - rows.start)
            yield x, rows, here, skip if i == first else 0


def dense_blocks(
    data: Data, settings: DataSettings, backend: Backend, order: HostArray | None, skip: int
) -> Generator[tuple[Array, Array, Array | None], None, None]:
    """Yield sparse rows, dense, with targets and weights, for some steps of an epoch at a time.

    Args:
        data: the rows, in any order.
        settings: batch size and the like.
        backend: of the rows.
        order: of all rows, on the host; None for the rows as they stand.
        skip: the number of steps of the epoch to leave out at the start.
    """
    X, y, weight, size = data.X, data.y.values, data.y.loss_weight, settings.batch_size
    assert isinstance(X, Streamed)
    rows = np.arange(X.shape[0]) if order is None else order
    stop = len(rows) - len(rows) % size if settings.drop_last else len(rows)
    at_once = window_rows(X.shape[1], size, settings.dtype, None)
    for start in range(skip * size, stop, at_once):
        some = rows[start : min(start + at_once, stop)]
        here = backend.asarray(some)
        w = None if weight is None else backend.xp.take(weight, here, axis=0)
        yield X.gather(some, backend), backend.xp.take(y, here, axis=0), w
