"""Callbacks for `train` and `sweep`: their base class, what they are given, and what stops a run.

A callback is any function of an `EpochEnd`, or a `Callback`. Those that write are in
`arraymlp.training.logs`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np

from arraymlp._checks import is_number, require_arguments, unknown
from arraymlp.backends.array import Array
from arraymlp.training.history import History, Record
from arraymlp.training.model import MultilayerPerceptron


@dataclass(frozen=True)
class EpochEnd:
    """The end of an epoch, as a callback is given it.

    Attributes:
        record: the epoch's record, a dict by name of the column, as it stands in the history.
        number: how many epochs of this call of `train` are done.
        epochs: how many it is to make.
        network: as it is now. A callback must not change it.
        history: all epochs so far, those of a continued run included.
    """

    record: Record
    number: int
    epochs: int
    network: MultilayerPerceptron
    history: History


class MemberEpochEnd(EpochEnd):
    """The end of an epoch of one network of a sweep, as a callback of `arraymlp.sweep` is given it.

    The attributes of an `EpochEnd` are those of this network alone: ``record`` has numbers, not
    lists, ``epochs`` is how many it is to make, and ``number`` counts those before a checkpoint,
    too. ``network`` is a copy, made when it is first read, which must be before the callback
    returns; what it costs is seldom worth it in each epoch.

    Attributes:
        member: the network's number, as in ``result.members``.
        name: the network in words, by what was swept: "learning_rate 0.01, seed 3, fold 1".
        swept: its values of the settings that were swept, by name, as numbers and texts; of a fold
            its own seeds.
        fold: the number of its fold; None without ``cv``.
        settings: all its settings by name, in plain types.
        histories: of all networks of the sweep, by number: their epochs so far. Those of networks
            that this call has not begun to train are empty. Another sweep has another list.
    """

    member: int
    name: str
    swept: Mapping[str, Any]
    fold: int | None
    settings: Mapping[str, Any]
    histories: Sequence[History]

    def __init__(self, *, make_network: Callable[[], MultilayerPerceptron], **attributes: Any):
        vars(self).update(attributes, _make_network=make_network)  # it is frozen

    def __repr__(self) -> str:
        return f"MemberEpochEnd(member={self.member}, name={self.name!r}, record={self.record!r})"

    @cached_property
    def network(self) -> MultilayerPerceptron:
        """The network as it is now, a copy."""
        made: MultilayerPerceptron = vars(self)["_make_network"]()
        return made


@dataclass(frozen=True)
class StepEnd:
    """The end of a step, as a callback's ``on_step`` is given it.

    Return True from ``on_step`` to stop the run: the epoch so far gets a record, early stopping
    restores nothing yet, and ``train(network=run)`` goes on with the epoch's rest.

    Attributes:
        step: how many steps of the run are done, from 1.
        epoch: the number of its epoch, from 0.
        rows: how many samples it saw; (K,) on the host where members saw different numbers.
        loss: mean over the minibatch, () or (K,), on the device: to read it is to wait for it. Of
            standardised targets it is float64, where the device has that.
        penalty: ``alpha / 2 |W|^2`` over the weight of the minibatch, likewise; 0 without
            ``alpha``.
        network: whose weights the step changed, not their average. A callback must not change it.
    """

    step: int
    epoch: int
    rows: Any
    loss: Array
    penalty: Array | float
    network: MultilayerPerceptron


class Callback:
    """Called during training; a subclass overrides one of the first two methods, or both.

    A function of an `EpochEnd` is a callback, too. One that remembers what it saw, and is to go on
    from a checkpoint as if nothing had happened, has ``state`` and ``restore`` as well.

    `arraymlp.sweep` calls it after each epoch of each network, with a `MemberEpochEnd`, and never
    twice at the same time, though networks train in several threads.
    """

    def __call__(self, event: EpochEnd) -> bool | None:
        """Called after each epoch. Return True to stop the run; in a sweep, this network alone."""
        return None

    def on_step(self, event: StepEnd) -> bool | None:
        """Called after each step, if the subclass defines it. Return True to stop the run there."""
        return None

    def state(self) -> Any:
        """Return what it remembers, in JSON's types, for a checkpoint; None for nothing, as here.

        It is asked after each step or epoch that it was called with, when a checkpoint is due.
        """
        return None

    def restore(self, state: Any) -> None:
        """Take over what ``state`` returned, before the first call of a run that goes on."""

    def finished_before(self, event: "MemberEpochEnd") -> None:
        """Called by a sweep that goes on from a checkpoint, for a network that is finished there.

        The event is that of its last epoch. A log that replaces its file has its history here.
        """


AnyCallback: TypeAlias = Callback | Callable[[EpochEnd], bool | None]


def callback_list(callbacks: AnyCallback | Iterable[AnyCallback]) -> list[AnyCallback]:
    """One callback or several as a list; a ValueError where one cannot be called."""
    many = isinstance(callbacks, Iterable) and not isinstance(callbacks, str)
    listed: list[Any] = list(callbacks) if many else [callbacks]  # type: ignore[arg-type]
    for callback in listed:
        if not callable(callback) or isinstance(callback, type):
            raise ValueError(
                f"a callback must be a function, or an object that can be called, not {callback!r}"
            )
        require_arguments(callback, ("event",), f"the callback {callback!r}")
    return listed


def step_watchers(
    callbacks: Sequence[AnyCallback],
) -> list[Callable[[StepEnd], bool | None]]:
    """The ``on_step`` of each callback that has one of its own."""
    methods = [own_method(callback, "on_step") for callback in callbacks]
    return [on_step for on_step in methods if on_step is not None]


def own_method(callback: AnyCallback, name: str) -> Callable[..., Any] | None:
    """A method of a callback that is not `Callback`'s, which does nothing; else None."""
    method = getattr(callback, name, None)
    of_base = getattr(method, "__func__", None) is getattr(Callback, name)
    return method if callable(method) and not of_base else None


