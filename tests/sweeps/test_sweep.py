"""sweep(): refusals before anything is trained, its end, and its result."""

import json
import signal
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import mean, stdev
from threading import get_ident
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, EarlyStopping, SweepResult
from arraymlp.initializers import Initializer
from arraymlp.sweeps import data, partition
from arraymlp.sweeps.settings import SweptSettings
from arraymlp.training import loop
from arraymlp.training.settings import TABLE
from conftest import named, on_host
from members import OF_SWEEP, alone, assert_as_alone
from runs import interrupt_after, parameters

HostArray = np.ndarray[Any, Any]
X, Y = problems.labels()
NUMBERS = problems.numbers()[1]
FEW: dict[str, Any] = {
    **problems.PLAIN,
    "hidden": problems.HIDDEN,
    "batch_size": problems.BATCH,
    "epochs": 3,
    "dtype": "float64",
    "backend": "numpy",
}
STEPS = problems.N // problems.BATCH


def sweep(X_: Any = X, y: Any = Y, **given: Any) -> SweepResult:
    """arraymlp.sweep on the small problem; PLAIN, NumPy and float64 unless said otherwise."""
    return arraymlp.sweep(X_, y, **{**FEW, **given})


# --- refused -------------------------------------------------------------------------------------


class Uniform:
    """A distribution as scipy.stats has them."""

    def rvs(self, random_state: Any) -> Any:
        return np.float64(random_state.uniform(0.01, 0.1))


def sureness(y: Any, output: Any, weight: Any) -> Any:
    return output.max(axis=-1).mean(axis=-1)


def but(n: int) -> HostArray:
    return np.delete(np.arange(problems.N), n)


