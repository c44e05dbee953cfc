"""The host process: cores and threads, memory that is kept, and Ctrl-C as a request."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from types import FrameType
from typing import Any, TypeVar

import numpy as np

# Multiply-adds of a step's largest product below which one thread of BLAS serves best. At the lab's
# size (8 million) a second gains about a fifth, and on a busy machine it loses several times over.
SMALL_PRODUCT = 32_000_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_lock = threading.Lock()
_users = 0
_limit: Any = None


@cache
def _loaded() -> Any:
    """The thread pools of this process, NumPy's among them; to find them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def thread_pools() -> list[dict[str, Any]]:
    """What is known of this process's BLAS libraries: file, version, number of threads."""
    return [pool for pool in _loaded().info() if pool["user_api"] == "blas"]


@contextmanager
def blas_threads(backend_name: str, largest_product: int, itself: bool = False) -> Iterator[int]:
    """Context in which NumPy's BLAS uses one thread, where products are small; else nothing.

    It gives the number of threads that BLAS had: so many may be used by whoever shares out the work
    by itself. A fixed number of threads also makes a run's bits the same on any number of cores.
    The limit is the process's: of trainings in several threads the last one to end lifts it.

    Args:
        backend_name: only "numpy" is meant; the others have threads of their own.
        largest_product: multiply-adds of the largest matrix product of a step.
        itself: the work is shared out by whoever asks; then BLAS itself gets one thread always.
    """
    global _users, _limit
    if backend_name != "numpy":
        yield 1
        return
    threads = max((pool["num_threads"] for pool in thread_pools()), default=1)
    if largest_product > SMALL_PRODUCT and not itself:
        yield threads
        return
    with _lock:
        if _users == 0:
            _limit = _loaded().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield threads
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> list[_Result]:
    """The results of work on each item, in order, by so many threads.

    NumPy's functions release Python's lock, and so threads do. Each sees the caller's context, such
    as `numpy.errstate`; with one thread it is the caller's own.
    """
    if threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, "arraymlp") as pool:
        waiting = [pool.submit(copy_context().run, work, item) for item in items]
        return [future.result() for future in waiting]


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# NumPy makes a new array for each result and frees it soon after. glibc gives freed memory of that
# size back to the system at once, and the system clears every page of it that comes again: of a
# population's step that can take a third of the time. glibc learns, though: once a large block has
# been freed, it keeps blocks up to that size (its mallopt(3), M_MMAP_THRESHOLD, "dynamic").
BLOCK = 30 * 2**20  # bytes; glibc learns of at most 32 MiB, and then keeps up to twice as much


@cache
def keep_freed_memory() -> None:
    """Have glibc learn, once a process; elsewhere this does nothing. No page of it is touched."""
    np.empty(BLOCK, dtype=np.uint8)


class Interrupt:
    """``requested`` becomes True at the first Ctrl-C."""

    requested = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT within the block into a flag; a second raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, and where SIGINT is ignored or
    handled by somebody else's code, nothing changes.
    """
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is not signal.default_int_handler:
        yield interrupt
        return

    def request(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    signal.signal(signal.SIGINT, request)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
