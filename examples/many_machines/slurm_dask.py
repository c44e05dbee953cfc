"""A sweep by workers that SLURM starts: python slurm_dask.py FOLDER, on a login node.

It needs dask-jobqueue: pip install dask-jobqueue. Each job is a process with one core and one
thread; those that wait in the queue join when they start, and one that is lost costs the seconds of
training that it had not handed in.
"""

import argparse
import signal
import sys
from pathlib import Path

import numpy as np
from dask_jobqueue import SLURMCluster
from distributed import Client

import arraymlp

signal.signal(signal.SIGINT, signal.default_int_handler)  # dask_jobqueue has one that exits


def main() -> int:
    """Sweep, and keep the results; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with X.npy and y.npy")
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--interface", help="the network of the nodes, such as ib0")
    options = parser.parse_args()

    X, y = np.load(options.folder / "X.npy"), np.load(options.folder / "y.npy")
    with (
        SLURMCluster(
            cores=1,
            processes=1,
            memory="4GB",
            walltime="02:00:00",
            interface=options.interface,
            job_extra_directives=["--requeue"],
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=options.jobs)
        client.wait_for_workers(1, timeout=3600)
        result = arraymlp.sweep(
            X,
            y,
            executor=client.get_executor(),
            hidden=[(100,), (100, 100)],
            seed=range(4),
            epochs=options.epochs,
            validation=0.2,
            checkpoint=options.folder / "sweep",
            progress=True,
        )
    lost = sum(member.status == "lost" for member in result)
    if result.interrupted or lost:  # start it again: it goes on from its checkpoint
        print(f"not done: interrupted {result.interrupted}, {lost} networks lost")
        return 1
    result.save(options.folder / "sweep.safetensors")
    print(result.best.swept, result.best.score)
    return 0


if __name__ == "__main__":
    sys.exit(main())
