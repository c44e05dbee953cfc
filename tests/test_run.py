"""Run: it unpacks, copies, pickles, and says what it is."""

import copy
import pickle

import numpy as np

from arraymlp import Backend, train
from conftest import assert_same
from problems import BATCH, HIDDEN, labels


def run_on(backend: Backend, **settings: object):
    X, y = labels()
    return train(
        X, y, backend=backend.name, device=backend.device, hidden=HIDDEN, batch_size=BATCH,
        epochs=2, **settings,
    )  # fmt: skip


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


def test_the_settings_of_a_given_network_are_its_own(numpy_backend: Backend) -> None:
    first = run_on(numpy_backend, activation="tanh", seed=5)
    X, y = labels()
    settings = train(X, y, network=first.network, batch_size=BATCH, epochs=1).settings
    assert settings.hidden == HIDDEN
    assert settings.to_dict()["activation"] == "tanh"
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
