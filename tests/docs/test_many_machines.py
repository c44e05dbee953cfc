"""The scripts for batch systems: their Python parts run, by stand-ins for what starts them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import arraymlp
from arraymlp.training.network_parts import parameters
from engines_required import require_engine

SCRIPTS = Path(__file__).parents[2] / "examples" / "many_machines"
TIMEOUT = 120

pytestmark = pytest.mark.xdist_group("many machines")  # two cores for each in turn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 10)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", (X[:, 0] * X[:, 1] > 0).astype(int))
    return tmp_path


def program(path: Path, name: str, text: str) -> None:
    """A command of this name, in a folder of programs."""
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/bash\n{text}\n")
    (path / name).chmod(0o755)


def environment(path: Path, **more: str) -> Mapping[str, str]:
    """That of a job: the programs of a folder come first, and this Python is ``python``."""
    program(path, "python", f'exec {sys.executable} "$@"')
    own = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{path}:{own}:{os.environ['PATH']}", **more}


def started(command: list[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=SCRIPTS, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(command: list[str], env: Mapping[str, str]) -> str:
    process = started(command, env)
    try:
        text, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, text
    return text


def test_ranks_on_slurm(folder: Path) -> None:
    require_engine("mpi")
    bin_folder = folder / "bin"
    env = environment(bin_folder, SLURM_CPUS_PER_TASK="1")
    program(bin_folder, "srun", 'exec mpiexec -n 2 "$@" --epochs 2 --hidden 16')
    assert "finished after 2 epochs" in run(["bash", "slurm_ranks.sh", str(folder)], env)
    X, y = np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy")
    alone = arraymlp.train(X, y, hidden=(16,), epochs=2, shards=6)  # batches are of 6
    there = arraymlp.load(folder / "network.safetensors")
    for name, array in parameters(alone.network).items():
        assert array.tobytes() == parameters(there)[name].tobytes()


def test_a_sweep_by_processes_of_mpi(folder: Path) -> None:
    require_engine("mpi")
    env = environment(folder / "bin")
    command = ["mpiexec", "-n", "3", "python", "-m", "mpi4py.futures", "sweep_mpi.py", str(folder)]
    assert "'seed': " in run(command, env)
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    alone = arraymlp.sweep(X, y, seed=range(8), epochs=5, validation=0.2)
    there = arraymlp.SweepResult.load(folder / "sweep.safetensors")
    assert [m.score for m in there.members] == [m.score for m in alone.members]


def test_a_sweep_on_a_dask_cluster_that_is_told_to_end_goes_on(folder: Path) -> None:
    require_engine("dask")
    env = environment(folder / "bin")
    command = ["python", "sweep.py", str(folder), "--epochs", "150", "--seeds", "1"]
    job = started(command, env)
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("[ "):
            break
    job.send_signal(signal.SIGTERM)
    text, _ = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 1, text
    assert "interrupted True" in text
    assert not (folder / "sweep.safetensors").exists()
    assert list((folder / "sweep").glob("stack-*"))  # what the slices had is kept
    assert "'rank': 1" in run(command, env)  # from its checkpoint
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    rates = [0.0003, 0.001, 0.003, 0.01]
    alone = arraymlp.sweep(X, y, learning_rate=rates, seed=[0], epochs=150, validation=0.2)
    there = arraymlp.SweepResult.load(folder / "sweep.safetensors")
    assert [m.score for m in there.members] == [m.score for m in alone.members]


def test_a_sweep_by_jobs_of_slurm(folder: Path) -> None:
    require_engine("dask")
    if find_spec("dask_jobqueue") is None:  # to import it is to have another handler of Ctrl-C
        pytest.skip("dask_jobqueue is not installed")
    bin_folder = folder / "bin"
    env = environment(bin_folder, DASK_DISTRIBUTED__DASHBOARD__LINK="")
    jobs = folder / "jobs"
    copied = 'script=$(mktemp -p "$(dirname "$0")"); cp "${@: -1}" "$script"'  # it is removed
    start = f'nohup setsid bash "$script" >>{jobs}.log 2>&1 &'
    told = f'echo "$!" >>{jobs}; echo "Submitted batch job $!"'
    program(bin_folder, "sbatch", "\n".join([copied, start, told]))
    program(bin_folder, "scancel", 'for job in "$@"; do kill -- "-$job" 2>/dev/null; done; exit 0')
    try:
        options = ["--jobs", "2", "--epochs", "2", "--interface", "lo"]
        text = run(["python", "slurm_dask.py", str(folder), *options], env)
        assert "'hidden': " in text
        assert len(jobs.read_text().split()) >= 2
    finally:
        for job in jobs.read_text().split() if jobs.exists() else ():
            subprocess.run(["kill", "--", f"-{job}"], capture_output=True, check=False)


def test_a_machine_that_is_taken_away(folder: Path) -> None:
    bin_folder = folder / "bin"
    env = environment(bin_folder, SLURM_CPUS_PER_TASK="1", SLURM_JOB_ID="7")
    program(bin_folder, "scontrol", f'echo "$@" >{folder}/requeued')
    program(bin_folder, "python", f'exec {sys.executable} "$@" --epochs 150')
    job = started(["bash", "slurm_spot.sh", str(folder)], env)
    assert job.stdout is not None
    for line in job.stdout:
        if "[  2" in line:  # the third epoch
            break
    job.send_signal(signal.SIGTERM)
    text, _ = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 143, text
    assert (folder / "requeued").read_text() == "requeue 7\n"
    assert not (folder / "network.safetensors").exists()
    assert "finished after 150 epochs" in run(["bash", "slurm_spot.sh", str(folder)], env)
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    alone = arraymlp.train(X, y, epochs=150, validation=0.2)
    there = arraymlp.load(folder / "network.safetensors")
    for name, array in parameters(alone.network).items():
        assert array.tobytes() == parameters(there)[name].tobytes()


def test_kubernetes_starts_what_the_script_asks_for() -> None:
    yaml = pytest.importorskip("yaml")
    parts = list(yaml.safe_load_all((SCRIPTS / "kubernetes.yaml").read_text()))
    by_name = {(part["kind"], part["metadata"]["name"]): part for part in parts}
    port = by_name["Service", "dask-scheduler"]["spec"]["ports"][0]["port"]

    def container(kind: str, name: str) -> Mapping[str, object]:
        spec = by_name[kind, name]["spec"]["template"]["spec"]
        return spec["containers"][0]

    address = f"tcp://dask-scheduler:{port}"
    scheduler, worker = (container("Deployment", f"dask-{n}") for n in ("scheduler", "worker"))
    assert str(port) in scheduler["command"]
    assert address in worker["command"]
    job = container("Job", "sweep")
    assert job["env"] == [{"name": "DASK_SCHEDULER_ADDRESS", "value": address}]
    assert (SCRIPTS / Path(job["command"][1]).name).exists()
    if shutil.which("dask"):  # its options are those of the installed version
        for options in (scheduler["command"], worker["command"]):
            shown = subprocess.run(
                ["dask", options[1], "--help"], capture_output=True, text=True, check=True
            )
            for option in (o for o in options if o.startswith("--")):
                assert option in shown.stdout
