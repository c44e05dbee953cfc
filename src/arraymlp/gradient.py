"""The first half of a step: what a minibatch costs, and the gradients, by backpropagation."""

from collections.abc import Callable
from typing import Any, TypeAlias

from arraymlp.backend import Array
from arraymlp.batching import Minibatch
from arraymlp.dropout import masks_of
from arraymlp.layer import Gradients
from arraymlp.losses import smoothed
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper

Masks: TypeAlias = Callable[[MultilayerPerceptron, int, Hyper], list[Array | None] | None]
Backpropagation: TypeAlias = Callable[
    [MultilayerPerceptron, Minibatch, Hyper], tuple[Array, list[Gradients]]
]


def backpropagation(
    network: MultilayerPerceptron, reduction: str, xp: Any = None
) -> Backpropagation:
    """A function that gives the summed loss (...,) of a minibatch, and each layer's gradients.

    Args:
        network: of what kind.
        reduction: "mean" or "sum".
        xp: the namespace to compute with, where it is not the network's own.
    """
    xp = xp or network.backend.xp
    masks = masks_for(network)

    def backpropagate(
        network: MultilayerPerceptron, batch: Minibatch, hyper: Hyper
    ) -> tuple[Array, list[Gradients]]:
        passes = network.forward(batch.x, xp, masks(network, batch.rows, hyper))
        loss, delta = loss_and_delta(network, passes[-1].z, batch, hyper, reduction, xp)
        return loss, network.backward(passes, delta, xp)

    return backpropagate


def masks_for(network: MultilayerPerceptron) -> Masks:
    """A function that gives for each layer the mask of its inputs, or None, in a step."""
    dtype = network.layers[0].weights.dtype
    mask = masks_of(dtype, network.backend.xp, network.backend.device)

    def masks(network: MultilayerPerceptron, rows: int, hyper: Hyper) -> list[Array | None] | None:
        if "dropout" not in hyper:
            return None
        return [
            None if drop is None else mask(drop, rows, layer.n_in)
            for layer, drop in zip(network.layers, hyper["dropout"], strict=True)
        ]

    return masks


def loss_and_delta(
    network: MultilayerPerceptron,
    s: Array,
    batch: Minibatch,
    hyper: Hyper,
    reduction: str,
    xp: Any,
) -> tuple[Array, Array]:
    """The summed loss (...,) of logits s (..., B, n), and its derivative dL/ds, of their shape.

    With the reduction "mean" the derivative, and not the loss, is divided by the minibatch's size.
    """
    y, weight = batch.y, batch.weight
    if "label_smoothing" in hyper:
        n = network.layers[-1].n_out
        y = smoothed(y, n, hyper["label_smoothing"], network.loss, xp, s.dtype)
    value, delta = network.loss.value_and_delta(s, y, xp)
    if weight is not None:
        value = value * weight
        delta *= weight[..., None]
    if reduction == "mean" and weight is None:
        delta *= 1 / batch.rows
    elif reduction == "mean":
        delta /= divisor(batch, reduction)
    return xp.sum(value, axis=-1), delta


def divisor(batch: Minibatch, reduction: str) -> Any:
    """What a minibatch's sums are divided by: a number, or (..., 1, 1)."""
    if reduction == "sum":
        return 1
    return batch.rows if batch.weight is None else batch.divisor[..., None, None]
