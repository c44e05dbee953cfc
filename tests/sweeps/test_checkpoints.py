"""A sweep that is ended by anything goes on from its folder, to the bits of the unbroken sweep."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from arraymlp import (
    Backend,
    Checkpoint,
    CheckpointError,
    ModelFileError,
    SweepResult,
    load,
    sweep,
)
from arraymlp.sweeps import partition, population
from arraymlp.training.early_stopping import EarlyStopping
from broken_off import Killed, without_times
from conftest import assert_same
from runs import interrupt_after

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 5)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)
FEW: dict[str, Any] = {"hidden": (6,), "batch_size": 16, "epochs": 6}

CASES: dict[str, dict[str, Any]] = {
    "grid": {"learning_rate": [0.001, 0.01, 0.1], "seed": range(3), "validation": 0.2},
    "some leave early": {
        "early_stopping": [EarlyStopping(patience=1), EarlyStopping(patience=4)],
        "learning_rate": [0.01, 0.1, 1.0],
        "optimizer": "adam",
        "epochs": 25,
        "validation": 0.2,
    },
    "some diverge": {
        "learning_rate": [0.01, 1e25],
        "optimizer": "sgd",
        "seed": range(3),
        "loss": "squared_error",
        "y": X[:, 0].astype(float),
    },
    "folds": {"cv": 3, "dropout": [0, 0.3], "order_seed": [0, 1]},
    "shapes": {
        "hidden": [(4,), (6, 3)],
        "schedule": ["cosine", "adaptive"],
        "weight_average": [0, 0.9],
        "alpha": [0, 0.1],
    },
    "probes": {"probes": True, "seed": range(3)},
}


def swept(backend: Backend, folder: Any = None, **settings: Any) -> SweepResult:
    given = {**FEW, **settings}
    where = {"backend": backend.name, "device": backend.device}
    return sweep(X, given.pop("y", Y), checkpoint=folder, **where, **given)


def assert_same_sweep(actual: SweepResult, expected: SweepResult) -> None:
    for a, b in zip(actual, expected, strict=True):
        for ours, theirs in zip(a.network.layers, b.network.layers, strict=True):
            assert_same(ours.weights, theirs.weights)
            assert_same(ours.bias, theirs.bias)
        assert repr(without_times(a)) == repr(without_times(b))
        for name in ("status", "cause", "best_epoch"):
            assert getattr(a, name) == getattr(b, name)
        assert repr(a.score) == repr(b.score)


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The number of epochs of stacks after which a sweep is ended; it counts down."""
    epoch_ended, left = population.Population._epoch_ended, [float("inf")]

    def ending(self: population.Population, event: Any) -> bool:
        says_stop = epoch_ended(self, event)
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return says_stop

    monkeypatch.setattr(population.Population, "_epoch_ended", ending)
    return left


def until_done(
    backend: Backend, folder: Any, left: list[float], draw: int, **settings: Any
) -> tuple[SweepResult, int]:
    """Start a sweep anew after each kill, with other memory, and so another partition."""
    random = Random(draw)
    for n in range(15):
        left[0] = random.randint(0, 12 if n else 3)
        try:
            memory = random.choice([None, "400KB", "2MB"])
            return swept(backend, folder, memory=memory, **settings), n
        except Killed:
            pass
    left[0] = float("inf")
    return swept(backend, folder, **settings), 15


