"""The loss of the best answer that ignores the input: constants tried, and formulas."""

from math import log
from typing import Any

import numpy as np
import pytest

from arraymlp import train
from arraymlp.diagnosis.run_columns import baseline_loss
from arraymlp.losses import LOSSES, Huber, Loss, Quantile, get_loss
from conftest import named

THRESHOLDS = (0.5, 1.0, 2.0)


def naive_huber(e: float, d: float) -> float:
    return e * e / 2 if abs(e) <= d else d * (abs(e) - d / 2)


def naive_pinball(e: float, level: float) -> float:
    return max(level * -e, (level - 1) * -e)


ROWS = np.arange(40.0)[:, None]
SKEWED = np.random.default_rng(33).gamma(1.0, 2.0, (40, 2))


def guess(y: Any, chosen: str | Loss, rows: Any = None, **more: Any) -> float:
    seed = list(range(get_loss(chosen).members or 1))
    rows = ROWS if rows is None else rows
    run = train(
        rows, y, loss=chosen, hidden=(), epochs=0, seed=seed, backend="numpy", dtype="float64",
        batch_size=len(rows),
    )  # fmt: skip
    return baseline_loss(run, **more)


@pytest.mark.parametrize(
    ("chosen", "naive"),
    [
        ("squared_error", [lambda e: e * e / 2]),
        ("absolute_error", [abs]),
        (Huber(0.5), [lambda e: naive_huber(e, 0.5)]),
        (Quantile((0.2, 0.9)), [lambda e, t=t: naive_pinball(e, t) for t in (0.2, 0.9)]),
    ],
    ids=named,
)
def test_guessing_costs_as_much_as_the_best_constant(chosen: Any, naive: Any) -> None:
    constants = [*np.linspace(0, 10, 1001), *SKEWED.ravel()]
    best = sum(
        min(np.mean([f(c - v) for v in column]) for c in constants)
        for column in SKEWED.T.tolist()
        for f in naive
    )
    assert guess(SKEWED, chosen) == pytest.approx(best, rel=1e-4)
    assert guess(SKEWED, chosen) <= best * (1 + 1e-12)


NUMBERS = pytest.mark.parametrize("name", [k for k, f in LOSSES.items() if f.classifies == "no"])
# An odd number of rows, and such that a tenth and nine tenths are rows, too.
COLUMN = SKEWED[:31, :1]


def best_logits(loss: Loss, y: Any) -> Any:
    """The constant logit of each output (1, n) whose mean loss is least, of many tried."""
    n, tried = loss.outputs_per_target, np.linspace(-2, 8, 5001)
    best = np.zeros((1, n))
    for j in range(n):
        s = np.zeros((len(tried), len(y), n))
        s[..., j] = tried[:, None]
        best[0, j] = tried[loss(s, y)[0].mean(axis=1).argmin()]
    return best


@NUMBERS
def test_a_loss_says_which_figure_its_best_constant_is(name: str) -> None:
    loss = LOSSES[name]
    figures = {"mean": COLUMN.mean(), "median": np.median(COLUMN)}
    if isinstance(loss, Quantile):
        figures["quantiles"] = np.quantile(COLUMN, loss.levels)
    output = loss.output(best_logits(loss, COLUMN), np)
    found = [figure for figure, value in figures.items() if np.allclose(output, value, atol=0.01)]
    assert found == ([loss.best_constant] if loss.best_constant else [])


@NUMBERS
def test_guessing_costs_as_much_as_the_best_of_many_constants(name: str) -> None:
    best = np.broadcast_to(best_logits(LOSSES[name], COLUMN), (31, LOSSES[name].outputs_per_target))
    costs = LOSSES[name](best, COLUMN)[0].mean()
    assert guess(COLUMN, name, ROWS[:31]) == pytest.approx(costs, rel=1e-4)


def test_guessing_a_rate_costs_half_the_null_deviance() -> None:
    y = np.asarray([0.0, 1, 1, 6] * 10)  # mean 2
    expected = (2 + 2 * (log(1 / 2) + 1) + (6 * log(3) - 4)) / 4
    assert guess(y, "poisson") == pytest.approx(expected)
    assert guess(y * 0, "poisson") == pytest.approx(0)


class Gamma(Loss):
    """Half the gamma deviance, but for constants; its logits are the logarithm of the mean."""

    name = "gamma"

    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        r = y * xp.exp(-s)
        return xp.sum(r + s, axis=-1), 1 - r


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_guessing_where_logits_have_another_scale_than_the_targets(scale: float) -> None:
    expected = (1 + np.log(scale * SKEWED.mean(axis=0))).sum()
    assert guess(scale * SKEWED, Gamma()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chosen", [*LOSSES, Huber(0.5)], ids=str)
def test_a_weight_is_a_number_of_rows(chosen: Any) -> None:
    weight = np.random.default_rng(34).integers(0, 4, 40)
    y = SKEWED
    if get_loss(chosen).classifies != "no":
        y = (SKEWED > 2).astype(int)[:, 0] if get_loss(chosen).classifies == "one" else SKEWED > 2
    of_repeated_rows = guess(np.repeat(y, weight, axis=0), chosen, np.repeat(ROWS, weight, axis=0))
    assert guess(y, chosen, weight=weight.astype(float)) == pytest.approx(
        of_repeated_rows, rel=1e-10
    )


def test_guessing_may_cost_each_member_its_own() -> None:
    for k, d in enumerate(THRESHOLDS):
        alone = guess(SKEWED, Huber(d))
        assert guess(SKEWED, Huber(THRESHOLDS), member=k) == pytest.approx(alone, rel=1e-12)
    assert guess(SKEWED, Huber(THRESHOLDS)) == guess(SKEWED, Huber(THRESHOLDS), member=0)
