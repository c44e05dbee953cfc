"""Losses, each with its output function, because the two together have a simple derivative.

A loss takes the network's *logits* s, the weighted sums of the last layer, and not the outputs
made from them. So it can compute its value without overflow, and its derivative with respect to s
is a plain difference: output minus target (Bishop 2006, section 5.2 and eq. 4.108), or a bounded
function of it. Each class states its formula; the table of `get_loss` has them side by side.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import inf, log, log1p
from typing import Any, ClassVar

import array_api_compat

from arraymlp._checks import (
    Rule,
    as_floats,
    is_number,
    keep_numbers,
    lookup,
    require_methods,
    to_python,
)
from arraymlp.backends.array import Array, DType, Namespace, array_namespace
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.linalg import max_columns, sum_columns


@dataclass(frozen=True)
class Loss:
    """The meaning of a network's logits, and the measure of their error.

    A loss of your own is a subclass with a name and a ``value_and_delta``; `save` refuses it, since
    `load` could not find it again. Losses are equal where their class and parameters are. A loss
    is called with logits and targets, ``value, delta = loss(s, y)``, of any backend.

    Attributes:
        name: the name it is looked up and saved by.
        classifies: "one" class a sample, "each" column on its own, or "no" (regression).
        least_target: the smallest target it allows.
        best_constant: the figure of the targets that costs least as the output for every row,
            "mean", "median" or "quantiles"; "" for any other. The diagnosis says it.
    """

    name: ClassVar[str]
    classifies: ClassVar[str] = "no"
    least_target: ClassVar[float] = -inf
    best_constant: ClassVar[str] = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The values it was made with by name, as Python's numbers and tuples of them."""
        return asdict(self)

    @property
    def members(self) -> int | None:
        """Number K of members where its parameters have a value for each of them, else None."""
        return None

    @property
    def outputs_per_target(self) -> int:
        """The number of outputs for each column of y, one after another."""
        return 1

    def member(self, k: int) -> "Loss":
        """The loss of member k of a population."""
        if self.members is None:
            return self
        return replace(self, **{name: values[k] for name, values in self.parameters.items()})

    def select_members(self, members: Sequence[int]) -> "Loss":
        """The loss of a population of these members."""
        if self.members is None:
            return self
        selected = {name: tuple(v[k] for k in members) for name, v in self.parameters.items()}
        return replace(self, **selected)

    def require_fit(self, n_outputs: int, members: int | None) -> None:
        """Raise a ValueError unless it suits a network with so many outputs and members."""
        per_target = self.outputs_per_target
        if n_outputs % per_target:
            raise ValueError(f"{self} has {per_target} outputs a target, but there are {n_outputs}")
        if self.members not in (None, members):
            there = f"there are {members} members" if members else "one network: give as many seeds"
            raise ValueError(f"{self} has {self.members} values, but {there}")

    def require_sound(self) -> None:
        """Raise a ValueError where a loss of the user's own lacks a name or a value_and_delta."""
        if not isinstance(getattr(self, "name", None), str):
            raise ValueError(f"{type(self).__name__} needs a name, a string, as a class attribute")
        if type(self).value_and_delta is Loss.value_and_delta:
            raise ValueError(
                f"{type(self).__name__} must define value_and_delta(s, y, xp), which returns each "
                "sample's loss and dL/ds"
            )
        require_methods(self, {"value_and_delta": ("s", "y", "xp")}, "a Loss")

    def rescaled(self, c: float) -> "tuple[Loss, float] | None":
        """The loss l and the number u with L(m + c s, m + c y) = u l(s, y), for c > 0 and any m.

        `arraymlp.train` then trains on standardised targets: what has the least l has the least L.
        None, as here, where there is no such loss, or it is not known: targets stay as they are.
        """
        return None

    @property
    def scales(self) -> bool:
        """True where `rescaled` knows the loss, and is not older than this class's formula."""
        of_formula, of_scale = (
            next(i for i, one in enumerate(type(self).__mro__) if name in vars(one))
            for name in ("value_and_delta", "rescaled")
        )
        return of_scale <= of_formula and self.rescaled(1.0) is not None

    @property
    def output_scales(self) -> bool:
        """True where output(m + c s) = m + c output(s), of this class's own ``output``."""
        return type(self).output in (Loss.output, Quantile.output)

    def output(self, s: Array, xp: Namespace) -> Array:
        """Return y_hat for logits s, both (..., B, n): probabilities, or the logits, as here."""
        return s

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L (..., B) and dL/ds (..., B, n).

        The training step may overwrite what is returned: it must be new arrays.

        Args:
            s: logits (..., B, n).
            y: targets (..., B, n / outputs_per_target), or for softmax_cross_entropy also labels
                (..., B), integers from 0 to n - 1.
            xp: the namespace of the arrays.
        """
        raise NotImplementedError

    def __call__(self, s: Array, y: Array) -> tuple[Array, Array]:
        """Return each sample's loss (..., B) and its derivative dL/ds (..., B, n).

        Args:
            s: logits (..., B, n).
            y: targets (..., B, n / outputs_per_target), or for softmax_cross_entropy also labels
                (..., B), integers from 0 to n - 1.
        """
        return self.value_and_delta(s, y, array_namespace(s))


def one_hot(labels: Array, n: int, dtype: DType, xp: Namespace) -> Array:
    """Labels (..., B) as rows of zeros with a one: (..., B, n)."""
    device = array_api_compat.device(labels)
    return xp.astype(labels[..., None] == xp.arange(n, dtype=labels.dtype, device=device), dtype)


def smoothed(
    y: Array, n: int, amount: Array | float, loss: Loss, xp: Namespace, dtype: DType
) -> Array:
    """Smoothed targets of a classifier, against overconfidence: (1 - a) y + a u, (..., B, n).

    Here u is 1/n for each class with softmax_cross_entropy (Szegedy et al. 2016, section 7;
    PyTorch), and 1/2 in each column with binary_cross_entropy (Keras).

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
    uniform = amount / (n if loss.classifies == "one" else 2)
    return y * (1 - amount) + uniform


