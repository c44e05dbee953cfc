"""The lab's progress: lines that name their run, bars, and epochs of several seeds."""

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from arraymlp.app.lab.progress import LabBars, LabLines, LabProgress, lab_progress
from arraymlp.app.lab.training import run_lab


def record(epoch: int, error: float = 0.5) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 2 * error,
        "training_error": error,
        "validation_error": error / 2,
        "samples_per_s": 100_000.0,
    }


def test_one_runs_lines_are_the_labs_own(capsys: pytest.CaptureFixture[str]) -> None:
    with LabLines() as lines:
        lines.plan(["relu-0.05"], 1, 2)
        lines.update("relu-0.05", [record(0)])
    assert capsys.readouterr().out == "[   0] Training error: 0.50000 Test error: 0.25000\n"


def test_lines_of_several_runs_name_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    with LabLines() as lines:
        lines.plan(["relu-0.005", "relu-0.05"], 1, 2)
        lines.update("relu-0.05", [record(0)])
        lines.update("relu-0.005", [record(0, 0.25)])
    assert capsys.readouterr().out == (
        "relu-0.05  [   0] Training error: 0.50000 Test error: 0.25000\n"
        "relu-0.005 [   0] Training error: 0.25000 Test error: 0.12500\n"
    )


def test_an_epoch_is_shown_when_every_seed_has_done_it(capsys: pytest.CaptureFixture[str]) -> None:
    with LabLines() as lines:
        lines.plan(["relu-0.05"], 3, 2)
        lines.update("relu-0.05", [record(0, 0.5), record(0, 0.25)])
        assert capsys.readouterr().out == ""
        lines.update("relu-0.05", [record(1, 0.5), record(1, 0.25)])
        lines.update("relu-0.05", [record(0, 0.75)])
    assert capsys.readouterr().out == (
        "[   0] Training error: 0.50000 (median of 3) Test error: 0.25000 (median of 3)\n"
    )


def test_there_is_a_bar_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    console = pytest.importorskip("rich.console")
    out = io.StringIO()
    terminal = console.Console(file=out, force_terminal=True, width=150)
    monkeypatch.setattr("rich.progress.get_console", lambda: terminal)
    bars = LabBars()
    bars.plan(["relu-0.005", "relu-0.05"], 2, 5)
    with bars:
        bars.update("relu-0.05", [record(0), record(0)])
    shown = out.getvalue()
    for words in ("relu-0.005", "0/5", "relu-0.05", "1/5", "test err 0.2500", "200k samples/s"):
        assert words in shown


@pytest.mark.parametrize(("terminal", "kind"), [(True, LabBars), (False, LabLines)])
def test_a_terminal_gets_bars(terminal: bool, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: terminal))
    assert type(lab_progress()) is kind


class Noted(LabProgress):
    """Notes which threads train which runs."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: dict[str, set[str]] = {}
        self.shown: list[tuple[str, int]] = []

    def update(self, title: str, records: Any) -> None:
        self.threads.setdefault(title, set()).add(threading.current_thread().name)
        super().update(title, records)

    def show(self, title: str, record: dict[str, Any]) -> None:
        self.shown.append((title, record["epoch"]))


def test_runs_train_side_by_side_and_one_that_goes_on_after_its_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = run_lab(["sigmoid-0.5", "relu-0.05"], backend="numpy", epochs=1)
    monkeypatch.setattr("arraymlp.app.lab.training.cores", lambda: 2)
    noted = Noted()
    together = run_lab(["sigmoid-0.5", "relu-0.05"], backend="numpy", epochs=1, progress=noted)
    assert all(
        name.startswith("arraymlp-worker") for used in noted.threads.values() for name in used
    )
    in_turn = [title for title, _ in noted.shown if title != "relu-0.05"]
    assert in_turn == ["sigmoid-0.005", "sigmoid-0.5"]
    assert ("relu-0.05", 0) in noted.shown
    assert together.names == alone.names == ["sigmoid-0.5", "relu-0.05"]
    for ours, theirs in zip(together.runs, alone.runs, strict=True):
        for a, b in zip(ours.run.network.layers, theirs.run.network.layers, strict=True):
            assert (a.weights == b.weights).all()
