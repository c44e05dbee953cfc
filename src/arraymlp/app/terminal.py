"""The terminal: how tables are printed there and elsewhere, and how a program says it ended."""

import sys
from typing import Any

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


def console() -> Any:
    """A console that wraps at the terminal's width, and not at 80 columns where there is none."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 150)
