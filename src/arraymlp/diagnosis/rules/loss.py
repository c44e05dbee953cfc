"""Rules about losses and predictions: stuck, diverged, overfitted, learned."""

from collections.abc import Iterator, Sequence
from math import inf, isfinite

from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.run_columns import FEWEST_EPOCHS, RunColumns, since
from arraymlp.training.evaluation import only_class

PLATEAU_CHANGE = 0.005  # of the loss, relative
OVERFIT = 0.1  # rise of the validation loss above its lowest, relative
OVERFIT_EPOCHS = 3  # fewer may be chance


def plateau(run: RunColumns) -> Iterator[Finding]:
    """Find stretches of epochs in which the loss stood still, no better than guessing."""
    loss = run.measured("loss")
    start = 0
    while loss is not None and start < len(loss):
        end = start
        while end + 1 < len(loss) and _still(loss[start : end + 2]):
            end += 1
        no_better = run.no_better < min(loss[start : end + 1])
        if end - start + 1 >= FEWEST_EPOCHS and no_better and loss[start] <= run.diverged:
            yield _plateau_finding(run, start, end)
        start = end + 1


def _still(span: Sequence[float]) -> bool:
    return max(span) - min(span) <= PLATEAU_CHANGE * max(span)


def _plateau_finding(run: RunColumns, start: int, end: int) -> Finding:
    loss = run.columns["loss"][start : end + 1]
    first, last = run.epochs[start], run.epochs[end]
    figures: Figures = {
        "epoch_first": first,
        "epoch_last": last,
        "loss_least": min(loss),
        "loss_most": max(loss),
        "guess": run.guess,
    }
    alike = f"{min(loss):.4f}" == f"{max(loss):.4f}"
    stayed = "at {loss_most:.4f}" if alike else "between {loss_least:.4f} and {loss_most:.4f}"
    template = (
        f"From epoch {{epoch_first}} to {{epoch_last}} the loss stayed {stayed}; {run.guessing}"
        " costs {guess:.4f}."
    )
    inside = [i for i, e in enumerate(run.step_epochs) if first <= e <= last]
    probed = {*range(first, last + 1)} <= {run.step_epochs[i] for i in inside}
    if probed and run.widths:
        active = [round(run.series["active_units"][i][-1] * run.widths[-1]) for i in inside]
        figures.update(
            probes=len(inside),
            sample_rows=run.sample,
            logits_spread=max(run.series["spread"][i][-1] for i in inside),
            units=run.widths[-1],
            layer_number=len(run.widths),
            active_first=active[0],
            active_least=min(active),
            step_first=run.steps[inside[0]],
        )
        template += (
            " At the {probes} probes in that time the logits differed by {logits_spread:.1e} at"
            " most between the {sample_rows:,} rows of the sample (standard deviation). Of the"
            " {units} units of hidden layer {layer_number}, {active_first} were active for some of"
            " them at step {step_first:,} and {active_least} at the fewest."
        )
        template += _way_out(run, inside, end, figures)
    steps = (run.steps[inside[0]], run.steps[inside[-1]]) if inside else None
    return run.finding("plateau", template, figures, steps=steps, epochs=(first, last))


def _way_out(run: RunColumns, inside: Sequence[int], end: int, figures: Figures) -> str:
    """A sentence about the first layer's gradient while the loss stood still, and after."""
    gradient = [row[0] for row in run.series["gradient_norm"]]
    low = min(inside, key=lambda i: gradient[i])
    figures.update(
        gradient_first=gradient[inside[0]],
        gradient_least=gradient[low],
        step_least=run.steps[low],
        gradient_last=gradient[inside[-1]],
        step_last=run.steps[inside[-1]],
    )
    if end + 1 == len(run.epochs):
        return (
            " The run did not leave it: the gradient of the first layer's weights was"
            " {gradient_first:.1e} at the first of these probes and {gradient_last:.1e} at the"
            " last."
        )
    after = run.at_epoch_end(run.epochs[end + 1])
    if after is None or not gradient[low] < gradient[inside[-1]] < gradient[after]:
        return ""
    figures.update(
        gradient_after=gradient[after],
        step_after=run.steps[after],
        active_after=round(run.series["active_units"][after][-1] * run.widths[-1]),
    )
    return (
        " As it ended the gradient of the first layer's weights grew: {gradient_least:.1e} at its"
        " smallest (step {step_least:,}), {gradient_last:.1e} at step {step_last:,},"
        " {gradient_after:.1e} at step {step_after:,}, when {active_after} units were active."
    )


def constant_predictions(run: RunColumns) -> Iterator[Finding]:
    """Find epochs after which every validation sample was given one and the same class."""
    counts = run.columns.get("predicted")
    if run.classes is None or counts is None or run.checks.one_class_validation:
        return
    tops = [None if c is None else only_class(c) for c in counts]
    start = 0
    while start < len(tops):
        end = start
        while end < len(tops) and tops[end] is not None:
            end += 1
        if end > start:
            yield _constant_finding(run, [run.classes[t] for t in tops[start:end] if t is not None],
                                    start, end - 1)  # fmt: skip
        start = end + 1


