"""What becomes of a column's numbers: one feature or several, of a scale that a network learns on.

Each map is a few numbers learnt of training rows, and a formula, computed in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from statistics import NormalDist
from typing import ClassVar, Self, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray

KNOTS = 256  # at most, of a map to quantiles
FARTHEST = 1e30  # deviations from the mean: a feature that float32 holds


class _OneFeature:
    """What the maps share that make one feature of a column."""

    width: ClassVar[int] = 1

    def names(self, name: str) -> list[str]:
        """What the features of a column are called."""
        return [name]

    def __call__(self, x: HostArray) -> HostArray:
        """The feature (B,) of finite numbers x (B,), in float64."""
        raise NotImplementedError

    def write(self, x: HostArray, out: HostArray) -> None:
        """The features of finite numbers x (B,), float64, into out (B, width) of any dtype."""
        out[:, 0] = self(x)


@dataclass(frozen=True)
class Standardized(_OneFeature):
    """(x - mean) / deviation: of training rows, mean 0 and variance 1. At most 1e30."""

    mean: float
    deviation: float
    kind: ClassVar[str] = "standardize"

    def __post_init__(self) -> None:
        _require_scale(self.deviation)

    def __call__(self, x: HostArray) -> HostArray:
        """The feature (B,) of finite numbers x (B,), in float64."""
        return _within(FARTHEST, (x - self.mean) * (1 / self.deviation))

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for numbers of training rows (N,), finite and not all alike."""
        span = float(x.max() - x.min())
        distance = (x - x[0]) / span  # squares of huge or tiny numbers would leave float64
        return cls(float(x[0] + span * distance.mean()), float(span * distance.std()))


@dataclass(frozen=True)
class SmoothlyClipped(_OneFeature):
    """z / sqrt(1 + (z/3)^2) for z = (x - centre) / scale: within 3, whatever x is.

    The centre is the median of training rows, the scale the distance between their quartiles, or
    where that is 0 half of that between the least and the greatest. Holzmüller, Grinsztajn and
    Steinwart, Better by Default, 2024, https://arxiv.org/abs/2407.04491, section 3.
    """

    centre: float
    scale: float
    kind: ClassVar[str] = "smooth_clip"

    def __post_init__(self) -> None:
        _require_scale(self.scale)

    def __call__(self, x: HostArray) -> HostArray:
        """The feature (B,) of finite numbers x (B,), in float64."""
        z = _within(FARTHEST, (x - self.centre) * (1 / self.scale))
        return z / np.sqrt(1 + (z / 3) ** 2)

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for numbers of training rows (N,), finite and not all alike."""
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
        scale = high - low if _apart(np.asarray([low, high])).all() else (x.max() - x.min()) / 2
        return cls(float(middle), float(scale))


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
        _require_increasing(self.edges, "edges")
        if len(self.means) != len(self.edges) - 1:
            raise ValueError(f"{len(self.edges)} edges have {len(self.means)} means")
        if not all(0 <= mean <= 1 for mean in self.means):
            raise ValueError("means of parts must be from 0 to 1")

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.means)

    def names(self, name: str) -> list[str]:
        """What the features of a column are called."""
        if self.width == 1:
            return [name]
        return [
            f"{name} {a:.6g}..{b:.6g}" for a, b in zip(self.edges, self.edges[1:], strict=False)
        ]

    def write(self, x: HostArray, out: HostArray, size: float = 1.0) -> None:
        """The features of finite numbers x (B,), float64, into out (B, width) of any dtype.

        Args:
            x: the numbers.
            out: is written to.
            size: times which a feature is written: a power of two, which changes no digit.
        """
        bins, parts = self.parts(x)
        out[...] = (size * self._whole).astype(out.dtype).take(bins, axis=0, mode="clip")
        out[np.arange(len(x)), bins] = size * (parts - np.asarray(self.means)[bins])

    def parts(self, x: HostArray) -> tuple[HostArray, HostArray]:
        """The bins that numbers are in, and what part of each is below, from 0 to 1."""
        lower, inverse = self._bins
        bins = np.searchsorted(lower[1:], x, side="right")
        parts = (x - lower[bins]) * inverse[bins]
        return bins, np.maximum(np.minimum(parts, 1.0), 0.0)

    @cached_property
    def _bins(self) -> tuple[HostArray, HostArray]:
        """The lower edges of the bins and the inverses of their sizes, (width,)."""
        return np.asarray(self.edges[:-1]), 1 / np.diff(self.edges)

    @cached_property
    def _whole(self) -> HostArray:
        """In row t the features of a number in bin t, but for that of this bin: (width, width)."""
        whole: HostArray = np.tri(self.width, k=-1) - np.asarray(self.means)
        return whole

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for numbers of training rows (N,), finite and not all alike."""
        edges = _quantiles(x, bins)
        width = len(edges) - 1
        at, parts = cls(edges, (0.0,) * width).parts(x)
        within = np.bincount(at, weights=parts, minlength=width)
        beyond = len(x) - np.cumsum(np.bincount(at, minlength=width))
        return cls(edges, tuple(((within + beyond) / len(x)).tolist()))


