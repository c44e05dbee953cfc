"""Metrics: loops by hand, scikit-learn, and a device that must not be looked at."""

from math import isnan, log, nan
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.metrics import (
    Predictions,
    get_metric,
)
from conftest import assert_same
from looks import LookedError
from metrics_by_hand import (
    BOTH_DTYPES,
    CASES,
    EVERY,
    LAYOUTS,
    TOLERANCE,
    K,
    N,
    by_hand,
    by_sklearn,
    compute,
    compute_guarded,
    expected,
    predictions,
    softmax,
)
from problems import dtypes_of


@EVERY
def test_metric_is_its_formula(quick_backend: Backend, case: str, name: str) -> None:
    assert_is_its_formula(quick_backend, case, name)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("two outputs", "roc_auc"),
        ("five classes", "balanced_accuracy"),
        ("five classes", "log_loss"),
        ("labels", "f1"),
        ("numbers", "r2"),
    ],
)
def test_one_of_each_kind_is_on_every_backend(backend: Backend, case: str, name: str) -> None:
    assert_is_its_formula(backend, case, name)


def assert_is_its_formula(backend: Backend, case: str, name: str) -> None:
    for dtype in dtypes_of(backend):
        p = predictions(CASES[case], backend, dtype, "population, weights each")
        figures = expected(by_hand, name, CASES[case], "population, weights each")
        by_formula = backend.asarray(figures, dtype)
        assert_same(compute(name, p, backend), by_formula, TOLERANCE[dtype], TOLERANCE[dtype])


@EVERY
@pytest.mark.parametrize("layout", [v for v in LAYOUTS if v != "population, weights each"])
def test_metric_is_its_formula_in_any_layout(
    quick_backend: Backend, case: str, name: str, layout: str
) -> None:
    p = predictions(CASES[case], quick_backend, "float64", layout)
    by_formula = quick_backend.asarray(expected(by_hand, name, CASES[case], layout), "float64")
    assert_same(compute(name, p, quick_backend), by_formula, 1e-13, 1e-13)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@EVERY
@pytest.mark.parametrize("layout", ["population", "population, weights each"])
def test_metric_is_that_of_sklearn(
    numpy_backend: Backend, case: str, name: str, layout: str
) -> None:
    p = predictions(CASES[case], numpy_backend, "float64", layout)
    theirs = expected(by_sklearn, name, CASES[case], layout)
    np.testing.assert_allclose(compute(name, p, numpy_backend), theirs, rtol=1e-13, atol=1e-13)


@EVERY
def test_many_rows_in_float32_are_right_to_a_millionth(
    numpy_backend: Backend, case: str, name: str
) -> None:
    of, rng = CASES[case], np.random.default_rng(61)
    rows = rng.integers(0, N, 60_000)
    s = (of.s[:, rows] + rng.normal(0, 0.5, (K, 60_000, of.s.shape[-1]))).astype(np.float32)
    many = of._replace(y=of.y[rows].astype(np.int32 if of.y.ndim == 1 else np.float32), s=s)
    p = predictions(many, numpy_backend, "float32")
    p = p._replace(weight=rng.random(60_000).astype(np.float32))
    figures = compute(name, p, numpy_backend)
    wide = p._replace(
        y=p.y.astype(np.int32 if p.y.ndim == 1 else float),
        s=p.s.astype(float),
        weight=p.weight.astype(float),
    )
    # The figure itself is rounded to float32, to 6e-8 of it.
    np.testing.assert_allclose(figures, compute(name, wide, numpy_backend), rtol=1e-6)


@EVERY
@pytest.mark.parametrize("layout", ["one network", "population, weights each"])
def test_no_metric_looks_at_the_device(
    strict_backend: Backend, case: str, name: str, layout: str
) -> None:
    p = predictions(CASES[case], strict_backend, "float32", layout)
    figures = compute_guarded(get_metric(name), p, strict_backend)
    assert_same(figures, compute(name, p, strict_backend))


def test_the_guard_catches_a_metric_that_looks(strict_backend: Backend) -> None:
    def looking(y: Any, output: Any, weight: Any) -> Any:
        return float(output[0, 0])

    p = predictions(CASES["numbers"], strict_backend, "float32", "one network")
    with pytest.raises(LookedError):
        compute_guarded(get_metric(looking), p, strict_backend)


