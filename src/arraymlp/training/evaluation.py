"""How good a network is on given data: loss, error, metrics, added up on the device."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, row_blocks
from arraymlp.data.stream import Streamed
from arraymlp.data.targets import Targets
from arraymlp.nn.losses import one_hot
from arraymlp.nn.metrics import Metric, Predictions
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling, undone
from arraymlp.steps.step import Evaluator, Forward
from arraymlp.training.ranks.ranks import Ranks


class Evaluation(NamedTuple):
    """Figures on the device, of the network's dtype; leading axes are members.

    Attributes:
        loss: mean loss of a sample (...,), weighted where samples or classes are; of standardised
            targets, where they are. `arraymlp.training.evaluation.units` brings it to their own.
        error: fraction of wrong decisions (...,), weighted where samples are; None for regression.
        predicted: how often each class was predicted (..., n_classes); None where a sample does
            not have one class.
        metrics: each metric's value (...,), by name, likewise.
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
    forward: Forward | None = None,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Run all rows of X (N, n_in) through the network; those larger than memory by ``window`` rows.

    Metrics need all logits at once: (..., N, n_outputs) numbers besides. On NumPy, rows in
    memory are shared out among threads, and the blocks of rows among the ``ranks``: their sums are
    added up in the order of the rows, whoever has computed them. ``evaluator`` is an engine's own
    way, ``forward`` its way to the logits.
    """
    ranks = ranks or Ranks()
    xp = backend.xp
    logits: list[Array] = []
    own_way = None if metrics else evaluator

    def figures(block: tuple[slice, Array]) -> list[Array]:
        rows, x = block
        target = y.values[rows, ...]
        if own_way is not None and (result := own_way(x, target)) is not None:
            value, wrong, chosen = result
            return [_sum(value, y.loss_weight, rows, xp), _sum(wrong, y.weight, rows, xp), chosen]
        s = network.forward(x, xp)[-1].z if forward is None else forward(x)
        value, _ = network.loss.value_and_delta(s, target, xp)
        parts = [_sum(value, y.loss_weight, rows, xp)]
        if network.loss.classifies != "no":
            wrong, counts = _decisions(network, s, target, backend)
            parts += [_sum(wrong, y.weight, rows, xp), *counts]
        return [*parts, s] if metrics else parts

    blocks = row_blocks(X, network, window, ranks.own)
    sums: list[Array] = []
    in_memory = not isinstance(X, Streamed)  # else only a window of it is
    every = backend.in_threads(figures, blocks) if in_memory else map(figures, blocks)
    for parts in _of_all_ranks(every, ranks, backend):
        if metrics:
            logits.append(parts.pop())
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    values: dict[str, Array] = {}
    if metrics:
        values = _metrics(network, y, xp.concat(logits, axis=-2), metrics, backend)
    error = sums[1] / _total(y.weight, y, xp) if len(sums) > 1 else None
    predicted = sums[2] if len(sums) > 2 else None
    return Evaluation(sums[0] / _total(y.loss_weight, y, xp), error, predicted, values)


def _of_all_ranks(
    parts: Iterable[list[Array]], ranks: Ranks, backend: Backend
) -> Iterable[list[Array]]:
    """The figures of all blocks of rows, of which each rank has some in a row."""
    if ranks.size == 1:
        return parts
    own = [[backend.to_numpy(a) for a in of_block] for of_block in parts]
    every = ranks.gather(own)
    return [[backend.asarray(a) for a in of_block] for of_rank in every for of_block in of_rank]


def _metrics(
    network: Network, y: Targets, s: Array, metrics: Sequence[Metric], backend: Backend
) -> dict[str, Array]:
    """Each metric of logits s (..., N, n_outputs), of standardised numbers where that will do."""
    weight = y.weight.mT if y.weight is not None and y.weight.ndim == 2 else y.weight

    def predictions(scaling: Scaling | None, dtype: str) -> Predictions:
        if scaling is None:
            return Predictions(y.values, s, weight, network.loss)
        true, given = (undone(scaling, backend.asarray(a, dtype)) for a in (y.values, s))
        w = None if weight is None else backend.asarray(weight, dtype)
        return Predictions(true, given, w, network.loss)

    standardised = [m for m in metrics if m.degree is not None and network.loss.output_scales]
    as_they_are = predictions(y.scaling and y.scaling.proportions, network.dtype)
    in_units = as_they_are
    if len(standardised) < len(metrics):  # what is far from 0 would lose digits in float32
        in_units = predictions(y.scaling, backend.widest)
    return {
        m.name: m.function(as_they_are if m in standardised else in_units, backend.xp)
        for m in metrics
    }


def units(data: Data, metrics: Sequence[Metric]) -> dict[str, Any]:
    """What brings figures of standardised targets to the targets' own units, by figure: factors.

    They are applied on the host in float64: squares of tiny or huge targets are not for float32.
    A factor is a number, or (K,) where members have their own; figures without one need none.
    """
    _, scaling = data.scalings
    if scaling is None:
        return {}
    unit = np.asarray(data.loss_unit)
    return {"loss": unit, "penalty": unit} | {
        metric.name: scaling.common**metric.degree
        for metric in metrics
        if metric.degree and data.y.loss.output_scales
    }


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