# All weight is on rows that are trained on, or held out, alone.
PAIRS = [(np.arange(12), np.arange(12, 24)), (np.arange(12, 24), np.arange(12))]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"learning_rat": [0.1]}, "unknown setting 'learning_rat': did you mean 'learning_rate'"),
    ({"on_epoch": []}, "unknown setting 'on_epoch'"),
    ({"learning_rate": []}, "learning_rate is empty"),
    ({"seed": [0, 1], "l2": [0.1, 0.2, 0.3], "mode": "zip"}, "2 of seed, 3 of l2"),
    ({"mode": "lattice"}, "unknown mode 'lattice'"),
    ({"l2": [0.1, 0.2], "mode": "random"}, 'mode="random" needs n'),
    ({"l2": [0.1, 0.2], "n": 2}, 'mode="grid" has no use for n'),
    ({"l2": [0.1, 0.2], "mode": "random", "n": 3}, "there are 2 combinations"),
    ({"learning_rate": Uniform()}, "learning_rate is a distribution"),
    # A bad value in any of the networks
    ({"learning_rate": [0.1, -0.1]}, "learning_rate must be a positive number, not -0.1"),
    ({"hidden": [(6,), (0,)]}, "width must be a whole number from 1, not 0"),
    ({"hidden": [6, 5]}, "hidden must be a sequence of widths, not 6"),
    ({"batch_size": [8, 25]}, "batch_size 25 is larger than the data"),
    ({"batch_size": [8, 17], "cv": 3}, "batch_size 17 is larger than the data: 16"),
    ({"seed": [0, -1]}, "seed must be a whole number from 0, not -1"),
    ({"dropout": [0.1, 1.0]}, "dropout must be from 0 up to but not 1"),
    ({"optimizer": ["sgd", "adm"]}, "did you mean 'adam'"),
    ({"schedule": ["cosine", "sine"]}, "unknown schedule 'sine': did you mean 'cosine'"),
    ({"activation": ["relu", "rely"]}, "unknown activation 'rely': did you mean 'relu'"),
    ({"class_weight": [None, {5: 1.0}]}, "class_weight names class 5"),
    ({"weight_decay": [0.0, 30.0]}, "times weight_decay 30.0 must stay below 1"),
    ({"early_stopping": [False, True]}, "early_stopping watches 'validation_loss'"),
    (
        {"loss": ["huber", arraymlp.losses.Huber((0.1, 1.0))]},
        "loss must be one network's, or a list of",
    ),
    ({"learning_rate": (0.1, 0.2)}, "learning_rate has 2 values, but one network"),
    ({"seed": [0, (1, 2)]}, r"seed must be one network's, or a list of those, not \(1, 2\)"),
    ({"alpha": [(0.1, 0.2)]}, "alpha has 2 values, but one network"),
    ({"preset": "best"}, "unknown preset 'best'"),
    # Scores and metrics
    ({"score": "accuracy"}, "unknown score 'accuracy'"),
    ({"score": "validation_loss"}, "unknown score 'validation_loss': There is loss"),
    ({"metrics": ["r2"], "cv": 3}, "the metric r2 is for numbers"),
    ({"metrics": ["accuracy"]}, "metrics need validation data"),
    ({"metrics": [sureness], "cv": 3}, "say whether a greater validation_sureness is better"),
    # Folds and validation
    ({"cv": 3, "validation": 0.2}, "cv and validation both say what to validate on"),
    ({"cv": 7}, "cv=7 folds are more than there are samples of a class: 6"),
    ({"cv": 25, "y": NUMBERS}, "cv=25 folds are more than there are samples: 24"),
    *[
        ({"cv": cv}, "cv must be a whole number of folds from 2, or a splitter, not")
        for cv in (1, 0, -3, 2.5, True, "three")
    ],
    ({"cv": object()}, "cv must be a number of folds, a splitter, or pairs of rows"),
    ({"cv": []}, "cv has no folds"),
    ({"cv": [(but(0), [0]), (but(1), [24])]}, "fold 1 of cv must have numbers of the 24 rows"),
    ({"cv": [(but(0), [-1])]}, "fold 0 of cv must have numbers of the 24 rows"),
    ({"cv": [(but(0), [])]}, "fold 0 of cv must have numbers of the 24 rows"),
    ({"cv": [(np.arange(24) > 3, [1])]}, "fold 0 of cv must have numbers of the 24 rows"),
    ({"cv": [(but(0) * 1.0, [1])]}, "fold 0 of cv must have numbers of the 24 rows"),
    ({"cv": [(but(0), [0], [1])]}, "fold 0 of cv must be a pair"),
    ({"cv": [3, 4]}, "cv must be a number of folds, a splitter, or pairs of rows"),
    ({"validation": 1.5, "order_seed": [0, 1]}, "a validation fraction must lie between 0 and 1"),
    ({"validation": 1.5}, "a validation fraction must lie between 0 and 1"),
    ({"probes": True, "cv": 3}, "probes need networks that all train on the same minibatches"),
    ({"probes": True, "order_seed": [0, 1]}, "probes need networks that all train on the same"),
    ({"sample_weight": np.ones(3)}, r"sample_weight must have the shape \(24,\)"),
    ({"sample_weight": np.arange(24.0) == 23, "cv": 3}, "sample_weight is 0 for every sample"),
    ({"sample_weight": np.arange(24.0) < 4, "cv": PAIRS}, "sample_weight is 0 for every sample"),
    # Memory
    ({"memory": "much"}, "memory must be an amount"),
    ({"memory": 1000}, "one network 4-6-5-3 takes about .* bytes to train with minibatches of 8"),
    ({"memory": "350KB", "hidden": [(6, 5), (900,)]}, "one network 4-900-3 takes about"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda v: named(v)[:60])
