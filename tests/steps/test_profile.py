"""The profile of a run: its parts add up to the epochs' seconds, and nothing else changes."""

from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend
from arraymlp.steps.profile import PARTS
from problems import BATCH, HIDDEN, N, labels


def train(backend: Backend, **settings: Any) -> arraymlp.Run:
    X, y = labels()
    common: dict[str, Any] = {"hidden": HIDDEN, "batch_size": BATCH, "epochs": 3, "progress": False}
    return arraymlp.train(X, y, backend=backend, **(common | settings))


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_the_parts_are_the_whole(quick_backend: Backend, engine: Any) -> None:
    run = train(quick_backend, profile=True, engine=engine, validation=0.25)
    profile = run.profile
    assert profile is not None
    assert (profile.epochs, profile.steps) == (3, 3 * -(-N * 3 // 4 // BATCH))
    assert tuple(profile.seconds) == PARTS
    assert all(seconds > 0 for seconds in profile.seconds.values())
    # What the timers themselves take between two parts is the host's.
    assert profile.total == pytest.approx(sum(run.history["seconds"]), rel=1e-6)


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_measuring_changes_no_result(quick_backend: Backend, engine: Any) -> None:
    measured, plain = (
        train(quick_backend, profile=True, engine=engine),
        train(quick_backend, engine=engine),
    )
    # A profile is of single steps, of NumPy's by the definition: they add up in another order.
    rtol = 1e-5 if plain.engine != "array" else 0.0
    np.testing.assert_allclose(measured.history["loss"], plain.history["loss"], rtol=rtol)
    assert plain.profile is None


def test_it_works_where_arrays_cannot_be_written(backend: Backend) -> None:
    assert train(backend, epochs=1, profile=True).profile is not None


def test_only_products_are_products(numpy_backend: Backend) -> None:
    # One wide product a step, and next to nothing else.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(512, 700)).astype(np.float32), rng.integers(0, 2, 512)
    settings: dict[str, Any] = {
        "hidden": (700,),
        "batch_size": 512,
        "epochs": 5,
        "optimizer": "sgd",
    }
    for engine in ("auto", "array"):
        run = arraymlp.train(X, y, backend="numpy", profile=True, engine=engine, **settings)
        assert run.profile is not None
        seconds = run.profile.seconds
        assert seconds["products"] > seconds["gather"]
        assert seconds["products"] > seconds["host"]


def test_it_is_shown_as_a_table(numpy_backend: Backend) -> None:
    shown = str(train(numpy_backend, profile=True).profile).splitlines()
    assert shown[0].startswith("3 epochs, 9 steps, ")
    assert shown[0].endswith("on numpy " + np.__version__ + " on cpu")
    assert [line.split()[0] for line in shown[1:]] == list(PARTS)
    assert all(line.endswith("%") for line in shown[1:])


def test_going_on_measures_anew_or_not_at_all(numpy_backend: Backend) -> None:
    run = train(numpy_backend, profile=True)
    assert arraymlp.train(network=run, epochs=1).profile is None
    profile = arraymlp.train(network=run, epochs=1, profile=True).profile
    assert profile is not None
    assert profile.epochs == 1
