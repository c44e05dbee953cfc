"""Schedules: the learning rate's factor as a function of the step.

The learning rate itself is a setting of `train`; a schedule gives the factor on it. Each constant
is one value, or K: one for each member of a population.

A duration is a whole number of steps, or a number between 0 and 1: that fraction of the whole run,
rounded up to whole steps, so that three thirds of a run are never shorter than it. 1.0 is refused,
since it is too easily taken for one step.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from arraymlp._checks import (
    NOT_NEGATIVE,
    POSITIVE,
    Rule,
    as_floats,
    keep_numbers,
    lookup,
    require_methods,
)
from arraymlp.backends.array import HostArray
from arraymlp.nn.metrics import METRICS, greater_is_better
from arraymlp.steps.patience import EPOCHS, Patience

Numbers: TypeAlias = float | Sequence[float]


class Schedule:
    """The base class of schedules: factors on the learning rate; a subclass defines `factors`.

    In the schedules below, a *duration* is a whole number of steps, or a number between 0 and 1:
    that fraction of the steps of the whole run, rounded up. Each constant is one value, or K, one a
    member; one that is out of its bounds is a ValueError.
    """

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """Return the factors on the learning rate, float64.

        Args:
            steps: (S, 1) int64, counted from 0 over the whole run.
            n_steps: the number of steps of the whole run.

        Returns:
            (S, 1), or (S, K) where a constant or an observed record has K values.
        """
        raise NotImplementedError(f"{type(self).__name__} must define factors(steps, n_steps)")

    def begin(self) -> "Schedule":
        """Return the schedule for one run: a copy where it remembers epochs."""
        return self

    def observe(self, record: Mapping[str, object]) -> None:
        """Called with each epoch's record, once it is in the history; here it does nothing."""

    def compare_anew(self) -> None:
        """Called where later records are of other data, not to be compared with earlier ones."""

    def state(self) -> Any:
        """Return what it remembers, in JSON's types, for a checkpoint; None for nothing, as here.

        One that remembers records (that has an ``observe``) needs this and ``restore``.
        """
        return None

    def restore(self, state: Any) -> None:
        """Take over what ``state`` returned, in a schedule that ``begin`` gave."""


@dataclass(frozen=True)
class Constant(Schedule):
    """No change of the learning rate: 1."""

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """Ones."""
        return np.ones(steps.shape)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A fall by a factor after every so many steps: ``factor ** floor(step / every)``.

    Attributes:
        every: duration of each level; 1/3 is a third of the run.
        factor: the ratio of each level to the one before, above 0 and up to 1.
    """

    every: Numbers = 1 / 3
    factor: Numbers = 0.1

    def __post_init__(self) -> None:
        _keep(self, every=_DURATION, factor=_DECAY)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """By the formula above."""
        return _power(as_floats(self.factor), steps // _in_steps(self.every, n_steps))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A steady fall, by a factor in so many steps: ``factor ** (step / every)``.

    Attributes:
        factor: above 0 and up to 1.
        every: duration in which the learning rate falls by the factor. With the defaults it falls
            to a tenth in half the run, and to a hundredth in all of it.
    """

    factor: Numbers = 0.1
    every: Numbers = 0.5

    def __post_init__(self) -> None:
        _keep(self, factor=_DECAY, every=_DURATION)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """By the formula above."""
        return _power(as_floats(self.factor), steps / _in_steps(self.every, n_steps))


