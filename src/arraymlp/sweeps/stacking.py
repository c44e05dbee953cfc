"""Stacking: one population's settings, made of those of its members.

Networks train as one population where they agree in everything but numbers: a setting that is a
number, or an object made of numbers (an optimiser's constants), then has one value a member. Which
settings may differ, and how, stands in the table of settings (`arraymlp.training.settings`).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from arraymlp._checks import is_number, merge, of_member
from arraymlp.backends.array import HostArray
from arraymlp.steps.schedules import Schedule
from arraymlp.training.settings import (
    CONSTANTS,
    NUMBER,
    SHARED,
    VALUE,
    Settings,
    setting_names,
)


def with_own_decay(settings: Settings) -> Settings:
    """The same settings with the weight decay that the optimiser brings written out.

    Members with different optimisers' defaults then differ in a number alone.
    """
    return replace(settings, weight_decay=settings.decay)


def stacking_key(settings: Settings) -> dict[str, Hashable]:
    """What the members of a population share, by the setting's name."""
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


def _form(value: Any) -> Hashable:
    """All of an object of this package but its numbers; another one as it is."""
    if value is None or isinstance(value, bool | str):
        return value
    if not type(value).__module__.startswith("arraymlp."):
        return _token(value)
    form: list[Hashable] = [_token(type(value))]
    for field in fields(value):
        constant = getattr(value, field.name)
        if isinstance(constant, tuple):
            form.append(len(constant))
        elif not is_number(constant):
            form.append(_token(constant))
    return tuple(form)


def _token(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value  # type: ignore[no-any-return]


def stack_settings(members: Sequence[Settings]) -> Settings:
    """The settings of a population of members with these settings, which have one stacking key."""
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


def record_of(record: Mapping[str, Any], k: int) -> dict[str, Any]:
    """A member's own record of an epoch."""
    return {name: of_member(value, k) for name, value in record.items()}


class SchedulesOfMembers(Schedule):
    """A schedule for each member, of whatever kinds."""

    def __init__(self, each: Sequence[Schedule]) -> None:
        self._each = list(each)

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """Every member's factors side by side, (S, K); (S, 1) where all share one schedule."""
        known: dict[int, HostArray] = {}  # members often share one
        for one in self._each:
            if id(one) not in known:
                known[id(one)] = one.factors(steps, n_steps)
        if len(known) == 1:
            return known[id(self._each[0])]
        return np.concatenate([known[id(one)] for one in self._each], axis=1)

    def begin(self) -> "SchedulesOfMembers":
        """With what each member's `begin` gives."""
        return SchedulesOfMembers([one.begin() for one in self._each])

    def observe(self, record: Mapping[str, Any]) -> None:
        """Tell each member's schedule of its own record."""
        for k, one in enumerate(self._each):
            one.observe(record_of(record, k))

    def some(self, members: Sequence[int]) -> "SchedulesOfMembers":
        """Those of some of the members, as they stand."""
        return SchedulesOfMembers([self._each[k] for k in members])