def _within(a: Array, bound: Array | float, xp: Namespace) -> Array:
    return xp.minimum(xp.maximum(a, -bound), bound)


def _sign(a: Array, xp: Namespace) -> Array:
    # array-api-compat's sign assigns by a mask, for which CuPy waits for the device.
    return xp.where(a > 0, 1.0, xp.where(a < 0, -1.0, a))


def _limit(s: Array, xp: Namespace) -> float:
    # The sum of a row stays finite where each of its numbers is at most this.
    return float(xp.finfo(s.dtype).max) / (4 * int(s.shape[-1]))


class SoftmaxCrossEntropy(Loss):
    """Softmax and cross-entropy, for one class a sample (Bridle 1990).

    With targets y, labels (..., B) or probabilities (..., B, n)::

        p = softmax(s),  L = -sum_j y_j log p_j,  dL/ds = p - y
    """

    name = "softmax_cross_entropy"
    classifies = "one"
    best_constant = "mean"

    def output(self, s: Array, xp: Namespace) -> Array:
        """Return p_j = e^{s_j} / sum_k e^{s_k}."""
        e = xp.exp(_shifted(s, xp))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds = p - y."""
        # L = log sum_j e^{t_j} - sum_j y_j t_j, with t = s - max s, since sum_j y_j = 1
        if xp.isdtype(y.dtype, "integral"):
            y = one_hot(y, s.shape[-1], s.dtype, xp)
        t = _shifted(s, xp)
        e = xp.exp(t)
        total = sum_columns(e, xp)
        value = (xp.log(total) - sum_columns(y * t, xp))[..., 0]
        return value, e / total - y


def _shifted(s: Array, xp: Namespace) -> Array:
    # s - max(s) is at most 0, so its exp is at most 1. s is bounded first, or the difference of two
    # huge logits would overflow; no logit below max/4 changes.
    s = _within(s, float(xp.finfo(s.dtype).max) / 4, xp)
    return s - max_columns(s, xp)


class BinaryCrossEntropy(Loss):
    """Sigmoid and cross-entropy, column by column, for several labels a sample.

    With a target y_j from 0 to 1 in each column (Bishop 2006, section 4.3.2)::

        p = sigmoid(s),  L = -sum_j (y_j log p_j + (1 - y_j) log(1 - p_j)),  dL/ds = p - y
    """

    name = "binary_cross_entropy"
    classifies = "each"
    best_constant = "mean"

    def output(self, s: Array, xp: Namespace) -> Array:
        """Return p_j = 1 / (1 + e^{-s_j})."""
        return ACTIVATIONS["sigmoid"].function(s, xp)

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds = p - y."""
        return xp.sum(self._by_column(s, y, xp), axis=-1), self.output(s, xp) - y

    def _by_column(self, s: Array, y: Array, xp: Namespace) -> Array:
        # -y_j log p_j - (1 - y_j) log(1 - p_j) = max(s_j, 0) - y_j s_j + log(1 + e^-|s_j|),
        # a form that cancels nothing where the loss is small.
        b = _within(s, _limit(s, xp), xp)
        return xp.maximum(b, 0.0) - y * b + xp.log1p(xp.exp(-xp.abs(b)))


class CappedSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    """`SoftmaxCrossEntropy` whose value, not its gradient, is capped as scikit-learn's.

    A sample's L stays within [-log(1 - eps), -log(eps)], with eps of the dtype of the logits.
    """

    name = "capped_softmax_cross_entropy"

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's capped L, and dL/ds of the uncapped one."""
        value, delta = super().value_and_delta(s, y, xp)
        return _capped(value, xp), delta


class CappedBinaryCrossEntropy(BinaryCrossEntropy):
    """`BinaryCrossEntropy` whose value, not its gradient, is capped as scikit-learn's.

    A column's L stays within [-log(1 - eps), -log(eps)], with eps of the dtype of the logits.
    """

    name = "capped_binary_cross_entropy"

    def _by_column(self, s: Array, y: Array, xp: Namespace) -> Array:
        return _capped(super()._by_column(s, y, xp), xp)


def _capped(value: Array, xp: Namespace) -> Array:
    """The value -log p of a label, with p kept within [eps, 1 - eps]."""
    eps = float(xp.finfo(value.dtype).eps)
    return xp.minimum(xp.maximum(value, -log1p(-eps)), -log(eps))


class SquaredError(Loss):
    """Half the squared error, whose best constant output is the mean.

    The half makes the derivative a plain difference::

        L = 1/2 sum_j (s_j - y_j)^2,  dL/ds = s - y
    """

    name = "squared_error"
    best_constant = "mean"

    def rescaled(self, c: float) -> tuple[Loss, float]:
        """Itself, and c^2."""
        return self, c * c

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds = s - y."""
        delta = s - y
        return xp.sum(delta * delta, axis=-1) / 2, delta


class AbsoluteError(Loss):
    """The absolute error, whose best constant output is the median.

    The derivative is 0 where s = y::

        L = sum_j |s_j - y_j|,  dL/ds = sign(s - y)
    """

    name = "absolute_error"
    best_constant = "median"

    def rescaled(self, c: float) -> tuple[Loss, float]:
        """Itself, and c."""
        return self, c

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds = sign(s - y)."""
        e = _within(s, _limit(s, xp), xp) - y
        return xp.sum(xp.abs(e), axis=-1), _sign(e, xp)


