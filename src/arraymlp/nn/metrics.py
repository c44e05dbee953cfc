"""Metrics: the usual measures of the quality of predictions, computed on the device.

Unlike a loss, most metrics are not a mean over samples: they need the logits of all rows at once.
No metric looks at a value, so none makes the host wait; each gives a number for every member.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import array_api_compat

from arraymlp._checks import lookup, require_arguments
from arraymlp.backends.array import Array, DType, Namespace
from arraymlp.nn.losses import LOSSES, Loss

TWO, MANY, LABELS = "two classes", "three or more classes", "several labels a sample"
NUMBERS, OUTPUTS = "numbers", "several outputs for each number"
PROBLEMS = (TWO, MANY, LABELS, NUMBERS, OUTPUTS)


def problem(loss: Loss, n_outputs: int) -> str:
    """The one of `PROBLEMS` that a network with this loss and so many outputs solves."""
    if loss.classifies == "one":
        return TWO if n_outputs == 2 else MANY
    if loss.classifies == "each":
        return TWO if n_outputs == 1 else LABELS
    return NUMBERS if loss.outputs_per_target == 1 else OUTPUTS


class Predictions(NamedTuple):
    """The arrays that a metric is computed from, on the device.

    Attributes:
        y: targets, (N,) class positions or (N, n_columns) numbers.
        s: logits (..., N, n_outputs); a leading axis is members.
        weight: of the samples, (N,) or (..., N), from 0; None where all count alike.
        loss: the loss of the network, which says what the logits mean.
    """

    y: Array
    s: Array
    weight: Array | None
    loss: Loss


@dataclass(frozen=True)
class Metric:
    """A measure of quality, and a column of the history.

    Attributes:
        name: of the column, after ``training_`` or ``validation_``.
        function: ``(predictions, xp) -> m``, (...,) on the device, of the dtype of the logits.
        greater_is_better: None where that is not known.
        suits: the kinds of prediction that it can be computed for, by default all there are.
        degree: d, where the metric of numbers a + c y is c^d times that of y (both targets and
            outputs), for any a and c > 0: then it is computed of standardised numbers, where
            targets are standardised. None where that is not so, or not known.

    Raises:
        ValueError: the name is no identifier, or "loss" or "error".
    """

    name: str
    function: Callable[[Predictions, Namespace], Array]
    greater_is_better: bool | None = None
    suits: tuple[str, ...] = PROBLEMS
    degree: int | None = None

    def __post_init__(self) -> None:
        if not str(self.name).isidentifier() or self.name in ("loss", "error"):
            raise ValueError(
                "a metric's name must be an identifier, and not loss or error, which are columns "
                f"of their own; {self.name!r} is not: give a function defined with def, or a "
                "Metric with a name and a function (predictions, xp)"
            )


def _weights(p: Predictions, xp: Namespace) -> Array:
    # (N, 1) or (..., N, 1) in float64 where the device has it: products with them, and their sums,
    # are then float64 too.
    device = array_api_compat.device(p.s)
    dtypes = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    dtype = dtypes.get("float64", p.s.dtype)
    if p.weight is None:
        return xp.ones((p.s.shape[-2], 1), dtype=dtype, device=device)
    return xp.astype(p.weight, dtype)[..., None]


def _ratio(a: Array, b: Array, xp: Namespace, otherwise: float = nan) -> Array:
    """Return a / b for b >= 0, and ``otherwise`` where b is 0."""
    divisible = b > 0
    return xp.where(divisible, a / xp.where(divisible, b, 1.0), otherwise)


def _sum(a: Array, xp: Namespace) -> Array:
    """The sum over the samples: (..., N, n) to (..., n).

    A single column is summed as a row, for which CuPy has a kernel; it would compile one for 4 s.
    """
    return xp.sum(a, axis=-2) if a.shape[-1] > 1 else xp.sum(a[..., 0], axis=-1)[..., None]


def _mean(values: Array, w: Array, xp: Namespace) -> Array:
    """Weighted mean over the samples: (..., N, n) to (..., n)."""
    return _ratio(_sum(w * values, xp), _sum(w, xp), xp)


def _over_columns(figures: Array, p: Predictions, xp: Namespace) -> Array:
    """The mean of (..., n) over columns, in the dtype of the logits."""
    return xp.astype(xp.mean(figures, axis=-1), p.s.dtype)


def _decisions(p: Predictions, xp: Namespace) -> tuple[Array, Array]:
    """True and predicted: a column of class positions; for "each" the columns, as booleans."""
    if p.loss.classifies == "each":
        return p.y > 0.5, p.s > 0
    one_hot = not xp.isdtype(p.y.dtype, "integral")
    true = xp.argmax(p.y, axis=-1, keepdims=True) if one_hot else p.y[..., None]
    return true, xp.argmax(p.s, axis=-1, keepdims=True)


def _indicators(p: Predictions, dtype: DType, xp: Namespace) -> tuple[Array, Array]:
    """True and predicted as 0 and 1, a column for each class (two for a single output) or label."""
    true, predicted = _decisions(p, xp)
    if p.loss.classifies == "one":
        device = array_api_compat.device(p.s)
        classes = xp.arange(p.s.shape[-1], dtype=predicted.dtype, device=device)
        true, predicted = xp.equal(true, classes), xp.equal(predicted, classes)
    elif problem(p.loss, p.s.shape[-1]) == TWO:
        true = xp.concat([~true, true], axis=-1)
        predicted = xp.concat([~predicted, predicted], axis=-1)
    return xp.astype(true, dtype), xp.astype(predicted, dtype)


def _accuracy(p: Predictions, xp: Namespace) -> Array:
    w = _weights(p, xp)
    true, predicted = _decisions(p, xp)
    right = xp.all(xp.equal(true, predicted), axis=-1, keepdims=True)
    return _over_columns(_mean(xp.astype(right, w.dtype), w, xp), p, xp)


def _balanced_accuracy(p: Predictions, xp: Namespace) -> Array:
    w = _weights(p, xp)
    true, predicted = _indicators(p, w.dtype, xp)
    occurring = _sum(w * true, xp)
    recall = _ratio(_sum(w * true * predicted, xp), occurring, xp, otherwise=0.0)
    n_classes = xp.sum(xp.astype(occurring > 0, w.dtype), axis=-1, keepdims=True)
    return _over_columns(_ratio(xp.sum(recall, axis=-1, keepdims=True), n_classes, xp), p, xp)


def _log_loss(p: Predictions, xp: Namespace) -> Array:
    softmax = p.loss.classifies == "one"
    cross_entropy = LOSSES["softmax_cross_entropy" if softmax else "binary_cross_entropy"]
    w = _weights(p, xp)
    value, _ = cross_entropy.value_and_delta(xp.astype(p.s, w.dtype), p.y, xp)
    return _over_columns(_mean(value[..., None], w, xp), p, xp)


def _f1(p: Predictions, xp: Namespace) -> Array:
    # 2 TP / (2 TP + FP + FN), whose denominator counts the true and the predicted.
    w = _weights(p, xp)
    true, predicted = _indicators(p, w.dtype, xp)
    both, counted = (_sum(w * a, xp) for a in (true * predicted, true + predicted))
    f1 = _ratio(2 * both, counted, xp, otherwise=0.0)
    return _over_columns(f1[..., -1:] if problem(p.loss, p.s.shape[-1]) == TWO else f1, p, xp)


def _roc_auc(p: Predictions, xp: Namespace) -> Array:
    # The fraction of pairs, one sample of each class, whose scores are in the right order. A stable
    # sort with the first class's rows in front counts a tie as right, with them last as wrong: the
    # mean of the two counts it half, as the area under the curve does.
    w = _weights(p, xp)
    true, _ = _indicators(p, w.dtype, xp)
    score = p.s[..., -1] - p.s[..., 0] if p.s.shape[-1] == 2 else p.s[..., 0]
    first, second = (xp.broadcast_to((w * true)[..., c], score.shape) for c in (0, 1))
    by_class = xp.argsort(true[:, 1], stable=True)
    right = xp.zeros_like(score[..., 0], dtype=w.dtype)
    for rows in (by_class, xp.flip(by_class)):
        order = xp.argsort(xp.take(score, rows, axis=-1), axis=-1, stable=True)
        a, b = (
            xp.take_along_axis(xp.take(weights, rows, axis=-1), order, axis=-1)
            for weights in (first, second)
        )
        right = right + xp.sum(xp.cumulative_sum(a, axis=-1) * b, axis=-1) / 2
    area = _ratio(right, xp.sum(first, axis=-1) * xp.sum(second, axis=-1), xp)
    highest = xp.max(score, axis=-1)  # NaN where a score is, which has no place in an order
    area = xp.where(xp.isnan(highest), nan, area)
    return xp.astype(area, p.s.dtype)


def _numbers(p: Predictions, xp: Namespace) -> tuple[Array, Array, Array]:
    """Weights, targets and outputs, in the dtype of the weights."""
    w = _weights(p, xp)
    return w, xp.astype(p.y, w.dtype), xp.astype(p.loss.output(p.s, xp), w.dtype)


def _r2(p: Predictions, xp: Namespace) -> Array:
    w, y, output = _numbers(p, xp)
    shifted = y - y[:1, :]  # exactly 0 where y is constant, which a rounded mean would not give
    unexplained = _sum(w * (y - output) ** 2, xp)
    mean = _mean(shifted, w, xp)[..., None, :]
    spread = _sum(w * (shifted - mean) ** 2, xp)
    constant = xp.where(unexplained > 0, 0.0, 1.0 - unexplained)  # 1.0 for 0, and NaN for NaN
    return _over_columns(xp.where(spread > 0, 1 - _ratio(unexplained, spread, xp), constant), p, xp)


def _mae(p: Predictions, xp: Namespace) -> Array:
    w, y, output = _numbers(p, xp)
    return _over_columns(_mean(xp.abs(y - output), w, xp), p, xp)


def _rmse(p: Predictions, xp: Namespace) -> Array:
    w, y, output = _numbers(p, xp)
    return _over_columns(xp.sqrt(_mean((y - output) ** 2, w, xp)), p, xp)


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", _accuracy, True, (TWO, MANY, LABELS)),
        Metric("balanced_accuracy", _balanced_accuracy, True, (TWO, MANY)),
        Metric("log_loss", _log_loss, False, (TWO, MANY)),
        Metric("f1", _f1, True, (TWO, MANY, LABELS)),
        Metric("roc_auc", _roc_auc, True, (TWO,)),
        Metric("r2", _r2, True, (NUMBERS,), degree=0),
        Metric("mae", _mae, False, (NUMBERS,), degree=1),
        Metric("rmse", _rmse, False, (NUMBERS,), degree=1),
    )
}


def get_metric(name: str | Callable[..., Array | float] | Metric) -> Metric:
    """The metric of that name, or of a function ``f(y, output, weight)`` of the user's own.

    Each equals scikit-learn's function, sample weights w included; sums run over samples i, and
    the mean of several columns counts each alike.

    ================= ============================================== ======= =======================
    name              formula                                        for     scikit-learn
    ================= ============================================== ======= =======================
    accuracy          sum w_i [all decisions on i right] / sum w_i   C 2 L   accuracy_score
    balanced_accuracy mean of the recalls of the classes in y        C 2     balanced_accuracy_score
    log_loss          ``-sum w_i log p_i(y_i) / sum w_i``            C 2     log_loss
    f1                ``2 TP / (2 TP + FP + FN)``, 0 for 0 / 0: of   C 2 L   f1_score
                      the second of two classes, else the mean of            (average="macro")
                      all classes or labels
    roc_auc           fraction of pairs of the two classes in the    2       roc_auc_score
                      right order, weights multiplied, ties half
    r2                ``1 - sum w_i (y_i - o_i)^2``                  N       r2_score
                      ``/ sum w_i (y_i - mean y)^2``; a column
                      with no spread: 1 if o = y, else 0
    mae               ``sum w_i |y_i - o_i| / sum w_i``              N       mean_absolute_error
    rmse              ``sqrt(sum w_i (y_i - o_i)^2 / sum w_i)``      N       root_mean_squared_error
    ================= ============================================== ======= =======================

    C: three or more classes; 2: two, as two outputs of softmax_cross_entropy or the single one of
    binary_cross_entropy; L: several labels a sample; N: numbers, with o = ``loss.output(s)``.

    A target that is a probability counts as its row's largest, or as 1 above 0.5; log_loss takes it
    as it is. log_loss is computed from the logits and can exceed scikit-learn's, which clips the
    probabilities. roc_auc orders by the logits, which still differ where probabilities have rounded
    to 1; it is NaN where only one class occurs with a weight, or a logit is NaN. Where no sample
    has weight, f1 is 0, r2 is 1 and all others are NaN.

    A function of the user's own is called with ``y``, (N,) class positions or (N, n_columns)
    numbers, ``output = loss.output(s)``, (N, n_outputs), and ``weight`` (None, (N,) or one row a
    member), on the device, and returns one number; for a population, whose output is
    (K, N, n_outputs), one for each member, (K,). Numbers are in the targets' own units, and in
    float64 where targets were standardised and the device has it.

    Raises:
        ValueError: an unknown name (with the nearest match), or a function without a name.
    """
    if isinstance(name, Metric):
        return name
    if not callable(name):
        return lookup(METRICS, name, "metric", "a function f(y, output, weight) of your own")
    require_arguments(name, ("y", "output", "weight"), "a metric's function")
    return Metric(getattr(name, "__name__", repr(name)), _UserFunction(name))


@dataclass(frozen=True)
class _UserFunction:
    """A function of the user's own as a `Metric.function`; a class, so that it pickles."""

    function: Callable[..., Array | float]

    def __call__(self, p: Predictions, xp: Namespace) -> Array:
        value = self.function(p.y, p.loss.output(p.s, xp), p.weight)
        if value is None:
            raise ValueError(f"the metric {self.function.__name__} returned None, not a number")
        figure = xp.asarray(value, dtype=p.s.dtype, device=array_api_compat.device(p.s))
        if figure.shape != p.s.shape[:-2]:
            raise ValueError(
                f"the metric {self.function.__name__} must return shape {tuple(p.s.shape[:-2])}, a "
                f"number for each member, not {tuple(figure.shape)}"
            )
        return figure


def require_suits(metric: Metric, loss: Loss, n_outputs: int) -> None:
    """Raise a ValueError, naming those that suit, if the metric cannot be computed for the loss."""
    predicted = problem(loss, n_outputs)
    if predicted not in metric.suits:
        others = ", ".join(m.name for m in METRICS.values() if predicted in m.suits)
        raise ValueError(
            f"the metric {metric.name} is for {' or '.join(metric.suits)}, but {loss.name} with "
            f"{n_outputs} {'output' if n_outputs == 1 else 'outputs'} predicts {predicted}, for "
            f"which there is {others or 'none but a function of your own'}"
        )


def greater_is_better(column: str, metrics: Iterable[Metric]) -> bool | None:
    """True where a greater value of a history's column is better; None where that is not known.

    Args:
        column: "loss", "training_error", "validation_f1", and so on.
        metrics: those that the history has columns of.
    """
    stage, _, name = column.partition("_")
    better = {m.name: m.greater_is_better for m in metrics} | {"loss": False, "error": False}
    return better.get(name if stage in ("training", "validation") else column)
