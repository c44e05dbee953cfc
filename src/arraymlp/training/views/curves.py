"""The curves of a history as small charts; of a population its median, and how far it reaches."""

from collections.abc import Sequence
from math import isfinite, nan
from numbers import Real
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.html.chart import Line, Mark, line_chart
from arraymlp.html.view import in_a_row
from arraymlp.training.history import WIDE, History
from arraymlp.training.spread import as_numbers, spreads

POINTS = 100  # of a line: a notebook keeps them in its file
CHARTS = 4  # more are for `History.plot`
COLOURS = {"training": 2, "validation": 1}  # positions in the palette; 0 for what is neither


def charts(history: History, *, best_epoch: Any = None) -> str:
    """The charts of loss, error and the first metrics, side by side; "" without epochs.

    Args:
        history: of one network or a population.
        best_epoch: is marked, where it is one number.
    """
    drawn: list[str] = []
    epochs = history["epoch"] if "epoch" in history.columns else range(len(history))
    for what, names in history.panels.items():
        lines = [line for name in names for line in _lines(epochs, history[name], name)]
        if lines and len(drawn) < CHARTS:
            drawn.append(_chart(what, lines, best_epoch))
    return in_a_row(drawn)


def _chart(what: str, lines: Sequence[Line], best_epoch: Any) -> str:
    known = [y for line in lines for y in line.y if y is not None and isfinite(y)]
    wide = what == "loss" and bool(known) and 0 < min(known) < max(known) / WIDE
    marks = [Mark(best_epoch, "best")] if isinstance(best_epoch, int) else []
    labels = [line.label for line in lines if line.label]
    title = labels[0] if len(labels) == 1 else what.replace("_", " ")  # one has no legend
    return line_chart(lines, title=title, width=320, height=210, log=wide, marks=marks)


def _lines(epochs: Sequence[Any], column: Sequence[Any], name: str) -> list[Line]:
    """A line; of a population's column the median, and faintly the least and the greatest."""
    part = name.partition("_")[0]
    label, colour = name.replace("_", " "), COLOURS.get(part, 0)
    members = max((len(v) for v in column if isinstance(v, list | tuple)), default=None)
    if members is None:
        y = [float(v) if isinstance(v, Real) else nan for v in column]
        if not any(map(isfinite, y)):
            return []
        x, (values,) = thinned(as_numbers(epochs), [np.asarray(y)])
        return [Line(label, x.tolist(), values.tolist(), colour)]
    nothing = [nan] * members
    rows = np.stack(
        [as_numbers(v if isinstance(v, list | tuple) and len(v) == members else nothing)
         for v in column]
    )  # fmt: skip
    if rows.ndim != 2 or not np.isfinite(rows).any():
        return []
    x, (low, median, high) = thinned(as_numbers(epochs), list(spreads(rows)))
    return [
        Line(f"{label}, median of {members}", x.tolist(), median.tolist(), colour),
        Line("", x.tolist(), low.tolist(), colour, width=1, opacity=0.55),
        Line("", x.tolist(), high.tolist(), colour, width=1, opacity=0.55),
    ]


def thinned(x: HostArray, columns: Sequence[HostArray]) -> tuple[HostArray, list[HostArray]]:
    """Some points of lines over one x (E,), of each stretch those with each line's extremes."""
    n = len(x)
    most = max((POINTS - 2) // (2 * len(columns)), 1)
    if n <= POINTS:
        return x, list(columns)
    kept = {0, n - 1}
    for part in np.array_split(np.arange(n), most):
        for column in columns:
            values = column[part]
            known = np.flatnonzero(np.isfinite(values))
            if len(known):
                kept |= {int(part[known[np.argmin(values[known])]])}
                kept |= {int(part[known[np.argmax(values[known])]])}
            else:
                kept.add(int(part[0]))  # the gap stays one
    places = sorted(kept)
    return x[places], [column[places] for column in columns]
