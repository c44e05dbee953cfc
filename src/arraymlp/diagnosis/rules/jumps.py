"""The rule about a loss or an error that had been learned, jumped for a moment, and came back."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from statistics import median
from typing import NamedTuple

from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.run_columns import FEWEST_EPOCHS, RunColumns

SPIKE = 0.2  # rise of the loss for an epoch, as a multiple of the baseline
SIGMAS = 4.0  # of the number of errors, which a rise that counts is beyond
ERRORS = 1.25  # a rise of the error that counts, as a multiple
LEARNED = 0.5  # of the error of one class for all; below it something is learned
UNREST, OFTEN = 0.2, 0.25  # a figure that rises so much of it, in so many epochs, is restless
BACK_IN, BACK_TO = 3, 0.25  # epochs after which no more than this share of the rise is left
BACK_TO_ERROR = 0.5  # likewise, of the error
LARGE = 2.0  # a gradient so many times its median is large


class Jump(NamedTuple):
    """A jump: its height, the position of its epoch, and of the epoch in which it was over."""

    height: float
    at: int
    after: int


def spike(run: RunColumns) -> Iterator[Finding]:
    """Find a loss, or an error, that had been learned, jumped, and came back within 3 epochs.

    Of the loss a jump counts that is large beside guessing; of the error one that chance does not
    explain: four standard deviations of a difference of two counts, sqrt(a + b).
    """
    parts = ["validation", "training"]
    part = next((p for p in parts if run.measured(f"{p}_loss") is not None), None)
    if part is None and run.dropout:  # whose masks make the loss of an epoch restless
        return
    loss = run.measured("loss" if part is None else f"{part}_loss")
    if loss is None or len(loss) < FEWEST_EPOCHS:
        return
    jumps = [
        jump
        for jump in _jumps(loss, BACK_TO)
        if jump.height > SPIKE * run.guess and loss[jump.at - 1] < run.no_better
    ]
    if jumps:
        yield _finding(run, part, loss, jumps)
    elif (of_error := _jumps_of_error(run)) and part is not None:
        yield _finding(run, part, loss, of_error)


def _jumps(figures: Sequence[float], back_to: float) -> Iterator[Jump]:
    """Rises of one epoch that were undone soon after, and are exceptional in this run."""
    rises = sorted(b - a for a, b in pairwise(figures))
    for i in range(max(2, len(figures) // 4), len(figures) - 1):  # the first may go up and down
        before, later = figures[i - 1], range(i + 1, min(i + 1 + BACK_IN, len(figures)))
        back = [j for j in later if figures[j] - before <= back_to * (figures[i] - before)]
        height = figures[i] - max(before, figures[back[0]]) if back else 0.0
        as_high = len(rises) - bisect_right(rises, UNREST * height)
        if height > 0 and as_high <= OFTEN * len(rises):
            yield Jump(height, i, back[0])


def _jumps_of_error(run: RunColumns) -> list[Jump]:
    """The jumps of the validation error that chance does not explain."""
    error, counts = run.measured("validation_error"), run.columns.get("predicted")
    if error is None or counts is None or any(c is None for c in counts):
        return []
    rows, least = sum(counts[0]), LEARNED * max(error)
    return [
        jump
        for jump in _jumps(error, BACK_TO_ERROR)
        if (before := error[jump.at - 1]) < least
        and error[jump.at] > ERRORS * before
        and (error[jump.at] - before) * rows > SIGMAS * sqrt((error[jump.at] + before) * rows)
    ]


def _finding(
    run: RunColumns, part: str | None, loss: Sequence[float], jumps: Sequence[Jump]
) -> Finding:
    _, at, after = max(jumps)
    figures: Figures = {
        "epoch": run.epochs[at],
        "loss_before": loss[at - 1],
        "loss_then": loss[at],
        "epoch_after": run.epochs[after],
        "loss_after": loss[after],
        "spikes": len(jumps),
        "learning_rate": run.columns["learning_rate"][at],
        "batch_size": run.settings.batch_size,
    }
    template = (
        f"In epoch {{epoch}} the {part or 'training'} loss jumped from {{loss_before:.4g}} to"
        " {loss_then:.4g}"
    )
    error = None if part is None else run.measured(f"{part}_error")
    if error is not None:
        figures.update(error_before=error[at - 1], error_then=error[at], error_after=error[after])
        template += " (the error from {error_before:.2%} to {error_then:.2%})"
    template += " and was back at {loss_after:.4g}"
    template += " (error {error_after:.2%})" if error is not None else ""
    template += " in epoch {epoch_after}."
    if len(jumps) > 1:
        template += " There were {spikes} such jumps; this was the highest."
    template += _when(run, at, figures) + _step(run, at, figures)
    template += (
        " The learning rate was {learning_rate:.3g}, with minibatches of {batch_size}: some steps"
        " were probably too large for where the weights were. A run that ends in such an epoch"
        " ends badly;"
        " early stopping goes back to the best one, and a learning rate that falls, or a bound on"
        " the gradient, makes such jumps rarer."
    )
    return run.finding("spike", template, figures, epochs=(run.epochs[at], run.epochs[after]))


def _when(run: RunColumns, at: int, figures: Figures) -> str:
    """A sentence on whether the weights were off for the epoch or only at its end; or ""."""
    met, evaluated = run.columns["loss"], run.measured("training_loss")
    if evaluated is None or run.dropout or at + 1 >= len(met):
        return ""
    figures.update(
        training_loss_then=evaluated[at],
        met_before=met[at - 1],
        met_then=met[at],
        met_after=met[at + 1],
    )
    if max(met[at], met[at + 1]) < (met[at - 1] + evaluated[at]) / 2:
        return (
            " The training loss was {training_loss_then:.4g} at its end, but its minibatches had"
            " met {met_then:.4g} on average, and those of the next epoch met {met_after:.4g}:"
            " the weights were off for a moment about the epoch's end alone."
        )
    return (
        " Its minibatches met a mean loss of {met_then:.4g}, those of the epoch before"
        " {met_before:.4g} and of the next {met_after:.4g}."
    )


def _step(run: RunColumns, at: int, figures: Figures) -> str:
    """A sentence on the step that the probes measured at the epoch's end; "" without one."""
    i = run.at_epoch_end(run.epochs[at])
    ends = [j for e in run.epochs[len(run.epochs) // 4 :] if (j := run.at_epoch_end(e)) is not None]
    if i is None or len(ends) < FEWEST_EPOCHS:
        return ""
    moved = [
        [u / w if w else 0.0 for u, w in zip(updates, weights, strict=True)]
        for updates, weights in zip(
            run.series["update_norm"], run.series["weight_norm"], strict=True
        )
    ]
    layer = max(range(run.n_layers), key=moved[i].__getitem__)
    gradients = [run.series["gradient_norm"][j][layer] for j in ends]
    figures.update(
        step=run.steps[i],
        layer_number=layer + 1,
        moved=moved[i][layer],
        gradient=run.series["gradient_norm"][i][layer],
        gradient_median=median(gradients),
    )
    sentence = (
        " In its last step ({step:,}) the gradient of the weights of layer {layer_number} had the"
        " norm {gradient:.3g}"
    )
    if figures["gradient"] > LARGE * figures["gradient_median"]:
        sentence += " (the median over the ends of epochs is {gradient_median:.3g})"
    return sentence + ", and that one step moved them by {moved:.2%} of their norm."
