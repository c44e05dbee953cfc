"""Learns what standardises columns: their means and standard deviations, of the training rows."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks
from arraymlp.data.stream import Streamed
from arraymlp.nn.scaling import Scaling, scale_together


def scales_features(standardize: bool | str) -> bool:
    """True where the features are standardised."""
    return standardize in (True, "features")


def scales_targets(standardize: bool | str) -> bool:
    """True where targets that are numbers are standardised."""
    return standardize in (True, "targets")


def learn_scaling(X: Array | HostArray | Streamed, backend: Backend) -> Scaling:
    """The scaling that gives each column of X (N, n) mean 0 and variance 1, in float64.

    A column that does not vary is only centred, as scikit-learn's StandardScaler does it. Values
    that are not finite are left out. The variance divides by N.
    """
    mean, deviation = moments(X, backend)
    return Scaling(mean, np.where(deviation == 0, 1.0, deviation))


def moments(X: Array | HostArray | Streamed, backend: Backend) -> tuple[HostArray, HostArray]:
    """Mean and standard deviation (n,) of each column of X (N, n), in float64, as above.

    The deviation of a column that does not vary, but for rounding, is 0.
    """
    with np.errstate(all="ignore"):
        return _moments(X, backend)


def _moments(X: Array | HostArray | Streamed, backend: Backend) -> tuple[HostArray, HostArray]:
    passes = _host_blocks if isinstance(X, np.ndarray | Streamed) else _device_blocks
    count, total = _sums(passes(X, backend), lambda x: x)
    count = np.maximum(count, 1)
    mean = total / count
    largest = np.max([_largest(x - mean) for x in passes(X, backend)], axis=0)
    unit = np.where(largest > 0, largest, 1.0)  # squares of huge values would overflow
    _, squares = _sums(passes(X, backend), lambda x: ((x - mean) / unit) ** 2)
    deviation = unit * np.sqrt(squares / count)
    constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(constant, 0.0, deviation)


def learn_target_scaling(
    y: Array | HostArray, standardize: bool | str, backend: Backend
) -> Scaling:
    """The scaling of targets (N, T): with one scale for all, unless ``standardize`` is True."""
    scaling = learn_scaling(y, backend)
    return scaling if standardize is True else scale_together(scaling)


def _sums(parts: Iterable[HostArray], figure: Any) -> tuple[HostArray, HostArray]:
    """Of each column the number of finite values, and the sum of a figure of theirs."""
    count: Any = 0
    total: Any = 0.0
    for x in parts:
        finite = np.isfinite(x)
        count = count + finite.sum(axis=0)
        total = total + np.where(finite, figure(x), 0.0).sum(axis=0)
    return count, total


def _largest(x: HostArray) -> HostArray:
    """The largest absolute finite value of each column."""
    return np.asarray(np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=0))


def _host_blocks(X: Any, backend: Backend) -> Iterable[HostArray]:
    """The rows in float64, some at a time."""
    if isinstance(X, Streamed):
        yield from X.host_blocks()
        return
    for rows in blocks(len(X), ROWS_AT_ONCE):
        yield np.asarray(X[rows], dtype=np.float64)


def _device_blocks(X: Any, backend: Backend) -> Iterable[HostArray]:
    """The rows of an array on a device, brought to the host some at a time."""
    for rows in blocks(X.shape[0], ROWS_AT_ONCE):
        yield backend.to_numpy(X[rows, :]).astype(np.float64)
