"""The second half of a step: from gradients to new weights.

The gradients are clipped, penalties added, weights decayed, and the rest is the optimiser's.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.layer import Gradients
from arraymlp.nn.network import Network
from arraymlp.steps.gradient import divisor
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Constant, Constants, Optimizer, State

# Beside each layer, the optimiser's state of its weights and of its bias.
States: TypeAlias = list[tuple[State, State]]
Update: TypeAlias = Callable[[Array, Array, Any, Any, Namespace], tuple[Array, Any]]


def initial_states(network: Network, optimizer: Optimizer) -> States:
    """The optimiser's state before the first step."""
    xp = network.backend.xp
    return [
        (optimizer.initial_state(a.weights, xp), optimizer.initial_state(a.bias, xp))
        for a in network.layers
    ]


def tree_map(change: Callable[..., Any], *trees: Any) -> Any:
    """A nest of lists and tuples of arrays with every array changed alike; several in step."""
    first = trees[0]
    if isinstance(first, list | tuple):
        parts = [tree_map(change, *part) for part in zip(*trees, strict=True)]
        kind = type(first)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return None if first is None else change(*trees)


def arrays_of(state: State) -> tuple[Array, ...]:
    """The arrays of one parameter's state: none, one, or several."""
    if state is None:
        return ()
    return state if isinstance(state, tuple) else (state,)


def updated(
    network: Network,
    states: States,
    gradients: list[Gradients],
    batch: Minibatch,
    hyper: Hyper,
    update: Update,
    reduction: str,
    xp: Namespace,
) -> States:
    """Change the network's parameters, in place where arrays allow, and return the new states.

    Args:
        network: whose.
        states: the optimiser's.
        gradients: of each layer; they may be overwritten.
        batch: what they are of.
        hyper: what the step is told.
        update: the optimiser's own, of one parameter.
        reduction: "mean" or "sum".
        xp: the arrays' namespace.
    """
    if hyper.gradient_clip is not None:
        gradients = _clipped(gradients, hyper.gradient_clip, xp)
    factor = penalty_factor(batch, hyper, reduction)
    constants: Constants = hyper.optimizer
    new_states = []
    for layer, (dw, db), (w_state, b_state) in zip(network.layers, gradients, states, strict=True):
        if factor is not None:
            dw += factor * layer.weights
        if hyper.decay_factor is not None:
            layer.weights *= hyper.decay_factor
        layer.weights, w_state = update(layer.weights, dw, w_state, constants, xp)
        layer.bias, b_state = update(layer.bias, db, b_state, constants, xp)
        new_states.append((w_state, b_state))
    return new_states


def penalty_factor(batch: Minibatch, hyper: Hyper, reduction: str) -> Constant | None:
    """The factor of W in the gradient of the L2 penalties, a number or (..., 1, 1); None for none.

    That of ``l2`` is lambda, that of ``alpha`` is alpha over the divisor of the minibatch's loss.
    """
    factor = hyper.l2
    if hyper.alpha is not None:
        of_alpha = hyper.alpha / divisor(batch, reduction)
        factor = of_alpha if factor is None else factor + of_alpha
    return factor


def penalty(network: Network, hyper: Hyper, xp: Namespace) -> Array | float:
    """The penalty alpha / 2 |W|^2 (...,), over the weights of all layers; 0 without alpha."""
    alpha = hyper.alpha
    if alpha is None:
        return 0.0
    flat = [xp.reshape(a.weights, (*a.weights.shape[:-2], -1)) for a in network.layers]
    squares = sum((xp.vecdot(w, w) for w in flat[1:]), start=xp.vecdot(flat[0], flat[0]))
    return squares * ((alpha if isinstance(alpha, float) else alpha[..., 0, 0]) / 2)


def _clipped(gradients: list[Gradients], most: Constant, xp: Namespace) -> list[Gradients]:
    """The gradients, each member's scaled down together where their norm is above ``most``."""
    parts = [xp.reshape(a, (*a.shape[:-2], 1, -1)) for both in gradients for a in both]
    flat = xp.concat(parts, axis=-1)  # (..., 1, n_parameters)
    tiny = float(xp.finfo(flat.dtype).smallest_normal)
    largest = xp.maximum(xp.max(xp.abs(flat), axis=-1, keepdims=True), tiny)
    # The norm over the largest entry: the square of a huge one would overflow.
    norm = xp.sqrt(xp.sum((flat / largest) ** 2, axis=-1, keepdims=True))
    scale = xp.minimum(most / largest / norm, 1.0)
    return [Gradients(dw * scale, db * scale) for dw, db in gradients]
