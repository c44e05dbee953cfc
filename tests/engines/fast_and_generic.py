"""A run by a fast step beside the same by the generic one, for the tests of the kernels."""

from typing import Any

import numpy as np

import arraymlp


def problem(rng: np.random.Generator, loss: str, n: int, n_in: int, n_out: int) -> Any:
    X = rng.normal(size=(n, n_in))
    if loss == "softmax_cross_entropy":
        return X, np.concatenate([np.arange(n_out), rng.integers(0, n_out, n - n_out)])
    if loss == "binary_cross_entropy":
        return X, (rng.normal(size=(n, n_out)) > 0).astype(np.int64)
    return X, rng.normal(size=(n, n_out))


def both(X: Any, y: Any, dtype: str, **settings: Any) -> tuple[Any, Any]:
    fast, generic = (
        arraymlp.train(X, y, dtype=dtype, backend="numpy", fast=fast, **settings)
        for fast in (True, False)
    )
    return fast, generic


def assert_alike(fast: Any, generic: Any, rtol: float) -> None:
    for name in ("loss", "penalty"):
        if name in generic.history.columns:
            np.testing.assert_allclose(fast.history[name], generic.history[name], rtol=rtol)
    assert_same_parameters(fast.network, generic.network, rtol)


def assert_same_parameters(fast: Any, generic: Any, rtol: float) -> None:
    for a, b in zip(fast.layers, generic.layers, strict=True):
        scale = float(np.max(np.abs(b.weights)))
        np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose(a.bias, b.bias, rtol=0, atol=rtol * max(scale, 1.0))