def test_what_cannot_be_trained_is_refused_before_anything_is(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it trains")

    monkeypatch.setattr(partition, "train_population", never)
    with pytest.raises(ValueError, match=message):
        sweep(**given)


@pytest.mark.parametrize("given", [{"cv": 3}, {"order_seed": [0, 1]}])
def test_rows_larger_than_memory_have_no_row_plans(given: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="folds, and minibatch orders of networks' own, need X in"):
        sweep(rows, **given)
    plain = sweep(rows, learning_rate=[0.05, 0.2], order_seed=4, window=8)
    assert_as_alone(plain[1], alone(plain[1], rows, Y, **FEW, order_seed=4, window=8, seed=0), 1e-9)


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.xdist_group("signals")
def test_ctrl_c_gives_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, STEPS + 2)
    given = {"hidden": [(6, 5), (4,)], "learning_rate": [0.05, 0.2], "early_stopping": "loss"}
    result = sweep(**given, seed=range(2))
    assert result.interrupted
    assert [m.status for m in result] == ["interrupted"] * 4 + ["not trained"] * 4
    assert repr(result).startswith("<SweepResult (interrupted) of 8 networks over hidden, learning")
    for member in result.members[:4]:
        assert member.history["step"] == [STEPS, STEPS + 2]
        assert member.score is not None
        # It has the weights of where it was, not of its best epoch.
        assert member.network.members is None
    for member in result.members[4:]:
        assert (member.score, member.best_epoch, member.cause) == (None, None, "")
        with pytest.raises(ValueError, match=f"member {member.number} was not trained: the sweep"):
            _ = member.network
        with pytest.raises(ValueError, match="was not trained: the sweep was interrupted"):
            result.run(member.number)
        with pytest.raises(ValueError, match="was not trained: the sweep was interrupted"):
            result.findings(member.number)
    assert result.best.number < 4
    assert [row["failed"] for row in result.rank()] == [0, 0, 2, 2]
    assert [len(c) for c in result.curves()] == [2] * 4 + [0] * 4
    assert len(result.rows) == len(json.loads(result.to_json())["rows"]) == 8
    assert [n is None for n in result.networks] == [False] * 4 + [True] * 4
    assert len(result.ensemble(4)) == 4


@pytest.mark.xdist_group("signals")
@pytest.mark.parametrize("given", [{}, {"cv": PAIRS}])
def test_what_ctrl_c_broke_off_goes_on_as_if_nothing_had_happened(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"learning_rate": [0.05, 0.2], "optimizer": "sgd"}  # plain: there is no state to lose
    whole = sweep(**given, **rates)
    with monkeypatch.context() as patch:
        interrupt_after(patch, STEPS + 2)
        broken = sweep(**given, **rates)
    for k, member in enumerate(broken):
        before = broken.run(k)
        assert member.status == "interrupted"
        run = arraymlp.train(network=before, epochs=FEW["epochs"] - before.next_epoch)
        np.testing.assert_allclose(run.history["loss"][-1], whole[k].history["loss"][-1], 1e-12)
        for ours, theirs in zip(run.network.layers, whole[k].network.layers, strict=True):
            np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-12)


@pytest.mark.parametrize("losses", [["auto", "squared_error"], ["squared_error", "auto"]])
@pytest.mark.parametrize("given", [{"cv": 3}, {"order_seed": [0, 1, 2], "validation": 0.25}])
def test_rows_are_those_of_each_loss(losses: list[str], given: dict[str, Any]) -> None:
    given = {**given, "y": (Y > 0).astype(int), "score": "validation_loss"}
    result = sweep(loss=losses, **given)
    for member in result:
        alike = sweep(loss=member.swept["loss"], **given)
        same = [
            m for m in alike if m.fold == member.fold and m.swept.items() <= member.swept.items()
        ]
        assert [m.score for m in same] == [member.score]


