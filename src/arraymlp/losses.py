"""Losses, each with its output function, because the two together have a simple derivative.

A loss takes the network's *logits* s, the weighted sums of the last layer, and not the outputs
made from them. So it can compute its value without overflow, and its derivative with respect to s
is a plain difference: output minus target (Bishop 2006, section 5.2 and eq. 4.108), or a bounded
function of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import pairwise
from math import inf, log, log1p
from typing import Any, ClassVar

import array_api_compat

from arraymlp._checks import POSITIVE, is_number, keep_numbers, lookup, plain
from arraymlp.activations import ACTIVATIONS
from arraymlp.backend import Array, array_namespace
from arraymlp.sums import over_columns

FEW = 4  # columns


@dataclass(frozen=True)
class Loss:
    """What a network's last layer means, and how wrong it is.

    A loss of your own is a subclass with a name and a ``value_and_delta``; `save` refuses it, since
    `load` could not find it again. Losses are equal where class and parameters are.

    Attributes:
        name: the name it is looked up and saved by.
        classifies: "one" class a sample, "each" column on its own, or "no" (regression).
        least_target: the smallest target it allows.
    """

    name: ClassVar[str]
    classifies: ClassVar[str] = "no"
    least_target: ClassVar[float] = -inf

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made with, in plain values."""
        return asdict(self)

    @property
    def members(self) -> int | None:
        """K where its parameters have a value for each of K members, else None."""
        return None

    @property
    def outputs_per_target(self) -> int:
        """How many outputs the network has for each column of y, one after another."""
        return 1

    def member(self, k: int) -> "Loss":
        """The loss of one network out of a population."""
        if self.members is None:
            return self
        return replace(self, **{name: values[k] for name, values in self.parameters.items()})

    def some(self, members: Sequence[int]) -> "Loss":
        """The loss of a population of these members."""
        if self.members is None:
            return self
        own = {name: tuple(v[k] for k in members) for name, v in self.parameters.items()}
        return replace(self, **own)

    def require_fit(self, n_outputs: int, members: int | None) -> None:
        """A ValueError unless it can be the loss of a network with so many outputs and members."""
        each = self.outputs_per_target
        if n_outputs % each:
            raise ValueError(f"{self} has {each} outputs a target, but there are {n_outputs}")
        if self.members not in (None, members):
            there = f"there are {members} members" if members else "one network: give as many seeds"
            raise ValueError(f"{self} has {self.members} values, but {there}")

    def require_sound(self) -> None:
        """A ValueError where a loss of the user's own lacks a name."""
        if not isinstance(getattr(self, "name", None), str):
            raise ValueError(f"{type(self).__name__} needs a name, a string, as a class attribute")

    def output(self, s: Array, xp: Any) -> Array:
        """Return y_hat for logits s, both (..., B, n): probabilities, or numbers as here."""
        return s

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds, (..., B) and (..., B, n); arguments as in a call."""
        raise NotImplementedError

    def __call__(self, s: Array, y: Array) -> tuple[Array, Array]:
        """Return each sample's loss (..., B) and its derivative dL/ds (..., B, n).

        Args:
            s: logits (..., B, n).
            y: targets (..., B, n / outputs_per_target), or for softmax_cross_entropy also labels
                (..., B), integers from 0 to n - 1.
        """
        return self.value_and_delta(s, y, array_namespace(s))


def one_hot(labels: Array, n: int, dtype: Any, xp: Any) -> Array:
    """Labels (..., B) as rows of zeros with a one: (..., B, n)."""
    device = array_api_compat.device(labels)
    return xp.astype(labels[..., None] == xp.arange(n, dtype=labels.dtype, device=device), dtype)


def smoothed(y: Array, n: int, amount: Any, loss: Loss, xp: Any, dtype: Any) -> Array:
    """Targets for training a classifier that shall not be too sure: (1 - a) y + a u, (..., B, n).

    Here u is 1/n of each class for softmax_cross_entropy (Szegedy et al. 2016, section 7; PyTorch),
    and 1/2 in each column for binary_cross_entropy (Keras).

    Args:
        y: targets (..., B, n), or labels (..., B).
        n: number of outputs.
        amount: a, from 0 to 1; or (K, 1, 1), one a member.
        loss: which of the two.
        xp: the arrays' namespace.
        dtype: of rows made from labels.
    """
    if loss.classifies == "one" and xp.isdtype(y.dtype, "integral"):
        y = one_hot(y, n, dtype, xp)
    return (1 - amount) * y + amount / (n if loss.classifies == "one" else 2)


def _within(a: Array, bound: Any, xp: Any) -> Array:
    return xp.minimum(xp.maximum(a, -bound), bound)


def _sign(a: Array, xp: Any) -> Array:
    # array-api-compat's sign assigns by a mask, for which CuPy waits for the device.
    return xp.where(a > 0, 1.0, xp.where(a < 0, -1.0, a))


def _limit(s: Array, xp: Any) -> float:
    # Numbers up to this in each column have a sum that is finite.
    return float(xp.finfo(s.dtype).max) / (4 * int(s.shape[-1]))


class _SoftmaxCrossEntropy(Loss):
    name = "softmax_cross_entropy"
    classifies = "one"

    def output(self, s: Array, xp: Any) -> Array:
        e = xp.exp(_shifted(s, xp))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        # L = -sum_j y_j log p_j = log sum_j e^{t_j} - sum_j y_j t_j, with t = s - max s, sum y = 1
        if xp.isdtype(y.dtype, "integral"):
            y = one_hot(y, s.shape[-1], s.dtype, xp)
        t = _shifted(s, xp)
        e = xp.exp(t)
        total = over_columns(e, xp)
        value = (xp.log(total) - over_columns(y * t, xp))[..., 0]
        return value, e / total - y


def _shifted(s: Array, xp: Any) -> Array:
    # s - max(s) is at most 0, so its exp is at most 1. Bounding s first keeps the difference of two
    # huge logits finite; no logit below max/4 changes.
    s = _within(s, float(xp.finfo(s.dtype).max) / 4, xp)
    if s.shape[-1] > FEW:
        return s - xp.max(s, axis=-1, keepdims=True)
    columns = [s[..., j : j + 1] for j in range(s.shape[-1])]
    return s - reduce(xp.maximum, columns)  # NumPy reduces short rows slowly


class _BinaryCrossEntropy(Loss):
    name = "binary_cross_entropy"
    classifies = "each"

    def output(self, s: Array, xp: Any) -> Array:
        return ACTIVATIONS["sigmoid"].function(s, xp)

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        return xp.sum(self._by_column(s, y, xp), axis=-1), self.output(s, xp) - y

    def _by_column(self, s: Array, y: Array, xp: Any) -> Array:
        # L = sum_j -y_j log p_j - (1 - y_j) log(1 - p_j)
        #   = sum_j max(s_j, 0) - y_j s_j + log(1 + e^-|s_j|)
        # The last form keeps what softplus would cancel.
        b = _within(s, _limit(s, xp), xp)
        return xp.maximum(b, 0.0) - y * b + xp.log1p(xp.exp(-xp.abs(b)))


class _CappedSoftmaxCrossEntropy(_SoftmaxCrossEntropy):
    name = "capped_softmax_cross_entropy"

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        value, delta = super().value_and_delta(s, y, xp)
        return _capped(value, xp), delta


class _CappedBinaryCrossEntropy(_BinaryCrossEntropy):
    name = "capped_binary_cross_entropy"

    def _by_column(self, s: Array, y: Array, xp: Any) -> Array:
        return _capped(super()._by_column(s, y, xp), xp)


def _capped(value: Array, xp: Any) -> Array:
    """The value -log p of a label as it is with p kept within [eps, 1 - eps]."""
    eps = float(xp.finfo(value.dtype).eps)
    return xp.minimum(xp.maximum(value, -log1p(-eps)), -log(eps))


class _SquaredError(Loss):
    name = "squared_error"

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        # L = 1/2 sum_j (s_j - y_j)^2
        delta = s - y
        return xp.sum(delta * delta, axis=-1) / 2, delta


class _AbsoluteError(Loss):
    name = "absolute_error"

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        # L = sum_j |s_j - y_j|, with slope 0 at 0
        e = _within(s, _limit(s, xp), xp) - y
        return xp.sum(xp.abs(e), axis=-1), _sign(e, xp)


class _Poisson(Loss):
    name = "poisson"
    least_target = 0.0

    def output(self, s: Array, xp: Any) -> Array:
        return xp.exp(xp.minimum(s, log(_limit(s, xp))))

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        # L = sum_j (y_j log(y_j / r_j) - y_j + r_j), with r = e^s and 0 log 0 = 0
        rate, limit = self.output(s, xp), _limit(s, xp)
        log_y = xp.log(xp.maximum(y, float(xp.finfo(s.dtype).smallest_normal)))
        log_rate = xp.minimum(xp.maximum(s, -limit / xp.maximum(y, 1.0)), log(limit))
        return xp.sum(y * (log_y - log_rate) - y + rate, axis=-1), rate - y


@dataclass(frozen=True)
class Huber(Loss):
    """Squared error for small errors, absolute error for large ones (Huber 1964).

    With e = s_j - y_j, sum_j e^2/2 where |e| <= d, d (|e| - d/2) elsewhere: as PyTorch's HuberLoss.

    Attributes:
        threshold: d, positive; or K values, one a member.
    """

    threshold: float | Sequence[float] = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        keep_numbers(self, threshold=POSITIVE)

    @property
    def members(self) -> int | None:
        """K where there is a threshold for each of K members, else None."""
        return len(self.threshold) if isinstance(self.threshold, Sequence) else None

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds, which is e within -d and d."""
        d: Any = self.threshold
        if self.members is not None:
            d = _constants(d, s, xp)[:, None, None]
        e = _within(s, _limit(s, xp), xp) - y
        delta = _within(e, d, xp)
        return xp.sum(delta * (e - delta / 2), axis=-1), delta


