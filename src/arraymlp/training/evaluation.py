"""How good a network is on given data: loss, error, metrics, added up on the device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import Array, Namespace, dtype_name, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of
from arraymlp.data.data import row_blocks
from arraymlp.data.inputs import Targets
from arraymlp.data.stream import Streamed
from arraymlp.nn.losses import one_hot
from arraymlp.nn.metrics import Metric, Predictions
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import undone
from arraymlp.steps.step import Evaluator


class Evaluation(NamedTuple):
    """Figures on the device, of the network's dtype; leading axes are members.

    Attributes:
        loss: mean loss of a sample (...,), weighted where samples or classes are.
        error: fraction of wrong decisions (...,), weighted where samples are; None for regression.
        predicted: how often each class was predicted (..., n_classes); None where a sample does
            not have one class.
        metrics: each metric's value (...,), by name.
    """

    loss: Array
    error: Array | None
    predicted: Array | None
    metrics: dict[str, Array]


def evaluate(
    network: Network,
    X: Array | Streamed,
    y: Targets,
    backend: Backend,
    metrics: Sequence[Metric] = (),
    window: int | None = None,
    evaluator: Evaluator | None = None,
) -> Evaluation:
    """Run all rows of X (N, n_in) through the network; those larger than memory by ``window`` rows.

    Metrics need all logits at once: (..., N, n_outputs) numbers besides. On NumPy, rows in
    memory are shared out among threads. ``evaluator`` is an engine's own way.
    """
    xp = backend.xp
    logits: list[Array] = []
    own_way = None if metrics else evaluator

    def figures(block: tuple[slice, Array]) -> list[Array]:
        rows, x = block
        target = y.values[rows, ...]
        if own_way is not None and (result := own_way(x, target)) is not None:
            value, wrong, chosen = result
            return [_sum(value, y.loss_weight, rows, xp), _sum(wrong, y.weight, rows, xp), chosen]
        s = network.forward(x, xp)[-1].z
        value, _ = network.loss.value_and_delta(s, target, xp)
        parts = [_sum(value, y.loss_weight, rows, xp)]
        if network.loss.classifies != "no":
            wrong, counts = _decisions(network, s, target, backend)
            parts += [_sum(wrong, y.weight, rows, xp), *counts]
        return [*parts, s] if metrics else parts

    blocks = row_blocks(X, network, window)
    sums: list[Array] = []
    in_memory = not isinstance(X, Streamed)  # else only a window of it is
    for parts in backend.in_threads(figures, blocks) if in_memory else map(figures, blocks):
        if metrics:
            logits.append(parts.pop())
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    values: dict[str, Array] = {}
    if metrics:
        weight = y.weight.mT if y.weight is not None and y.weight.ndim == 2 else y.weight
        true, given = undone(y.scaling, y.values), undone(y.scaling, xp.concat(logits, axis=-2))
        p = Predictions(true, given, weight, network.loss)
        values = {m.name: m.function(p, xp) for m in metrics}
    error = sums[1] / _total(y.weight, y, xp) if len(sums) > 1 else None
    predicted = sums[2] if len(sums) > 2 else None
    loss = in_units(y.unit)(sums[0] / _total(y.loss_weight, y, xp))
    return Evaluation(loss, error, predicted, values)


def in_units(unit: float | tuple[float, ...]) -> Callable[[Any], Any]:
    """A function that brings a loss (...,) of standardised targets to the units they came in.

    Args:
        unit: see `arraymlp.data.data.Data.loss_unit`.
    """
    if unit == 1:
        return lambda loss: loss

    def scaled(loss: Any) -> Any:
        if not isinstance(unit, tuple):
            return loss * unit
        factors = np.asarray(unit)
        if not is_device_array(loss):
            return loss * factors
        return loss * backend_of(loss).asarray(factors, dtype_name(loss))

    return scaled


def _sum(value: Array, weight: Array | None, rows: slice, xp: Namespace) -> Array:
    """Sum over samples (...,) of value (..., B), weighted by weight (N,) or (N, K)."""
    if weight is not None:
        w = weight[rows, ...]
        value = value * (w.mT if w.ndim == 2 else w)
    return xp.sum(value, axis=-1)


def _total(weight: Array | None, y: Targets, xp: Namespace) -> Any:
    """The sum of the weights of all samples: N, or on the device () or (K,)."""
    return y.values.shape[0] if weight is None else xp.sum(weight, axis=0)


def _decisions(network: Network, s: Array, y: Array, backend: Backend) -> tuple[Array, list[Array]]:
    """Each sample's wrong decisions (..., B), and [how often each class was predicted]."""
    xp = backend.xp
    chosen = network.choices(s, xp)
    if network.loss.classifies == "each":  # of several decisions the fraction that is wrong
        wrong = xp.mean(xp.astype((s > 0) != (y > 0.5), s.dtype), axis=-1)
        if network.classes is None:
            return wrong, []
        return wrong, [xp.sum(one_hot(chosen, 2, s.dtype, xp), axis=-2)]
    true = y if xp.isdtype(y.dtype, "integral") else xp.argmax(y, axis=-1)
    wrong = xp.astype(chosen != xp.astype(true, chosen.dtype), s.dtype)
    return wrong, [xp.sum(one_hot(chosen, s.shape[-1], s.dtype, xp), axis=-2)]


def only_class(counts: Sequence[float]) -> int | None:
    """Of counts of predicted classes, the position of the only one; None where there are more."""
    top = max(range(len(counts)), key=counts.__getitem__)
    return top if counts[top] == sum(counts) else None
