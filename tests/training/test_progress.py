"""Progress: the lab's line, and the bar a terminal gets."""

import io
from types import SimpleNamespace

import pytest

from arraymlp.training import progress
from arraymlp.training.progress import Bar, Lines, Progress, epoch_line, progress_for

RECORD = {
    "epoch": 3,
    "loss": 0.25,
    "training_error": 0.73552,
    "validation_error": 0.72,
    "samples_per_s": 150_000.0,
}


def test_a_line_has_the_labs_own_format() -> None:
    assert epoch_line(RECORD) == "[   3] Training error: 0.73552 Test error: 0.72000"


def test_losses_stand_in_where_errors_were_not_measured() -> None:
    assert epoch_line({"epoch": 0, "loss": 0.5}) == "[   0] Training loss: 0.50000"


def test_a_population_shows_its_median() -> None:
    line = epoch_line({"epoch": 0, "loss": [1.0, 3.0, 2.0]})
    assert line == "[   0] Training loss: 2.00000 (median of 3)"


def test_the_bar_shows_epoch_loss_errors_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = pytest.importorskip("rich.console")
    out = io.StringIO()
    terminal = console.Console(file=out, force_terminal=True, width=150)
    monkeypatch.setattr("rich.progress.get_console", lambda: terminal)
    with Bar(5, "relu-0.05") as bar:
        bar.update(SimpleNamespace(record=RECORD))
    shown = out.getvalue()
    for words in ("relu-0.05", "1/5", "loss 0.2500", "train err 0.7355", "test err 0.7200",
                  "150k samples/s", "--:--"):  # fmt: skip
        assert words in shown


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bar), (False, Lines)])
def test_a_terminal_gets_the_bar(
    terminal: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(progress.sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    assert type(progress_for(True, 5)) is kind


@pytest.mark.parametrize("wanted", [None, False])
def test_nobody_watching_sees_nothing(wanted: bool | None) -> None:
    assert type(progress_for(wanted, 5)) is Progress
