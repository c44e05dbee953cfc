"""Shards of minibatches, and the stripes of rows that they are drawn from.

A shard is a run of positions in a minibatch: of B rows and S shards, shard s has the positions from
floor(B s / S) on. Where rows are read window by window, each window is cut into S stripes of
neighbouring rows, and shard s of each minibatch is drawn from stripe s alone. So a process that has
some of the shards reads some stripes, and no other row; and which rows a minibatch has hangs on S,
and not on how many processes there are.
"""

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.blocks import blocks


def bounds(n: int, parts: int) -> list[int]:
    """Where each of so many parts of n begins, and n."""
    return [n * i // parts for i in range(parts + 1)]


def owned(shards: int, rank: int, size: int) -> range:
    """The shards of one of ``size`` processes."""
    ends = bounds(shards, size)
    return range(ends[rank], ends[rank + 1])


def rows_of_shards(rows: int, batch_size: int, shards: int) -> HostArray:
    """How many rows each shard (columns) of each minibatch (lines) of a window has, (J, S)."""
    sizes = np.array([block.stop - block.start for block in blocks(rows, batch_size)])
    ends = sizes[:, None] * np.arange(shards + 1) // shards
    return np.diff(ends, axis=1)


def striped_order(
    rows: int, batch_size: int, shards: int, stream: np.random.Generator
) -> HostArray:
    """An order of the rows of a window in which each shard comes from its own stripe, (rows,)."""
    counts = rows_of_shards(rows, batch_size, shards)
    lengths = counts.sum(axis=0)
    starts = np.cumsum(lengths) - lengths
    drawn = [start + stream.permutation(n) for start, n in zip(starts, lengths, strict=True)]
    before = np.cumsum(counts, axis=0) - counts
    pieces = [
        drawn[s][first : first + n]
        for firsts, its_counts in zip(before.tolist(), counts.tolist(), strict=True)
        for s, (first, n) in enumerate(zip(firsts, its_counts, strict=True))
    ]
    return np.concatenate(pieces)


def own_rows(rows: int, batch_size: int, shards: int, mine: range, in_order: bool) -> HostArray:
    """The rows of a window that some neighbouring shards have, ascending.

    Args:
        rows: of the window.
        batch_size: of a minibatch.
        shards: of all.
        mine: those shards.
        in_order: whether minibatches are of rows as they stand, and not drawn from stripes.
    """
    counts = rows_of_shards(rows, batch_size, shards)
    if in_order:
        first = counts[:, : mine.start].sum(axis=1)
        stop = first + counts[:, mine.start : mine.stop].sum(axis=1)
        starts = [block.start for block in blocks(rows, batch_size)]
        pieces = [s + np.arange(a, b) for s, a, b in zip(starts, first, stop, strict=True)]
        return np.concatenate(pieces)
    ends = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    return np.arange(ends[mine.start], ends[mine.stop])
