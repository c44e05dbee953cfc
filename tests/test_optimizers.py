"""SGD against a plain transcription of its formulas, and against PyTorch's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from arraymlp import SGD, Backend
from arraymlp.optimizers import OPTIMIZERS, optimizer
from conftest import assert_same

STEPS = 120
SHAPE = (3, 2)
RATE = 0.05
RULES = {
    "plain": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
}
EVERY = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
HostArray = np.ndarray[Any, Any]


def start() -> HostArray:
    return np.random.default_rng(50).normal(size=SHAPE)


def gradient(w: HostArray, step: int) -> HostArray:
    """Of a bowl whose bottom moves, so that a mistake in any step shows in all later ones."""
    return w * np.asarray([[1.0, 2.0]]) + np.sin(step + np.arange(6.0)).reshape(SHAPE)


def transcription(rate: float, momentum: float, nesterov: bool) -> HostArray:
    """w after STEPS steps, by the formulas in SGD's docstring."""
    w, v = start(), np.zeros(SHAPE)
    for step in range(STEPS):
        g = gradient(w, step)
        v = momentum * v - rate * g
        w = w + momentum * v - rate * g if nesterov else w + v
    return w


def ours(
    rule: SGD, backend: Backend, dtype: str, w: HostArray, rate: Any, steps: int = STEPS
) -> HostArray:
    """w after some steps of SGD.update on a backend."""
    parameter = backend.asarray(w, dtype, copy=True)
    state = rule.initial_state(parameter, backend.xp)
    hyper = {"learning_rate": rate}
    for name, value in rule.constants.items():
        hyper[name] = member_values(value, backend, dtype)
    for step in range(steps):
        g = gradient(np.asarray(backend.to_numpy(parameter), float), step)
        parameter, state = rule.update(parameter, backend.asarray(g, dtype), state, hyper)
    return np.array(backend.to_numpy(parameter))


def member_values(value: float | Sequence[float], backend: Backend, dtype: str) -> Any:
    """A number as it is, K of them as (K, 1, 1)."""
    if not isinstance(value, Sequence):
        return value
    return backend.asarray(np.asarray(value).reshape(-1, 1, 1), dtype)


@EVERY
def test_many_steps_are_those_of_the_formula(backend: Backend, float64: str, rule: SGD) -> None:
    found = ours(rule, backend, float64, start(), RATE)
    assert isinstance(rule.momentum, float)
    expected = transcription(RATE, rule.momentum, rule.nesterov)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@EVERY
def test_many_steps_are_those_of_torch(rule: SGD, numpy_backend: Backend) -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor(start(), requires_grad=True)
    theirs = torch.optim.SGD([w], lr=RATE, momentum=rule.momentum, nesterov=rule.nesterov)
    for step in range(STEPS):
        w.grad = torch.tensor(gradient(w.detach().numpy(), step))
        theirs.step()
    found = ours(rule, numpy_backend, "float64", start(), RATE)
    np.testing.assert_allclose(found, w.detach().numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("nesterov", [False, True])
def test_each_member_has_its_own_constants(backend: Backend, float64: str, nesterov: bool) -> None:
    momenta, rates = (0.0, 0.5, 0.9), (0.2, 0.1, 0.05)
    population = np.stack([start() + k for k in range(3)])
    together = ours(
        SGD(momentum=momenta, nesterov=nesterov),
        backend,
        float64,
        population,
        member_values(rates, backend, float64),
        steps=10,
    )
    for k in range(3):
        alone = SGD(momentum=momenta[k], nesterov=nesterov and momenta[k] > 0)
        expected = ours(alone, backend, float64, population[k], rates[k], steps=10)
        np.testing.assert_allclose(together[k], expected, rtol=1e-14, atol=1e-15)


@EVERY
def test_parameter_and_state_keep_their_kind(backend: Backend, dtype: str, rule: SGD) -> None:
    w = backend.asarray(start(), dtype, copy=True)
    state = rule.initial_state(w, backend.xp)
    hyper = {"learning_rate": RATE, **rule.constants}
    after, new_state = rule.update(w, backend.asarray(start(), dtype, copy=True), state, hyper)
    assert_same(after * 0, backend.asarray(np.zeros(SHAPE), dtype))
    if rule.momentum:
        assert_same(new_state * 0, after * 0)
    else:
        assert new_state is None


@EVERY
def test_numpy_arrays_are_updated_in_place(numpy_backend: Backend, rule: SGD) -> None:
    w = start()
    state = rule.initial_state(w, numpy_backend.xp)
    after, new_state = rule.update(w, start(), state, {"learning_rate": RATE, **rule.constants})
    assert after is w
    assert new_state is state


@pytest.mark.parametrize("momentum", [-0.1, 1, 1.5, float("nan"), "0.9", None, (0.5, 1.0)])
def test_impossible_momentum_is_refused(momentum: Any) -> None:
    with pytest.raises(ValueError, match="momentum must be from 0 up to but not 1, not "):
        SGD(momentum=momentum)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        SGD(nesterov=True)


def test_names_stand_for_the_rules_they_say() -> None:
    assert {
        "sgd": RULES["plain"],
        "momentum": RULES["momentum"],
        "nesterov": RULES["nesterov"],
    } == (OPTIMIZERS)
    assert optimizer("nesterov") == RULES["nesterov"]


def test_an_optimizer_stands_for_itself() -> None:
    assert optimizer(rule := SGD(momentum=0.3)) is rule


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown optimizer 'nestrov': did you mean 'nesterov'"):
        optimizer("nestrov")
