"""A sweep by the workers of a Dask cluster.

    python sweep.py FOLDER --scheduler tcp://host:8786

Without an address it starts two workers on this machine. The results are those of the sweep without
`executor`, bit for bit, on workers with the same kind of processor.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from distributed import Client

import arraymlp


def main() -> int:
    """Sweep, and print the best settings; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with X.npy and y.npy; the results go there")
    parser.add_argument("--scheduler", default=os.environ.get("DASK_SCHEDULER_ADDRESS"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()

    X, y = np.load(options.folder / "X.npy"), np.load(options.folder / "y.npy")
    here = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with Client(options.scheduler) if options.scheduler else Client(**here) as client:
        client.wait_for_workers(1, timeout=600)  # the others may come later
        result = arraymlp.sweep(
            X,
            y,
            executor=client.get_executor(),
            learning_rate=[0.0003, 0.001, 0.003, 0.01],
            seed=range(options.seeds),
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
    for row in result.rank():
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
