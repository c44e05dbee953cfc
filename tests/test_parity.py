"""One seed, one run, on every backend: what NumPy computes, to rounding."""

from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Run
from conftest import assert_same

# Products of different libraries sum in different orders. A step adds a few units in the last place
# of the weights' scale, and twelve steps of momentum 0.9 pass on at most ten times that.
RTOL = {"float32": 2e-5, "float64": 1e-13}
# Weights near 0 are differences of larger ones: relative to the largest, 1 or so.
ATOL = {"float32": 2e-6, "float64": 1e-14}


def run_on(name: str, device: Any, loss: str, dtype: str, **given: Any) -> Run:
    X, y = problems.PROBLEMS[loss]()
    return arraymlp.train(
        X,
        y,
        hidden=problems.HIDDEN,
        loss=loss,
        activation=given.pop("activation", "relu"),
        validation=(X, y),
        batch_size=problems.BATCH,
        epochs=4,
        dtype=dtype,
        backend=name,
        device=device,
        **given,
    )


def assert_parity(backend: Backend, dtype: str, loss: str, **given: Any) -> None:
    here = run_on("numpy", None, loss, dtype, **given)
    there = run_on(backend.name, backend.device, loss, dtype, **given)
    assert there.backend == backend
    assert there.history["step"] == here.history["step"]
    for column in ("loss", "validation_loss"):
        np.testing.assert_allclose(there.history[column], here.history[column], RTOL[dtype])
    for ours, theirs in zip(there.network.layers, here.network.layers, strict=True):
        for name in ("weights", "bias"):
            expected = backend.asarray(getattr(theirs, name))
            assert_same(getattr(ours, name), expected, RTOL[dtype], ATOL[dtype])


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_a_run_is_the_same_as_on_numpy(backend: Backend, dtype: str, loss: str) -> None:
    assert_parity(backend, dtype, loss)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu"])
def test_any_activation_trains_the_same_as_on_numpy(
    quick_backend: Backend, activation: str
) -> None:
    assert_parity(quick_backend, "float32", "softmax_cross_entropy", activation=activation)


def test_the_labs_settings_train_the_same_as_on_numpy(backend: Backend) -> None:
    assert_parity(
        backend, "float32", "softmax_cross_entropy", reduction="sum", shuffle=False, optimizer="sgd"
    )


def test_a_population_is_the_same_as_on_numpy(backend: Backend) -> None:
    assert_parity(
        backend,
        "float32",
        "softmax_cross_entropy",
        seed=(0, 1, 2),
        learning_rate=(0.02, 0.05, 0.1),
        optimizer="nesterov",
    )
