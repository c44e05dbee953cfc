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

Masks: TypeAlias = Callable[[Network, Minibatch, Hyper], list[Array | None] | None]
Backpropagation: TypeAlias = Callable[[Network, Minibatch, Hyper], tuple[Array, list[Gradients]]]


def backpropagation(
    network: Network, reduction: str, xp: Namespace | None = None
) -> Backpropagation:
    """Return a function that computes a minibatch's summed loss (...,) and each layer's gradients.

    Args:
        network: one of the dtype and on the backend of those that the function will be given.
        reduction: "mean" or "sum".
        xp: the namespace to compute with; None for the network's own.
    """
    xp = xp or network.backend.xp
    masks = masks_for(network)

    def backpropagate(
        network: Network, batch: Minibatch, hyper: Hyper
    ) -> tuple[Array, list[Gradients]]:
        caches = network.forward(batch.x, xp, masks(network, batch, hyper))
        loss, delta = loss_and_delta(network, caches[-1].z, batch, hyper, reduction, xp)
        return loss, network.backward(caches, delta, xp)

    return backpropagate


def masks_for(network: Network) -> Masks:
    """Return a function that computes each layer's dropout mask for one step; None for no masks."""
    dtype = network.layers[0].weights.dtype
    mask = mask_maker(dtype, network.backend.xp, network.backend.device)

    def masks(network: Network, batch: Minibatch, hyper: Hyper) -> list[Array | None] | None:
        if hyper.dropout is None:
            return None
        return [
            None if key is None else mask(key, batch.rows, layer.n_in, batch.first)
            for layer, key in zip(network.layers, hyper.dropout, strict=True)
        ]

    return masks


def loss_and_delta(
    network: Network, s: Array, batch: Minibatch, hyper: Hyper, reduction: str, xp: Namespace
) -> tuple[Array, Array]:
    """Return the summed loss (...,) of logits s (..., B, n), and its derivative dL/ds (..., B, n).

    With the reduction "mean" the derivative, and not the loss, is divided by the
    number of rows, or by the sum of their weights; of a shard by that of its minibatch.
    """
    y, weight, whole = batch.y, batch.weight, batch.whole or batch
    if hyper.label_smoothing is not None:
        n = network.layers[-1].n_out
        y = smoothed(y, n, hyper.label_smoothing, network.loss, xp, s.dtype)
    value, delta = network.loss.value_and_delta(s, y, xp)
    if weight is not None:
        value = value * weight
        delta *= weight[..., None]
    if reduction == "mean" and weight is None:
        delta *= 1 / whole.rows
    elif reduction == "mean":
        delta /= divisor(whole, reduction)
    return xp.sum(value, axis=-1), delta


def divisor(batch: Minibatch, reduction: str) -> Array | float:
    """The number by which a minibatch's gradients are divided, or (..., 1, 1) of them."""
    if reduction == "sum":
        return 1
    if batch.weight is None:
        return batch.rows
    total: Array = batch.divisor[..., None, None]
    return total
