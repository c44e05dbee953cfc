"""Minibatches: orders of rows drawn on the host, rows taken on the device."""

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
from arraymlp.data.stream import Streamed
from arraymlp.data.stripes import striped_order

# A random stream of its own, so that no other draw shifts it: initial values have 0, splits 2,
# dropout 3.
_ORDER = 1


def epoch_order(
    n: int,
    order_seed: int,
    epoch: int,
    window: int | None = None,
    stripes: tuple[int, int] | None = None,
) -> HostArray:
    """A permutation of n rows (int32), which depends on nothing but the arguments.

    Args:
        n: the number of rows.
        order_seed: the seed of the random stream.
        epoch: counted from 0.
        window: rows are shuffled only within consecutive windows of so many; None for all together.
        stripes: (batch size, shards) where each shard of a minibatch is drawn from a stripe of its
            own in the window; see `arraymlp.data.stripes`.
    """
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_ORDER, epoch)))

    def draw(rows: int) -> HostArray:
        if stripes is None:
            return stream.permutation(rows)
        return striped_order(rows, *stripes, stream)

    drawn = [b.start + draw(b.stop - b.start) for b in blocks(n, window or n)]
    return np.concatenate(drawn).astype(np.int32)


def user_order(order: Callable[[int, int], HostArray], n: int, epoch: int) -> HostArray:
    """The order of n rows (int32) that a function of the user's gives; a ValueError for any other.

    Args:
        order: ``(n, epoch) -> row numbers (n,)``.
        n: the number of rows.
        epoch: counted from 0.
    """
    rows = np.asarray(order(n, epoch))
    if rows.shape != (n,) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"shuffle({n}, {epoch}) must give {n} numbers of rows, not {rows!r}")
    return rows.astype(np.int32)


@dataclass(eq=False)
class Minibatch:
    """Rows for one step, on the device; ``x, y, weight = batch`` unpacks it.

    Attributes:
        x: (B, n_features); (G, B, n_features) where members have row plans, in G groups.
        y: (B,) class positions, or (B, n) numbers; with row plans, (K, B) or (K, B, n).
        weight: of each sample (B,), or (K, B) for one a member; None where all are 1.
        samples_per_member: the number of samples among the rows, (K,) on the host, where members
            differ in it; the other rows only fill up and have weight 0.
        whole: the minibatch that this is a shard of; None for a whole one. Gradients are divided by
            the whole one's number or weight of rows.
        first: of a shard, the position of its first row there.
    """

    x: Array
    y: Array
    weight: Array | None = None
    samples_per_member: HostArray | None = None
    whole: "Minibatch | None" = None
    first: int = 0

    def __iter__(self) -> Iterator[Array | None]:
        return iter((self.x, self.y, self.weight))

    @property
    def rows(self) -> int:
        """The number of rows, B."""
        return int(self.x.shape[-2])

    @property
    def samples(self) -> int | HostArray:
        """The number of samples: B, or where members differ (K,) on the host."""
        return self.rows if self.samples_per_member is None else self.samples_per_member

    @cached_property
    def total(self) -> Any:
        """The sum of the samples' weights: B, or on the device () or (K,)."""
        if self.weight is None:
            return self.rows
        return array_namespace(self.weight).sum(self.weight, axis=-1)

    @cached_property
    def divisor(self) -> Any:
        """The number by which a sum over the samples is divided for their mean: as ``total``.

        It is infinite where no sample has a weight: the gradient of such a minibatch is 0.
        """
        if self.weight is None:
            return self.rows
        return array_namespace(self.weight).where(self.total > 0, self.total, inf)


def minibatches(
    X: Array | Streamed,
    y: Array,
    batch_size: int,
    *,
    backend: Backend,
    weight: Array | None = None,
    order: Array | None = None,
    drop_last: bool = False,
    skip: int = 0,
    gather: Callable[[slice], Array] | None = None,
) -> Iterator[Minibatch]:
    """Yield the rows in minibatches; the last one is smaller where rows are left over.

    Args:
        X: (N, n_features).
        y: (N,) or (N, n).
        batch_size: rows of a minibatch.
        backend: of the arrays.
        weight: of the samples (N,), or (N, K) for one a member; None where all are 1.
        order: row numbers (N,) on the device; None for the rows as they stand, whose minibatches
            are views.
        drop_last: leave out a last minibatch that is smaller.
        skip: the number of minibatches to leave out at the start.
        gather: ``(positions in the order) -> rows on the device``, needed for a `Streamed` X.
    """
    n = X.shape[0]
    stop = n - n % batch_size if drop_last else n

    def take(a: Array, block: slice) -> Array:
        return a[block, ...] if order is None else backend.xp.take(a, order[block], axis=0)

    for block in islice(blocks(stop, batch_size), skip, None):
        if gather is not None:
            x = gather(block)
        else:
            assert not isinstance(X, Streamed)
            x = take(X, block)
        w = None if weight is None else take(weight, block)
        yield Minibatch(x, take(y, block), w.mT if w is not None and w.ndim == 2 else w)
