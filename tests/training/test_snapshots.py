"""Snapshots are the weights of their epochs, evenly spread, in files, checkpoints and sweeps."""

from pathlib import Path

import numpy as np
import pytest

from arraymlp import load, save, sweep, train
from arraymlp.backends.backend import Backend
from arraymlp.callbacks import EpochEnd
from arraymlp.training.snapshots import Snapshot, spread

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype(np.float32)
y = (X[:, 0] > 0).astype(int)
SMALL = {"hidden": (3,), "batch_size": 20}


def same(a: Snapshot, b: Snapshot) -> bool:
    return (a.epoch, a.step) == (b.epoch, b.step) and all(
        np.array_equal(p, q)
        for of_a, of_b in zip(a.parameters, b.parameters, strict=True)
        for p, q in zip(of_a, of_b, strict=True)
    )


def test_each_is_the_network_of_its_epoch(backend: Backend) -> None:
    seen = {}

    def keep(event: EpochEnd) -> None:
        to_numpy = event.network.backend.to_numpy
        seen[event.record["epoch"]] = [
            np.array(to_numpy(a))
            for layer in event.network.layers
            for a in (layer.weights, layer.bias)
        ]

    run = train(
        X,
        y,
        **SMALL,
        epochs=5,
        snapshots=10,
        callbacks=keep,
        backend=backend,
        weight_average=0.5,  # whose network is the one evaluated
    )
    assert [s.epoch for s in run.snapshots] == [-1, 0, 1, 2, 3, 4]
    assert [s.step for s in run.snapshots] == [0, 3, 6, 9, 12, 15]
    for snapshot in run.snapshots[1:]:
        arrays = [a for layer in snapshot.parameters for a in layer]
        for kept, expected in zip(arrays, seen[snapshot.epoch], strict=True):
            np.testing.assert_array_equal(kept, expected)
    assert not same(run.snapshots[0], run.snapshots[1])


def test_keeping_them_changes_nothing() -> None:
    plain, watched = (train(X, y, **SMALL, epochs=3, snapshots=n) for n in (0, 2))
    assert plain.snapshots == []
    for a, b in zip(plain.network.layers, watched.network.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


@pytest.mark.parametrize("at_most", [2, 3, 7, 20])
@pytest.mark.parametrize("epochs", [1, 2, 5, 23, 70, 200])
def test_they_are_few_and_even(epochs: int, at_most: int) -> None:
    kept = [Snapshot(-1, 0, ())]
    for epoch in range(epochs):
        kept = spread(kept, Snapshot(epoch, epoch, ()), at_most)
        assert len(kept) <= at_most
    numbers = [s.epoch + 1 for s in kept]
    assert (numbers[0], numbers[-1]) == (0, epochs)
    gaps = np.diff(numbers)
    assert len(set(gaps[:-1].tolist())) <= 1
    assert gaps[-1] <= gaps[0]
    assert len(kept) >= min(epochs + 1, (at_most + 1) / 2), "no more are left out than have to be"


def test_a_file_keeps_them_and_a_run_goes_on_with_them(tmp_path: Path) -> None:
    whole = train(X, y, **SMALL, epochs=6, snapshots=4, schedule="constant", optimizer="adam")
    half = train(X, y, **SMALL, epochs=3, snapshots=4, schedule="constant", optimizer="adam")
    save(half, tmp_path / "run.safetensors")
    loaded = load(tmp_path / "run.safetensors")
    assert all(map(same, loaded.snapshots, half.snapshots))
    rest = train(X, y, network=loaded, epochs=3)
    assert [s.epoch for s in rest.snapshots] == [-1, 1, 3, 5]
    assert all(map(same, rest.snapshots, whole.snapshots))


def test_a_checkpoint_keeps_them(tmp_path: Path) -> None:
    def stop(event: EpochEnd) -> None:
        if event.number == 3:
            raise KeyboardInterrupt

    call = {**SMALL, "epochs": 6, "snapshots": 5}
    with pytest.raises(KeyboardInterrupt):
        train(X, y, **call, checkpoint=tmp_path / "c", callbacks=stop)
    again = train(X, y, **call, checkpoint=tmp_path / "c")
    whole = train(X, y, **call)
    assert len(again.snapshots) == len(whole.snapshots) == 4
    assert all(map(same, again.snapshots, whole.snapshots))


@pytest.mark.parametrize("probes", [False, True])
def test_members_have_their_own(tmp_path: Path, probes: bool) -> None:
    settings = {**SMALL, "epochs": 9, "snapshots": 6, "probes": probes, "early_stopping": True}
    swept = {"learning_rate": [1e-3, 30.0, 1e-2], "seed": [0, 1]}
    result = sweep(X, y, **settings, **swept, validation=0.3, checkpoint=tmp_path / "s")
    again = sweep(X, y, **settings, **swept, validation=0.3, checkpoint=tmp_path / "s")
    for member in result.members:
        alone = train(X, y, **{**settings, **member.swept}, validation=0.3)
        kept = [m.result.snapshots for m in (member, again.members[member.number])]
        assert all(map(same, *kept))
        assert [s.epoch for s in kept[0]] == [s.epoch for s in alone.snapshots]
        for own, single in zip(kept[0], alone.snapshots, strict=True):
            for (w, b), (w1, b1) in zip(own.parameters, single.parameters, strict=True):
                np.testing.assert_allclose(w, w1, rtol=2e-4, atol=2e-4)
                np.testing.assert_allclose(b, b1, rtol=2e-4, atol=2e-4)


def test_population(quick_backend: Backend) -> None:
    run = train(X, y, **SMALL, epochs=2, snapshots=2, seed=(0, 1, 2), backend=quick_backend)
    last = run.snapshots[-1]
    assert last.parameters[0][0].shape == (3, 4, 3)
    network = run.network.member(1)
    np.testing.assert_array_equal(
        last.members(1).parameters[0][0], network.backend.to_numpy(network.layers[0].weights)
    )


@pytest.mark.parametrize("wrong", [1, -1, 2.5, "all"])
def test_what_is_no_number_of_them(wrong: object) -> None:
    with pytest.raises(ValueError, match="snapshots must be 0, or a whole number from 2"):
        train(X, y, snapshots=wrong)  # type: ignore[arg-type]


def test_true_is_a_number_of_them() -> None:
    run = train(X, y, **SMALL, epochs=40, snapshots=True)
    assert 8 <= len(run.snapshots) <= 16
    assert repr(run.snapshots[0]) == "<Snapshot before the first step, 2 layers>"
    assert repr(run.snapshots[-1]) == "<Snapshot after epoch 39, 2 layers>"
