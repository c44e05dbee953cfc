"""Why a run learned, stalled or died: findings, each backed by figures measured in that run.

Every finding is read off the history and the probes' measurements (`arraymlp.probes`); where the
probes were off, only what the history shows can be found. A sentence says nothing that its figures
do not.
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
VANISHED = 1e-3  # gradient norm of the first layer over that of the last
EXPLODED = 10.0  # growth of a gradient norm, and of the loss, that counts
OVERFIT = 0.1  # rise of the validation loss above its lowest, relative


def diagnose(run: Run) -> list[Finding]:
    """Findings about a run, member by member; the probes' need ``train(..., probes=True)``."""
    if not len(run.history):
        return []
    guess = cost_of_guessing(run)
    members = [None] if run.network.members is None else range(run.network.members)
    found: list[Finding] = []
    for k in members:
        member = Trace(run, k, guess)
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
            found += search(member)
    return found


def _since(holds: Sequence[bool]) -> int | None:
    """Position from which something holds to the end; None where it does not hold at the end."""
    position = None
    for i in reversed(range(len(holds))):
        if not holds[i]:
            break
        position = i
    return position


def _stretches(holds: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last position of each unbroken stretch in which something holds."""
    start = None
    for i, h in enumerate([*holds, False]):
        if h and start is None:
            start = i
        elif not h and start is not None:
            yield start, i - 1
            start = None


def _shut_units(m: Trace) -> Iterator[Finding]:
    """Hidden units that answer no training row: dead (relu and its like) or saturated."""
    for layer, n_shut in enumerate(m.shut):
        n_shut, width = int(n_shut), m.widths[layer]
        if n_shut == 0:
            continue
        bounded = m.activations[layer] in ("sigmoid", "tanh")
        kind, word = ("saturated_units", "saturated") if bounded else ("dead_units", "dead")
        slope = "0" if m.activations[layer] == "relu" else "at most 0.001"
        shut = [width - round(row[layer] * width) for row in m.series["live"]]
        start = _since([n >= n_shut for n in shut])
        figures: dict[str, Any] = {"shut": n_shut, "units": width, "training_rows": m.rows}
        sentence = (
            f"{f'All {width}' if n_shut == width else f'{n_shut} of {width}'} units of hidden layer"
            f" {layer + 1} ({m.activations[layer]}) are {word} at the end: their slope f'(s) is"
            f" {slope} for every one of the {m.rows:,} training rows."
        )
        if start is not None and start > 0:
            sentence += (
                f" On the probes' sample at least as many were shut at every probe from step"
                f" {m.steps[start]:,} (epoch {m.step_epochs[start]}) on; at step {m.steps[0]:,}"
                f" it was {shut[0]}."
            )
        most = _since([n >= 0.9 * width for n in shut])
        if most is not None and start is not None and most < start:
            figures["nine_tenths_shut_from_step"] = m.steps[most]
            sentence += f" Nine tenths of the layer were shut from step {m.steps[most]:,} on."
        if n_shut == width and not bounded and start is not None:
            sentence += _alike(m, layer, figures) + _cut_off(m, figures)
        yield Finding(
            kind,
            sentence,
            figures,
            layer,
            m.k,
            None if start is None else m.steps[start],
            m.steps[-1],
            m.epochs[0] if start is None else m.step_epochs[start],
            m.epochs[-1],
        )


def _alike(m: Trace, layer: int, figures: dict[str, Any]) -> str:
    """Whether the layer's units went on and off for all samples at once, and what moved them."""
    spread, moved = m.series["spread"][0][layer], m.series["bias_update"][0][layer]
    figures.update(spread_first=spread, bias_update_first=moved)
    if not moved > EXPLODED * spread > 0:
        return ""
    return (
        f" In step {m.steps[0]:,} its biases moved by {moved:.1e} (root mean square),"
        f" {moved / spread:,.0f} times what the outputs differed by from sample to sample"
        f" ({spread:.1e}): a unit whose bias falls goes off for all samples at once."
    )


def _cut_off(m: Trace, figures: dict[str, Any]) -> str:
    """What a wholly dead layer does to the gradients and the updates, as measured."""
    zero = _since([all(g == 0 for g in row) for row in m.series["gradient_norm"]])
    if zero is None:
        return ""
    figures["all_weight_gradients_zero_from_step"] = m.steps[zero]
    sentence = (
        f" From step {m.steps[zero]:,} on the gradient of every weight matrix is exactly 0 at every"
        " probe"
    )
    still = [
        all(u == 0 for u in weights) and all(u == 0 for u in biases[:-1])
        for weights, biases in zip(m.series["update_norm"], m.series["bias_update"], strict=True)
    ]
    if (fixed := _since(still)) is None:
        return f"{sentence}; what still moves, moves by its velocity."
    figures["only_output_biases_move_from_step"] = m.steps[fixed]
    when = "" if fixed == zero else f", and from step {m.steps[fixed]:,} on"
    return f"{sentence}{when or ':'} only the output biases change, whatever the input."


def _constant_predictions(m: Trace) -> Iterator[Finding]:
    """Epochs after which every validation sample was given one and the same class."""
    if m.classes is None or "predicted" not in m.columns:
        return
    tops = [None if counts is None else only_class(counts) for counts in m.columns["predicted"]]
    for first, last in _stretches([top is not None for top in tops]):
        span = [m.classes[t] for t in tops[first : last + 1] if t is not None]
        rows = int(sum(m.columns["predicted"][first]))
        names = sorted(set(span))
        when = (
            f"After each of the epochs {m.epochs[first]} to {m.epochs[last]}"
            if last > first
            else f"After epoch {m.epochs[first]}"
        )
        which = (
            f"class {names[0]}"
            if len(names) == 1
            else f"a class that changed from epoch to epoch ({', '.join(map(str, names))})"
        )
        yield Finding(
            "constant_predictions",
            f"{when} all {rows:,} validation samples were given one and the same class: {which}.",
            {"classes": names, "epochs": last - first + 1, "validation_rows": rows},
            None,
            m.k,
            None,
            None,
            m.epochs[first],
            m.epochs[last],
        )


def _plateau(m: Trace) -> Iterator[Finding]:
    """Epochs in which the loss stood still, high up."""
    loss = m.columns["loss"]
    if not all(isfinite(v) for v in loss):
        return
    start = 0
    while start < len(loss):
        end = start
        while end + 1 < len(loss) and _still(loss[start : end + 2]):
            end += 1
        if end - start + 1 >= PLATEAU_EPOCHS and _high(m) < loss[start] <= _diverged(m):
            yield _plateau_finding(m, start, end)
        start = end + 1


def _still(span: Sequence[float]) -> bool:
    return max(span) - min(span) <= PLATEAU_CHANGE * max(span)


def _high(m: Trace) -> float:
    """A loss above half of what ignoring the input costs is no convergence."""
    return m.guess / 2


def _diverged(m: Trace) -> float:
    """A loss above three times what ignoring the input costs has diverged, whatever else it does.

    That of a regression may start far above, and come down: it has to be above its first, too.
    """
    first = m.loss[0] if m.regression and m.loss else 0.0
    return max(3 * m.guess, first)


def _plateau_finding(m: Trace, start: int, end: int) -> Finding:
    loss = m.columns["loss"][start : end + 1]
    first, last = m.epochs[start], m.epochs[end]
    figures: dict[str, Any] = {"loss_least": min(loss), "loss_most": max(loss), "guess": m.guess}
    sentence = (
        f"From epoch {first} to {last} the loss stayed between {min(loss):.4f} and {max(loss):.4f};"
        f" to ignore the input and know only the targets' mean costs {m.guess:.4f}."
    )
    inside = [i for i, e in enumerate(m.step_epochs) if first <= e <= last]
    if inside and m.widths:
        logits = max(m.series["spread"][i][-1] for i in inside)
        live = [round(m.series["live"][i][-1] * m.widths[-1]) for i in inside]
        figures.update(
            logits_spread=logits, live_first=live[0], live_least=min(live), live_last=live[-1]
        )
        sentence += (
            f" All that time the logits differed from sample to sample by {logits:.1e} at most"
            f" (standard deviation). Of the {m.widths[-1]} units of hidden layer {len(m.widths)}"
            f" {live[0]} were live at step {m.steps[inside[0]]:,} and {min(live)} at the fewest."
        )
        sentence += _way_out(m, inside, end, figures)
    return Finding(
        "plateau",
        sentence,
        figures,
        None,
        m.k,
        m.steps[inside[0]] if inside else None,
        m.steps[inside[-1]] if inside else None,
        first,
        last,
    )


def _way_out(m: Trace, inside: Sequence[int], end: int, figures: dict[str, Any]) -> str:
    """How the gradient of the first layer went while the loss stood still, and after."""
    gradient = [row[0] for row in m.series["gradient_norm"]]
    low = min(inside, key=lambda i: gradient[i])
    figures.update(gradient_least=gradient[low], gradient_least_step=m.steps[low])
    if end + 1 == len(m.epochs):
        return (
            f" The run did not leave it: the gradient of the first layer was"
            f" {gradient[inside[0]]:.1e} at the first probe and {gradient[inside[-1]]:.1e} at the"
            " last."
        )
    after = m.at_epoch_end(m.epochs[end + 1])
    if after is None or not gradient[low] < gradient[inside[-1]] < gradient[after]:
        return ""
    live = round(m.series["live"][after][-1] * m.widths[-1])
    figures.update(gradient_after=gradient[after], live_after=live)
    return (
        f" As it ended the gradient of the first layer grew: {gradient[low]:.1e} at its smallest"
        f" (step {m.steps[low]:,}), {gradient[inside[-1]]:.1e} at step"
        f" {m.steps[inside[-1]]:,}, {gradient[after]:.1e} at step {m.steps[after]:,}, by when"
        f" {live} units were live."
    )


def _divergence(m: Trace) -> Iterator[Finding]:
    """A loss that is not finite, or far above what ignoring the input costs, to the end."""
    loss = m.columns["loss"]
    start = _since([not v <= _diverged(m) for v in loss])  # NaN is above every bound
    if start is None:
        return
    worst = max((v for v in loss if isfinite(v)), default=inf)
    if isfinite(loss[-1]):
        what = (
            f"it is {loss[-1]:.4g} in the last epoch and {worst:.4g} in the worst, where to ignore"
            f" the input and know only the targets' mean costs {m.guess:.4f}"
        )
    else:
        what = f"it is not finite ({loss[-1]})"
    yield Finding(
        "divergence",
        f"The loss diverged: from epoch {m.epochs[start]} on {what}.",
        {"loss_last": loss[-1], "loss_highest": worst, "guess": m.guess},
        None,
        m.k,
        None,
        None,
        m.epochs[start],
        m.epochs[-1],
    )


def _exploding(m: Trace) -> Iterator[Finding]:
    """The first probe at which gradient and loss had both grown tenfold, the loss past guessing."""
    gradients = m.series["gradient_norm"]
    for i, norms in enumerate(gradients):
        if not (m.loss[i] > EXPLODED * m.loss[0] and m.loss[i] > _diverged(m)):
            continue
        growth = [
            now / first if first else inf for now, first in zip(norms, gradients[0], strict=True)
        ]
        layer = max(range(m.n_layers), key=growth.__getitem__)
        if not growth[layer] > EXPLODED:
            continue
        now, first = norms[layer], gradients[0][layer]
        update, weights = (m.series[name][i][layer] for name in ("update_norm", "weight_norm"))
        yield Finding(
            "exploding_gradients",
            f"The gradient of layer {layer + 1} was {first:.3g} in step {m.steps[0]:,} and"
            f" {now:.3g} in step {m.steps[i]:,}, whose update had a norm of {update:.3g} and left"
            f" weights of norm {weights:.3g}; the loss on the probes' sample was {m.loss[0]:.3g}"
            f" after the one and {m.loss[i]:.3g} after the other.",
            {
                "gradient_first": first,
                "gradient_then": now,
                "update": update,
                "weights": weights,
                "loss_first": m.loss[0],
                "loss_then": m.loss[i],
            },
            layer,
            m.k,
            m.steps[0],
            m.steps[i],
            m.step_epochs[0],
            m.step_epochs[i],
        )
        return


def _vanishing(m: Trace) -> Iterator[Finding]:
    """Gradients that fade on their way from the last layer to the first, to the run's end."""
    if m.n_layers < 2 or not m.steps:
        return
    pairs = [(row[0], row[-1]) for row in m.series["gradient_norm"]]
    start = _since([first < VANISHED * last for first, last in pairs])
    if start is None or m.step_epochs[-1] - m.step_epochs[start] + 1 < PLATEAU_EPOCHS:
        return
    first, last = pairs[-1]
    yield Finding(
        "vanishing_gradients",
        f"From step {m.steps[start]:,} (epoch {m.step_epochs[start]}) to the end the gradient"
        f" vanishes on its way back: at the last probe its norm is {last:.3g} in layer"
        f" {m.n_layers} and {first:.3g} in layer 1.",
        {"gradient_first_layer": first, "gradient_last_layer": last},
        0,
        m.k,
        m.steps[start],
        m.steps[-1],
        m.step_epochs[start],
        m.step_epochs[-1],
    )


def _overfitting(m: Trace) -> Iterator[Finding]:
    """A validation loss that turned and rose while the training loss went on falling."""
    loss = m.measured("validation_loss")
    fit = m.measured("training_loss") or m.columns["loss"]
    if loss is None:
        return
    low = min(range(len(loss)), key=loss.__getitem__)
    if loss[-1] <= (1 + OVERFIT) * loss[low] or not fit[-1] < min(fit[low], _high(m)):
        return
    sentence = (
        f"The validation loss was lowest after epoch {m.epochs[low]} ({loss[low]:.4f}) and is"
        f" {loss[-1]:.4f} at the end, while the training loss went from {fit[low]:.4f} to"
        f" {fit[-1]:.4f}."
    )
    figures = {"validation_loss_least": loss[low], "validation_loss_last": loss[-1]}
    error = m.measured("validation_error")
    if error is not None:
        sentence += (
            f" The validation error went from {100 * error[low]:.2f} % to {100 * error[-1]:.2f} %."
        )
        figures.update(validation_error_then=error[low], validation_error_last=error[-1])
    yield Finding(
        "overfitting", sentence, figures, None, m.k, None, None, m.epochs[low], m.epochs[-1]
    )


def _learned(m: Trace) -> Iterator[Finding]:
    """The ordinary case: the loss fell well below that of an untrained network."""
    loss = m.columns["loss"]
    predicted = m.columns.get("predicted", [None])[-1]
    if not loss[-1] < _high(m) or (predicted is not None and only_class(predicted) is not None):
        return
    figures: dict[str, Any] = {"loss_first": loss[0], "loss_last": loss[-1]}
    sentence = f"It learned: the loss was {loss[-1]:.4g} in the last epoch"
    for label, name in (("training", "training_error"), ("validation", "validation_error")):
        error = m.columns.get(name, [None])[-1]
        if error is not None:
            figures[name] = error
            sentence += f", the {label} error {100 * error:.2f} %"
    sentence += "."
    if m.shut and not any(m.shut):
        sentence += " Every hidden unit answers to some training row."
    yield Finding("learned", sentence, figures, None, m.k, None, None, m.epochs[0], m.epochs[-1])