_UPLOADED: dict[tuple[Any, ...], Array] = {}


def _constants(values: Any, s: Array, xp: Any) -> Array:
    """The values on the device of s, of its dtype; uploaded once, not in every step."""
    device = array_api_compat.device(s)
    key = values, xp.__name__, str(s.dtype), str(device)
    if key not in _UPLOADED:
        _UPLOADED[key] = xp.asarray(values, dtype=s.dtype, device=device)
    return _UPLOADED[key]


@dataclass(frozen=True)
class Quantile(Loss):
    """Quantiles of the targets, several at once, by the pinball loss (Koenker, Bassett 1978).

    For each column of y there is an output for each level t: (n_columns * n_levels) outputs, the
    levels of the first column first. With
    e = s - y, the loss is the sum over columns and levels of (1 - t) e where e > 0, of -t e where
    e < 0. The outputs are in ascending order, so that they never cross (Chernozhukov,
    Fernandez-Val, Galichon 2010); the loss is of the logits as they are.

    Attributes:
        levels: between 0 and 1, ascending; or K sequences of them, all of one length, one a member.
    """

    levels: Sequence[Any] = (0.1, 0.5, 0.9)
    name = "quantile"

    def __post_init__(self) -> None:
        levels = plain(self.levels)
        levels = tuple(map(plain, levels)) if isinstance(levels, tuple) else (levels,)
        rows = levels if any(isinstance(t, tuple) for t in levels) else (levels,)
        if not all(map(_is_row, rows)) or len({len(row) for row in rows}) > 1:
            raise ValueError(
                "levels must be numbers between 0 and 1, ascending (or as many of them for each "
                f"member), not {self.levels!r}"
            )
        object.__setattr__(self, "levels", levels)

    @property
    def members(self) -> int | None:
        """K where there are levels for each of K members, else None."""
        return len(self.levels) if isinstance(self.levels[0], tuple) else None

    @property
    def outputs_per_target(self) -> int:
        """The number of levels."""
        return len(self.levels[0] if self.members is not None else self.levels)

    def output(self, s: Array, xp: Any) -> Array:
        """Return the quantiles of each target, ascending, for logits s; both (..., B, n)."""
        return xp.reshape(xp.sort(self._by_target(s, xp), axis=-1), s.shape)

    def _by_target(self, s: Array, xp: Any) -> Array:
        return xp.reshape(s, (*s.shape[:-1], -1, self.outputs_per_target))

    def value_and_delta(self, s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds, which is 1 - t, -t, or 1/2 - t at 0."""
        levels = _constants(self.levels, s, xp)
        if self.members is not None:
            levels = levels[:, None, None, :]
        e = self._by_target(_within(s, _limit(s, xp), xp), xp) - y[..., None]
        delta = (1 + _sign(e, xp)) / 2 - levels
        return xp.sum(e * delta, axis=(-2, -1)), xp.reshape(delta, s.shape)


def _is_row(levels: Any) -> bool:
    """Whether it is one network's levels: a tuple of ascending numbers between 0 and 1."""
    if not isinstance(levels, tuple) or not all(is_number(t) for t in levels):
        return False
    return bool(levels) and all(a < b for a, b in pairwise((0, *levels, 1)))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        _SoftmaxCrossEntropy(),
        _BinaryCrossEntropy(),
        _CappedSoftmaxCrossEntropy(),
        _CappedBinaryCrossEntropy(),
        _SquaredError(),
        _AbsoluteError(),
        Huber(),
        _Poisson(),
        Quantile(),
    )
}


