"""Losses: naive formulas where those work, and right values where they overflow."""

import re
from collections.abc import Callable
from math import log

import numpy as np
import pytest

from arraymlp import Backend, check_gradients, losses
from arraymlp.nn.losses import LOSSES, get_loss, one_hot, smoothed
from conftest import assert_same, on_host
from losses_by_hand import (
    CAPPED,
    CROSS_ENTROPIES,
    EVERY,
    LABELS,
    LOGITS,
    TARGETS,
    TOLERANCE,
    B,
    N,
    naive_output,
    naive_value,
)
from problems import dtypes_of


@EVERY
def test_value_is_the_textbook_formula(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        value, _ = get_loss(name)(
            backend.asarray(LOGITS, dtype), backend.asarray(TARGETS[name], dtype)
        )
        expected = [
            naive_value(name, s, y)
            for s, y in zip(LOGITS.tolist(), TARGETS[name].tolist(), strict=True)
        ]
        assert_same(value, backend.asarray(expected, dtype), TOLERANCE[dtype], TOLERANCE[dtype])


@EVERY
def test_output_is_the_textbook_formula(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        output = get_loss(name).output(backend.asarray(LOGITS, dtype), backend.xp)
        expected = [naive_output(name, s) for s in LOGITS.tolist()]
        assert_same(output, backend.asarray(expected, dtype), TOLERANCE[dtype], TOLERANCE[dtype])


@EVERY
def test_delta_is_the_slope_of_the_value(backend: Backend, float64: str, name: str) -> None:
    check = check_gradients(name, LOGITS, TARGETS[name], backend=backend, tolerance=1e-8)
    assert check.kinks < LOGITS.size / 4


def test_labels_mean_their_one_hot_rows(backend: Backend) -> None:
    for dtype in dtypes_of(backend):
        s = backend.asarray(LOGITS, dtype)
        f = get_loss("softmax_cross_entropy")
        of_labels = f(s, backend.asarray(LABELS, "int32"))
        of_rows = f(s, backend.asarray(np.eye(N)[LABELS], dtype))
        for ours, theirs in zip(of_labels, of_rows, strict=True):
            assert_same(ours, theirs)


def test_one_hot_keeps_leading_axes(backend: Backend) -> None:
    labels = backend.asarray(np.asarray([LABELS, LABELS[::-1]]), "int32")
    rows = one_hot(labels, 4, backend.dtype("float32"), backend.xp)
    assert_same(rows, backend.asarray(np.eye(4)[[LABELS, LABELS[::-1]]], "float32"))


def test_soft_labels_are_allowed() -> None:
    y = np.asarray([[0.7, 0.2, 0.1]])
    value, delta = get_loss("softmax_cross_entropy")(LOGITS[:1], y)
    s = LOGITS[0].tolist()
    expected = naive_value("softmax_cross_entropy", s, y[0].tolist())
    np.testing.assert_allclose(value, [expected], rtol=1e-14)
    np.testing.assert_allclose(delta, [naive_output("softmax_cross_entropy", s) - y[0]], rtol=1e-14)


@EVERY
def test_leading_axis_is_one_loss_a_member(quick_backend: Backend, name: str) -> None:
    members = np.stack([LOGITS, 2 * LOGITS, -LOGITS])
    y = quick_backend.asarray(TARGETS[name], "float32")
    f = get_loss(name)
    value, delta = f(quick_backend.asarray(members, "float32"), y)
    assert tuple(value.shape) == (3, B)
    for k in range(3):
        alone = f(quick_backend.asarray(members[k], "float32"), y)
        # Summing over the last axis of a longer array may round otherwise.
        assert_same(value[k, :], alone[0], rtol=1e-6, atol=1e-6)
        assert_same(delta[k, :, :], alone[1], rtol=1e-6, atol=1e-6)


def test_softmax_rows_sum_to_one(backend: Backend) -> None:
    for dtype in dtypes_of(backend):
        largest = float(np.finfo(dtype).max)
        rows = [
            [0, 0, 0],
            [largest, -largest, 0],
            [-largest] * 3,
            [88, 89, 90],
            [-1e30, 1e30, 1e30],
        ]
        s = backend.asarray(np.asarray(rows, dtype))
        with np.errstate(all="raise", under="ignore"):
            p = get_loss("softmax_cross_entropy").output(s, backend.xp)
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


@pytest.mark.parametrize("name", CAPPED)
def test_the_capped_value_is_that_of_clipped_probabilities(
    quick_backend: Backend, name: str
) -> None:
    """As scikit-learn has it: each probability within [eps, 1 - eps]; the slope is as it was."""
    for dtype in dtypes_of(quick_backend):
        s = np.asarray([[0, 1, 2], [60, 0, -60], [0, 0, 90], [-90, 0, 90.0]])
        y = np.asarray([[1, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0.0]])
        value, delta = get_loss(f"capped_{name}")(
            quick_backend.asarray(s, dtype), quick_backend.asarray(y, dtype)
        )
        plain, slope = get_loss(name)(
            quick_backend.asarray(s, dtype), quick_backend.asarray(y, dtype)
        )
        eps = float(np.finfo(dtype).eps)
        p = np.clip([naive_output(name, row) for row in s.tolist()], eps, 1 - eps)
        log_likelihood = y * np.log(p)
        if name == "binary_cross_entropy":
            log_likelihood += (1 - y) * np.log1p(-p)
        assert_same(value, quick_backend.asarray(-log_likelihood.sum(axis=1), dtype), 1e-5, 1e-6)
        assert_same(delta, slope)
        assert on_host(plain)[1] > on_host(value)[1] + 10


# All of a sign in a sample, some of each, and one alone.
SIGNS = np.asarray([[1, 1, 1], [-1, -1, -1], [1, -1, 1], [-1, 1, -1], [0, 0, 1]])
# Losses whose value at huge logits is more than the largest number: infinity is right.
SQUARES = {"squared_error"}


@EVERY
def test_any_finite_logits_give_finite_numbers_without_a_warning(
    backend: Backend, name: str
) -> None:
    f = get_loss(name)
    for dtype in dtypes_of(backend):
        largest = float(np.finfo(dtype).max)
        y = backend.asarray(TARGETS[name], dtype)
        for huge in (1e4, 1e30, largest / 2, largest):
            s = backend.asarray(huge * SIGNS, dtype)
            infinite = name in SQUARES and huge > largest**0.5 / 4
            with np.errstate(all="raise", under="ignore", over="ignore" if infinite else "raise"):
                value, delta = f(s, y)
                output = f.output(s, backend.xp)
            np.testing.assert_array_equal(np.isinf(on_host(value)), infinite)
            assert np.isfinite(on_host(delta)).all()
            assert np.isfinite(on_host(output)).all()


@CROSS_ENTROPIES
def test_any_finite_logits_give_right_values_without_a_warning(backend: Backend, name: str) -> None:
    for dtype in dtypes_of(backend):
        largest = float(np.finfo(dtype).max)
        logits, targets, values, outputs = (np.asarray(a) for a in zip(*EXTREME[name], strict=True))
        y, f = backend.asarray(targets, dtype), get_loss(name)
        for huge in (1e4, 1e30, largest):
            s = backend.asarray(huge * logits, dtype)
            with np.errstate(all="raise", under="ignore"):
                value, delta = f(s, y)
                output = f.output(s, backend.xp)
            # The smallest sigmoid is not 0 but at most 3 / finfo.max.
            assert_same(output, backend.asarray(outputs, dtype), atol=1e-35)
            assert_same(delta, backend.asarray(outputs - targets, dtype), atol=1e-35)
            if huge == largest:  # a loss of 2 * max has no number: any huge one will do
                on_the_host = backend.to_numpy(value)
                assert np.isfinite(on_the_host).all()
                assert (on_the_host[values == 0] == 0).all()
                assert (on_the_host[values > 0] > largest / 32).all()
            else:
                eps = float(np.finfo(dtype).eps)
                assert_same(value, backend.asarray(huge * values, dtype), 2 * eps)


def test_equal_logits_share_the_probability(quick_backend: Backend) -> None:
    for dtype in dtypes_of(quick_backend):
        label = quick_backend.asarray(np.asarray([1]), "int32")
        eps = float(np.finfo(dtype).eps)
        for size in (0, 1e30, -1e30, np.finfo(dtype).max):
            s = quick_backend.asarray(np.full((1, N), size, dtype))
            with np.errstate(all="raise", under="ignore"):
                value, delta = get_loss("softmax_cross_entropy")(s, label)
            assert_same(value, quick_backend.asarray([log(3)], dtype), eps)
            assert_same(delta, quick_backend.asarray([[1 / 3, -2 / 3, 1 / 3]], dtype), 2 * eps)


@EVERY
def test_arguments_are_not_written(quick_backend: Backend, name: str) -> None:
    s = quick_backend.asarray(LOGITS, "float32", copy=True)
    y = quick_backend.asarray(TARGETS[name], "float32", copy=True)
    get_loss(name)(s, y)
    assert_same(s, quick_backend.asarray(LOGITS, "float32"))
    assert_same(y, quick_backend.asarray(TARGETS[name], "float32"))


@EVERY
def test_delta_shares_no_memory_with_the_arguments(name: str) -> None:
    s, y = LOGITS.copy(), TARGETS[name].copy()
    _, delta = get_loss(name)(s, y)  # a step scales it in place
    assert not np.shares_memory(delta, s)
    assert not np.shares_memory(delta, y)


def test_every_loss_is_public_and_in_the_table() -> None:
    for name, loss in LOSSES.items():
        assert type(loss).__name__ in losses.__all__
        assert re.search(rf"\b{name}\b", get_loss.__doc__ or ""), name


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'square_error': did you mean 'squared_"):
        get_loss("square_error")


# Label smoothing


def test_smoothed_targets_are_those_of_torch(backend: Backend) -> None:
    for dtype in dtypes_of(backend):
        torch = pytest.importorskip("torch")
        f, xp = get_loss("softmax_cross_entropy"), backend.xp
        s = torch.tensor(LOGITS, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(
            s, torch.tensor(LABELS), label_smoothing=0.2, reduction="none"
        )
        expected.sum().backward()
        labels = backend.asarray(LABELS, "int32")
        rows = backend.asarray(TARGETS[f.name], dtype)
        for y in (labels, rows):
            y = smoothed(y, N, 0.2, f, xp, backend.dtype(dtype))
            value, delta = f(backend.asarray(LOGITS, dtype), y)
            rtol = TOLERANCE[dtype]
            assert_same(value, backend.asarray(expected.detach().numpy(), dtype), rtol, rtol)
            assert_same(delta, backend.asarray(s.grad.numpy(), dtype), rtol, rtol)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("softmax_cross_entropy", lambda y, a: (1 - a) * y + a / N),
        ("binary_cross_entropy", lambda y, a: 1 - a / 2 if y else a / 2),
    ],
)
def test_each_member_smooths_by_its_own_amount(
    quick_backend: Backend, name: str, of: Callable[[float, float], float]
) -> None:
    for dtype in dtypes_of(quick_backend):
        amounts = np.asarray([0.0, 0.1, 0.5])
        y = TARGETS[name]
        expected = [[[of(v, a) for v in row] for row in y.tolist()] for a in amounts]
        device = quick_backend.asarray(y, dtype)
        device_dtype = quick_backend.dtype(dtype)
        targets = smoothed(
            device,
            N,
            quick_backend.asarray(amounts[:, None, None], dtype),
            get_loss(name),
            quick_backend.xp,
            device_dtype,
        )
        eps = float(np.finfo(dtype).eps)
        assert_same(targets, quick_backend.asarray(np.asarray(expected), dtype), eps, eps)
        alone = smoothed(device, N, 0.5, get_loss(name), quick_backend.xp, device_dtype)
        assert_same(alone, targets[2, :, :], eps, eps)
