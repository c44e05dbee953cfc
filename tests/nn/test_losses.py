"""Losses: naive formulas where those work, and right values where they overflow."""

import pickle
from collections.abc import Callable
from math import exp, inf, log, nan
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES, Huber, Loss, Quantile, get_loss, one_hot, smoothed
from conftest import assert_same, on_host
from dtypes import dtypes_of

B, N = 5, 3
RNG = np.random.default_rng(30)
LOGITS = RNG.normal(0, 4, (B, N))
LABELS = np.asarray([0, 2, 1, 1, 0])
TARGETS = {
    "softmax_cross_entropy": np.eye(N)[LABELS],
    "binary_cross_entropy": RNG.integers(0, 2, (B, N)).astype(float),
    "squared_error": RNG.normal(0, 4, (B, N)),
    "absolute_error": RNG.normal(0, 4, (B, N)),
    "huber": LOGITS + RNG.normal(0, 1, (B, N)),  # errors on both sides of the threshold
    "poisson": RNG.poisson(2, (B, N)).astype(float),
    "quantile": RNG.normal(0, 4, (B, 1)),
}
CAPPED = ("softmax_cross_entropy", "binary_cross_entropy")
TARGETS |= {f"capped_{name}": TARGETS[name] for name in CAPPED}
LEVELS = (0.1, 0.5, 0.9)
EVERY = pytest.mark.parametrize("name", sorted(LOSSES))
CROSS_ENTROPIES = pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy"])
# A few roundings of terms near 20.
TOLERANCE = {"float32": 1e-5, "float64": 1e-14}


def naive_output(name: str, s: list[float]) -> list[float]:
    name = name.removeprefix("capped_")
    if name == "softmax_cross_entropy":
        return [exp(v) / sum(exp(u) for u in s) for v in s]
    if name == "binary_cross_entropy":
        return [1 / (1 + exp(-v)) for v in s]
    if name == "poisson":
        return [exp(v) for v in s]
    return sorted(s) if name == "quantile" else s


def naive_huber(e: float, d: float) -> float:
    return e * e / 2 if abs(e) <= d else d * (abs(e) - d / 2)


def naive_pinball(e: float, level: float) -> float:
    return max(level * -e, (level - 1) * -e)


def naive_value(name: str, s: list[float], y: list[float]) -> float:
    name = name.removeprefix("capped_")  # of these logits none reaches the cap
    p = naive_output(name, s)
    if name == "quantile":
        return sum(naive_pinball(v - y[0], t) for v, t in zip(s, LEVELS, strict=True))
    pairs = list(zip(p, y, strict=True))
    if name == "softmax_cross_entropy":
        return -sum(t * log(q) for q, t in pairs)
    if name == "binary_cross_entropy":
        return -sum(t * log(q) + (1 - t) * log(1 - q) for q, t in pairs)
    if name == "poisson":
        return sum((t * log(t / q) if t else 0) - t + q for q, t in pairs)
    if name == "absolute_error":
        return sum(abs(q - t) for q, t in pairs)
    if name == "huber":
        return sum(naive_huber(q - t, 1) for q, t in pairs)
    return sum((q - t) ** 2 for q, t in pairs) / 2


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
    y = backend.asarray(TARGETS[name], float64)
    f = get_loss(name)
    value, delta = f(backend.asarray(LOGITS, float64), y)
    h = 6e-6  # see gradcheck.py
    slope = np.empty((B, N))
    for j in range(N):
        step = h * np.eye(N)[j]
        up, _ = f(backend.asarray(LOGITS + step, float64), y)
        down, _ = f(backend.asarray(LOGITS - step, float64), y)
        slope[:, j] = backend.to_numpy(up - down) / (2 * h)
    atol = 1e-10 * max(100.0, on_host(value).max())
    assert_same(delta, backend.asarray(slope, float64), rtol=1e-8, atol=atol)


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


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'square_error': did you mean 'squared_"):
        get_loss("square_error")


# Regression beyond the squared error

THRESHOLDS = (0.5, 1.0, 2.0)
LEVELS_OF_MEMBERS = ((0.1, 0.9), (0.25, 0.5), (0.4, 0.6))


def test_regression_losses_and_slopes_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    y = TARGETS["poisson"]
    constant = np.where(y > 0, y * np.log(np.maximum(y, 1)) - y, 0).sum(axis=1)
    functions: list[tuple[Loss, Any, Any]] = [
        (get_loss("absolute_error"), torch.nn.L1Loss(reduction="none"), 0),
        (get_loss("poisson"), torch.nn.PoissonNLLLoss(reduction="none"), constant),
    ]
    functions += [(Huber(d), torch.nn.HuberLoss(reduction="none", delta=d), 0) for d in THRESHOLDS]
    for ours, theirs, constant in functions:
        s = torch.tensor(LOGITS, requires_grad=True)
        expected = theirs(s, torch.tensor(y)).sum(dim=1)
        expected.sum().backward()
        value, delta = ours(LOGITS, y)
        np.testing.assert_allclose(value, expected.detach().numpy() + constant, rtol=1e-13)
        np.testing.assert_allclose(delta, s.grad.numpy(), rtol=1e-13, atol=1e-13)


