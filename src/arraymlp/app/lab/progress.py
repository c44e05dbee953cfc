"""How far the lab has come: a bar a run on a terminal, a line an epoch elsewhere."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from threading import Lock
from typing import Any

from arraymlp.training.history import Record
from arraymlp.training.progress import bar, bar_figures, epoch_line, on_terminal, show_line


class LabProgress(AbstractContextManager["LabProgress"]):
    """The progress of runs, several at once, each with all its seeds; by itself it shows nothing.

    An epoch is shown when every seed has done it. Runs may train in several threads; `show` is
    never called twice at the same time.
    """

    def __init__(self) -> None:
        self._titles: Sequence[str] = ()
        self._seeds = 0
        self._waiting: dict[tuple[str, int], list[Record]] = {}
        self._lock = Lock()

    def plan(self, titles: Sequence[str], seeds: int, epochs: int) -> None:
        """Take note of what will be trained: the runs' titles, and the number of epochs of each."""
        self._titles, self._seeds = titles, seeds

    def update(self, title: str, records: Sequence[Record]) -> None:
        """Take note of an epoch of some of a run's seeds.

        Of several epochs told at once, as a checkpoint has them, the last is shown.
        """
        whole: Record | None = None
        with self._lock:
            for record in records:
                done = self._waiting.setdefault((title, record["epoch"]), [])
                done.append(record)
                if len(done) == self._seeds:
                    del self._waiting[title, record["epoch"]]
                    whole = _of_seeds(done)
            if whole is not None:
                self.show(title, whole)

    def goes_on(self, title: str, seeds: int) -> None:
        """Take note of how many of a run's seeds go on from a checkpoint."""
        with self._lock:
            self.say(f"{title}: {seeds} of {self._seeds} go on from the checkpoint")

    def say(self, line: str) -> None:
        """Called with what is to be told beside the epochs."""

    def show(self, title: str, record: Record) -> None:
        """Called with each epoch of a run; of several seeds the figures are lists."""

    def __exit__(self, *error: object) -> None:
        return None


class LabLines(LabProgress):
    """Prints one line an epoch, after the run's title where there are several runs."""

    def show(self, title: str, record: Record) -> None:
        """Print the epoch's line."""
        width = max(map(len, self._titles))
        name = f"{title:{width}} " if len(self._titles) > 1 else ""
        show_line(name + epoch_line(record, "Test"))

    def say(self, line: str) -> None:
        """Print the line."""
        show_line(line)


class LabBars(LabProgress):
    """A bar for each run, all at once; needs rich."""

    def plan(self, titles: Sequence[str], seeds: int, epochs: int) -> None:
        """Make the bars, at their beginning."""
        super().plan(titles, seeds, epochs)
        self._bars = bar(titles, epochs)
        self._tasks = {
            title: self._bars.add_task(title, total=epochs, figures="", start=False)
            for title in titles
        }

    def __enter__(self) -> "LabBars":
        self._bars.start()
        return self

    def show(self, title: str, record: Record) -> None:
        """Move the run's bar on to the epoch."""
        task = self._tasks[title]
        self._bars.start_task(task)
        self._bars.update(task, completed=record["epoch"] + 1, figures=bar_figures(record, "test"))

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)

    def __exit__(self, *error: object) -> None:
        self._bars.stop()


def lab_progress() -> LabProgress:
    """Bars where the output is a terminal and rich is installed, lines elsewhere."""
    return LabBars() if on_terminal() and find_spec("rich") else LabLines()


def _of_seeds(records: Sequence[Record]) -> Record:
    """One record of the seeds' records, with lists of figures; of one seed its own."""
    if len(records) == 1:
        return records[0]
    together: dict[str, Any] = {
        name: value if name == "epoch" else [r[name] for r in records]
        for name, value in records[0].items()
    }
    together["samples_per_s"] = sum(together["samples_per_s"])
    return together
