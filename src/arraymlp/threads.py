"""How many threads a matrix product deserves: for small ones, one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

# Multiply-adds of a step's largest product below which one thread serves best. At the lab's size
# (8 million) a second thread gains a sixth at most, and on a busy machine it loses many times over.
SMALL_PRODUCT = 32_000_000


def blas_threads(backend_name: str, largest_product: int) -> AbstractContextManager[Any]:
    """Context in which NumPy's BLAS uses one thread where products are small; else a null one.

    A fixed number of threads also makes a run's bits independent of the machine's load.

    Args:
        backend_name: only "numpy" is meant; the others have threads of their own.
        largest_product: multiply-adds of the largest matrix product of a step.
    """
    if backend_name != "numpy" or largest_product > SMALL_PRODUCT:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")  # type: ignore[no-any-return]
