"""Matplotlib figures without a window (extra ``plot``)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def empty_figure(size: tuple[float, float] | None = None) -> "Figure":
    """A figure of so many inches that opens no window and that pyplot does not keep.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed; the message has the install line.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a picture needs Matplotlib: pip install matplotlib") from error
    return Figure(figsize=size, layout="constrained")