def says_stop(answers: Iterable[Any]) -> bool:
    """True where one of the answers is True; other values count for nothing."""
    return any(isinstance(answer, bool | np.bool) and bool(answer) for answer in answers)


@dataclass(frozen=True)
class StopAt:
    """Stops the training as soon as a recorded figure reaches a target; NaN never does.

    In a sweep it stops the network that has reached it.

    For example::

        train(X, y, validation=0.1, epochs=500, callbacks=[StopAt("validation_error", below=0.02)])

    Attributes:
        monitor: the column of the history to look at.
        below: stop where the figure is this or less; None where ``above`` is given.
        above: stop where it is this or more; None where ``below`` is given.
        members: of a population, whether "all" must have reached it in the same epoch, or "any".

    Raises:
        ValueError: not exactly one finite target, or unknown ``members``; after the first epoch,
            that the record has no such column.
    """

    monitor: str
    _: KW_ONLY
    below: float | None = None
    above: float | None = None
    members: Literal["all", "any"] = "all"

    def __post_init__(self) -> None:
        targets = [t for t in (self.below, self.above) if t is not None]
        if len(targets) != 1 or not is_number(targets[0]) or not isfinite(targets[0]):
            raise ValueError(
                "give a finite number as either below or above, "
                f"not below={self.below!r} and above={self.above!r}"
            )
        if self.members not in ("all", "any"):
            raise unknown(("all", "any"), self.members, "choice of members")

    def __call__(self, event: EpochEnd) -> bool:
        """Return True once the target is reached."""
        if self.monitor not in event.record:
            raise unknown(event.record, self.monitor, "column of the history")
        figure = event.record[self.monitor]
        reached = map(self._reached, figure if isinstance(figure, list | tuple) else [figure])
        return all(reached) if self.members == "all" else any(reached)

    def _reached(self, value: float | None) -> bool:
        if value is None:
            return False
        low, high = self.below, self.above
        return (low is not None and value <= low) or (high is not None and value >= high)