@pytest.mark.xdist_group("signals")
def test_a_second_ctrl_c_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, 2, times=2)
    with pytest.raises(KeyboardInterrupt):
        sweep(learning_rate=[0.1, 0.2])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, whatever the machine has, and stacks small enough to be several."""
    monkeypatch.setattr(partition, "cores", lambda: 2)
    monkeypatch.setattr(partition, "WORTH_A_THREAD", 1)


@pytest.mark.xdist_group("signals")
@pytest.mark.usefixtures("threads")
def test_ctrl_c_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_steps, number = loop.choose_steps, count()

    def choose(*args: Any) -> Any:
        steps = choose_steps(*args)

        def stepping(*values: Any) -> Any:
            if next(number) == 5:
                # To this thread, which the system may choose, too; Python's is the main one.
                signal.pthread_kill(get_ident(), signal.SIGINT)
            return steps.step(*values)

        return steps._replace(step=stepping, epoch=None)

    monkeypatch.setattr(loop, "choose_steps", choose)
    result = sweep(seed=range(6), epochs=200_000)
    assert result.interrupted
    assert "in 2 stacks of up to 3" in result.plan
    assert {m.status for m in result} <= {"interrupted", "not trained"}
    assert result[0].status == "interrupted"


def fail_in_stack(monkeypatch: pytest.MonkeyPatch, wrong: int) -> list[int]:
    """Make the training of one stack an error; the list gets the members of each that began."""
    train_population, begun = partition.train_population, []

    def failing(specs: Any, *rest: Any, **given: Any) -> Any:
        begun.append(len(specs))
        if len(begun) == wrong:
            raise MemoryError("no room")
        return train_population(specs, *rest, **given)

    monkeypatch.setattr(partition, "train_population", failing)
    return begun


@pytest.mark.xdist_group("signals")
def test_an_error_in_one_stack_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = fail_in_stack(monkeypatch, 2)
    with pytest.raises(MemoryError, match="no room"):
        sweep(hidden=[(6,), (5,), (4,)])
    assert begun == [1, 1]


@pytest.mark.xdist_group("signals")
@pytest.mark.usefixtures("threads")
def test_an_error_in_one_thread_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = fail_in_stack(monkeypatch, 2)
    with pytest.raises(MemoryError, match="no room"):
        sweep(seed=range(6), epochs=100_000)
    assert begun == [3, 3]


# --- the result ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept() -> SweepResult:
    """Two rates that learn and one that is far too large, two seeds, three folds."""
    return arraymlp.sweep(
        X,
        NUMBERS,
        learning_rate=[0.2, 1e30, 0.05],
        hidden=[(6, 5), (4,)],
        activation="leaky_relu",  # whose units do not die
        seed=range(2),
        cv=3,
        metrics=["r2", "mae"],
        batch_size=problems.BATCH,
        epochs=4,
        dtype="float64",
        backend="numpy",
        **problems.PLAIN,
    )


def test_members_are_in_the_order_of_the_settings(swept: SweepResult) -> None:
    assert len(swept) == 3 * 2 * 2 * 3 == len(swept.networks) == len(list(swept))
    expected = [
        ({"learning_rate": rate, "hidden": hidden, "seed": 3 * seed + fold}, fold)
        for rate in (0.2, 1e30, 0.05)
        for hidden in ((6, 5), (4,))
        for seed in (0, 1)
        for fold in (0, 1, 2)
    ]
    assert [(m.swept, m.fold) for m in swept] == expected
    assert [m.number for m in swept] == list(range(36))
    assert [m.point for m in swept] == [k // 3 for k in range(36)]
    assert swept[5] is swept.members[5]
    assert swept[-1].number == 35
    with pytest.raises(IndexError):
        _ = swept[36]
    assert swept.swept == ["learning_rate", "hidden", "seed"]
    assert swept[0].settings["hidden"] == [6, 5]
    assert swept[0].settings["learning_rate"] == 0.2
    assert swept[0].network.sizes == (4, 6, 5, 3)
    assert swept.networks[3] is swept[3].network
    assert swept.backend.startswith("numpy")
    assert swept.seconds > sum(row["seconds"] for row in swept.rows) * 0.5
    assert not swept.interrupted
    assert swept.plan.startswith("36 networks in 2 populations, which differ in hidden")
    assert "\n18 x 4-6-5-3, minibatches of 8, 4 epochs\n18 x 4-4-3, minibatches" in swept.plan


def test_scores_are_of_the_first_metric_in_validation(swept: SweepResult) -> None:
    assert (swept.score, swept.greater_is_better) == ("validation_r2", True)
    for m in swept:
        if m.swept["learning_rate"] < 1:
            assert m.status == "finished"
            assert m.score == m.history[-1]["validation_r2"]
        else:
            assert (m.status, m.score) == ("diverged", None)
            assert m.cause.startswith("loss ")
    best = max((m for m in swept if m.score is not None), key=lambda m: m.score)
    assert swept.best is best
    assert repr(swept) == (
        "<SweepResult of 36 networks over learning_rate, hidden, seed, best validation_r2 "
        f"{best.score:.5g}>"
    )


def test_rows_are_plain(swept: SweepResult) -> None:
    rows = swept.rows
    row = rows[3]
    first = ["member", "learning_rate", "hidden", "seed", "fold", "order_seed", "status", "score"]
    assert list(row)[:8] == first
    assert (row["member"], row["hidden"], row["fold"], row["status"]) == (3, "6-5", 0, "finished")
    last = swept[3].history[-1]
    for name in ("loss", "validation_loss", "validation_r2", "validation_mae"):
        assert row[name] == last[name]
    assert row["learning_rate"] == 0.2
    assert (row["epochs"], row["best_epoch"], row["cause"]) == (4, None, "")
    assert row["seconds"] == pytest.approx(sum(swept[3].history["seconds"]))
    assert rows[13]["epochs"] == len(swept[13].history) < 4
    kinds = (int, float, str, type(None))
    assert all(type(v) in kinds for row in rows for v in row.values())


def test_settings_are_ranked_over_seeds_and_folds(swept: SweepResult) -> None:
    ranked = swept.rank()
    assert [row["rank"] for row in ranked] == [1, 2, 3, 4, None, None]
    assert [row["failed"] for row in ranked] == [0, 0, 0, 0, 6, 6]
    means = [row["mean"] for row in ranked[:4]]
    assert means == sorted(means, reverse=True)
    for row in ranked:
        same = [
            m
            for m in swept
            if m.swept["learning_rate"] == row["learning_rate"]
            and "-".join(map(str, m.swept["hidden"])) == row["hidden"]
        ]
        assert row["members"] == [m.number for m in same]
        assert row["n"] == 6
        scores = [m.score for m in same if m.score is not None]
        if scores:
            assert row["mean"] == pytest.approx(mean(scores))
            assert row["std"] == pytest.approx(stdev(scores))
        else:
            assert (row["mean"], row["std"]) == (None, None)


def test_settings_with_a_failure_come_after_those_without() -> None:
    result = sweep(X, NUMBERS, learning_rate=[0.01, 0.2], seed=range(2), epochs=3)
    lost = result[1]
    lost.result.status = "diverged"  # type: ignore[union-attr]
    first, second = result.rank()
    assert (first["learning_rate"], first["failed"]) == (0.2, 0)
    assert (second["learning_rate"], second["failed"], second["n"]) == (0.01, 1, 2)
    assert second["mean"] == result[0].score < first["mean"]
    assert second["std"] is None
    assert result.best is min((result[k] for k in (0, 2, 3)), key=lambda m: m.score)
    with pytest.raises(ValueError, match="top must be from 1 to 3, the networks with a score: 4"):
        result.ensemble(4)


def dead(_: np.random.Generator, n_in: int, n_out: int) -> tuple[HostArray, HostArray]:
    """Weights of units that are never active."""
    return np.ones((n_in, n_out)), np.full((1, n_out), -1e6)


DEAD = Initializer("dead", dead)


@pytest.fixture(scope="module")
def dying() -> SweepResult:
    initializers = [DEAD, "he_normal", Initializer("gone", dead)]
    return sweep(initializer=initializers, seed=range(2), epochs=20, validation=0.25)


def test_networks_with_one_output_for_every_row_have_no_rank(dying: SweepResult) -> None:
    assert [m.status for m in dying] == ["constant"] * 2 + ["finished"] * 2 + ["constant"] * 2
    for m in dying.members[:2]:
        assert np.ptp(m.network.logits(X), axis=0).max() == 0
        assert dying.rows[m.number]["cause"] == "it gives every row the same output"
        assert m.score is not None
    first, *others = dying.rank()
    assert (first["initializer"], first["rank"], first["failed"]) == ("he_normal", 1, 0)
    assert [(r["rank"], r["mean"], r["failed"]) for r in others] == [(None, None, 2)] * 2
    assert dying.best.number in (2, 3)
    with pytest.raises(ValueError, match="top must be from 1 to 2"):
        dying.ensemble(3)


def test_every_setting_that_failed_is_explained(dying: SweepResult, tmp_path: Path) -> None:
    failures = dying.failures()
    assert [(row["initializer"], row["member"]) for row in failures] == [("dead", 0), ("gone", 4)]
    for row in failures:
        assert (row["n"], row["failed"], row["status"]) == (2, 2, "constant")
        finding = dying.findings(row["member"])[0]
        assert (row["kind"], row["why"]) == (finding.kind, finding.sentence)
    assert dying.failures(1) == failures[:1]
    dying.save(tmp_path / "sweep.safetensors")
    assert SweepResult.load(tmp_path / "sweep.safetensors").failures() == failures


def test_networks_of_numbers_and_of_folds_are_constant_too() -> None:
    given = {"initializer": [DEAD, "he_normal"], "cv": 2, "activation": ["relu", "tanh"]}
    for result in (sweep(**given), sweep(y=NUMBERS, **given)):
        constant = [m.status == "constant" for m in result]
        assert constant == [True] * 4 + [False] * 4  # tanh at -1e6 is as constant as relu


@pytest.mark.parametrize("rows", [X, np.ones_like(X)], ids=["targets alike", "rows alike"])
def test_one_output_is_right_where_there_is_nothing_to_tell(rows: HostArray) -> None:
    y = np.ones(24) if rows is X else NUMBERS
    assert [m.status for m in sweep(rows, y, initializer=DEAD)] == ["finished"]


def test_a_weak_signal_makes_no_constant_network() -> None:
    """One percent of the targets' variance can be known."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 4))
    y = 10 * rng.normal(size=400) + rows[:, 0]
    assert [m.status for m in sweep(rows, y, learning_rate=1e-4)] == ["finished"]


