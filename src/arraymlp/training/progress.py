"""How far a run has come: a bar on a terminal, a line an epoch elsewhere; and how far a sweep.

In a notebook it is live curves: see `arraymlp.training.live`.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from math import nan
from statistics import median
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from arraymlp.training.notebook_output import notebook_output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

LEADERS = 5  # networks that a sweep's bar names


def epoch_line(record: dict[str, Any], held_out: str = "Validation") -> str:
    """One epoch as ``[   0] Training error: 0.73552 Validation error: 0.72000``.

    Where errors were not measured, the losses stand in their place; metrics follow.

    Args:
        record: of the epoch.
        held_out: what the rows are that are not trained on; the lab's line says "Test".
    """
    line = f"[{record['epoch']:4d}]"
    for label, what, value in _figures(record, "Training", held_out):
        line += f" {label} {what}: {_number(value, '.5f')}"
    return line


def _figures(record: dict[str, Any], training: str, held_out: str) -> list[tuple[str, str, Any]]:
    """What is shown of an epoch: error or else loss, and metrics, of each part of the data."""
    shown = []
    for label, part in ((training, "training"), (held_out, "validation")):
        measured: dict[str, Any] = {
            name.removeprefix(f"{part}_"): value
            for name, value in record.items()
            if name.startswith(f"{part}_") and isinstance(value, float | list)
        }
        if part == "training":
            measured.setdefault("loss", record.get("loss"))
        first = next((what for what in ("error", "loss") if measured.get(what) is not None), None)
        names = [first, *(what for what in measured if what not in ("error", "loss"))]
        shown += [(label, what.replace("_", " "), measured[what]) for what in names if what]
    return shown


def show_line(line: str) -> None:
    """Print a line at once, on any standard output: it may be None, or an object that writes.

    What its encoding lacks is escaped.
    """
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.encode("ascii", "backslashreplace").decode())
    flush = getattr(sys.stdout, "flush", None)
    if callable(flush):
        flush()


def _number(value: Any, form: str) -> str:
    """A number; of a population's K numbers, the median."""
    if isinstance(value, list):
        ordered = sorted(v for v in value if v == v) or [nan]
        median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        return f"{median:{form}} (median of {len(value)})"
    return f"{value:{form}}"


class Progress(AbstractContextManager["Progress"]):
    """The base class of a run's progress; by itself it shows nothing.

    ``train(progress=...)`` takes an object of a subclass, enters it as a context and tells it of
    each epoch by `update`.
    """

    def update(self, event: Any) -> None:
        """Called with an `EpochEnd` after each epoch, before the callbacks."""

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class Lines(Progress):
    """Prints one line an epoch: see `epoch_line`."""

    def update(self, event: Any) -> None:
        """Print the epoch's line."""
        show_line(epoch_line(event.record))


