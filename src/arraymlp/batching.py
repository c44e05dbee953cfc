"""Which rows make which minibatch: orders drawn on the host, rows taken on the device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import inf
from numbers import Integral
from typing import Any

import numpy as np

from arraymlp.backend import Array, Backend, HostArray, array_namespace

ROWS_AT_ONCE = 1000  # a hidden layer's values for so many rows stay in the processor's cache
BYTES_AT_ONCE = 256 * 2**20  # of all layers' values on a GPU, which is to have few launches
_ORDER, _SPLIT = 1, 2  # streams of their own, so that one draw never shifts another


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


def split(
    n: int, fraction: float, order_seed: int, classes: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    """Rows to train on and rows held out, each in ascending order (int32).

    Args:
        n: how many rows.
        fraction: of them to hold out, rounded to whole rows.
        order_seed: of the stream they are drawn from.
        classes: class of each row (n,), to hold out the same fraction of each but for rounding; a
            class's last row is never held out.

    Raises:
        ValueError: the fraction is not between 0 and 1, or leaves one side empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a validation fraction must lie between 0 and 1, not {fraction!r}")
    held_out = round(n * fraction)
    if held_out in (0, n):
        raise ValueError(f"a validation fraction of {fraction:g} leaves one side of {n} rows empty")
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_SPLIT,)))
    order = stream.permutation(n).astype(np.int32)
    if classes is not None:
        _, which, counts = np.unique(classes, return_inverse=True, return_counts=True)
        # order by class, each class's rows as they were drawn; then of each class the first ones
        order = order[np.argsort(which[order], kind="stable")]
        rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        out = rank < np.repeat(_shares(counts, held_out), counts)
        order = np.concatenate([order[out], order[~out]])
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def folds(
    n: int, k: int, order_seed: int, classes: HostArray | None = None
) -> list[tuple[HostArray, HostArray]]:
    """Rows to train on and rows held out, each in ascending order (int32), of k folds.

    Each row is held out once. The rows are shuffled, and of each class dealt out in turn, so that
    folds differ by one row at most, of each class and in all.

    Args:
        n: how many rows.
        k: how many folds, from 2.
        order_seed: of the stream they are drawn from.
        classes: class of each row (n,), or None.

    Raises:
        ValueError: so many folds cannot be made.
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 2:
        raise ValueError(f"cv must be a whole number of folds from 2, or a splitter, not {k!r}")
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_SPLIT,)))
    order = stream.permutation(n).astype(np.int32)
    fewest, what = n, "samples"
    if classes is not None:
        fewest, what = int(np.unique(classes, return_counts=True)[1].min()), "samples of a class"
        order = order[np.argsort(classes[order], kind="stable")]
    if k > fewest:
        raise ValueError(f"cv={k} folds are more than there are {what}: {fewest}")
    dealt = [order[i::k] for i in range(k)]
    return [
        (np.sort(np.concatenate([*dealt[:i], *dealt[i + 1 :]])), np.sort(dealt[i]))
        for i in range(k)
    ]


def _shares(counts: HostArray, total: int) -> HostArray:
    """How many of each class to hold out: proportional by largest remainders, never a whole class.

    Raises:
        ValueError: so many rows cannot be held out.
    """
    n = int(counts.sum())
    if total > n - len(counts):
        raise ValueError(
            f"to hold out {total} of {n} rows leaves some of the {len(counts)} classes without a "
            "row to train on"
        )
    share = counts * (total / n)
    found = np.minimum(share.astype(int), counts - 1)
    for c in np.argsort(found - share, kind="stable"):
        found[c] += found.sum() < total and found[c] < counts[c] - 1
    while found.sum() < total:  # the remainders of classes that had no row to spare
        found[np.argmax(counts - 1 - found)] += 1
    return np.asarray(found)


def sample_rows(n: int, at_most: int) -> HostArray:
    """Rows evenly spread over n, the first and the last among them (int32)."""
    return np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int32)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` rows that cover n; the last is smaller where it must be."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))  # the standard has no slices past the end


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
