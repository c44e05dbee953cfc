"""Losses for regression: by PyTorch and scikit-learn, members' parameters, huge logits."""

import pickle
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES, Huber, Loss, Quantile, get_loss
from conftest import assert_same, on_host
from losses_by_hand import (
    LOGITS,
    TARGETS,
    TOLERANCE,
    B,
    N,
    naive_huber,
    naive_pinball,
    naive_value,
)
from problems import dtypes_of

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


@pytest.mark.parametrize("bad", [0, -1.0, 1e-300, nan, inf, "1", True, None, [1.0, 0.0], []])
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
        [1e-300, 0.5],  # 0 in single precision
        [0.5, 1 - 1e-9],  # 1
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


def test_a_network_fits_its_loss() -> None:
    get_loss("quantile").require_fit(6, None)
    Huber(THRESHOLDS).require_fit(4, 3)
    with pytest.raises(ValueError, match=r"Quantile.* has 3 outputs a target, but there are 4"):
        get_loss("quantile").require_fit(4, None)
    with pytest.raises(ValueError, match=r"Huber.* has 3 values, but there are 2 members"):
        Huber(THRESHOLDS).require_fit(4, 2)
    with pytest.raises(ValueError, match="has 3 values, but one network: give as many seeds"):
        Quantile(LEVELS_OF_MEMBERS).require_fit(2, None)
