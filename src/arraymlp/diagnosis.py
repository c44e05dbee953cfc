"""Why a run learned, stalled or died: findings, each backed by figures measured in that run.

Every finding is read off the history and the probes' measurements (`arraymlp.probes`); where the
probes were off, only what the history shows can be found. A sentence is a template that its
figures fill in, so it speaks no number that was not measured.
"""

from collections.abc import Iterator, Sequence
from math import inf, isfinite
from typing import Any

from arraymlp.evaluation import only_class
from arraymlp.findings import Finding
from arraymlp.run import Run
from arraymlp.trace import Trace, cost_of_guessing

PLATEAU_EPOCHS = 5  # shorter stretches are ordinary slow going
PLATEAU_CHANGE = 0.005  # of the loss, relative
BETTER = 0.9  # a loss above this part of what ignoring the input costs is no better than that
DIVERGED = 3  # times what ignoring the input costs
VANISHED = 1e-3  # gradient of the first layer's biases over that of the last's
EXPLODED = 10.0  # growth of a gradient norm, and of the loss, that counts
OVERFIT = 0.1  # rise of the validation loss above its lowest, relative


def diagnose(run: Run) -> list[Finding]:
    """Findings about a run, member by member; the probes' need ``train(..., probes=True)``."""
    if len(run.history) <= run.comparable_from:
        return []
    guess = cost_of_guessing(run)
    members = [None] if run.network.members is None else range(run.network.members)
    found: list[Finding] = []
    for k in members:
        m = Trace(run, k, guess)
        for search in (
            _exploding,  # what comes first in a run comes first here
            _shut_units,
            _vanishing,
            _plateau,
            _constant_predictions,
            _divergence,
            _overfitting,
            _learned,
        ):
            found += search(m)
    return found


def _finding(
    m: Trace,
    kind: str,
    template: str,
    figures: dict[str, Any],
    *,
    layer: int | None = None,
    steps: tuple[int, int] | None = None,
    epochs: tuple[int, int],
) -> Finding:
    from_step, to_step = steps or (None, None)
    sentence = template.format(**figures)
    return Finding(kind, sentence, figures, layer, m.k, from_step, to_step, *epochs)


def _since(holds: Sequence[bool]) -> int | None:
    """Position from which something holds to the end; None where it does not hold at the end."""
    position = None
    for i in reversed(range(len(holds))):
        if not holds[i]:
            break
        position = i
    return position


def _diverged(m: Trace) -> float:
    """A loss above this has diverged: far above guessing, and above where it started."""
    return max(DIVERGED * m.guess, m.first_loss)


def _exploding(m: Trace) -> Iterator[Finding]:
    """The first probe at which gradient and loss had both grown tenfold, the loss past guessing."""
    gradients = m.series["gradient_norm"]
    for i, norms in enumerate(gradients):
        if not (m.loss[i] > EXPLODED * m.loss[0] and m.loss[i] > _diverged(m)):
            continue
        growth = [now / old if old else inf for now, old in zip(norms, gradients[0], strict=True)]
        layer = max(range(m.n_layers), key=growth.__getitem__)
        if not growth[layer] > EXPLODED:
            continue
        figures = {
            "layer_number": layer + 1,
            "step_first": m.steps[0],
            "step_then": m.steps[i],
            "gradient_first": gradients[0][layer],
            "gradient_then": norms[layer],
            "update": m.series["update_norm"][i][layer],
            "weights": m.series["weight_norm"][i][layer],
            "loss_first": m.loss[0],
            "loss_then": m.loss[i],
        }
        yield _finding(
            m,
            "exploding_gradients",
            "The gradient of the weights of layer {layer_number} was {gradient_first:.3g} in step"
            " {step_first:,} and {gradient_then:.3g} in step {step_then:,}, whose update had a norm"
            " of {update:.3g} and left weights of norm {weights:.3g}; the loss on the probes'"
            " sample was {loss_first:.3g} after the one and {loss_then:.3g} after the other.",
            figures,
            layer=layer,
            steps=(m.steps[0], m.steps[i]),
            epochs=(m.step_epochs[0], m.step_epochs[i]),
        )
        return


