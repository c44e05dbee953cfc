"""The training step, and the one place that chooses between its implementations.

A step has the signature ``step(network, state, batch, hyper) -> state, loss``. It reads the
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
    shrink           1 - eta lambda: decoupled weight decay multiplies the weights, never biases,
                     by it before the update (Loshchilov, Hutter 2019)
    follow           1 - d: see `averaging`
    ================ ===============================================================================

Each is a number, or (K, 1, 1): one value for each member of a population.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from arraymlp.backend import Array
from arraymlp.batching import Minibatch
from arraymlp.dropout import masks_of
from arraymlp.layer import Gradients
from arraymlp.losses import smoothed
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer

SWITCHES = {"dropout", "label_smoothing", "gradient_clip", "l2", "shrink", "follow"}

State: TypeAlias = list[tuple[Any, Any]]  # beside each layer: the state of its weights and its bias
Step: TypeAlias = Callable[[MultilayerPerceptron, State, Minibatch, Hyper], tuple[State, Array]]
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
    ) -> tuple[State, Array]:
        """One minibatch: forward, loss, backward, update. Returns the summed loss, (...,)."""
        loss, gradients = backpropagate(network, batch, hyper)
        if "gradient_clip" in hyper:
            gradients = _clipped(gradients, hyper["gradient_clip"], xp)
        new_state = []
        for layer, (dw, db), (of_w, of_b) in zip(network.layers, gradients, state, strict=True):
            if "l2" in hyper:
                dw += hyper["l2"] * layer.weights
            if "shrink" in hyper:
                layer.weights *= hyper["shrink"]
            layer.weights, of_w = optimizer.update(layer.weights, dw, of_w, hyper, xp)
            layer.bias, of_b = optimizer.update(layer.bias, db, of_b, hyper, xp)
            new_state.append((of_w, of_b))
        return new_state, loss

    return generic_step


def backpropagation(network: MultilayerPerceptron, reduction: str) -> Backpropagation:
    """The first half of a step: the summed loss (...,) of a minibatch, and the gradients."""
    xp, device = network.backend.xp, network.backend.device
    dtype = network.layers[0].weights.dtype
    mask = masks_of(dtype, xp, device)

    def backpropagate(
        network: MultilayerPerceptron, batch: Minibatch, hyper: Hyper
    ) -> tuple[Array, list[Gradients]]:
        x, y, weight = batch
        rows, masks = x.shape[-2], None
        if "dropout" in hyper:
            masks = [
                None if drop is None else mask(drop, rows, layer.n_in)
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
            delta *= 1 / rows
        elif reduction == "mean":
            total = xp.maximum(xp.sum(weight, axis=-1), float(xp.finfo(dtype).smallest_normal))
            delta /= total[..., None, None]
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
    ) -> tuple[State, Array]:
        state, loss = step(network, state, batch, hyper)
        for a, w in zip(average.layers, network.layers, strict=True):
            a.weights += hyper["follow"] * (w.weights - a.weights)
            a.bias += hyper["follow"] * (w.bias - a.bias)
        return state, loss

    return averaging_step
