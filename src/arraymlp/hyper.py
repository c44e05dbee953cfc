"""What each step of an epoch is told: rates and constants, worked out on the host beforehand.

All of it is known before the epoch starts. So it is computed there, in double precision, uploaded
once, and read on the device step by step; no step waits for the host.
"""

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from arraymlp._checks import each, values
from arraymlp.backend import HostArray
from arraymlp.dropout import Drop
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, optimizer
from arraymlp.schedules import Schedule
from arraymlp.settings import Settings
from arraymlp.step import SWITCHES

_DROPOUT = 3  # its stream: initial values have 0, minibatch orders 1, splits 2


def rates(settings: Settings, schedule: Schedule, first: int, steps: int, total: int) -> HostArray:
    """The learning rate of ``steps`` steps from number ``first`` of ``total``: (S, 1) or (S, K)."""
    factors = np.asarray(schedule.factors(first + np.arange(steps)[:, None], total))
    if factors.ndim != 2 or factors.shape[0] != steps or not np.isfinite(factors).all():
        raise ValueError(
            f"{schedule!r} must give finite factors of shape ({steps}, 1), or ({steps}, K) for K "
            f"members, not {factors.shape}: {factors.ravel()[:3].tolist()}, ..."
        )
    return np.asarray(each(settings.rate) * factors)


def epoch_hyper(
    settings: Settings,
    network: MultilayerPerceptron,
    rate: HostArray,
    seen: Any,
    epoch: int,
    position: int = 0,
) -> Iterator[Hyper]:
    """One ``hyper`` for each step of an epoch, as `arraymlp.step` has it.

    Args:
        settings: of the run.
        network: that will be trained.
        rate: learning rate of each step, (S, 1) or (S, K).
        seen: how many steps the optimiser's state has seen, one number or (K,).
        epoch: number of the epoch.
        position: steps of the epoch that are done already.
    """
    t = np.asarray(seen) + np.arange(1, len(rate) + 1)[:, None]
    table: dict[str, Any] = {}
    if np.any(l2 := each(settings.l2)):
        table["l2"] = l2
    if np.any(alpha := each(settings.alpha)):
        table["alpha"] = alpha
    if np.any(decay := each(settings.decay)):
        table["shrink"] = 1 - rate * decay
    if np.any(np.isfinite(clip := each(settings.gradient_clip))):
        kind = np.finfo(network.dtype)
        table["gradient_clip"] = np.clip(clip, kind.smallest_normal, kind.max)
    if np.any(smoothing := each(settings.label_smoothing)):
        table["label_smoothing"] = smoothing
    if np.any(average := each(settings.weight_average)):
        table["follow"] = 1 - np.minimum(average, (t - 1) / (t + 8))
    rule = optimizer(settings.optimizer)
    told = rule.hyper(rate, t)
    if taken := SWITCHES & told.keys():
        raise ValueError(f"{rule!r} must not call a constant {taken.pop()}: that is the step's own")
    steps = _by_step({**told, **table}, len(rate), network)
    if not (np.any(each(settings.dropout.input)) or np.any(each(settings.dropout.hidden))):
        return steps
    drops = _drops(settings, network, epoch, position, position + len(rate))
    return ({**hyper, "dropout": drop} for hyper, drop in zip(steps, drops, strict=False))


def _by_step(
    table: Mapping[str, Any], steps: int, network: MultilayerPerceptron
) -> Iterator[Hyper]:
    """A table of numbers, (K,), (S, 1) and (S, K), as what each step sees of it."""
    fixed: dict[str, Any] = {}
    moving: dict[str, Iterator[Any]] = {}
    for name, value in table.items():
        v = np.asarray(value)
        if v.ndim == 2 and (v == v[:1]).all():
            v = v[0]
        if v.size == 1:
            fixed[name] = v.item()
        elif v.ndim == 1:
            fixed[name] = _on_device(v, network)
        elif v.shape[1] == 1:
            moving[name] = iter(v[:, 0].tolist())
        else:
            moving[name] = _rows(_on_device(v, network))
    if not moving:
        return repeat(fixed, steps)
    return (fixed | {name: next(v) for name, v in moving.items()} for _ in range(steps))


def _on_device(v: HostArray, network: MultilayerPerceptron, dtype: str | None = None) -> Any:
    """(..., K) on the host as (..., K, 1, 1) on the device."""
    return network.backend.asarray(v[..., None, None], dtype or network.dtype)


def _rows(array: Any) -> Iterator[Any]:
    return (array[i, ...] for i in range(array.shape[0]))


def _drops(
    settings: Settings, network: MultilayerPerceptron, epoch: int, start: int, stop: int
) -> Iterator[tuple[Drop | None, ...]]:
    """For each step, what masks each layer's input."""
    probabilities = [settings.dropout.input] + [settings.dropout.hidden] * (len(network.layers) - 1)
    columns: list[Iterator[Drop | None]] = []
    for layer, probability in enumerate(probabilities):
        p = np.asarray(each(probability))
        if not p.any():
            columns.append(repeat(None))
            continue
        # The largest int32 stands for a probability that rounds to 1.
        threshold = np.minimum(np.round(p * 2.0**32) - 2.0**31, 2.0**31 - 1).astype(np.int64)
        scale = 1 / (1 - p)
        seeds = values("seed", 0 if settings.seed is None else settings.seed)
        keys = np.stack([_keys(s, layer, epoch, stop)[start:] for s in seeds], axis=-1)
        columns.append(
            map(
                Drop,
                _rows(_on_device(keys, network, "int32"))
                if len(seeds) > 1
                else keys[:, 0].tolist(),
                repeat(_on_device(threshold, network, "int32") if p.ndim else threshold.item()),
                repeat(_on_device(scale, network) if p.ndim else scale.item()),
            )
        )
    return zip(*columns, strict=False)


def _keys(seed: int, layer: int, epoch: int, steps: int) -> HostArray:
    """A random int32 for each step of an epoch, from a stream of this seed, layer and epoch."""
    stream = np.random.SeedSequence(seed, spawn_key=(_DROPOUT, layer, epoch))
    return np.random.default_rng(stream).integers(-(2**31), 2**31, steps, dtype=np.int32)