def loss(name: str | Loss) -> Loss:
    """The loss of that name; an unknown name is a ValueError with the nearest match.

    ===================== ============= ======================================= ================
    name                  y_hat         L of one sample                         target y
    ===================== ============= ======================================= ================
    softmax_cross_entropy softmax(s)    -sum_j y_j log y_hat_j                  label or one-hot
    binary_cross_entropy  sigmoid(s)    -sum_j (y_j log y_hat_j                 0 or 1 a column
                                        + (1 - y_j) log(1 - y_hat_j))
    squared_error         s             1/2 sum_j (s_j - y_j)^2                 numbers
    absolute_error        s             sum_j |s_j - y_j|                       numbers
    huber                 s             see `Huber`; threshold 1                numbers
    poisson               e^s           sum_j (y_j log(y_j / y_hat_j)           numbers from 0,
                                        - y_j + y_hat_j), half the deviance     such as counts
    quantile              s, ascending  see `Quantile`; levels 0.1, 0.5, 0.9    numbers
    ===================== ============= ======================================= ================

    The first three and poisson have dL/ds = y_hat - y.

    Of the first two there are capped forms, capped_softmax_cross_entropy and
    capped_binary_cross_entropy, for labels: what they report of a label is at most -log(eps), 36.0
    in float64 and 15.9 in float32. That is the loss of scikit-learn's MLPClassifier, which keeps
    probabilities within [eps, 1 - eps] in its value and not in its gradient.
    """
    return name if isinstance(name, Loss) else lookup(LOSSES, name, "loss")
