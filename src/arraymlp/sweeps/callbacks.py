"""The callbacks of a sweep: told of each network by itself, whatever trains with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from arraymlp.sweeps.space import Point
from arraymlp.training.callbacks import (
    AnyCallback,
    MemberEpochEnd,
    callback_list,
    own_method,
    says_stop,
)
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron


@dataclass(frozen=True)
class ToldOf:
    """What callbacks are told of a network, beside its epochs: see `MemberEpochEnd`."""

    name: str
    swept: Point
    fold: int | None
    settings: Mapping[str, Any]
    epochs: int


class SweepCallbacks:
    """The callbacks of one call of `sweep`, called one at a time from whatever thread.

    After an error in one of them none is called again: the sweep ends with that error, and the
    epochs in which other threads notice that are told to nobody.

    Args:
        callbacks: as of `sweep`.
        keeps: whether the sweep has a checkpoint.

    Raises:
        ValueError: one cannot be called, or wants what a sweep has not: the end of a step, or with
            a checkpoint to have its state kept.
    """

    def __init__(self, callbacks: AnyCallback | Iterable[AnyCallback], keeps: bool) -> None:
        self._callbacks = callback_list(callbacks)
        for callback in self._callbacks:
            if own_method(callback, "on_step") is not None:
                raise ValueError(
                    f"{callback!r} has an on_step, but the steps of a sweep are those of many "
                    "networks at once, and it calls callbacks after epochs alone: give it to train"
                )
            if keeps and own_method(callback, "state") is not None:
                raise ValueError(
                    f"{callback!r} has a state, which a sweep's checkpoint does not keep: its "
                    "networks are kept at different times. Take what it is to remember from "
                    "event.history, which has a network's epochs before the checkpoint, too"
                )
        self._lock, self._failed = Lock(), False
        self._open: object = None  # what stands for the event that callbacks have now
        self._told: Sequence[ToldOf] = ()
        self._histories: list[History] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def begin(self, told: Sequence[ToldOf]) -> None:
        """Take note of the networks, by number."""
        self._told, self._histories = told, [History() for _ in told]

    def epoch_ended(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron]
    ) -> bool:
        """Tell of the last epoch of network k; True where a callback says stop."""
        with self._lock:
            if self._failed:
                return False
            event = self._event(k, history, make_network)
            self._failed = True  # until all have returned
            answers = [callback(event) for callback in self._callbacks]
            self._failed, self._open = False, None
            return says_stop(answers)

    def finished_before(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron]
    ) -> None:
        """Tell those that want to know that network k is finished in the checkpoint."""
        hooks = [own_method(callback, "finished_before") for callback in self._callbacks]
        with self._lock:
            event = self._event(k, history, make_network)
            for hook in hooks:
                if hook is not None and not self._failed:
                    self._failed = True
                    hook(event)
                    self._failed = False
            self._open = None

    def _event(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron]
    ) -> MemberEpochEnd:
        self._histories[k] = history
        told, record = self._told[k], history[-1]
        this = self._open = object()

        def network() -> MultilayerPerceptron:
            if self._open is not this:  # its stack may train on, without it, too
                raise RuntimeError(
                    f"network {k} may have been trained on since epoch {record['epoch']}: read "
                    "event.network before the callback returns"
                )
            return make_network()

        return MemberEpochEnd(
            make_network=network,
            record=record,
            number=record["epoch"] + 1,
            epochs=told.epochs,
            history=history,
            member=k,
            name=told.name,
            swept=told.swept,
            fold=told.fold,
            settings=told.settings,
            histories=self._histories,
        )
