"""Early stopping: where it stops, which weights it gives back, and how a run goes on from there."""

import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Run
from arraymlp.nn.metrics import Metric
from arraymlp.steps.schedules import Adaptive
from arraymlp.training.early_stopping import EarlyStopping
from runs import assert_same_bits, go_on, interrupt_after, parameters, train, train_on

HostArray = np.ndarray[Any, Any]
EPOCHS = 25
STEPS = problems.N // problems.BATCH
SEEDS, RATES = (0, 1, 2), (0.02, 0.05, 0.1)  # best at epochs 12, 4 and 2


def noisy() -> tuple[HostArray, HostArray]:
    """Rows whose labels are partly wrong: the loss on them falls at first, and rises later."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(20, problems.FEATURES))
    W = np.random.default_rng(21).normal(size=(problems.FEATURES, problems.CLASSES))
    return X, np.argmax(X @ W + rng.normal(0, 1.5, (20, problems.CLASSES)), axis=1)


def trained(**given: Any) -> Run:
    defaults: dict[str, Any] = {"epochs": EPOCHS, "validation": noisy(), "seed": 1}
    return train(**{**defaults, "metrics": ("accuracy", "log_loss"), **given})


@cache
def unstopped(seed: int = 1, rate: float = 0.05, average: float = 0.0) -> Run:
    return trained(seed=seed, learning_rate=rate, weight_average=average, training_error=True)


def by_hand(
    figures: list[float], patience: int, min_change: float = 0.0, greater: bool = False
) -> tuple[int | None, int]:
    """The epoch after which the training stops, or None, and the best one until then."""
    signed = [-f if greater else f for f in figures]
    best, at, waited = signed[0], 0, 0
    for epoch, figure in enumerate(signed[1:], 1):
        waited = 0 if figure < best and figure <= best - min_change else waited + 1
        if figure < best:
            best, at = figure, epoch
        if waited == patience:
            return epoch, at
    return None, at


# --- one network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize(
    ("monitor", "patience", "min_change"),
    [
        ("validation_loss", 1, 0.0),
        ("validation_loss", 3, 0.0),
        ("validation_loss", 2, 0.05),
        ("validation_accuracy", 3, 0.0),
        ("validation_accuracy", 4, 0.05),
        ("validation_log_loss", 6, 0.0),
        ("validation_error", 5, 0.0),
        ("loss", 2, 0.03),
        ("training_loss", 3, 0.02),
    ],
)
def test_it_stops_where_it_shall_with_the_weights_it_shall(
    monitor: str, patience: int, min_change: float, restore_best: bool
) -> None:
    free = unstopped()
    stop, best = by_hand(free.history[monitor], patience, min_change, "accuracy" in monitor)
    assert stop is not None
    run = trained(
        early_stopping=EarlyStopping(monitor, patience, min_change, restore_best),
        training_error=monitor.startswith("training"),
    )
    assert run.history["epoch"] == list(range(stop + 1))
    assert run.history[monitor] == free.history[monitor][: stop + 1]
    assert not run.interrupted
    kept = best if restore_best else stop
    assert run.best_epoch == kept
    assert_same_bits(run.network, trained(epochs=kept + 1).network)


def test_true_is_ten_epochs_of_validation_loss() -> None:
    stop, best = by_hand(unstopped().history["validation_loss"], 10)
    run = trained(early_stopping=True)
    assert (len(run.history) - 1, run.best_epoch) == (stop, best)
    assert trained(epochs=3, early_stopping=False).best_epoch is None


@pytest.mark.parametrize("end", ["epochs", "callback"])
def test_a_run_that_ends_otherwise_has_its_best_weights_too(end: str) -> None:
    given = {"epochs": 8} if end == "epochs" else {"callbacks": [lambda e: e.number == 8]}
    run = trained(early_stopping=True, **given)
    assert len(run.history) == 8
    assert run.best_epoch == 4
    assert_same_bits(run.network, trained(epochs=5).network)
    last = trained(early_stopping=EarlyStopping(restore_best=False), **given)
    assert last.best_epoch == 7
    assert_same_bits(last.network, trained(epochs=8).network)


def test_averaged_weights_are_watched_and_given_back_with_those_that_are_trained() -> None:
    figures = unstopped(average=0.9).history["validation_loss"]
    stop, best = by_hand(figures, 3)
    run = trained(weight_average=0.9, early_stopping=EarlyStopping(patience=3))
    assert run.history["validation_loss"] == figures[: stop + 1]  # type: ignore[operator]
    expected = trained(weight_average=0.9, epochs=best + 1)
    assert run.best_epoch == best
    assert_same_bits(run.network, expected.network)
    assert_same_bits(run.raw_network, expected.raw_network)


def test_a_figure_of_ones_own_is_watched_once_its_direction_is_known() -> None:
    def sureness(y: Any, output: Any, weight: Any) -> Any:
        return output.max(axis=-1).mean()

    given: dict[str, Any] = {"metrics": [sureness], "early_stopping": "validation_sureness"}
    with pytest.raises(ValueError, match="cannot know whether a greater validation_sureness is"):
        trained(**given)
    for greater in (True, False):
        given["early_stopping"] = EarlyStopping("validation_sureness", greater_is_better=greater)
        figures = trained(metrics=[sureness]).history["validation_sureness"]
        stop, best = by_hand(figures, 10, greater=greater)
        run = trained(**given)
        assert run.best_epoch == best
        assert len(run.history) == (EPOCHS if stop is None else stop + 1)
    known = Metric("sure", lambda p, xp: xp.mean(p.s), greater_is_better=True)
    assert trained(metrics=[known], epochs=2, early_stopping="validation_sure").best_epoch in (0, 1)


# --- populations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("patience", [(2, 4, 7), (20, 1, 3), 5], ids=str)
def test_a_member_stops_as_it_would_alone(
    patience: Any, restore_best: bool, average: float
) -> None:
    many = patience if isinstance(patience, tuple) else (patience,) * 3
    settings = {"optimizer": "adam", "weight_average": average}
    rates = tuple(rate / 4 for rate in RATES)
    together = trained(
        seed=SEEDS,
        learning_rate=rates,
        early_stopping=EarlyStopping(
            patience=patience, min_change=(0.0, 0.01, 0.0), restore_best=restore_best
        ),
        **settings,
    )
    lengths = set()
    for k in range(3):
        alone = trained(
            seed=SEEDS[k],
            learning_rate=rates[k],
            early_stopping=EarlyStopping(
                patience=many[k], min_change=(0.0, 0.01, 0.0)[k], restore_best=restore_best
            ),
            **settings,
        )
        lengths.add(len(alone.history))
        assert together.best_epoch[k] == alone.best_epoch
        assert np.broadcast_to(together.updates, (3,))[k] == alone.updates
        for ours, theirs in (
            (together.network, alone.network),
            (together.raw_network, alone.raw_network),
        ):
            for a, b in zip(parameters(ours.member(k)), parameters(theirs), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(
            [loss[k] for loss in together.history["loss"]][: len(alone.history)],
            alone.history["loss"],
            rtol=1e-9,
        )
    assert len(lengths) > 1  # they stop at different epochs
    assert len(together.history) == max(lengths)


def test_members_stop_alike_on_every_backend(quick_backend: Backend) -> None:
    settings = {"seed": SEEDS, "learning_rate": (0.1, 0.2, 0.3), "epochs": 6}
    given = {"validation": noisy(), "early_stopping": EarlyStopping(patience=(1, 3, 2))}
    there = train_on(quick_backend, **settings, **given)
    here = train(dtype="float32", **settings, **given)
    assert len(set(here.best_epoch)) > 1
    assert there.best_epoch == here.best_epoch
    for a, b in zip(parameters(there.network), parameters(here.network), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_a_member_that_diverges_stops_and_leaves_the_others_alone() -> None:
    X, y = problems.numbers()
    settings = {"validation": (X, y), "seed": SEEDS, "metrics": (), "early_stopping": True}
    run = train(X, y, learning_rate=(0.02, 1e30, 0.05), epochs=12, **settings)
    alone = train(X, y, learning_rate=0.05, epochs=12, **{**settings, "seed": 2})
    assert run.best_epoch[2] == alone.best_epoch
    for a, b in zip(parameters(run.network.member(2)), parameters(alone.network), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("seed", [1, SEEDS], ids=["one", "population"])
def test_a_stopped_run_goes_on_from_what_it_gave_back(seed: Any, average: float) -> None:
    """Weights, averages, the optimiser's state and its count of steps, of each member's epoch."""
    settings = {
        "optimizer": "adam",
        "learning_rate": 0.02 if seed == 1 else (0.005, 0.02, 0.04),
        "weight_average": average,
        "shuffle": False,  # or the epochs that come would have other orders
    }
    stopped = trained(seed=seed, early_stopping=EarlyStopping(patience=3), **settings)
    further = go_on(stopped, epochs=2, early_stopping=False)
    assert further.history["epoch"][-1] == len(stopped.history) + 1
    for k, best in enumerate(np.ravel(stopped.best_epoch)):
        run = trained(seed=seed, epochs=int(best) + 1, **settings)
        expected = go_on(run, epochs=2)
        for ours, theirs in (
            (further.network, expected.network),
            (further.raw_network, expected.raw_network),
        ):
            own = slice(None) if seed == 1 else k
            for a, b in zip(parameters(ours), parameters(theirs), strict=True):
                np.testing.assert_array_equal(a[own], b[own])


def test_no_more_epochs_change_nothing() -> None:
    stopped = trained(early_stopping=True)
    same = go_on(stopped, epochs=0)
    assert_same_bits(same.network, stopped.network)
    assert same.best_epoch == stopped.best_epoch


class StopsAt:
    """A callback that stops after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Any) -> None:
        pass

    def on_step(self, event: Any) -> bool:
        return bool(event.step == self.step)


