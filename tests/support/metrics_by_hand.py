"""Cases for metrics, their formulas in plain loops, and scikit-learn's functions."""

from collections.abc import Callable
from math import exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.metrics import (
    Metric,
    Predictions,
    get_metric,
)
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


def compute_guarded(m: Metric, p: Predictions, backend: Backend) -> Any:
    """Every look at an array of array_api_strict raises."""

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    with pytest.MonkeyPatch.context() as patch:
        for way in LOOKS:
            patch.setattr(ARRAY, way, look, raising=False)
        return compute(m, p, backend)
