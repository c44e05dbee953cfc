"""The training step, and the one place that chooses between its implementations.

A step has the signature ``step(network, state, x, y, hyper) -> state, loss``. It reads the
parameters from the network's layers and updates them there, in place where the namespace allows
and by rebinding where it does not. It never looks at a value on the device.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from arraymlp.backend import Array, array_namespace
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer

State: TypeAlias = list[tuple[Any, Any]]  # beside each layer: the state of its weights and its bias
Step: TypeAlias = Callable[[MultilayerPerceptron, State, Array, Array, Hyper], tuple[State, Array]]


def initial_state(network: MultilayerPerceptron, optimizer: Optimizer) -> State:
    """The optimiser's state before the first step."""
    xp = network.backend.xp
    return [
        (optimizer.initial_state(a.weights, xp), optimizer.initial_state(a.bias, xp))
        for a in network.layers
    ]


def choose_step(network: MultilayerPerceptron, optimizer: Optimizer, reduction: str) -> Step:
    """The step to train with: today always the generic one, the mathematics in plain sight.

    Args:
        network: what will be trained: its backend, sizes and members decide.
        optimizer: the update rule.
        reduction: "mean" divides the gradient by the minibatch's size, "sum" does not.
    """

    def generic_step(
        network: MultilayerPerceptron, state: State, x: Array, y: Array, hyper: Hyper
    ) -> tuple[State, Array]:
        """One minibatch: forward, loss, backward, update. Returns the summed loss, (...,)."""
        xp = array_namespace(x)
        passes = network.forward(x, xp)
        value, delta = network.loss.value_and_delta(passes[-1].z, y, xp)
        if reduction == "mean":
            delta *= 1 / x.shape[-2]
        gradients = network.backward(passes, delta, xp)
        new_state = []
        for layer, (dw, db), (of_w, of_b) in zip(network.layers, gradients, state, strict=True):
            layer.weights, of_w = optimizer.update(layer.weights, dw, of_w, hyper)
            layer.bias, of_b = optimizer.update(layer.bias, db, of_b, hyper)
            new_state.append((of_w, of_b))
        return new_state, xp.sum(value, axis=-1)

    return generic_step
