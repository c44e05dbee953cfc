"""Held-out rows: a fraction or folds, drawn on the host from a seed, stratified by class."""

from numbers import Integral

import numpy as np

from arraymlp.backends.array import HostArray

_SPLIT = 2  # a random stream of its own: initial values have 0, minibatch orders 1, dropout 3


def split(
    n: int, fraction: float, order_seed: int, classes: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    """Rows to train on and rows held out, each in ascending order (int32).

    Args:
        n: the number of rows.
        fraction: of them to hold out, rounded to whole rows.
        order_seed: the seed of the random stream.
        classes: class of each row (n,), to hold out the same fraction of each but for rounding; a
            class's last row is never held out.

    Raises:
        ValueError: the fraction is not between 0 and 1, or leaves one side empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a validation fraction must lie between 0 and 1, not {fraction!r}")
    held_out = round(n * fraction)
    if held_out in (0, n):
        raise ValueError(
            f"a validation fraction of {fraction:g} leaves one side of {n} rows empty: with so "
            "few, train on all of them, without early stopping"
        )
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_SPLIT,)))
    order = stream.permutation(n).astype(np.int32)
    if classes is not None:
        _, positions, counts = np.unique(classes, return_inverse=True, return_counts=True)
        # sorted by class, each class's rows as they were drawn; then the first ones of each class
        order = order[np.argsort(positions[order], kind="stable")]
        rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        is_out = rank < np.repeat(_shares(counts, held_out), counts)
        order = np.concatenate([order[is_out], order[~is_out]])
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def folds(
    n: int, k: int, order_seed: int, classes: HostArray | None = None
) -> list[tuple[HostArray, HostArray]]:
    """Rows to train on and rows held out, each in ascending order (int32), of k folds.

    Each row is held out once. The rows are shuffled, sorted by class and dealt out in turn, so that
    the numbers of rows in folds differ by at most one, in all and for each class.

    Args:
        n: the number of rows.
        k: the number of folds, from 2.
        order_seed: the seed of the random stream.
        classes: class of each row (n,), or None.

    Raises:
        ValueError: k is no such number, or larger than the number of rows, or of a class's rows.
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 2:
        raise ValueError(f"cv must be a whole number of folds from 2, or a splitter, not {k!r}")
    fewest, what = n, "samples"
    if classes is not None:
        fewest, what = int(np.unique(classes, return_counts=True)[1].min()), "samples of a class"
    if k > fewest:
        raise ValueError(f"cv={k} folds are more than there are {what}: {fewest}")
    return dealt(n, k, order_seed, classes)


def dealt(
    n: int, k: int, order_seed: int, classes: HostArray | None = None
) -> list[tuple[HostArray, HostArray]]:
    """`folds`, from 2 to n, which may have none of a rare class's rows to hold out, or all."""
    stream = np.random.default_rng(np.random.SeedSequence(order_seed, spawn_key=(_SPLIT,)))
    order = stream.permutation(n).astype(np.int32)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    parts = [order[i::k] for i in range(k)]
    return [
        (np.sort(np.concatenate([*parts[:i], *parts[i + 1 :]])), np.sort(parts[i]))
        for i in range(k)
    ]


def _shares(counts: HostArray, total: int) -> HostArray:
    """The number to hold out of each class: proportional by largest remainders, no whole class.

    Raises:
        ValueError: so many rows cannot be held out.
    """
    n = int(counts.sum())
    if total > n - len(counts):
        raise ValueError(
            f"to hold out {total} of {n} rows leaves some of the {len(counts)} classes without a "
            "row to train on"
        )
    exact = counts * (total / n)
    shares = np.minimum(exact.astype(int), counts - 1)
    for c in np.argsort(shares - exact, kind="stable"):
        shares[c] += shares.sum() < total and shares[c] < counts[c] - 1
    while shares.sum() < total:  # the remainders of classes that had no row to spare
        shares[np.argmax(counts - 1 - shares)] += 1
    return np.asarray(shares)


def sample_rows(n: int, at_most: int) -> HostArray:
    """Row numbers evenly spread over n rows, with the first and the last (int32)."""
    return np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int32)
