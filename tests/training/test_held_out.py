"""Members that hold out rows in turn train as each would alone, and all rows are trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, EarlyStopping, train
from arraymlp.data.frames.frame import Frame
from arraymlp.data.splits import dealt

N = 93  # 8 parts of 11 or 12 rows
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
LABELS = (X[:, 0] + 0.3 * RNG.normal(size=N) > 0).astype(int)
NUMBERS = X[:, 0] * X[:, 1] + 100
QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 4, "validation": "in_turn", "batch_size": 10}


@pytest.mark.parametrize("y", [LABELS, NUMBERS], ids=["classes", "numbers"])
def test_each_member_trains_as_alone_on_its_rows(y: np.ndarray, quick_backend: Backend) -> None:
    run = train(X, y, seed=range(8), standardize=False, backend=quick_backend, **QUICK)
    parts = dealt(N, 8, 0, y if y.dtype.kind == "i" else None)
    for k in (0, 7):
        rows, held_out = parts[k]
        alone = train(
            X[rows[:81]],
            y[rows[:81]],
            validation=(X[held_out], y[held_out]),
            seed=k,
            order_seed=k,
            standardize=False,
            backend=quick_backend,
            hidden=(8,),
            epochs=4,
            batch_size=10,
        )
        for name in ("loss", "validation_loss"):
            assert run.history[-1][name][k] == pytest.approx(alone.history[-1][name], rel=1e-4)


def test_all_rows_are_held_out_once_and_more_members_begin_anew() -> None:
    run = train(X, LABELS, seed=range(10), **QUICK)
    plans = run.required_data().row_plans
    assert plans is not None
    held_out = np.concatenate([plan.held_out for plan in plans[:8]])
    assert sorted(held_out.tolist()) == list(range(N))
    assert {len(plan.rows) for plan in plans} == {81}
    assert all(not np.isin(plan.rows, plan.held_out).any() for plan in plans)
    np.testing.assert_array_equal(plans[8].held_out, plans[0].held_out)
    assert len({plan.order for plan in plans}) == 10


def test_a_table_s_members_do_so_by_themselves_and_have_one_encoding() -> None:
    table = Frame(("a", "b", "c", "y"), (*X.T, NUMBERS))
    run = train(table, "y", seed=range(8), epochs=3)
    given = train(table, "y", seed=range(8), epochs=3, validation="in_turn")
    assert np.array_equal(run.predict(table), given.predict(table))
    assert run.network.encoding == arraymlp.TableEncoder().learn(Frame(("a", "b", "c"), tuple(X.T)))
    plans = run.required_data().row_plans
    assert plans is not None
    assert len(plans) == 8
    for settings in ({"seed": 0}, {"seed": range(8), "early_stopping": False}):
        assert train(table, "y", epochs=1, **settings).required_data().row_plans is None


def test_classes_of_few_rows_need_no_row_in_each_part() -> None:
    y = np.where(np.arange(N) < 90, LABELS, 2)
    y[92] = 3
    run = train(X, y, seed=range(8), class_weight="balanced", **QUICK)
    assert np.isfinite(run.history[-1]["loss"]).all()


def test_it_goes_on_and_stops_early(tmp_path: Path) -> None:
    given = {**QUICK, "epochs": 6, "early_stopping": EarlyStopping(patience=2)}
    whole = train(X, NUMBERS, seed=range(8), **given)
    kept = train(X, NUMBERS, seed=range(8), checkpoint=tmp_path / "a.checkpoint", **given)
    again = train(X, NUMBERS, seed=range(8), checkpoint=tmp_path / "a.checkpoint", **given)
    for run in (kept, again):
        assert np.array_equal(run.predict(X), whole.predict(X))
    on = train(network=whole, epochs=2)
    assert len(on.history) > len(whole.history)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 0}, 'validation="in_turn" is for members: give several seeds'),
        ({"validation": "fold"}, "must be a fraction, .* or \"in_turn\", not 'fold'"),
        ({"probes": True}, "and probes exclude each other"),
        ({"X": X[:7], "y": NUMBERS[:7], "batch_size": 2}, "needs 8 rows, and there are 7"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**{"X": X, "y": NUMBERS, "seed": range(8), **QUICK, **given})
