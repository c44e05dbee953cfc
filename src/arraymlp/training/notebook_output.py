"""A place among the outputs of a notebook's cell whose content is renewed."""

import sys
from abc import ABC, abstractmethod
from contextvars import copy_context
from typing import Any

MOST_OUTPUTS = 32  # of a marimo cell, among which a place is looked for


class NotebookOutput(ABC):
    """A place that is taken when something is first shown, and keeps what was shown last.

    Other outputs of the cell stay as they are.
    """

    @abstractmethod
    def show(self, html: str, text: str) -> None:
        """Show HTML in the place, from whichever thread.

        Args:
            html: what a notebook shows.
            text: the same in words, for what shows no HTML.
        """


class JupyterOutput(NotebookOutput):
    """A display of IPython's kernel: Jupyter, VS Code, and what else runs that kernel."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, html: str, text: str) -> None:
        """Show it, at first in the cell that is running, later in the same place."""
        from IPython.display import display

        content = {"text/html": html, "text/plain": text}
        if self._handle is None:
            # The kernel knows by a context variable which cell an output belongs to. A thread of
            # our own begins without one, so that this thread's is kept for all.
            self._context = copy_context()
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._context.run(self._handle.update, content, raw=True)


class MarimoOutput(NotebookOutput):
    """A place in the output of marimo's cell.

    Only the thread that runs the cell can show anything, so that of a sweep in several threads
    there is the beginning and the end.
    """

    def __init__(self) -> None:
        self._place: int | None = None

    def show(self, html: str, text: str) -> None:
        """Show it after the outputs that the cell has, later in the same place."""
        import marimo

        if not marimo.running_in_notebook():
            return
        if self._place is not None:
            marimo.output.replace_at_index(marimo.Html(html), self._place)
            return
        for place in reversed(range(MOST_OUTPUTS)):  # the greatest that it takes appends
            try:
                marimo.output.replace_at_index(marimo.Html(html), place)
            except IndexError:
                continue
            self._place = place
            return


def notebook_output() -> NotebookOutput | None:
    """A new place in the cell that is running; None where no notebook runs this."""
    ipython: Any = sys.modules.get("IPython")  # it is not imported: a notebook has done that
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    if getattr(shell, "kernel", None) is not None:  # IPython on a terminal has none
        return JupyterOutput()
    marimo: Any = sys.modules.get("marimo")
    if hasattr(marimo, "running_in_notebook") and marimo.running_in_notebook():
        return MarimoOutput()
    return None
