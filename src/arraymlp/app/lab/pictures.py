"""The pictures of the lab's report: curves, insides of the layers, weights, digits, confusion."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.datasets import PublishedEpoch
from arraymlp.html.chart import Line, Mark, line_chart
from arraymlp.html.png import (
    Pixels,
    diverging_palette,
    diverging_pixels,
    png_data,
    png_image,
)
from arraymlp.training.run import Run

TRAIN, TEST, PUBLISHED = 0, 1, 5  # colours of the lines
SIDE = 28  # of an image, in pixels
WIDTH = 505  # of a chart: two stand side by side
LEARNED = 0.1  # from the first epoch with a test error below it on there is a closer look
GREYS = np.arange(255, -1, -1, dtype=np.uint8)[:, None].repeat(3, axis=1)  # ink is dark


def errors(
    runs: Sequence[Run], published: Sequence[PublishedEpoch], published_final: float
) -> list[str]:
    """Training and test error by epoch over the published ones: whole, and a closer look.

    Args:
        runs: one for each seed; the first has thick lines, the others faint ones.
        published: the published curve; empty where none was printed.
        published_final: the report's final test error, as a fraction.
    """
    lines = [
        *_of_runs(runs, "training_error", "training error", TRAIN),
        *_of_runs(runs, "validation_error", "test error", TEST),
    ]
    if published:
        epochs = [p.epoch for p in published]
        test = [p.test_error for p in published]
        lines.append(Line("published test error", epochs, test, PUBLISHED, True, 1.2))
    else:
        ends = [0, max(runs[0].history["epoch"][-1], 1)]
        label = "published test error at the end"
        lines.append(Line(label, ends, [published_final] * 2, PUBLISHED, True, 1.2))
    charts = [
        line_chart(lines, title="Errors", percent=True, y_range=(0, 1), width=WIDTH, height=290)
    ]
    start = closer_from(runs[0])
    if start is not None:
        late = [_from(line, start) for line in lines]
        title = f"Errors from epoch {start} on, closer"
        charts.append(line_chart(late, title=title, percent=True, width=WIDTH, height=290))
    return charts


def losses(runs: Sequence[Run]) -> list[str]:
    """Training and test loss by epoch, whole, and a closer look."""
    lines = [
        *_of_runs(runs, "training_loss", "training loss", TRAIN),
        *_of_runs(runs, "validation_loss", "test loss", TEST),
    ]
    charts = [line_chart(lines, title="Loss, the mean of an image", width=WIDTH, height=290)]
    start = closer_from(runs[0])
    if start is not None:
        late = [_from(line, start) for line in lines]
        title = f"Loss from epoch {start} on, closer"
        charts.append(line_chart(late, title=title, width=WIDTH, height=290))
    return charts


def closer_from(run: Run) -> int | None:
    """The first epoch whose test error is below a tenth; None where too little comes after it."""
    history = run.history
    epochs, error = history["epoch"], history["validation_error"]
    start = next((e for e, v in zip(epochs, error, strict=True) if v < LEARNED), None)
    return start if start is not None and epochs[-1] - start >= 2 else None


def _of_runs(runs: Sequence[Run], column: str, label: str, colour: int) -> list[Line]:
    """A column of each run: the first with a label, the others faint."""
    return [
        Line(
            label if i == 0 else "",
            run.history["epoch"],
            run.history[column],
            colour,
            width=1.8 if i == 0 else 0.8,
            opacity=1.0 if i == 0 else 0.45,
        )
        for i, run in enumerate(runs)
    ]


def _from(line: Line, start: int) -> Line:
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if x >= start]
    if len(kept) < len(line.x) and not kept[1:] and line.dashed:  # the published final value
        kept = [(start, line.y[-1]), (line.x[-1], line.y[-1])]
    x, y = [x for x, _ in kept], [y for _, y in kept]
    return Line(line.label, x, y, line.colour, line.dashed, line.width, line.opacity)


def insides(run: Run) -> dict[str, str]:
    """What the probes measured, by step: active units, spread of the outputs, gradients.

    Each chart by the name of its file. On a logarithmic axis 0 is a gap.
    """
    steps = [m.step for m in run.measurements]
    n_layers = len(run.network.layers)
    names = [f"hidden layer {i + 1}" for i in range(n_layers - 1)] + ["output layer"]
    marks = [Mark(finding_step, "") for finding_step in _ends_of_gradients(run)]

    def chart(lines: Sequence[Line], title: str, **of_axis: Any) -> str:
        shared: dict[str, Any] = {"x_label": "step", "log_x": True, "marks": marks}
        return line_chart(lines, title=title, width=330, height=250, **shared, **of_axis)

    active = [
        Line(names[i], steps, _of_layer(run, "active_units", i), i) for i in range(n_layers - 1)
    ]
    spread, gradient = (
        [Line(names[i], steps, _of_layer(run, figure, i), i) for i in range(n_layers)]
        for figure in ("spread", "gradient_norm")
    )
    return {
        "active": chart(active, "Active units", percent=True, y_range=(0, 1.02)),
        "spread": chart(spread, "How far outputs differ from image to image", log=True),
        "gradient": chart(gradient, "Size of the weights' gradients", log=True),
    }


def _of_layer(run: Run, figure: str, layer: int) -> list[float]:
    return [getattr(m, figure)[layer] for m in run.measurements]


def _ends_of_gradients(run: Run) -> list[int]:
    """The step from which on every weight gradient is 0, if there is one."""
    steps = [f.figures.get("step_gradients_zero") for f in run.findings]
    return [step for step in steps if step is not None][:1]


def first_layer(weights: HostArray, columns: int = 20) -> Pixels:
    """Each unit's incoming weights (SIDE * SIDE, n) as an image, scaled to its own largest one.

    They stand in rows, as positions in `diverging_palette`.
    """
    n, pad = weights.shape[1], SIDE + 1
    rows = -(-n // columns)
    canvas = np.zeros((rows * pad + 1, columns * pad + 1), dtype=np.uint8)
    for k in range(n):
        r, c = divmod(k, columns)
        tile = weights[:, k].reshape(SIDE, SIDE)
        largest = float(np.abs(tile).max()) if np.isfinite(tile).all() else 1.0
        at = r * pad + 1, c * pad + 1
        canvas[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE] = diverging_pixels(tile, largest)
    return canvas


def key() -> str:
    """The key to the colours of weights, as an inline picture with its ends."""
    strip = np.arange(1, 256, dtype=np.uint8)[None, :].repeat(10, axis=0)
    image = png_image(png_data(strip, diverging_palette()), "", width=220)
    return (
        f'<div class="key"><span>negative: ink here pushes the unit down</span>{image}'
        "<span>positive: ink here pushes it up</span></div>"
    )


def digit(image: HostArray, alt: str, width: int = 56) -> str:
    """An image (SIDE * SIDE,) of numbers from 0 to 1, dark on light."""
    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8).reshape(SIDE, SIDE)
    return png_image(png_data(pixels, GREYS), alt, width=width)


def confusion(true: HostArray, predicted: HostArray, n_classes: int = 10) -> str:
    """A table of how many images of each class were read as which, the more the darker.

    Args:
        true: (n,) classes.
        predicted: (n,) classes.
        n_classes: how many there are.
    """
    counts = np.bincount(n_classes * true + predicted, minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes)
    head = "".join(f'<th scope="col">{j}</th>' for j in range(n_classes))
    rows = []
    for i, row in enumerate(counts):
        total = int(row.sum())
        cells = "".join(_cell(i, j, int(n), total) for j, n in enumerate(row))
        right = f"{100 * row[i] / total:.1f} %" if total else ""
        rows.append(f'<tr><th scope="row">{i}</th>{cells}<td class="sum">{right}</td></tr>')
    return (
        '<p class="cap">Rows: the digit it is. Columns: what it was read as, in images; blue is '
        "right, red is wrong, and the more the darker. Last column: how many of the digit were "
        "read right."
        '</p><div class="wide" tabindex="0"><table class="confusion">'
        f'<thead><tr><td></td>{head}<th scope="col">right</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(i: int, j: int, n: int, total: int) -> str:
    """A cell, shaded by its share: blue on the diagonal, red beside it."""
    share = n / total if total else 0.0
    strength = share if i == j else min(1.0, 12 * share)
    colour = "43,110,190" if i == j else "200,60,70"
    shade = f' style="background:rgba({colour},{0.55 * strength:.2f})"' if n else ""
    return f"<td{shade}>{n or '<i>0</i>'}</td>"


def captioned(picture: str, caption: str) -> str:
    """A picture with a caption below it, given as text."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"
