"""What every command shares: how it prints a table, and its status after KeyboardInterrupt."""

from typing import TYPE_CHECKING

from arraymlp.training.progress import on_terminal

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


def console() -> "Console":
    """A console as wide as the terminal, and 150 columns wide where there is none."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if on_terminal() else 150)
