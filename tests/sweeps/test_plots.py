"""A sweep's picture: what is drawn is what the networks scored."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import problems
from arraymlp import SweepResult, sweep
from arraymlp.app.figures import empty_figure
from arraymlp.sweeps.plots import COLOURS, FAILED, NAMED, OTHERS, draw_sweep, size

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3)).astype(np.float32)
Y = (X[:, 0] + 0.8 * rng.normal(size=80) > 0).astype(int)
FEW = {"epochs": 4, "batch_size": 20, "validation": 0.25, "backend": "numpy", "hidden": (4,)}
FEW |= problems.PLAIN


def swept(**given: Any) -> SweepResult:
    return sweep(X, Y, **{**FEW, **given})


def axes_of(result: SweepResult) -> dict[str, Any]:
    """The axes by title; the learning curves under "curves"."""
    fig = empty_figure(size(result))
    draw_sweep(result, fig)
    fig.draw_without_rendering()  # what Matplotlib would warn of fails here
    curves, *panels = fig.axes
    return {"curves": curves, **{ax.get_title(): ax for ax in panels}}


def labels(ax: Any) -> list[str]:
    legends = [c for c in ax.get_children() if type(c).__name__ == "Legend"]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def line(ax: Any, label: str) -> Any:
    (labelled,) = [line for line in ax.lines if line.get_label() == label]
    return labelled


def points(ax: Any) -> list[tuple[float, float]]:
    """The dots, one a network."""
    dots = [line for line in ax.lines if line.get_marker() == "o" and line.get_alpha() == 0.45]
    return sorted((x, y) for line in dots for x, y in zip(*line.get_data(), strict=True))


# Learning curves


def test_there_is_a_curve_for_each_network_and_the_best_of_each_setting_is_strong() -> None:
    result = swept(learning_rate=[0.01, 0.1], seed=range(3))
    ax = axes_of(result)["curves"]
    assert [list(line.get_ydata()) for line in ax.lines] == result.curves()
    strong = [line for line in ax.lines if line.get_linewidth() > 2]
    for i, row in enumerate(result.rank()):
        scores = [(result[k].score, k) for k in row["members"]]
        (curve,) = [line for line in strong if to_hex(line.get_color()) == COLOURS[i]]
        assert list(curve.get_ydata()) == result.curves()[min(scores)[1]]
    assert ax.get_ylabel() == "validation error"


def test_the_legend_has_the_top_settings_best_first() -> None:
    result = swept(learning_rate=list(np.linspace(0.01, 0.2, 8)), seed=range(2))
    ax = axes_of(result)["curves"]
    rank = result.rank()[:NAMED]
    assert labels(ax) == [
        f"{row['learning_rate']:g}: {row['mean']:.4g} ± {row['std']:.2g}" for row in rank
    ]
    grey = [line for line in ax.lines if to_hex(line.get_color()) == OTHERS]
    assert len(grey) == 2 * (8 - NAMED)


def test_those_that_diverged_are_marked_where_they_ended() -> None:
    result = swept(learning_rate=[0.05, 1e30], seed=range(2))
    diverged = [m for m in result if m.status == "diverged"]
    ax = axes_of(result)["curves"]
    assert len(diverged) == 2
    assert labels(ax)[-1] == "2 diverged"
    marks = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    finite = [m for m in diverged if np.isfinite(m.history["validation_error"][-1])]
    assert len(marks) == len(finite)
    assert {to_hex(line.get_color()) for line in marks} <= {FAILED}


def test_with_early_stopping_the_epoch_is_marked_whose_weights_a_network_has() -> None:
    result = swept(learning_rate=2.0, seed=range(2), early_stopping=True, epochs=15)
    ax = axes_of(result)["curves"]
    marks = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    best = result.best
    assert [line.get_xydata().tolist() for line in marks] == [[[best.best_epoch, best.score]]]


@pytest.mark.parametrize(("wide", "scale"), [(True, "log"), (False, "linear")])
def test_a_score_that_falls_far_has_a_logarithmic_axis(wide: bool, scale: str) -> None:
    result = swept(learning_rate=[0.01, 0.1], score="validation_loss")
    records = result.members[0].history.records
    records[-1]["validation_loss"] = records[0]["validation_loss"] / (100 if wide else 2)
    assert axes_of(result)["curves"].get_yscale() == scale


def test_a_single_epoch_is_a_point() -> None:
    ax = axes_of(swept(seed=range(2), epochs=1))["curves"]
    assert {line.get_marker() for line in ax.lines} == {"o"}


# The score over a setting


def test_a_number_has_a_proper_axis_and_means_over_seeds() -> None:
    result = swept(learning_rate=[0.001, 0.01, 0.1], seed=range(3))
    ax = axes_of(result)["learning rate"]
    assert ax.get_xscale() == "log"
    assert points(ax) == sorted((m.swept["learning_rate"], m.score) for m in result)
    means = {row["learning_rate"]: row["mean"] for row in result.rank()}
    x, y = line(ax, "mean").get_data()
    assert dict(zip(x, y, strict=True)) == pytest.approx(means)
    assert list(x) == sorted(x)
    best = line(ax, "best network").get_xydata().tolist()
    assert best == [[result.best.swept["learning_rate"], result.best.score]]


def test_numbers_close_together_have_a_linear_axis() -> None:
    ax = axes_of(swept(learning_rate=[0.1, 0.2, 0.3]))["learning rate"]
    assert ax.get_xscale() == "linear"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.1", "0.2", "0.3"]


def test_a_number_that_is_0_beside_decades_is_a_category_in_order() -> None:
    ax = axes_of(swept(l2=[1e-3, 0.0, 1e-1]))["l2"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "0.001", "0.1"]


def test_categories_have_a_dash_for_their_mean() -> None:
    result = swept(hidden=[(3,), (4, 4)], seed=range(3))
    ax = axes_of(result)["hidden"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["3", "4-4"]
    (dashes,) = ax.collections
    means = {row["hidden"]: row["mean"] for row in result.rank()}
    assert [s[0][1] for s in dashes.get_segments()] == pytest.approx([means["3"], means["4-4"]])
    dots = points(ax)
    assert sorted(y for x, y in dots if x < 0.5) == sorted(m.score for m in result.members[:3])
    assert len({x for x, _ in dots}) == 6  # none hides another


def test_two_settings_have_a_line_for_each_value_of_the_other() -> None:
    result = swept(learning_rate=[0.01, 0.1], activation=["relu", "tanh"], seed=range(2))
    ax = axes_of(result)["learning rate"]
    for name in ("relu", "tanh"):
        rows = [row for row in result.rank() if row["activation"] == name]
        x, y = line(ax, name).get_data()
        expected = {row["learning_rate"]: row["mean"] for row in rows}
        assert dict(zip(x, y, strict=True)) == pytest.approx(expected)
    assert labels(ax) == ["relu", "tanh"]


def test_of_more_settings_the_best_combination_is_shown() -> None:
    result = swept(learning_rate=[0.01, 0.1], l2=[0.0, 0.1], activation=["relu", "tanh"])
    axes = axes_of(result)
    assert list(axes) == ["curves", "learning rate", "l2", "activation"]
    x, y = line(axes["learning rate"], "best combination").get_data()
    for rate, score in zip(x, y, strict=True):
        assert score == min(r["mean"] for r in result.rank() if r["learning_rate"] == rate)


def test_failures_are_counted_on_the_edge() -> None:
    result = swept(learning_rate=[0.05, 1e30], seed=range(3))
    ax = axes_of(result)["learning rate"]
    assert list(line(ax, "diverged").get_xdata()) == [1e30]
    assert [text.get_text() for text in ax.texts] == ["3"]


def test_scores_far_off_leave_the_others_their_axis() -> None:
    result = swept(learning_rate=[0.01, 0.05, 0.1], score="validation_loss")
    result.members[2].score = 1e12
    ax = axes_of(result)["learning rate"]
    assert ax.get_ylim()[1] < 10
    assert list(line(ax, "diverged, or far worse").get_xdata()) == [0.1]


def test_many_values_are_points_alone() -> None:
    result = swept(learning_rate=list(np.geomspace(0.001, 0.3, 50)), seed=range(2))
    axes = axes_of(result)
    assert len(points(axes["learning rate"])) == 100
    assert "mean" not in [line.get_label() for line in axes["learning rate"].lines]
    assert len(labels(axes["curves"])) == NAMED


def test_greater_is_better_turns_the_picture_over() -> None:
    result = swept(
        learning_rate=[0.05, 1e30], metrics="accuracy", score="validation_accuracy", seed=range(2)
    )
    ax = axes_of(result)["learning rate"]
    (star,) = line(ax, "best network").get_ydata()
    assert star == max(m.score for m in result if m.counts)
    assert line(ax, "diverged").get_ydata()[0] < 0.5


# The figure


def test_where_all_diverged_there_is_a_picture_too() -> None:
    result = swept(learning_rate=[1e30, 1e31])
    assert labels(axes_of(result)["curves"]) == ["2 diverged"]


@pytest.mark.parametrize(
    "given", [{"seed": range(2)}, {}, {"seed": [0], "order_seed": [0, 1]}], ids=str
)
def test_without_a_setting_there_are_curves_alone(given: dict[str, Any]) -> None:
    assert list(axes_of(swept(**given))) == ["curves"]


def test_without_a_figure_it_is_pyplots(monkeypatch: pytest.MonkeyPatch) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    result = swept(learning_rate=[0.01, 0.1])
    axes = result.plot()  # no figure: a notebook shows pyplot's, and would show it again
    fig = axes[0].figure
    try:
        assert plt.gcf() is fig
        assert fig.axes == axes
    finally:
        plt.close(fig)
    given = Figure()
    curves, rates = result.plot(given)
    assert given.axes == [curves, rates]
    assert rates.get_title() == "learning rate"


def test_without_matplotlib_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    result = swept(seed=range(2))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        result.plot()


def test_nothing_trained_is_nothing_to_draw() -> None:
    result = swept(seed=range(2))
    for m in result.members:
        m.result = m.score = None
    with pytest.raises(ValueError, match="no epochs to plot"):
        result.plot()