class Poisson(Loss):
    """Half the Poisson deviance, for counts and rates (McCullagh, Nelder 1989, section 2.3).

    With targets y_j from 0, and 0 log 0 = 0::

        r = e^s,  L = sum_j (y_j log(y_j / r_j) - y_j + r_j),  dL/ds = r - y
    """

    name = "poisson"
    least_target = 0.0
    best_constant = "mean"

    def output(self, s: Array, xp: Namespace) -> Array:
        """Return the rates r_j = e^{s_j}."""
        return xp.exp(xp.minimum(s, log(_limit(s, xp))))

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds = r - y."""
        rate, limit = self.output(s, xp), _limit(s, xp)
        log_y = xp.log(xp.maximum(y, float(xp.finfo(s.dtype).smallest_normal)))  # 0 log 0 = 0
        log_rate = xp.minimum(xp.maximum(s, -limit / xp.maximum(y, 1.0)), log(limit))
        return xp.sum(y * (log_y - log_rate) - y + rate, axis=-1), rate - y


# What rounds to 0 in float32, or a level to 1, would be a loss that is 0 for all outputs.
_THRESHOLD = Rule("a positive number, from 1e-30", lambda v: 1e-30 <= v < inf)
_FINEST_LEVEL = 1e-6


@dataclass(frozen=True)
class Huber(Loss):
    """Squared error for small errors, absolute error for large ones (Huber 1964).

    As PyTorch's HuberLoss, with e = s - y::

        L = sum_j (e_j^2 / 2 where |e_j| <= d, else d (|e_j| - d/2)),  dL/ds = e bounded to [-d, d]

    Attributes:
        threshold: d, at least 1e-30, so that it is above 0 in single precision, too; or K values,
            one a member.

    Raises:
        ValueError: d is less.
    """

    threshold: float | Sequence[float] = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        keep_numbers(self, threshold=_THRESHOLD)

    @property
    def members(self) -> int | None:
        """K where there is a threshold for each of K members, else None."""
        return len(self.threshold) if isinstance(self.threshold, Sequence) else None

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds."""
        e = _within(s, _limit(s, xp), xp) - y
        delta = _within(e, self._threshold(s, xp), xp)
        # delta (e - delta/2) is e^2/2 where delta = e, and d (|e| - d/2) where delta = +-d.
        return xp.sum(delta * (e - delta / 2), axis=-1), delta

    def rescaled(self, c: float) -> tuple[Loss, float]:
        """That of threshold d / c, and c^2."""
        return replace(self, threshold=to_python(as_floats(self.threshold) / c)), c * c

    def _threshold(self, s: Array, xp: Namespace) -> Array | float:
        d = self.threshold
        return d if not isinstance(d, Sequence) else _constants(d, s, xp)[:, None, None]


def _constants(
    values: Sequence[float] | Sequence[Sequence[float]], s: Array, xp: Namespace
) -> Array:
    """The values as an array on the device of s, of its dtype."""
    return xp.asarray(values, dtype=s.dtype, device=array_api_compat.device(s))