@pytest.mark.parametrize("every", ["1 step", "2 epochs", "0.001 s"])
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_to_the_bits_of_the_unbroken_sweep(
    case: str,
    every: str,
    tmp_path: Path,
    numpy_backend: Backend,
    killed_after: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = swept(numpy_backend, **CASES[case])
    monkeypatch.setattr(partition, "WORTH_A_THREAD", 1000)  # stacks side by side
    folder = Checkpoint(tmp_path / "folder", every)
    actual, n = until_done(numpy_backend, folder, killed_after, len(case), **CASES[case])
    assert n > 0
    assert_same_sweep(actual, expected)
    killed_after[0] = 0
    assert_same_sweep(swept(numpy_backend, folder, **CASES[case]), expected)  # trains nothing


def test_it_does_on_every_backend(
    tmp_path: Path, quick_backend: Backend, killed_after: list[float]
) -> None:
    settings = {**CASES["some leave early"], "compact": False}
    expected = swept(quick_backend, **settings)
    folder = Checkpoint(tmp_path, "3 steps")
    actual, _ = until_done(quick_backend, folder, killed_after, 1, **settings)
    if quick_backend.name == "numpy":  # elsewhere other stacks may round otherwise
        assert_same_sweep(actual, expected)
    assert [m.status for m in actual] == [m.status for m in expected]


def test_ctrl_c_leaves_what_the_unbroken_sweep_has(
    tmp_path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = swept(numpy_backend, **CASES["grid"])
    with monkeypatch.context() as patch:
        interrupt_after(patch, 10)
        broken = swept(numpy_backend, tmp_path, **CASES["grid"])
    assert broken.interrupted
    assert {m.status for m in broken} <= {"interrupted", "not trained"}
    assert_same_sweep(swept(numpy_backend, tmp_path, **CASES["grid"]), expected)


def test_files_of_a_folder_are_no_models(tmp_path: Path, numpy_backend: Backend) -> None:
    swept(numpy_backend, tmp_path, seed=[0])
    for name in ("sweep", "stack-0"):
        with pytest.raises(ModelFileError, match="checkpoints of a sweep"):
            load(tmp_path / f"{name}.safetensors")


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "fewer": ({"seed": [0]}, "it was of 9 networks, is of 3"),
    "rates": ({"learning_rate": [0.001, 0.02, 0.1]}, "network 3: learning_rate was 0.01, is 0.02"),
    "epochs": ({"epochs": 9}, "network 0: epochs was 6, is 9"),
    "data": ({"y": Y[::-1]}, "y was"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_sweep_is_refused_with_the_difference(
    case: str, tmp_path: Path, numpy_backend: Backend
) -> None:
    swept(numpy_backend, tmp_path, **CASES["grid"])
    settings, words = DIFFERENT[case]
    with pytest.raises(CheckpointError, match=words):
        swept(numpy_backend, tmp_path, **{**CASES["grid"], **settings})


def test_a_second_sweep_in_the_same_folder_is_told(
    tmp_path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(*_: Any) -> None:
        with pytest.raises(CheckpointError, match="another"):
            swept(numpy_backend, tmp_path, seed=[0])

    train_stacks = partition.train_stacks

    def noted(*args: Any, **given: Any) -> Any:
        monkeypatch.undo()
        second()
        return train_stacks(*args, **given)

    monkeypatch.setattr("arraymlp.sweeps.sweep_function.train_stacks", noted)
    swept(numpy_backend, tmp_path, seed=[0])


def test_the_plan_says_what_goes_on(
    tmp_path: Path, numpy_backend: Backend, killed_after: list[float]
) -> None:
    killed_after[0] = 3
    with pytest.raises(Killed):
        swept(numpy_backend, Checkpoint(tmp_path, "1 epoch"), **CASES["grid"])
    killed_after[0] = float("inf")
    result = swept(numpy_backend, tmp_path, **CASES["grid"])
    assert "9 go on from the checkpoint in 1 stack" in result.plan


@pytest.mark.parametrize("how", ["copied", "without its file"])
def test_stacks_of_another_sweep_are_refused(
    how: str, tmp_path: Path, numpy_backend: Backend
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    swept(numpy_backend, theirs, seed=[0], learning_rate=[0.1])
    if how == "copied":
        swept(numpy_backend, ours, seed=[0], learning_rate=[0.01])
        (ours / "stack-0.safetensors").write_bytes((theirs / "stack-0.safetensors").read_bytes())
    else:
        ours = theirs
        (ours / "sweep.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"stack-0\.safetensors: it is of another sweep"):
        swept(numpy_backend, ours, seed=[0], learning_rate=[0.01])


def test_without_its_file_the_same_sweep_goes_on(
    tmp_path: Path, numpy_backend: Backend, killed_after: list[float]
) -> None:
    expected = swept(numpy_backend, tmp_path, **CASES["grid"])
    (tmp_path / "sweep.safetensors").unlink()
    killed_after[0] = 0  # nothing is trained
    assert_same_sweep(swept(numpy_backend, tmp_path, **CASES["grid"]), expected)
