"""Small data sets that the tests share. One shape for all, since JAX compiles for each shape."""

from typing import Any

import numpy as np

from arraymlp import Backend

N, FEATURES, CLASSES = 24, 4, 3
BATCH = 8  # three full minibatches
HIDDEN = (6, 5)
# Of tests that are about something else: one rate, and targets as they are given, so that figures
# and tolerances stay what they are where the defaults change.
PLAIN: dict[str, Any] = {"optimizer": "momentum", "standardize": False}

HostArray = np.ndarray[Any, Any]


def _rows() -> HostArray:
    return np.random.default_rng(20).normal(size=(N, FEATURES))


def labels() -> tuple[HostArray, HostArray]:
    """X, and one of three classes a row that X decides."""
    X = _rows()
    return X, np.argmax(X @ np.random.default_rng(21).normal(size=(FEATURES, CLASSES)), axis=1)


def columns() -> tuple[HostArray, HostArray]:
    """X, and three columns of 0 and 1."""
    X = _rows()
    scores = X @ np.random.default_rng(22).normal(size=(FEATURES, CLASSES))
    return X, (scores > 0).astype(np.int64)


def numbers() -> tuple[HostArray, HostArray]:
    """X, and three columns of numbers."""
    X = _rows()
    return X, np.sin(X @ np.random.default_rng(23).normal(size=(FEATURES, CLASSES)))


def counts() -> tuple[HostArray, HostArray]:
    """X, and three columns of counts."""
    X = _rows()
    rate = np.exp(X @ np.random.default_rng(24).normal(0, 0.2, size=(FEATURES, CLASSES)))
    return X, np.random.default_rng(25).poisson(rate)


PROBLEMS = {
    "softmax_cross_entropy": labels,
    "binary_cross_entropy": columns,
    "squared_error": numbers,
    "absolute_error": numbers,
    "huber": numbers,
    "poisson": counts,
    "quantile": numbers,
}


def dtypes_of(backend: Backend) -> list[str]:
    """Those of the two dtypes that a backend has: JAX, as it is by default, has float32 alone."""
    return [name for name in ("float32", "float64") if backend.has(name)]
