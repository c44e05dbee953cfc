"""Callbacks that write each epoch to a file: CSV, and scalars for TensorBoard.

They write ``event.record`` alone, which is on the host already. A log knows a new training by its
history, and a new sweep by its list of histories: each call has its own.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import time, time_ns
from typing import Any

from arraymlp._checks import is_number
from arraymlp.training.callbacks import EpochEnd, MemberEpochEnd
from arraymlp.training.history import History, Record


def training_of(event: EpochEnd) -> tuple[object, int | None]:
    """What tells the event's training from others, and the network's number in a sweep."""
    if isinstance(event, MemberEpochEnd):
        return event.histories, event.member
    return event.history, None


def _first_cells(event: EpochEnd) -> dict[str, Any]:
    """The cells that say which network of a sweep it is; none outside one."""
    if not isinstance(event, MemberEpochEnd):
        return {}
    swept = {f"swept.{name}": value for name, value in event.swept.items()}
    fold = {} if event.fold is None else {"fold": event.fold}
    return {"member": event.member, **swept, **fold}


@dataclass
class _Part:
    """The rows of one network in a CSV file.

    Attributes:
        cells: that its rows begin with.
        history: its epochs.
        written: how many of them are in the file.
    """

    cells: dict[str, Any]
    history: History
    written: int = 0

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """The rows of some of its epochs."""
        return [{**self.cells, **_row(record)} for record in self.history[start:stop]]

    def take(self) -> list[dict[str, Any]]:
        """The rows that are not written yet, which now count as written."""
        start, self.written = self.written, len(self.history)
        return self.rows(start, self.written)


class CSVLog:
    """Writes the history to a CSV file: a header, and a row an epoch as soon as it is done.

    For example::

        train(X, y, callbacks=[CSVLog("run.csv")])

    The file is that of one training, a continued run's earlier epochs included; one that is there
    is replaced. A column that comes later has the whole file written again. The K values of a
    population stand in columns ``loss[0]``, ``loss[1]``, ...; a figure that an epoch lacks is
    empty; floats are written so that they read back exactly, NaN as ``nan``. Between epochs the
    file is closed.

    In a sweep the file has the epochs of all networks, as they end; the first columns say which:
    ``member``, its number, ``swept.learning_rate`` and so on for each setting that is swept, and
    ``fold`` where there are some.

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
        self._training: object = None  # whose rows the file has
        self._columns: list[str] = []
        self._parts: dict[int | None, _Part] = {}

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"

    def __call__(self, event: EpochEnd) -> None:
        """Write the epoch's row; of a history not seen before, all rows."""
        training, member = training_of(event)
        new = training is not self._training
        if new:
            self._training, self._columns, self._parts = training, [], {}
        part = self._parts.setdefault(member, _Part(_first_cells(event), event.history))
        rows = part.take()
        columns = list(dict.fromkeys([*self._columns, *(name for row in rows for name in row)]))
        if new or columns != self._columns:
            self._columns = columns
            rows = [row for each in self._parts.values() for row in each.rows(0, each.written)]
            new = True
        with self.path.open("w" if new else "a", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, self._columns, lineterminator="\n")
            if new:
                table.writeheader()
            table.writerows(rows)

    def finished_before(self, event: MemberEpochEnd) -> None:
        """Write the rows of a network that a sweep's checkpoint has finished."""
        self(event)


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
    as ``predicted``, has a tag for each: ``predicted/0``, ``predicted/1``, ... In a sweep each
    network has the subfolder ``member-k``, by its number, and all its figures in there.

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
        self._training: object = None
        self._written: dict[int | None, int] = {}  # how many records of each network
        self._name = ""
        self._runs: set[str] = set()  # whose files of this training are begun

    def __repr__(self) -> str:
        return f"TensorBoardLog({str(self.folder)!r})"

    def __call__(self, event: EpochEnd) -> None:
        """Write the epoch's scalars; of a history not seen before, those of all epochs."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        training, member = training_of(event)
        if training is not self._training:
            self._training, self._written, self._runs = training, {}, set()
            self._name = f"events.out.tfevents.{time_ns()}"  # TensorBoard reads by name: in order
        records = event.history[self._written.get(member, 0) :]
        self._written[member] = len(event.history)
        population = member is None and event.network.members is not None
        folder = "" if member is None else f"member-{member}"
        events: dict[str, list[Any]] = {}
        for record in records:
            for run, scalars in _scalars(record, population).items():
                values = [Summary.Value(tag=t, simple_value=v) for t, v in scalars.items()]
                events.setdefault(f"{folder}/{run}" if folder else run, []).append(
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
