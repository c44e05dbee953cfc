"""ci/gpu, rehearsed on NumPy: what it has done is there whenever it is ended, and it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pages import ROOT

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
TESTS = """
import os, time
import pytest

@pytest.fixture(autouse=True)
def noted(record_property):
    record_property("backend", "numpy")

def test_numpy_first():
    pass

def test_numpy_second():
    pytest.skip("for the sake of it")

def test_numpy_slow():
    with open(__file__ + ".process", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(float(os.environ["SECONDS"]))

def test_numpy_last():
    assert os.environ["SECONDS"] == "0", "it was slow"
"""


class Runner:
    """Calls ci/gpu.py for the tests of a file of its own, with what it writes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.out, self.lines = folder / "gpu.json", folder / "gpu-tests.jsonl"
        self._file = folder / "test_of_runner.py"
        self._file.write_text(TESTS, encoding="utf-8")

    def start(self, seconds: float, *options: str, commit: str = "1234567") -> Any:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "SECONDS": str(seconds),
            "GIT_DIR": "/nowhere",  # or the clone's own commit would count
            "ARRAYMLP_COMMIT": commit,
        }
        command = [sys.executable, "ci/gpu.py", "--backend", "numpy", "--part", "tests"]
        command += ["--out", str(self.out), *options, "--", str(self._file)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )

    def outcomes(self) -> dict[str, str]:
        """The last outcome of each test, by its name."""
        lines = self.lines.read_text("utf-8").split("\n") if self.lines.exists() else []
        tests = [json.loads(line) for line in lines if line.endswith("}")]
        names = [test["test"].partition("::test_numpy_")[2] for test in tests]
        return {name: test["outcome"] for name, test in zip(names, tests, strict=True)}

    def number_of_pytest(self) -> int:
        """The number of the process that runs the slow test."""
        return int(self._file.with_name(f"{self._file.name}.process").read_text("utf-8"))

    def summary(self) -> dict[str, Any]:
        """The summary of the tests."""
        part: dict[str, Any] = json.loads(self.out.read_text("utf-8"))["parts"]["tests"]
        return part


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


BROKEN_OFF = {"first": "passed", "second": "skipped", "slow": "started"}


@POSIX
def test_what_was_done_is_there_after_a_kill_and_the_next_call_goes_on(runner: Runner) -> None:
    process = runner.start(300, "--processes", "1")
    end = time.monotonic() + 120
    while runner.outcomes() != BROKEN_OFF:
        assert time.monotonic() < end, runner.outcomes()
        time.sleep(0.1)
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(runner.number_of_pytest(), signal.SIGKILL)  # which nobody else could end
    assert not runner.summary()["complete"]

    before = runner.lines.read_text("utf-8")
    process = runner.start(0, "--processes", "1")
    output, _ = process.communicate(timeout=120)
    assert "2 passed, 2 deselected" in output
    assert runner.lines.read_text("utf-8").startswith(before)
    summary = runner.summary()
    assert summary["complete"]
    assert summary["all"] == {"passed": 3, "skipped": 1}
    assert summary["skips"] == {"Skipped: for the sake of it": 1}
    assert not summary["passed"]  # since one on the backend was skipped
    assert process.returncode == 1


@POSIX
def test_a_part_that_takes_too_long_is_ended(runner: Runner) -> None:
    pytest.importorskip("xdist")
    process = runner.start(300, "--processes", "2", "--minutes", "0.4")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    summary = runner.summary()
    assert not summary["complete"]
    slow = {name.partition("::")[2]: why for name, why in summary["not_passed"].items()}
    assert slow["test_numpy_slow"] == "started"
    assert "it was slow" in slow["test_numpy_last"]
    assert "test_numpy_last: AssertionError: it was slow" in output


@POSIX
def test_the_tests_of_another_commit_are_done_again(runner: Runner) -> None:
    for commit in ("1234567", "89abcde"):
        process = runner.start(0, "--processes", "1", commit=commit)
        output, _ = process.communicate(timeout=120)
        assert "3 passed, 1 skipped" in output
        assert json.loads(runner.out.read_text("utf-8"))["commit"] == commit
