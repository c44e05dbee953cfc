"""How far a run has come: a bar on a terminal, a line an epoch elsewhere."""

import sys
from contextlib import AbstractContextManager
from math import nan
from types import TracebackType
from typing import Any


def epoch_line(record: dict[str, Any]) -> str:
    """One epoch in the lab's own format: ``[   0] Training error: 0.73552 Test error: 0.72000``.

    Where errors were not measured, the losses stand in their place.
    """
    line = f"[{record['epoch']:4d}]"
    for label, name in (("Training", "training"), ("Test", "validation")):
        for what in ("error", "loss"):
            value = record.get(f"{name}_{what}", record.get(what) if name == "training" else None)
            if value is not None:
                line += f" {label} {what}: {_number(value, '.5f')}"
                break
    return line


def _number(value: Any, form: str) -> str:
    """A number; of a population's K numbers, the median."""
    if isinstance(value, list):
        known = sorted(v for v in value if v == v) or [nan]
        median = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
        return f"{median:{form}} (median of {len(value)})"
    return f"{value:{form}}"


class Progress(AbstractContextManager["Progress"]):
    """Shows nothing: the progress of a run that nobody watches."""

    def update(self, event: Any) -> None:
        """Take note of an epoch's end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class Lines(Progress):
    """Prints one line an epoch."""

    def update(self, event: Any) -> None:
        """Print the epoch's line."""
        print(epoch_line(event.record), flush=True)


class Bar(Progress):
    """A bar with epoch, loss, errors, samples/s and time left; needs rich."""

    def __init__(self, epochs: int, title: str = "") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
        )
        self.task = self.bar.add_task(title or "training", total=epochs, figures="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def update(self, event: Any) -> None:
        """Move the bar on by one epoch."""
        r = event.record
        parts = [f"loss {_number(r['loss'], '.4f')}"]
        for label, name in (("train", "training_error"), ("test", "validation_error")):
            if name in r:
                parts.append(f"{label} err {_number(r[name], '.4f')}")
        parts.append(f"{r['samples_per_s'] / 1000:.0f}k samples/s")
        self.bar.update(self.task, advance=1, figures="  ".join(parts))

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


def progress_for(wanted: bool | None, epochs: int, title: str = "") -> Progress:
    """A bar where the output is a terminal and rich is installed, lines elsewhere.

    Args:
        wanted: True shows progress; None and False do not.
        epochs: how many there will be.
        title: what to call the run.
    """
    if not wanted:
        return Progress()
    if sys.stdout.isatty():
        try:
            return Bar(epochs, title)
        except ModuleNotFoundError:
            pass
    return Lines()
