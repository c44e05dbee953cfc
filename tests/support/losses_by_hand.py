"""Logits and targets for every loss, and the losses by their textbook formulas."""

from math import exp, log

import numpy as np
import pytest

from arraymlp.nn.losses import LOSSES

B, N = 5, 3
RNG = np.random.default_rng(30)
LOGITS = RNG.normal(0, 4, (B, N))
LABELS = np.asarray([0, 2, 1, 1, 0])
# Three columns of targets for each loss.
COLUMNS = {
    "softmax_cross_entropy": np.eye(N)[LABELS],
    "binary_cross_entropy": RNG.integers(0, 2, (B, N)).astype(float),
    "squared_error": RNG.normal(0, 4, (B, N)),
    "absolute_error": RNG.normal(0, 4, (B, N)),
    "huber": LOGITS + RNG.normal(0, 1, (B, N)),  # errors on both sides of the threshold
    "poisson": RNG.poisson(2, (B, N)).astype(float),
    "quantile": RNG.normal(0, 4, (B, N)),
}
CAPPED = ("softmax_cross_entropy", "binary_cross_entropy")
COLUMNS |= {f"capped_{name}": COLUMNS[name] for name in CAPPED}
# As many of them as three logits are for.
TARGETS = {name: y[:, : N // LOSSES[name].outputs_per_target] for name, y in COLUMNS.items()}
LEVELS = (0.1, 0.5, 0.9)
EVERY = pytest.mark.parametrize("name", sorted(LOSSES))
CROSS_ENTROPIES = pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy"])
# A few roundings of terms near 20.
TOLERANCE = {"float32": 1e-5, "float64": 1e-14}


def naive_output(name: str, s: list[float]) -> list[float]:
    name = name.removeprefix("capped_")
    if name == "softmax_cross_entropy":
        return [exp(v) / sum(exp(u) for u in s) for v in s]
    if name == "binary_cross_entropy":
        return [1 / (1 + exp(-v)) for v in s]
    if name == "poisson":
        return [exp(v) for v in s]
    return sorted(s) if name == "quantile" else s


def naive_huber(e: float, d: float) -> float:
    return e * e / 2 if abs(e) <= d else d * (abs(e) - d / 2)


def naive_pinball(e: float, level: float) -> float:
    return max(level * -e, (level - 1) * -e)


def naive_value(name: str, s: list[float], y: list[float]) -> float:
    name = name.removeprefix("capped_")  # of these logits none reaches the cap
    p = naive_output(name, s)
    if name == "quantile":
        return sum(naive_pinball(v - y[0], t) for v, t in zip(s, LEVELS, strict=True))
    pairs = list(zip(p, y, strict=True))
    if name == "softmax_cross_entropy":
        return -sum(t * log(q) for q, t in pairs)
    if name == "binary_cross_entropy":
        return -sum(t * log(q) + (1 - t) * log(1 - q) for q, t in pairs)
    if name == "poisson":
        return sum((t * log(t / q) if t else 0) - t + q for q, t in pairs)
    if name == "absolute_error":
        return sum(abs(q - t) for q, t in pairs)
    if name == "huber":
        return sum(naive_huber(q - t, 1) for q, t in pairs)
    return sum((q - t) ** 2 for q, t in pairs) / 2
