"""What the commands say while they work, and where: results on stdout, all else beside them."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from arraymlp.training.progress import Bar, Progress

T = TypeVar("T")


class Talk:
    """Says lines for people: on the standard output, or on stderr where that is for a machine.

    Args:
        beside: whether the standard output is for something else.
    """

    def __init__(self, beside: bool) -> None:
        self._beside = beside

    def say(self, *lines: str) -> None:
        """Print lines at once; to nobody, where whoever read them has enough: the work goes on."""
        file = sys.stderr if self._beside else sys.stdout
        try:
            print(*lines, sep="\n", file=file, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())

    def pairs(self, pairs: Sequence[tuple[str, str]], width: int = 10) -> None:
        """Print lines of a name and what is said of it."""
        self.say(*(f"{name:{width}} {text}" for name, text in pairs))


def note(line: str) -> None:
    """Print a line on stderr: a word beside the results."""
    print(f"arraymlp: {line}", file=sys.stderr, flush=True)


def training_bar(epochs: int) -> Progress:
    """The progress of a training on stderr, where that is a terminal; else nothing is shown."""
    if not sys.stderr.isatty():
        return Progress()
    from rich.console import Console

    return Bar(epochs, Console(stderr=True))


def counted(windows: Iterable[T], what: str) -> Iterator[T]:
    """Windows of rows, with their number so far on stderr, where that is a terminal.

    Args:
        windows: with a length.
        what: is done with them.
    """
    if not sys.stderr.isatty():
        yield from windows
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        n = 0
        for window in windows:
            yield window
            n += len(window)  # type: ignore[arg-type]
            bar.update(task, description=f"{what}: {n:,} rows")
