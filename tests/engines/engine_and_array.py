"""A run by an engine beside the same by the array code, for the tests of the engines."""

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
    by_engine, by_array = (
        arraymlp.train(X, y, dtype=dtype, backend="numpy", engine=engine, **settings)
        for engine in ("auto", "array")
    )
    return by_engine, by_array


def assert_alike(by_engine: Any, by_array: Any, rtol: float) -> None:
    for name in ("loss", "penalty"):
        if name in by_array.history.columns:
            np.testing.assert_allclose(by_engine.history[name], by_array.history[name], rtol=rtol)
    assert_same_parameters(by_engine.network, by_array.network, rtol)


def assert_same_parameters(by_engine: Any, by_array: Any, rtol: float) -> None:
    for a, b in zip(by_engine.layers, by_array.layers, strict=True):
        scale = float(np.max(np.abs(b.weights)))
        np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose(a.bias, b.bias, rtol=0, atol=rtol * max(scale, 1.0))
