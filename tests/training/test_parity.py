"""One seed, one run, on every backend: what NumPy computes, to rounding."""

from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Run
from arraymlp.nn.dropout import Dropout
from arraymlp.steps.optimizers import Adam
from arraymlp.steps.schedules import Cosine
from arraymlp.training.early_stopping import EarlyStopping
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
        batch_size=problems.BATCH,
        dtype=dtype,
        backend=name,
        device=device,
        **{**problems.PLAIN, "activation": "relu", "validation": (X, y), "epochs": 4, **given},
    )


def assert_parity(backend: Backend, dtype: str, loss: str, **given: Any) -> None:
    here = run_on("numpy", None, loss, dtype, **given)
    there = run_on(backend.name, backend.device, loss, dtype, **given)
    assert there.backend == backend
    assert there.history["step"] == here.history["step"]
    assert there.history.columns == here.history.columns
    assert there.best_epoch == here.best_epoch
    for column in set(here.history.columns) - {"seconds", "samples_per_s"}:
        np.testing.assert_allclose(there.history[column], here.history[column], RTOL[dtype])
    for ours, theirs in zip(
        [*there.network.layers, *there.raw_network.layers],
        [*here.network.layers, *here.raw_network.layers],
        strict=True,
    ):
        for name in ("weights", "bias"):
            expected = backend.asarray(getattr(theirs, name))
            assert_same(getattr(ours, name), expected, RTOL[dtype], ATOL[dtype])


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_a_run_is_the_same_as_on_numpy(backend: Backend, loss: str) -> None:
    assert_parity(backend, "float32", loss)


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_a_run_in_float64_is_the_same_as_on_numpy(quick_backend: Backend, loss: str) -> None:
    assert_parity(quick_backend, "float64", loss)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu"])
def test_any_activation_trains_the_same_as_on_numpy(
    quick_backend: Backend, activation: str
) -> None:
    assert_parity(quick_backend, "float32", "softmax_cross_entropy", activation=activation)


def test_the_labs_settings_train_the_same_as_on_numpy(backend: Backend) -> None:
    assert_parity(
        backend, "float32", "softmax_cross_entropy", reduction="sum", shuffle=False, optimizer="sgd"
    )


def test_a_population_is_the_same_as_on_numpy(quick_backend: Backend) -> None:
    assert_parity(
        quick_backend,
        "float32",
        "softmax_cross_entropy",
        seed=(0, 1, 2),
        learning_rate=(0.02, 0.05, 0.1),
        optimizer="nesterov",
    )


WEIGHT = np.random.default_rng(27).uniform(0, 2, problems.N)
EVERYTHING: dict[str, Any] = {
    "optimizer": Adam(epsilon=1e-4),  # at 1e-8 a gradient near 0 makes as large a step as any
    "schedule": "cosine",
    "dropout": Dropout(0.3, 0.1),
    "label_smoothing": 0.1,
    "gradient_clip": 0.5,
    "l2": 0.01,
    "weight_decay": 0.1,
    "weight_average": 0.8,
    "sample_weight": WEIGHT,
    "class_weight": "balanced",
    "validation": 0.25,
    "early_stopping": EarlyStopping(patience=2),
    "metrics": ("accuracy", "balanced_accuracy", "f1", "log_loss"),
    "window": 12,
    "training_error": True,
}
OF_MEMBERS: dict[str, Any] = {
    "seed": (0, 1, 2),
    "learning_rate": (0.3, 0.1, 0.05),
    "optimizer": Adam((0.9, 0.8, 0.0), (0.999, 0.99, 0.9), 1e-4),
    "schedule": Cosine(warm_up=(1, 2, 4), final=(0.0, 0.1, 0.2)),
    "dropout": Dropout((0.0, 0.3, 0.5), (0.1, 0.0, 0.2)),
    "label_smoothing": (0.0, 0.1, 0.2),
    "gradient_clip": (float("inf"), 0.5, 1.0),
    "l2": (0.0, 0.01, 0.1),
    "weight_decay": (0.1, 0.0, 0.2),
    "weight_average": (0.0, 0.5, 0.9),
    "sample_weight": np.stack([WEIGHT, WEIGHT[::-1], WEIGHT**2]),
    "class_weight": (None, "balanced", {1: 2.0}),
    "early_stopping": EarlyStopping(patience=(1, 2, 3)),
}


@pytest.mark.parametrize("own", [{}, OF_MEMBERS], ids=["one", "population"])
def test_all_features_together_are_the_same_as_on_numpy(
    quick_backend: Backend, own: dict[str, Any]
) -> None:
    assert_parity(quick_backend, "float64", "softmax_cross_entropy", **(EVERYTHING | own))


def test_all_features_of_a_population_are_the_same_as_on_numpy(
    backend: Backend, float64: str
) -> None:
    """Of which JAX compiles no more than it must: no ragged minibatch, few metrics."""
    X, y = problems.labels()
    few = {"validation": (X, y, WEIGHT), "metrics": "accuracy", "training_error": False}
    given = EVERYTHING | OF_MEMBERS | few | {"epochs": 3}
    assert_parity(backend, float64, "softmax_cross_entropy", **given)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_all_features_of_a_member_are_those_it_has_alone(k: int) -> None:
    given = EVERYTHING | OF_MEMBERS
    together = run_on("numpy", None, "softmax_cross_entropy", "float64", **given)
    own = {name: value[k] for name, value in OF_MEMBERS.items() if isinstance(value, tuple)}
    own |= {
        "optimizer": Adam((0.9, 0.8, 0.0)[k], (0.999, 0.99, 0.9)[k], 1e-4),
        "schedule": Cosine((1, 2, 4)[k], (0.0, 0.1, 0.2)[k]),
        "dropout": Dropout((0.0, 0.3, 0.5)[k], (0.1, 0.0, 0.2)[k]),
        "sample_weight": OF_MEMBERS["sample_weight"][k],
        "early_stopping": EarlyStopping(patience=k + 1),
    }
    alone = run_on("numpy", None, "softmax_cross_entropy", "float64", **(EVERYTHING | own))
    assert together.best_epoch[k] == alone.best_epoch
    for ours, theirs in (
        (together.network, alone.network),
        (together.raw_network, alone.raw_network),
    ):
        for a, b in zip(ours.member(k).layers, theirs.layers, strict=True):
            np.testing.assert_allclose(a.weights, b.weights, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "huber"])
def test_features_without_classes_are_the_same_as_on_numpy(
    quick_backend: Backend, loss: str
) -> None:
    metrics = ("accuracy", "f1") if loss == "binary_cross_entropy" else ("r2", "mae", "rmse")
    given = EVERYTHING | {"class_weight": None, "metrics": metrics}
    if loss == "huber":
        given["label_smoothing"] = 0.0
    assert_parity(quick_backend, "float64", loss, **given)
