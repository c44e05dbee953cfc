"""Trainings that are broken off again and again, and go on from their checkpoints."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from arraymlp import Run
from arraymlp.callbacks import Callback
from arraymlp.training.callbacks import EpochEnd, StepEnd
from conftest import assert_same

TIMES = ("seconds", "samples_per_s")


class Killed(BaseException):
    """What a kill is here; no code catches it."""


class KilledAt(Callback):
    """Ends the training at so many epochs or steps, with no more ado than a kill makes."""

    def __init__(self, epochs: float = float("inf"), steps: float = float("inf")) -> None:
        self.epochs, self.steps = epochs, steps
        if steps == float("inf"):
            self.on_step = None  # type: ignore[assignment]  # and so no engine has to go by steps

    def __call__(self, event: EpochEnd) -> None:
        self.epochs -= 1
        if self.epochs < 0:
            raise Killed

    def on_step(self, event: StepEnd) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed


def kills(seed: int, steps: int) -> Iterator[KilledAt]:
    """Kills after a few steps or epochs, by turns; after twenty of them none."""
    random = Random(seed)
    for i in range(20):
        yield (
            KilledAt(epochs=random.randint(0, 3))
            if i % 2
            else KilledAt(steps=random.randint(0, steps))
        )
    while True:
        yield KilledAt()


def until_done(start: Callable[[KilledAt], Run], seed: int, steps: int) -> tuple[Run, int]:
    """Start a training anew after each kill; return the run that ends, and the number of kills."""
    for n, kill in enumerate(kills(seed, steps)):
        try:
            return start(kill), n
        except Killed:
            pass
    raise AssertionError


def without_times(run: Any) -> list[dict[str, Any]]:
    """The records, but for what a clock says."""
    return [{k: v for k, v in r.items() if k not in TIMES} for r in run.history]


def assert_same_run(actual: Run, expected: Run) -> None:
    """All that a run has is the same, to the bit."""
    for name in ("network", "raw_network"):
        layers = getattr(actual, name).layers, getattr(expected, name).layers
        for a, b in zip(*layers, strict=True):
            assert_same(a.weights, b.weights)
            assert_same(a.bias, b.bias)
    assert repr(without_times(actual)) == repr(without_times(expected))
    assert [m.to_dict() for m in actual.measurements] == [
        m.to_dict() for m in expected.measurements
    ]
    for name in ("best_epoch", "ended", "dead_units", "steps_done", "next_epoch"):
        assert getattr(actual, name) == getattr(expected, name), name
