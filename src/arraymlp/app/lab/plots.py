"""The report's pictures, each a Matplotlib figure (extra ``plot``)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraymlp.app.figures import figure
from arraymlp.backends.array import Array
from arraymlp.data.datasets import PublishedEpoch
from arraymlp.training.run import Run

TRAIN, TEST, PUBLISHED = "#2a6fbb", "#d1495b", "#222222"
NO_ERROR = 1e-5  # below one wrong answer in 60,000
LAYERS = ("#1b7f79", "#e08e45", "#7a4988", "#4d4d4d")


def errors(runs: Sequence[Run], published: Sequence[PublishedEpoch], published_final: float) -> Any:
    """Training and test error over the epochs, ours over the published ones.

    Args:
        runs: one for each seed; the first is drawn strong, the others thin.
        published: the published curve; empty where none was printed.
        published_final: final test error the report gives, as a fraction.
    """
    fig, (left, right) = figure(1, 2, figsize=(11, 3.6), sharey=True)
    for ax, column, colour, title in (
        (left, "training_error", TRAIN, "training error"),
        (right, "validation_error", TEST, "test error"),
    ):
        if published:
            x = [p.epoch for p in published]
            which = "training_error" if ax is left else "test_error"
            y = _floored([getattr(p, which) for p in published])
            ax.plot(
                x, y, color=PUBLISHED, linestyle="--", linewidth=1.2, zorder=3, label="published"
            )
        elif ax is right:
            ax.axhline(
                published_final,
                color=PUBLISHED,
                linestyle="--",
                linewidth=1.2,
                zorder=3,
                label="published (final value)",
            )
        for i, run in reversed(list(enumerate(runs))):
            ax.plot(
                run.history["epoch"],
                _floored(run.history[column]),
                color=colour,
                linewidth=2 if i == 0 else 0.7,
                alpha=1 if i == 0 else 0.45,
                label="arraymlp" if i == 0 else None,
            )
        ax.set(title=title, xlabel="epoch", yscale="log")
        ax.set_ylim(NO_ERROR / 1.3, 1.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(True, which="major", alpha=0.25)
        ax.legend()
    left.set_ylabel("fraction wrong")
    return fig


def _floored(errors: Sequence[float]) -> list[float]:
    """A logarithmic axis shows no zero: it is drawn on the axis's floor."""
    return [max(e, NO_ERROR) for e in errors]


def insides(run: Run) -> Any:
    """What the probes measured: active units, spread of the outputs and gradients, over the steps."""
    fig, (active, spread, gradient) = figure(1, 3, figsize=(11, 3.3))
    steps = [m.step for m in run.measurements]
    for i in range(len(run.network.layers)):
        colour = LAYERS[i % len(LAYERS)]
        hidden = i < len(run.network.layers) - 1
        name = f"hidden {i + 1}" if hidden else "output"
        if hidden:
            y = [100 * m.active_units[i] for m in run.measurements]
            active.plot(steps, y, color=colour, label=name)
        spread.plot(
            steps, _positive([m.spread[i] for m in run.measurements]), color=colour, label=name
        )
        gradient.plot(
            steps,
            _positive([m.gradient_norm[i] for m in run.measurements]),
            color=colour,
            label=name,
        )
    active.set(title="active units, %", ylim=(-3, 103))
    spread.set(title="how much outputs differ (std)", yscale="log")
    gradient.set(title="gradient norm of the weights", yscale="log")
    for ax in (active, spread, gradient):
        ax.set(xlabel="step", xscale="log")
        ax.grid(True, which="major", alpha=0.25)
        ax.legend()
    return fig


def _positive(values: Sequence[float]) -> list[float]:
    """A logarithmic axis shows no zero: a gap there."""
    return [v if v > 0 else float("nan") for v in values]


def first_layer(weights: Array, side: int = 28, columns: int = 20) -> Any:
    """Each hidden unit's incoming weights (side * side, n) as an image, red above 0, blue below."""
    n = weights.shape[1]
    rows = -(-n // columns)
    pad = side + 1
    canvas = np.full((rows * pad + 1, columns * pad + 1), np.nan, dtype=np.float32)
    limit = _scale(weights)
    for k in range(n):
        r, c = divmod(k, columns)
        tile = weights[:, k].reshape(side, side)
        canvas[r * pad + 1 : (r + 1) * pad, c * pad + 1 : (c + 1) * pad] = tile / _scale(tile)
    fig, ax = figure(figsize=(11, 11 * rows / columns + 0.5))
    ax.imshow(canvas, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(f"largest weight {limit:.3g}; each image scaled to its own largest", fontsize=10)
    return fig


def _scale(weights: Any) -> float:
    """The largest magnitude, or 1 where all are 0."""
    return float(np.abs(weights).max()) or 1.0


def misread(images: Any, true: Any, predicted: Any, confidence: Any, side: int = 28) -> Any:
    """Digits the network misread, each with its true class and the one it was given."""
    n = len(images)
    columns = 10
    rows = max(1, -(-n // columns))
    fig, axes = figure(rows, columns, figsize=(11, 1.45 * rows), squeeze=False)
    for k, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if k < n:
            ax.imshow(images[k].reshape(side, side), cmap="gray_r", interpolation="nearest")
            ax.set_title(
                f"{true[k]} read as {predicted[k]} ({100 * confidence[k]:.0f} %)", fontsize=7
            )
    return fig
