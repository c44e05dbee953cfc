"""Sweeps by the workers of dask, MPI and loky: the bits of the sweep in this process."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import CASES, At, assert_same_sweep, swept
from engines import one_epoch_slices as one_epoch_slices
from engines_required import require_engine

pytestmark = [
    pytest.mark.xdist_group("engines"),
    pytest.mark.filterwarnings("default"),  # those of the libraries
]
SUPPORT = Path(__file__).parents[1] / "support"
LONG: dict[str, Any] = {**CASES["grid"], "epochs": 12}


# One for all tests here, of which the last closes it: to start its processes takes seconds.
@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = require_engine("dask")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with require_engine("dask").Client(cluster, timeout="60s") as client:
        yield client


def test_dask(client: Any, one_epoch_slices: None) -> None:
    for case in CASES.values():
        assert_same_sweep(swept(client, **case), swept(**case))
    executor = client.get_executor(retries=1)
    assert_same_sweep(swept(executor, **LONG), swept(**LONG))

    def kill() -> None:
        os.kill(next(iter(client.run(os.getpid).values())), 9)

    assert_same_sweep(swept(executor, progress=At(20, kill), **LONG), swept(**LONG))


def test_dask_where_workers_do_not_see_the_folder(
    client: Any, one_epoch_slices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymlp.sweeps.workers.transport.LARGE", 1000)
    monkeypatch.setattr("arraymlp.sweeps.workers.conduct.train_slice", elsewhere)
    assert_same_sweep(swept(client, **CASES["folds"]), swept(**CASES["folds"]))


def elsewhere(request: Any, sent: Any) -> Any:
    """A slice of a worker on another machine."""
    from arraymlp.sweeps.workers.slices import train_slice

    return train_slice({**request, "folder": "/nowhere"}, sent)


def test_dask_whose_scheduler_goes_loses_the_rest(
    cluster: Any, client: Any, one_epoch_slices: None
) -> None:
    result = swept(client, progress=At(20, cluster.close), **LONG)
    lost = [m for m in result if m.status == "lost"]
    assert lost
    assert all("dask is clos" in m.cause or "is gone" in m.cause for m in lost)
    assert any(m.records for m in result)


def test_mpi() -> None:
    require_engine("mpi")
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which(
        "mpiexec"
    )
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    done = subprocess.run(
        [*command, str(SUPPORT / "mpi_sweep.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the same by 2 workers" in done.stdout


def test_loky(one_epoch_slices: None) -> None:
    require_engine("loky")
    from joblib.externals.loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(2)
    try:
        assert_same_sweep(swept(executor, **LONG), swept(**LONG))

        def kill() -> None:
            os.kill(next(iter(executor._processes)), 9)

        assert_same_sweep(swept(executor, progress=At(20, kill), **LONG), swept(**LONG))
    finally:
        executor.shutdown(kill_workers=True)
