"""The pictures of the lab's report, each a Matplotlib figure (extra ``plot``)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arraymlp.app.figures import empty_figure
from arraymlp.backends.array import HostArray
from arraymlp.data.datasets import PublishedEpoch
from arraymlp.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, TEST, PUBLISHED = "#2a6fbb", "#d1495b", "#222222"
NO_ERROR = 1e-5  # below one wrong answer in 60,000
LAYERS = ("#1b7f79", "#e08e45", "#7a4988", "#4d4d4d")


def errors(
    runs: Sequence[Run], published: Sequence[PublishedEpoch], published_final: float
) -> "Figure":
    """Training and test error by epoch, ours over the published ones.

    Args:
        runs: one for each seed; the first has a thick line, the others thin ones.
        published: the published curve; empty where none was printed.
        published_final: the report's final test error, as a fraction.
    """
    fig = empty_figure((11, 3.6))
    left, right = fig.subplots(1, 2, sharey=True)
    for ax, column, colour, title in (
        (left, "training_error", TRAIN, "training error"),
        (right, "validation_error", TEST, "test error"),
    ):
        dashed = {"color": PUBLISHED, "linestyle": "--", "linewidth": 1.2, "zorder": 3}
        if published:
            which = "training_error" if ax is left else "test_error"
            y = _at_least_floor([getattr(epoch, which) for epoch in published])
            ax.plot([epoch.epoch for epoch in published], y, label="published", **dashed)
        elif ax is right:
            ax.axhline(published_final, label="published (final value)", **dashed)
        for i, run in reversed(list(enumerate(runs))):
            ax.plot(
                run.history["epoch"],
                _at_least_floor(run.history[column]),
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


def _at_least_floor(errors: Sequence[float]) -> list[float]:
    """The errors, with 0, which a logarithmic axis cannot show, at the axis's floor."""
    return [max(error, NO_ERROR) for error in errors]


def insides(run: Run) -> "Figure":
    """What the probes measured, by step: active units, spread of the outputs, gradients."""
    fig = empty_figure((11, 3.3))
    active, spread, gradient = fig.subplots(1, 3)
    steps = [m.step for m in run.measurements]
    n_layers = len(run.network.layers)
    for i in range(n_layers):
        hidden = i < n_layers - 1
        style = {
            "color": LAYERS[i % len(LAYERS)],
            "label": f"hidden {i + 1}" if hidden else "output",
        }
        if hidden:
            percent = 100 * np.asarray([m.active_units[i] for m in run.measurements])
            active.plot(steps, percent, **style)
        std = np.asarray([m.spread[i] for m in run.measurements])
        norm = np.asarray([m.gradient_norm[i] for m in run.measurements])
        spread.plot(steps, _gaps_for_0(std), **style)
        gradient.plot(steps, _gaps_for_0(norm), **style)
    active.set(title="active units, %", ylim=(-3, 103))
    spread.set(title="spread of the outputs (std)", yscale="log")
    gradient.set(title="gradient norm of the weights", yscale="log")
    for ax in (active, spread, gradient):
        ax.set(xlabel="step", xscale="log")
        ax.grid(True, which="major", alpha=0.25)
        ax.legend()
    return fig


def _gaps_for_0(values: HostArray) -> HostArray:
    """The values, with 0, which a logarithmic axis cannot show, as a gap."""
    return np.where(values > 0, values, np.nan)


def first_layer(weights: HostArray, side: int = 28, columns: int = 20) -> "Figure":
    """Each unit's incoming weights (side * side, n) as an image: red above 0, blue below."""
    n = weights.shape[1]
    rows = -(-n // columns)
    pad = side + 1
    canvas = np.full((rows * pad + 1, columns * pad + 1), np.nan, dtype=np.float32)
    for k in range(n):
        r, c = divmod(k, columns)
        tile = weights[:, k].reshape(side, side)
        canvas[r * pad + 1 : (r + 1) * pad, c * pad + 1 : (c + 1) * pad] = tile / _largest(tile)
    fig = empty_figure((11, 11 * rows / columns + 0.5))
    ax = fig.subplots()
    ax.imshow(canvas, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(
        f"largest weight {_largest(weights):.3g}; each image is scaled to its own largest",
        fontsize=10,
    )
    return fig


def _largest(weights: HostArray) -> float:
    """The largest magnitude, or 1 where all are 0."""
    return float(np.abs(weights).max()) or 1.0


def misread(
    images: HostArray, true: HostArray, predicted: HostArray, p: HostArray, side: int = 28
) -> "Figure":
    """Misread digits, each with its true class, the predicted one and its probability.

    Args:
        images: (n, side * side).
        true: (n,) classes.
        predicted: (n,) classes.
        p: (n,) probabilities of the predicted classes.
        side: of an image, in pixels.
    """
    n, columns = len(images), 10
    rows = max(1, -(-n // columns))
    fig = empty_figure((11, 1.45 * rows))
    for k, ax in enumerate(fig.subplots(rows, columns, squeeze=False).flat):
        ax.set_axis_off()
        if k < n:
            ax.imshow(images[k].reshape(side, side), cmap="gray_r", interpolation="nearest")
            ax.set_title(f"{true[k]} read as {predicted[k]} ({100 * p[k]:.0f} %)", fontsize=7)
    return fig
