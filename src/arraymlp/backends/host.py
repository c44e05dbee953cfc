"""The host process: memory that is kept, and Ctrl-C and SIGTERM as requests."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import numpy as np

# NumPy makes a new array for each result and frees it soon after. glibc returns freed memory of
# that size to the system at once, and the system clears every page of it before it is used again:
# in a population's step that can take a third of the time. But glibc adapts: once a large block has
# been freed, it keeps blocks up to that size (its mallopt(3), M_MMAP_THRESHOLD, "dynamic").
BLOCK = 30 * 2**20  # bytes; glibc adapts to at most 32 MiB, and then keeps up to twice as much

# The signals that are requests, each with the handler that it then must have.
REQUESTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory, once a process; with other libraries this does nothing."""
    np.empty(BLOCK, dtype=np.uint8)  # freed at once; no page of it is touched


class Interrupt:
    """The request to end early that a signal made.

    Attributes:
        requested: True from the first Ctrl-C or SIGTERM on, or where a thread beside others failed.
        signal: the number of that signal; None before it.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal: int | None = None

    @property
    def exit_status(self) -> int:
        """The exit status that tells of the signal: 130 for SIGINT, 143 for SIGTERM, 0 for none."""
        return 0 if self.signal is None else 128 + self.signal


class _Block:
    """The outermost block of `interruptible`: its `Interrupt`, and the handlers it replaced."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        self.replaced: dict[int, Any] = {}

    def install(self) -> None:
        """Handle each signal that has the handler it has by default."""
        for number, default in REQUESTS.items():
            if signal.getsignal(number) is default:
                self.replaced[number] = default
                signal.signal(number, self._request)

    def restore(self) -> None:
        """Give the signals the handlers back that they had."""
        for number, before in self.replaced.items():
            signal.signal(number, before)

    def _request(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; end at the second, by the meaning that it has by default."""
        interrupt = self.interrupt
        if interrupt.signal is None:
            interrupt.signal, interrupt.requested = number, True
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            _die_of(number)


# The block that the main thread is in. A block within it has the same `Interrupt`.
_outermost: _Block | None = None


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM within the block into a flag; a second ends at once.

    A second SIGINT raises KeyboardInterrupt, of a second SIGTERM the process dies. A block within
    another one has the same `Interrupt`.

    Nothing changes outside the main thread, where Python delivers no signals; nor for a signal that
    is ignored or has a handler of the user's: SIGINT has to have Python's own, SIGTERM the system's
    default. A process of `multiprocessing` that got a SIGTERM dies of it when the block ends, since
    whoever sent it waits for that (``Pool.terminate``).
    """
    global _outermost
    if threading.current_thread() is not threading.main_thread():
        yield Interrupt()
    elif _outermost is not None:
        yield _outermost.interrupt
    else:
        block = _outermost = _Block()
        try:
            block.install()
            yield block.interrupt
        finally:
            _outermost = None
            block.restore()
            if block.interrupt.signal == signal.SIGTERM and _has_parent():
                _die_of(signal.SIGTERM)


def _die_of(number: int) -> None:
    """End the process by a signal, as by default."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _has_parent() -> bool:
    """Return True in a process that multiprocessing started."""
    from multiprocessing import parent_process  # not with the package: it is large

    return parent_process() is not None


def _leave() -> None:
    """In a forked process: leave the block that its parent is in; signals end it as by default."""
    global _outermost
    if _outermost is not None:
        _outermost.restore()
        _outermost = None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave)