def test_curves_are_columns_of_each_history(swept: SweepResult) -> None:
    assert swept.curves() == [m.history["validation_r2"] for m in swept]
    losses = swept.curves("loss")
    assert losses[0] == swept[0].history["loss"]
    assert [len(c) for c in losses] == [len(m.history) for m in swept]


def test_json_has_all_but_the_networks(swept: SweepResult, tmp_path: Path) -> None:
    text = swept.to_json(tmp_path / "sweep.json")
    assert (tmp_path / "sweep.json").read_text() == text
    assert "NaN" not in text
    assert "Infinity" not in text
    content = json.loads(text)
    for name in ("swept", "score", "greater_is_better", "backend", "interrupted", "plan"):
        assert content[name] == getattr(swept, name)
    assert len(content["rows"]) == len(content["members"]) == 36
    assert content["rank"][0]["members"] == swept.rank()[0]["members"]
    assert content["members"][3]["history"]["loss"] == swept[3].history["loss"]
    assert content["members"][13]["history"]["loss"][-1] is None  # it diverged
    assert content == json.loads(json.dumps(swept.to_dict(), allow_nan=False))


def test_rows_make_a_data_frame(swept: SweepResult) -> None:
    pytest.importorskip("pandas")
    frame = swept.to_frame()
    assert len(frame) == 36
    assert frame["score"].isna().sum() == 12
    scored = frame.dropna(subset="score")
    top = scored.groupby(["learning_rate", "hidden"])["score"].mean().max()
    assert top == pytest.approx(swept.rank()[0]["mean"])


