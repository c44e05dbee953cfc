"""Callbacks for `train`: their base class, what they are given, and some that are ready to use.

A callback is any function of an `EpochEnd`, or a `Callback`. Those here write and stop by
``event.record`` alone, which is on the host already. A log knows a new training by its history:
each call of `train` has its own.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from math import isfinite
from pathlib import Path
from time import time, time_ns
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
    from a checkpoint as if nothing had happened, has the other two as well.
    """

    def __call__(self, event: EpochEnd) -> bool | None:
        """Called after each epoch. Return True to stop the run."""
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
    methods = [getattr(callback, "on_step", None) for callback in callbacks]
    return [
        on_step
        for on_step in methods
        if callable(on_step) and getattr(on_step, "__func__", None) is not Callback.on_step
    ]


def says_stop(answers: Iterable[Any]) -> bool:
    """True where one of the answers is True; other values count for nothing."""
    return any(isinstance(answer, bool | np.bool) and bool(answer) for answer in answers)


class CSVLog:
    """Writes the history to a CSV file: a header, and a row an epoch as soon as it is done.

    For example::

        train(X, y, callbacks=[CSVLog("run.csv")])

    The file is that of one training, a continued run's earlier epochs included; one that is there
    is replaced. A column that comes later has the whole file written again. The K values of a
    population stand in columns ``loss[0]``, ``loss[1]``, ...; a figure that an epoch lacks is
    empty; floats are written so that they read back exactly, NaN as ``nan``. Between epochs the
    file is closed.

    Args:
        path: of the file; its folder must exist.

    Raises:
        OSError: there is no such folder; later, that the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self.path.parent} to write {path} in")
        if self.path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the path of a file")
        self._history: History | None = None
        self._columns: list[str] = []

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"

    def __call__(self, event: EpochEnd) -> None:
        """Write the epoch's row; of a history not seen before, all rows."""
        rows, mode = [_row(event.record)], "a"
        if event.history is not self._history or not rows[0].keys() <= set(self._columns):
            rows, mode = [_row(record) for record in event.history], "w"
            self._columns = list(dict.fromkeys(name for row in rows for name in row))
            self._history = event.history
        with self.path.open(mode, encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, self._columns, lineterminator="\n")
            if mode == "w":
                table.writeheader()
            table.writerows(rows)


class TensorBoardLog:
    """Writes each record's numbers as scalars for TensorBoard, as soon as the epoch is done.

    For example, with the second line in a shell::

        train(X, y, callbacks=[TensorBoardLog("runs/first")])
        $ tensorboard --logdir runs

    TensorBoard draws into one chart what has the same tag in different runs, and a run is a folder.
    So ``validation_loss`` has the tag ``loss`` in the subfolder ``validation``, ``training_loss``
    in ``training``: one chart shows them with ``loss``, which is in the folder itself, as is all
    else under its own name. Of a population, member k has the subfolder ``member-k`` with the
    same inside, and what all members share is in the folder itself. A list of several numbers, such
    as ``predicted``, has a tag for each: ``predicted/0``, ``predicted/1``, ...

    The horizontal axis is ``record["step"]``, the steps done, which tells the parts of an
    interrupted epoch apart and compares batch sizes. Give each training a folder of its own. One
    that goes on may keep it: its history is written again, from the start, to a new event file
    that takes the place of the earlier ones in TensorBoard. Between epochs the files are closed.

    Args:
        folder: where to write; it is made where there is none.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed; the message has the install line.
        OSError: the folder cannot be made; later, that a file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import tensorboard.summary.writer.record_writer  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "TensorBoardLog needs TensorBoard: pip install tensorboard"
            ) from error
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._history: History | None = None
        self._name = ""
        self._runs: set[str] = set()  # whose files of this training are begun

    def __repr__(self) -> str:
        return f"TensorBoardLog({str(self.folder)!r})"

    def __call__(self, event: EpochEnd) -> None:
        """Write the epoch's scalars; of a history not seen before, those of all epochs."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        records = [event.record]
        if event.history is not self._history:
            records = list(event.history)
            self._history = event.history
            self._runs = set()
            self._name = f"events.out.tfevents.{time_ns()}"  # TensorBoard reads by name: in order
        events: dict[str, list[Any]] = {}
        for record in records:
            for run, scalars in _scalars(record, event.network.members is not None).items():
                values = [Summary.Value(tag=t, simple_value=v) for t, v in scalars.items()]
                events.setdefault(run, []).append(
                    Event(step=record["step"], wall_time=time(), summary=Summary(value=values))
                )
        for run in events:
            self._append(run, events[run])

    def _append(self, run: str, events: list[Any]) -> None:
        """Append to the run's event file; a new one starts with what a reader expects."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        path = self.folder / run / self._name
        if run not in self._runs:
            self._runs.add(run)
            path.parent.mkdir(parents=True, exist_ok=True)
            start = SessionLog(status=SessionLog.START)  # from step 0: drops what earlier files say
            version = Event(wall_time=time(), file_version="brain.Event:2")
            events = [version, Event(wall_time=time(), step=0, session_log=start), *events]
        with path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


@dataclass(frozen=True)
class StopAt:
    """Stops the training as soon as a recorded figure reaches a target; NaN never does.

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


def _row(record: Record) -> dict[str, Any]:
    """The cells of a record, by column."""
    return dict(cell for name, value in record.items() for cell in _flat(name, value, "{}[{}]"))


def _scalars(record: Record, population: bool) -> dict[str, dict[str, float]]:
    """The numbers of a record but its step, by run and tag."""
    runs: dict[str, dict[str, float]] = {}
    for name, value in record.items():
        if name == "step":
            continue
        where, _, what = name.partition("_")
        run, tag = (where, what) if where in ("training", "validation") else ("", name)
        of_runs = {run: value}
        if population and isinstance(value, list | tuple):
            of_runs = {f"member-{k}/{run}": v for k, v in enumerate(value)}
        for run, v in of_runs.items():
            numbers = {t: x for t, x in _flat(tag, v, "{}/{}") if is_number(x)}
            if numbers:
                runs.setdefault(run, {}).update(numbers)
    return runs


def _flat(name: str, value: Any, form: str) -> Iterator[tuple[str, Any]]:
    """A value under its name; each of a list, however deep, under the name with its position."""
    if isinstance(value, list | tuple):
        for i, v in enumerate(value):
            yield from _flat(form.format(name, i), v, form)
    else:
        yield name, value
