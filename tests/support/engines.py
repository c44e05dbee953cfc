"""Executors to sweep with, and sweeps that are compared to the bit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import SweepResult
from arraymlp.sweeps.workers import part
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.progress import SweepProgress
from members import assert_same_bits

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)
WEIGHT = rng.uniform(0.5, 2, len(X))
FEW: dict[str, Any] = {"hidden": (8,), "batch_size": 16, "epochs": 5, "backend": "numpy"}

CASES: dict[str, dict[str, Any]] = {
    "grid": {"learning_rate": [0.001, 0.01], "seed": range(3), "validation": 0.2},
    "some leave early": {
        "early_stopping": [EarlyStopping(patience=1), EarlyStopping(patience=4)],
        "learning_rate": [0.01, 0.1, 1.0],
        "seed": range(2),
        "optimizer": "adam",
        "epochs": 12,
        "validation": 0.2,
    },
    "some diverge": {
        "learning_rate": [0.01, 1e25],
        "optimizer": "sgd",
        "seed": range(3),
        "loss": "squared_error",
        "y": X[:, 0].astype(float),
        "sample_weight": WEIGHT,
    },
    "folds": {"cv": 3, "dropout": [0, 0.3], "order_seed": [0, 1]},
    "shapes": {
        "hidden": [(4,), (6, 3)],
        "schedule": ["cosine", "adaptive"],
        "weight_average": [0, 0.9],
        "alpha": [0, 0.1],
        "class_weight": "balanced",
    },
    "probes": {"probes": True, "seed": range(3), "snapshots": 3},
}


def swept(executor: Any = None, **settings: Any) -> SweepResult:
    given = {**FEW, **settings}
    x = given.pop("X", X)
    return arraymlp.sweep(x, given.pop("y", Y), executor=executor, **given)


def assert_same_sweep(actual: SweepResult, expected: SweepResult) -> None:
    """All members alike to the last bit, and so their ranks."""
    for a, b in zip(actual, expected, strict=True):
        assert_same_bits(a, b)
        assert a.result is not None
        assert b.result is not None
        for name in ("engine", "engine_reason", "dead_units"):
            assert getattr(a.result, name) == getattr(b.result, name), name
        for ours, theirs in zip(a.result.measurements, b.result.measurements, strict=True):
            assert ours.to_dict() == theirs.to_dict()
        assert len(a.result.snapshots) == len(b.result.snapshots)
        assert repr(a.score) == repr(b.score)
    assert [row["members"] for row in actual.rank()] == [row["members"] for row in expected.rank()]


@pytest.fixture
def one_epoch_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slice is one epoch long."""
    monkeypatch.setattr(part, "SHORTEST", 0.0)
    monkeypatch.setattr(part, "LONGEST", 0.0)


class At(SweepProgress):
    """Does something once so many epochs of networks are told."""

    def __init__(self, epochs: int, do: Callable[[], object]) -> None:
        super().__init__(score="loss")
        self.epochs, self.do = epochs, do

    def show(self) -> None:
        if self.done >= self.epochs:
            self.epochs = 10**9
            self.do()


@contextmanager
def closing(executor: Any) -> Iterator[Any]:
    """An executor, which is shut down in the end, whatever became of it."""
    with ExitStack() as stack:
        stack.callback(lambda: executor.shutdown(wait=True, cancel_futures=True))
        yield executor
