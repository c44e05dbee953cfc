"""What a run trains with where nothing is said: optimiser, rate, schedule, decay, minibatches."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Settings
from arraymlp.data.splits import folds
from arraymlp.schedules import get_schedule
from arraymlp.steps.optimizers import OPTIMIZERS, Adam, AdamW
from runs import assert_same_bits, go_on, interrupt_after, parameters

HostArray = np.ndarray[Any, Any]
DECAY = 0.0005  # of each weight a step, at the schedule's highest rate


def table(n: int, features: int = 8) -> tuple[HostArray, HostArray]:
    """Rows of n, and a number far from 0 that they decide but for a tenth of noise."""
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, features))
    return X, 500 + 80 * (np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=n))


def defaults(**given: Any) -> dict[str, Any]:
    """Settings of a run on the small problem, of which none says how to learn."""
    return {"hidden": problems.HIDDEN, "dtype": "float64", "backend": "numpy", **given}


# Settings


@pytest.mark.parametrize(
    ("hidden", "rate"),
    [
        ((100, 100), 0.002),
        ((512,), 0.001),
        ((50,), 0.004),
        ((200, 40, 60), 0.005),  # the narrowest
        ((10,), 0.01),
        ((3, 100), 0.01),
        ((), 0.01),
    ],
)
def test_auto_is_adamw_with_a_rate_by_the_narrowest_layer(
    hidden: tuple[int, ...], rate: float
) -> None:
    for given in ({}, {"optimizer": "auto"}):
        settings = Settings(hidden=hidden, **given)
        assert type(settings.optimizer) is AdamW
        assert settings.optimizer == AdamW(weight_decay=None)
        assert settings.learning_rate == pytest.approx(rate)
        assert settings.decay == pytest.approx(DECAY / rate)
        assert settings.schedule == get_schedule("cosine")


def test_each_part_of_auto_may_be_given() -> None:
    given = Settings(learning_rate=0.02)
    assert (given.learning_rate, given.decay) == (0.02, pytest.approx(DECAY / 0.02))
    assert given.schedule == get_schedule("cosine")
    assert Settings(weight_decay=0.0).decay == 0
    assert Settings(schedule="constant").schedule == get_schedule("constant")
    each = Settings(learning_rate=(0.001, 0.02, 0.5), seed=(0, 1, 2))
    assert each.decay == pytest.approx([DECAY / rate for rate in (0.001, 0.02, 0.5)])
    each.require_members(3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_optimizer_has_its_own_rate_and_no_schedule(name: str) -> None:
    settings = Settings(optimizer=name, hidden=(10,))
    of_sgd = name in ("sgd", "momentum", "nesterov")
    assert settings.learning_rate == (0.05 if of_sgd else 0.001)
    assert settings.decay == (0.01 if name == "adamw" else 0)
    assert settings.schedule == get_schedule("constant")


def test_constants_for_adamw_are_no_auto() -> None:
    settings = Settings(optimizer=AdamW(), hidden=(10,))
    assert (settings.learning_rate, settings.decay) == (0.001, 0.01)
    assert settings.schedule == get_schedule("constant")


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 1), (99, 1), (199, 1), (200, 2), (9_999, 99), (10_000, 100), (10_000_000, 100)],
)
def test_a_minibatch_is_a_hundredth_of_the_rows(rows: int, size: int) -> None:
    assert Settings().batch_size is None
    assert Settings().for_rows(rows).batch_size == size
    assert Settings(batch_size=7).for_rows(rows).batch_size == 7


# Runs


@pytest.mark.parametrize("n", [2, 7, 99, 100, 250, 20_000])
def test_tables_of_every_size_are_trained_on(n: int) -> None:
    X, y = table(n)
    run = arraymlp.train(X, y, hidden=(16,), epochs=2, backend="numpy")
    size = min(max(n // 100, 1), 100)
    assert run.settings.batch_size == size
    assert run.history[-1]["step"] == 2 * -(-n // size)
    assert np.isfinite(run.history["loss"]).all()
    assert run.network.predict(X).shape == (n,)
    labels = arraymlp.train(X, np.arange(n) % 2, hidden=(16,), epochs=1, backend="numpy")
    assert labels.settings.batch_size == size


def test_a_minibatch_is_of_the_rows_that_are_not_held_out() -> None:
    X, y = table(250)
    run = arraymlp.train(X, y, hidden=(4,), epochs=1, validation=0.25, backend="numpy")
    assert run.settings.batch_size == 1
    further = go_on(run, X=np.tile(X, (2, 1)), y=np.tile(y, 2), epochs=1)
    assert further.settings.batch_size == 1  # the run's own


@pytest.mark.parametrize("task", ["regression", "classes"])
def test_networks_of_every_shape_learn(task: str) -> None:
    """A few epochs bring each shape below guessing, and none diverges."""
    X, y = table(400)
    if task == "classes":
        y = (y > 500).astype(np.int64)
    guess = np.var(y) / 2 if task == "regression" else np.log(2)
    for width, depth in product((8, 32, 128, 512), (1, 2, 4, 6)):
        hidden = (width,) * depth
        # Wide and deep networks need few steps, and each takes long.
        epochs, batch_size = (6, 4) if width * depth < 500 else (3, 8)
        run = arraymlp.train(
            X, y, hidden=hidden, epochs=epochs, batch_size=batch_size, backend="numpy"
        )
        assert run.history[-1]["loss"] < 0.8 * guess, hidden
        assert np.isfinite(run.history["loss"]).all()


def test_the_rate_of_each_epoch_is_the_schedules() -> None:
    X, y = problems.labels()
    run = arraymlp.train(X, y, **defaults(epochs=3, batch_size=8))
    factors = get_schedule("cosine").factors(np.arange(2, 9, 3)[:, None], 9)
    highest = 0.01  # the narrowest layer has 5 units
    np.testing.assert_allclose(run.history["learning_rate"], highest * factors[:, 0])
    assert factors[-1] < 0.1 < factors.max()


def test_weights_that_learn_nothing_decay_by_a_share_a_step() -> None:
    """Rows of zeros have no gradient for the first layer. The share is the same at any rate."""
    X, y = np.zeros((8, 3)), np.zeros(8)
    given = defaults(hidden=(4,), batch_size=1, epochs=5, schedule="constant")
    start = arraymlp.train(X, y, **{**given, "epochs": 0}).network.layers[0].weights
    for rate in (1e-3, 0.5):
        run = arraymlp.train(X, y, learning_rate=rate, **given)
        expected = start * (1 - DECAY) ** 40
        np.testing.assert_allclose(run.network.layers[0].weights, expected, rtol=1e-12)


# Populations and sweeps


@pytest.mark.parametrize("y", ["labels", "numbers"])
def test_members_have_the_rate_and_the_decay_that_they_have_alone(y: str) -> None:
    X, targets = getattr(problems, y)()
    rates = (0.001, 0.01, 0.05)
    given = defaults(epochs=3, batch_size=8)
    together = arraymlp.train(X, targets, seed=(0, 1, 2), learning_rate=rates, **given)
    for k, rate in enumerate(rates):
        alone = arraymlp.train(X, targets, seed=k, learning_rate=rate, **given)
        ours = [losses[k] for losses in together.history["loss"]]
        np.testing.assert_allclose(ours, alone.history["loss"], rtol=1e-9)


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": [0.001, 0.01, 0.05]},
        {"optimizer": ["auto", "sgd", "adamw"]},
        {"optimizer": ["auto", AdamW(), AdamW(weight_decay=None), Adam()]},
        {"hidden": [(6, 5), (40,), ()]},
        {"weight_decay": [None, 0.0, 0.1], "learning_rate": [None, 0.01]},
        {"schedule": ["cosine", "constant", "step"]},
        {"standardize": [False, True, "targets", "features"]},
        {"batch_size": [None, 5]},
    ],
    ids=str,
)
@pytest.mark.parametrize("more", [{}, {"cv": 3}], ids=["whole", "folds"])
@pytest.mark.parametrize("y", ["labels", "numbers"])
def test_networks_of_a_sweep_are_as_alone(
    given: dict[str, Any], more: dict[str, Any], y: str
) -> None:
    X, targets = getattr(problems, y)()
    settings = defaults(epochs=2, seed=3)
    result = arraymlp.sweep(X, targets, **{**settings, **given}, **more)
    parts = folds(len(X), 3, 0, targets if y == "labels" else None)
    for member in result:
        rows = np.arange(len(X)) if member.fold is None else parts[member.fold][0]
        seeds = {name: member.settings[name] for name in ("seed", "order_seed")}
        alone = arraymlp.train(X[rows], targets[rows], **{**settings, **member.swept, **seeds})
        np.testing.assert_allclose(member.history["loss"], alone.history["loss"], rtol=1e-9)
        assert member.history["learning_rate"] == alone.history["learning_rate"]
        run = result.run(member.number)
        for name in ("learning_rate", "weight_decay", "schedule", "batch_size"):
            assert getattr(run.settings, name) == getattr(alone.settings, name)


def test_folds_have_minibatches_of_one_size() -> None:
    """300 rows in folds of 199 and 201: alone one would have 1 row a step, the other 2."""
    X, y = table(300)
    cv = [(np.arange(199), np.arange(199, 300)), (np.arange(201), np.arange(201, 300))]
    result = arraymlp.sweep(X, y, cv=cv, epochs=1, hidden=(4,), backend="numpy")
    assert [m.settings["batch_size"] for m in result] == [1, 1]
    whole = arraymlp.sweep(X, y, epochs=1, hidden=(4,), seed=[0, 1], backend="numpy")
    assert {m.settings["batch_size"] for m in whole} == {3}
    held_out = arraymlp.sweep(
        X, y, epochs=1, hidden=(4,), order_seed=[0, 1], validation=0.5, backend="numpy"
    )
    assert {m.settings["batch_size"] for m in held_out} == {1}


# Going on


def test_a_sweeps_network_goes_on_at_another_rate_as_it_would_alone() -> None:
    X, y = problems.numbers()
    given = defaults(epochs=1, batch_size=8)
    members = arraymlp.sweep(X, y, learning_rate=[1e-4, 1e-3], **given)
    alone = arraymlp.train(X, y, learning_rate=1e-4, **given)
    for run in (members.run(0), alone):
        assert go_on(run, learning_rate=0.3).settings.decay == pytest.approx(DECAY / 0.3)


def test_an_interrupted_run_ends_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problems.numbers()
    whole = arraymlp.train(X, y, **defaults(epochs=3))
    interrupt_after(monkeypatch, 30)  # of 24 an epoch
    broken = arraymlp.train(X, y, **defaults(epochs=3))
    assert broken.interrupted
    assert_same_bits(go_on(broken, epochs=2).network, whole.network)


def test_a_run_goes_on_with_its_settings_and_those_given() -> None:
    X, y = problems.labels()
    run = arraymlp.train(X, y, **defaults(epochs=1))
    further = go_on(run, learning_rate=0.002, epochs=1)
    assert further.settings.decay == pytest.approx(DECAY / 0.002)
    assert further.settings.schedule == run.settings.schedule
    assert further.settings.batch_size == run.settings.batch_size == 1
    other = go_on(run, optimizer="sgd", epochs=1)
    assert other.settings.learning_rate == run.settings.learning_rate
    assert other.settings.decay == 0
    network = go_on(run.network, X=X, y=y, epochs=1)
    assert network.settings.optimizer == AdamW(weight_decay=None)
    assert network.settings.learning_rate == 0.01  # by the network's own widths


def test_every_backend_trains_with_them(backend: Backend, float64: str) -> None:
    """In float64: where a gradient is near 0, Adam's step has the sign of a rounding."""
    X, y = problems.numbers()
    given = defaults(epochs=2, batch_size=8, standardize=True, validation=(X, y), dtype=float64)
    here = arraymlp.train(X, y, **given)
    given |= {"backend": backend.name, "device": backend.device}
    there = arraymlp.train(X, y, **given)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(there.history[name], here.history[name], rtol=1e-9)
    for a, b in zip(parameters(there.network), parameters(here.network), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)
