"""Progress in a notebook: a bar, and curves that grow while a run or a sweep trains."""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from arraymlp.html.chart import Line, line_chart
from arraymlp.html.table import table
from arraymlp.html.view import bar, in_a_row, paragraph, view
from arraymlp.training.notebook_output import NotebookOutput
from arraymlp.training.progress import LEADERS, Progress, SweepProgress, bar_figures
from arraymlp.training.spread import as_numbers
from arraymlp.training.views.curves import charts, thinned

log = logging.getLogger(__name__)

APART = 0.25  # seconds from one state that is shown to the next, at least
SHARE = 0.03  # of the time that may go into drawing
KEPT = 400  # scores of a sweep that its curve keeps


class Pace:
    """When the next state is to be shown: at most four times a second, and at little cost.

    Args:
        output: where it is shown.
    """

    def __init__(self, output: NotebookOutput) -> None:
        self.output, self.begun = output, perf_counter()
        self._next = self.begun
        self._works = True

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return perf_counter() - self.begun

    @property
    def due(self) -> bool:
        """Whether it is time to show something."""
        return self._works and perf_counter() >= self._next

    def show(self, make: Callable[[], tuple[str, str]]) -> None:
        """Show what a function makes, HTML and text. An error ends the display, and nothing else.

        Args:
            make: called without arguments; returns HTML and text.
        """
        if not self._works:
            return
        started = perf_counter()
        try:
            self.output.show(*make())
        except Exception as error:  # a display is not worth a training
            self._works = False
            log.warning("the training goes on without live curves: %r", error)
        ended = perf_counter()
        self._next = ended + max(APART, (ended - started) / SHARE)


def time_text(done: float, total: float, seconds: float) -> str:
    """``in 12 s``, and while there is more to do ``12 s, about 30 s left``."""
    if done <= 0 or done >= total:
        return f"{_seconds(seconds)}"
    return f"{_seconds(seconds)}, about {_seconds(seconds * (total - done) / done)} left"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}:{round(seconds) % 60:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


class LiveCurves(Progress):
    """A bar, the figures of the latest epoch, and the curves of the history.

    Args:
        epochs: how many there will be.
        output: where they are shown.
    """

    def __init__(self, epochs: int, output: NotebookOutput) -> None:
        self.epochs, self.output = epochs, output
        self._event: Any = None

    def __enter__(self) -> "LiveCurves":
        self._pace = Pace(self.output)
        self._pace.show(lambda: self._state("begins"))
        return self

    def update(self, event: Any) -> None:
        """Show the epoch, where the last one shown is long enough ago."""
        self._event = event
        if self._pace.due:
            self._pace.show(lambda: self._state("training"))

    def __exit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        """Show the last epoch, which stays."""
        how = "ended" if error_type is None else f"ended by {error_type.__name__}"
        self._pace.show(lambda: self._state(how))

    def _state(self, how: str) -> tuple[str, str]:
        event = self._event
        if event is None:
            text = f"no epoch of {self.epochs} yet" if how == "begins" else "no epoch was trained"
            return view("Training", bar(0, self.epochs, text)), f"Training: {text}"
        done = event.number
        time = time_text(
            done if how == "training" else self.epochs, self.epochs, self._pace.seconds
        )
        text = f"{done} of {self.epochs} epochs, {time}"
        if how != "training" and (done < self.epochs or how != "ended"):
            text = f"{how} after {text}"
        figures = bar_figures(event.record)
        html = view(
            "Training",
            bar(done, self.epochs, text),
            paragraph(figures.replace("  ", ", ")),
            charts(event.history),
        )
        return html, f"Training: {text}; {figures}"


class LiveSweep(SweepProgress):
    """A bar, the networks that lead, and the best and median score over the epochs done.

    Args:
        total: as of `SweepProgress`, and so are the others.
        plan: likewise.
        score: likewise.
        greater_is_better: likewise.
        names: likewise.
        output: where they are shown.
    """

    def __init__(
        self,
        total: int,
        plan: Sequence[str],
        score: str,
        greater_is_better: bool,
        names: Sequence[str],
        *,
        output: NotebookOutput,
    ) -> None:
        super().__init__(total, plan, score, greater_is_better, names)
        self.output = output
        self._curve: list[tuple[int, float, float]] = []  # epochs done, best, median

    def __enter__(self) -> "LiveSweep":
        self._pace = Pace(self.output)
        self._pace.show(lambda: self._state("begins"))
        return self

    def show(self) -> None:
        """Show the networks as they are, where the last time is long enough ago."""
        if self._pace.due:
            self._pace.show(lambda: self._state("training"))

    def __exit__(self, *error: object) -> None:
        """Show how it ended, which stays."""
        how = f"ended by {error[0].__name__}" if isinstance(error[0], type) else "ended"
        with self._lock:
            self._pace.show(lambda: self._state(how))

    def _state(self, how: str) -> tuple[str, str]:
        ended = how.startswith("ended")
        self._note()
        time = time_text(self.total if ended else self.done, self.total, self._pace.seconds)
        text = f"{self.done:,} of {self.total:,} epochs of all networks, {time}"
        if ended and (self.done < self.total or how != "ended"):
            text = f"{how} after {text}"
        leaders = [[f"{score:.4f}", name] for name, score in self.leaders(LEADERS)]
        best = table([self.score.replace("_", " "), "leading"], leaders, numeric=(0,))
        html = view(
            "Sweep",
            *map(paragraph, self.plan),
            bar(self.done, self.total, text),
            paragraph(self.figures),
            in_a_row([self._chart(), best if leaders else ""]),
        )
        return html, f"Sweep: {text}; {self.figures}"

    def _note(self) -> None:
        """Keep the best and the median score for the chart; of many every second one goes."""
        scores = self.best_and_median
        if scores is None or (self._curve and self._curve[-1][0] == self.done):
            return
        self._curve.append((self.done, *scores))
        if len(self._curve) > KEPT:
            del self._curve[1::2]

    def _chart(self) -> str:
        if len(self._curve) < 2:
            return ""
        x, best, median = zip(*self._curve, strict=True)
        epochs, columns = thinned(as_numbers(x), [as_numbers(best), as_numbers(median)])
        lines = [
            Line(label, epochs.tolist(), column.tolist(), colour)
            for colour, (label, column) in enumerate(zip(("best", "median"), columns, strict=True))
        ]
        title = self.score.replace("_", " ")
        return line_chart(
            lines, title=title, x_label="epochs of all networks", width=360, height=210
        )
