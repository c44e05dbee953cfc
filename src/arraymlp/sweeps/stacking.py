"""Stacking: the settings of a population, made of those of its members.

Networks train as one population where they differ in numbers alone: a setting that is a number, or
an object made of numbers (an optimiser's constants), then has one value a member. The table of
settings (`arraymlp.training.settings`) says which settings may differ, and how.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from arraymlp._checks import is_number, merge, of_member
from arraymlp.backends.array import HostArray
from arraymlp.steps.schedules import Schedule
from arraymlp.training.history import Record
from arraymlp.training.settings import (
    CONSTANTS,
    NUMBER,
    SHARED,
    VALUE,
    Settings,
    setting_names,
)


def stacking_key(settings: Settings) -> dict[str, Hashable]:
    """Everything that the members of a population must share, by the setting's name."""
    key: dict[str, Hashable] = {}
    for name in setting_names(SHARED):
        key[name] = _token(getattr(settings, name))
    activation = settings.activation
    per_layer = isinstance(activation, tuple)
    key["activation"] = activation if per_layer else (activation,) * len(settings.hidden)
    for name in setting_names(CONSTANTS):
        key[name] = _form(getattr(settings, name))
    key["weight_average"] = settings.weight_average != 0  # a second network, or none
    return key


def _form(value: object) -> Hashable:
    """An object of this package without its numbers; another one as it is."""
    if value is None or isinstance(value, bool | str):
        return value
    if not type(value).__module__.startswith("arraymlp."):
        return _token(value)
    form: list[Hashable] = [_token(type(value))]
    for field in fields(value):  # type: ignore[arg-type]  # those of this package are dataclasses
        constant = getattr(value, field.name)
        if isinstance(constant, tuple):
            form.append(len(constant))
        elif not is_number(constant):
            form.append(_token(constant))
    return tuple(form)


def _token(value: object) -> Hashable:
    """The value itself, or what stands for it where it has no hash."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def stack_settings(members: Sequence[Settings]) -> Settings:
    """The settings of a population of members with these settings, which have one stacking key.

    The optimisers' own weight decays are written out: where these have different defaults, members
    differ in a number alone.
    """
    members = [replace(settings, weight_decay=settings.decay) for settings in members]
    stacked: dict[str, Any] = {
        name: merge([getattr(s, name) for s in members])
        for name in setting_names(NUMBER, CONSTANTS)
    }
    for name in setting_names(VALUE):
        values = tuple(getattr(s, name) for s in members)
        stacked[name] = values[0] if all(v == values[0] for v in values) else values
    seeds = [s.seed for s in members]
    stacked["seed"] = None
    if any(seed is not None for seed in seeds):  # one without drops nothing
        stacked["seed"] = tuple(0 if seed is None else seed for seed in seeds)
    schedule = SchedulesOfMembers([s.schedule for s in members])
    return replace(members[0], **stacked, schedule=schedule)


def record_of(record: Mapping[str, object], k: int) -> Record:
    """A member's own record of an epoch."""
    return {name: of_member(value, k) for name, value in record.items()}


class SchedulesOfMembers(Schedule):
    """A schedule for each member, of whatever kinds."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self._schedules = list(schedules)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """Every member's factors side by side, (S, K); (S, 1) where all share one schedule."""
        factors: dict[int, HostArray] = {}  # members often share a schedule
        for schedule in self._schedules:
            if id(schedule) not in factors:
                factors[id(schedule)] = schedule.factors(steps, n_steps)
        if len(factors) == 1:
            return factors[id(self._schedules[0])]
        return np.concatenate([factors[id(schedule)] for schedule in self._schedules], axis=1)

    def begin(self) -> "SchedulesOfMembers":
        """The same with each member's schedule at its beginning."""
        return SchedulesOfMembers([schedule.begin() for schedule in self._schedules])

    def observe(self, record: Mapping[str, Any]) -> None:
        """Give each member's schedule the member's own record."""
        for k, schedule in enumerate(self._schedules):
            schedule.observe(record_of(record, k))

    def state(self) -> list[Any]:
        """What each member's schedule remembers."""
        return [schedule.state() for schedule in self._schedules]

    def restore(self, state: Sequence[Any]) -> None:
        """Give each member's schedule back what it remembered."""
        for schedule, its_state in zip(self._schedules, state, strict=True):
            if its_state is not None:
                schedule.restore(its_state)

    def select_members(self, members: Sequence[int]) -> "SchedulesOfMembers":
        """The schedules of some of the members, as they stand."""
        return SchedulesOfMembers([self._schedules[k] for k in members])