def test_an_ensemble_is_of_the_best(swept: SweepResult) -> None:
    ranked = sorted((m for m in swept if m.score is not None), key=lambda m: -m.score)
    ensemble = swept.ensemble(3)
    predictions = np.stack([m.network.predict(X) for m in ranked[:3]])
    np.testing.assert_allclose(ensemble.predict(X), predictions.mean(axis=0), rtol=1e-9)
    assert len(swept.ensemble()) == 5
    for top in (0, 25, -1, 2.0, True):
        with pytest.raises(ValueError, match="top must be from 1 to 24, the networks with a score"):
            swept.ensemble(top)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("loss", False)),
        ({"validation": 0.25}, ("validation_error", False)),
        ({"training_error": True}, ("training_error", False)),
        ({"training_error": True, "metrics": ["f1", "log_loss"]}, ("training_f1", True)),
        ({"validation": 0.25, "metrics": "log_loss"}, ("validation_log_loss", False)),
        ({"validation": 0.25, "score": "validation_loss"}, ("validation_loss", False)),
        ({"y": NUMBERS, "cv": 3}, ("validation_loss", False)),
        (
            {"cv": 3, "metrics": [sureness], "greater_is_better": True},
            ("validation_sureness", True),
        ),
        ({"training_error": [True, False]}, ("loss", False)),
        ({"alpha": [0.1, 0.2], "score": "penalty", "greater_is_better": False}, ("penalty", False)),
    ],
    ids=named,
)
def test_what_scores(given: dict[str, Any], expected: tuple[str, bool]) -> None:
    result = sweep(**{"learning_rate": [0.01, 0.2], "epochs": 1, **given})
    assert (result.score, result.greater_is_better) == expected
    better = max if expected[1] else min
    scores = [m.score for m in result]
    assert result.best.score == better(scores)  # type: ignore[type-var]
    assert result.rank()[0]["mean"] == better(row["mean"] for row in result.rank())