@dataclass(frozen=True)
class Quantile(Loss):
    """Quantiles of the targets, several at once, by the pinball loss (Koenker, Bassett 1978).

    For each column of y there is an output for each level t: n_columns * n_levels outputs, the
    levels of the first column first. With e = s - y, and sums over columns and levels::

        L = sum ((1 - t) e where e > 0, else -t e)
        dL/ds = 1 - t where e > 0, -t where e < 0, 1/2 - t where e = 0

    The outputs are the logits in ascending order, so that quantiles never cross (Chernozhukov,
    Fernandez-Val, Galichon 2010); the loss is of the logits as they stand.

    Attributes:
        levels: between 0 and 1, ascending; or K sequences of them, all of one length, one a member.

    Raises:
        ValueError: levels that are none of these.
    """

    levels: Sequence[float] | Sequence[Sequence[float]] = (0.1, 0.5, 0.9)
    name = "quantile"
    best_constant = "quantiles"

    def __post_init__(self) -> None:
        levels = to_python(self.levels)
        levels = tuple(map(to_python, levels)) if isinstance(levels, tuple) else (levels,)
        rows = levels if any(isinstance(t, tuple) for t in levels) else (levels,)
        if not all(map(_is_row, rows)) or len({len(row) for row in rows}) > 1:
            raise ValueError(
                "levels must be numbers between 0 and 1, ascending, from 1e-6 to 1 - 1e-6 (or as "
                f"many of them for each member), not {self.levels!r}"
            )
        object.__setattr__(self, "levels", levels)

    @property
    def members(self) -> int | None:
        """K where there are levels for each of K members, else None."""
        return len(self.levels) if isinstance(self.levels[0], Sequence) else None

    @property
    def outputs_per_target(self) -> int:
        """The number of levels."""
        first = self.levels[0]
        return len(first) if isinstance(first, Sequence) else len(self.levels)

    def rescaled(self, c: float) -> tuple[Loss, float]:
        """Itself, and c."""
        return self, c

    def output(self, s: Array, xp: Namespace) -> Array:
        """Return the quantiles of each target, ascending, for logits s; both (..., B, n)."""
        return xp.reshape(xp.sort(self._by_target(s, xp), axis=-1), s.shape)

    def _by_target(self, s: Array, xp: Namespace) -> Array:
        return xp.reshape(s, (*s.shape[:-1], -1, self.outputs_per_target))

    def value_and_delta(self, s: Array, y: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return each sample's L and dL/ds."""
        levels = _constants(self.levels, s, xp)
        if self.members is not None:
            levels = levels[:, None, None, :]
        e = self._by_target(_within(s, _limit(s, xp), xp), xp) - y[..., None]
        delta = (1 + _sign(e, xp)) / 2 - levels
        return xp.sum(e * delta, axis=(-2, -1)), xp.reshape(delta, s.shape)


def _is_row(levels: object) -> bool:
    """True for one network's levels: a tuple of ascending numbers between 0 and 1."""
    if not isinstance(levels, tuple) or not all(is_number(t) for t in levels):
        return False
    within = all(_FINEST_LEVEL <= t <= 1 - _FINEST_LEVEL for t in levels)
    return bool(levels) and within and all(a < b for a, b in pairwise(levels))


OWN = (
    "a Loss of your own, an instance of a subclass of arraymlp.losses.Loss with a name and "
    "value_and_delta(s, y, xp)"
)
LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        SoftmaxCrossEntropy(),
        BinaryCrossEntropy(),
        CappedSoftmaxCrossEntropy(),
        CappedBinaryCrossEntropy(),
        SquaredError(),
        AbsoluteError(),
        Huber(),
        Poisson(),
        Quantile(),
    )
}


def get_loss(name: str | Loss) -> Loss:
    """The loss of that name; an unknown name is a ValueError with the nearest match.

    ===================== ============= ========================================= ================
    name                  y_hat         L of one sample                           target y
    ===================== ============= ========================================= ================
    softmax_cross_entropy softmax(s)    ``-sum_j y_j log y_hat_j``                label or one-hot
    binary_cross_entropy  sigmoid(s)    ``-sum_j (y_j log y_hat_j``               0 or 1 a column
                                        ``+ (1 - y_j) log(1 - y_hat_j))``
    squared_error         s             ``1/2 sum_j (s_j - y_j)^2``               numbers
    absolute_error        s             ``sum_j |s_j - y_j|``                     numbers
    huber                 s             see `Huber`; threshold 1                  numbers
    poisson               e^s           ``sum_j (y_j log(y_j / y_hat_j)``         numbers from 0,
                                        ``- y_j + y_hat_j)``, half the deviance   such as counts
    quantile              s, ascending  see `Quantile`; levels 0.1, 0.5, 0.9      numbers
    ===================== ============= ========================================= ================

    The first three and poisson have dL/ds = y_hat - y.

    Of the first two there are capped forms, capped_softmax_cross_entropy and
    capped_binary_cross_entropy, for labels: a label's value is at most -log(eps), 36.0 in float64
    and 15.9 in float32. That is the loss of scikit-learn's MLPClassifier, which keeps probabilities
    within [eps, 1 - eps] in its value and not in its gradient.
    """
    return name if isinstance(name, Loss) else lookup(LOSSES, name, "loss", OWN)
