"""How a run went, as its losses and predictions show it: stuck, diverged, overfitted, learned."""

from collections.abc import Iterator, Sequence
from math import inf, isfinite
from typing import Any

from arraymlp.diagnosis.findings import Finding
from arraymlp.diagnosis.run_columns import FEWEST_EPOCHS, RunColumns, since
from arraymlp.training.evaluation import only_class

PLATEAU_CHANGE = 0.005  # of the loss, relative
OVERFIT = 0.1  # rise of the validation loss above its lowest, relative
OVERFIT_EPOCHS = 3  # fewer may be chance


def plateau(m: RunColumns) -> Iterator[Finding]:
    """Epochs in which the loss stood still and was no better than guessing."""
    loss = m.measured("loss")
    start = 0
    while loss is not None and start < len(loss):
        end = start
        while end + 1 < len(loss) and _still(loss[start : end + 2]):
            end += 1
        no_better = m.no_better < min(loss[start : end + 1])
        if end - start + 1 >= FEWEST_EPOCHS and no_better and loss[start] <= m.diverged:
            yield _plateau_finding(m, start, end)
        start = end + 1


def _still(span: Sequence[float]) -> bool:
    return max(span) - min(span) <= PLATEAU_CHANGE * max(span)


def _plateau_finding(m: RunColumns, start: int, end: int) -> Finding:
    loss = m.columns["loss"][start : end + 1]
    first, last = m.epochs[start], m.epochs[end]
    figures: dict[str, Any] = {
        "epoch_first": first,
        "epoch_last": last,
        "loss_least": min(loss),
        "loss_most": max(loss),
        "guess": m.guess,
    }
    template = (
        "From epoch {epoch_first} to {epoch_last} the loss stayed between {loss_least:.4f} and"
        f" {{loss_most:.4f}}; {m.guessing} costs {{guess:.4f}}."
    )
    inside = [i for i, e in enumerate(m.step_epochs) if first <= e <= last]
    probed = {*range(first, last + 1)} <= {m.step_epochs[i] for i in inside}
    if probed and m.widths:
        active = [round(m.series["active_units"][i][-1] * m.widths[-1]) for i in inside]
        figures.update(
            probes=len(inside),
            sample_rows=m.sample,
            logits_spread=max(m.series["spread"][i][-1] for i in inside),
            units=m.widths[-1],
            layer_number=len(m.widths),
            live_first=active[0],
            live_least=min(active),
            step_first=m.steps[inside[0]],
        )
        template += (
            " At the {probes} probes in that time the logits differed by {logits_spread:.1e} at"
            " most between the {sample_rows:,} rows of the sample (standard deviation). Of the"
            " {units} units of hidden layer {layer_number}, {live_first} answered to some of them"
            " at step {step_first:,} and {live_least} at the fewest."
        )
        template += _way_out(m, inside, end, figures)
    steps = (m.steps[inside[0]], m.steps[inside[-1]]) if inside else None
    return m.finding("plateau", template, figures, steps=steps, epochs=(first, last))


def _way_out(m: RunColumns, inside: Sequence[int], end: int, figures: dict[str, Any]) -> str:
    """How the gradient of the first layer went while the loss stood still, and after."""
    gradient = [row[0] for row in m.series["gradient_norm"]]
    low = min(inside, key=lambda i: gradient[i])
    figures.update(
        gradient_first=gradient[inside[0]],
        gradient_least=gradient[low],
        step_least=m.steps[low],
        gradient_last=gradient[inside[-1]],
        step_last=m.steps[inside[-1]],
    )
    if end + 1 == len(m.epochs):
        return (
            " The run did not leave it: the gradient of the first layer's weights was"
            " {gradient_first:.1e} at the first of these probes and {gradient_last:.1e} at the"
            " last."
        )
    after = m.at_epoch_end(m.epochs[end + 1])
    if after is None or not gradient[low] < gradient[inside[-1]] < gradient[after]:
        return ""
    figures.update(
        gradient_after=gradient[after],
        step_after=m.steps[after],
        active_after=round(m.series["active_units"][after][-1] * m.widths[-1]),
    )
    return (
        " As it ended the gradient of the first layer's weights grew: {gradient_least:.1e} at its"
        " smallest (step {step_least:,}), {gradient_last:.1e} at step {step_last:,},"
        " {gradient_after:.1e} at step {step_after:,}, when {active_after} units answered."
    )


def constant_predictions(m: RunColumns) -> Iterator[Finding]:
    """Epochs after which every validation sample was given one and the same class."""
    counts = m.columns.get("predicted")
    if m.classes is None or counts is None or m.checks.one_class_validation:
        return
    tops = [None if c is None else only_class(c) for c in counts]
    start = 0
    while start < len(tops):
        end = start
        while end < len(tops) and tops[end] is not None:
            end += 1
        if end > start:
            yield _constant_finding(m, [m.classes[t] for t in tops[start:end] if t is not None],
                                    start, end - 1)  # fmt: skip
        start = end + 1


