"""Training on the small problem, and what tests do with its runs."""

import signal
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Dropout, MultilayerPerceptron, Run
from arraymlp.schedules import StepDecay
from arraymlp.training import loop
from conftest import on_host

HostArray = np.ndarray[Any, Any]
X, Y = problems.labels()
STEPS_PER_EPOCH = problems.N // problems.BATCH
# All that a step may do besides, for one network or three alike.
BESIDES: dict[str, Any] = {
    "schedule": StepDecay(every=5, factor=0.5),
    "weight_decay": 0.1,
    "l2": 0.01,
    "gradient_clip": 0.5,
    "weight_average": 0.9,
    "dropout": Dropout(0.2, 0.1),
    "label_smoothing": 0.1,
    "sample_weight": np.linspace(0, 2, problems.N),
    "class_weight": "balanced",
}
PLAIN_OR_NOT = pytest.mark.parametrize("besides", [{}, BESIDES], ids=["plain", "everything"])


def train(X_: Any = X, y: Any = Y, **given: Any) -> Run:
    """arraymlp.train on the small problem; PLAIN, NumPy and float64 unless said otherwise."""
    defaults: dict[str, Any] = {"batch_size": problems.BATCH, "epochs": 2, "backend": "numpy"}
    if "network" not in given:
        defaults |= {"hidden": problems.HIDDEN, "dtype": "float64"}
        defaults |= {} if "preset" in given else problems.PLAIN
    return arraymlp.train(X_, y, **{**defaults, **given})


def train_on(backend: Backend, X_: Any = X, y: Any = Y, **given: Any) -> Run:
    """The same in float32 on a backend."""
    backend = {"backend": backend.name, "device": backend.device}
    return train(X_, y, **backend, **{"dtype": "float32", **given})


def go_on(run: Run | MultilayerPerceptron, **given: Any) -> Run:
    """Train further, on the run's own data."""
    given = {"X": None, "y": None, "epochs": 2, **given}
    return arraymlp.train(network=run, **given)


def parameters(network: MultilayerPerceptron) -> list[HostArray]:
    return [np.array(on_host(a)) for layer in network.layers for a in (layer.weights, layer.bias)]


def engine_of_steps(backend: Backend) -> str:
    """The engine whose epochs have the bits of its single steps: on CuPy the array code.

    The fused kernels, which train whole epochs, add up in another order than single steps, which
    are for probes, streams and the rest of an epoch that was broken off.
    """
    return "array" if backend.name == "cupy" else "auto"


def assert_same_bits(a: MultilayerPerceptron, b: MultilayerPerceptron) -> None:
    for ours, theirs in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def interrupt_after(
    monkeypatch: pytest.MonkeyPatch, n_steps: int, times: int = 1, number: int = signal.SIGINT
) -> None:
    """Make the n-th step of the next run press Ctrl-C, or send itself another signal."""
    choose_steps = loop.choose_steps
    done = 0

    def choose(*args: Any) -> Any:
        steps = choose_steps(*args)

        def stepping(*values: Any) -> Any:
            nonlocal done
            done += 1
            if done == n_steps:
                for _ in range(times):
                    signal.raise_signal(number)
            return steps.step(*values)

        return steps._replace(step=stepping, epoch=None)

    monkeypatch.setattr(loop, "choose_steps", choose)
