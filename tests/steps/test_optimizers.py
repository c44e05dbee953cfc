"""Optimisers against plain transcriptions of their formulas, and against PyTorch's."""

from dataclasses import fields, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, optimizers
from arraymlp.optimizers import SGD
from arraymlp.steps.optimizers import OPTIMIZERS, Adam, AdamW, Optimizer, RMSProp, get_optimizer
from arraymlp.steps.update import arrays_of
from conftest import assert_same

STEPS = 120
SHAPE = (3, 2)
RATE = 0.05
RULES: dict[str, Any] = {
    "plain": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(0.8, 0.99, 1e-3),
    "adam, epsilon hat": Adam(0.8, 0.99, 1e-3, epsilon_hat=True),
    "adamw": AdamW(0.8, 0.99, 1e-3),
    "rmsprop": RMSProp(0.9, 1e-3),
}
EVERY = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
HostArray = np.ndarray[Any, Any]


def start() -> HostArray:
    return np.random.default_rng(50).normal(size=SHAPE)


def gradient(w: HostArray, step: int) -> HostArray:
    """Of a bowl whose bottom moves, so that a mistake in any step shows in all later ones."""
    return w * np.asarray([[1.0, 2.0]]) + np.sin(step + np.arange(6.0)).reshape(SHAPE)


def falling(rate: Any = RATE) -> HostArray:
    """A learning rate that falls to a tenth: (STEPS, 1), or (STEPS, K) of K rates."""
    return np.linspace(1, 0.1, STEPS)[:, None] * np.atleast_1d(rate)


def transcription(rule: Any) -> HostArray:
    """w after STEPS steps of the falling rate, by the formulas in the rules' docstrings."""
    w, m, v = start(), np.zeros(SHAPE), np.zeros(SHAPE)
    for t, eta in enumerate(falling()[:, 0], 1):
        g = gradient(w, t - 1)
        if isinstance(rule, SGD):
            v = rule.momentum * v - eta * g
            w = w + rule.momentum * v - eta * g if rule.nesterov else w + v
        elif isinstance(rule, RMSProp):
            v = rule.rho * v + (1 - rule.rho) * g**2
            w = w - eta * g / (np.sqrt(v) + rule.epsilon)
        else:
            m = rule.beta1 * m + (1 - rule.beta1) * g
            v = rule.beta2 * v + (1 - rule.beta2) * g**2
            if rule.epsilon_hat:
                alpha = eta * np.sqrt(1 - rule.beta2**t) / (1 - rule.beta1**t)
                w = w - alpha * m / (np.sqrt(v) + rule.epsilon)
            else:
                m_hat, v_hat = m / (1 - rule.beta1**t), v / (1 - rule.beta2**t)
                w = w - eta * m_hat / (np.sqrt(v_hat) + rule.epsilon)
    return w


def of_step(constants: Any, step: int, backend: Backend, dtype: str) -> Any:
    """One step's constants: of numbers, (K,), (S, 1) and (S, K), numbers and (K, 1, 1)."""

    def value_of_step(value: Any) -> Any:
        v = np.asarray(value)
        v = v[step] if v.ndim == 2 else v
        return v.item() if v.size == 1 else backend.asarray(v.reshape(-1, 1, 1), dtype)

    return type(constants)(*map(value_of_step, constants))


def ours(rule: Optimizer, backend: Backend, dtype: str, w: HostArray, rate: HostArray) -> HostArray:
    """w after as many steps of a rule on a backend as there are rows of rates."""
    parameter = backend.asarray(w, dtype, copy=True)
    state = rule.initial_state(parameter, backend.xp)
    constants = rule.constants(rate, np.arange(1, len(rate) + 1)[:, None])
    for step in range(len(rate)):
        g = backend.asarray(gradient(np.asarray(backend.to_numpy(parameter), float), step), dtype)
        of_this = of_step(constants, step, backend, dtype)
        parameter, state = rule.update(parameter, g, state, of_this, backend.xp)
    return np.array(backend.to_numpy(parameter))


@EVERY
def test_many_steps_are_those_of_the_formula(backend: Backend, float64: str, rule: Any) -> None:
    w = ours(rule, backend, float64, start(), falling())
    np.testing.assert_allclose(w, transcription(rule), rtol=1e-13, atol=1e-14)


