"""ci/gpu and ci/bench --gpu, rehearsed on a fake of CuPy; and on NumPy, where it is about ci/gpu.

What has been done is there whenever it is ended, and the next call goes on.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cuda_on_host import unavailable
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

@pytest.mark.xdist_group("one")
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
    for minutes in (0.08, 0.25, 1):  # a busy machine needs longer to start two processes
        runner.lines.unlink(missing_ok=True)
        process = runner.start(300, "--processes", "2", "--minutes", str(minutes))
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 1
        summary = runner.summary()
        assert not summary["complete"]
        named = summary.get("not_passed", {})
        slow = {name.partition("::")[2]: why for name, why in named.items()}
        if len(slow) == 2 and slow["test_numpy_last"] != "started":
            break
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


# On a fake of CuPy: CuPy's own paths, from the shell to the last file

MOST_BYTES = 64 * 2**20  # of the tree that is sent to a machine with a GPU
OF_WHEEL = """
import of_wheel

def test_cupy_finds_what_is_in_a_wheel():
    assert of_wheel.number == 17
"""


def wheel(folder: Path) -> None:
    """A wheel of one module, in a new folder."""
    folder.mkdir()
    about = "of_wheel-1.dist-info"
    with zipfile.ZipFile(folder / "of_wheel-1-py3-none-any.whl", "w") as file:
        file.writestr("of_wheel.py", "number = 17\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: of_wheel\nVersion: 1\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


def script(*arguments: Any) -> Any:
    """Start a script of ci/, with this Python as python3."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "ARRAYMLP_TEST_BACKENDS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are compiled once for all processes of a test; the test is skipped without g++."""
    if unavailable():
        pytest.skip(unavailable())
    if not os.environ.get("CUDA_ON_HOST_LIBRARIES"):
        monkeypatch.setenv("CUDA_ON_HOST_LIBRARIES", str(tmp_path / "kernels"))


@POSIX
@pytest.mark.usefixtures("kernels")
def test_ci_gpu_from_end_to_end(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    own = tmp_path / "test_of_wheel.py"
    own.write_text(OF_WHEEL, encoding="utf-8")
    out = tmp_path / "gpu.json"
    parts = ["lab", "tests", "generic-lab"]
    chosen = [word for part in parts for word in ("--part", part)]
    process = script(
        *("ci/gpu", "--dry-run", "--out", out, "--wheels", tmp_path / "wheels", *chosen),
        *("--processes", 1, "--", own, "tests/backends/test_backend.py"),
    )
    while process.poll() is None:
        if out.exists():
            json.loads(out.read_text("utf-8"))  # whole at any moment
        time.sleep(0.05)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    summary = json.loads(out.read_text("utf-8"))
    assert "fake" in summary["device"]["name"]
    assert [*summary["parts"]] == parts
    for part in summary["parts"].values():
        assert part["complete"]
        assert part["passed"]
    assert not summary["passed"]  # without the benchmarks
    assert len(summary["parts"]["lab"]["runs"]) == 5
    assert summary["parts"]["tests"]["on_backend"].keys() == {"passed"}
    outcomes = out.with_name("gpu-tests.jsonl").read_text("utf-8")
    assert '::test_cupy_finds_what_is_in_a_wheel", "outcome": "passed"' in outcomes


@POSIX
@pytest.mark.usefixtures("kernels")
def test_ci_bench_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "bench.json"
    process = script(*("ci/bench", "--gpu", "--dry-run", "--quick", "--only", "a,f", "--json", out))
    output = process.communicate()[0]
    assert process.returncode == 0, output
    summary = json.loads(out.read_text("utf-8"))
    assert "fake" in summary["machine"]["device"]["name"]
    for result in summary["results"]:
        ours = [name for name in result["absent"] if "arraymlp" in name or "CuPy" in name]
        assert not ours, result["errors"]
    assert "the figures say nothing" in output


@POSIX
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["ci/gpu", "--dry-run"], "needs --out"),
        (["ci/gpu", "--part", "lab"], "--dry-run is for a fake of CuPy"),
        (["ci/bench", "--gpu"], "--dry-run is for a fake of CuPy"),
    ],
)
def test_a_fake_is_never_taken_for_a_gpu(
    command: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[0] == "ci/bench":
        pytest.importorskip("sklearn")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support" / "fake_cupy"))
    process = script(*command)
    output = process.communicate()[0]
    assert process.returncode == 2
    assert complaint in output


def test_the_tree_is_small_enough_to_be_sent() -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no clone of git's")
    paths = [ROOT / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < MOST_BYTES
