"""A sweep by processes of MPI: rank 0 hands out the work, the others train.

    mpiexec -n 9 python -m mpi4py.futures sweep_mpi.py FOLDER

Without "-m mpi4py.futures" every process would do the whole sweep by itself.
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py.futures import MPIPoolExecutor

import arraymlp


def main(folder: Path) -> None:
    """Sweep, and keep the results."""
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    with MPIPoolExecutor() as pool:
        result = arraymlp.sweep(X, y, seed=range(8), epochs=5, validation=0.2, executor=pool)
    result.save(folder / "sweep.safetensors")
    print(result.best.swept, result.best.score)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