def test_regression_losses_are_those_of_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, s = TARGETS["poisson"], LOGITS
    half_deviance = sum(metrics.mean_poisson_deviance(y[:, j], np.exp(s[:, j])) for j in range(N))
    np.testing.assert_allclose(get_loss("poisson")(s, y)[0].mean(), half_deviance / 2, rtol=1e-12)
    y = TARGETS["quantile"]
    pinball = [
        metrics.mean_pinball_loss(y, s[:, j], alpha=t) for j, t in enumerate((0.05, 0.3, 0.95))
    ]
    mean = Quantile((0.05, 0.3, 0.95))(s, y)[0].mean()
    np.testing.assert_allclose(mean, sum(pinball), rtol=1e-13)


def test_a_threshold_for_each_member(quick_backend: Backend) -> None:
    for dtype in dtypes_of(quick_backend):
        s = np.stack([LOGITS, 2 * LOGITS, -LOGITS])
        value, delta = Huber(THRESHOLDS)(
            quick_backend.asarray(s, dtype), quick_backend.asarray(TARGETS["huber"], dtype)
        )
        e = s - TARGETS["huber"]
        slope = [np.clip(e[k], -d, d) for k, d in enumerate(THRESHOLDS)]
        sums = [
            [sum(naive_huber(v, d) for v in row) for row in e[k].tolist()]
            for k, d in enumerate(THRESHOLDS)
        ]
        rtol = TOLERANCE[dtype]
        assert_same(value, quick_backend.asarray(np.asarray(sums), dtype), rtol, rtol)
        assert_same(delta, quick_backend.asarray(np.stack(slope), dtype), rtol, rtol)


