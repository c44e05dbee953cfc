"""The second half of a step: from gradients to new weights.

The gradients are clipped, penalties added, weights decayed, and the rest is the optimiser's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from arraymlp.backend import Array
from arraymlp.batching import Minibatch
from arraymlp.gradient import divisor
from arraymlp.layer import Gradients
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer

State: TypeAlias = list[tuple[Any, Any]]  # beside each layer: the state of its weights and its bias
Update: TypeAlias = Callable[[Array, Array, Any, Hyper, Any], tuple[Array, Any]]


class Met(NamedTuple):
    """What a minibatch cost with the weights that it met, before the step changed them.

    Attributes:
        loss: summed over its samples, (...,).
        penalty: alpha / 2 |W|^2, (...,); 0 without alpha.
    """

    loss: Array
    penalty: Array | float = 0.0


def initial_state(network: MultilayerPerceptron, optimizer: Optimizer) -> State:
    """The optimiser's state before the first step."""
    xp = network.backend.xp
    return [
        (optimizer.initial_state(a.weights, xp), optimizer.initial_state(a.bias, xp))
        for a in network.layers
    ]


def mapped(change: Callable[..., Array], *states: Any) -> Any:
    """A nest of lists and tuples of arrays with every array changed alike; several in step."""
    if isinstance(states[0], list | tuple):
        parts = [mapped(change, *part) for part in zip(*states, strict=True)]
        kind = type(states[0])
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return None if states[0] is None else change(*states)


def arrays_of(state: Any) -> tuple[Array, ...]:
    """The arrays of one parameter's state: none, one, or several."""
    if state is None:
        return ()
    return state if isinstance(state, tuple) else (state,)


def updated(
    network: MultilayerPerceptron,
    state: State,
    gradients: list[Gradients],
    batch: Minibatch,
    hyper: Hyper,
    update: Update,
    reduction: str,
    xp: Any,
) -> State:
    """Change the network's parameters, in place where arrays allow, and return the new state.

    Args:
        network: whose.
        state: the optimiser's.
        gradients: of each layer; they may be overwritten.
        batch: what they are of.
        hyper: see `arraymlp.step`.
        update: the optimiser's own, of one parameter.
        reduction: "mean" or "sum".
        xp: the arrays' namespace.
    """
    if "gradient_clip" in hyper:
        gradients = _clipped(gradients, hyper["gradient_clip"], xp)
    pull = penalty_slope(batch, hyper, reduction)
    new_state = []
    for layer, (dw, db), (of_w, of_b) in zip(network.layers, gradients, state, strict=True):
        if pull is not None:
            dw += pull * layer.weights
        if "shrink" in hyper:
            layer.weights *= hyper["shrink"]
        layer.weights, of_w = update(layer.weights, dw, of_w, hyper, xp)
        layer.bias, of_b = update(layer.bias, db, of_b, hyper, xp)
        new_state.append((of_w, of_b))
    return new_state


def penalty_slope(batch: Minibatch, hyper: Hyper, reduction: str) -> Any:
    """The factor of W in the penalties' gradient, a number or (..., 1, 1); None without any."""
    pull = hyper.get("l2")
    if "alpha" in hyper:
        of_alpha = hyper["alpha"] / divisor(batch, reduction)
        pull = of_alpha if pull is None else pull + of_alpha
    return pull


def penalty(network: MultilayerPerceptron, hyper: Hyper, xp: Any) -> Array | float:
    """The penalty alpha / 2 |W|^2 (...,), over the weights of all layers; 0 without alpha."""
    if "alpha" not in hyper:
        return 0.0
    alpha = hyper["alpha"]
    flat = [xp.reshape(a.weights, (*a.weights.shape[:-2], -1)) for a in network.layers]
    squares = sum(xp.vecdot(w, w) for w in flat)
    return squares * ((alpha if isinstance(alpha, float) else alpha[..., 0, 0]) / 2)


def _clipped(gradients: list[Gradients], most: Any, xp: Any) -> list[Gradients]:
    """The gradients, each member's scaled down together where their norm is above ``most``."""
    parts = [xp.reshape(a, (*a.shape[:-2], 1, -1)) for both in gradients for a in both]
    flat = xp.concat(parts, axis=-1)  # (..., 1, n_parameters)
    tiny = float(xp.finfo(flat.dtype).smallest_normal)
    largest = xp.maximum(xp.max(xp.abs(flat), axis=-1, keepdims=True), tiny)
    # The norm over the largest entry: the square of a huge one would overflow.
    norm = xp.sqrt(xp.sum((flat / largest) ** 2, axis=-1, keepdims=True))
    scale = xp.minimum(most / largest / norm, 1.0)
    return [Gradients(dw * scale, db * scale) for dw, db in gradients]