def _constant_finding(run: RunColumns, given: Sequence[int], start: int, end: int) -> Finding:
    names = sorted(set(given))
    figures = {
        "epoch_first": run.epochs[start],
        "epoch_last": run.epochs[end],
        "validation_rows": int(sum(run.columns["predicted"][start])),
        "classes": names,
    }
    template = (
        "After each of the epochs {epoch_first} to {epoch_last}"
        if run.epochs[end] > run.epochs[start]
        else "After epoch {epoch_first}"
    )
    template += " all {validation_rows:,} validation samples were given one and the same class: "
    if len(names) == 1:
        template += "class {classes[0]}."
    else:
        listed = ", ".join(str(name) for name in names)
        template += f"one that changed ({listed})."
    epochs = (run.epochs[start], run.epochs[end])
    return run.finding("constant_predictions", template, figures, epochs=epochs)


def divergence(run: RunColumns) -> Iterator[Finding]:
    """Find a loss that is not finite, or far above guessing and its start, up to the end."""
    loss = run.columns["loss"]
    if run.dropout:  # whose masks can cost more than diverging does
        others = [run.columns.get(name, [None]) for name in ("training_loss", "validation_loss")]
        loss = next((column for column in others if None not in column), loss)
    start = since([not v <= run.diverged for v in loss])  # NaN is above every bound
    if start is None:
        return
    figures = {
        "epoch_from": run.epochs[start],
        "loss_first": run.first_loss,
        "loss_last": loss[-1],
        "loss_highest": max((v for v in loss if isfinite(v)), default=inf),
        "guess": run.guess,
    }
    template = "The loss diverged: from epoch {epoch_from} on "
    if isfinite(loss[-1]):
        template += (
            "it stayed above its first ({loss_first:.4g}); it is {loss_last:.4g} in the last epoch"
            f" and {{loss_highest:.4g}} in the worst, where {run.guessing} costs {{guess:.4f}}."
        )
    else:
        template += "it is too large, and not finite at the end ({loss_last})."
    yield run.finding("divergence", template, figures, epochs=(run.epochs[start], run.epochs[-1]))


def overfitting(run: RunColumns) -> Iterator[Finding]:
    """Find a validation loss that turned and rose while the training loss went on falling."""
    loss = run.measured("validation_loss")
    evaluated = run.measured("training_loss")
    fitted = evaluated or run.columns["loss"]
    if loss is None:
        return
    low = min(range(len(loss)), key=loss.__getitem__)
    if min(loss[-OVERFIT_EPOCHS:]) <= (1 + OVERFIT) * loss[low]:
        return
    if not fitted[-1] < min(fitted[low], run.no_better):
        return
    figures = {
        "epoch_least": run.epochs[low],
        "validation_loss_least": loss[low],
        "validation_loss_last": loss[-1],
        "training_loss_then": fitted[low],
        "training_loss_last": fitted[-1],
    }
    masks = "" if evaluated or not run.dropout else ", with dropout's masks,"
    template = (
        "The validation loss was lowest after epoch {epoch_least} ({validation_loss_least:.4f}) and"
        f" is {{validation_loss_last:.4f}} at the end, while the training loss{masks} went from"
        " {training_loss_then:.4f} to {training_loss_last:.4f}."
    )
    error = run.measured("validation_error")
    if error is not None:
        figures.update(validation_error_then=error[low], validation_error_last=error[-1])
        template += (
            " The validation error went from {validation_error_then:.2%} to"
            " {validation_error_last:.2%}."
        )
    if run.kept < len(loss) - 1:
        figures.update(epoch_kept=run.epochs[run.kept], validation_loss_kept=loss[run.kept])
        template += (
            " Early stopping went back to the weights of epoch {epoch_kept}, whose validation loss"
            " is {validation_loss_kept:.4f}."
        )
    yield run.finding("overfitting", template, figures, epochs=(run.epochs[low], run.epochs[-1]))


def learned(run: RunColumns) -> Iterator[Finding]:
    """Find the ordinary case: the loss, and the validation's if there is one, beat guessing."""
    last = {name: column[run.kept] for name, column in run.columns.items()}
    counts = last.get("predicted")
    constant = counts is not None and only_class(counts) is not None
    if constant and not run.checks.one_class_validation:
        return
    losses = [last["loss"], last.get("validation_loss")]
    if not all(v < run.no_better for v in losses if v is not None):
        return
    figures: Figures = {"loss_last": last["loss"], "guess": run.guess}
    when = "in the last epoch"
    if run.kept < len(run.epochs) - 1:
        figures["epoch_kept"] = run.epochs[run.kept]
        when = "in epoch {epoch_kept}, whose weights it went back to"
    template = (
        f"It learned: the loss was {{loss_last:.4g}} {when}, where {run.guessing} costs"
        " {guess:.4f}"
    )
    for label, name in (("training", "training_error"), ("validation", "validation_error")):
        if last.get(name) is not None:
            figures[name] = last[name]
            template += f"; the {label} error is {{{name}:.2%}}"
    template += "."
    if run.dead and run.probed_to_end and not any(run.dead):
        template += " Every hidden unit is active for some training row."
    yield run.finding("learned", template, figures, epochs=(run.epochs[0], run.epochs[-1]))
