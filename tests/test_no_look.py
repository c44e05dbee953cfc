"""Inside an epoch nothing on the device is looked at: every look would wait for the device."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import SGD, training

ARRAY = type(array_api_strict.asarray(0.0))
# Every way from an array to a Python value, and every way of its values to the host.
LOOKS = (
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__complex__",
    "__iter__",
    "__array__",
    "__buffer__",
    "__dlpack__",
    "to_device",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "sgd", "shuffle": False},
    "momentum and shuffling": {"optimizer": "momentum"},
    "nesterov and a sum": {"optimizer": "nesterov", "reduction": "sum"},
    "ragged": {"batch_size": 7},
    "probes": {"probes": True},
    "population": {
        "seed": (0, 1, 2),
        "learning_rate": (0.1, 0.05, 0.02),
        "optimizer": SGD(momentum=(0.0, 0.5, 0.9), nesterov=True),
    },
    "population and probes": {"seed": (0, 1, 2), "probes": True},
}


class LookedError(Exception):
    """An array's value was asked for inside an epoch."""


@pytest.fixture
def epochs_guarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every look raise while an epoch runs; the list grows by each epoch's steps."""
    run_epoch = training.run_epoch
    guarded: list[int] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    def run_epoch_guarded(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name in LOOKS:
                patch.setattr(ARRAY, name, look, raising=False)
            total, steps, rows = run_epoch(*args)
        guarded.append(steps)
        return total, steps, rows

    monkeypatch.setattr(training, "run_epoch", run_epoch_guarded)
    return guarded


def train(loss: str = "softmax_cross_entropy", **given: Any) -> None:
    X, y = problems.PROBLEMS[loss]()
    arraymlp.train(
        X,
        y,
        loss=loss,
        hidden=problems.HIDDEN,
        epochs=2,
        backend="array_api_strict",
        device="device1",
        **{"batch_size": problems.BATCH, **given},
    )


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_an_epoch_looks_at_nothing(
    epochs_guarded: list[int], loss: str, settings: dict[str, Any]
) -> None:
    train(loss, **settings)
    assert epochs_guarded == ([4, 4] if "batch_size" in settings else [3, 3])


@pytest.mark.parametrize(
    "look",
    [
        float,
        bool,
        lambda a: int(a),
        lambda a: [0][array_api_strict.astype(a, array_api_strict.int64)],
        lambda a: np.asarray(a),
        lambda a: a.to_device(array_api_strict.Device("CPU_DEVICE")),
    ],
    ids=["float", "bool", "int", "index", "numpy", "to_device"],
)
def test_the_guard_catches_a_step_that_looks(
    epochs_guarded: list[int], monkeypatch: pytest.MonkeyPatch, look: Callable[[Any], Any]
) -> None:
    choose_step = training.choose_step

    def choose(*args: Any) -> Any:
        step = choose_step(*args)

        def looking_step(*values: Any) -> Any:
            state, loss = step(*values)
            look(loss)
            return state, loss

        return looking_step

    monkeypatch.setattr(training, "choose_step", choose)
    with pytest.raises(LookedError):
        train()


def test_outside_an_epoch_looking_is_allowed(epochs_guarded: list[int]) -> None:
    train()
    assert float(array_api_strict.asarray(2.5)) == 2.5


@pytest.mark.parametrize("settings", [{}, {"seed": (0, 1, 2)}], ids=["one", "population"])
def test_an_epochs_figures_come_to_the_host_in_one_transfer(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = training._evaluations
    transfers: list[int] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    def evaluations_guarded(run: arraymlp.Run) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name in LOOKS:
                patch.setattr(ARRAY, name, look, raising=False)
            return evaluations(run)

    def fetch(backend: Any, arrays: Any) -> Any:
        transfers.append(len(arrays))
        return original(backend, arrays)

    original = arraymlp.Backend.fetch
    monkeypatch.setattr(training, "_evaluations", evaluations_guarded)
    monkeypatch.setattr(arraymlp.Backend, "fetch", fetch)
    train(validation=0.25, training_error=True, probes=True, **settings)
    *epochs, at_the_end = transfers  # the last counts the shut units over all rows
    assert len(epochs) == 2
    assert at_the_end == len(problems.HIDDEN)