@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up, then half a cosine wave down to the end of the run.

    With W steps of warm-up and N steps in all::

        step < W:  (step + 1) / W                                       (Goyal et al. 2017)
        step < N:  f + (1 - f) (1 + cos(pi (step - W) / (N - W))) / 2   (Loshchilov, Hutter 2017)
        later:     f

    Attributes:
        warm_up: duration W, or 0.
        final: f, from 0 to 1.
    """

    warm_up: Numbers = 0.05
    final: Numbers = 0.0

    def __post_init__(self) -> None:
        _keep(self, warm_up=_DURATION_OR_0, final=_FRACTION)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """By the formulas above; where N <= W, the whole run is warm-up."""
        warm_up, final = _in_steps(self.warm_up, n_steps), as_floats(self.final)
        done = np.clip((steps - warm_up) / np.maximum(n_steps - warm_up, 1), 0, 1)
        fall = final + (1 - final) * (1 + np.cos(np.pi * done)) / 2
        rise = (steps + 1) / np.maximum(warm_up, 1)
        return np.asarray(np.where(steps < warm_up, rise, fall))


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """A power of the elapsed time: ``(1 + step / every) ** -power``.

    scikit-learn's "invscaling" is ``(1 + t) ** -power`` with t in samples instead of steps, and
    changes at the end of an epoch only, so that the first epoch has the whole learning rate.

    Attributes:
        power: a positive number. Robbins and Monro (1951) require one above 1/2 and up to 1.
        every: duration that is the unit of time.
    """

    power: Numbers = 0.5
    every: Numbers = 1

    def __post_init__(self) -> None:
        _keep(self, power=POSITIVE, every=_DURATION)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """By the formula above."""
        return _power(1 + steps / _in_steps(self.every, n_steps), -as_floats(self.power))


@dataclass(frozen=True)
class Adaptive(Schedule):
    """A fall by a factor each time a figure has not improved for some epochs, member by member.

    After ``patience`` epochs without improvement the product of factors so far is multiplied by
    ``factor``, but stays at ``lowest`` or above, and the wait restarts. See `Patience` for what
    counts as an improvement.

    scikit-learn's "adaptive" is factor 0.2 and patience n_iter_no_change + 1, and also stops below
    a rate of 1e-6. PyTorch's ReduceLROnPlateau with threshold 0 has patience + 1, too; with another
    threshold its best is the last improvement, not the best of all epochs.

    Attributes:
        monitor: the column of the history that is watched.
        factor: above 0 and up to 1.
        patience: epochs to wait for an improvement, from 1.
        min_change: the least improvement that ends the wait, from 0, in the figure's own unit; None
            for a ten-thousandth of the best figure so far, whatever its unit.
        lowest: lower bound on the product of factors, from 0 to 1.
        greater_is_better: None for a loss, an error or a metric of this package, where it is known.
    """

    monitor: str = "loss"
    factor: Numbers = 0.2
    patience: int | Sequence[int] = 10
    min_change: Numbers | None = None
    lowest: Numbers = 0.0
    greater_is_better: bool | None = None

    def __post_init__(self) -> None:
        rules = {"factor": _DECAY, "lowest": _FRACTION, "patience": EPOCHS}
        if self.min_change is not None:
            rules["min_change"] = NOT_NEGATIVE
        _keep(self, **rules)
        greater = False if self.greater_is_better is None else self.greater_is_better
        Patience(self.monitor, self.patience, self.min_change, greater)  # refuses what is wrong
        if self._greater is None:
            raise ValueError(
                f"greater_is_better must be given for {self.monitor!r}, which is no loss, error or "
                "metric of this package: True or False"
            )

    @property
    def _greater(self) -> bool | None:
        given = self.greater_is_better
        return greater_is_better(self.monitor, METRICS.values()) if given is None else given

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """Ones, as before the first epoch's end; `begin` returns the schedule that changes."""
        return self.begin().factors(steps, n_steps)

    def begin(self) -> Schedule:
        """Return a schedule that starts with factor 1 and changes with the records it observes."""
        return _Adapting(self)


class _Adapting(Schedule):
    """An `Adaptive` in a run: its factor so far, and its patience."""

    def __init__(self, rule: Adaptive) -> None:
        greater = bool(rule._greater)
        self._watched = rule.monitor, rule.patience, rule.min_change, greater
        self._patience = Patience(*self._watched)
        self._change, self._lowest = as_floats(rule.factor), as_floats(rule.lowest)
        change = 0.0 if rule.min_change is None else rule.min_change
        constants = (rule.factor, rule.lowest, rule.patience, change)
        self._factor: HostArray = np.ones(np.broadcast(*map(as_floats, constants)).shape)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        return np.ones(steps.shape) * self._factor

    def begin(self) -> Schedule:
        return deepcopy(self)  # a run that goes on remembers the epochs so far

    def compare_anew(self) -> None:
        self._patience = Patience(*self._watched)

    def state(self) -> Any:
        return {"factor": self._factor.tolist(), "patience": self._patience.state()}

    def restore(self, state: Any) -> None:
        factor, patience = np.asarray(state["factor"]), deepcopy(self._patience)
        patience.restore(state["patience"])
        good = factor.dtype.kind == "f" and factor.ndim <= 1 and bool(np.all(factor >= 0))
        shapes = ((), factor.shape)
        if not good or not all(a.shape in shapes for a in (patience.best, patience.waited)):
            raise ValueError("it is no state of an adaptive schedule")
        self._factor, self._patience = factor, patience

    def observe(self, record: Mapping[str, object]) -> None:
        self._patience.observe(record)
        due = self._patience.exhausted
        lower = np.maximum(self._factor * self._change, self._lowest)
        self._factor = np.where(due, lower, self._factor)
        self._patience.restart(due)