def bar(titles: Sequence[str], epochs: int, console: "Console | None" = None) -> "RichProgress":
    """Bars with a title, the epoch, the time left and `bar_figures`; needs rich.

    On a narrow terminal the figures are cut first. They are on the standard output, or on a console
    that is given.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    def whole(width: int) -> Column:
        return Column(no_wrap=True, min_width=width)

    return RichProgress(
        TextColumn("{task.description}", table_column=whole(max(map(len, titles)))),
        MofNCompleteColumn(table_column=whole(len(f"{epochs}/{epochs}"))),
        TimeRemainingColumn(compact=True, table_column=whole(len("00:00"))),
        TextColumn(
            "{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
        BarColumn(bar_width=20),
        console=console,
    )


def bar_figures(record: dict[str, Any], held_out: str = "val") -> str:
    """What a bar says of an epoch: loss, errors, metrics and samples/s."""
    parts = [f"loss {_number(record['loss'], '.4f')}"]
    for label, what, value in _figures(record, "train", held_out):
        if what != "loss":
            parts.append(f"{label} {'err' if what == 'error' else what} {_number(value, '.4f')}")
    parts.append(f"{record['samples_per_s'] / 1000:.0f}k samples/s")
    return "  ".join(parts)


class Bar(Progress):
    """A bar with epoch, loss, errors, samples/s and time left; needs rich."""

    def __init__(self, epochs: int, console: "Console | None" = None) -> None:
        self.bar = bar(["training"], epochs, console)
        self.task = self.bar.add_task("training", total=epochs, figures="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def update(self, event: Any) -> None:
        """Move the bar on to the epoch."""
        self.bar.update(self.task, completed=event.number, figures=bar_figures(event.record))

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


def on_terminal() -> bool:
    """True where the standard output is a terminal; it may be None, or any object that writes."""
    isatty = getattr(sys.stdout, "isatty", None)
    return callable(isatty) and bool(isatty())


def progress_for(wanted: bool | None, epochs: int) -> Progress:
    """Live curves in a notebook, a bar on a terminal where rich is installed, lines elsewhere.

    Args:
        wanted: True shows progress; None and False do not.
        epochs: how many there will be.
    """
    if not wanted:
        return Progress()
    output = notebook_output()
    if output is not None:
        from arraymlp.training.live import LiveCurves

        return LiveCurves(epochs, output)
    return Bar(epochs) if on_terminal() and find_spec("rich") else Lines()


class SweepProgress(AbstractContextManager["SweepProgress"]):
    """The base class of a sweep's progress; by itself it shows nothing.

    ``sweep(progress=...)`` takes an object of a subclass, which overrides `show`, and enters it as
    a context. Populations may train in several threads, and tell of their epochs at once; `show` is
    never called twice at the same time.

    Args:
        total: epochs of all networks.
        plan: what is trained, in lines.
        score: the column that ranks.
        greater_is_better: of the score.
        names: of the networks, in words.
    """

    def __init__(
        self,
        total: int = 0,
        plan: Sequence[str] = (),
        score: str = "",
        greater_is_better: bool = False,
        names: Sequence[str] = (),
    ) -> None:
        self.total, self.plan, self.score, self.names = total, plan, score, names
        self.done, self.greater_is_better = 0, greater_is_better
        self._better = max if greater_is_better else min
        self._scores: dict[int, float] = {}
        self._lock = Lock()

    def update(self, members: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
        """Take note of an epoch of some members, by their numbers and records.

        A checkpoint's epochs are told at once: a member's number then stands there repeatedly.
        """
        with self._lock:
            self.done += len(members)
            for k, record in zip(members, records, strict=True):
                self._scores[k] = record[self.score]
            self.show()

    def spare(self, epochs: int) -> None:
        """Take note of epochs that networks which ended early will not train."""
        with self._lock:
            self.done += epochs
            self.show()

    @property
    def best_and_median(self) -> tuple[float, float] | None:
        """The best and the median of the networks' latest scores; None before there is one."""
        scores = [v for v in self._scores.values() if v == v]
        return (self._better(scores), median(scores)) if scores else None

    @property
    def figures(self) -> str:
        """The best and the median of the networks' latest scores, in words."""
        scores = self.best_and_median
        if scores is None:
            return "no score yet"
        best, middle = scores
        return f"{self.score.replace('_', ' ')} best {best:.4f} median {middle:.4f}"

    def leaders(self, n: int) -> list[tuple[str, float]]:
        """The n networks with the best latest scores, best first, each as name and score."""
        ranked = [(v, k) for k, v in self._scores.items() if v == v]
        sign = -1 if self.greater_is_better else 1
        ranked.sort(key=lambda pair: (sign * pair[0], pair[1]))
        return [(self.names[k] if self.names else str(k), v) for v, k in ranked[:n]]

    def show(self) -> None:
        """Called after each note taken, to show what a subclass shows."""

    def __exit__(self, *error: object) -> None:
        return None


class SweepLines(SweepProgress):
    """The plan, and a line at each tenth of the way."""

    def __enter__(self) -> "SweepLines":
        for line in self.plan:
            show_line(line)
        self._shown = 0
        return self

    def show(self) -> None:
        """Print a line where another tenth is done."""
        tenth = 10 * self.done // max(self.total, 1)
        if tenth > self._shown:
            self._shown = tenth
            show_line(f"[{10 * tenth:3d} %] {self.figures}")


class SweepBar(SweepProgress):
    """The plan, and under one bar for all networks those that lead; needs rich."""

    def __enter__(self) -> "SweepBar":
        from rich.live import Live
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
        )
        self._task = self._bar.add_task("sweep", total=self.total, figures="")
        for line in self.plan:
            self._bar.console.print(line, highlight=False, markup=False)
        self._live = Live(get_renderable=self._whole, console=self._bar.console)
        self._live.start()
        return self

    def _whole(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, score in self.leaders(LEADERS):
            table.add_row(f"{score:.4f}", Text(name))
        return Group(self._bar, table)

    def show(self) -> None:
        """Move the bar on."""
        self._bar.update(self._task, completed=self.done, figures=self.figures)

    def __exit__(self, *error: object) -> None:
        self._live.stop()


def sweep_progress_for(
    wanted: bool | None,
    total: int,
    plan: Sequence[str],
    score: str,
    greater_is_better: bool,
    names: Sequence[str] = (),
) -> SweepProgress:
    """As of `progress_for`: live curves, a bar, or lines; nothing unless wanted."""
    progress = SweepProgress
    if wanted:
        output = notebook_output()
        if output is not None:
            from arraymlp.training.live import LiveSweep

            return LiveSweep(total, plan, score, greater_is_better, names, output=output)
        progress = SweepBar if on_terminal() and find_spec("rich") else SweepLines
    return progress(total, plan, score, greater_is_better, names)