# Of one network the best epoch is 4 (steps 13 to 15) and the last 9 (steps 28 to 30).
@pytest.mark.parametrize("at", [1, 3, 13, 15, 22, 29, 30])
@pytest.mark.parametrize("kind", ["one", "average", "adaptive", "last", "population"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    monkeypatch: pytest.MonkeyPatch, kind: str, at: int
) -> None:
    settings: dict[str, Any] = {"early_stopping": EarlyStopping(patience=5)}
    if kind == "average":
        settings["weight_average"] = 0.5
    if kind == "adaptive":  # the schedule watches whole epochs, too
        settings["schedule"] = Adaptive("validation_loss", 0.5, patience=2, min_change=0.0)
    if kind == "last":
        settings["early_stopping"] = EarlyStopping(patience=5, restore_best=False)
    if kind == "population":
        settings = {"seed": SEEDS, "learning_rate": RATES}
        settings["early_stopping"] = EarlyStopping(patience=(2, 5, 7))
    whole = trained(**settings)
    interrupt_after(monkeypatch, at)
    broken = trained(**settings)
    assert broken.interrupted
    assert broken.best_epoch is None
    run = go_on(broken, epochs=EPOCHS - at // STEPS)
    assert_same_bits(run.network, whole.network)
    assert_same_bits(run.raw_network, whole.raw_network)
    assert run.best_epoch == whole.best_epoch
    ends = [r for r in run.history if r["step"] % STEPS == 0][: len(whole.history)]
    # a loss that was added up in two parts may be rounded otherwise
    for column in ("epoch", "step", "loss", "validation_loss"):
        np.testing.assert_allclose([r[column] for r in ends], whole.history[column], rtol=1e-12)


def test_a_run_that_a_callback_stopped_in_an_epoch_ends_as_if_it_had_not() -> None:
    settings = {"early_stopping": EarlyStopping(patience=5)}
    broken = trained(callbacks=[StopsAt(20)], **settings)
    assert broken.history[-1]["step"] == 20
    run = go_on(broken, epochs=EPOCHS - 20 // STEPS)
    assert run.best_epoch == 4
    assert_same_bits(run.network, trained(**settings).network)


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adam", "learning_rate": 0.5},
        {"weight_average": 0.9, "learning_rate": 0.5},
        {"early_stopping": "loss"},
    ],
    ids=["optimizer", "average", "figure"],
)
def test_an_interrupted_run_may_go_on_otherwise(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    interrupt_after(monkeypatch, 7 * STEPS + 1)  # the best epoch so far is the fifth
    run = go_on(trained(early_stopping=True), epochs=6, **changed)
    further = go_on(run, epochs=2)  # the state is that of the optimiser, or this fails
    assert np.isfinite(further.history["loss"]).all()


# --- what is refused -----------------------------------------------------------------------------


def never(event: Any) -> None:
    pytest.fail("an epoch was trained")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"validation": None, "metrics": (), "early_stopping": True},
            "early_stopping watches 'validation_loss', but there will be only loss; give valid",
        ),
        (
            {"metrics": (), "early_stopping": "validation_f1"},
            "watches 'validation_f1', but there will be only loss, validation_loss, "
            "validation_error; metrics=.'f1'. adds it",
        ),
        (
            {"training_error": True, "early_stopping": "f1"},
            "watches 'f1', but there will be only loss, training_loss, training_error, "
            "training_accuracy, training_log_loss, validation_loss, validation_error, "
            "validation_accuracy, validation_log_loss$",
        ),
        (
            {"validation": None, "metrics": (), "schedule": Adaptive("validation_loss")},
            "schedule watches 'validation_loss', but there will be only loss; give validation=",
        ),
        (
            {"seed": SEEDS, "early_stopping": EarlyStopping(patience=(1, 2))},
            "EarlyStopping.patience has 2 values, but there are 3 members",
        ),
        ({"early_stopping": 3}, "early_stopping must be True, False, the name of a column"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_the_training(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trained(callbacks=[never], **given)


def test_regression_has_no_error_to_watch() -> None:
    X, y = problems.numbers()
    with pytest.raises(
        ValueError, match=r"will be only loss, validation_loss; did you mean 'validation_loss'\?$"
    ):
        train(X, y, validation=(X, y), early_stopping="validation_error")


@pytest.mark.parametrize("patience", [0, -1, 2.5, (3, 0), None])
def test_one_waits_an_epoch_at_least(patience: Any) -> None:
    with pytest.raises(ValueError, match="patience must be a whole number of epochs from 1"):
        EarlyStopping(patience=patience)


def test_the_kept_weights_are_the_runs_own() -> None:
    run = trained(early_stopping=True)
    before = parameters(run.network)
    go_on(run, epochs=3)
    for a, b in zip(parameters(run.network), before, strict=True):
        np.testing.assert_array_equal(a, b)


class Falling(arraymlp.schedules.Schedule):
    """A schedule of the user's own that in the end blows the network up."""

    def factors(self, steps: Any, n_steps: int) -> Any:
        return np.where(steps >= 18, 1e200, 1.0)


def test_a_run_that_diverges_gets_its_best_weights_back() -> None:
    given = {"early_stopping": "loss", "schedule": Falling()}
    X, y = problems.numbers()
    with pytest.raises(arraymlp.NonFiniteLossError) as caught:
        train(X, y, epochs=20, **given)
    run = caught.value.run
    assert run.best_epoch is not None
    alone = train(X, y, epochs=run.best_epoch + 1, **{**given, "early_stopping": False})
    assert_same_bits(run.network, alone.network)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.run.best_epoch == run.best_epoch


@pytest.mark.parametrize("bad", [np.ones(3), 0.5, np.full((3, 1), np.nan), np.ones((3, 2))])
def test_a_schedule_must_give_a_factor_for_each_step(bad: Any) -> None:
    class Wrong(arraymlp.schedules.Schedule):
        def factors(self, steps: Any, n_steps: int) -> Any:
            return bad

    with pytest.raises(ValueError, match="Wrong"):
        train(epochs=1, schedule=Wrong())


def test_going_on_after_the_end_keeps_what_was_best() -> None:
    run = trained(early_stopping=EarlyStopping("loss", patience=2), epochs=8)
    further = go_on(run, learning_rate=1e3, epochs=3)
    assert further.best_epoch == run.best_epoch
    assert_same_bits(further.network, run.network)


def test_an_adaptive_rate_goes_on_from_where_it_was() -> None:
    given = {"schedule": Adaptive(patience=1, min_change=10.0), "learning_rate": 0.1}
    rates = [0.1, 0.1 * 0.2, 0.1 * 0.2**2, 0.1 * 0.2**3]
    run = trained(**given, epochs=3)
    np.testing.assert_allclose(run.history["learning_rate"], [0.1, *rates[:2]])
    further = go_on(run, epochs=1, validation=problems.labels())
    assert further.history[-1]["learning_rate"] == pytest.approx(rates[2])


def test_going_on_from_a_diverged_run_knows_what_was_best() -> None:
    X, y = problems.numbers()
    with pytest.raises(arraymlp.NonFiniteLossError) as caught:
        train(X, y, epochs=20, early_stopping="loss", schedule=Falling())
    run = caught.value.run
    further = go_on(run, epochs=1, schedule="constant", learning_rate=1.0)
    assert further.history[-1]["loss"] > run.history[run.best_epoch]["loss"]
    assert_same_bits(further.network, run.network)
    assert further.best_epoch == run.best_epoch


@pytest.mark.parametrize("before_the_end", [0, 1])
def test_an_interrupt_at_an_epochs_end_makes_no_epoch_more(
    before_the_end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"early_stopping": EarlyStopping(patience=2), "epochs": 30, "learning_rate": 0.3}
    whole = trained(**given)
    steps = (len(whole.history) - before_the_end) * 3
    interrupt_after(monkeypatch, steps)
    broken = trained(**given)
    assert broken.interrupted
    monkeypatch.undo()
    nothing = go_on(broken, epochs=0)  # it keeps the patience, or ends what had ended
    for run in (
        go_on(broken, epochs=20),
        go_on(nothing, epochs=20) if before_the_end else nothing,
    ):
        assert len(run.history) == len(whole.history)
        assert run.best_epoch == whole.best_epoch
        assert_same_bits(run.network, whole.network)
