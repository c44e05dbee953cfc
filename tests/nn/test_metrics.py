"""Metrics: loops by hand, scikit-learn, and a device that must not be looked at."""

import pickle
from collections.abc import Callable
from functools import partial
from math import exp, isnan, log, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
import pytest
from array_api_compat import array_namespace

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES, Quantile, get_loss
from arraymlp.nn.metrics import (
    METRICS,
    Metric,
    Predictions,
    get_metric,
    greater_is_better,
    require_suits,
)
from conftest import assert_same
from dtypes import dtypes_of
from looks import ARRAY, LOOKS, LookedError

HostArray = np.ndarray[Any, Any]
K, N = 3, 40
RNG = np.random.default_rng(60)


def halves(values: Any) -> HostArray:
    """Halves of whole numbers: many ties, and the same in float32."""
    return np.asarray(np.round(2 * np.asarray(values)) / 2)


class Case(NamedTuple):
    """Targets as a network has them, of a number of classes (0: several labels, or numbers)."""

    loss: str
    y: HostArray
    s: HostArray
    classes: int
    metrics: tuple[str, ...]


OF_CLASSES = ("accuracy", "balanced_accuracy", "log_loss", "f1")
LABELS_OF_FIVE = RNG.choice([0, 1, 3, 4], N).astype(np.int32)  # class 2 does not occur
LOGITS_OF_FIVE = RNG.normal(0, 1, (K, N, 5)) + 2 * np.eye(5)[LABELS_OF_FIVE]
LOGITS_OF_FIVE[:, :, 4] = -5  # and class 4 is never chosen
CASES = {
    "two outputs": Case(
        "softmax_cross_entropy",
        RNG.integers(0, 2, N).astype(np.int32),
        halves(RNG.normal(0, 1, (K, N, 2))),
        2,
        (*OF_CLASSES, "roc_auc"),
    ),
    "one output": Case(
        "binary_cross_entropy",
        RNG.integers(0, 2, (N, 1)).astype(float),
        halves(RNG.normal(0, 1, (K, N, 1))),
        2,
        (*OF_CLASSES, "roc_auc"),
    ),
    "five classes": Case(
        "softmax_cross_entropy", LABELS_OF_FIVE, halves(LOGITS_OF_FIVE), 5, OF_CLASSES
    ),
    "one-hot rows": Case(
        "softmax_cross_entropy", np.eye(5)[LABELS_OF_FIVE], halves(LOGITS_OF_FIVE), 5, OF_CLASSES
    ),
    "labels": Case(
        "binary_cross_entropy",
        (RNG.random((N, 3)) < (0.7, 0.4, 0.0)).astype(float),  # the last never
        halves(RNG.normal(0, 1, (K, N, 3)) - (0, 0, 9)),
        0,
        ("accuracy", "f1"),
    ),
    "numbers": Case(
        "squared_error",
        halves(RNG.normal(100, 3, (N, 2))),
        halves(RNG.normal(100, 3, (K, N, 2))),
        0,
        ("r2", "mae", "rmse"),
    ),
}
for _case in CASES.values():  # whoever writes to them fails
    _case.y.setflags(write=False)
    _case.s.setflags(write=False)
EVERY = pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case in CASES for name in CASES[case].metrics]
)
WEIGHTS = halves(RNG.integers(0, 4, (K, N)) / 2)  # some are 0
WEIGHTS_WITHOUT_CLASS_3 = WEIGHTS * (LABELS_OF_FIVE != 3)
LAYOUTS = {
    "one network": (slice(0, 1), None),
    "one network, weights": (slice(0, 1), WEIGHTS[1]),
    "population": (slice(None), None),
    "population, weights": (slice(None), WEIGHTS[0]),
    "population, weights each": (slice(None), np.stack([*WEIGHTS[:2], WEIGHTS_WITHOUT_CLASS_3[2]])),
}
BOTH_DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])  # quick backends have them
# JAX without float64 adds up in float32; all others round each figure once.
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


# By hand


def softmax(s: list[float]) -> list[float]:
    return [exp(v) / sum(exp(u) for u in s) for v in s]


def probabilities(s: HostArray) -> list[list[float]]:
    """Of each class, (N, n) logits."""
    if s.shape[1] == 1:
        return [[1 / (1 + exp(v)), 1 / (1 + exp(-v))] for (v,) in s.tolist()]
    return [softmax(row) for row in s.tolist()]


def positions(case: Case) -> list[int]:
    """The class of each sample."""
    if case.y.ndim == 1:
        return [int(v) for v in case.y]
    return [int(row[0]) if len(row) == 1 else row.index(1.0) for row in case.y.tolist()]


def decisions(case: Case, s: HostArray) -> list[int]:
    if case.loss == "binary_cross_entropy":
        return [int(v > 0) for (v,) in s.tolist()]
    return [row.index(max(row)) for row in s.tolist()]


