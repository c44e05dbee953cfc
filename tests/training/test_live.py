"""Live curves: what is shown when, of a run and of a sweep, without a notebook."""

import logging
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from arraymlp.training import live
from arraymlp.training.live import APART, KEPT, SHARE, LiveCurves, LiveSweep, time_text
from arraymlp.training.notebook_output import (
    JupyterOutput,
    MarimoOutput,
    NotebookOutput,
    notebook_output,
)
from arraymlp.training.progress import Lines, progress_for
from notebook_cells import words
from runs import train


class Clock:
    """A clock that only tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept(NotebookOutput):
    """Keeps what is shown, each of which takes ``cost`` seconds."""

    def __init__(self, clock: Clock, cost: float = 0.0) -> None:
        self.clock, self.cost = clock, cost
        self.shown: list[tuple[float, str]] = []

    def show(self, html: str, text: str) -> None:
        self.shown.append((self.clock.now, words(html)))
        self.clock.now += self.cost


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "perf_counter", clock)
    return clock


def swept(output: NotebookOutput, total: int = 1000) -> LiveSweep:
    return LiveSweep(total, ["plan"], "loss", False, ["a", "b"], output=output)


def epochs(sweep: LiveSweep, clock: Clock, n: int, seconds: float) -> None:
    with sweep:
        for i in range(n):
            clock.now += seconds
            sweep.update([i % 2], [{"loss": 1 / (i + 1)}])


def test_states_are_a_quarter_of_a_second_apart(clock: Clock) -> None:
    output = Kept(clock)
    epochs(swept(output), clock, 500, 0.01)
    times = [when for when, _ in output.shown]
    assert len(times) == pytest.approx(5 / APART, abs=2)
    assert all(b - a >= APART for a, b in pairwise(times[:-1]))


def test_drawing_takes_a_small_share_of_the_time(clock: Clock) -> None:
    output = Kept(clock, cost=0.1)
    epochs(swept(output), clock, 2000, 0.01)
    drawn = (len(output.shown) - 2) * 0.1  # but for the first and the last
    assert 0 < drawn <= 1.05 * SHARE * 20


def test_the_last_state_is_always_shown(clock: Clock) -> None:
    output = Kept(clock)
    epochs(swept(output, 3), clock, 3, 0.001)
    assert "3 of 3 epochs of all networks, 0.0 s" in output.shown[-1][1]
    assert "loss best 0.3333 median 0.4167" in output.shown[-1][1]


def test_the_curve_of_a_long_sweep_keeps_its_ends(clock: Clock) -> None:
    output = Kept(clock)
    sweep = swept(output, 3000)
    epochs(sweep, clock, 3000, 0.25)
    assert KEPT / 2 <= len(sweep._curve) <= KEPT
    assert sweep._curve[0][0] <= 2
    assert sweep._curve[-1][0] == 3000


def test_a_display_that_fails_is_left_alone(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Kept):
        def show(self, html: str, text: str) -> None:
            super().show(html, text)
            raise OSError("no display")

    output = Fails(clock)
    with caplog.at_level(logging.WARNING):
        run = train(epochs=3, progress=LiveCurves(3, output))
    assert len(run.history) == 3
    assert len(output.shown) == 1
    assert [r.getMessage() for r in caplog.records] == [
        "the training goes on without live curves: OSError('no display')"
    ]


def test_a_run_that_goes_on_shows_its_earlier_epochs_too(clock: Clock) -> None:
    output = Kept(clock)
    first = train(epochs=3)
    train(network=first, epochs=2, progress=LiveCurves(2, output))
    assert output.shown[0][1] == "Training no epoch of 2 yet"
    assert "2 of 2 epochs" in output.shown[-1][1]


def test_a_run_that_ends_before_its_first_epoch_says_so(clock: Clock) -> None:
    output = Kept(clock)
    with LiveCurves(2, output):
        pass
    assert output.shown[-1][1] == "Training no epoch was trained"


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 4, 1.0, "1.0 s"),
        (1, 4, 2.0, "2.0 s, about 6.0 s left"),
        (4, 4, 90.0, "1:30 min"),
        (1, 61, 61.0, "1:01 min, about 1:01 h left"),
    ],
)
def test_the_time_that_is_left(done: int, total: int, seconds: float, text: str) -> None:
    assert time_text(done, total, seconds) == text


# Where


def test_without_a_notebook_nothing_is_imported_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "marimo", None)
    assert notebook_output() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook_output() is None
    assert "IPython" not in sys.modules


@pytest.mark.parametrize(
    ("shell", "kind"),
    [
        (None, None),  # IPython is imported, and does not run this
        (SimpleNamespace(), None),  # on a terminal
        (SimpleNamespace(kernel=object()), JupyterOutput),
    ],
)
def test_ipython_counts_where_a_kernel_runs_it(
    shell: Any, kind: type | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    output = notebook_output()
    assert output is None if kind is None else type(output) is kind
    progress = progress_for(True, 3)
    assert isinstance(progress, LiveCurves if kind else Lines)


class Marimo(SimpleNamespace):
    """marimo's module, as far as it is used: an output refuses a place beyond its end."""

    def __init__(self) -> None:
        self.items: list[str] = ["before"]
        self.running = True
        super().__init__(output=SimpleNamespace(replace_at_index=self._replace), Html=str)

    def running_in_notebook(self) -> bool:
        return self.running

    def _replace(self, value: str, place: int) -> None:
        if place > len(self.items):
            raise IndexError(place)
        self.items[place : place + 1] = [value]


def test_in_marimo_a_place_after_other_outputs_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    marimo = Marimo()
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    output = notebook_output()
    assert isinstance(output, MarimoOutput)
    output.show("<p>1</p>", "1")
    marimo.items.append("between")
    output.show("<p>2</p>", "2")
    assert marimo.items == ["before", "<p>2</p>", "between"]
    marimo.running = False  # in another thread
    output.show("<p>3</p>", "3")
    assert marimo.items[1] == "<p>2</p>"
    assert notebook_output() is None
