"""Initial weights, drawn on the host in float64 so that one seed means one network everywhere."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from arraymlp._checks import is_number, lookup, require_arguments
from arraymlp.backends.array import HostArray


@dataclass(frozen=True)
class Initializer:
    """A rule by which the weights and bias of a layer are drawn.

    Attributes:
        name: the name it is looked up by.
        draw: ``(rng, n_in, n_out) -> weights (n_in, n_out), bias (1, n_out)``, float64.
    """

    name: str
    draw: Callable[[np.random.Generator, int, int], tuple[HostArray, HostArray]]

    def __post_init__(self) -> None:
        require_arguments(
            self.draw, ("rng", "n_in", "n_out"), f"draw of the initializer {self.name}"
        )

    def drawn(self, rng: np.random.Generator, n_in: int, n_out: int) -> tuple[HostArray, HostArray]:
        """What ``draw`` gives; a ValueError where it is not finite weights and bias of a layer."""
        drawn: Any = self.draw(rng, n_in, n_out)
        shapes = (n_in, n_out), (1, n_out)
        parts = drawn if hasattr(drawn, "shape") or not isinstance(drawn, Iterable) else [*drawn]
        fits = isinstance(parts, list) and len(parts) == 2
        if not fits or tuple(np.shape(part) for part in parts) != shapes:
            given = [np.shape(part) for part in parts] if fits else type(drawn).__name__
            raise ValueError(
                f"draw of the initializer {self.name} must return weights {shapes[0]} and bias "
                f"{shapes[1]}, not {given}"
            )
        weights, bias = (np.asarray(part, dtype=np.float64) for part in parts)
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise ValueError(f"draw of the initializer {self.name} must give finite numbers")
        return weights, bias


def _with_zero_bias(
    name: str, weights: Callable[[np.random.Generator, int, int], HostArray]
) -> Initializer:
    return Initializer(
        name, lambda rng, n_in, n_out: (weights(rng, n_in, n_out), np.zeros((1, n_out)))
    )


def normal(std: float) -> Initializer:
    """An initialiser of weights *and biases* from N(0, std^2), as the lab's with std = 1e-4.

    Raises:
        ValueError: std is no positive number.
    """
    if not is_number(std) or not 0 < std < np.inf:
        raise ValueError(f"std must be a positive number, not {std!r}")

    return Initializer(f"normal({std!r})", partial(_draw_alike, std))


def _draw_alike(
    std: float, rng: np.random.Generator, n_in: int, n_out: int
) -> tuple[HostArray, HostArray]:
    drawn = rng.normal(0.0, std, (n_in + 1, n_out))  # the bias is the last row, as in the lab
    return drawn[:-1], drawn[-1:]


def _uniform(bound: Callable[[int, int], float]) -> Callable[..., HostArray]:
    return lambda rng, n_in, n_out: rng.uniform(
        -bound(n_in, n_out), bound(n_in, n_out), (n_in, n_out)
    )


def _normal(std: Callable[[int, int], float]) -> Callable[..., HostArray]:
    return lambda rng, n_in, n_out: rng.normal(0.0, std(n_in, n_out), (n_in, n_out))


INITIALIZERS: dict[str, Initializer] = {
    i.name: i
    for i in (
        _with_zero_bias("he_normal", _normal(lambda n_in, n_out: sqrt(2 / n_in))),
        _with_zero_bias("he_uniform", _uniform(lambda n_in, n_out: sqrt(6 / n_in))),
        _with_zero_bias("glorot_normal", _normal(lambda n_in, n_out: sqrt(2 / (n_in + n_out)))),
        _with_zero_bias("glorot_uniform", _uniform(lambda n_in, n_out: sqrt(6 / (n_in + n_out)))),
    )
}


def get_initializer(name: str | Initializer) -> Initializer:
    """The initialiser of that name; an unknown name is a ValueError with the nearest match.

    ============== ====================================== ===========================
    name           weights (biases are 0)                 source
    ============== ====================================== ===========================
    he_normal      ``N(0, 2 / n_in)``                     He et al. 2015
    he_uniform     ``U(-b, b), b^2 = 6 / n_in``           He et al. 2015
    glorot_normal  ``N(0, 2 / (n_in + n_out))``           Glorot, Bengio 2010
    glorot_uniform ``U(-b, b), b^2 = 6 / (n_in + n_out)`` Glorot, Bengio 2010
    ============== ====================================== ===========================

    N(mean, variance) is the normal distribution, U(from, to) the uniform one. `normal` makes the
    lab's: one standard deviation for weights and biases alike.
    """
    own = "an arraymlp.initializers.Initializer of your own"
    return name if isinstance(name, Initializer) else lookup(INITIALIZERS, name, "initializer", own)


def draw_layers(
    sizes: Sequence[int],
    rules: Sequence[Sequence[Initializer]],
    seed: int | Sequence[int],
) -> list[tuple[HostArray, HostArray]]:
    """Weights (..., n_in, n_out) and bias (..., 1, n_out) of each layer, float64.

    Each layer's random stream is a function of its seed and its position alone.

    Args:
        sizes: widths from inputs to outputs.
        rules: for each member, or once for all, the initialiser of each layer.
        seed: one seed, or K for a leading axis of K members.
    """

    def draw(seed: int, i: int, rules: Sequence[Initializer]) -> tuple[HostArray, HostArray]:
        stream = np.random.SeedSequence(seed, spawn_key=(0, i))
        return rules[i].drawn(np.random.default_rng(stream), sizes[i], sizes[i + 1])

    layers = range(len(sizes) - 1)
    if not isinstance(seed, Sequence):
        return [draw(int(seed), i, rules[0]) for i in layers]
    of_members = rules if len(rules) > 1 else [*rules] * len(seed)
    members = list(zip(seed, of_members, strict=True))
    drawn = [[draw(int(s), i, member_rules) for s, member_rules in members] for i in layers]
    return [(np.stack([w for w, _ in d]), np.stack([b for _, b in d])) for d in drawn]
