"""What becomes of a column's numbers: one feature or several, of a scale that a network learns on.

Each map is a few numbers learnt from training rows, and a formula, computed in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from statistics import NormalDist
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.plain import read_number, read_numbers, read_object

KNOTS = 256  # at most, of a map to quantiles


class NumberMap(Protocol):
    """Numbers (B,) to features (width, B)."""

    kind: ClassVar[str]

    @property
    def width(self) -> int:
        """The number of features."""

    def names(self, name: str) -> list[str]:
        """What the features of a column are called."""

    def write(self, x: HostArray, out: HostArray) -> None:
        """The features of x (B,), finite float64, into out (width, B) of float64."""

    def to_json(self) -> dict[str, Any]:
        """What `of_json` of the class takes."""

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        """The map of which ``to_json`` said that; a ValueError where it is none."""


class LearntMap(NumberMap, Protocol):
    """A map that is learnt of training rows."""

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for training numbers x (N,): sorted, finite, not all alike."""


@dataclass(frozen=True)
class Nothing:
    """No feature: of a column whose numbers are all alike, only which are missing says anything."""

    width: ClassVar[int] = 0
    kind: ClassVar[str] = "nothing"

    def names(self, name: str) -> list[str]:
        return []

    def write(self, x: HostArray, out: HostArray) -> None:
        pass

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        read_object(value, (), where)
        return cls()


@dataclass(frozen=True)
class _Scaled:
    """What both maps share that have a centre and a scale."""

    centre: float
    scale: float
    width: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (self.scale > 0 and isfinite(1 / self.scale)):
            raise ValueError(f"a scale must be positive, not {self.scale}")

    def names(self, name: str) -> list[str]:
        return [name]

    def to_json(self) -> dict[str, Any]:
        return {"centre": self.centre, "scale": self.scale}

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        value = read_object(value, ("centre", "scale"), where)
        return cls(
            read_number(value["centre"], f"{where}.centre"),
            read_number(value["scale"], f"{where}.scale"),
        )


@dataclass(frozen=True)
class Standardized(_Scaled):
    """(x - centre) / scale: of training rows, mean 0 and variance 1."""

    kind: ClassVar[str] = "standardize"

    def write(self, x: HostArray, out: HostArray) -> None:
        np.subtract(x, self.centre, out=out[0])
        out[0] *= 1 / self.scale

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        span = float(x[-1] - x[0])
        distance = (x - x[0]) / span  # squares of huge or tiny numbers would leave float64
        return cls(float(x[0] + span * distance.mean()), float(span * distance.std()))


@dataclass(frozen=True)
class SmoothlyClipped(_Scaled):
    """z / sqrt(1 + (z/3)^2) for z = (x - centre) / scale: within 3, whatever x is.

    The centre is the median of training rows, the scale the distance between their quartiles, or
    where that is 0 half of that between the least and the greatest. Holzmüller, Grinsztajn and
    Steinwart, Better by Default, 2024, https://arxiv.org/abs/2407.04491, section 3.
    """

    kind: ClassVar[str] = "smooth_clip"

    def write(self, x: HostArray, out: HostArray) -> None:
        z = out[0]
        np.subtract(x, self.centre, out=z)
        z *= 1 / self.scale
        np.divide(z, np.hypot(1.0, z / 3), out=z)

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
        scale = high - low if high > low else (x[-1] - x[0]) / 2
        return cls(float(middle), float(scale))


def _bin_sizes(edges: tuple[float, ...]) -> HostArray:
    """The distances between edges, or a ValueError where these do not increase."""
    if len(edges) < 2:
        raise ValueError("there must be at least 2 edges of bins")
    with np.errstate(all="ignore"):
        sizes = np.diff(np.asarray(edges))
        usable = (sizes > 0) & np.isfinite(sizes) & np.isfinite(1 / sizes)
    if not usable.all():
        raise ValueError("the edges of bins must increase")
    return sizes


