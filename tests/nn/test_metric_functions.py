"""Metrics of the user's own, their names, and which suits which loss."""

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES, Quantile, get_loss
from arraymlp.nn.metrics import (
    METRICS,
    Metric,
    get_metric,
    greater_is_better,
    require_suits,
)
from conftest import assert_same
from metrics_by_hand import (
    BOTH_DTYPES,
    CASES,
    LAYOUTS,
    N,
    compute,
    compute_guarded,
    predictions,
)
from problems import dtypes_of

# The user's own


def largest_error(y: Any, output: Any, weight: Any) -> Any:
    xp = array_namespace(y)
    off = xp.abs(y - output) if weight is None else weight[..., None] * xp.abs(y - output)
    return xp.max(off, axis=(-2, -1))


@BOTH_DTYPES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_function_of_ones_own(quick_backend: Backend, dtype: str, layout: str) -> None:
    case, (members, weight) = CASES["numbers"], LAYOUTS[layout]
    figures = compute(largest_error, predictions(case, quick_backend, dtype, layout), quick_backend)
    w = np.ones(N) if weight is None else weight
    value = np.max(w[..., None] * np.abs(case.y - case.s[members]), axis=(-2, -1))
    assert_same(figures, quick_backend.asarray(value if len(value) > 1 else value[0], dtype))


def test_a_function_of_ones_own_is_not_made_to_look(strict_backend: Backend) -> None:
    p = predictions(CASES["numbers"], strict_backend, "float32", "population, weights each")
    figures = compute_guarded(get_metric(largest_error), p, strict_backend)
    assert_same(figures, compute(largest_error, p, strict_backend))


def test_a_function_may_return_a_python_number(backend: Backend) -> None:
    def answer(y: Any, output: Any, weight: Any) -> float:
        return 42.0

    for dtype in dtypes_of(backend):
        p = predictions(CASES["labels"], backend, dtype, "one network")
        assert_same(compute(answer, p, backend), backend.asarray(42, dtype))


def test_a_function_gets_the_outputs_not_the_logits(numpy_backend: Backend) -> None:
    def off_one(y: Any, output: Any, weight: Any) -> Any:
        return np.max(np.abs(np.sum(output, axis=-1) - 1))

    p = predictions(CASES["five classes"], numpy_backend, "float64", "one network")
    assert compute(off_one, p, numpy_backend) < 1e-15


def test_a_function_must_return_a_number_for_each_member(backend: Backend) -> None:
    def overall(y: Any, output: Any, weight: Any) -> Any:
        return array_namespace(output).mean(output)

    p = predictions(CASES["numbers"], backend, "float32")
    with pytest.raises(ValueError, match=r"overall must return shape \(3,\), .* not \(\)"):
        compute(overall, p, backend)


def test_of_ones_own_nothing_is_known() -> None:
    assert get_metric(largest_error).name == "largest_error"
    assert get_metric(largest_error).greater_is_better is None
    for case in CASES.values():
        require_suits(get_metric(largest_error), LOSSES[case.loss], case.s.shape[-1])


@pytest.mark.parametrize("given", ["f1", largest_error])
def test_a_metric_pickles_to_its_equal(given: Any) -> None:
    assert pickle.loads(pickle.dumps(get_metric(given))) == get_metric(given)


@pytest.mark.parametrize("nameless", [lambda y, output, weight: 0.0, partial(largest_error)])
def test_a_function_without_a_name_is_an_error(nameless: Any) -> None:
    with pytest.raises(ValueError, match="a function defined with def, or a Metric with a name"):
        get_metric(nameless)


@pytest.mark.parametrize("name", ["loss", "error", "", "top 3"])
def test_a_name_that_cannot_be_a_column_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"must be an identifier, and not loss.*{name!r} is not"):
        Metric(name, METRICS["f1"].function)


# Names, and what suits what


def test_metric_finds_by_name() -> None:
    assert get_metric("f1") is METRICS["f1"]
    assert get_metric(METRICS["f1"]) is METRICS["f1"]


@pytest.mark.parametrize("name", ["acuracy", 3, None])
def test_unknown_metric_is_an_error(name: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown metric .*There is accuracy, balanced_accuracy"):
        get_metric(name)


def test_unknown_metric_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown metric 'acuracy': did you mean 'accuracy'"):
        get_metric("acuracy")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_does_not_suit_the_loss_is_an_error(case: str, name: str) -> None:
    of = CASES[case]
    given = (METRICS[name], LOSSES[of.loss], of.s.shape[-1])
    if name in of.metrics:
        require_suits(*given)
    else:
        can = ", ".join(sorted(of.metrics, key=list(METRICS).index))
        with pytest.raises(ValueError, match=f"the metric {name} is for .*, for which .* {can}$"):
            require_suits(*given)


def test_the_error_says_what_was_given_and_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="roc_auc") as raised:
        require_suits(METRICS["roc_auc"], LOSSES["softmax_cross_entropy"], 3)
    assert str(raised.value) == (
        "the metric roc_auc is for two classes, but softmax_cross_entropy with 3 outputs predicts "
        "three or more classes, for which there is accuracy, balanced_accuracy, log_loss, f1"
    )


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_suits_several_outputs_for_a_number(name: str) -> None:
    quantiles = LOSSES["quantile"]
    with pytest.raises(ValueError, match="for which there is none but a function of your own"):
        require_suits(METRICS[name], quantiles, 3)
    require_suits(get_metric(largest_error), quantiles, 3)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson", Quantile(0.5)])
@pytest.mark.parametrize("name", ["r2", "mae", "rmse"])
def test_any_loss_with_an_output_for_a_number_has_the_metrics_of_numbers(
    name: str, loss: Any
) -> None:
    require_suits(METRICS[name], get_loss(loss), 2)


@pytest.mark.parametrize(
    ("column", "better"),
    [
        ("loss", False),
        ("training_loss", False),
        ("validation_error", False),
        ("validation_f1", True),
        ("training_roc_auc", True),
        ("validation_log_loss", False),
        ("validation_rmse", False),
        ("validation_largest_error", None),
        ("validation_r2", None),  # not among those given
        ("learning_rate", None),
        ("training_validation_loss", None),
    ],
)
def test_greater_is_better_by_column(column: str, better: bool | None) -> None:
    names = ("f1", "roc_auc", "log_loss", "rmse", largest_error)
    assert greater_is_better(column, [get_metric(name) for name in names]) is better


def test_metrics_know_their_direction() -> None:
    smaller = {name for name, m in METRICS.items() if m.greater_is_better is False}
    assert smaller == {"log_loss", "mae", "rmse"}
    assert all(m.greater_is_better for name, m in METRICS.items() if name not in smaller)
