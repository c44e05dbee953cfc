"""A sweep by the workers of MPI beside the one here; run by mpiexec (tests/sweeps/test_engines)."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

if __name__ == "__main__":
    from mpi4py.futures import MPIPoolExecutor

    from arraymlp.sweeps.workers import part
    from engines import CASES, assert_same_sweep, swept

    part.SHORTEST = part.LONGEST = 0.0
    with MPIPoolExecutor() as executor:
        for case in CASES.values():
            assert_same_sweep(swept(executor, **case), swept(**case))
        print("the same by", executor.num_workers, "workers")
