"""Losses: naive formulas where those work, and right values where they overflow."""

from math import exp, log

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.losses import LOSSES, loss, one_hot
from conftest import assert_same

B, N = 5, 3
RNG = np.random.default_rng(30)
LOGITS = RNG.normal(0, 4, (B, N))
LABELS = np.asarray([0, 2, 1, 1, 0])
TARGETS = {
    "softmax_cross_entropy": np.eye(N)[LABELS],
    "binary_cross_entropy": RNG.integers(0, 2, (B, N)).astype(float),
    "squared_error": RNG.normal(0, 4, (B, N)),
}
EVERY = pytest.mark.parametrize("name", sorted(LOSSES))
CROSS_ENTROPIES = pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy"])
# A few roundings of terms near 20.
TOLERANCE = {"float32": 1e-5, "float64": 1e-14}


def naive_output(name: str, s: list[float]) -> list[float]:
    if name == "softmax_cross_entropy":
        return [exp(v) / sum(exp(u) for u in s) for v in s]
    if name == "binary_cross_entropy":
        return [1 / (1 + exp(-v)) for v in s]
    return s


def naive_value(name: str, s: list[float], y: list[float]) -> float:
    p = naive_output(name, s)
    pairs = list(zip(p, y, strict=True))
    if name == "softmax_cross_entropy":
        return -sum(t * log(q) for q, t in pairs)
    if name == "binary_cross_entropy":
        return -sum(t * log(q) + (1 - t) * log(1 - q) for q, t in pairs)
    return sum((q - t) ** 2 for q, t in pairs) / 2


@EVERY
def test_value_is_the_textbook_formula(backend: Backend, dtype: str, name: str) -> None:
    value, _ = loss(name)(backend.asarray(LOGITS, dtype), backend.asarray(TARGETS[name], dtype))
    expected = [
        naive_value(name, s, y)
        for s, y in zip(LOGITS.tolist(), TARGETS[name].tolist(), strict=True)
    ]
    assert_same(value, backend.asarray(expected, dtype), TOLERANCE[dtype], TOLERANCE[dtype])


@EVERY
def test_output_is_the_textbook_formula(backend: Backend, dtype: str, name: str) -> None:
    found = loss(name).output(backend.asarray(LOGITS, dtype), backend.xp)
    expected = [naive_output(name, s) for s in LOGITS.tolist()]
    assert_same(found, backend.asarray(expected, dtype), TOLERANCE[dtype], TOLERANCE[dtype])


@EVERY
def test_delta_is_the_slope_of_the_value(backend: Backend, float64: str, name: str) -> None:
    y = backend.asarray(TARGETS[name], float64)
    f = loss(name)
    _, delta = f(backend.asarray(LOGITS, float64), y)
    h = 6e-6  # see gradcheck.py
    slope = np.empty((B, N))
    for j in range(N):
        step = h * np.eye(N)[j]
        up, _ = f(backend.asarray(LOGITS + step, float64), y)
        down, _ = f(backend.asarray(LOGITS - step, float64), y)
        slope[:, j] = backend.to_numpy(up - down) / (2 * h)
    assert_same(delta, backend.asarray(slope, float64), rtol=1e-8, atol=1e-8)


def test_labels_mean_their_one_hot_rows(backend: Backend, dtype: str) -> None:
    s = backend.asarray(LOGITS, dtype)
    f = loss("softmax_cross_entropy")
    of_labels = f(s, backend.asarray(LABELS, "int32"))
    of_rows = f(s, backend.asarray(np.eye(N)[LABELS], dtype))
    for ours, theirs in zip(of_labels, of_rows, strict=True):
        assert_same(ours, theirs)


def test_one_hot_keeps_leading_axes(backend: Backend) -> None:
    labels = backend.asarray(np.asarray([LABELS, LABELS[::-1]]), "int32")
    found = one_hot(labels, 4, backend.dtype("float32"), backend.xp)
    assert_same(found, backend.asarray(np.eye(4)[[LABELS, LABELS[::-1]]], "float32"))


def test_soft_labels_are_allowed() -> None:
    y = np.asarray([[0.7, 0.2, 0.1]])
    value, delta = loss("softmax_cross_entropy")(LOGITS[:1], y)
    s = LOGITS[0].tolist()
    expected = naive_value("softmax_cross_entropy", s, y[0].tolist())
    np.testing.assert_allclose(value, [expected], rtol=1e-14)
    np.testing.assert_allclose(delta, [naive_output("softmax_cross_entropy", s) - y[0]], rtol=1e-14)