def f1(true: list[Any], chosen: list[Any], w: list[float], of: Any = 1) -> float:
    tp = fp = fn = 0.0
    for t, c, weight in zip(true, chosen, w, strict=True):
        tp += weight * (t == of and c == of)
        fp += weight * (t != of and c == of)
        fn += weight * (t == of and c != of)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def by_hand(name: str, case: Case, s: HostArray, w: list[float]) -> float:
    """The metric of one network with logits s (N, n)."""
    rows = range(N)
    total = sum(w)
    if case.loss == "squared_error":
        figures = []
        for y, o in zip(case.y.T.tolist(), s.T.tolist(), strict=True):
            mean = sum(w[i] * y[i] for i in rows) / total
            squares = sum(w[i] * (y[i] - o[i]) ** 2 for i in rows)
            spread = sum(w[i] * (y[i] - mean) ** 2 for i in rows)
            absolute = sum(w[i] * abs(y[i] - o[i]) for i in rows)
            of = {
                "r2": 1 - squares / spread,
                "mae": absolute / total,
                "rmse": sqrt(squares / total),
            }
            figures.append(of[name])
        return sum(figures) / len(figures)
    if not case.classes:
        targets, chosen_columns = case.y.tolist(), (s > 0).astype(float).tolist()
        if name == "accuracy":
            return sum(w[i] for i in rows if targets[i] == chosen_columns[i]) / total
        columns = zip(zip(*targets, strict=True), zip(*chosen_columns, strict=True), strict=True)
        figures = [f1(list(true), list(chosen), w) for true, chosen in columns]
        return sum(figures) / len(figures)
    true, chosen, p = positions(case), decisions(case, s), probabilities(s)
    if name == "accuracy":
        return sum(w[i] for i in rows if true[i] == chosen[i]) / total
    if name == "log_loss":
        return -sum(w[i] * log(p[i][true[i]]) for i in rows) / total
    if name == "f1":
        if case.classes == 2:
            return f1(true, chosen, w)
        return sum(f1(true, chosen, w, c) for c in range(case.classes)) / case.classes
    if name == "balanced_accuracy":
        recalls = []
        for c in range(case.classes):
            there = sum(w[i] for i in rows if true[i] == c)
            if there:
                recalls.append(sum(w[i] for i in rows if true[i] == chosen[i] == c) / there)
        return sum(recalls) / len(recalls)
    assert name == "roc_auc"
    score = scores(s)
    pairs = [(i, j) for i in rows for j in rows if true[i] == 1 and true[j] == 0]
    right = sum(w[i] * w[j] * ((score[i] > score[j]) + (score[i] >= score[j])) for i, j in pairs)
    return right / 2 / sum(w[i] * w[j] for i, j in pairs)


def scores(s: HostArray) -> list[float]:
    return [float(row[-1] - (row[0] if len(row) == 2 else 0)) for row in s]


def by_sklearn(name: str, case: Case, s: HostArray, w: list[float]) -> float:
    theirs = pytest.importorskip("sklearn.metrics")
    if case.loss == "squared_error":
        functions = {
            "r2": theirs.r2_score,
            "mae": theirs.mean_absolute_error,
            "rmse": theirs.root_mean_squared_error,
        }
        return float(functions[name](case.y, s, sample_weight=w))
    true, chosen = (case.y, s > 0) if not case.classes else (positions(case), decisions(case, s))
    if name == "log_loss":
        labels = range(case.classes)
        return float(theirs.log_loss(true, probabilities(s), sample_weight=w, labels=labels))
    if name == "roc_auc":
        return float(theirs.roc_auc_score(true, scores(s), sample_weight=w))
    if name == "f1":
        of = {"average": "binary" if case.classes == 2 else "macro", "zero_division": 0}
        of["labels"] = range(case.classes) if case.classes > 2 else None
        return float(theirs.f1_score(true, chosen, sample_weight=w, **of))
    function = {
        "accuracy": theirs.accuracy_score,
        "balanced_accuracy": theirs.balanced_accuracy_score,
    }[name]
    return float(function(true, chosen, sample_weight=w))


def expected(
    reference: Callable[..., float], name: str, case: Case, layout: str
) -> float | list[float]:
    members, weight = LAYOUTS[layout]
    w = np.broadcast_to(np.ones(N) if weight is None else weight, (K, N))
    pairs = zip(case.s[members], w[members], strict=True)
    figures = [reference(name, case, s, row.tolist()) for s, row in pairs]
    return figures if len(figures) > 1 else figures[0]


# Ours


def predictions(
    case: Case, backend: Backend, dtype: str, layout: str = "population", s: Any = None
) -> Predictions:
    members, weight = LAYOUTS[layout]
    s = case.s[members] if s is None else s
    return Predictions(
        backend.asarray(case.y, "int32" if case.y.ndim == 1 else dtype),
        backend.asarray(s[0] if len(s) == 1 else s, dtype),
        None if weight is None else backend.asarray(weight, dtype),
        LOSSES[case.loss],
    )


def compute(m: Any, p: Predictions, backend: Backend) -> Any:
    return get_metric(m).function(p, backend.xp)


@EVERY
def test_metric_is_its_formula(backend: Backend, case: str, name: str) -> None:
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


def compute_guarded(m: Metric, p: Predictions, backend: Backend) -> Any:
    """Every look at an array of array_api_strict raises."""

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    with pytest.MonkeyPatch.context() as patch:
        for way in LOOKS:
            patch.setattr(ARRAY, way, look, raising=False)
        return compute(m, p, backend)


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
