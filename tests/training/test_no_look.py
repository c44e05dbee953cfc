"""Inside an epoch nothing on the device is looked at: every look would wait for the device."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest

import arraymlp
import problems
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import SGD
from arraymlp.steps.optimizers import Adam
from arraymlp.steps.schedules import Cosine
from arraymlp.training import loop
from arraymlp.training.early_stopping import EarlyStopping
from looks import ARRAY, LOOKS, LookedError

WEIGHT = np.random.default_rng(26).uniform(0.5, 2, problems.N)


class Watcher:
    """A callback that is told of every step, and keeps the losses without looking."""

    def __init__(self) -> None:
        self.losses: list[Any] = []

    def __call__(self, event: arraymlp.callbacks.EpochEnd) -> None:
        assert len(self.losses) % 3 == 0

    def on_step(self, event: Any) -> None:
        self.losses.append(event.loss)


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
    "adam and cosine": {"optimizer": "adam", "schedule": "cosine"},
    "regularised": {
        "optimizer": "rmsprop",
        "dropout": Dropout(0.5, 0.1),
        "label_smoothing": 0.1,
        "gradient_clip": 1.0,
        "l2": 0.01,
        "weight_decay": 0.1,
        "weight_average": 0.9,
        "early_stopping": "loss",
    },
    "weights": {"sample_weight": WEIGHT, "class_weight": "balanced", "probes": True},
    "population of all": {
        "seed": (0, 1, 2),
        "learning_rate": (0.1, 0.05, 0.02),
        "optimizer": Adam((0.9, 0.8, 0.7), (0.999, 0.99, 0.9)),
        "schedule": Cosine(warm_up=(1, 2, 3), final=(0.0, 0.1, 0.2)),
        "dropout": Dropout((0.0, 0.3, 0.5), (0.1, 0.0, 0.2)),
        "label_smoothing": (0.0, 0.1, 0.2),
        "gradient_clip": (float("inf"), 1.0, 2.0),
        "l2": (0.0, 0.01, 0.1),
        "weight_decay": (0.1, 0.0, 0.2),
        "weight_average": (0.0, 0.5, 0.9),
        "sample_weight": np.stack([WEIGHT, WEIGHT[::-1], WEIGHT**2]),
        "class_weight": (None, "balanced", {1: 2.0}),
        "early_stopping": EarlyStopping("loss", patience=(1, 2, 3)),
        "probes": True,
    },
    "streamed": {"window": problems.BATCH, "sample_weight": WEIGHT, "probes": True},
    "told of steps": {"callbacks": [Watcher()]},
}
OF_CLASSES = {"label_smoothing", "class_weight"}  # which not every loss has


@pytest.fixture
def epochs_guarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every look raise while an epoch runs; the list grows by each epoch's steps."""
    run_epoch = loop.run_epoch
    guarded: list[int] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    def run_epoch_guarded(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name in LOOKS:
                patch.setattr(ARRAY, name, look, raising=False)
            done = run_epoch(*args)
        guarded.append(args[1].partial_epoch.steps)
        return done

    monkeypatch.setattr(loop, "run_epoch", run_epoch_guarded)
    return guarded


def train(loss: str = "softmax_cross_entropy", **given: Any) -> None:
    X: Any
    X, y = problems.PROBLEMS[loss]()
    if "window" in given:
        X, y = [(X[:10], y[:10]), (X[10:], y[10:])], None
    arraymlp.train(
        X,
        y,
        loss=loss,
        hidden=problems.HIDDEN,
        backend="array_api_strict",
        device="device1",
        **{"batch_size": problems.BATCH, "epochs": 2, **given},
    )


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_an_epoch_looks_at_nothing(
    epochs_guarded: list[int], loss: str, settings: dict[str, Any]
) -> None:
    if loss != "softmax_cross_entropy":
        settings = {name: v for name, v in settings.items() if name not in OF_CLASSES}
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
    choose_steps = loop.choose_steps

    def choose(*args: Any) -> Any:
        steps = choose_steps(*args)

        def looking_step(*values: Any) -> Any:
            states, sums = steps.step(*values)
            look(sums.loss)
            return states, sums

        return steps._replace(step=looking_step)

    monkeypatch.setattr(loop, "choose_steps", choose)
    with pytest.raises(LookedError):
        train()


def test_outside_an_epoch_looking_is_allowed(epochs_guarded: list[int]) -> None:
    train()
    assert float(array_api_strict.asarray(2.5)) == 2.5


EVALUATED: dict[str, dict[str, Any]] = {
    "one": {},
    "population": {"seed": (0, 1, 2)},
    "metrics": {"metrics": ("accuracy", "f1", "log_loss"), "sample_weight": WEIGHT},
    "population of all": {
        **SETTINGS["population of all"],
        "metrics": ("balanced_accuracy", "f1"),
        "early_stopping": EarlyStopping("validation_f1", patience=(5, 6, 7)),
    },
    "streamed": {**SETTINGS["streamed"], "metrics": ("accuracy", "f1")},
}


@pytest.mark.parametrize("settings", EVALUATED.values(), ids=list(EVALUATED))
def test_an_epochs_figures_come_to_the_host_in_one_transfer(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = loop.evaluations
    transfers: list[int] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    def evaluations_guarded(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name in LOOKS:
                patch.setattr(ARRAY, name, look, raising=False)
            return evaluations(*args)

    def fetch(backend: Any, arrays: Any) -> Any:
        transfers.append(len(arrays))
        return original(backend, arrays)

    original = arraymlp.Backend.fetch
    monkeypatch.setattr(loop, "evaluations", evaluations_guarded)
    monkeypatch.setattr(arraymlp.Backend, "fetch", fetch)
    train(**{"validation": 0.25, "training_error": True, **settings, "probes": True})
    # Then the units that are dead for all rows.
    first, second, after_the_end = transfers
    assert min(first, second) > len(problems.HIDDEN) == after_the_end


@pytest.mark.parametrize("settings", EVALUATED.values(), ids=list(EVALUATED))
def test_an_epoch_brings_nothing_else_to_the_host(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_epoch, to_numpy = loop.run_epoch, arraymlp.Backend.to_numpy
    transfers, before_epochs = [0], []

    def run_epoch_noted(*args: Any) -> Any:
        before_epochs.append(len(transfers))
        return run_epoch(*args)

    def to_numpy_noted(backend: Any, array: Any) -> Any:
        transfers.append(1)
        return to_numpy(backend, array)

    monkeypatch.setattr(loop, "run_epoch", run_epoch_noted)
    monkeypatch.setattr(arraymlp.Backend, "to_numpy", to_numpy_noted)
    train(**{"validation": 0.25, "training_error": True, **settings, "epochs": 4})
    assert np.diff(before_epochs).tolist() == [1, 1, 1]
