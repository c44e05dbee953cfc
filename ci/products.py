"""The bare matrix products of a training epoch: what no step can do without."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from arraymlp.backend import HostArray


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
