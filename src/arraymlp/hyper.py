"""What each step of an epoch is told: rates and constants, worked out on the host beforehand.

All of it is known before the epoch starts. So it is computed there, in double precision, uploaded
once, and read on the device step by step; no step waits for the host.
"""

from typing import Any

import numpy as np

from arraymlp._checks import each, values
from arraymlp.backend import HostArray
from arraymlp.dropout import Drop
from arraymlp.epoch import EpochTable
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import optimizer
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
) -> EpochTable:
    """What each step of an epoch is told; iterated, one ``hyper`` a step for `arraymlp.step`.

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
    drops = _drops(settings, len(network.layers), epoch, position, position + len(rate))
    return EpochTable(len(rate), {**told, **table}, drops, network.backend, network.dtype)


def _drops(
    settings: Settings, layers: int, epoch: int, start: int, stop: int
) -> list[Drop | None] | None:
    """For each layer what masks its inputs in these steps, on the host; None for no masks."""
    probabilities = [settings.dropout.input] + [settings.dropout.hidden] * (layers - 1)
    drops: list[Drop | None] = []
    for layer, probability in enumerate(probabilities):
        p = np.asarray(each(probability))
        if not p.any():
            drops.append(None)
            continue
        # The largest int32 stands for a probability that rounds to 1.
        threshold = np.minimum(np.round(p * 2.0**32) - 2.0**31, 2.0**31 - 1).astype(np.int64)
        seeds = values("seed", 0 if settings.seed is None else settings.seed)
        keys = np.stack([_keys(s, layer, epoch, stop)[start:] for s in seeds], axis=-1)
        drops.append(Drop(keys, threshold, 1 / (1 - p)))
    return drops if any(drop is not None for drop in drops) else None


def _keys(seed: int, layer: int, epoch: int, steps: int) -> HostArray:
    """A random int32 for each step of an epoch, from a stream of this seed, layer and epoch."""
    stream = np.random.SeedSequence(seed, spawn_key=(_DROPOUT, layer, epoch))
    return np.random.default_rng(stream).integers(-(2**31), 2**31, steps, dtype=np.int32)