def _constant_finding(m: RunColumns, given: Sequence[int], start: int, end: int) -> Finding:
    names = sorted(set(given))
    figures = {
        "epoch_first": m.epochs[start],
        "epoch_last": m.epochs[end],
        "validation_rows": int(sum(m.columns["predicted"][start])),
        "classes": names,
    }
    template = (
        "After each of the epochs {epoch_first} to {epoch_last}"
        if m.epochs[end] > m.epochs[start]
        else "After epoch {epoch_first}"
    )
    template += " all {validation_rows:,} validation samples were given one and the same class: "
    if len(names) == 1:
        template += "class {classes[0]}."
    else:
        listed = ", ".join(str(name) for name in names)
        template += f"one that changed ({listed})."
    epochs = (m.epochs[start], m.epochs[end])
    return m.finding("constant_predictions", template, figures, epochs=epochs)


def divergence(m: RunColumns) -> Iterator[Finding]:
    """A loss that is not finite, or far above guessing and where it started, to the end."""
    loss = m.columns["loss"]
    if m.dropout:  # whose masks can cost more than diverging does
        others = [m.columns.get(name, [None]) for name in ("training_loss", "validation_loss")]
        loss = next((column for column in others if None not in column), loss)
    start = since([not v <= m.diverged for v in loss])  # NaN is above every bound
    if start is None:
        return
    figures = {
        "epoch_from": m.epochs[start],
        "loss_first": m.first_loss,
        "loss_last": loss[-1],
        "loss_highest": max((v for v in loss if isfinite(v)), default=inf),
        "guess": m.guess,
    }
    template = "The loss diverged: from epoch {epoch_from} on "
    if isfinite(loss[-1]):
        template += (
            "it stayed above its first ({loss_first:.4g}); it is {loss_last:.4g} in the last epoch"
            f" and {{loss_highest:.4g}} in the worst, where {m.guessing} costs {{guess:.4f}}."
        )
    else:
        template += "it is too large, and not finite at the end ({loss_last})."
    yield m.finding("divergence", template, figures, epochs=(m.epochs[start], m.epochs[-1]))


def overfitting(m: RunColumns) -> Iterator[Finding]:
    """A validation loss that turned and rose while the training loss went on falling."""
    loss = m.measured("validation_loss")
    evaluated = m.measured("training_loss")
    fit = evaluated or m.columns["loss"]
    if loss is None:
        return
    low = min(range(len(loss)), key=loss.__getitem__)
    if min(loss[-OVERFIT_EPOCHS:]) <= (1 + OVERFIT) * loss[low]:
        return
    if not fit[-1] < min(fit[low], m.no_better):
        return
    figures = {
        "epoch_least": m.epochs[low],
        "validation_loss_least": loss[low],
        "validation_loss_last": loss[-1],
        "training_loss_then": fit[low],
        "training_loss_last": fit[-1],
    }
    masks = "" if evaluated or not m.dropout else ", with dropout's masks,"
    template = (
        "The validation loss was lowest after epoch {epoch_least} ({validation_loss_least:.4f}) and"
        f" is {{validation_loss_last:.4f}} at the end, while the training loss{masks} went from"
        " {training_loss_then:.4f} to {training_loss_last:.4f}."
    )
    error = m.measured("validation_error")
    if error is not None:
        figures.update(validation_error_then=error[low], validation_error_last=error[-1])
        template += (
            " The validation error went from {validation_error_then:.2%} to"
            " {validation_error_last:.2%}."
        )
    if m.kept < len(loss) - 1:
        figures.update(epoch_kept=m.epochs[m.kept], validation_loss_kept=loss[m.kept])
        template += (
            " Early stopping went back to the weights of epoch {epoch_kept}, whose validation loss"
            " is {validation_loss_kept:.4f}."
        )
    yield m.finding("overfitting", template, figures, epochs=(m.epochs[low], m.epochs[-1]))


def learned(m: RunColumns) -> Iterator[Finding]:
    """The ordinary case: the loss, and the validation's if there is one, beat guessing."""
    last = {name: column[m.kept] for name, column in m.columns.items()}
    counts = last.get("predicted")
    constant = counts is not None and only_class(counts) is not None
    if constant and not m.checks.one_class_validation:
        return
    losses = [last["loss"], last.get("validation_loss")]
    if not all(v < m.no_better for v in losses if v is not None):
        return
    figures: dict[str, Any] = {"loss_last": last["loss"], "guess": m.guess}
    when = "in the last epoch"
    if m.kept < len(m.epochs) - 1:
        figures["epoch_kept"] = m.epochs[m.kept]
        when = "in epoch {epoch_kept}, whose weights it went back to"
    template = (
        f"It learned: the loss was {{loss_last:.4g}} {when}, where {m.guessing} costs {{guess:.4f}}"
    )
    for label, name in (("training", "training_error"), ("validation", "validation_error")):
        if last.get(name) is not None:
            figures[name] = last[name]
            template += f"; the {label} error is {{{name}:.2%}}"
    template += "."
    if m.dead and m.probed_to_end and not any(m.dead):
        template += " Every hidden unit answers to some training row."
    yield m.finding("learned", template, figures, epochs=(m.epochs[0], m.epochs[-1]))
