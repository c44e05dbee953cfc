"""What every command shares: how it prints a table, and how it ends by a signal."""

import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from arraymlp.training.progress import on_terminal

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
TERMINATED = 143  # and of one that SIGTERM ended
P = ParamSpec("P")


def ended_by_sigterm(command: Callable[P, None]) -> Callable[P, None]:
    """The command, which leaves no temporary file behind when SIGTERM ends it.

    Of itself the system ends a process at once, in the middle of writing a file beside the one that
    it is to be, or with a copy of the standard input on the disk.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
        except ValueError:  # not in the main thread, where Python delivers no signals
            return command(*args, **kwargs)
        try:
            command(*args, **kwargs)
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def console() -> "Console":
    """A console as wide as the terminal, and 150 columns wide where there is none."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if on_terminal() else 150)
