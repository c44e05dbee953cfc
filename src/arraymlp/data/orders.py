"""In what order an epoch meets the rows, drawn and sent ahead of time, and its minibatches."""

from collections.abc import Generator
from contextlib import closing

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, DataSettings
from arraymlp.data.minibatches import Minibatch, epoch_order, minibatches, own_order
from arraymlp.data.row_plans import plan_minibatches
from arraymlp.data.stream import Streamed


class Orders:
    """The orders of a run's epochs, where all members meet all rows in one order.

    An order is drawn on the host, where a permutation of 60,000 rows takes a millisecond, and
    minibatches are taken by its copy on the device. The next epoch's can be prepared while the
    device is at work: then it need not wait for it.
    """

    def __init__(self, data: Data, settings: DataSettings, backend: Backend) -> None:
        self._n, self._window = int(data.X.shape[0]), data.window(settings)
        self._settings, self._backend = settings, backend
        self._by_window = is_by_window(data, settings)
        # A function of the user's is called in the epoch that it is for, and in no other.
        drawn = settings.shuffle and not callable(settings.shuffle) and data.row_plans is None
        self._ahead = bool(drawn) and backend.name != "numpy"
        self._known: dict[int, tuple[HostArray | None, Array | None]] = {}

    def of(self, epoch: int) -> tuple[HostArray | None, Array | None]:
        """The numbers of the rows in an epoch's order, (n,) int32, on the host and on the device.

        Both are None for the order of the file; the second also for data that is read by windows.
        Asked again for the same epoch, they are the same.
        """
        host, device = self._known.pop(epoch, (None, None))
        if host is None:
            host = self._order(epoch)
        if device is None and host is not None and not self._by_window:
            device = self._backend.asarray(host)
        self._known = {epoch: (host, device)}
        return host, device

    def prepare(self, epoch: int) -> None:
        """Draw an epoch's order and queue its copy to the device, behind the work queued so far.

        That is nothing on NumPy, and for an order that is a function of the user's. If the epoch
        never comes, an order was drawn in vain.
        """
        if not self._ahead or epoch in self._known:
            return
        host, device = self._order(epoch), None
        # PyTorch would wait for the device first; CuPy and JAX return at once.
        if not self._by_window and self._backend.name != "torch":
            device = self._backend.asarray(host)
        self._known[epoch] = host, device

    def _order(self, epoch: int) -> HostArray | None:
        settings, n = self._settings, self._n
        if callable(settings.shuffle):
            return own_order(settings.shuffle, n, epoch)
        return (
            epoch_order(n, settings.order_seed, epoch, self._window) if settings.shuffle else None
        )


def is_by_window(data: Data, settings: DataSettings) -> bool:
    """Whether an epoch brings the rows to the device window by window."""
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
    """The minibatches of an epoch from number ``skip`` on, from memory or window by window.

    Args:
        data: the rows.
        settings: batch size, window, shuffling and so on.
        backend: where the rows are.
        epoch: its number.
        skip: how many minibatches to leave out at the start.
        orders: the run's, where some of them are prepared.
    """
    n, size, window = data.X.shape[0], settings.batch_size, data.window(settings)
    X, y, weight, drop_last = data.X, data.y.values, data.y.loss_weight, settings.drop_last
    if data.row_plans is not None:
        span = None if settings.window is None else window
        gather = (lambda rows: X.gather(rows, backend)) if isinstance(X, Streamed) else None
        yield from plan_minibatches(
            X, y, weight, data.row_plans, size, epoch, span, drop_last, backend, skip, gather
        )
        return
    by_window = is_by_window(data, settings)
    if by_window and callable(settings.shuffle):
        raise ValueError("an order of one's own, shuffle=f, needs X in memory and no window")
    host, order = (orders or Orders(data, settings, backend)).of(epoch)
    if not isinstance(X, Streamed):
        yield from minibatches(X, y, size, order, drop_last, backend, skip, weight)
        return
    if not by_window:
        rows = np.arange(n) if host is None else host
        yield from minibatches(
            X,
            y,
            size,
            order,
            drop_last,
            backend,
            skip,
            weight,
            lambda some: X.gather(rows[some], backend),
        )
        return
    per_window = -(-window // size)
    first, skip = divmod(skip, per_window)
    with closing(X.windows(backend, window, first)) as windows:
        for i, x in enumerate(windows, first):
            there = slice(i * window, i * window + x.shape[0])
            own = None if host is None else backend.asarray(host[there] - there.start)
            w = None if weight is None else weight[there, ...]
            skipped = skip if i == first else 0
            yield from minibatches(x, y[there, ...], size, own, drop_last, backend, skipped, w)
