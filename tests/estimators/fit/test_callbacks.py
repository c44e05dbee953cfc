"""Callbacks of the core, and Ctrl-C, in a fit."""

import signal
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")


from arraymlp import MLPClassifier, MLPRegressor
from arraymlp.callbacks import Callback, EpochEnd, StepEnd, StopAt
from sklearn_pairs import (
    BASE,
    EACH,
    LABELS,
    SCORES,
    SGD_SOLVER,
    TARGETS,
    WEIGHT,
    HostArray,
    N,
    X,
    assert_same_weights,
    warned,
)


def stop_after(epoch: int) -> Callable[[EpochEnd], bool]:
    return lambda event: event.number == epoch


@EACH
def test_a_callback_stops(Estimator: type) -> None:
    seen: list[int] = []

    def note(event: EpochEnd) -> None:
        seen.append(event.number)
        assert event.epochs == BASE["max_iter"]

    model = Estimator(**BASE, callbacks=[note, stop_after(4)])
    assert warned(model.fit, X, TARGETS[Estimator]) == []  # nor a warning of the last epoch
    assert seen == [1, 2, 3, 4]
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 4
    alone = Estimator(**BASE, callbacks=stop_after(4))
    assert warned(alone.fit, X, TARGETS[Estimator]) == []
    assert_same_weights(model, alone, rtol=0, atol=0)


def test_a_callback_stops_within_an_epoch() -> None:
    class Stop:
        def __call__(self, event: EpochEnd) -> None:
            pass

        def on_step(self, event: StepEnd) -> bool:
            return event.step == 6

    model = MLPClassifier(**BASE, callbacks=(Stop(),))
    assert warned(model.fit, X, LABELS) == []
    assert model.n_iter_ == 1
    assert model.history_[-1]["step"] == 6


def test_a_callback_of_the_core_stops() -> None:
    model = MLPClassifier(
        **BASE | {"max_iter": 60, "tol": 0.0}, callbacks=StopAt("loss", below=0.5)
    )
    assert warned(model.fit, X, LABELS) == []
    assert model.history_["loss"][-1] <= 0.5 < min(model.history_["loss"][:-1])


def test_callbacks_see_partial_fits_as_well() -> None:
    seen: list[float] = []
    model = MLPRegressor(**BASE, callbacks=lambda event: seen.append(event.record["loss"]))
    for _ in range(3):
        model.partial_fit(X, SCORES)
    assert len(seen) == 3
    assert model.history_["loss"] == seen


def interrupt_after(epoch: int) -> Callable[[EpochEnd], None]:
    def callback(event: EpochEnd) -> None:
        if event.number == epoch:
            signal.raise_signal(signal.SIGINT)

    return callback


SIGNALS = pytest.mark.xdist_group("signals")
INTERRUPTED = [(UserWarning, "Training interrupted by user.")]


@SIGNALS
@EACH
def test_ctrl_c_keeps_what_was_trained(Estimator: type) -> None:
    model = Estimator(**BASE, callbacks=interrupt_after(3))
    assert warned(model.fit, X, TARGETS[Estimator]) == INTERRUPTED
    assert model.n_iter_ == len(model.loss_curve_) == 3
    three = Estimator(**BASE | {"max_iter": 3})
    warned(three.fit, X, TARGETS[Estimator])
    assert_same_weights(model, three, rtol=0, atol=0)


@SIGNALS
@EACH
def test_ctrl_c_gives_the_best_epoch_of_early_stopping(Estimator: type) -> None:
    given = SGD_SOLVER | {"early_stopping": True, "learning_rate_init": 0.1, "max_iter": 12}
    model = Estimator(**BASE | given, callbacks=interrupt_after(11))
    assert warned(model.fit, X, TARGETS[Estimator]) == INTERRUPTED
    scores = model.validation_scores_
    best = int(np.argmax(scores))
    assert 0 < best < 10  # or the last epoch would do
    short = Estimator(**BASE | given | {"max_iter": best + 1})
    warned(short.fit, X, TARGETS[Estimator])
    assert_same_weights(model, short, rtol=0, atol=0)


class InterruptAfterStep(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, event: StepEnd) -> None:
        if event.step == self.step:
            signal.raise_signal(signal.SIGINT)


@SIGNALS
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_ctrl_c_within_an_epoch(weight: HostArray | None) -> None:
    model = MLPClassifier(**BASE, callbacks=[InterruptAfterStep(6)])  # of four an epoch
    assert warned(model.fit, X, LABELS, weight) == INTERRUPTED
    assert model.n_iter_ == len(model.loss_curve_) == 1
    assert model.t_ == N
    assert model.score(X, LABELS) > 0
    model.set_params(callbacks=None).partial_fit(X, LABELS, weight)
    assert model.n_iter_ == 1
    assert len(model.loss_curve_) == 2