def test_a_score_is_of_the_epoch_whose_weights_are_kept() -> None:
    result = sweep(
        validation=(X, (Y + (np.arange(24) % 3 == 0)) % 3),
        learning_rate=[0.3, 0.5],
        score="validation_error",
        early_stopping=EarlyStopping(patience=2),
        epochs=12,
    )
    for member, row in zip(result, result.rows, strict=True):
        assert member.best_epoch is not None
        assert member.best_epoch < len(member.history) - 1
        kept = member.history[member.best_epoch]
        assert member.score == row["score"] == kept["validation_error"]
        assert row["validation_loss"] == kept["validation_loss"]
        assert row["best_epoch"] == member.best_epoch


DIAGNOSED: list[dict[str, Any]] = [
    {"validation": 0.25, "epochs": 12, "learning_rate": [0.001, 0.5]},
    {"probes": True, "learning_rate": [1e-4, 0.3], "validation": 0.25, "epochs": 5},
    {"learning_rate": [1e30, 0.1], "y": NUMBERS, "validation": (X, NUMBERS), "epochs": 20},
    {"activation": ["sigmoid", "tanh"], "class_weight": [None, "balanced"], "epochs": 6},
]


def assert_same_findings(actual: list[arraymlp.Finding], expected: list[arraymlp.Finding]) -> None:
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        a, b = ours.to_dict(), theirs.to_dict()
        figures, others = a.pop("figures"), b.pop("figures")
        assert list(figures) == list(others)
        for name, figure in figures.items():
            same = others[name] if isinstance(figure, list) else pytest.approx(others[name])
            assert figure == same
        assert a == b


@pytest.mark.parametrize("given", DIAGNOSED, ids=[", ".join(given) for given in DIAGNOSED])
def test_findings_are_those_of_the_run_alone(given: dict[str, Any]) -> None:
    result = sweep(**given, seed=range(2))
    rest = {**FEW, **given}
    y = rest.pop("y", Y)
    n_findings = 0
    for member in result:
        findings = result.findings(member.number)
        assert_same_findings(findings, alone(member, X, y, **rest).findings)
        assert result.findings(member.number) is findings
        n_findings += len(findings)
    assert n_findings > 0


def test_findings_of_a_fold_are_those_of_its_rows() -> None:
    given = {"learning_rate": [0.01, 0.5], "epochs": 10}
    result = sweep(**given, cv=3)
    for member in result:
        rows, out = arraymlp.data.splits.folds(24, 3, 0, Y)[member.fold]
        settings = {**FEW, **given, "validation": (X[out], Y[out]), "seed": 0}
        run = alone(member, X[rows], Y[rows], **settings)
        assert_same_findings(result.findings(member.number), run.findings)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "adaptive"])
@pytest.mark.parametrize("given", [{}, {"cv": 3}, {"order_seed": [0, 1]}], ids=str)
def test_a_members_run_can_go_on(given: dict[str, Any], schedule: str) -> None:
    shared: Any = (
        arraymlp.schedules.Adaptive(patience=1, min_change=9.0)
        if schedule == "adaptive"
        else schedule
    )
    settings = {"optimizer": "sgd", "schedule": shared, "learning_rate": [0.1, 0.3], **given}
    result = sweep(**settings)
    for member in result:
        rows, held_out = np.arange(24), None
        if member.fold is not None:
            rows, out = arraymlp.data.splits.folds(24, 3, 0, Y)[member.fold]
            held_out = X[out], Y[out]
        fold = {**FEW, **settings, "validation": held_out, "seed": 0}
        run = alone(member, X[rows], Y[rows], **fold)
        before = parameters(member.network)
        ours = arraymlp.train(network=result.run(member.number), epochs=2)
        theirs = arraymlp.train(network=run, epochs=2)
        assert ours.history["step"] == theirs.history["step"]
        for name in ("loss", "learning_rate"):
            np.testing.assert_allclose(ours.history[name], theirs.history[name], rtol=1e-9)
        for a, b in zip(parameters(ours.network), parameters(theirs.network), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        for a, b in zip(parameters(member.network), before, strict=True):
            np.testing.assert_array_equal(a, b)


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["own", "scipy"])
def test_draws_are_a_matter_of_their_seed_alone(distribution: str) -> None:
    rate: Any = Uniform()
    if distribution == "scipy":
        rate = pytest.importorskip("scipy.stats").loguniform(1e-3, 1e-1)
    given = {"learning_rate": rate, "hidden": [(4,), (5,)], "mode": "random", "n": 4}

    def drawn(**more: Any) -> list[Any]:
        return [m.swept for m in sweep(**given, epochs=1, **more)]

    first = drawn()
    assert len(first) == 4
    assert len({point["learning_rate"] for point in first}) == 4
    assert all(type(point["learning_rate"]) is float for point in first)
    assert drawn(order_seed=3, batch_size=6, seed=7) == first
    assert drawn(draw_seed=1) != first