_OR_FRACTION = "or a fraction of the run between 0 and 1"
_DURATION = Rule(
    f"a whole number of steps from 1, {_OR_FRACTION}",
    lambda v: 0 < v < 1 or (v >= 1 and isinstance(v, Integral)),
)
_DURATION_OR_0 = Rule(
    f"a whole number of steps from 0, {_OR_FRACTION}",
    lambda v: 0 < v < 1 or (v >= 0 and isinstance(v, Integral)),
)
_DECAY = Rule("a number above 0 and up to 1", lambda v: 0 < v <= 1)
_FRACTION = Rule("a number from 0 to 1", lambda v: 0 <= v <= 1)


def _keep(schedule: Schedule, **rules: Rule) -> None:
    """Store and check the constants; those with values for members must have equally many."""
    keep_numbers(schedule, **rules)
    constants = vars(schedule).items()
    counts = {name: len(value) for name, value in constants if isinstance(value, tuple)}
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{n} for {name}" for name, n in counts.items())
        raise ValueError(f"constants need as many values as there are members, not {given}")


def _in_steps(duration: Numbers, n_steps: int) -> HostArray | float:
    """A duration in steps, or K of them (K,)."""

    def whole(d: float) -> int:
        # A third of 99 is 33, however 1/3 is rounded: a millionth of a step is no step.
        return int(d) if isinstance(d, Integral) else max(1, ceil(d * n_steps - 1e-6))

    steps: HostArray | float = as_floats(
        tuple(map(whole, duration)) if isinstance(duration, Sequence) else whole(duration)
    )
    return steps


def _power(base: HostArray | float, exponent: HostArray | float) -> HostArray:
    # NumPy's own power takes shortcuts where one exponent, such as 2, meets many bases: a member
    # would then differ by a rounding from the same network alone.
    return np.asarray(np.exp(np.log(base) * exponent))


SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(),
    "step": StepDecay(),
    "exponential": ExponentialDecay(),
    "cosine": Cosine(),
    "inverse_scaling": InverseScaling(every=0.01),
    "adaptive": Adaptive(),
}


def get_schedule(name: str | Schedule) -> Schedule:
    """Return the schedule of that name; a schedule is itself.

    =============== =================================================== ========================
    name            factor at a step of a run of N                      source
    =============== =================================================== ========================
    constant        1
    step            ``0.1 ** floor(step / (N / 3))``                    He et al. 2016
    exponential     ``0.01 ** (step / N)``
    cosine          linear over N / 20, then (1 + cos) / 2 down to 0    Goyal et al. 2017;
                                                                        Loshchilov, Hutter 2017
    inverse_scaling ``(1 + 100 step / N) ** -0.5``, about 0.1 at end    Robbins, Monro 1951
    adaptive        a fifth each time the loss has not fallen by 1e-4   scikit-learn
                    for 10 epochs
    =============== =================================================== ========================

    The classes of this module are these schedules with other constants.

    Raises:
        ValueError: an unknown name; the message offers the nearest.
    """
    if not isinstance(name, Schedule):
        own = (
            "a Schedule of your own, an instance of a subclass of arraymlp.schedules.Schedule with "
            "factors(steps, n_steps)"
        )
        return lookup(SCHEDULES, name, "schedule", own)
    if getattr(name.factors, "__func__", None) is Schedule.factors:
        raise ValueError(f"{type(name).__name__} must define factors(steps, n_steps)")
    require_methods(name, {"factors": ("steps", "n_steps")}, "a Schedule")
    return name
