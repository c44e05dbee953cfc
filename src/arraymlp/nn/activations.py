"""Activation functions and their derivatives, because a layer needs both, always together.

The formulas and their sources stand in the table of `get_activation`.

Every function takes the weighted sums ``s`` of any shape and the namespace ``xp`` of its arrays. A
derivative also gets ``z = f(s)``, by which it is often simpler to write. No function overflows or
warns, whatever finite ``s`` it is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi, sqrt

from arraymlp._checks import lookup, require_arguments
from arraymlp.backends.array import Array, Namespace, array_namespace


@dataclass(frozen=True)
class Activation:
    """A function f applied to each weighted sum, and its derivative f'.

    One of your own can be trained with; `save` refuses it, since `load` could not find it again.

    Attributes:
        name: the name it is looked up and saved by.
        function: ``(s, xp) -> f(s)``, same shape as s.
        derivative: ``(s, z, xp) -> f'(s)`` with z = f(s), same shape as s; a float where constant.
        initializer: the initialiser that "auto" means for a layer with this activation.
    """

    name: str
    function: Callable[[Array, Namespace], Array]
    derivative: Callable[[Array, Array, Namespace], Array | float]
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        require_arguments(self.function, ("s", "xp"), f"function of activation {self.name}")
        require_arguments(
            self.derivative, ("s", "z", "xp"), f"derivative of activation {self.name}"
        )

    def __call__(self, s: Array) -> Array:
        """Return f(s)."""
        return self.function(s, array_namespace(s))


def _identity(s: Array, xp: Namespace) -> Array:
    return s


def _identity_derivative(s: Array, z: Array, xp: Namespace) -> float:
    return 1.0


def _sigmoid(s: Array, xp: Namespace) -> Array:
    return 1 / (1 + xp.exp(-_above_overflow(s, xp)))


def _above_overflow(s: Array, xp: Namespace) -> Array:
    return xp.maximum(s, least_exponent(s, xp))


def least_exponent(s: Array, xp: Namespace) -> float:
    """The lower bound of s, for its dtype, above which e^-s stays finite.

    A sigmoid of an s bounded by it is off by less than 3/max.
    """
    return 1 - log(xp.finfo(s.dtype).max)


def _sigmoid_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return z * (1 - z)


def _relu(s: Array, xp: Namespace) -> Array:
    return xp.maximum(s, 0.0)


def _relu_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return xp.astype(s > 0, s.dtype)


def _tanh(s: Array, xp: Namespace) -> Array:
    return xp.tanh(s)


def _tanh_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return 1 - z * z


def _softplus(s: Array, xp: Namespace) -> Array:
    # log(1 + e^s) = max(s, 0) + log(1 + e^-|s|), whose exponent is never positive.
    return xp.maximum(s, 0.0) + xp.log1p(xp.exp(-xp.abs(s)))


def _softplus_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return _sigmoid(s, xp)


LEAK = 0.01  # slope of leaky_relu left of 0 (Maas et al. 2013)


def _leaky_relu(s: Array, xp: Namespace) -> Array:
    return xp.maximum(s, LEAK * s)


def _leaky_relu_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return LEAK + (1 - LEAK) * xp.astype(s > 0, s.dtype)


def _elu(s: Array, xp: Namespace) -> Array:
    return xp.maximum(s, 0.0) + xp.expm1(xp.minimum(s, 0.0))


def _elu_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    return 1 + xp.minimum(z, 0.0)  # e^s = z + 1 where s < 0


GELU_SCALE, GELU_CUBIC = sqrt(2 / pi), 0.044715


def _gelu_tanh(s: Array, xp: Namespace) -> tuple[Array, Array]:
    # tanh is 1 to the last bit long before |s| = 30; bounded there, its argument cannot overflow.
    bounded = xp.minimum(xp.maximum(s, -30.0), 30.0)
    return bounded, xp.tanh(GELU_SCALE * (bounded + GELU_CUBIC * bounded**3))


def _gelu(s: Array, xp: Namespace) -> Array:
    _, t = _gelu_tanh(s, xp)
    return s * (0.5 * (1 + t))


def _gelu_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    # With t = tanh u and u = sqrt(2/pi) (s + 0.044715 s^3): f' = (1 + t) / 2 + s/2 (1 - t^2) u'.
    bounded, t = _gelu_tanh(s, xp)
    slope = GELU_SCALE * (1 + 3 * GELU_CUBIC * bounded**2)
    return 0.5 * (1 + t) + 0.5 * bounded * (1 - t * t) * slope


def _silu(s: Array, xp: Namespace) -> Array:
    # s is bounded too, or a huge negative s would make the bound's tiny sigmoid count.
    return _above_overflow(s, xp) * _sigmoid(s, xp)


def _silu_derivative(s: Array, z: Array, xp: Namespace) -> Array:
    g = _sigmoid(s, xp)  # f = s g, and g' = g (1 - g)
    return g + z * (1 - g)


OWN = (
    "an arraymlp.activations.Activation(name, function, derivative) of your own, with "
    "function(s, xp) and derivative(s, z, xp)"
)
ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", _identity, _identity_derivative),
        Activation("sigmoid", _sigmoid, _sigmoid_derivative),
        Activation("tanh", _tanh, _tanh_derivative),
        Activation("relu", _relu, _relu_derivative, "he_normal"),
        Activation("leaky_relu", _leaky_relu, _leaky_relu_derivative, "he_normal"),
        Activation("elu", _elu, _elu_derivative, "he_normal"),
        Activation("softplus", _softplus, _softplus_derivative, "he_normal"),
        Activation("gelu", _gelu, _gelu_derivative, "he_normal"),
        Activation("silu", _silu, _silu_derivative, "he_normal"),
    )
}


def get_activation(name: str | Activation) -> Activation:
    """The activation of that name; an unknown name is a ValueError with the nearest match.

    ========== ================================================= ================================
    name       f(s)                                              source
    ========== ================================================= ================================
    identity   ``s``
    sigmoid    ``1 / (1 + e^-s)``                                Rumelhart, Hinton, Williams 1986
    tanh       ``tanh s``                                        LeCun et al. 1998
    relu       ``max(s, 0)``; derivative 0 at s = 0              Nair, Hinton 2010
    leaky_relu ``max(s, 0.01 s)``                                Maas, Hannun, Ng 2013
    elu        ``s if s > 0 else e^s - 1``                       Clevert et al. 2016
    softplus   ``log(1 + e^s)``                                  Dugas et al. 2001
    gelu       ``s/2 (1 + tanh(sqrt(2/pi) (s + 0.044715 s^3)))`` Hendrycks, Gimpel 2016
    silu       ``s / (1 + e^-s)``                                Elfwing et al. 2018
    ========== ================================================= ================================

    In the code of ``arraymlp/nn/activations.py`` each derivative stands beside its f.
    """
    return name if isinstance(name, Activation) else lookup(ACTIVATIONS, name, "activation", OWN)