@EVERY
def test_leading_axis_is_one_loss_a_member(backend: Backend, name: str) -> None:
    members = np.stack([LOGITS, 2 * LOGITS, -LOGITS])
    y = backend.asarray(TARGETS[name], "float32")
    f = loss(name)
    value, delta = f(backend.asarray(members, "float32"), y)
    assert tuple(value.shape) == (3, B)
    for k in range(3):
        alone = f(backend.asarray(members[k], "float32"), y)
        # Summing over the last axis of a longer array may round otherwise.
        assert_same(value[k, :], alone[0], rtol=1e-6, atol=1e-6)
        assert_same(delta[k, :, :], alone[1], rtol=1e-6, atol=1e-6)


def test_softmax_rows_sum_to_one(backend: Backend, dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    rows = [[0, 0, 0], [largest, -largest, 0], [-largest] * 3, [88, 89, 90], [-1e30, 1e30, 1e30]]
    s = backend.asarray(np.asarray(rows, dtype))
    with np.errstate(all="raise", under="ignore"):
        p = loss("softmax_cross_entropy").output(s, backend.xp)
    sums = backend.xp.sum(p, axis=-1)
    eps = float(np.finfo(dtype).eps)
    assert_same(sums, backend.xp.ones_like(sums), atol=2 * eps)


# Logits and value in units of a huge number, target, output.
EXTREME = {
    "softmax_cross_entropy": [
        ([1, 0, -1], [1, 0, 0], 0, [1, 0, 0]),
        ([1, 0, -1], [0, 1, 0], 1, [1, 0, 0]),
        ([1, 0, -1], [0, 0, 1], 2, [1, 0, 0]),
        ([-1, -1, 1], [0, 0, 1], 0, [0, 0, 1]),
    ],
    "binary_cross_entropy": [
        ([1, -1, 1], [1, 0, 1], 0, [1, 0, 1]),
        ([1, -1, 1], [0, 0, 1], 1, [1, 0, 1]),
        ([1, -1, 1], [0, 1, 0], 3, [1, 0, 1]),
        ([-1, -1, -1], [1, 0, 0], 1, [0, 0, 0]),
    ],
}


@CROSS_ENTROPIES
@pytest.mark.parametrize("size", [1e4, 1e30, "max"])
def test_any_finite_logits_give_right_values_without_a_warning(
    backend: Backend, dtype: str, name: str, size: float | str
) -> None:
    largest = float(np.finfo(dtype).max)
    huge = largest if size == "max" else float(size)
    logits, targets, values, outputs = (np.asarray(a) for a in zip(*EXTREME[name], strict=True))
    s, y = backend.asarray(huge * logits, dtype), backend.asarray(targets, dtype)
    f = loss(name)
    with np.errstate(all="raise", under="ignore"):
        value, delta = f(s, y)
        output = f.output(s, backend.xp)
    # The smallest sigmoid is not 0 but at most 3 / finfo.max.
    assert_same(output, backend.asarray(outputs, dtype), atol=1e-35)
    assert_same(delta, backend.asarray(outputs - targets, dtype), atol=1e-35)
    if size == "max":  # a loss of 2 * max has no number: any huge one will do
        found = backend.to_numpy(value)
        assert np.isfinite(found).all()
        assert (found[values == 0] == 0).all()
        assert (found[values > 0] > largest / 32).all()
    else:
        assert_same(value, backend.asarray(huge * values, dtype), 2 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("size", [0, 1e30, -1e30, "max"])
def test_equal_logits_share_the_probability(
    backend: Backend, dtype: str, size: float | str
) -> None:
    s_host = np.full((1, N), np.finfo(dtype).max if size == "max" else size, dtype)
    label = backend.asarray(np.asarray([1]), "int32")
    with np.errstate(all="raise", under="ignore"):
        value, delta = loss("softmax_cross_entropy")(backend.asarray(s_host), label)
    eps = float(np.finfo(dtype).eps)
    assert_same(value, backend.asarray([log(3)], dtype), eps)
    assert_same(delta, backend.asarray([[1 / 3, -2 / 3, 1 / 3]], dtype), 2 * eps)


@EVERY
def test_arguments_are_not_written(backend: Backend, name: str) -> None:
    s = backend.asarray(LOGITS, "float32", copy=True)
    y = backend.asarray(TARGETS[name], "float32", copy=True)
    loss(name)(s, y)
    assert_same(s, backend.asarray(LOGITS, "float32"))
    assert_same(y, backend.asarray(TARGETS[name], "float32"))


@EVERY
def test_delta_shares_no_memory_with_the_arguments(name: str) -> None:
    s, y = LOGITS.copy(), TARGETS[name].copy()
    _, delta = loss(name)(s, y)  # a step scales it in place
    assert not np.shares_memory(delta, s)
    assert not np.shares_memory(delta, y)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'square_error': did you mean 'squared_"):
        loss("square_error")
