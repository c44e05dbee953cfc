"""Networks as graphs: the same predictions, of every activation, loss and kind of label."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx_runs = pytest.importorskip("onnx_runs", reason="onnx is not installed")

import arraymlp
from arraymlp import MultilayerPerceptron
from arraymlp.losses import Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.scaling import Scaling

ROWS = np.random.default_rng(0).normal(size=(40, 3))
ROWS[0] = 0
ROWS[1] *= 30


def network(sizes: Any = (3, 7, 6, 3), members: int | None = None, **how: Any) -> Any:
    """A network with biases and, in regression, scalings, for whatever comes of rows like these."""
    seed = 0 if members is None else range(members)
    made = MultilayerPerceptron.create(sizes, seed=seed, **how)
    random = np.random.default_rng(1)
    for layer in made.layers:
        layer.bias = random.normal(size=layer.bias.shape).astype(made.dtype)
    return made


def require_same(model: Any, expected: dict[str, Any], rows: np.ndarray, dtype: str) -> None:
    """The graph's outputs are these, of 0 rows, one, and all."""
    for n in (0, 1, len(rows)):
        for given_ in onnx_runs.outputs(model, {"X": rows[:n].astype(dtype)}):
            assert given_.keys() == expected.keys()
            for name, value in expected.items():
                value, there = np.asarray(value)[:n], given_[name]
                assert there.shape == value.shape, name
                if name == "label":
                    assert there.tolist() == value.tolist()
                    assert there.dtype in (np.int64, object)
                    continue
                assert there.dtype == value.dtype
                scale = np.abs(value).max(initial=1) if name in ("variable", "quantiles") else 1
                allowed = 1e-6 if dtype == "float32" else 1e-12
                np.testing.assert_allclose(there, value, rtol=0, atol=allowed * scale)
