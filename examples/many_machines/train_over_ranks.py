"""One network, trained by all processes that MPI starts.

    mpiexec -n 4 python -m mpi4py train_over_ranks.py FOLDER

Every process makes the same calls. The rows lie in files that all can read, and each process reads
those of its own shards. Rank 0 prints the epochs and writes the checkpoint and the network.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

import arraymlp


def main() -> int:
    """Train, and keep the network; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with X.npy and y.npy")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024, 1024])
    options = parser.parse_args()

    X = np.load(options.folder / "X.npy", mmap_mode="r")  # read window by window
    y = np.load(options.folder / "y.npy")
    run = arraymlp.train(
        X,
        y,
        group="mpi",
        hidden=options.hidden,
        epochs=options.epochs,
        checkpoint=arraymlp.Checkpoint(options.folder / "run.ckpt", every="10 min"),
        progress=True,
    )
    first = MPI.COMM_WORLD.rank == 0
    if first:
        print(f"{run.ended} after {len(run.history)} epochs")
    if run.ended == "interrupted":
        return 143  # start it again: it goes on from its checkpoint
    if first:
        arraymlp.save(run.network, options.folder / "network.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
