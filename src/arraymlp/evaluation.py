"""How good a network is on given data: loss, error, predictions, added up on the device."""

from collections.abc import Sequence
from typing import NamedTuple

from arraymlp.backend import Array, Backend
from arraymlp.batching import ROWS_AT_ONCE, blocks
from arraymlp.losses import one_hot
from arraymlp.network import MultilayerPerceptron


class Evaluation(NamedTuple):
    """Figures on the device, of the network's dtype; leading axes are members.

    Attributes:
        loss: mean loss of a sample (...,).
        error: fraction of wrong decisions (...,); None for regression.
        predicted: how often each class was predicted (..., n_classes); None where a sample does
            not have one class.
    """

    loss: Array
    error: Array | None
    predicted: Array | None


def evaluate(network: MultilayerPerceptron, X: Array, y: Array, backend: Backend) -> Evaluation:
    """Run all rows of X (N, n_in) through the network; y as `Targets.values` has it."""
    xp = backend.xp
    n = X.shape[0]
    sums: list[Array] = []
    for rows in blocks(n, ROWS_AT_ONCE):
        s = network.forward(X[rows, :], xp)[-1].z
        target = y[rows, ...]
        value, _ = network.loss.value_and_delta(s, target, xp)
        parts = [xp.sum(value, axis=-1)]
        if network.loss.classifies != "no":
            parts += _count(network, s, target, backend)
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    error = sums[1] / n if len(sums) > 1 else None
    return Evaluation(sums[0] / n, error, sums[2] if len(sums) > 2 else None)


def _count(network: MultilayerPerceptron, s: Array, y: Array, backend: Backend) -> list[Array]:
    """Wrong decisions (a fraction where a sample has several), and how often each class."""
    xp = backend.xp
    chosen = network.choices(s, xp)
    if network.loss.classifies == "each":
        wrong = xp.astype((s > 0) != (y > 0.5), s.dtype)
        total = xp.sum(xp.mean(wrong, axis=-1), axis=-1)
        if network.classes is None:
            return [total]
        return [total, xp.sum(one_hot(chosen, 2, s.dtype, xp), axis=-2)]
    true = y if xp.isdtype(y.dtype, "integral") else xp.argmax(y, axis=-1)
    wrong = xp.sum(xp.astype(chosen != xp.astype(true, chosen.dtype), s.dtype), axis=-1)
    return [wrong, xp.sum(one_hot(chosen, s.shape[-1], s.dtype, xp), axis=-2)]


def only_class(counts: Sequence[float]) -> int | None:
    """Of counts of predicted classes, the position of the only one; None where there are more."""
    top = max(range(len(counts)), key=counts.__getitem__)
    return top if counts[top] == sum(counts) else None
