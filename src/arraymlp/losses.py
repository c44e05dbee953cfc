"""Losses, each with its output function, because the two together have a simple derivative.

A loss takes the network's *logits* s, the weighted sums of the last layer, and not the outputs
made from them. So it can compute its value without overflow, and its derivative with respect to s
is the same difference for all three: output minus target (Bishop 2006, section 5.2 and eq. 4.108).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat

from arraymlp._checks import lookup
from arraymlp.activations import ACTIVATIONS
from arraymlp.backend import Array, array_namespace


@dataclass(frozen=True)
class Loss:
    """What a network's last layer means, and how wrong it is.

    Attributes:
        name: the name it is looked up and saved by.
        output: ``(s, xp) -> y_hat``, (..., B, n) to (..., B, n): probabilities, or s itself.
        value_and_delta: ``(s, y, xp) -> L, dL/ds``, of each sample: (..., B) and (..., B, n).
        classifies: "one" class a sample, "each" column on its own, or "no" (regression).
    """

    name: str
    output: Callable[[Array, Any], Array]
    value_and_delta: Callable[[Array, Array, Any], tuple[Array, Array]]
    classifies: str

    def __call__(self, s: Array, y: Array) -> tuple[Array, Array]:
        """Return each sample's loss (..., B) and its derivative dL/ds (..., B, n).

        Args:
            s: logits (..., B, n).
            y: targets (..., B, n), or for softmax_cross_entropy also labels (..., B), integers from
                0 to n - 1.
        """
        return self.value_and_delta(s, y, array_namespace(s))


def one_hot(labels: Array, n: int, dtype: Any, xp: Any) -> Array:
    """Labels (..., B) as rows of zeros with a one: (..., B, n)."""
    device = array_api_compat.device(labels)
    return xp.astype(labels[..., None] == xp.arange(n, dtype=labels.dtype, device=device), dtype)


def _shifted(s: Array, xp: Any) -> Array:
    # s - max(s) is at most 0, so its exp is at most 1. Bounding s first keeps the difference of two
    # huge logits finite; no logit below max/4 changes.
    bound = float(xp.finfo(s.dtype).max) / 4
    s = xp.minimum(xp.maximum(s, -bound), bound)
    return s - xp.max(s, axis=-1, keepdims=True)


def _softmax(s: Array, xp: Any) -> Array:
    e = xp.exp(_shifted(s, xp))
    return e / xp.sum(e, axis=-1, keepdims=True)


def _softmax_cross_entropy(s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
    # L = -sum_j y_j log p_j = log sum_j e^{t_j} - sum_j y_j t_j, with t = s - max s, sum_j y_j = 1
    if xp.isdtype(y.dtype, "integral"):
        y = one_hot(y, s.shape[-1], s.dtype, xp)
    t = _shifted(s, xp)
    e = xp.exp(t)
    total = xp.sum(e, axis=-1, keepdims=True)
    value = xp.log(total)[..., 0] - xp.sum(y * t, axis=-1)
    return value, e / total - y


def _logistic(s: Array, xp: Any) -> Array:
    return ACTIVATIONS["sigmoid"].function(s, xp)


def _binary_cross_entropy(s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
    # L = sum_j -y_j log p_j - (1 - y_j) log(1 - p_j)
    #   = sum_j max(s_j, 0) - y_j s_j + log(1 + e^-|s_j|), which keeps what softplus would cancel
    bound = float(xp.finfo(s.dtype).max) / (4 * s.shape[-1])
    b = xp.minimum(xp.maximum(s, -bound), bound)
    value = xp.maximum(b, 0.0) - y * b + xp.log1p(xp.exp(-xp.abs(b)))
    return xp.sum(value, axis=-1), _logistic(s, xp) - y


def _same(s: Array, xp: Any) -> Array:
    return s


def _squared_error(s: Array, y: Array, xp: Any) -> tuple[Array, Array]:
    # L = 1/2 sum_j (s_j - y_j)^2
    delta = s - y
    return xp.sum(delta * delta, axis=-1) / 2, delta


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("softmax_cross_entropy", _softmax, _softmax_cross_entropy, classifies="one"),
        Loss("binary_cross_entropy", _logistic, _binary_cross_entropy, classifies="each"),
        Loss("squared_error", _same, _squared_error, classifies="no"),
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
    ===================== ============= ======================================= ================

    All three have dL/ds = y_hat - y.
    """
    return name if isinstance(name, Loss) else lookup(LOSSES, name, "loss")
