"""The report's first part: the network and one step of it, in formulas, words and code."""

import inspect
from collections.abc import Callable
from html import escape
from importlib import resources
from itertools import pairwise
from string import Template
from typing import Any, NamedTuple

import numpy as np

from arraymlp.app.lab.experiments import LAB
from arraymlp.backends.registry import resolve
from arraymlp.html.chart import Line, line_chart
from arraymlp.html.table import table
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import SoftmaxCrossEntropy
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import SGD

SIZES = (784, 100, 100, 10)
BATCH = int(LAB["batch_size"])
ROWS = 60_000


class Listing(NamedTuple):
    """A piece of the package's code that the report shows."""

    anchor: str
    title: str
    functions: tuple[Callable[..., Any], ...]


LISTINGS = (
    Listing("code-forward", "Forward: sums and outputs of a layer", (Layer.forward,)),
    Listing(
        "code-output",
        "The loss, and its derivative by the output layer's sums",
        (SoftmaxCrossEntropy.value_and_delta,),
    ),
    Listing(
        "code-back",
        "Backward: from the outputs' derivative to the sums', the weights' and the inputs'",
        (Layer.backward_activation, Layer.backward_parameters, Layer.backward_input),
    ),
    Listing("code-network", "Backward through all layers", (Network.backward,)),
    Listing("code-update", "The update", (SGD.update,)),
    Listing(
        "code-activations",
        "Sigmoid and ReLU, and their slopes",
        tuple(
            function
            for name in ("sigmoid", "relu")
            for function in (ACTIVATIONS[name].function, ACTIVATIONS[name].derivative)
        ),
    ),
)


def listings() -> str:
    """The code of one step, as it is installed, each piece with its file and line."""
    parts = [
        '<h2 id="code">Appendix: the code of one step</h2><p>These are the lines themselves, as '
        "this version of the package has them: what runs with <code>--engine array</code>, and "
        "what the compiled engine is checked against. In the code x is z of the layer before, ds "
        "is delta, and .mT is T. The last layer has no f: its slope is 1, so that its delta stays "
        "the loss's. Masks, momentum and velocity are not used in this lab.</p>"
    ]
    for listing in LISTINGS:
        sources = [_source(function) for function in listing.functions]
        where = next((where for where, _ in sources if where), "")
        code = "\n\n".join(text for _, text in sources if text) or "(its source is not installed)"
        parts.append(
            f'<h3 id="{listing.anchor}">{escape(listing.title)}</h3>'
            f'<p class="cap">{escape(where)}</p><pre><code>{escape(code)}</code></pre>'
        )
    return "\n".join(parts)


def _source(function: Callable[..., Any]) -> tuple[str, str]:
    """Where a function stands, and its lines; empty where the source is not there to be read."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return "", ""
    path = inspect.getsourcefile(function) or ""
    name = path.replace("\\", "/").rpartition("arraymlp/")[2]
    return f"arraymlp/{name}, from line {first}", inspect.cleandoc("\n" + "".join(lines))


def text_of(name: str) -> str:
    """A text of the report that stands in a file of its own."""
    return resources.files("arraymlp.app.lab").joinpath(name).read_text(encoding="utf-8")


def method() -> str:
    """The network, its formulas, what they compute, their shapes, and what eta is."""
    return Template(text_of("method.html")).substitute(
        inputs=SIZES[0],
        units=SIZES[1],
        weights=f"{sum((n + 1) * m for n, m in pairwise(SIZES)):,}",
        batch=BATCH,
        rows=f"{ROWS:,}",
        steps=ROWS // BATCH,
        rate=f"{0.05 * BATCH:g}",
        shapes=_shapes(),
        network=text_of("network.svg"),
        functions=_functions(),
    )


def _functions() -> str:
    """Sigmoid and ReLU with their slopes, as charts."""
    s, xp = np.linspace(-6, 6, 121), resolve("numpy").xp
    charts = []
    for name, title in (("sigmoid", "sigmoid"), ("relu", "ReLU")):
        f = ACTIVATIONS[name]
        z = np.asarray(f.function(s, xp))
        slope = np.broadcast_to(np.asarray(f.derivative(s, z, xp)), s.shape)
        lines = [
            Line("f(s), the output z", s.tolist(), z.tolist(), 0),
            Line("its slope f'(s)", s.tolist(), slope.tolist(), 1),
        ]
        charts.append(line_chart(lines, title=title, x_label="s", width=330, height=210))
    return f'<div class="row">{"".join(charts)}</div>'


def backward_table() -> str:
    """The lines of the backward pass: formula, method, shape, in words."""
    batch, hidden, out = BATCH, SIZES[1], SIZES[3]
    rows = [
        (
            "δ₃ = ŷ - y",
            "value_and_delta",
            f"{batch} x {out}",
            "the probability less the one wanted",
        ),
        (
            "δ₂ = (δ₃ W₃ᵀ) ⊙ f'(s₂)",
            "backward_input, then backward_activation",
            f"{batch} x {hidden}",
            "how far each unit of hidden layer 2 is to blame, image by image",
        ),
        ("δ₁ = (δ₂ W₂ᵀ) ⊙ f'(s₁)", "the same", f"{batch} x {hidden}", "likewise of hidden layer 1"),
        (
            "zᵀ δ, of each layer",
            "backward_parameters",
            "those of W",
            "the slope of the loss along each weight, added up over the images",
        ),
        ("the sum of δ's rows", "backward_parameters", "those of b", "the same for each bias"),
        ("W - η zᵀ δ", "update", "those of W", "the weights after the step"),
    ]
    return table(("formula", "in the code", "rows x columns", "in words"), rows)


def _shapes() -> str:
    """The shapes of all that is in the formulas."""
    hidden, out = SIZES[1], SIZES[3]
    rows = [
        ("z₀, the images", f"{BATCH} x {SIZES[0]}", "a row an image, a column a pixel"),
        ("W₁, b₁", f"{SIZES[0]} x {hidden}, 1 x {hidden}", "a column a unit of hidden layer 1"),
        ("s₁, z₁, δ₁", f"{BATCH} x {hidden}", "a row an image, a column a unit"),
        ("W₂, b₂", f"{hidden} x {hidden}, 1 x {hidden}", "a column a unit of hidden layer 2"),
        ("s₂, z₂, δ₂", f"{BATCH} x {hidden}", "a row an image, a column a unit"),
        ("W₃, b₃", f"{hidden} x {out}, 1 x {out}", "a column a digit"),
        ("s₃, ŷ, y, δ₃", f"{BATCH} x {out}", "a row an image, a column a digit"),
    ]
    return table(("", "rows x columns", "what they are"), rows)
