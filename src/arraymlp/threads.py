"""How many threads a matrix product deserves: for small ones, one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Multiply-adds of a step's largest product below which one thread serves best. At the lab's size
# (8 million) a second gains about a fifth, and on a busy machine it loses several times over.
SMALL_PRODUCT = 32_000_000

_lock = threading.Lock()
_users = 0
_limit: Any = None


@cache
def _loaded() -> Any:
    """The thread pools of this process, NumPy's among them; to find them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def blas_threads(backend_name: str, largest_product: int) -> Iterator[None]:
    """Context in which NumPy's BLAS uses one thread, where products are small; else nothing.

    A fixed number of threads also makes a run's bits the same on any number of cores. The limit is
    the process's: of trainings in several threads the last one to end lifts it.

    Args:
        backend_name: only "numpy" is meant; the others have threads of their own.
        largest_product: multiply-adds of the largest matrix product of a step.
    """
    global _users, _limit
    if backend_name != "numpy" or largest_product > SMALL_PRODUCT:
        yield
        return
    with _lock:
        if _users == 0:
            _limit = _loaded().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()
