"""Rules about units and gradients, which need probes."""

from collections.abc import Iterator
from math import inf

from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.run_columns import FEWEST_EPOCHS, RunColumns, since

VANISHED = 1e-3  # gradient of the first layer's biases over that of the last's
FEW = 0.5  # less of a layer's units are few
EXPLODED = 10.0  # growth of a gradient norm, and of the loss, that counts


def exploding(run: RunColumns) -> Iterator[Finding]:
    """Find the first probe at which gradient and loss had grown tenfold, the loss past guessing."""
    gradients = run.series["gradient_norm"]
    for i, norms in enumerate(gradients):
        if not (run.loss[i] > EXPLODED * run.loss[0] and run.loss[i] > run.diverged):
            continue
        growth = [
            norm / first if first else inf for norm, first in zip(norms, gradients[0], strict=True)
        ]
        layer = max(range(run.n_layers), key=growth.__getitem__)
        if not growth[layer] > EXPLODED:
            continue
        figures = {
            "layer_number": layer + 1,
            "step_first": run.steps[0],
            "step_then": run.steps[i],
            "gradient_first": gradients[0][layer],
            "gradient_then": norms[layer],
            "update": run.series["update_norm"][i][layer],
            "weights": run.series["weight_norm"][i][layer],
            "loss_first": run.loss[0],
            "loss_then": run.loss[i],
        }
        yield run.finding(
            "exploding_gradients",
            "The gradient of the weights of layer {layer_number} was {gradient_first:.3g} in step"
            " {step_first:,} and {gradient_then:.3g} in step {step_then:,}, whose update had a norm"
            " of {update:.3g} and left weights of norm {weights:.3g}; the loss on the probes'"
            " sample was {loss_first:.3g} after the one and {loss_then:.3g} after the other.",
            figures,
            layer=layer,
            steps=(run.steps[0], run.steps[i]),
            epochs=(run.step_epochs[0], run.step_epochs[i]),
        )
        return


def dead_units(run: RunColumns) -> Iterator[Finding]:
    """Find layers most of whose units are inactive for every training row: dead, or saturated.

    Units of sigmoid and tanh saturate; those of relu and its relatives die.
    """
    return _dead_units(run, few=False)


def few_dead_units(run: RunColumns) -> Iterator[Finding]:
    """Find layers less than half of whose units are."""
    return _dead_units(run, few=True)


def _dead_units(run: RunColumns, few: bool) -> Iterator[Finding]:
    """The findings on dead units of the layers with few of them, or of the others."""
    if not run.probed_to_end:
        return
    for layer, n_dead in enumerate(run.dead):
        width, activation = run.widths[layer], run.activations[layer]
        if not n_dead or (n_dead < FEW * width) != few:
            continue
        bounded = activation in ("sigmoid", "tanh")
        word = "saturated" if bounded else "dead"
        slope = "0" if activation == "relu" else "at most 0.001"
        figures: Figures = {
            word: int(n_dead),
            "units": width,
            "layer_number": layer + 1,
            "training_rows": run.rows,
            "sample_rows": run.sample,
        }
        template = (
            ("All {units}" if n_dead == width else f"{{{word}}} of {{units}}")
            + f" units of hidden layer {{layer_number}} ({activation}) are {word} at the end: their"
            f" slope f'(s) is {slope} for every one of the {{training_rows:,}} training rows."
        )
        inactive = [width - round(row[layer] * width) for row in run.series["active_units"]]
        start = since([n >= n_dead for n in inactive])
        if start is not None and start > 0:
            template += _inactive_since(run, start, inactive, width, word, figures)
        if n_dead == width and not bounded and start is not None:
            template += _alike(run, layer, figures) + _cut_off(run, figures)
        first = start or 0
        yield run.finding(
            f"{word}_units",
            template,
            figures,
            layer=layer,
            steps=(run.steps[first], run.steps[-1]),
            epochs=(run.step_epochs[first], run.epochs[-1]),
        )


