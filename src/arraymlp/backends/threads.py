"""The host's threads: NumPy's BLAS keeps to one, and work in blocks is shared out among several.

A product by several of OpenBLAS's threads has other bits than by one, since its sums are cut
elsewhere. So whatever the package computes on NumPy it computes with BLAS on one thread
(`OneBlasThread`), and divides large work itself, into blocks that come out the same whoever
computes them. That gives the same bits on any number of cores, and of trainings at once.

The number of threads of an OpenBLAS is the process's. It is set on the library itself, when the
first training enters, and set back when the last one leaves, in whatever thread, in any order.
threadpoolctl finds the libraries; its own limits belong, from version 3.8 on, to the first thread
that sets one, do nothing in others, and are not lifted where that thread ends first.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, product
from typing import Any, Protocol, TypeVar

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.host import Interrupt

# Multiply-adds from which `matmul` cuts a product, into blocks of half as many or more. Such a
# block takes about a third of a millisecond; to wake a thread for it, some tens of microseconds.
LARGE_PRODUCT = 32_000_000
# OpenBLAS's kernels take up to 3 x 8 rows at a time (columns, as it sees it), and the last few by
# other code, which rounds otherwise. Blocks that begin at multiples have the bits of the whole: in
# 20,000 random products by its kernels for Sandybridge, Haswell, SkylakeX, Nehalem and Katmai none
# had others. By 16 rows, Haswell's did.
ROWS_TOGETHER = 24
LOOK_UP = 0.1  # seconds

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _Library(Protocol):
    """A BLAS as threadpoolctl finds it."""

    filepath: str
    internal_api: str
    dynlib: Any

    def info(self) -> dict[str, Any]: ...
    def get_num_threads(self) -> int: ...
    def set_num_threads(self, num_threads: int, /) -> object: ...


@dataclass(frozen=True)
class _Pool:
    """The threads of one BLAS.

    Attributes:
        path: of its file.
        library: the BLAS.
        get: returns the number of its threads.
        set: sets it.
        of_thread: True where each thread of the process has a number of its own.
    """

    path: str
    library: _Library = field(compare=False)
    get: Callable[[], int] = field(compare=False)
    set: Callable[[int], object] = field(compare=False)
    of_thread: bool = field(compare=False)


@dataclass
class _Process:
    """What the process has: who is inside, its pools' numbers before that, and a limit."""

    lock: Any = field(default_factory=threading.RLock)
    inside: int = 0
    waiting: int = 0  # of those inside, for others
    before: dict[_Pool, int] = field(default_factory=dict)
    limits: list[int] = field(default_factory=list)  # of those in `limited`


class _Thread(threading.local):
    """What a thread has: how often it is inside, and its own pools' numbers before that."""

    def __init__(self) -> None:
        self.depth = 0
        self.helps = False
        self.before: dict[_Pool, int] = {}


_PROCESS = _Process()
_THREAD = _Thread()


def _pools() -> list[_Pool]:
    """The pools of NumPy's BLAS and, once it is loaded, of SciPy's: L-BFGS computes with it."""
    return _found("scipy.linalg" in sys.modules)


@cache
def _found(_scipy: bool) -> list[_Pool]:
    """The BLAS libraries of the process; to find them takes about a millisecond."""
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().lib_controllers
    return [_pool_of(library) for library in libraries if library.user_api == "blas"]


def _pool_of(library: _Library) -> _Pool:
    kind, openmp = library.internal_api, getattr(library, "threading_layer", "") == "openmp"
    of_thread = openmp or kind == "mkl"
    get, set_threads = library.get_num_threads, library.set_num_threads
    if kind == "openblas" and not of_thread:
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(library.dynlib, name) for name in names):
                get, set_threads = (getattr(library.dynlib, name) for name in names)
    return _Pool(library.filepath, library, get, set_threads, of_thread)


class OneBlasThread:
    """Context in which NumPy's BLAS uses one thread, for the whole process."""

    def __enter__(self) -> None:
        _THREAD.depth += 1
        if _THREAD.depth > 1:
            return
        with _PROCESS.lock:
            _PROCESS.inside += 1
            for pool in _pools():
                before = _THREAD.before if pool.of_thread else _PROCESS.before
                before.setdefault(pool, pool.get())
                pool.set(1)

    def __exit__(self, *error: object) -> None:
        _THREAD.depth -= 1
        if _THREAD.depth:
            return
        with _PROCESS.lock:
            _PROCESS.inside -= 1
            _restore(_THREAD.before)
            if not _PROCESS.inside:
                _restore(_PROCESS.before)


def _restore(before: dict[_Pool, int]) -> None:
    while before:
        pool, threads = before.popitem()
        pool.set(threads)


def _forked() -> None:
    """In a child process: of all threads only the one that forked is there."""
    _helpers.cache_clear()
    _PROCESS.inside, _PROCESS.waiting = min(_THREAD.depth, 1), 0
    if not _PROCESS.inside:
        _restore(_PROCESS.before)
    _PROCESS.lock.release()


