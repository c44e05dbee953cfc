"""The pictures of the lab's report: they show what was measured and what was published."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from arraymlp import History, train
from arraymlp.app.lab.plots import errors, first_layer, insides, misread
from arraymlp.datasets import published_curves


def run_with(training: list[float], test: list[float]) -> SimpleNamespace:
    records = [
        {"epoch": e, "training_error": a, "validation_error": b}
        for e, (a, b) in enumerate(zip(training, test, strict=True))
    ]
    return SimpleNamespace(history=History(records))


def drawn(ax, label: str) -> list[float]:
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return list(line.get_ydata())


def test_errors_lie_over_the_published_ones() -> None:
    published = published_curves()["relu-0.05"]
    left, right = errors([run_with([0.5, 0.0], [0.6, 0.1])], published, 0.9042).axes
    assert drawn(left, "arraymlp") == [0.5, 1e-5]  # no error at all, on the axis's floor
    assert drawn(right, "arraymlp") == [0.6, 0.1]
    assert drawn(left, "published") == [p.training_error for p in published]
    assert drawn(right, "published") == [p.test_error for p in published]


def test_where_no_curve_was_printed_its_final_value_is_a_line() -> None:
    left, right = errors([run_with([0.5], [0.6])] * 2, [], 0.9026).axes
    assert drawn(right, "published (final value)") == [0.9026, 0.9026]
    assert len(left.lines) == 2  # one a seed, and nothing published


def test_insides_are_the_measurements() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    run = train(X, y, hidden=(5, 4), epochs=2, batch_size=20, probes=True)
    active, spread, gradient = insides(run).axes
    assert drawn(active, "hidden 2") == [100 * m.active_units[1] for m in run.measurements]
    assert drawn(spread, "output") == [m.spread[2] for m in run.measurements]
    assert drawn(gradient, "hidden 1") == [m.gradient_norm[0] for m in run.measurements]


def test_first_layer_shows_each_unit_scaled_to_its_own_largest_weight() -> None:
    weights = np.zeros((4, 3), np.float32)
    weights[:, 1] = [0.0, 1.0, -4.0, 2.0]
    image = first_layer(weights, side=2, columns=3).axes[0].images[0].get_array()
    np.testing.assert_array_equal(image[1:3, 4:6], [[0.0, 0.25], [-1.0, 0.5]])


def test_misread_digits_carry_truth_answer_and_probability() -> None:
    fig = misread(np.zeros((2, 4)), [3, 5], [8, 6], [0.991, 0.5], side=2)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[:3] == ["3 read as 8 (99 %)", "5 read as 6 (50 %)", ""]
