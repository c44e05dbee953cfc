"""What the probes saw go wrong inside the layers: units, gradients."""

from collections.abc import Iterator
from math import inf
from typing import Any

from arraymlp.diagnosis.findings import Finding
from arraymlp.diagnosis.run_columns import FEWEST_EPOCHS, RunColumns, since

VANISHED = 1e-3  # gradient of the first layer's biases over that of the last's
EXPLODED = 10.0  # growth of a gradient norm, and of the loss, that counts


def exploding(m: RunColumns) -> Iterator[Finding]:
    """The first probe at which gradient and loss had both grown tenfold, the loss past guessing."""
    gradients = m.series["gradient_norm"]
    for i, norms in enumerate(gradients):
        if not (m.loss[i] > EXPLODED * m.loss[0] and m.loss[i] > m.diverged):
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
        yield m.finding(
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


def dead_units(m: RunColumns) -> Iterator[Finding]:
    """Hidden units that answer no training row: dead (relu and its like) or saturated."""
    if not m.probed_to_end:
        return
    for layer, n_dead in enumerate(m.dead):
        width = m.widths[layer]
        if not n_dead:
            continue
        bounded = m.activations[layer] in ("sigmoid", "tanh")
        word = "saturated" if bounded else "dead"
        slope = "0" if m.activations[layer] == "relu" else "at most 0.001"
        dead = [width - round(row[layer] * width) for row in m.series["active_units"]]
        figures: dict[str, Any] = {
            "dead": int(n_dead),
            "units": width,
            "layer_number": layer + 1,
            "training_rows": m.rows,
            "sample_rows": m.sample,
        }
        template = (
            ("All {units}" if n_dead == width else "{dead} of {units}")
            + f" units of hidden layer {{layer_number}} ({m.activations[layer]}) are {word} at the"
            f" end: their slope f'(s) is {slope} for every one of the {{training_rows:,}} training"
            " rows."
        )
        start = since([n >= n_dead for n in dead])
        if start is not None and start > 0:
            figures.update(
                step_dead=m.steps[start],
                epoch_dead=m.step_epochs[start],
                step_first=m.steps[0],
                dead_first=dead[0],
            )
            template += (
                " On the {sample_rows:,} rows of the probes' sample at least as many were dead at"
                " every probe from step {step_dead:,} (epoch {epoch_dead}) on; at step"
                " {step_first:,} it was {dead_first}."
            )
            most = since([n >= 0.9 * width for n in dead])
            if most is not None and most < start:
                figures["step_nine_tenths_dead"] = m.steps[most]
                template += " Nine tenths were dead there from step {step_nine_tenths_dead:,} on."
        if n_dead == width and not bounded and start is not None:
            template += _alike(m, layer, figures) + _cut_off(m, figures)
        first = start or 0
        yield m.finding(
            f"{word}_units",
            template,
            figures,
            layer=layer,
            steps=(m.steps[first], m.steps[-1]),
            epochs=(m.step_epochs[first], m.epochs[-1]),
        )


def _alike(m: RunColumns, layer: int, figures: dict[str, Any]) -> str:
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


def _cut_off(m: RunColumns, figures: dict[str, Any]) -> str:
    """What a wholly dead layer does to the gradients and the updates, as measured."""
    zero = since([all(g == 0 for g in row) for row in m.series["gradient_norm"]])
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
    fixed = since(still)
    if fixed is None:
        return template + "; what still moves, moves by its velocity."
    figures["step_only_output_biases_move"] = m.steps[fixed]
    when = ":" if fixed == zero else ", and from step {step_only_output_biases_move:,} on"
    return f"{template}{when} only the output biases change, whatever the input."


def vanishing(m: RunColumns) -> Iterator[Finding]:
    """Gradients that fade on their way from the last layer to the first, to the run's end."""
    if m.n_layers < 2 or not m.probed_to_end:
        return
    # The bias gradient is the sum of dL/ds, free of the scale of the layer's inputs.
    pairs = [(row[0], row[-1]) for row in m.series["bias_gradient"]]
    start = since([first < VANISHED * last for first, last in pairs])
    if start is None or m.step_epochs[-1] - m.step_epochs[start] + 1 < FEWEST_EPOCHS:
        return
    figures = {
        "step_from": m.steps[start],
        "epoch_from": m.step_epochs[start],
        "layers": m.n_layers,
        "gradient_first_layer": pairs[-1][0],
        "gradient_last_layer": pairs[-1][1],
    }
    yield m.finding(
        "vanishing_gradients",
        "From step {step_from:,} (epoch {epoch_from}) to the end the gradient vanishes on its way"
        " back: at the last probe the norm of dL/db is {gradient_last_layer:.3g} in layer {layers}"
        " and {gradient_first_layer:.3g} in layer 1.",
        figures,
        layer=0,
        steps=(m.steps[start], m.steps[-1]),
        epochs=(m.step_epochs[start], m.step_epochs[-1]),
    )