if hasattr(os, "register_at_fork"):  # held over the fork, or the child might find it locked
    os.register_at_fork(
        before=_PROCESS.lock.acquire,
        after_in_parent=_PROCESS.lock.release,
        after_in_child=_forked,
    )


def available_threads() -> int:
    """The number of processors that this process may use, or of BLAS's threads where fewer.

    Within `limited` it is no more than that.
    """
    known = _PROCESS.before | _THREAD.before
    blas = [known.get(pool) or pool.get() for pool in _pools()]
    return max(1, min(processors(), max(blas, default=processors()), *_PROCESS.limits[:]))


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Context in which this process uses so many threads at most; None for no limit of its own.

    It is for processes that share a machine. The least of several limits counts. Bits hang on
    nothing of it.
    """
    if threads is not None:
        _PROCESS.limits.append(max(1, threads))
    try:
        yield
    finally:
        if threads is not None:
            _PROCESS.limits.remove(max(1, threads))


def processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """The number of threads that the caller may use: its share, where several train at once."""
    if _THREAD.helps:
        return 1
    users = _PROCESS.inside - _PROCESS.waiting + (_THREAD.depth == 0)
    return max(1, available_threads() // users)


@cache
def _helpers() -> ThreadPoolExecutor:
    """The threads that help others, as many as there are processors besides."""

    def begin() -> None:
        _THREAD.helps = True
        for pool in _pools():
            if pool.of_thread:
                pool.set(1)

    return ThreadPoolExecutor(max(1, processors() - 1), "arraymlp", initializer=begin)


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """The results of ``work(item)``, in order, computed by this thread and others that help.

    Threads help since NumPy's functions release Python's lock. They do inside `OneBlasThread`
    alone, and where there are `cores` for it. Each runs in a copy of the caller's context, such as
    `numpy.errstate`.
    """
    to_do = deque(enumerate(items))
    threads = min(cores(), len(to_do)) if len(to_do) > 1 and _THREAD.depth else 1
    if threads == 1:
        return [work(item) for _, item in to_do]
    results: dict[int, _Result] = {}

    def help_out() -> None:
        while True:
            try:
                i, item = to_do.popleft()
            except IndexError:
                return
            results[i] = work(item)

    helpers = [_helpers().submit(copy_context().run, help_out) for _ in range(threads - 1)]
    try:
        help_out()
    finally:
        to_do.clear()  # after an error
        wait([helper for helper in helpers if not helper.cancel()])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()  # or its error
    return [results[i] for i in range(len(results))]


def side_by_side(
    work: Callable[[_Item], object], items: Iterable[_Item], workers: int, interrupt: Interrupt
) -> None:
    """Do ``work(item)`` for each, in threads; an error in one, or a second signal, ends all.

    Args:
        work: is to end early where a signal, or an error in another thread, was noted.
        items: what to work on.
        workers: the number of threads; each has its own share of the `cores`.
        interrupt: where either is noted.
    """
    with aside(), ThreadPoolExecutor(workers, "arraymlp-worker") as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            while not _over(waiting):
                pass
        finally:
            if not all(future.done() for future in waiting):
                interrupt.requested = True
        for future in waiting:
            future.result()


@contextmanager
def aside() -> Iterator[None]:
    """Context in which this thread only waits, and so takes no share of the cores."""
    inside = _THREAD.depth > 0
    with _PROCESS.lock:
        _PROCESS.waiting += inside
    try:
        yield
    finally:
        with _PROCESS.lock:
            _PROCESS.waiting -= inside


def _over(waiting: Sequence[Future[object]]) -> bool:
    """Wait a moment; is there an error, or all of it done?

    The handler of a signal runs in the main thread, here, which a signal that the system gives to
    another thread does not wake, and on Windows none: so waiting has to end now and then.
    """
    done, left = wait(waiting, LOOK_UP, "FIRST_EXCEPTION")
    return not left or any(future.exception() for future in done)


def matmul(a: HostArray, b: HostArray, /, out: HostArray | None = None) -> HostArray:
    """`numpy.matmul`; a large product of two matrices is computed in blocks of A's rows.

    The blocks depend on the sizes alone, and so do the bits of the result.
    """
    multiply_adds = a.size * b.shape[-1] if a.ndim == b.ndim == 2 else 0
    if multiply_adds < LARGE_PRODUCT:
        return np.matmul(a, b, out=out)
    m = a.shape[0]
    result = np.empty((m, b.shape[1]), np.result_type(a, b)) if out is None else out
    ends = row_blocks(m, multiply_adds // (LARGE_PRODUCT // 2))

    def multiply(rows: slice) -> None:
        np.matmul(a[rows], b, out=result[rows])

    in_threads(multiply, [slice(start, stop) for start, stop in pairwise(ends)])
    return result


def row_blocks(m: int, blocks: int) -> list[int]:
    """Where so many blocks of m rows begin, and m; fewer, where they would be too small."""
    blocks = max(1, min(blocks, m // ROWS_TOGETHER))
    return [round(i * m / blocks / ROWS_TOGETHER) * ROWS_TOGETHER for i in range(blocks)] + [m]
