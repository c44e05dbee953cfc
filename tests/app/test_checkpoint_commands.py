"""``arraymlp sweep`` and ``lab`` with ``--checkpoint``: killed, and given again."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from arraymlp import SweepResult
from arraymlp.app.lab.progress import LabLines
from commands import run

TIMES = {"seconds", "samples_per_s"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "points.csv"
    rows = [f"{a},{b},{int(a * b > 0)}\n" for a, b in rng.normal(size=(400, 2))]
    path.write_text("a,b,y\n" + "".join(rows))
    return str(path)


def arraymlp(*arguments: str) -> subprocess.Popen[str]:
    """The command, begun."""
    return subprocess.Popen(
        [sys.executable, "-m", "arraymlp", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*arguments: str, quiet: bool = True) -> str:
    """What the command prints to its end, on the standard output, and where quiet nowhere else."""
    process = arraymlp(*arguments)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert not (quiet and err)
    return out


def killed(folder: Path, file: str, *arguments: str) -> None:
    """Begin the command, and kill it as soon as there is such a file in its folder."""
    process = arraymlp(*arguments)
    until = time.monotonic() + 60
    while not list(folder.glob(file)) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    _, err = process.communicate()
    assert process.returncode not in (0, 1, 2), f"it was at its end before the kill: {err}"


def timeless(value: Any) -> Any:
    """JSON without times and, since stacks may be cut anew, without the plan."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES | {"plan"}}
    return list(map(timeless, value)) if isinstance(value, list) else value


def without_times(out: str, *lines: str) -> list[str]:
    """What was printed, without times, the folder of checkpoints, and lines with these words."""
    kept = [line for line in out.splitlines() if not any(word in line for word in lines)]
    return [re.sub(r"\d+(\.\d+)? s\b", "- s", line) for line in kept]


# A sweep of some seconds: networks that share a step, and others.
LONG = (
    "--hidden", "16,8-8", "--learning-rate", "0.001,0.01", "--seed", "0:3", "--epochs", "150",
    "--batch-size", "10", "--early-stopping", "100", "--backend", "numpy",
)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_sweep_given_again_ends_as_if_unbroken(data: str, tmp_path: Path) -> None:
    def command(name: str, *more: str) -> tuple[str, ...]:
        files = ("--json", str(tmp_path / f"{name}.json"), "--save", str(tmp_path / name))
        return ("sweep", data, *LONG, *files, *more)

    folder = tmp_path / "kept"
    kept = ("--checkpoint", str(folder), "--checkpoint-every", "1 epoch")
    out = ended(*command("whole"))
    killed(folder, "stack-*.safetensors.1", *command("broken", *kept))
    assert not (tmp_path / "broken").exists()
    again = ended(*command("broken", *kept))
    assert f"\ncheckpoint: {folder}\n" in again
    assert re.search(r"\n\d+ go on from the checkpoint in \d+ stacks?\n", again)
    assert again.count(" %] ") <= 10

    told = (
        "checkpoint",
        " %] ",
        " stacks",
        ", minibatches of ",
        f"json: {tmp_path}",
        f"networks: {tmp_path}",
    )
    assert without_times(again, *told) == without_times(out, *told)
    whole, broken = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("whole", "broken"))
    assert timeless(broken) == timeless(whole)
    one, other = (SweepResult.load(tmp_path / n) for n in ("whole", "broken"))
    for a, b in zip(one.networks, other.networks, strict=True):
        for mine, its in zip(a.layers, b.layers, strict=True):
            np.testing.assert_array_equal(mine.weights, its.weights)
            np.testing.assert_array_equal(mine.bias, its.bias)

    finished = ended(*command("third", *kept))  # nothing is left to train
    assert "\n12 go on from the checkpoint in" in finished
    assert without_times(finished, *told) == without_times(out, *told)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_training_given_again_ends_as_if_unbroken(data: str, tmp_path: Path) -> None:
    def command(name: str, *more: str) -> tuple[str, ...]:
        settings = ("--epochs", "60", "--early-stopping", "off", "--hidden", "8", "--members", "2")
        given = ("train", data, "--target", "y", *settings, "--backend", "numpy", "--json")
        return (*given, "--save", str(tmp_path / name), *more)

    kept = ("--checkpoint", str(tmp_path / "run"), "--checkpoint-every", "1 epoch")
    whole = timeless(json.loads(ended(*command("whole"), quiet=False)))
    killed(tmp_path, "run.1", *command("broken", *kept))
    assert not (tmp_path / "broken").exists()
    broken = timeless(json.loads(ended(*command("broken", *kept), quiet=False)))
    assert broken | {"model": ""} == whole | {"model": ""}
    assert (tmp_path / "broken").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_lab_given_again_ends_as_if_unbroken(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    command = ("lab", "--runs", "relu-0.05,sigmoid-0.5", "--epochs", "1", "--backend", "numpy")
    kept = ("--checkpoint", str(folder), "--checkpoint-every", "100 steps")
    out = ended(*command)
    killed(folder, "sigmoid-0.5/stack-0.safetensors", *command, *kept)
    again = ended(*command, *kept)
    assert f"\ncheckpoint: {folder}\n" in again
    for name in ("sigmoid-0.005", "sigmoid-0.5"):  # with two cores, the third beside them
        assert again.count(f"{name}: 1 of 1 go on from the checkpoint\n") == 1
    assert table(again) == table(out)
    assert errors(again) == errors(out)


def table(out: str) -> list[str]:
    """The rows of a table, without times."""
    rows = [line for line in without_times(out) if line.startswith("│")]
    assert rows
    return [re.sub(r" +", " ", row) for row in rows]


def errors(out: str) -> list[str]:
    """The lines of epochs, sorted: runs may train side by side."""
    return sorted(line for line in out.splitlines() if "Training error" in line)


def test_of_a_checkpoints_epochs_the_last_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def record(epoch: int) -> dict[str, Any]:
        return {"epoch": epoch, "loss": 1.0, "training_error": epoch / 8, "samples_per_s": 1.0}

    with LabLines() as lines:
        lines.plan(["relu-0.05"], 2, 5)
        lines.goes_on("relu-0.05", 2)
        lines.update("relu-0.05", [record(e) for e in (0, 1, 2, 3)])
        lines.update("relu-0.05", [record(e) for e in (0, 1, 2)])
        lines.update("relu-0.05", [record(3)])
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "relu-0.05: 2 of 2 go on from the checkpoint"
    assert [line[:6] for line in out[1:]] == ["[   2]", "[   3]"]


@pytest.mark.parametrize("command", ["sweep", "lab"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--checkpoint-every", "1 epoch"), "can be given only with --checkpoint"),
        (("--checkpoint", "new", "--checkpoint-every", "often"), "as in '5 min'"),
        (("--checkpoint", "file"), "--checkpoint file is no folder"),
    ],
)
def test_a_mistake_is_one_error_and_status_2(
    capsys: Any, monkeypatch: Any, tmp_path: Path, command: str, arguments: Any, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    status, out, err = run(capsys, monkeypatch, command, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


def test_another_commands_folder_is_refused_and_says_why(
    capsys: Any, monkeypatch: Any, data: str, tmp_path: Path
) -> None:
    given = ("sweep", data, "--hidden", "4", "--epochs", "1", "--backend", "numpy")
    kept = ("--checkpoint", str(tmp_path))
    assert run(capsys, monkeypatch, *given, *kept)[0] == 0
    status, _, err = run(capsys, monkeypatch, *given, *kept, "--seed", "3")
    assert status == 2
    assert "is of another sweep: network 0: seed was 0, is 3" in err
