"""One training by processes of MPI, started as a user would: ``mpiexec -n 2 python script.py``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from arraymlp import train
from arraymlp.training.network_parts import parameters
from engines_required import require_engine

TIMEOUT = 60
SCRIPT = """
import sys
import numpy as np
from mpi4py import MPI
from arraymlp import train
from arraymlp.callbacks import Callback

rank, what = MPI.COMM_WORLD.rank, sys.argv[1]
rng = np.random.default_rng(0)
X, y = np.load("X.npy", mmap_mode="r" if what == "memmap" else None), np.load("y.npy")

def told(event):
    print("epoch", event.record["epoch"], "rank", rank, flush=True)
    if what == "fails":
        raise RuntimeError("the callback of rank 0")

class Slow(Callback):
    def on_step(self, event):
        import time
        print("step", event.step, flush=True)
        time.sleep(0.2)

class Dies(Callback):
    def __call__(self, event):
        if event.record["epoch"] == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

settings = dict(hidden=(20, 10), epochs=3, batch_size=32, window=128, dropout=0.2, progress=False)
callbacks = {"slow": [Slow()], "dies": [Dies()]}.get(what, [told])
if what == "other" and rank == 1:
    settings["hidden"] = (20, 11)
run = train(X, y, group="mpi" if what != "own" else MPI.COMM_WORLD, callbacks=callbacks, **settings)
arrays = [a for layer in run.network.layers for a in (layer.weights, layer.bias)]
np.savez(f"rank-{rank}.npz", *arrays, ended=run.ended)
print("ended", run.ended, "rank", rank, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    require_engine("mpi")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(290, 8))  # the last minibatch has 2 rows, and most shards none
    X = X.astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", (X[:, 0] * X[:, 1] > 0).astype(int))
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def mpiexec(folder: Path, ranks: int, what: str, *options: str) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("mpiexec")
    command = [str(program) if program.exists() else "mpiexec", "-n", str(ranks)]
    command += [sys.executable, *options, "script.py", what]
    return subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def output(started: subprocess.Popen[str]) -> str:
    try:
        return started.communicate(timeout=TIMEOUT)[0]
    except subprocess.TimeoutExpired:
        started.kill()
        raise


def alone(folder: Path) -> list[np.ndarray]:
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    how = {"hidden": (20, 10), "epochs": 3, "batch_size": 32, "window": 128, "dropout": 0.2}
    return list(parameters(train(X, y, shards=8, **how).network).values())


# One rank is test_the_script_is_its_own_reference_without_mpiexec; of three, one has fewer shards.
@pytest.mark.parametrize(("ranks", "what"), [(2, "memmap"), (3, "own")])
def test_the_bits_are_those_of_one_process(folder: Path, ranks: int, what: str) -> None:
    started = mpiexec(folder, ranks, what)
    text = output(started)
    assert started.returncode == 0, text
    assert [f"epoch {e} rank 0" in text for e in range(3)] == [True] * 3
    assert "epoch 0 rank 1" not in text
    expected = alone(folder)
    for rank in range(ranks):
        with np.load(folder / f"rank-{rank}.npz") as arrays:
            for i, array in enumerate(expected):
                assert arrays[f"arr_{i}"].tobytes() == array.tobytes()


def test_the_script_is_its_own_reference_without_mpiexec(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "script.py", "plain"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert "ended finished rank 0" in run.stdout
    with np.load(folder / "rank-0.npz") as arrays:
        assert arrays["arr_0"].tobytes() == alone(folder)[0].tobytes()


@pytest.mark.parametrize("options", [(), ("-m", "mpi4py")])
def test_an_error_of_one_rank_ends_all_with_its_message(
    folder: Path, options: tuple[str, ...]
) -> None:
    started = mpiexec(folder, 2, "fails", *options)
    text = output(started)
    assert started.returncode != 0
    assert "RuntimeError: the callback of rank 0" in text


def test_ranks_with_other_settings_are_named(folder: Path) -> None:
    started = mpiexec(folder, 2, "other")
    text = output(started)
    assert started.returncode != 0
    assert "RankError: the ranks are not given the same as rank 0. rank 1 on" in text
    assert "hidden" in text


def test_a_rank_that_is_killed_ends_all(folder: Path) -> None:
    started = mpiexec(folder, 2, "dies")
    output(started)
    assert started.returncode != 0


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="needs signals")
def test_a_signal_to_one_rank_ends_all_at_one_step(folder: Path) -> None:
    started = mpiexec(folder, 2, "slow")
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("step 2"):
            break
    children = _ranks_of(started.pid)
    os.kill(children[-1], signal.SIGTERM)
    text = output(started)
    assert started.returncode == 0, text
    with np.load(folder / "rank-0.npz") as a, np.load(folder / "rank-1.npz") as b:
        assert a["ended"] == b["ended"] == "interrupted"
        assert a["arr_0"].tobytes() == b["arr_0"].tobytes()


def _ranks_of(pid: int) -> list[int]:
    """The processes that run the script below a process, found by what /proc says."""
    if not Path("/proc").exists():
        pytest.skip("needs /proc")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if (
                b"script.py\0slow" in command
                and b"mpiexec" not in command
                and b"hydra" not in command
            ):
                found.append((cwd, int(entry.name)))
        own = os.readlink(f"/proc/{pid}/cwd")
        ranks = sorted(number for cwd, number in found if cwd == own)
        if len(ranks) == 2:
            return ranks
        time.sleep(0.05)
    raise AssertionError("the ranks do not run")