def _shut_units(m: Trace) -> Iterator[Finding]:
    """Hidden units that answer no training row: dead (relu and its like) or saturated."""
    if not m.probed_to_end:
        return
    for layer, n_shut in enumerate(m.shut):
        width = m.widths[layer]
        if not n_shut:
            continue
        bounded = m.activations[layer] in ("sigmoid", "tanh")
        word = "saturated" if bounded else "dead"
        slope = "0" if m.activations[layer] == "relu" else "at most 0.001"
        shut = [width - round(row[layer] * width) for row in m.series["live"]]
        figures: dict[str, Any] = {
            "shut": int(n_shut),
            "units": width,
            "layer_number": layer + 1,
            "training_rows": m.rows,
            "sample_rows": m.sample,
        }
        template = (
            ("All {units}" if n_shut == width else "{shut} of {units}")
            + f" units of hidden layer {{layer_number}} ({m.activations[layer]}) are {word} at the"
            f" end: their slope f'(s) is {slope} for every one of the {{training_rows:,}} training"
            " rows."
        )
        start = _since([n >= n_shut for n in shut])
        if start is not None and start > 0:
            figures.update(
                step_shut=m.steps[start],
                epoch_shut=m.step_epochs[start],
                step_first=m.steps[0],
                shut_first=shut[0],
            )
            template += (
                " On the {sample_rows:,} rows of the probes' sample at least as many were shut at"
                " every probe from step {step_shut:,} (epoch {epoch_shut}) on; at step"
                " {step_first:,} it was {shut_first}."
            )
            most = _since([n >= 0.9 * width for n in shut])
            if most is not None and most < start:
                figures["step_nine_tenths_shut"] = m.steps[most]
                template += " Nine tenths were shut there from step {step_nine_tenths_shut:,} on."
        if n_shut == width and not bounded and start is not None:
            template += _alike(m, layer, figures) + _cut_off(m, figures)
        since = 0 if start is None else start
        yield _finding(
            m,
            f"{word}_units",
            template,
            figures,
            layer=layer,
            steps=(m.steps[since], m.steps[-1]),
            epochs=(m.step_epochs[since], m.epochs[-1]),
        )


def _alike(m: Trace, layer: int, figures: dict[str, Any]) -> str:
    """Whether the layer's units went on and off for all samples at once, and what moved them."""
    spread, moved = m.series["spread"][0][layer], m.series["bias_update"][0][layer]
    if not moved > EXPLODED * spread > 0:
        return ""
    figures.update(
        spread_first=spread,
        bias_update_first=moved,
        bias_update_over_spread=moved / spread,
        step_first=m.steps[0],
    )
    return (
        " In step {step_first:,} its biases moved by {bias_update_first:.1e} (root mean square),"
        " {bias_update_over_spread:,.0f} times what the outputs differed by from sample to sample"
        " ({spread_first:.1e}): a unit whose bias falls goes off for nearly all samples at once."
    )


def _cut_off(m: Trace, figures: dict[str, Any]) -> str:
    """What a wholly dead layer does to the gradients and the updates, as measured."""
    zero = _since([all(g == 0 for g in row) for row in m.series["gradient_norm"]])
    if zero is None:
        return ""
    figures["step_gradients_zero"] = m.steps[zero]
    template = (
        " From step {step_gradients_zero:,} on the gradient of every weight matrix is exactly 0 at"
        " every probe"
    )
    still = [
        all(u == 0 for u in weights) and all(u == 0 for u in biases[:-1])
        for weights, biases in zip(m.series["update_norm"], m.series["bias_update"], strict=True)
    ]
    fixed = _since(still)
    if fixed is None:
        return template + "; what still moves, moves by its velocity."
    figures["step_only_output_biases_move"] = m.steps[fixed]
    when = ":" if fixed == zero else ", and from step {step_only_output_biases_move:,} on"
    return f"{template}{when} only the output biases change, whatever the input."


def _vanishing(m: Trace) -> Iterator[Finding]:
    """Gradients that fade on their way from the last layer to the first, to the run's end."""
    if m.n_layers < 2 or not m.probed_to_end:
        return
    # The bias gradient is the sum of dL/ds, free of the scale of the layer's inputs.
    pairs = [(row[0], row[-1]) for row in m.series["bias_gradient"]]
    start = _since([first < VANISHED * last for first, last in pairs])
    if start is None or m.step_epochs[-1] - m.step_epochs[start] + 1 < PLATEAU_EPOCHS:
        return
    figures = {
        "step_from": m.steps[start],
        "epoch_from": m.step_epochs[start],
        "layers": m.n_layers,
        "gradient_first_layer": pairs[-1][0],
        "gradient_last_layer": pairs[-1][1],
    }
    yield _finding(
        m,
        "vanishing_gradients",
        "From step {step_from:,} (epoch {epoch_from}) to the end the gradient vanishes on its way"
        " back: at the last probe the norm of dL/db is {gradient_last_layer:.3g} in layer {layers}"
        " and {gradient_first_layer:.3g} in layer 1.",
        figures,
        layer=0,
        steps=(m.steps[start], m.steps[-1]),
        epochs=(m.step_epochs[start], m.step_epochs[-1]),
    )


def _plateau(m: Trace) -> Iterator[Finding]:
    """Epochs in which the loss stood still and was no better than guessing."""
    loss = m.measured("loss")
    start = 0
    while loss is not None and start < len(loss):
        end = start
        while end + 1 < len(loss) and _still(loss[start : end + 2]):
            end += 1
        no_better = BETTER * m.guess < min(loss[start : end + 1])
        if end - start + 1 >= PLATEAU_EPOCHS and no_better and loss[start] <= _diverged(m):
            yield _plateau_finding(m, start, end)
        start = end + 1


