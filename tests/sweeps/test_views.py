"""What notebooks show of a sweep: the best settings, what failed, and nothing that takes long."""

from typing import Any

import numpy as np
import pytest

import problems
from arraymlp import SweepResult, sweep
from arraymlp.sweeps.rows import NUMBERS, SHOWN, Rows
from notebook_cells import words

X, Y = problems.labels()
FEW: dict[str, Any] = {"epochs": 3, "batch_size": 6, "validation": 0.25, "backend": "numpy"}
FEW |= {"hidden": (4,)} | problems.PLAIN


@pytest.fixture(scope="module")
def result() -> SweepResult:
    return sweep(X, Y, **FEW, learning_rate=[0.01, 0.1], activation=["relu", "tanh"], seed=range(3))


def test_a_sweep_shows_its_best_settings_and_their_curves(result: SweepResult) -> None:
    html = str(result._repr_html_())
    text = words(html)
    assert text.startswith("SweepResult of 12 networks over learning_rate, activation, seed; best ")
    best = result.rank()[0]
    row = f"1 {best['learning_rate']:g} {best['activation']} {best['mean']:.5g}"
    assert row in text
    assert html.count("<svg") == 1
    assert all(f"{r['learning_rate']:g}, {r['activation']}" in text for r in result.rank())
    assert result._findings == {}


def test_what_failed_is_counted() -> None:
    result = sweep(X, X[:, 0] * 1e3, **FEW, learning_rate=[1e-3, 1e30], seed=range(2))
    text = words(result._repr_html_())
    assert "2 diverged: result.failures() says why" in text
    assert result.failures()[0]["cause"] in words(result.failures()._repr_html_())
    assert result[2].cause in words(result[2]._repr_html_())


def test_a_sweep_is_shown_in_any_state(result: SweepResult, tmp_path: Any) -> None:
    result.save(tmp_path / "sweep.safetensors")
    loaded = SweepResult.load(tmp_path / "sweep.safetensors")
    assert words(loaded._repr_html_()).startswith("SweepResult of 12 networks")
    untrained = SweepResult.load(tmp_path / "sweep.safetensors")
    for m in untrained.members:
        m.result = m.score = None
    text = words(untrained._repr_html_())
    assert "12 not trained" in text
    assert "best" not in text
    assert words(untrained[0]._repr_html_()).startswith("Network 0 of a sweep")


def test_networks_of_unlike_lengths_share_a_chart() -> None:
    result = sweep(X, Y, **FEW | {"epochs": [2, 5]}, seed=range(2))
    assert str(result._repr_html_()).count("<svg") == 1


def test_a_network_of_a_sweep_shows_its_settings_and_curves(result: SweepResult) -> None:
    m = result.best
    text = words(m._repr_html_())
    assert text.startswith(f"Network {m.number} of a sweep setting or result value learning rate ")
    assert f"score {m.score:.5g} status finished" in text
    assert str(m._repr_html_()).count("<svg") == 2


def test_rows_are_a_list_that_is_shown(result: SweepResult) -> None:
    rank = result.rank()
    assert rank == list(rank)
    assert isinstance(rank[:2], Rows)
    assert isinstance(rank[0], dict)
    assert words(rank[:2]._repr_html_()).startswith("Rows 2 rank learning rate")
    assert words(result.rows._repr_html_()).startswith("Rows 12 member")
    assert words(Rows()._repr_html_()) == "Rows 0 none"


def test_many_rows_and_long_lists_are_cut() -> None:
    many = Rows({"name": f"<{i}>", "members": list(range(9))} for i in range(SHOWN + 1))
    text = words(many._repr_html_())
    assert f"the first {SHOWN} of {SHOWN + 1}" in text
    assert f"<{SHOWN - 1}>" in text
    assert f"<{SHOWN}>" not in text
    assert ", ".join(map(str, range(NUMBERS))) + ", ... " in text


def test_a_large_sweep_is_small() -> None:
    result = sweep(X, Y, **FEW, learning_rate=np.geomspace(1e-3, 0.1, 40), seed=range(4))
    assert len(str(result._repr_html_())) < 12_000
