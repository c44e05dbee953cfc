"""Which rows make which minibatch: orders drawn on the host, rows taken on the device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import inf
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, HostArray, array_namespace
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import blocks

_ORDER = 1  # a stream of its own, so that no other draw shifts it: initial values have 0, splits 2, dropout 3


def epoch_order(n: int, order_seed: int, epoch: int, window: int | None = None) -> HostArray:
    """A permutation of n rows (int32), a function of its arguments alone: a run can go on.

    Args:
        n: how many rows.
        order_seed: of the stream it is drawn from.
        epoch: from 0.
        window: rows change places only within each so many consecutive ones; None for all.
    """
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_ORDER, epoch)))
    drawn = [b.start + stream.permutation(b.stop - b.start) for b in blocks(n, window or n)]
    return np.concatenate(drawn).astype(np.int32)


def own_order(order: Callable[[int, int], HostArray], n: int, epoch: int) -> HostArray:
    """What a function gives as an order of n rows (int32), or a ValueError."""
    found = np.asarray(order(n, epoch))
    if found.shape != (n,) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= n:
        raise ValueError(f"shuffle({n}, {epoch}) must give {n} numbers of rows, not {found!r}")
    return found.astype(np.int32)


@dataclass(eq=False)
class Minibatch:
    """Rows for one step, on the device; ``x, y, weight = batch`` unpacks it.

    Attributes:
        x: (B, n_features); (G, B, n_features) where members have courses of their own.
        y: (B,) class positions, or (B, n) numbers; then with a leading axis of members.
        weight: of each sample (B,), or (K, B) for one a member; None where all are alike.
        own_samples: how many of the rows are samples, (K,) on the host, where members differ.
    """

    x: Array
    y: Array
    weight: Array | None = None
    own_samples: HostArray | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.x, self.y, self.weight))

    @property
    def rows(self) -> int:
        """The number of rows, B."""
        return int(self.x.shape[-2])

    @property
    def samples(self) -> Any:
        """The number of samples: of rows, or less, one number a member, where some are filling."""
        return self.rows if self.own_samples is None else self.own_samples

    @cached_property
    def total(self) -> Any:
        """What the samples weigh together: B, or on the device () or (K,)."""
        if self.weight is None:
            return self.rows
        return array_namespace(self.weight).sum(self.weight, axis=-1)

    @cached_property
    def divisor(self) -> Any:
        """What a sum over the samples is divided by for their mean, likewise.

        It is infinite where no sample has a weight: such a minibatch has nothing to say.
        """
        if self.weight is None:
            return self.rows
        return array_namespace(self.weight).where(self.total > 0, self.total, inf)


def minibatches(
    X: Any,
    y: Array,
    batch_size: int,
    order: Array | None,
    drop_last: bool,
    backend: Backend,
    skip: int = 0,
    weight: Array | None = None,
    gather: Callable[[slice], Array] | None = None,
) -> Iterator[Minibatch]:
    """Yield rows by ``batch_size``, in file order (views) or in an order that is on the device.

    The last minibatch is smaller, or dropped, where rows are left over; the first ``skip``
    minibatches are left out. The weight is (N,), or (N, K) for one a member. Where X is no array,
    ``gather`` brings the rows at these places of the order to the device.
    """
    xp = backend.xp
    n = X.shape[0]
    end = n - n % batch_size if drop_last else n

    def some(a: Array, block: slice) -> Array:
        return a[block, ...] if order is None else xp.take(a, order[block], axis=0)

    for block in islice(blocks(end, batch_size), skip, None):
        w = None if weight is None else some(weight, block)
        x = some(X, block) if gather is None else gather(block)
        yield Minibatch(x, some(y, block), w.mT if w is not None and w.ndim == 2 else w)
