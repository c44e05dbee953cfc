"""Progress: the lab's line, and the bar a terminal gets."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import arraymlp
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
    assert epoch_line(RECORD, "Test") == "[   3] Training error: 0.73552 Test error: 0.72000"


def test_rows_held_out_are_no_test_rows_and_metrics_are_shown() -> None:
    record = RECORD | {"validation_loss": 0.5, "validation_f1": 0.25, "training_log_loss": 1.5}
    assert epoch_line(record) == (
        "[   3] Training error: 0.73552 Training log loss: 1.50000"
        " Validation error: 0.72000 Validation f1: 0.25000"
    )


def test_the_lines_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    given: dict[str, Any] = {"validation": 0.5, "metrics": ["f1"], "progress": True}
    run = arraymlp.train(X, y, epochs=1, hidden=(2,), backend="numpy", **given)
    r = run.history[0]
    assert capsys.readouterr().out == (
        f"[   0] Training loss: {r['loss']:.5f} Validation error: {r['validation_error']:.5f}"
        f" Validation f1: {r['validation_f1']:.5f}\n"
    )


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
    with Bar(5) as bar:
        bar.update(SimpleNamespace(number=1, record=RECORD | {"validation_r2": 0.125}))
    shown = out.getvalue()
    for words in ("training", "1/5", "loss 0.2500", "train err 0.7355", "val err 0.7200",
                  "val r2 0.1250", "150k samples/s", "--:--"):  # fmt: skip
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


class NoTerminal:
    """A standard output that can be written to, and no more."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class NoFlush(io.TextIOBase):
    """One that has no ``flush``, and no letter beyond ASCII."""

    flush = None  # type: ignore[assignment]

    def write(self, text: str) -> int:
        return len(text.encode("ascii"))


@pytest.mark.parametrize("output", [None, NoTerminal(), NoFlush()], ids=["none", "bare", "ascii"])
def test_whatever_the_standard_output_is(output: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    how: dict[str, Any] = {"epochs": 1, "hidden": (2,), "batch_size": 20, "progress": True}
    monkeypatch.setattr(sys, "stdout", output)
    assert len(arraymlp.train(X, y, **how).history) == 1
    assert len(arraymlp.sweep(X, y, learning_rate=[0.1, 0.2], **how)) == 2
    progress.show_line("größer ± 1")


@pytest.mark.parametrize("name", ["progress", "profile", "compact"])
def test_a_switch_is_true_or_false(name: str) -> None:
    function = arraymlp.sweep if name == "compact" else arraymlp.train
    with pytest.raises(ValueError, match=f"{name} must be True or False, not 'yes'"):
        function(np.ones((4, 2)), [0, 1, 0, 1], **{name: "yes"})