# Where a formula has no value


@pytest.mark.parametrize("case", ["two outputs", "one output"])
@pytest.mark.parametrize("only", [0, 1])
def test_roc_auc_of_one_class_is_nan(quick_backend: Backend, case: str, only: int) -> None:
    of = CASES[case]
    p = predictions(of._replace(y=np.full_like(of.y, only)), quick_backend, "float32")
    assert_same(compute("roc_auc", p, quick_backend), quick_backend.asarray([nan] * K, "float32"))
    of_weight = quick_backend.asarray((of.y.reshape(-1) == only).astype(float), "float32")
    p = predictions(of, quick_backend, "float32")._replace(weight=of_weight)
    assert_same(compute("roc_auc", p, quick_backend), quick_backend.asarray([nan] * K, "float32"))


@BOTH_DTYPES
def test_r2_of_constant_targets(quick_backend: Backend, dtype: str) -> None:
    y = np.full((N, 2), 0.1)  # whose mean, rounded, is not 0.1
    s = np.stack([y, y + 1, np.where(np.arange(2), y, y + 1)])
    case = CASES["numbers"]._replace(y=y, s=s)
    figures = compute("r2", predictions(case, quick_backend, dtype), quick_backend)
    assert_same(figures, quick_backend.asarray([1, 0, 0.5], dtype))


@EVERY
def test_a_nan_logit_concerns_its_member_alone(
    quick_backend: Backend, case: str, name: str
) -> None:
    of = CASES[case]
    s = of.s.copy()
    s[1, 3, 0] = nan
    p = predictions(of, quick_backend, "float32", s=s)
    figures = quick_backend.to_numpy(compute(name, p, quick_backend))
    fine = quick_backend.to_numpy(
        compute(name, predictions(of, quick_backend, "float32"), quick_backend)
    )
    np.testing.assert_array_equal(figures[[0, 2]], fine[[0, 2]])
    decided = name in ("accuracy", "balanced_accuracy", "f1")
    assert isnan(figures[1]) != decided


@EVERY
def test_no_weight_at_all_is_no_warning(quick_backend: Backend, case: str, name: str) -> None:
    p = predictions(CASES[case], quick_backend, "float32")._replace(
        weight=quick_backend.asarray(np.zeros(N), "float32")
    )
    value = {"f1": 0, "r2": 1}.get(name, nan)
    assert_same(compute(name, p, quick_backend), quick_backend.asarray([value] * K, "float32"))


@BOTH_DTYPES
@pytest.mark.parametrize("case", ["two outputs", "one output", "five classes", "one-hot rows"])
def test_log_loss_of_huge_logits_is_finite(quick_backend: Backend, dtype: str, case: str) -> None:
    of = CASES[case]
    huge = 1e30 * np.sign(of.s)
    with np.errstate(all="raise", under="ignore"):
        figures = compute("log_loss", predictions(of, quick_backend, dtype, s=huge), quick_backend)
    assert np.isfinite(quick_backend.to_numpy(figures)).all()
    assert (quick_backend.to_numpy(figures) > 1e28).all()


def test_probabilities_as_targets(quick_backend: Backend) -> None:
    y = np.asarray([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
    s = np.asarray([[1.0, -1.0], [2.0, 1.0], [0.0, 3.0]])
    arrays = (quick_backend.asarray(y), quick_backend.asarray(s), None)
    p = Predictions(*arrays, LOSSES["softmax_cross_entropy"])
    assert_same(
        compute("accuracy", p, quick_backend), quick_backend.asarray(1 / 3, "float64"), 1e-15
    )
    rows = zip(y.tolist(), map(softmax, s.tolist()), strict=True)
    value = -sum(t * log(q) for row in rows for t, q in zip(*row, strict=True)) / 3
    assert_same(
        compute("log_loss", p, quick_backend), quick_backend.asarray(value, "float64"), 1e-15
    )


def test_an_outputs_own_function_counts(quick_backend: Backend) -> None:
    y, s = quick_backend.asarray([[1.0], [2.0]]), quick_backend.asarray([[0.0], [log(5.0)]])
    figure = compute("mae", Predictions(y, s, None, LOSSES["poisson"]), quick_backend)
    assert_same(figure, quick_backend.asarray(1.5, "float64"), 1e-15)
