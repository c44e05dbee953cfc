"""The host process: memory that is kept, and Ctrl-C as a request."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

import numpy as np

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
