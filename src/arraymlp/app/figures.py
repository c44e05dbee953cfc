"""Matplotlib figures without a window (extra ``plot``)."""

from typing import Any


def empty_figure(size: tuple[float, float] | None = None) -> Any:
    """A Matplotlib figure without a window or pyplot's memory of figures.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed; the message has the install line.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a picture needs Matplotlib: pip install 'arraymlp[plot]'"
        ) from error
    return Figure(figsize=size, layout="constrained")


def figure(*args: Any, figsize: Any = None, **kwargs: Any) -> tuple[Any, Any]:
    """`matplotlib.pyplot.subplots` in an `empty_figure`."""
    fig = empty_figure(figsize)
    return fig, fig.subplots(*args, **kwargs)