def _inactive_since(
    run: RunColumns, start: int, inactive: list[int], width: int, word: str, figures: Figures
) -> str:
    """Sentences about when the units became inactive on the sample.

    Args:
        run: whose units.
        start: position of the probe from which on as many were inactive as at the end.
        inactive: how many were, at each probe.
        width: units of the layer.
        word: "dead" or "saturated".
        figures: gets those of the sentences.
    """
    figures |= {
        f"step_{word}": run.steps[start],
        f"epoch_{word}": run.step_epochs[start],
        "step_first": run.steps[0],
        f"{word}_first": inactive[0],
    }
    template = (
        f" On the {{sample_rows:,}} rows of the probes' sample at least as many were {word} at"
        f" every probe from step {{step_{word}:,}} (epoch {{epoch_{word}}}) on; at step"
        f" {{step_first:,}} it was {{{word}_first}}."
    )
    most = since([n >= 0.9 * width for n in inactive])
    if most is not None and most < start:
        figures[f"step_nine_tenths_{word}"] = run.steps[most]
        template += f" Nine tenths were {word} there from step {{step_nine_tenths_{word}:,}} on."
    return template


def _alike(run: RunColumns, layer: int, figures: Figures) -> str:
    """A sentence where the layer's units went off for all samples at once; else ""."""
    spread, moved = run.series["spread"][0][layer], run.series["bias_update"][0][layer]
    if not moved > EXPLODED * spread > 0:
        return ""
    figures.update(
        spread_first=spread,
        bias_update_first=moved,
        bias_update_over_spread=moved / spread,
        step_first=run.steps[0],
    )
    return (
        " In step {step_first:,} its biases moved by {bias_update_first:.1e} (root mean square),"
        " {bias_update_over_spread:,.0f} times what the outputs differed by from sample to sample"
        " ({spread_first:.1e}): a unit whose bias falls goes off for nearly all samples at once."
    )


def _cut_off(run: RunColumns, figures: Figures) -> str:
    """A sentence about gradients and updates behind a layer that is wholly dead, as measured."""
    zero = since([all(g == 0 for g in row) for row in run.series["gradient_norm"]])
    if zero is None:
        return ""
    figures["step_gradients_zero"] = run.steps[zero]
    template = (
        " From step {step_gradients_zero:,} on the gradient of every weight matrix is exactly 0 at"
        " every probe"
    )
    still = [
        all(u == 0 for u in weights) and all(u == 0 for u in biases[:-1])
        for weights, biases in zip(
            run.series["update_norm"], run.series["bias_update"], strict=True
        )
    ]
    fixed = since(still)
    if fixed is None:
        return template + "; what still moves, moves by its velocity."
    figures["step_only_output_biases_move"] = run.steps[fixed]
    when = ":" if fixed == zero else ", and from step {step_only_output_biases_move:,} on"
    return f"{template}{when} only the output biases change, whatever the input."


def vanishing(run: RunColumns) -> Iterator[Finding]:
    """Find gradients that vanish between the last layer and the first, up to the run's end."""
    if run.n_layers < 2 or not run.probed_to_end:
        return
    # The bias gradient is the sum of dL/ds: it does not depend on the scale of the layer's inputs.
    pairs = [(row[0], row[-1]) for row in run.series["bias_gradient"]]
    start = since([first < VANISHED * last for first, last in pairs])
    if start is None or run.step_epochs[-1] - run.step_epochs[start] + 1 < FEWEST_EPOCHS:
        return
    figures = {
        "step_from": run.steps[start],
        "epoch_from": run.step_epochs[start],
        "layers": run.n_layers,
        "gradient_first_layer": pairs[-1][0],
        "gradient_last_layer": pairs[-1][1],
    }
    yield run.finding(
        "vanishing_gradients",
        "From step {step_from:,} (epoch {epoch_from}) to the end the gradient vanishes on its way"
        " back: at the last probe the norm of dL/db is {gradient_last_layer:.3g} in layer {layers}"
        " and {gradient_first_layer:.3g} in layer 1.",
        figures,
        layer=0,
        steps=(run.steps[start], run.steps[-1]),
        epochs=(run.step_epochs[start], run.step_epochs[-1]),
    )