@dataclass(frozen=True)
class Mixed:
    """The standardised number, and its piecewise-linear encoding in half size beside it.

    The number alone lets a network go straight where that is right, the bins let it bend. On real
    tables (``ci/tables``) both are better than either, and bins of half the size than whole ones.
    Beyond the first and the last edge nothing changes any more, as for the bins.

    Attributes:
        number: makes the first feature.
        bins: make the others, each times a half; where there is one, it says nothing new, and has
            no feature.
    """

    number: Standardized
    bins: Piecewise
    kind: ClassVar[str] = "mixed"

    @property
    def width(self) -> int:
        """The number of features."""
        return 1 if self.bins.width == 1 else 1 + self.bins.width

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last edge."""
        return self.bins.edges[0], self.bins.edges[-1]

    def names(self, name: str) -> list[str]:
        """What the features of a column are called."""
        return [name] if self.width == 1 else [name, *self.bins.names(name)]

    def write(self, x: HostArray, out: HostArray) -> None:
        """The features of finite numbers x (B,), float64, into out (B, width) of any dtype."""
        if self.width > 1:
            self.bins.write(x, out[:, 1:], 0.5)
        self.number.write(np.clip(x, *self.ends), out[:, :1])

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for numbers of training rows (N,), finite and not all alike."""
        return cls(Standardized.learn(x, bins), Piecewise.learn(x, bins))


@dataclass(frozen=True)
class Quantiles(_OneFeature):
    """To a normal distribution: linear between knots, which are quantiles of the training rows.

    A knot's score is the normal distribution's quantile at the middle of the ranks that its value
    has among the training rows. Beyond the first and the last knot nothing changes any more.

    Attributes:
        knots: increasing numbers.
        scores: what each becomes, increasing, too.
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    kind: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        _require_increasing(self.knots, "knots")
        _require_increasing(self.scores, "scores")
        if not -FARTHEST <= self.scores[0] < self.scores[-1] <= FARTHEST:
            raise ValueError(f"scores must be from {-FARTHEST} to {FARTHEST}")
        if len(self.scores) != len(self.knots):
            raise ValueError(f"{len(self.knots)} knots have {len(self.scores)} scores")

    def __call__(self, x: HostArray) -> HostArray:
        """The feature (B,) of finite numbers x (B,), in float64."""
        feature: HostArray = np.interp(x, *self._arrays)
        return feature

    @cached_property
    def _arrays(self) -> tuple[HostArray, HostArray]:
        return np.asarray(self.knots), np.asarray(self.scores)

    @classmethod
    def learn(cls, x: HostArray, bins: int) -> Self:
        """The map for numbers of training rows (N,), finite and not all alike."""
        x = np.sort(x)
        knots = _quantiles(x, min(KNOTS, len(x)) - 1)
        ranks = np.searchsorted(x, knots, "left") + np.searchsorted(x, knots, "right")
        normal = NormalDist()
        return cls(knots, tuple(normal.inv_cdf(rank / (2 * len(x))) for rank in ranks.tolist()))


@dataclass(frozen=True)
class Nothing:
    """No feature: of a column whose numbers are all alike, only which are missing says anything."""

    width: ClassVar[int] = 0
    kind: ClassVar[str] = "nothing"

    def names(self, name: str) -> list[str]:
        """What the features of a column are called: there is none."""
        return []

    def write(self, x: HostArray, out: HostArray) -> None:
        """Nothing into out (B, 0)."""


NumberMap: TypeAlias = Mixed | Piecewise | Standardized | SmoothlyClipped | Quantiles | Nothing
LearntMap: TypeAlias = (
    type[Mixed] | type[Piecewise] | type[Standardized] | type[SmoothlyClipped] | type[Quantiles]
)
# What ``TableEncoder(numbers=)`` names.
NUMBER_MAPS: Mapping[str, LearntMap] = {
    Mixed.kind: Mixed,
    Piecewise.kind: Piecewise,
    Standardized.kind: Standardized,
    SmoothlyClipped.kind: SmoothlyClipped,
    Quantiles.kind: Quantiles,
}


def _within(limit: float, x: HostArray) -> HostArray:
    """X (B,), a new array, from -limit to limit."""
    np.minimum(x, limit, out=x)
    np.maximum(x, -limit, out=x)
    return x


def _require_scale(scale: float) -> None:
    if not (scale > 0 and isfinite(1 / scale)):
        raise ValueError(f"a scale must be positive, not {scale}")


def _require_increasing(numbers: tuple[float, ...], what: str) -> None:
    if len(numbers) < 2 or not _apart(np.asarray(numbers)).all():
        raise ValueError(f"{what} must be two increasing numbers or more")


def _apart(numbers: HostArray) -> HostArray:
    """Whether each number is above the one before it, and float64 holds how steep that is."""
    with np.errstate(all="ignore"):
        steps = np.diff(numbers)
        apart: HostArray = (steps > 0) & np.isfinite(steps) & np.isfinite(1 / steps)
    return apart


def _quantiles(x: HostArray, bins: int) -> tuple[float, ...]:
    """The edges of bins with equally many of the numbers, each once: the lower quantiles.

    The least and the greatest are among them.
    """
    ranks = np.arange(bins + 1) * (len(x) - 1) // bins
    at = np.partition(x, ranks)[ranks]
    edges = at[np.append(True, _apart(at))]
    if len(edges) < 2:
        return float(at[0]), float(at[-1])
    edges[-1] = at[-1]
    return tuple(edges.tolist())
