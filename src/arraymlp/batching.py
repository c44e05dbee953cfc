"""Which rows make which minibatch: orders drawn on the host, rows taken on the device."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from arraymlp.backend import Array, Backend, HostArray

ROWS_AT_ONCE = 1000  # a hidden layer's values for so many rows stay in the processor's cache
_ORDER, _SPLIT = 1, 2  # streams of their own, so that one draw never shifts another


def epoch_order(n: int, order_seed: int, epoch: int) -> HostArray:
    """A permutation of n rows (int32), a function of seed and epoch alone: a run can go on."""
    stream = np.random.SeedSequence(order_seed, spawn_key=(_ORDER, epoch))
    return np.random.default_rng(stream).permutation(n).astype(np.int32)


def split(n: int, fraction: float, order_seed: int) -> tuple[HostArray, HostArray]:
    """Rows to train on and rows held out, each in ascending order (int32).

    Raises:
        ValueError: the fraction is not between 0 and 1, or leaves one side empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a validation fraction must lie between 0 and 1, not {fraction!r}")
    held_out = round(n * fraction)
    if held_out in (0, n):
        raise ValueError(f"a validation fraction of {fraction:g} leaves one side of {n} rows empty")
    stream = np.random.SeedSequence(order_seed, spawn_key=(_SPLIT,))
    order = np.random.default_rng(stream).permutation(n).astype(np.int32)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def sample_rows(n: int, at_most: int) -> HostArray:
    """Rows evenly spread over n, the first and the last among them (int32)."""
    return np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int32)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` rows that cover n; the last is smaller where it must be."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))  # the standard has no slices past the end


def minibatches(
    X: Array,
    y: Array,
    batch_size: int,
    order: HostArray | None,
    drop_last: bool,
    backend: Backend,
    skip: int = 0,
) -> Iterator[tuple[Array, Array]]:
    """Yield X and y by ``batch_size`` rows, in file order (views) or in the order given.

    The order is uploaded once. The last minibatch is smaller, or dropped, where rows are left over;
    the first ``skip`` minibatches are left out.
    """
    xp = backend.xp
    n = X.shape[0]
    end = n - n % batch_size if drop_last else n
    rows = None if order is None else backend.asarray(order)
    for block in islice(blocks(end, batch_size), skip, None):
        if rows is None:
            yield X[block, :], y[block, ...]
        else:
            some = rows[block]
            yield xp.take(X, some, axis=0), xp.take(y, some, axis=0)
