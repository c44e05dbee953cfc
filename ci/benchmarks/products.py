"""The bare matrix products of a training epoch, which no step can do without."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from arraymlp.backends.array import HostArray


def bare_epoch(X: HostArray, sizes: Sequence[int], batch: int) -> Callable[[], None]:
    """A function that makes all products of an epoch over X, into preallocated outputs.

    Args:
        X: (n, n_0); n is a multiple of ``batch``.
        sizes: the widths n_0, n_1, ..., from inputs to outputs.
        batch: rows a step.
    """
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal(shape) / 100).astype(X.dtype) for shape in pairwise(sizes)]
    sums = [np.empty((batch, n), X.dtype) for n in sizes[1:]]
    gradients = [np.empty_like(w) for w in weights]

    def epoch() -> None:
        for start in range(0, len(X), batch):
            passes = [X[start : start + batch], *sums]
            for x, w, s in zip(passes, weights, sums, strict=False):
                np.matmul(x, w, out=s)
            for i in reversed(range(len(weights))):
                np.matmul(passes[i].T, sums[i], out=gradients[i])
                if i > 0:
                    np.matmul(sums[i], weights[i].T, out=sums[i - 1])

    return epoch


def folded_epoch(
    X: HostArray, sizes: Sequence[int], batch: int, members: int
) -> Callable[[], None]:
    """The products of an epoch of K networks that share their minibatches.

    Those of the first layer are one product each for all members, (n_0, K n_1); the others are
    stacked. Arguments as of `bare_epoch`.
    """
    rng = np.random.default_rng(0)
    k, dtype = members, X.dtype
    wide = (rng.standard_normal((sizes[0], k * sizes[1])) / 100).astype(dtype)
    weights = [
        (rng.standard_normal((k, *shape)) / 100).astype(dtype) for shape in pairwise(sizes[1:])
    ]
    first, wide_gradient = np.zeros((batch, k * sizes[1]), dtype), np.empty_like(wide)
    sums = [np.zeros((k, batch, n), dtype) for n in sizes[1:]]
    gradients = [np.empty_like(w) for w in weights]

    def epoch() -> None:
        for start in range(0, len(X), batch):
            x = X[start : start + batch]
            np.matmul(x, wide, out=first)
            for i, w in enumerate(weights):
                np.matmul(sums[i], w, out=sums[i + 1])
            for i in reversed(range(len(weights))):
                np.matmul(sums[i].mT, sums[i + 1], out=gradients[i])
                np.matmul(sums[i + 1], weights[i].mT, out=sums[i])
            np.matmul(x.T, first, out=wide_gradient)

    return epoch
