"""Members: what several networks' settings have in common, and one population's settings of them.

Networks train as one population where they agree in everything but numbers: a setting that is a
number, or an object made of numbers (an optimiser's constants), then has one value a member.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from arraymlp._checks import is_number, joined, of_member
from arraymlp.activations import activation
from arraymlp.backend import HostArray
from arraymlp.losses import loss
from arraymlp.optimizers import optimizer
from arraymlp.patience import early_stopping
from arraymlp.schedules import Schedule, schedule
from arraymlp.settings import NUMBERS, Settings

# The settings, other than numbers, of which each member of a population can have its own.
OWN = ("seed", "initializer", "class_weight")
OBJECTS = ("optimizer", "loss", "dropout", "early_stopping")
# What these settings mean for a member alone is in its course, or its own schedule.
APART = ("order_seed", "schedule")


def resolved(settings: Settings) -> Settings:
    """The same settings with every name in place of an object, and every default, filled in."""
    return replace(
        settings,
        optimizer=optimizer(settings.optimizer),
        learning_rate=settings.rate,
        weight_decay=settings.decay,
        schedule=schedule(settings.schedule),
        early_stopping=early_stopping(settings.early_stopping) or False,
        loss=settings.loss if settings.loss == "auto" else loss(settings.loss),
    )


def kind(settings: Settings) -> dict[str, Hashable]:
    """What the members of a population share, by the setting's name; of resolved settings."""
    own = {*NUMBERS, *OWN, *APART}
    found: dict[str, Hashable] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "activation":
            several = isinstance(value, tuple)
            names = value if several else (value,) * len(settings.hidden)
            found[field.name] = tuple(activation(one) for one in names)
        elif field.name in OBJECTS:
            found[field.name] = _form(value)
        elif field.name not in own:
            found[field.name] = _token(value)
    found["weight_average"] = settings.weight_average != 0  # a second network, or none
    return found


def _form(value: Any) -> Hashable:
    """All of an object of this package but its numbers; another one as it is."""
    if value is None or isinstance(value, bool | str):
        return value
    if not type(value).__module__.startswith("arraymlp."):
        return _token(value)
    constants: list[Hashable] = [_token(type(value))]
    for field in fields(value):
        constant = getattr(value, field.name)
        if isinstance(constant, tuple):
            constants.append(len(constant))
        elif not is_number(constant):
            constants.append(_token(constant))
    return tuple(constants)


def _token(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value  # type: ignore[no-any-return]


def together(several: Sequence[Settings]) -> Settings:
    """The settings of a population of members with these resolved ones, which are of one kind."""
    numbers = {name: joined([getattr(s, name) for s in several]) for name in (*NUMBERS, *OBJECTS)}
    seeds = tuple(s.seed for s in several)
    own: dict[str, Any] = {"seed": None}
    if any(seed is not None for seed in seeds):  # one without drops nothing
        own["seed"] = tuple(0 if seed is None else seed for seed in seeds)
    for name in ("initializer", "class_weight"):
        values = tuple(getattr(s, name) for s in several)
        own[name] = values[0] if all(v == values[0] for v in values) else values
    schedules = [schedule(s.schedule) for s in several]
    return replace(several[0], **numbers, **own, schedule=SchedulesOfMembers(schedules))


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
