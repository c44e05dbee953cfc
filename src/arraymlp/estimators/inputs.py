"""What users pass to the estimators, checked as scikit-learn checks it, and where it belongs.

Everything follows X: its namespace and device are the estimator's *home*. Arrays on the host go
through scikit-learn's own checks. Device arrays stay where they are; of them scikit-learn checks
names and number of features, and `arraymlp.data.inputs` the rest.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of, resolve
from arraymlp.data.sources import is_sparse


class SparseRows(Protocol):
    """A SciPy sparse matrix or array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_samples, n_features)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its numbers."""

    def toarray(self) -> HostArray:
        """All of its numbers, zeros included."""


# What users pass: lists, frames, NumPy's arrays, device arrays, sparse matrices.
RowsLike: TypeAlias = ArrayLike | Array | SparseRows
# What the checks make of it: the user's own array where that needs no conversion.
Rows: TypeAlias = HostArray | Array | SparseRows
Dtypes: TypeAlias = Sequence[type[np.floating[Any]]] | np.dtype[Any]


class Samples(NamedTuple):
    """Rows with their targets, checked.

    Attributes:
        X: (n_samples, n_features).
        y: the encoded targets, on the host.
        weight: (n_samples,) weights, on the host; None where all samples count alike.
    """

    X: Rows
    y: HostArray
    weight: HostArray | None = None


def on_host(values: Any) -> Any:
    """A device array's values on the host; anything else as it is."""
    return backend_of(values).to_numpy(values) if is_device_array(values) else values


def home_of(X: Any) -> Backend:
    """The backend whose arrays X is of; NumPy's for whatever is no device array."""
    return backend_of(X) if is_device_array(X) else resolve("numpy")


def backend_for(X: Any, backend: str | Backend | None, device: object) -> Backend:
    """The backend to train on: X's own, unless one is named.

    Raises:
        ValueError: X is a device array on another backend than that, or on another device.
    """
    if backend is None or backend == "auto":
        name = "numpy" if backend is None and not is_device_array(X) else "auto"
        return resolve(name, device, like=X)
    chosen = resolve(backend, device)
    if is_device_array(X):
        chosen.require(X, "X")
    return chosen


def checked_input(estimator: BaseEstimator, X: Any, dtypes: Dtypes, *, reset: bool = False) -> Rows:
    """X as a 2-D array of numbers or a sparse matrix on the host, or as it is on a device."""
    if is_device_array(X):
        if len(X.shape) != 2:
            raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead.")
        rows: Rows = validate_data(estimator, X, reset=reset, skip_check_array=True)
    else:
        rows = validate_data(estimator, X, reset=reset, accept_sparse=["csr", "csc"], dtype=dtypes)
    return rows


def checked_pair(
    estimator: BaseEstimator,
    X: RowsLike,
    y: RowsLike,
    dtypes: Dtypes,
    *,
    numeric: bool,
    reset: bool,
) -> tuple[Rows, Any]:
    """X as `checked_input` has it; y on the host, (n_samples,) or (n_samples, n) or sparse.

    Args:
        estimator: whose number and names of features X must have, or with ``reset`` gives.
        X: the samples.
        y: their targets.
        dtypes: that X may have on the host; another becomes the first.
        numeric: whether y must be numbers.
        reset: whether this is the data that the estimator is fitted to.
    """
    rows: Rows
    targets = on_host(y)
    if is_device_array(X) and y is not None:
        rows = checked_input(estimator, X, dtypes, reset=reset)
        targets = check_array(
            targets,
            dtype="numeric" if numeric else None,
            accept_sparse="csr",
            ensure_2d=False,
            input_name="y",
            estimator=estimator,
        )
        check_consistent_length(np.empty(rows.shape[0]), targets)
    else:
        rows, targets = validate_data(
            estimator,
            X,
            targets,
            reset=reset,
            accept_sparse=["csr", "csc"],
            dtype=dtypes,
            multi_output=True,
            y_numeric=numeric,
        )
    if numeric and targets.dtype.kind not in "biuf":
        raise ValueError(f"y must be numbers, not of dtype {targets.dtype}")
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = column_or_1d(targets.toarray() if is_sparse(targets) else targets, warn=True)
    return rows, targets


def checked_weight(sample_weight: RowsLike | None, n: int, dtypes: Dtypes) -> HostArray | None:
    """Sample weights (n,) on the host, or None.

    Raises:
        ValueError: they are not n finite numbers from 0, or all are 0.
    """
    if sample_weight is None:
        return None
    weight = on_host(sample_weight)
    if isinstance(weight, Real):
        weight = np.full(n, float(weight))
    weight = check_array(weight, ensure_2d=False, dtype=dtypes, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array. Expected either "
            f"a scalar value or a 1D array of length {n}."
        )
    if weight.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n,)}!")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if (weight < 0).any():
        raise ValueError(f"sample_weight must not be negative, but {weight.min()} is among them")
    return np.asarray(weight)
