"""Run: it unpacks, copies, pickles, and says what it is."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, Run, resolve, train
from arraymlp.steps.schedules import Cosine
from arraymlp.training.early_stopping import EarlyStopping
from conftest import assert_same
from problems import BATCH, HIDDEN, N, labels
from runs import interrupt_after


def run_on(backend: Backend, **settings: Any) -> Run:
    X, y = labels()
    backend = {"backend": backend.name, "device": backend.device}
    defaults = {"hidden": HIDDEN, "batch_size": BATCH, "epochs": 2}
    return train(X, y, **backend, **{**defaults, **settings})


def test_a_run_unpacks_as_network_and_history(backend: Backend) -> None:
    run = run_on(backend)
    network, history = run
    assert network is run.network
    assert history is run.history


def test_a_pickled_run_goes_on_like_the_run_itself(backend: Backend) -> None:
    run = run_on(backend, probes=True)
    for twin in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert twin.backend == run.backend
        assert twin.findings == run.findings
        for ours, theirs in zip(
            train(network=run).network.layers, train(network=twin).network.layers, strict=True
        ):
            assert_same(ours.weights, theirs.weights)


@pytest.mark.parametrize("seed", [0, (0, 1)], ids=["one", "population"])
def test_a_pickled_run_that_was_broken_off_goes_on_like_the_run_itself(
    quick_backend: Backend, monkeypatch: pytest.MonkeyPatch, seed: Any
) -> None:
    settings = {
        "seed": seed,
        "optimizer": "adam",
        "schedule": "adaptive",
        "dropout": 0.2,
        "weight_average": 0.9,
        "sample_weight": np.arange(N) % 3,
        "validation": 0.3,
        "early_stopping": True,
        "metrics": "f1",
        "batch_size": 5,
    }
    interrupt_after(monkeypatch, 5)
    run = run_on(quick_backend, **settings)
    assert run.partial_epoch.steps
    expected = train(network=run)
    for twin in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        found = train(network=twin)
        assert found.best_epoch == expected.best_epoch
        assert found.history["loss"] == expected.history["loss"]
        for ours, theirs in zip(found.raw_network.layers, expected.raw_network.layers, strict=True):
            assert_same(ours.weights, theirs.weights)


@pytest.mark.parametrize("weight", [None, np.arange(N) % 3], ids=["plain", "weighted"])
@pytest.mark.parametrize("seed", [0, (0, 1)], ids=["one", "population"])
def test_a_run_that_was_broken_off_goes_on_on_another_backend_and_back(
    quick_backend: Backend, monkeypatch: pytest.MonkeyPatch, seed: Any, weight: Any
) -> None:
    assert_goes_on_there_and_back(quick_backend, monkeypatch, seed, weight)


def test_so_does_a_plain_one_on_every_backend(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_goes_on_there_and_back(backend, monkeypatch, 0, None)


def assert_goes_on_there_and_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, seed: Any, weight: Any
) -> None:
    given = {"seed": seed, "sample_weight": weight}
    whole = run_on(resolve("numpy"), **given)
    for first, second in ((resolve("numpy"), backend), (backend, resolve("numpy"))):
        interrupt_after(monkeypatch, 2)
        broken = run_on(first, **given)
        monkeypatch.undo()
        there = train(network=broken, backend=second, epochs=2)
        assert there.backend == second
        assert there.history["step"] == [2, *whole.history["step"]]
        np.testing.assert_allclose(there.history["loss"][1:], whole.history["loss"], rtol=1e-4)


def test_the_settings_of_a_given_network_are_its_own(numpy_backend: Backend) -> None:
    first = run_on(numpy_backend, activation="tanh", seed=5)
    X, y = labels()
    settings = train(X, y, network=first.network, batch_size=BATCH, epochs=1).settings
    assert settings.hidden == HIDDEN
    assert settings.to_dict()["activation"] == ["tanh", "tanh"]
    assert settings.to_dict()["loss"] == "softmax_cross_entropy"
    assert (settings.seed, settings.initializer) == (None, None)


def test_repr_names_the_network_and_the_last_epoch(numpy_backend: Backend) -> None:
    text = repr(run_on(numpy_backend))
    assert "4-6-5-3 relu" in text
    assert "2 epochs" in text
    assert "np." not in text


def test_history_takes_slices_and_numpy_integers(numpy_backend: Backend) -> None:
    history = run_on(numpy_backend).history
    assert history[-1:] == [history[-1]]
    assert history[np.int64(0)] is history[0]


def test_a_backend_may_be_given_as_an_object_wherever_it_has_a_name(backend: Backend) -> None:
    X, y = labels()
    named = run_on(backend)
    given = train(X, y, backend=backend, hidden=HIDDEN, batch_size=BATCH, epochs=2)
    assert given.backend == backend == resolve(backend)
    assert_same(given.network.layers[0].weights, named.network.layers[0].weights)
    assert given.network.to("numpy").backend.name == "numpy"
    assert given.network.to(backend.name, backend.device).backend == backend
    with pytest.raises(ValueError, match="together with a Backend"):
        resolve(backend, "cpu")


def test_a_fraction_is_not_held_out_of_rows_that_were_trained_on(numpy_backend: Backend) -> None:
    run = run_on(numpy_backend, validation=0.25)
    with pytest.raises(ValueError, match="trained on"):
        train(network=run, validation=0.25)
    assert train(network=run).data.X_val is run.data.X_val


def test_settings_are_ready_for_json(numpy_backend: Backend) -> None:
    settings = run_on(
        numpy_backend,
        seed=np.int64(3),
        shuffle=np.True_,
        class_weight={np.int64(0): np.float32(2)},
        learning_rate=np.float32(0.1),
        dropout=np.float64(0.1),
        l2=np.asarray(0.01),
        schedule=Cosine(final=np.float64(0.1)),
        early_stopping=EarlyStopping("loss", patience=np.int64(3)),
        training_error=True,
        metrics=["f1"],
    ).settings.to_dict()
    text = json.dumps(settings, allow_nan=False)  # no infinity of a gradient_clip, either
    assert "np." not in text
    assert json.loads(text)["class_weight"] == {"0": 2.0}
    members = run_on(
        numpy_backend,
        seed=(0, 1),
        class_weight=["balanced", {1: 2.0}],
        gradient_clip=(np.inf, 1.0),
        dropout=np.asarray([0.1, 0.2]),
    ).settings.to_dict()
    assert json.loads(json.dumps(members, allow_nan=False))["class_weight"][1] == {"1": 2.0}


def test_float_labels_are_pointed_out(
    numpy_backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    train(X, np.tile([1.0, 2.0, 3.0], 20), epochs=1, batch_size=20)
    assert "taken for regression" in caplog.text
    caplog.clear()
    train(X, X[:, 0], epochs=1, batch_size=20)
    assert caplog.text == ""


def test_a_layer_finds_its_namespace_by_itself(backend: Backend) -> None:
    layer = run_on(backend).network.layers[0]
    with backend.active():
        x = backend.asarray(labels()[0], "float32")
        s, z = layer.forward(x)
        ds = layer.backward_activation(s, z, z)
        assert layer.backward_parameters(x, ds).weights.shape == layer.weights.shape
        assert layer.backward_input(ds).shape == x.shape


def test_a_run_without_its_data_has_no_findings() -> None:
    X, y = labels()
    run = train(X, y, hidden=HIDDEN, batch_size=BATCH, epochs=2, backend="numpy", probes=True)
    assert run.findings is run.findings
    assert run.without_data().findings == []
    assert run.to("numpy").findings == []
