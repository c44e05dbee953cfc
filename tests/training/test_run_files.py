"""A run in a file: it goes on from there as from memory, and says what is wrong with a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import (
    Backend,
    CheckpointError,
    EarlyStopping,
    ModelFileError,
    MultilayerPerceptron,
    Run,
    Settings,
    load,
    resolve,
    save,
    train,
)
from arraymlp.initializers import normal
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.activations import Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import SGD, Adam
from arraymlp.schedules import Adaptive, Cosine
from arraymlp.training.description import described_settings, settings_of
from broken_off import assert_same_run
from conftest import on_host
from runs import interrupt_after

rng = np.random.default_rng(1)
X = rng.normal(size=(90, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
FEW: dict[str, Any] = {"hidden": (5,), "batch_size": 12, "validation": 0.2}

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "early_stopping": EarlyStopping(patience=3),
        "weight_average": 0.9,
        "dropout": Dropout(0.2, 0.1),
        "schedule": Adaptive(patience=1),
        "probes": True,
        "metrics": ("f1",),
        "standardize": True,
    },
    "population": {"seed": (1, 2), "learning_rate": (0.01, 0.1), "optimizer": "adam"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def loaded(path: Path, backend: Backend) -> Run:
    run = load(path, backend=backend.name, device=backend.device)
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_as_from_memory(case: str, path: Path, quick_backend: Backend) -> None:
    backend = quick_backend  # test_it_moves_between_backends is of all
    where = {"backend": backend.name, "device": backend.device}
    run = train(X, Y, epochs=3, **FEW, **CASES[case], **where)
    save(run, path)
    read = loaded(path, backend)
    assert_same_run(read, run)
    assert read.data is None
    assert described_settings(read.settings) == described_settings(run.settings)
    actual = train(X, Y, validation=0.2, network=read, epochs=3, **where)
    assert_same_run(actual, train(network=run, epochs=3))
    assert actual.comparable_from == 0


def test_broken_off_in_an_epoch_it_goes_on_there(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 9)
        run = train(X, Y, epochs=3, **FEW, dropout=0.2, backend="numpy")
    assert run.partial_epoch.steps == 3
    save(run, path)
    actual = train(X, Y, validation=0.2, network=load(path), epochs=2)
    assert_same_run(actual, train(network=run, epochs=2))


def test_with_other_data_it_begins_an_epoch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 9)
        save(train(X, Y, epochs=3, **FEW, backend="numpy"), path)
    run = train(X + 1, Y, validation=0.2, network=load(path), epochs=2)
    assert run.comparable_from == 2
    assert run.steps_done == 9 + 2 * 6


def test_it_moves_between_backends(path: Path, backend: Backend) -> None:
    run = train(X, Y, epochs=2, **FEW, backend=backend.name, device=backend.device)
    save(run, path)
    here = load(path)
    assert here.backend == resolve("numpy")
    for a, b in zip(here.network.layers, run.network.layers, strict=True):
        assert np.array_equal(a.weights, on_host(b.weights))
    longer = train(X, Y, validation=0.2, network=here, epochs=1)
    save(longer, path)
    assert loaded(path, backend).steps_done == 3 * 6


def test_a_checkpoint_is_a_run(path: Path) -> None:
    run = train(X, Y, epochs=2, **FEW, checkpoint=path, backend="numpy")
    read = load(path)
    assert_same_run(read, run)
    assert read.ended == "finished"


def test_the_data_is_asked_for(path: Path) -> None:
    save(train(X, Y, epochs=1, **FEW, backend="numpy"), path)
    with pytest.raises(ValueError, match="give X and y"):
        train(network=load(path))


def test_the_file_is_small_and_has_no_data(path: Path) -> None:
    run = train(X, Y, epochs=1, **FEW, standardize=False, backend="numpy")
    save(run, path)
    assert X[3].tobytes() not in path.read_bytes()
    assert path.stat().st_size < 10_000


OWN: dict[str, tuple[dict[str, Any], str]] = {
    "shuffle": ({"shuffle": lambda n, epoch: np.arange(n)}, "the run's shuffle is .*lambda"),
    "metric": ({"metrics": [lambda y, output, weight: 0.0 * output[..., 0, 0]]}, "metrics is"),
    "activation": (
        {"activation": Activation("mine", lambda s, xp: s, lambda s, z, xp: 1.0)},
        "not of this package",
    ),
}


@pytest.mark.parametrize("case", [c for c in OWN if c != "metric"])
def test_what_is_the_users_own_is_refused(case: str, path: Path) -> None:
    settings, words = OWN[case]
    run = train(X, Y, epochs=1, **FEW, backend="numpy", **settings)
    with pytest.raises(ValueError, match=words):
        save(run, path)
    assert not path.exists()


def test_other_files_are_told_apart(path: Path) -> None:
    pytest.importorskip("sklearn")
    from arraymlp import MLPClassifier

    run = train(X, Y, epochs=1, **FEW, backend="numpy")
    save(run, path)
    with pytest.raises(ModelFileError, match=r"holds a run: arraymlp\.load opens it"):
        MLPClassifier.load(path)
    save(run.network, path)
    assert isinstance(load(path), MultilayerPerceptron)
    with pytest.raises(CheckpointError, match="it holds no run"):
        train(X, Y, **FEW, checkpoint=path)


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "names": {"optimizer": "nesterov", "schedule": "inverse_scaling", "loss": "poisson"},
    "objects": {
        "optimizer": Adam(beta1=0.8),
        "schedule": Cosine(warm_up=10),
        "loss": Huber(0.5),
        "dropout": Dropout(0.5, 0.25),
        "initializer": normal(0.01),
        "early_stopping": EarlyStopping("loss", 3, 0.1),
        "class_weight": {3: 2.0, 5: 1},
        "gradient_clip": 3.0,
        "window": 50,
    },
    "members": {
        "seed": (1, 2),
        "optimizer": SGD(momentum=(0.5, 0.9)),
        "initializer": ("he_normal", normal(0.1)),
        "loss": Quantile((0.25, 0.5)),
        "class_weight": ("balanced", None),
        "activation": ("relu", "tanh"),
        "hidden": (4, 3),
    },
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_come_back_from_their_description(case: str) -> None:
    import json

    settings = Settings(**SETTINGS[case])
    description = json.loads(json.dumps(described_settings(settings)))
    again = settings_of(description)
    assert described_settings(again) == described_settings(settings)
    same = replace(again, initializer=settings.initializer)  # drawn by functions: equal by name
    assert same == settings


@pytest.mark.parametrize(
    "damage",
    [
        {"optimizer": {"of": "SGD", "momentum": "much"}},
        {"optimizer": {"of": "eval"}},
        {"optimizer": {"own": "os.system"}},
        {"schedule": {"of": "Dropout", "hidden": 0.1, "input": 0.0}},
        {"epochs": -1},
        {"epochs": "many"},
        {"loss": {"loss": "huber", "parameters": {"mapping": [["delta", -1]]}}},
        {"activation": {"activation": "none"}},
        {"of_no_setting": 1},
        {"hidden": {"mapping": 3}},
        {"metrics": 3},
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        settings_of({**described_settings(Settings()), **damage})
