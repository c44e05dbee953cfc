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
from typing import Any, Protocol, TypeVar

import numpy as np

# Multiply-adds of a step's largest product below which one thread of BLAS serves best. At the lab's
# size (8 million) a second gains about a fifth, and on a busy machine it loses several times over.
SMALL_PRODUCT = 32_000_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_lock = threading.Lock()
_users = 0
_limit: "_Limit | None" = None


class _Limit(Protocol):
    """A limit on thread pools, in force until it is lifted; as threadpoolctl has it."""

    def restore_original_limits(self) -> None: ...


class _Controller(Protocol):
    """threadpoolctl's view of this process's thread pools."""

    def info(self) -> list[dict[str, Any]]: ...
    def limit(self, *, limits: int, user_api: str) -> _Limit: ...


@cache
def _controller() -> _Controller:
    """The thread pools of this process, NumPy's among them; to find them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    controller: _Controller = ThreadpoolController()
    return controller


def thread_pools() -> list[dict[str, Any]]:
    """This process's BLAS libraries as threadpoolctl describes them: file, version, threads."""
    return [pool for pool in _controller().info() if pool["user_api"] == "blas"]


@contextmanager
def blas_threads(backend_name: str, largest_product: int, itself: bool = False) -> Iterator[int]:
    """Context in which NumPy's BLAS uses one thread where products are small; else unchanged.

    It yields the number of threads that BLAS had before: a caller that divides the work itself may
    use as many. With a fixed number of threads a run has the same bits on any number of cores. The
    limit applies to the whole process; the last of several trainings at once to end lifts it.

    Args:
        backend_name: only "numpy" is limited; the other libraries have threads of their own.
        largest_product: multiply-adds of the largest matrix product of a step.
        itself: True where the caller divides the work itself; BLAS then always gets one thread.
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
            _limit = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield threads
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limit is not None:
                _limit.restore_original_limits()


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> list[_Result]:
    """The results of ``work(item)``, in order, computed by so many threads.

    Threads help since NumPy's functions release Python's lock. Each runs in a copy of the caller's
    context, such as `numpy.errstate`; with one thread, in the caller's own.
    """
    if threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, "arraymlp") as pool:
        futures = [pool.submit(copy_context().run, work, item) for item in items]
        return [future.result() for future in futures]


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# NumPy makes a new array for each result and frees it soon after. glibc returns freed memory of
# that size to the system at once, and the system clears every page of it before it is used again:
# in a population's step that can take a third of the time. But glibc adapts: once a large block has
# been freed, it keeps blocks up to that size (its mallopt(3), M_MMAP_THRESHOLD, "dynamic").
BLOCK = 30 * 2**20  # bytes; glibc adapts to at most 32 MiB, and then keeps up to twice as much


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory, once a process; with other libraries this does nothing."""
    np.empty(BLOCK, dtype=np.uint8)  # freed at once; no page of it is touched


class Interrupt:
    """``requested`` becomes True at the first Ctrl-C."""

    requested = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT within the block into a flag; a second raises KeyboardInterrupt.

    Nothing changes outside the main thread, where Python delivers no signals, and where SIGINT is
    ignored or has another handler than Python's own.
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
