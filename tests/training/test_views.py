"""What notebooks show of runs and their parts: well-formed, small, true, whatever their state."""

import time
from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Ensemble, Finding, History, MultilayerPerceptron, Run
from arraymlp.diagnosis.findings import Findings
from arraymlp.html.chart import PALETTE
from arraymlp.training.spread import Spread, as_numbers, spread
from arraymlp.training.views import run as run_views
from arraymlp.training.views.curves import POINTS, charts, thinned
from notebook_cells import words
from runs import X, Y, train

UGLY = "<script>alert('&')</script>"


def kept(history: History, best: Any) -> dict[str, Any]:
    run = train(epochs=1)
    return run_views.kept_record(replace(run, history=history, best_epoch=best))


# Runs


@pytest.fixture(scope="module")
def run() -> Run:
    return train(epochs=3, validation=0.25, metrics=["f1"])


def test_a_run_says_how_it_ended_and_its_last_figures(run: Run) -> None:
    text = words(run._repr_html_())
    last = run.history[-1]
    assert text.startswith("Run finished after 3 epochs, ")
    assert f"minibatches, as met {last['loss']:.4g}" in text
    assert f"validation {last['validation_loss']:.4g} {last['validation_error']:.4g}" in text
    assert all(f.sentence in text for f in run.findings)


def test_of_a_population_there_are_median_and_range() -> None:
    population = train(epochs=2, seed=range(5), validation=0.25)
    text, html = words(population._repr_html_()), str(population._repr_html_())
    errors = population.history[-1]["validation_error"]
    assert f"{np.median(errors):.4g} ({min(errors):.4g} to {max(errors):.4g})" in text
    assert "of 5 members" in text
    assert html.count(f'stroke="{PALETTE[1]}"') == 7  # median, least, greatest, twice; legend
    assert "[" not in repr(population.history)


@pytest.mark.parametrize("members", [None, 3])
def test_a_run_is_shown_in_any_state(members: int | None, tmp_path: Any) -> None:
    seed: Any = 0 if members is None else range(members)
    run = train(epochs=2, seed=seed, validation=0.25, early_stopping=True)
    arraymlp.save(run, tmp_path / "run.safetensors")
    states = [
        run,
        run.without_data(),
        arraymlp.load(tmp_path / "run.safetensors"),
        replace(run, history=History()),
        replace(run, ended="interrupted", best_epoch=None),
        replace(run, partial_epoch=run.partial_epoch._replace(steps=1), best_epoch=None),
    ]
    for state in states:
        assert words(state._repr_html_()).startswith("Run ")
        assert repr(state).startswith("<Run")


def test_a_run_that_diverged_says_why() -> None:
    with pytest.raises(arraymlp.NonFiniteLossError) as caught:
        train(X, X[:, 0] * 1e3, learning_rate=1e30, epochs=3)
    text = words(caught.value.run._repr_html_())
    assert text.startswith("Run diverged after ")
    assert caught.value.run.cause in text


def test_with_early_stopping_the_figures_are_those_of_the_weights_it_has() -> None:
    history = History([{"epoch": e, "loss": e + 0.5, "step": e} for e in range(4)])
    assert kept(history, 2)["loss"] == 2.5
    assert kept(history, None)["loss"] == 3.5
    several = History([{"epoch": e, "loss": [e + 0.5, e + 0.25], "step": e} for e in range(4)])
    assert kept(several, [1, 3])["loss"] == [1.5, 3.25]


def test_findings_are_computed_only_where_that_is_quick(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = replace(run)
    monkeypatch.setattr(run_views, "QUICK_PRODUCTS", 10)
    text = words(fresh._repr_html_())
    assert "run.findings says why" in text
    assert fresh._findings is None
    found = fresh.findings
    assert all(f.sentence in words(fresh._repr_html_()) for f in found)


def test_a_view_that_fails_leaves_the_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_views, "figures_table", None)
    assert run._repr_html_() is None


# Histories


@pytest.mark.parametrize("members", [None, 256])
def test_a_long_history_is_small_and_soon_there(members: int | None) -> None:
    rng = np.random.default_rng(0)
    n = 10_000 if members is None else 2000
    shape = () if members is None else (members,)
    losses = (1 + rng.random((n, *shape))).tolist()
    history = History([{"epoch": e, "loss": v, "validation_loss": v} for e, v in enumerate(losses)])
    started = time.perf_counter()
    html = history._repr_html_()
    assert time.perf_counter() - started < 3  # 0.1 s on two cores
    assert words(html)
    assert len(str(html)) < 30_000
    assert len(repr(history)) < 300


def test_least_and_greatest_survive_where_points_are_left_out() -> None:
    x = np.arange(10_000.0)
    y, z = np.sin(x), np.cos(x)
    y[1234], z[4321], y[777] = 50.0, -60.0, nan
    kept_x, (kept_y, kept_z) = thinned(x, [y, z])
    assert len(kept_x) <= POINTS
    assert (kept_x[0], kept_x[-1]) == (0, 9999)
    assert (kept_y.max(), kept_z.min()) == (50.0, -60.0)
    assert all(np.diff(kept_x) > 0)


