"""The user's numbers, checked and brought to the device; features are all of that."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from arraymlp._checks import require_table, require_width
from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks
from arraymlp.nn.scaling import Scaling


def features(
    X: Any,
    backend: Backend,
    dtype: str,
    *,
    n_features: int | None = None,
    what: str = "X",
    scaling: Scaling | None = None,
) -> Array:
    """Return X as (N, n_features) of ``dtype`` on the backend's device; X is never written.

    Args:
        X: anything `numpy.asarray` takes, or an array on the device.
        backend: of the result.
        dtype: of the result.
        n_features: the width that X must have; None for any.
        what: the argument's name, for messages.
        scaling: applied to it, before it is rounded to ``dtype``; of all members alike.

    Raises:
        ValueError: X is not 2-D, empty, of another width, not numeric, not finite, or on another
            device.
    """
    rows = table(X, backend, what, n_features)
    if isinstance(rows, np.ndarray):  # to take rows of others, NumPy would copy all of it each time
        rows = np.ascontiguousarray(rows)
    return finite(rows, backend, dtype, what, scaling)


def table(X: Any, backend: Backend, what: str, n_features: int | None) -> Array | HostArray:
    """X as an array (N, n_features) of numbers, of the dtype it has, where it is.

    Raises:
        ValueError: as of `features`, but for what is not finite.
    """
    rows = numeric(X, backend, what)
    require_table(rows.shape, what)
    require_width(rows.shape[1], n_features, what)
    return rows


def numeric(values: Any, backend: Backend, what: str, *, labels: bool = False) -> Array | HostArray:
    """The values as an array of numbers, on the host or on the backend's device.

    Args:
        values: anything `numpy.asarray` takes, or an array on the device.
        backend: whose device that is.
        what: the argument's name, for messages.
        labels: whether they may be labels, which stay integers or are refused.

    Raises:
        ValueError: they are masked, ragged, not numeric, or on another device.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} is a masked array, whose mask would be lost: fill it first")
    array: Array | HostArray
    if is_device_array(values):
        array = values
        backend.require(array, what)
        is_numeric = backend.xp.isdtype(array.dtype, ("bool", "integral", "real floating"))
    else:
        try:
            array = np.asarray(values)
        except ValueError as error:  # ragged lists
            raise ValueError(f"{what} is not an array: {error}") from error
        if array.dtype == object and not labels:
            array = _frame(values, array)
        is_numeric = array.dtype.kind in "biuf"
    if not is_numeric:
        remedy = _remedy(array) if isinstance(array, np.ndarray) else ""
        raise ValueError(f"{what} must be numeric, not of dtype {array.dtype}{remedy}")
    return array


def _frame(values: Any, array: HostArray) -> HostArray:
    """A pandas data frame of numbers, booleans and nullable columns as float64, NaN for missing.

    Anything else, such as one with dates or text, is left as it is, to be refused.
    """
    dtypes = getattr(values, "dtypes", None)
    try:
        if not all(dtype.kind in "biuf" for dtype in dtypes):  # type: ignore[union-attr]
            return array
        return np.asarray(values.to_numpy(dtype="float64", na_value=np.nan))
    except (AttributeError, TypeError, ValueError):  # no data frame, or not one of numbers
        return array


def _remedy(array: HostArray) -> str:
    """How to make numbers of an array that holds none, for the end of a message."""
    first = array.ravel()[:100]
    if array.dtype.kind in "US" or any(isinstance(value, str | bytes) for value in first):
        return "; text has to be encoded as numbers: encode=True does it of a data frame"
    return "; convert it, as with astype('float32')" if array.dtype == object else ""


def all_finite(values: Array, backend: Backend) -> bool:
    """True where no value is NaN or infinite, told from their sum, which is neither then.

    For a sum CuPy has a kernel ready; for ``all(isfinite(...))`` it would compile two, for seconds.
    The sum of huge numbers may be infinite, too: then they are looked at one by one, on the host.
    """
    with backend.active(), np.errstate(over="ignore", invalid="ignore"):
        total = float(backend.xp.sum(values))
    return isfinite(total) or bool(np.isfinite(backend.to_numpy(values)).all())


def finite(
    values: Array | HostArray,
    backend: Backend,
    dtype: str,
    what: str,
    scaling: Scaling | None = None,
) -> Array:
    """Convert and upload (N, n) values, standardised; a ValueError names the first not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if scaling is None:
            uploaded = backend.asarray(values, dtype)
        else:
            uploaded = _scaled(values, backend, dtype, scaling)
    if all_finite(uploaded, backend):
        return uploaded
    given = values if isinstance(values, np.ndarray) else backend.exact_on_host(values)
    raise ValueError(not_finite(given, backend.to_numpy(uploaded), what))


def not_finite(
    given: HostArray, converted: HostArray, what: str, rows: Sequence[int] | HostArray | None = None
) -> str:
    """The message for values that are not all finite once they are standardised and converted.

    Args:
        given: (N, n), as the user gave them.
        converted: of the same shape.
        what: the name of the data.
        rows: their row numbers there; None for those from 0.
    """
    bad = ~np.isfinite(converted)
    i, column = np.argwhere(bad)[0]
    row, value = i if rows is None else rows[i], given[i, column]
    with np.errstate(over="ignore"):
        rounded = value.astype(converted.dtype)
    if np.isfinite(rounded):
        return (
            f"{what}[{row}, {column}] is {value}, too far from the training rows for {what} to be "
            f"standardised as they were, in {converted.dtype}"
        )
    return (
        f"{what} must be finite, but {what}[{row}, {column}] is {rounded} as {converted.dtype} "
        f"({int(bad.sum())} such values in all)"
    )


def _scaled(values: Array | HostArray, backend: Backend, dtype: str, scaling: Scaling) -> Array:
    """Values (N, n), standardised in float64: there, or where the device has none, on the host."""
    if isinstance(values, np.ndarray):
        return backend.asarray(scaled_rows(values, dtype, scaling))
    if backend.widest != "float64":
        return backend.asarray(scaled_rows(backend.exact_on_host(values), dtype, scaling))
    apply = scaling.applier(backend, "float64")
    parts = [
        backend.asarray(apply(backend.asarray(values[rows, :], "float64")), dtype)
        for rows in blocks(values.shape[0], ROWS_AT_ONCE)
    ]
    return backend.xp.concat(parts, axis=0)


def scaled_rows(values: HostArray, dtype: str, scaling: Scaling) -> HostArray:
    """Values (N, n) on the host, standardised in float64 and then rounded to ``dtype``."""
    scaled = np.empty(values.shape, dtype)
    for rows in blocks(len(values), ROWS_AT_ONCE):
        scaled[rows] = scaling.exactly(values[rows])
    return scaled
