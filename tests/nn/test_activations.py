"""Activations: the published formulas, at any weighted sum, on every backend."""

from math import erf, exp, expm1, log, pi, sqrt, tanh

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.nn.activations import ACTIVATIONS, Activation, get_activation
from conftest import assert_same
from problems import dtypes_of

# Textbook formulas, for the Python floats between -20 and 20 where they do not overflow.
FORMULAS = {
    "identity": lambda s: s,
    "sigmoid": lambda s: 1 / (1 + exp(-s)),
    "tanh": lambda s: (exp(s) - exp(-s)) / (exp(s) + exp(-s)),
    "relu": lambda s: s if s > 0 else 0.0,
    "leaky_relu": lambda s: s if s > 0 else 0.01 * s,
    "elu": lambda s: s if s > 0 else expm1(s),
    "softplus": lambda s: log(1 + exp(s)),
    "gelu": lambda s: s / 2 * (1 + tanh(sqrt(2 / pi) * (s + 0.044715 * s**3))),
    "silu": lambda s: s / (1 + exp(-s)),
}
# f and f' far to the left, at 0, and far to the right; a function where f grows with s.
LIMITS = {
    "identity": ((lambda s: s, 1), (0, 1), (lambda s: s, 1)),
    "sigmoid": ((0, 0), (0.5, 0.25), (1, 0)),
    "tanh": ((-1, 0), (0, 1), (1, 0)),
    "relu": ((0, 0), (0, 0), (lambda s: s, 1)),
    "leaky_relu": ((lambda s: 0.01 * s, 0.01), (0, 0.01), (lambda s: s, 1)),
    "elu": ((-1, 0), (0, 1), (lambda s: s, 1)),
    "softplus": ((0, 0), (log(2), 0.5), (lambda s: s, 1)),
    "gelu": ((0, 0), (0, 0.5), (lambda s: s, 1)),
    "silu": ((0, 0), (0, 0.5), (lambda s: s, 1)),
}
EVERY = pytest.mark.parametrize("name", sorted(ACTIVATIONS))
MODERATE = np.concatenate([np.linspace(-20, 20, 81), [1e-5, -1e-5]])  # 0 is among them
# Rounding of a sum of terms near |s| = 20, where a value near 0 is the difference of larger ones.
ROUNDING = {"float32": 20 * 2**-23, "float64": 20 * 2**-52}


def test_every_activation_has_a_formula_here() -> None:
    assert set(FORMULAS) == set(LIMITS) == set(ACTIVATIONS)


@EVERY
def test_value_is_the_published_formula(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        s = backend.asarray(MODERATE, dtype)
        expected = [FORMULAS[name](float(v)) for v in backend.to_numpy(s)]
        tolerance = ROUNDING[dtype]
        assert_same(get_activation(name)(s), backend.asarray(expected, dtype), tolerance, tolerance)


@EVERY
def test_derivative_is_the_slope_of_the_formula(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        f = get_activation(name)
        points = MODERATE[MODERATE != 0]  # relu has no slope at 0
        s = backend.asarray(points, dtype)
        h = 2e-6  # below the 1e-5 between the nearest point and the kink at 0
        formula = FORMULAS[name]
        slope = [
            (formula(float(v) + h) - formula(float(v) - h)) / (2 * h) for v in backend.to_numpy(s)
        ]
        derivative = f.derivative(s, f(s), backend.xp) * backend.xp.ones_like(s)
        # The difference is off by eps |f| / h = 2e-9 at |s| = 20.
        tolerance = max(ROUNDING[dtype], 1e-8)
        assert_same(derivative, backend.asarray(slope, dtype), tolerance, tolerance)


@EVERY
def test_extreme_sums_reach_the_limits_without_a_warning(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        huge = np.asarray([1e4, 1e30, np.finfo(dtype).max])
        s_host = np.concatenate([-huge, np.zeros(3), huge]).astype(dtype)
        s = backend.asarray(s_host)
        f = get_activation(name)
        with np.errstate(all="raise", under="ignore"):
            z = f(s)
            slope = f.derivative(s, z, backend.xp) * backend.xp.ones_like(s)
        limits = [limit for limit in LIMITS[name] for _ in huge]
        values = [
            value(float(v)) if callable(value) else value
            for v, (value, _) in zip(s_host, limits, strict=True)
        ]
        eps = float(np.finfo(dtype).eps)
        # Far to the left, sigmoid and silu are bounded away from 0 by less than 100 / finfo.max.
        assert_same(z, backend.asarray(values, dtype), eps, 1e-35)
        assert_same(slope, backend.asarray([d for _, d in limits], dtype), eps, 1e-35)


@EVERY
def test_the_argument_is_not_written(quick_backend: Backend, name: str) -> None:
    s = quick_backend.asarray(MODERATE, "float32", copy=True)
    f = get_activation(name)
    f.derivative(s, f(s), quick_backend.xp)
    assert_same(s, quick_backend.asarray(MODERATE, "float32"))


def test_relu_derivative_at_zero_is_zero(backend: Backend) -> None:
    zero = backend.asarray(np.zeros(3), "float32")
    relu = get_activation("relu")
    assert_same(relu.derivative(zero, relu(zero), backend.xp), zero)


def test_gelu_in_its_tanh_form_is_close_to_the_exact_one() -> None:
    s = np.linspace(-5, 5, 201)
    exact = [v / 2 * (1 + erf(v / sqrt(2))) for v in s]
    # 5e-4 is the tanh form's own error (Hendrycks, Gimpel 2016), not ours.
    np.testing.assert_allclose(get_activation("gelu")(s), exact, rtol=0, atol=5e-4)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'sigmiod': did you mean 'sigmoid'"):
        get_activation("sigmiod")


def test_an_activation_stands_for_itself() -> None:
    square = Activation("square", lambda s, xp: s * s, lambda s, z, xp: 2 * s)
    assert get_activation(square) is square
