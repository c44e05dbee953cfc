"""The training step, and the one place that chooses between its implementations.

A step has the signature ``step(network, state, batch, hyper) -> state, met``. It reads the
parameters from the network's layers and updates them there, in place where the namespace allows
and by rebinding where it does not. It never looks at a value on the device.

``hyper`` says what to do besides: an entry that is not there is a feature that is off.

    ================ ===============================================================================
    the optimiser's  see its ``hyper``
    dropout          for each layer a `Drop` for the mask of its inputs, or None
    label_smoothing  see `smoothed`
    gradient_clip    c: all gradients of a member are multiplied by min(1, c / norm), with norm the
                     Euclidean norm of all of them together (Pascanu, Mikolov, Bengio 2013)
    l2               lambda: the penalty lambda / 2 |W|^2 on the weights, never on biases, adds
                     lambda W to their gradient, after the clipping
    alpha            the same, but of the minibatch's *summed* loss: alpha W / (sum of the weights
                     of its samples) with the reduction "mean", as in scikit-learn
    shrink           1 - eta lambda: decoupled weight decay multiplies the weights, never biases,
                     by it before the update (Loshchilov, Hutter 2019)
    follow           1 - d: see `averaging`
    ================ ===============================================================================

Each is a number, or (K, 1, 1): one value for each member of a population.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from arraymlp.backend import Array
from arraymlp.batching import Minibatch
from arraymlp.dropout import masks_of
from arraymlp.layer import Gradients
from arraymlp.losses import smoothed
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer

SWITCHES = {"dropout", "label_smoothing", "gradient_clip", "l2", "alpha", "shrink", "follow"}


class Met(NamedTuple):
    """What a minibatch cost with the weights that it met, before the step changed them.

    Attributes:
        loss: summed over its samples, (...,).
        penalty: alpha / 2 |W|^2, (...,); 0 without alpha.
    """

    loss: Array
    penalty: Array | float = 0.0


State: TypeAlias = list[tuple[Any, Any]]  # beside each layer: the state of its weights and its bias
Step: TypeAlias = Callable[[MultilayerPerceptron, State, Minibatch, Hyper], tuple[State, Met]]
Backpropagation: TypeAlias = Callable[
    [MultilayerPerceptron, Minibatch, Hyper], tuple[Array, list[Gradients]]
]


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


def choose_step(network: MultilayerPerceptron, optimizer: Optimizer, reduction: str) -> Step:
    """The step to train with: today always the generic one, the mathematics in plain sight.

    Args:
        network: what will be trained: its backend, sizes and members decide.
        optimizer: the update rule.
        reduction: "mean" divides the gradient by the minibatch's size (by the sum of its weights,
            where samples have some), "sum" does not.
    """
    xp = network.backend.xp
    backpropagate = backpropagation(network, reduction)

    def generic_step(
        network: MultilayerPerceptron, state: State, batch: Minibatch, hyper: Hyper
    ) -> tuple[State, Met]:
        """One minibatch: forward, loss, backward, update."""
        loss, gradients = backpropagate(network, batch, hyper)
        met = Met(loss)
        if "gradient_clip" in hyper:
            gradients = _clipped(gradients, hyper["gradient_clip"], xp)
        if "alpha" in hyper:
            met = Met(loss, _penalty(network, hyper["alpha"], xp))
            pull = hyper["alpha"] / _divisor(batch, reduction)
        new_state = []
        for layer, (dw, db), (of_w, of_b) in zip(network.layers, gradients, state, strict=True):
            if "l2" in hyper:
                dw += hyper["l2"] * layer.weights
            if "alpha" in hyper:
                dw += pull * layer.weights
            if "shrink" in hyper:
                layer.weights *= hyper["shrink"]
            layer.weights, of_w = optimizer.update(layer.weights, dw, of_w, hyper, xp)
            layer.bias, of_b = optimizer.update(layer.bias, db, of_b, hyper, xp)
            new_state.append((of_w, of_b))
        return new_state, met

    return generic_step


def _penalty(network: MultilayerPerceptron, alpha: Any, xp: Any) -> Array:
    """The penalty alpha / 2 |W|^2 (...,), over the weights of all layers."""
    flat = [xp.reshape(a.weights, (*a.weights.shape[:-2], -1)) for a in network.layers]
    squares = sum(xp.vecdot(w, w) for w in flat)
    return squares * ((alpha if isinstance(alpha, float) else alpha[..., 0, 0]) / 2)


def _divisor(batch: Minibatch, reduction: str) -> Any:
    """What a minibatch's sums are divided by: a number, or (..., 1, 1)."""
    if reduction == "sum":
        return 1
    return batch.rows if batch.weight is None else batch.divisor[..., None, None]


def backpropagation(network: MultilayerPerceptron, reduction: str) -> Backpropagation:
    """The first half of a step: the summed loss (...,) of a minibatch, and the gradients."""
    xp, device = network.backend.xp, network.backend.device
    dtype = network.layers[0].weights.dtype
    mask = masks_of(dtype, xp, device)

    def backpropagate(
        network: MultilayerPerceptron, batch: Minibatch, hyper: Hyper
    ) -> tuple[Array, list[Gradients]]:
        x, y, weight = batch
        masks = None
        if "dropout" in hyper:
            masks = [
                None if drop is None else mask(drop, batch.rows, layer.n_in)
                for layer, drop in zip(network.layers, hyper["dropout"], strict=True)
            ]
        passes = network.forward(x, xp, masks)
        if "label_smoothing" in hyper:
            n = network.layers[-1].n_out
            y = smoothed(y, n, hyper["label_smoothing"], network.loss, xp, dtype)
        value, delta = network.loss.value_and_delta(passes[-1].z, y, xp)
        if weight is not None:
            value = value * weight
            delta *= weight[..., None]
        if reduction == "mean" and weight is None:
            delta *= 1 / batch.rows
        elif reduction == "mean":
            delta /= _divisor(batch, reduction)
        return xp.sum(value, axis=-1), network.backward(passes, delta, xp)

    return backpropagate


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


def averaging(step: Step, average: MultilayerPerceptron) -> Step:
    """The same step, after which ``average`` follows the weights: a <- d a + (1 - d) w.

    An exponential moving average of weights and biases (Polyak, Juditsky 1992, averaged all alike;
    with d near 1 as in Tarvainen, Valpola 2017). ``hyper["follow"]`` is 1 - d.
    """

    def averaging_step(
        network: MultilayerPerceptron, state: State, batch: Minibatch, hyper: Hyper
    ) -> tuple[State, Met]:
        state, met = step(network, state, batch, hyper)
        for a, w in zip(average.layers, network.layers, strict=True):
            a.weights += hyper["follow"] * (w.weights - a.weights)
            a.bias += hyper["follow"] * (w.bias - a.bias)
        return state, met

    return averaging_step