def _quantiles(x: HostArray, bins: int) -> tuple[float, ...]:
    """The edges of bins with equally many of the sorted numbers: numbers of x, each once."""
    at = x[np.arange(bins + 1) * (len(x) - 1) // bins]
    with np.errstate(all="ignore"):
        apart = np.isfinite(1 / np.diff(at))
    return tuple(map(float, at[np.append(True, apart)]))


@dataclass(frozen=True)
class Piecewise:
    """Piecewise-linear encoding: for each bin, what part of it is below x, less its mean.

    Feature t is clip((x - edge_t) / (edge_t+1 - edge_t), 0, 1) - mean_t. Edges are quantiles of the
    training rows, each once, so that a column of few different values has few bins; one of two
    values has one. Beyond the first and the last edge nothing changes any more. Gorishniy, Rubachev
    and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, 2022,
    https://arxiv.org/abs/2203.05556, section 3.2, who go on beyond the edges, and do not centre.

    Attributes:
        edges: of the bins, increasing; one more than there are bins.
        means: of each bin's part in the training rows.
    """

    edges: tuple[float, ...]
    means: tuple[float, ...]
    kind: ClassVar[str] = "piecewise"

    def __post_init__(self) -> None:
        _bin_sizes(self.edges)
        if len(self.means) != len(self.edges) - 1:
            raise ValueError(f"{len(self.edges)} edges have {len(self.means)} means")

    @property
    def width(self) -> int:
        return len(self.means)

    def names(self, name: str) -> list[str]:
        if self.width == 1:
            return [name]
        return [
            f"{name} {a:.6g}..{b:.6g}" for a, b in zip(self.edges, self.edges[1:], strict=False)
        ]

    @cached_property
    def _columns(self) -> tuple[HostArray, HostArray, HostArray]:
        """The lower edges, the bins' sizes' inverses and the means, (width, 1) each."""
        edges = np.asarray(self.edges)
        return (
            edges[:-1, None],
            1 / _bin_sizes(self.edges)[:, None],
            np.asarray(self.means)[:, None],
        )

    def write(self, x: HostArray, out: HostArray) -> None:
        lower, inverse, means = self._columns
        np.subtract(x, lower, out=out)
        out *= inverse
        np.minimum(out, 1.0, out=out)
        np.maximum(out, 0.0, out=out)
        out -= means

    def to_json(self) -> dict[str, Any]:
        return {"edges": list(self.edges), "means": list(self.means)}

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        value = read_object(value, ("edges", "means"), where)
        return cls(
            read_numbers(value["edges"], f"{where}.edges"),
            read_numbers(value["means"], f"{where}.means"),
        )

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        edges = _quantiles(x, bins)
        raw = cls(edges, (0.0,) * (len(edges) - 1))
        totals = np.zeros(raw.width)
        for start in range(0, len(x), 4096):
            part = x[start : start + 4096]
            out = np.empty((raw.width, len(part)))
            raw.write(part, out)
            totals += out.sum(axis=1)
        return cls(edges, tuple(map(float, totals / len(x))))


@dataclass(frozen=True)
class Quantiles:
    """To a normal distribution: linear between knots, which are quantiles of the training rows.

    A knot's score is the normal distribution's quantile at the middle of the ranks that its value
    has among the training rows; beyond the first and the last knot it stays what it is there.

    Attributes:
        knots: increasing numbers.
        scores: what each becomes, increasing, too.
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    width: ClassVar[int] = 1
    kind: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        _bin_sizes(self.knots)
        _bin_sizes(self.scores)
        if len(self.scores) != len(self.knots):
            raise ValueError(f"{len(self.knots)} knots have {len(self.scores)} scores")

    def names(self, name: str) -> list[str]:
        return [name]

    @cached_property
    def _arrays(self) -> tuple[HostArray, HostArray]:
        return np.asarray(self.knots), np.asarray(self.scores)

    def write(self, x: HostArray, out: HostArray) -> None:
        out[0] = np.interp(x, *self._arrays)

    def to_json(self) -> dict[str, Any]:
        return {"knots": list(self.knots), "scores": list(self.scores)}

    @classmethod
    def of_json(cls, value: Any, where: str) -> Self:
        value = read_object(value, ("knots", "scores"), where)
        return cls(
            read_numbers(value["knots"], f"{where}.knots"),
            read_numbers(value["scores"], f"{where}.scores"),
        )

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        knots = _quantiles(x, min(KNOTS, len(x)) - 1)
        ranks = np.searchsorted(x, knots, "left") + np.searchsorted(x, knots, "right")
        normal = NormalDist()
        scores = [normal.inv_cdf(float(rank) / (2 * len(x))) for rank in ranks]
        return cls(knots, tuple(scores))


# What ``TableEncoder(numbers=)`` names.
LEARNT_MAPS: Mapping[str, type[LearntMap]] = {
    kind.kind: kind for kind in (Piecewise, Standardized, SmoothlyClipped, Quantiles)
}
NUMBER_MAPS: Mapping[str, type[NumberMap]] = {Nothing.kind: Nothing, **LEARNT_MAPS}
