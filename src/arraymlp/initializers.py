"""Initial weights, drawn on the host in float64 so that one seed means one network everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from arraymlp._checks import is_number, lookup

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Initializer:
    """How the weights and bias of a layer are drawn.

    Attributes:
        name: the name it is looked up by.
        draw: ``(rng, n_in, n_out) -> weights (n_in, n_out), bias (1, n_out)``, float64.
    """

    name: str
    draw: Callable[[np.random.Generator, int, int], tuple[HostArray, HostArray]]


def _with_zero_bias(
    name: str, weights: Callable[[np.random.Generator, int, int], HostArray]
) -> Initializer:
    return Initializer(
        name, lambda rng, n_in, n_out: (weights(rng, n_in, n_out), np.zeros((1, n_out)))
    )


def normal(std: float) -> Initializer:
    """Weights *and biases* from N(0, std^2): the lab draws both alike, with std = 1e-4."""
    if not is_number(std) or not 0 < std < np.inf:
        raise ValueError(f"std must be a positive number, not {std!r}")

    def draw(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[HostArray, HostArray]:
        drawn = rng.normal(0.0, std, (n_in + 1, n_out))  # the bias is the last row, as in the lab
        return drawn[:-1], drawn[-1:]

    return Initializer(f"normal({std!r})", draw)


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


def initializer(name: str | Initializer) -> Initializer:
    """The initialiser of that name; an unknown name is a ValueError with the nearest match.

    ============== =================================== ===========================
    name           weights (biases are 0)              source
    ============== =================================== ===========================
    he_normal      N(0, 2 / n_in)                      He et al. 2015
    he_uniform     U(-b, b), b^2 = 6 / n_in            He et al. 2015
    glorot_normal  N(0, 2 / (n_in + n_out))            Glorot, Bengio 2010
    glorot_uniform U(-b, b), b^2 = 6 / (n_in + n_out)  Glorot, Bengio 2010
    ============== =================================== ===========================

    `normal` makes the lab's: one standard deviation for weights and biases alike.
    """
    return name if isinstance(name, Initializer) else lookup(INITIALIZERS, name, "initializer")


def generator(seed: int, layer: int) -> np.random.Generator:
    """The stream that draws one layer's initial values: a function of seed and layer alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, layer)))