# PyTorch's velocity has another unit, which shows where the rate falls (test_references.py).
TORCHS = {
    "plain": ("SGD", {}, falling()),
    "momentum": ("SGD", {"momentum": 0.9}, np.full((STEPS, 1), RATE)),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}, np.full((STEPS, 1), RATE)),
    "adam": ("Adam", {"betas": (0.8, 0.99), "eps": 1e-3}, falling()),
    "adamw": ("AdamW", {"betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.0}, falling()),
    "rmsprop": ("RMSprop", {"alpha": 0.9, "eps": 1e-3}, falling()),
}


@pytest.mark.parametrize("name", TORCHS)
def test_many_steps_are_those_of_torch(name: str, numpy_backend: Backend) -> None:
    torch = pytest.importorskip("torch")
    of, constants, rate = TORCHS[name]
    w = torch.tensor(start(), requires_grad=True)
    theirs = getattr(torch.optim, of)([w], lr=RATE, **constants)
    for step in range(STEPS):
        theirs.param_groups[0]["lr"] = rate[step, 0]
        w.grad = torch.tensor(gradient(w.detach().numpy(), step))
        theirs.step()
    w_of_ours = ours(RULES[name], numpy_backend, "float64", start(), rate)
    np.testing.assert_allclose(w_of_ours, w.detach().numpy(), rtol=1e-13, atol=1e-14)


OF_MEMBERS = {
    "momentum": SGD((0.0, 0.5, 0.9)),
    "nesterov": SGD((0.3, 0.5, 0.9), nesterov=True),
    "adam": Adam((0.0, 0.8, 0.9), (0.9, 0.99, 0.999), (1e-8, 1e-4, 1e-2)),
    "adam, epsilon hat": Adam(0.9, (0.9, 0.99, 0.999), (1e-8, 1e-4, 1e-2), epsilon_hat=True),
    "rmsprop": RMSProp((0.0, 0.9, 0.99), (1e-8, 1e-4, 1e-2)),
}


@pytest.mark.parametrize("rule", OF_MEMBERS.values(), ids=list(OF_MEMBERS))
def test_each_member_has_its_own_constants(backend: Backend, float64: str, rule: Any) -> None:
    rates = falling((0.2, 0.1, 0.05))[:10]
    population = np.stack([start() + k for k in range(3)])
    together = ours(rule, backend, float64, population, rates)
    for k in range(3):
        alone = {name: v[k] for name, v in vars(rule).items() if isinstance(v, tuple)}
        expected = ours(replace(rule, **alone), backend, float64, population[k], rates[:, [k]])
        np.testing.assert_allclose(together[k], expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("rule", [Adam(), Adam(epsilon_hat=True)], ids=["adam", "epsilon hat"])
def test_members_may_have_seen_different_numbers_of_steps(rule: Adam) -> None:
    # One that stopped early and one that did not go on together.
    together = rule.constants(np.asarray([[0.1], [0.2]]), np.asarray([[3, 7], [4, 8]]))
    for k, first in enumerate((3, 7)):
        alone = rule.constants(np.asarray([[0.1], [0.2]]), np.asarray([[first], [first + 1]]))
        for name, value in alone._asdict().items():
            of_member = np.broadcast_to(getattr(together, name), (2, 2))[:, [k]]
            np.testing.assert_array_equal(of_member, np.broadcast_to(value, (2, 1)), name)


@EVERY
def test_parameter_and_state_keep_their_kind(backend: Backend, dtype: str, rule: Any) -> None:
    w = backend.asarray(start(), dtype, copy=True)
    state = rule.initial_state(w, backend.xp)
    constants = rule.constants(falling(), np.arange(1, STEPS + 1)[:, None])
    g = backend.asarray(start(), dtype, copy=True)
    of_first = of_step(constants, 0, backend, dtype)
    after, new_state = rule.update(w, g, state, of_first, backend.xp)
    assert len(arrays_of(new_state)) == len(arrays_of(state))
    for array in (after, *arrays_of(new_state)):
        assert_same(array * 0, backend.asarray(np.zeros(SHAPE), dtype))


def test_plain_sgd_keeps_nothing_beside_a_parameter(numpy_backend: Backend) -> None:
    assert SGD().initial_state(start(), numpy_backend.xp) is None


@EVERY
def test_numpy_arrays_are_updated_in_place(numpy_backend: Backend, rule: Any) -> None:
    w = start()
    state = rule.initial_state(w, numpy_backend.xp)
    constants = rule.constants(falling(), np.ones((STEPS, 1)))
    of_first = of_step(constants, 0, numpy_backend, "float64")
    after, new_state = rule.update(w, start(), state, of_first, numpy_backend.xp)
    assert after is w
    if isinstance(state, tuple):
        assert all(a is b for a, b in zip(new_state, state, strict=True))
    else:
        assert new_state is state


# Constants, what they must be, and what they must not.
FRACTION = ("from 0 up to but not 1", [-0.1, 1, 1.5, nan, "0.9", None, True, (0.5, 1.0)])
POSITIVE = ("a positive number", [0, -1e-8, inf, nan, "1e-8", None, True, (1e-8, 0.0)])
NOT_NEGATIVE = ("a number from 0", [-0.01, inf, nan, "0.01", None, True, (0.01, -0.01)])
OR_NONE = (NOT_NEGATIVE[0], [value for value in NOT_NEGATIVE[1] if value is not None])
CONSTANTS = [
    (SGD, "momentum", FRACTION),
    (Adam, "beta1", FRACTION),
    (Adam, "beta2", FRACTION),
    (Adam, "epsilon", POSITIVE),
    (AdamW, "beta1", FRACTION),
    (AdamW, "weight_decay", OR_NONE),
    (RMSProp, "rho", FRACTION),
    (RMSProp, "epsilon", POSITIVE),
]


@pytest.mark.parametrize(("kind", "name", "rule"), CONSTANTS)
def test_impossible_constants_are_refused(kind: Any, name: str, rule: Any) -> None:
    what, impossible = rule
    for value in impossible:
        with pytest.raises(ValueError, match=f"^{name} must be {what}, not "):
            kind(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} is empty: give one value for each member"):
        kind(**{name: []})


def test_constants_may_be_arrays_and_lists() -> None:
    assert SGD(np.asarray([0.5, 0.9])) == SGD([0.5, 0.9]) == SGD((0.5, 0.9))
    adam = Adam(beta1=[0.8, 0.9], epsilon=np.float64(1e-3))
    assert adam == Adam(beta1=(0.8, 0.9), epsilon=1e-3)
    assert {type(getattr(adam, f.name)) for f in fields(adam)} == {tuple, float, bool}


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        SGD(nesterov=True)


def test_names_stand_for_these_rules() -> None:
    assert {
        "sgd": SGD(momentum=0.0, nesterov=False),
        "momentum": SGD(momentum=0.9, nesterov=False),
        "nesterov": SGD(momentum=0.9, nesterov=True),
        "adam": Adam(beta1=0.9, beta2=0.999, epsilon=1e-8, epsilon_hat=False),
        "adamw": AdamW(0.9, 0.999, 1e-8, epsilon_hat=False, weight_decay=0.01),
        "rmsprop": RMSProp(rho=0.99, epsilon=1e-8),
    } == OPTIMIZERS
    assert all(get_optimizer(name) is rule for name, rule in OPTIMIZERS.items())


def test_every_rule_is_public_and_held_against_its_formula() -> None:
    kinds = {type(rule) for rule in OPTIMIZERS.values()}
    assert {kind.__name__ for kind in kinds} <= set(optimizers.__all__)
    assert kinds <= {type(rule) for rule in RULES.values()}


def test_an_optimizer_stands_for_itself() -> None:
    assert get_optimizer(rule := SGD(momentum=0.3)) is rule


def test_the_docstring_has_every_name() -> None:
    for name in OPTIMIZERS:
        assert f'"{name}"' in (get_optimizer.__doc__ or "")


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown optimizer 'nestrov': did you mean 'nesterov'"):
        get_optimizer("nestrov")


@pytest.mark.parametrize("value", [None, 3, SGD, Adam])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="unknown optimizer"):
        get_optimizer(value)