@pytest.mark.parametrize(
    "records",
    [
        [{"epoch": 0}],
        [{"epoch": 0, "loss": nan}],
        [{"epoch": 0, "loss": inf}, {"epoch": 1, "loss": -inf}],
        [{"epoch": 0, "loss": [nan, 1.0]}, {"epoch": 1, "loss": [nan, nan]}],
        [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 2.0, "validation_loss": 1.0}],
        [{"epoch": 0, "loss": 1.0, "training_mine": UGLY, "validation_x": [UGLY, 2]}],
        [{"epoch": 0, "loss": [1.0, 2.0]}, {"epoch": 1, "loss": [1.0]}],
        [{"loss": 1.0}],
    ],
    ids=repr,
)
def test_a_history_of_any_figures_is_shown(records: list[Any]) -> None:
    history = History(records)
    assert words(history._repr_html_()).startswith("History of ")
    assert UGLY not in str(history._repr_html_())
    assert repr(history).startswith("<History of ")


def test_a_chart_has_a_line_for_each_column_and_no_more_charts_than_fit(run: Run) -> None:
    html = charts(run.history)
    assert html.count("<svg") == 3
    record = run.history[-1] | {f"validation_m{i}": 0.5 for i in range(9)}
    more = History([record, record | {"epoch": 9}])
    assert charts(more).count("<svg") == 4
    assert "8 more: history.plot() draws all" in words(more._repr_html_())


# Spreads


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], Spread(2.0, 1.0, 3.0, 3, 3)),
        ([4.0, 1.0, nan, 2.0, 3.0], Spread(2.5, 1.0, 4.0, 4, 5)),
        ([inf, None, 1e308, 1e308], Spread(1e308, 1e308, 1e308, 2, 4)),
    ],
)
def test_a_spread_is_of_the_finite_numbers(values: list[Any], expected: Spread) -> None:
    assert spread(values) == expected


def test_a_spread_of_none_is_nan() -> None:
    assert spread([nan, inf]).text() == "nan"
    assert spread([]).text() == "nan"
    assert as_numbers([1, "a", None]).tolist()[0] == 1.0


# Findings, networks, ensembles


def test_findings_are_a_list_that_is_shown() -> None:
    first, second = Finding("spike", f"a {UGLY}", {}), Finding("learned", "b", {})
    found = Findings([first, second])
    assert found == [first, second]
    assert [first, second] == found
    assert isinstance(found[:1], Findings)
    assert found[0] is first
    assert words(found._repr_html_()) == f"Findings 2 spike a {UGLY} learned b"
    assert words(first._repr_html_()) == f"Finding spike a {UGLY}"
    assert "nothing to report" in words(Findings()._repr_html_())


def test_of_many_findings_there_are_the_first_of_each_kind() -> None:
    found = Findings(Finding("learned", f"s{k}", {}, member=k) for k in range(40))
    text = words(found._repr_html_())
    assert "37 more of learned, in 40 members altogether" in text
    assert "s2" in text
    assert "s3" not in text


def test_a_network_shows_layers_features_and_classes() -> None:
    network = MultilayerPerceptron.create(
        [3, 4, 2], classes=np.array([UGLY, "b"]), features=("x", UGLY, "z" * 99)
    )
    text = words(network._repr_html_())
    assert "0 3 4 relu 16 1 4 2 identity 10 all 26" in text
    assert f"takes 3 features: x, {UGLY}, {'z' * 40}..." in text
    assert f"predicts 2 classes: {UGLY}, b" in text
    assert UGLY not in str(network._repr_html_())


def test_an_ensemble_shows_its_stacks() -> None:
    networks = [
        MultilayerPerceptron.create([3, width, 2], seed=seed)
        for width, seed in ((4, 0), (4, 1), (5, 2))
    ]
    text = words(Ensemble(networks)._repr_html_())
    assert text.startswith("Ensemble of 3 networks; softmax_cross_entropy")
    assert "2 3-4-2 relu softmax_cross_entropy 1 3-5-2" in text


# Scores


def test_scores_show_their_figures_and_confusions() -> None:
    run = train(epochs=2)
    scores: Any = run.evaluate(X, Y)
    text = words(scores._repr_html_())
    assert f"accuracy {scores.accuracy:.4f}" in text
    names = " ".join(map(str, scores.classes))
    assert f"true \\ predicted {names} " in text
    assert " ".join(f"{n}" for n in scores.confusion[0]) in text


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "poisson"])
@pytest.mark.parametrize("columns", [1, 2])
def test_scores_of_numbers_are_shown(loss: str, columns: int) -> None:
    y = np.abs(X[:, :columns]).astype(float)
    scores = train(X, y, loss=loss, epochs=1).evaluate(X, y)
    shown, printed = words(scores._repr_html_()), str(scores)  # type: ignore[attr-defined]
    for word in printed.split()[2:]:
        assert word in shown


def test_scores_of_labels_are_shown() -> None:
    y = (X > 0).astype(int)
    scores: Any = train(X, y, epochs=1).evaluate(X, y)
    assert f"all labels right {scores.exact_match:.4f}" in words(scores._repr_html_())
