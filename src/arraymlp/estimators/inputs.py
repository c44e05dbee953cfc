"""What users pass to the estimators, checked as scikit-learn checks it, and where it belongs.

Everything follows X: its namespace and device are the estimator's *home*. Arrays on the host go
through scikit-learn's own checks. Device arrays stay where they are; of them scikit-learn checks
names and number of features, and `arraymlp.data.inputs` the rest.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of, resolve
from arraymlp.data.stream import is_sparse

Dtypes = Sequence[Any] | np.dtype[Any]


def on_host(values: Any) -> Any:
    """A device array's values on the host; anything else as it is."""
    return backend_of(values).to_numpy(values) if is_device_array(values) else values


def home_of(X: Any) -> Backend:
    """The backend whose arrays X is of; NumPy's for whatever is no device array."""
    return backend_of(X) if is_device_array(X) else resolve("numpy")


def backend_for(X: Any, backend: str | Backend | None, device: Any) -> Backend:
    """Where to train: where X is, unless a backend is named.

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


def checked_input(estimator: Any, X: Any, dtypes: Dtypes, *, reset: bool = False) -> Any:
    """X as a 2-D array of numbers or a sparse matrix on the host, or as it is on a device."""
    if is_device_array(X):
        if len(X.shape) != 2:
            raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead.")
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    return validate_data(estimator, X, reset=reset, accept_sparse=["csr", "csc"], dtype=dtypes)


def checked_pair(
    estimator: Any, X: Any, y: Any, dtypes: Dtypes, *, numeric: bool, reset: bool
) -> tuple[Any, HostArray]:
    """X as `checked_input` has it; y on the host, (n_samples,) or (n_samples, n) or sparse.

    Args:
        estimator: whose number and names of features X must have, or with ``reset`` gives.
        X: the samples.
        y: their targets.
        dtypes: that X may have on the host; another becomes the first.
        numeric: whether y must be numbers.
        reset: whether this is the data that the estimator is fitted to.
    """
    y = on_host(y)
    if is_device_array(X) and y is not None:
        X = checked_input(estimator, X, dtypes, reset=reset)
        kind = {"dtype": "numeric" if numeric else None, "accept_sparse": "csr"}
        y = check_array(y, ensure_2d=False, input_name="y", estimator=estimator, **kind)
        check_consistent_length(np.empty(X.shape[0]), y)
    else:
        X, y = validate_data(
            estimator,
            X,
            y,
            reset=reset,
            accept_sparse=["csr", "csc"],
            dtype=dtypes,
            multi_output=True,
            y_numeric=numeric,
        )
    if numeric and y.dtype.kind not in "biuf":
        raise ValueError(f"y must be numbers, not of dtype {y.dtype}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y.toarray() if is_sparse(y) else y, warn=True)
    return X, y


def checked_weight(sample_weight: Any, n: int, dtypes: Dtypes) -> HostArray | None:
    """Sample weights (n,) on the host, or None."""
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


def split(
    n: int, fraction: float, strata: HostArray | None, random: np.random.RandomState
) -> tuple[HostArray, HostArray]:
    """Rows of n to train on, and those held out, the same ones as scikit-learn."""
    rows, held_out = train_test_split(
        np.arange(n), random_state=random, test_size=fraction, stratify=strata
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    return rows, held_out


def taken(X: Any, y: HostArray, weight: HostArray | None, rows: Any) -> tuple[Any, ...]:
    """These rows of (X, y, weight), X on the host, sparse, or on a device."""
    if is_device_array(X):
        chosen = backend_of(X)
        with chosen.active():
            x = chosen.xp.take(X, chosen.asarray(rows), axis=0)
    else:
        x = X[rows]
    return x, y[rows], None if weight is None else weight[rows]
