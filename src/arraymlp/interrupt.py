"""Ctrl-C as a request: the step in progress ends, and what was trained is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
