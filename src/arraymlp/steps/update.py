"""The second half of a step: from gradients to new weights.

The gradients are clipped, penalties are added, weights decay, and the optimiser does the rest.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.layer import Gradients
from arraymlp.nn.network import Network
from arraymlp.steps.gradient import divisor
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Constant, Constants, Optimizer, State

# For each layer, the optimiser's states of its weights and of its bias.
States: TypeAlias = list[tuple[State, State]]
Update: TypeAlias = Callable[[Array, Array, State, Constants, Namespace], tuple[Array, State]]
Tree = TypeVar("Tree")


def initial_states(network: Network, optimizer: Optimizer) -> States:
    """The optimiser's states before the first step."""
    xp = network.backend.xp
    return [
        (optimizer.initial_state(a.weights, xp), optimizer.initial_state(a.bias, xp))
        for a in network.layers
    ]


def tree_map(change: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply a function to every array in nested lists and tuples, and return the same nest.

    Args:
        change: gets the arrays that stand at one position of all the trees.
        tree: lists, tuples and NamedTuples, nested, of arrays and None, which stays.
        others: trees of the same structure.
    """
    if isinstance(tree, list | tuple):
        branches = [tree_map(change, *branch) for branch in zip(tree, *others, strict=True)]
        make: Callable[..., Tree] = type(tree)
        return make(*branches) if hasattr(make, "_fields") else make(branches)
    changed: Tree = tree if tree is None else change(tree, *others)
    return changed


def arrays_of(state: State) -> tuple[Array, ...]:
    """The arrays of one parameter's state: none, one or more."""
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
    """Update the network's parameters, in place where arrays allow, and return the new states.

    Args:
        network: the network that is trained.
        states: the optimiser's, for each layer.
        gradients: of each layer; they may be overwritten.
        batch: the minibatch whose gradients they are.
        hyper: the step's rates and constants.
        update: the optimiser's update of one parameter.
        reduction: "mean" or "sum".
        xp: the arrays' namespace.
    """
    if hyper.gradient_clip is not None:
        gradients = _clipped(gradients, hyper.gradient_clip, xp)
    factor = penalty_factor(batch, hyper, reduction)
    constants = hyper.optimizer
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

    It is lambda of ``l2`` plus alpha over the divisor of the minibatch's gradients.
    """
    if hyper.alpha is None:
        return hyper.l2
    alpha = hyper.alpha / divisor(batch, reduction)
    return alpha if hyper.l2 is None else hyper.l2 + alpha


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
