"""Learns what standardises columns: their means and standard deviations, of the training rows."""

from collections.abc import Iterator

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import blocks
from arraymlp.data.data import take_rows
from arraymlp.data.stream import Streamed
from arraymlp.nn.scaling import Scaling, root_mean_square

CACHE = 2 * 2**20  # bytes of a block's rows, which several passes go over


def scales_features(standardize: bool | str) -> bool:
    """True where the features are standardised."""
    return standardize in (True, "features")


def scales_targets(standardize: bool | str) -> bool:
    """True where targets that are numbers are standardised."""
    return standardize in (True, "targets")


def learn_scaling(
    X: Array | HostArray | Streamed, backend: Backend, rows: HostArray | None = None
) -> Scaling:
    """The scaling that gives each column of X (N, n) mean 0 and variance 1, in float64.

    A column that does not vary is only centred, as scikit-learn's StandardScaler does it; what is
    left of it, which is rounding, stays within 1. Values that are not finite are left out. The
    variance divides by N.

    Args:
        X: as it was given, so that no digit is lost.
        backend: of an array on a device.
        rows: the numbers of those it is learnt of; None for all.
    """
    mean, deviation, farthest = _moments(X, backend, rows)
    return Scaling(mean, np.where(deviation == 0, np.maximum(farthest, 1.0), deviation))


def moments(X: Array | HostArray | Streamed, backend: Backend) -> tuple[HostArray, HostArray]:
    """Mean and standard deviation (n,) of each column of X (N, n), in float64, as above.

    The deviation of a column that does not vary, but for rounding, is 0.
    """
    return _moments(X, backend)[:2]


def _moments(
    X: Array | HostArray | Streamed, backend: Backend, rows: HostArray | None = None
) -> tuple[HostArray, HostArray, HostArray]:
    """Mean, standard deviation, and the largest distance from the mean, of each column."""
    with np.errstate(all="ignore"):
        origin: HostArray = np.full(X.shape[1], np.nan)  # a value of the column's own:
        count, total = np.zeros((2, X.shape[1]))  # with it, the mean of a constant one is exact
        lowest, highest = np.zeros((2, X.shape[1]))
        for x in _host_blocks(X, backend, rows):
            finite = np.isfinite(x)
            if finite.all():
                origin = np.where(np.isnan(origin), x[0], origin)
                distance = x - origin
                count = count + len(x)
            else:
                first = np.take_along_axis(x, finite.argmax(axis=0)[None], axis=0)[0]
                origin = np.where(np.isnan(origin) & finite.any(axis=0), first, origin)
                distance = np.where(finite, x - origin, 0.0)
                count = count + finite.sum(axis=0)
            total = total + distance.sum(axis=0)
            lowest = np.minimum(lowest, distance.min(axis=0))
            highest = np.maximum(highest, distance.max(axis=0))
        shift = total / np.maximum(count, 1)
        mean = np.nan_to_num(origin) + shift
        farthest = np.maximum(highest - shift, shift - lowest)
        unit = np.where(farthest > 0, farthest, 1.0)  # squares of huge values would overflow
        squares: HostArray = np.zeros(X.shape[1])
        for x in _host_blocks(X, backend, rows):
            distance = (x - mean) / unit
            finite = np.isfinite(x)
            if not finite.all():
                distance[~finite] = 0.0
            squares = squares + np.einsum("ij,ij->j", distance, distance)
        deviation = unit * np.sqrt(squares / np.maximum(count, 1))
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return mean, np.where(constant, 0.0, deviation), farthest


def learn_target_scaling(
    y: Array | HostArray,
    standardize: bool | str,
    backend: Backend,
    rows: HostArray | None = None,
) -> Scaling:
    """The scaling of targets (N, T): with one scale for all, unless ``standardize`` is True.

    That is the root mean square of their standard deviations. A loss of several columns is then
    divided by one number, and keeps its minimum. Columns that do not vary have no part in it, and
    take it over: a scale of 1 beside far smaller or larger ones would be another loss.
    """
    mean, deviation, farthest = _moments(y, backend, rows)
    varies = deviation > 0
    if not varies.any():
        return learn_scaling(y, backend, rows)
    common = root_mean_square(deviation[varies])
    scale = np.where(varies, deviation, np.maximum(farthest, common))
    return Scaling(mean, scale if standardize is True else np.full_like(scale, common))


def _host_blocks(
    X: Array | HostArray | Streamed, backend: Backend, rows: HostArray | None
) -> Iterator[HostArray]:
    """The rows, or some of them, in float64 on the host, a block at a time."""
    if isinstance(X, Streamed):
        yield from (X if rows is None else X.kept(rows)).host_blocks()
        return
    n = X.shape[0] if rows is None else len(rows)
    for block in blocks(n, max(1, CACHE // (8 * X.shape[1]))):
        if isinstance(X, np.ndarray):
            yield np.asarray(X[block if rows is None else rows[block]], dtype=np.float64)
        else:
            part = X[block, :] if rows is None else take_rows(X, rows[block], backend)
            yield backend.exact_on_host(part)