def _still(span: Sequence[float]) -> bool:
    return max(span) - min(span) <= PLATEAU_CHANGE * max(span)


def _plateau_finding(m: Trace, start: int, end: int) -> Finding:
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
        " {loss_most:.4f}; to ignore the input and know only the targets' mean costs {guess:.4f}."
    )
    inside = [i for i, e in enumerate(m.step_epochs) if first <= e <= last]
    probed = {*range(first, last + 1)} <= {m.step_epochs[i] for i in inside}
    if probed and m.widths:
        live = [round(m.series["live"][i][-1] * m.widths[-1]) for i in inside]
        figures.update(
            probes=len(inside),
            sample_rows=m.sample,
            logits_spread=max(m.series["spread"][i][-1] for i in inside),
            units=m.widths[-1],
            layer_number=len(m.widths),
            live_first=live[0],
            live_least=min(live),
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
    return _finding(m, "plateau", template, figures, steps=steps, epochs=(first, last))


def _way_out(m: Trace, inside: Sequence[int], end: int, figures: dict[str, Any]) -> str:
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
        live_after=round(m.series["live"][after][-1] * m.widths[-1]),
    )
    return (
        " As it ended the gradient of the first layer's weights grew: {gradient_least:.1e} at its"
        " smallest (step {step_least:,}), {gradient_last:.1e} at step {step_last:,},"
        " {gradient_after:.1e} at step {step_after:,}, when {live_after} units answered."
    )


def _constant_predictions(m: Trace) -> Iterator[Finding]:
    """Epochs after which every validation sample was given one and the same class."""
    counts = m.columns.get("predicted")
    if m.classes is None or counts is None or m.one_class_validation:
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


def _constant_finding(m: Trace, given: Sequence[int], start: int, end: int) -> Finding:
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
    return _finding(m, "constant_predictions", template, figures, epochs=epochs)


def _divergence(m: Trace) -> Iterator[Finding]:
    """A loss that is not finite, or far above guessing and where it started, to the end."""
    loss = m.columns["loss"]
    start = _since([not v <= _diverged(m) for v in loss])  # NaN is above every bound
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
            " and {loss_highest:.4g} in the worst, where to ignore the input and know only the"
            " targets' mean costs {guess:.4f}."
        )
    else:
        template += "it is too large, and not finite at the end ({loss_last})."
    yield _finding(m, "divergence", template, figures, epochs=(m.epochs[start], m.epochs[-1]))


def _overfitting(m: Trace) -> Iterator[Finding]:
    """A validation loss that turned and rose while the training loss went on falling."""
    loss = m.measured("validation_loss")
    fit = m.measured("training_loss") or m.columns["loss"]
    if loss is None:
        return
    low = min(range(len(loss)), key=loss.__getitem__)
    if loss[-1] <= (1 + OVERFIT) * loss[low] or not fit[-1] < min(fit[low], BETTER * m.guess):
        return
    figures = {
        "epoch_least": m.epochs[low],
        "validation_loss_least": loss[low],
        "validation_loss_last": loss[-1],
        "training_loss_then": fit[low],
        "training_loss_last": fit[-1],
    }
    template = (
        "The validation loss was lowest after epoch {epoch_least} ({validation_loss_least:.4f}) and"
        " is {validation_loss_last:.4f} at the end, while the training loss went from"
        " {training_loss_then:.4f} to {training_loss_last:.4f}."
    )
    error = m.measured("validation_error")
    if error is not None:
        figures.update(validation_error_then=error[low], validation_error_last=error[-1])
        template += (
            " The validation error went from {validation_error_then:.2%} to"
            " {validation_error_last:.2%}."
        )
    yield _finding(m, "overfitting", template, figures, epochs=(m.epochs[low], m.epochs[-1]))


def _learned(m: Trace) -> Iterator[Finding]:
    """The ordinary case: the loss, and the validation's if there is one, beat guessing."""
    last = {name: column[-1] for name, column in m.columns.items()}
    counts = last.get("predicted")
    if counts is not None and only_class(counts) is not None and not m.one_class_validation:
        return
    losses = [last["loss"], last.get("validation_loss")]
    if not all(v < BETTER * m.guess for v in losses if v is not None):
        return
    figures: dict[str, Any] = {"loss_last": last["loss"], "guess": m.guess}
    template = (
        "It learned: the loss was {loss_last:.4g} in the last epoch, where to ignore the input and"
        " know only the targets' mean costs {guess:.4f}"
    )
    for label, name in (("training", "training_error"), ("validation", "validation_error")):
        if last.get(name) is not None:
            figures[name] = last[name]
            template += f"; the {label} error is {{{name}:.2%}}"
    template += "."
    if m.shut and m.probed_to_end and not any(m.shut):
        template += " Every hidden unit answers to some training row."
    yield _finding(m, "learned", template, figures, epochs=(m.epochs[0], m.epochs[-1]))
