"""The first half of a step: a minibatch's loss and gradients, by backpropagation."""

from collections.abc import Callable
from typing import TypeAlias

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.dropout import mask_maker
from arraymlp.nn.layer import Gradients
from arraymlp.nn.losses import smoothed
from arraymlp.nn.network import Network
from arraymlp.steps.hyper import Hyper

Masks: TypeAlias = Callable[[Network, int, Hyper], list[Array | None] | None]
Backpropagation: TypeAlias = Callable[[Network, Minibatch, Hyper], tuple[Array, list[Gradients]]]


def backpropagation(
    network: Network, reduction: str, xp: Namespace | None = None
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
        network: Network, batch: Minibatch, hyper: Hyper
    ) -> tuple[Array, list[Gradients]]:
        caches = network.forward(batch.x, xp, masks(network, batch.rows, hyper))
        loss, delta = loss_and_delta(network, caches[-1].z, batch, hyper, reduction, xp)
        return loss, network.backward(caches, delta, xp)

    return backpropagate


def masks_for(network: Network) -> Masks:
    """A function that gives for each layer the mask of its inputs, or None, in a step."""
    dtype = network.layers[0].weights.dtype
    mask = mask_maker(dtype, network.backend.xp, network.backend.device)

    def masks(network: Network, rows: int, hyper: Hyper) -> list[Array | None] | None:
        if hyper.dropout is None:
            return None
        return [
            None if key is None else mask(key, rows, layer.n_in)
            for layer, key in zip(network.layers, hyper.dropout, strict=True)
        ]

    return masks


def loss_and_delta(
    network: Network, s: Array, batch: Minibatch, hyper: Hyper, reduction: str, xp: Namespace
) -> tuple[Array, Array]:
    """The summed loss (...,) of logits s (..., B, n), and its derivative dL/ds, of their shape.

    With the reduction "mean" the derivative, and not the loss, is divided by the minibatch's size.
    """
    y, weight = batch.y, batch.weight
    if hyper.label_smoothing is not None:
        n = network.layers[-1].n_out
        y = smoothed(y, n, hyper.label_smoothing, network.loss, xp, s.dtype)
    value, delta = network.loss.value_and_delta(s, y, xp)
    if weight is not None:
        value = value * weight
        delta *= weight[..., None]
    if reduction == "mean" and weight is None:
        delta *= 1 / batch.rows
    elif reduction == "mean":
        delta /= divisor(batch, reduction)
    return xp.sum(value, axis=-1), delta


def divisor(batch: Minibatch, reduction: str) -> Array | float:
    """What a minibatch's sums are divided by: a number, or (..., 1, 1)."""
    if reduction == "sum":
        return 1
    total: Array | float = batch.rows if batch.weight is None else batch.divisor[..., None, None]
    return total
