"""Rows held out: a fraction or folds, drawn on the host from a seed, of each class alike."""

from numbers import Integral

import numpy as np

from arraymlp.backends.array import HostArray

_SPLIT = 2  # its stream: initial values have 0, minibatch orders 1, dropout 3


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