def test_one_network_is_a_sweep_too() -> None:
    result = sweep(cv=2, hidden=(5,))
    assert (len(result), result.swept) == (2, [])
    assert repr(result).startswith("<SweepResult of 2 networks over nothing, best validation_error")
    (row,) = result.rank()
    assert (row["rank"], row["n"]) == (1, 2)


def test_no_epochs_give_new_networks() -> None:
    result = sweep(epochs=0, learning_rate=[0.1, 0.2], seed=3)
    assert [m.score for m in result] == [None, None]
    assert repr(result) == "<SweepResult of 2 networks over learning_rate>"
    new = alone(result[0], X, Y, **FEW | {"epochs": 0, "seed": 3})
    for a, b in zip(parameters(result[1].network), parameters(new.network), strict=True):
        np.testing.assert_array_equal(a, b)


def test_device_arrays_decide_the_backend(quick_backend: Backend) -> None:
    rows, y = quick_backend.asarray(X, "float32"), quick_backend.asarray(Y)
    given = {**FEW, "dtype": "float32", "backend": "auto", "learning_rate": [0.1, 0.2]}
    result = arraymlp.sweep(rows, y, **given, cv=3)
    assert result.networks[0].backend == quick_backend
    assert result.backend == str(quick_backend)
    host = arraymlp.sweep(X, Y, **{**given, "backend": "numpy"}, cv=3)
    for a, b in zip(result, host, strict=True):
        np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-5)
        on_host(a.network.layers[0].weights)


def test_progress_is_updated_with_every_epoch() -> None:
    epochs: dict[int, list[int]] = {}

    class Notes(arraymlp.training.progress.SweepProgress):
        def update(self, members: Any, records: Any) -> None:
            super().update(members, records)
            for k, record in zip(members, records, strict=True):
                epochs.setdefault(k, []).append(record["epoch"])

    result = sweep(hidden=[(4,), (5,)], seed=range(3), progress=Notes(score="loss"))
    assert epochs == {k: [0, 1, 2] for k in range(6)}
    assert len(result) == 6


def test_nothing_that_is_given_is_changed() -> None:
    rates, rows, y = [0.1, 0.2], X.copy(), Y.copy()
    sweep(rows, y, learning_rate=rates, cv=3)
    assert rates == [0.1, 0.2]
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(y, Y)


def test_the_signature_has_the_settings_of_the_table() -> None:
    assert list(SweptSettings.__annotations__) == list(TABLE)


@pytest.mark.parametrize("name", OF_SWEEP)
def test_the_options_are_no_settings_of_train(name: str) -> None:
    assert name not in TABLE
    call: Callable[..., Any] = arraymlp.train
    with pytest.raises(TypeError):
        call(X, Y, **{name: None})


def test_what_warns_is_not_the_sweeps_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # The filters are the process's: two sweeps in threads would set them back in the wrong order.
    before, seen = list(warnings.filters), []
    require = data.require_minibatches

    def watched(*args: Any, **given: Any) -> None:
        seen.append(warnings.filters == before)
        require(*args, **given)

    monkeypatch.setattr(data, "require_minibatches", watched)
    sweep(seed=[1, 2], epochs=1)
    assert seen == [True, True]


def test_rows_left_over_are_told_once() -> None:
    with pytest.warns(UserWarning, match="the last 4 of 24 samples") as told:
        sweep(seed=[1, 2], batch_size=5, drop_last=True, epochs=1)
    assert len(told) == 1