def test_levels_for_each_member_and_several_targets(quick_backend: Backend) -> None:
    """Two columns of targets with two levels: outputs a.1, a.2, b.1, b.2."""
    for dtype in dtypes_of(quick_backend):
        rng = np.random.default_rng(31)
        s, y = rng.normal(size=(3, B, 4)), rng.normal(size=(B, 2))
        members = Quantile(LEVELS_OF_MEMBERS)
        value, delta = members(quick_backend.asarray(s, dtype), quick_backend.asarray(y, dtype))
        sums, slope = np.zeros((3, B)), np.empty((3, B, 4))
        for k, b, j in np.ndindex(3, B, 4):
            level, e = LEVELS_OF_MEMBERS[k][j % 2], s[k, b, j] - y[b, j // 2]
            sums[k, b] += naive_pinball(e, level)
            slope[k, b, j] = 1 - level if e > 0 else -level
        rtol = TOLERANCE[dtype]
        assert_same(value, quick_backend.asarray(sums, dtype), rtol, rtol)
        assert_same(delta, quick_backend.asarray(slope, dtype), rtol, rtol)
        for k in range(3):
            alone = members.member(k)
            assert alone == Quantile(LEVELS_OF_MEMBERS[k])
            assert_same(
                alone(quick_backend.asarray(s[k], dtype), quick_backend.asarray(y, dtype))[1],
                quick_backend.asarray(slope[k], dtype),
                rtol,
                rtol,
            )


@pytest.mark.parametrize("leading", [(), (3,)], ids=["one", "members"])
def test_quantiles_never_cross(backend: Backend, leading: tuple[int, ...]) -> None:
    s = np.random.default_rng(32).normal(size=(*leading, B, 6))
    by_target = np.stack([np.sort(s[..., :3], axis=-1), np.sort(s[..., 3:], axis=-1)], axis=-2)
    quantiles = get_loss("quantile").output(backend.asarray(s, "float32"), backend.xp)
    assert_same(quantiles, backend.asarray(by_target.reshape(s.shape), "float32"))


def test_slopes_at_a_tie(quick_backend: Backend) -> None:
    s = quick_backend.asarray(np.ones((2, 3)), "float32")
    slopes = {"absolute_error": [0, 0, 0], "huber": [0, 0, 0], "quantile": [0.4, 0, -0.4]}
    for name, slope in slopes.items():
        y = s[:, :1] if name == "quantile" else s
        value, delta = get_loss(name)(s, y)
        assert_same(value, quick_backend.asarray(np.zeros(2), "float32"))
        assert_same(delta, quick_backend.asarray(np.asarray([slope] * 2), "float32"), rtol=1e-6)


@pytest.mark.parametrize("name", ["absolute_error", "huber", "poisson", "quantile"])
def test_regression_at_any_finite_logits_is_finite_without_a_warning(
    backend: Backend, name: str
) -> None:
    for dtype in dtypes_of(backend):
        largest = float(np.finfo(dtype).max)
        y = backend.asarray(np.asarray([[2.0, 0, 5], [1, 2, 0]]), dtype)
        y = y[:, :1] if name == "quantile" else y
        for huge in (1e4, 1e30, largest):
            s = backend.asarray(huge * np.asarray([[1, -1, 1], [-1, -1, -1]]), dtype)
            with np.errstate(all="raise", under="ignore"):
                value, delta = get_loss(name)(s, y)
                output = get_loss(name).output(s, backend.xp)
            value, delta, output = (on_host(a) for a in (value, delta, output))
            assert np.isfinite(value).all()
            assert np.isfinite(output).all()
            assert (value >= min(huge, largest / 20) * 0.99).all()
            if name == "poisson":
                assert (delta[0, [0, 2]] > 1e30).all()
                np.testing.assert_array_equal(delta[1], [-1, -2, 0])
            elif name == "quantile":
                np.testing.assert_allclose(delta, [[0.9, -0.5, 0.1], [-0.1, -0.5, -0.9]], rtol=1e-6)
            else:
                np.testing.assert_array_equal(delta, [[1, -1, 1], [-1, -1, -1]])


def test_a_rate_is_right_however_far_the_target(quick_backend: Backend) -> None:
    """No count, many: the logarithm of the target is bounded, and y s too."""
    for dtype in dtypes_of(quick_backend):
        s = np.asarray([[-3.0, 0, 5]])
        y = np.asarray([[0.0, 1e5, 1e-3]])
        expected = [naive_value("poisson", s[0].tolist(), y[0].tolist())]
        value, _ = get_loss("poisson")(
            quick_backend.asarray(s, dtype), quick_backend.asarray(y, dtype)
        )
        assert_same(value, quick_backend.asarray(np.asarray(expected), dtype), TOLERANCE[dtype])


# Parameters


def test_losses_are_equal_where_their_parameters_are() -> None:
    assert Huber(1) == get_loss("huber") != Huber(2)
    assert Huber([1, 2]) == Huber(np.asarray([1.0, 2.0])) != Huber(1)
    assert Quantile([0.1, 0.5, 0.9]) == get_loss("quantile") != Quantile((0.1, 0.9))
    assert Quantile(np.asarray(LEVELS_OF_MEMBERS)) == Quantile(LEVELS_OF_MEMBERS)
    assert Quantile(0.5) == Quantile((0.5,))
    assert len({*LOSSES.values(), Huber(1.0), Huber(2.0)}) == len(LOSSES) + 1
    for each in (*LOSSES.values(), Huber(THRESHOLDS), Quantile(LEVELS_OF_MEMBERS)):
        assert pickle.loads(pickle.dumps(each)) == each


def test_parameters_are_plain_values_that_make_the_loss_again() -> None:
    assert get_loss("squared_error").parameters == {}
    for each in (Huber(2.0), Huber(THRESHOLDS), Quantile([0.2, 0.4]), Quantile(LEVELS_OF_MEMBERS)):
        assert type(each)(**each.parameters) == each


def test_a_member_has_its_own_parameters() -> None:
    assert [Huber(THRESHOLDS).member(k) for k in range(3)] == [Huber(d) for d in THRESHOLDS]
    assert (Huber(THRESHOLDS).members, Huber(2.0).members) == (3, None)
    assert (Quantile(LEVELS_OF_MEMBERS).members, Quantile((0.1, 0.9)).members) == (3, None)
    assert Huber(2.0).member(1) == Huber(2.0)


@pytest.mark.parametrize("bad", [0, -1.0, nan, inf, "1", True, None, [1.0, 0.0], []])
def test_a_threshold_is_positive(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"threshold (must be a positive number|is empty)"):
        Huber(bad)


@pytest.mark.parametrize(
    "bad",
    [
        (),
        0,
        [0.5, 1.0],
        [0.0, 0.5],
        [0.9, 0.1],
        [0.5, 0.5],
        [0.1, nan],
        ["0.1"],
        "0.1",
        None,
        [True],
        [[0.1, 0.9], [0.5]],
        [[0.1], 0.9],
        [[]],
    ],
    ids=str,
)
def test_levels_ascend_between_0_and_1(bad: Any) -> None:
    with pytest.raises(ValueError, match="levels must be numbers between 0 and 1, ascending"):
        Quantile(bad)


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


def test_a_network_fits_its_loss() -> None:
    get_loss("quantile").require_fit(6, None)
    Huber(THRESHOLDS).require_fit(4, 3)
    with pytest.raises(ValueError, match=r"Quantile.* has 3 outputs a target, but there are 4"):
        get_loss("quantile").require_fit(4, None)
    with pytest.raises(ValueError, match=r"Huber.* has 3 values, but there are 2 members"):
        Huber(THRESHOLDS).require_fit(4, 2)
    with pytest.raises(ValueError, match="has 3 values, but one network: give as many seeds"):
        Quantile(LEVELS_OF_MEMBERS).require_fit(2, None)
