"""Networks that train together come out as each does alone: whatever differs between them, in
whatever stacks, and whatever becomes of the others."""

import json
import threading
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Dropout, EarlyStopping, Run
from arraymlp.losses import Huber, Quantile
from arraymlp.optimizers import SGD, Adam, AdamW, RMSProp
from arraymlp.schedules import Adaptive, Cosine
from arraymlp.sweeps import partition, population
from arraymlp.sweeps.stacking import SchedulesOfMembers
from members import (
    RTOL,
    WEIGHT,
    alone,
    assert_all_as_alone,
    assert_as_alone,
    assert_same_bits,
    figures,
    on,
    sweep,
)
from runs import parameters

HostArray = np.ndarray[Any, Any]
RATES = [0.02, 0.1, 0.3]


# --- whatever differs ----------------------------------------------------------------------------

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("softmax_cross_entropy", {"optimizer": "sgd", "learning_rate": RATES}),
    "momentum": ("squared_error", {"optimizer": [SGD(0.5), SGD(0.9), SGD(0.0)]}),
    "Nesterov": (
        "binary_cross_entropy",
        {"optimizer": [SGD(m, nesterov=True) for m in (0.5, 0.9, 0.7)], "learning_rate": RATES},
    ),
    "Adam": (
        "softmax_cross_entropy",
        {
            "optimizer": [Adam(0.8, 0.9), Adam(), Adam(epsilon=1e-2)],
            "learning_rate": [0.01, 0.02, 0.05],
        },
    ),
    "AdamW": (
        "squared_error",
        {"optimizer": [AdamW(), AdamW(0.5, weight_decay=0.5), AdamW(weight_decay=0.0)]},
    ),
    "RMSProp": ("absolute_error", {"optimizer": [RMSProp(), RMSProp(0.5), RMSProp(0.9, 0.1)]}),
    "decays": (
        "softmax_cross_entropy",
        {"weight_decay": [0.0, 0.1, 0.5], "l2": [0.1, 0.0, 0.01], "learning_rate": RATES},
    ),
    "alpha": ("squared_error", {"alpha": [0.0, 0.1, 1.0]}),
    "clip and average": (
        "softmax_cross_entropy",
        {
            "gradient_clip": [float("inf"), 0.1, 0.5],
            "weight_average": [0.5, 0.9, 0.99],
            "label_smoothing": [0.0, 0.1, 0.3],
        },
    ),
    "dropout": ("squared_error", {"dropout": [0.0, 0.3, Dropout(0.5, 0.2)]}),
    "schedules": (
        "softmax_cross_entropy",
        {
            "schedule": [
                Cosine(warm_up=2),
                Adaptive(patience=1, min_change=10.0, factor=0.5),
                "step",
            ],
            "learning_rate": RATES,
        },
    ),
    "initializers": (
        "poisson",
        {
            "initializer": [
                arraymlp.initializers.normal(0.1),
                arraymlp.initializers.normal(0.4),
                "glorot_uniform",
            ]
        },
    ),
    "class weights": (
        "softmax_cross_entropy",
        {"class_weight": [None, "balanced", {1: 3.0}], "sample_weight": WEIGHT},
    ),
    "Huber": ("huber", {"loss": [Huber(0.05), Huber(0.3), Huber(2.0)]}),
    "Quantile": ("quantile", {"loss": [Quantile(t) for t in ((0.1,), (0.5,), (0.8,))]}),
    "sums, metrics and training figures": (
        "softmax_cross_entropy",
        {
            "reduction": "sum",
            "learning_rate": [0.001, 0.005, 0.02],
            "metrics": ["f1", "log_loss"],
            "training_error": True,
            "validation": (*problems.labels(), WEIGHT),
        },
    ),
}


@pytest.mark.parametrize(("loss", "settings"), CASES.values(), ids=list(CASES))
def test_members_are_as_alone(quick_backend: Backend, loss: str, settings: dict[str, Any]) -> None:
    X, y = problems.PROBLEMS[loss]()
    result = assert_all_as_alone(X, y, **{"loss": loss, **on(quick_backend), **settings})
    assert len(result) == 3
    assert result.plan.startswith("3 networks in 1 population\n")


EVERYTHING: dict[str, Any] = {
    "learning_rate": [0.05, 0.02, 0.01],
    "optimizer": [Adam(0.8, 0.9), Adam(), Adam(epsilon=1e-2)],
    "weight_decay": [0.0, 0.1, 0.5],
    "l2": [0.1, 0.0, 0.01],
    "gradient_clip": [float("inf"), 0.5, 1.0],
    "weight_average": [0.5, 0.9, 0.8],
    "label_smoothing": [0.0, 0.1, 0.3],
    "dropout": [0.1, 0.3, Dropout(0.2, 0.2)],
    "schedule": [Cosine(warm_up=2), Adaptive(patience=1, min_change=10.0, factor=0.5), "step"],
    "initializer": [arraymlp.initializers.normal(0.3), "auto", "glorot_uniform"],
    "class_weight": [None, "balanced", {1: 3.0}],
    "sample_weight": WEIGHT,
    "metrics": ["f1"],
    "validation": (*problems.labels(), WEIGHT),
    "training_error": True,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_at_once_is_as_alone(quick_backend: Backend, dtype: str) -> None:
    result = assert_all_as_alone(*problems.labels(), dtype=dtype, **on(quick_backend), **EVERYTHING)
    assert result.plan.startswith("3 networks in 1 population\n")


def test_a_member_without_a_penalty_has_no_column_of_it() -> None:
    given = {"alpha": [0.0, 0.0, 0.1], "early_stopping": EarlyStopping("loss", min_change=9.0)}
    result = assert_all_as_alone(*problems.labels(), **given)
    assert ["penalty" in m.history.columns for m in result] == [False, False, True]


def test_shapes_split_into_populations() -> None:
    X, y = problems.labels()
    given = {
        "hidden": [problems.HIDDEN, ()],
        "activation": ["relu", "tanh"],
        "batch_size": [problems.BATCH, 10],
        "seed": range(2),
        "mode": "grid",
        "dtype": "float32",
        "validation": 0.25,
    }
    result = assert_all_as_alone(X, y, **given)
    assert len(result) == 16
    # Without hidden layers there is no activation to differ in.
    first = "16 networks in 6 populations, which differ in hidden, activation, batch_size\n"
    assert result.plan.startswith(first)


@pytest.mark.parametrize(
    ("settings", "populations"),
    [
        ({"epochs": [1, 2]}, 2),
        ({"total_epochs": [4, 8], "schedule": "cosine"}, 2),
        ({"optimizer": ["sgd", "adam"]}, 2),
        ({"optimizer": ["adam", Adam(epsilon_hat=True)]}, 2),
        ({"optimizer": ["sgd", "momentum"]}, 1),
        ({"weight_average": [0.0, 0.9]}, 2),
        ({"dtype": ["float32", "float64"]}, 2),
        ({"early_stopping": ["loss", False]}, 2),
        ({"early_stopping": [EarlyStopping("loss", p) for p in (1, 3)]}, 1),
        ({"reduction": ["mean", "sum"], "learning_rate": 0.01}, 2),
        ({"shuffle": [True, False]}, 2),
        ({"training_error": [True, False]}, 2),
        ({"drop_last": [True, False]}, 2),
        ({"activation": ["relu", ("relu", "relu")]}, 1),
    ],
    ids=str,
)
def test_what_splits_populations(settings: dict[str, Any], populations: int) -> None:
    X, y = problems.labels()
    given = {"seed": 4, "mode": "grid", **settings}
    result = sweep(X, y, **given)
    assert f"2 networks in {populations} population" in result.plan
    for member in result:
        run = alone(member, X, y, **given)
        assert_as_alone(member, run, RTOL[run.settings.dtype])


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_kinds_of_loss_are_swept(loss: str) -> None:
    X, y = problems.PROBLEMS[loss]()
    losses = {
        "softmax_cross_entropy": ["auto", "softmax_cross_entropy"],
        "squared_error": ["squared_error", "absolute_error", Huber(0.1), Huber(1.0)],
    }[loss]
    result = assert_all_as_alone(X, y, loss=losses, seed=[0] * len(losses))
    assert len({m.history[0]["loss"] for m in result}) == {"auto": 1}.get(str(losses[0]), 4)


def test_classes_and_numbers_are_swept_side_by_side() -> None:
    result = assert_all_as_alone(*problems.labels(), loss=["auto", "huber", "squared_error"])
    assert [m.network.sizes[-1] for m in result] == [3, 1, 1]
    assert "3 networks in 3 populations, which differ in loss" in result.plan


# --- early stopping and divergence ---------------------------------------------------------------

STOPPING: dict[str, Any] = {
    "epochs": 9,
    "learning_rate": [0.05, 0.3, 0.5],
    "early_stopping": [
        EarlyStopping("validation_loss", 3),
        EarlyStopping("validation_loss", 1),
        EarlyStopping("validation_loss", 2, 0.05),
    ],
}


def wrong_labels() -> tuple[HostArray, HostArray]:
    """Rows with labels of their own, on which a network soon gets worse."""
    X, y = problems.labels()
    return X, np.where(np.arange(len(y)) % 3 == 0, (y + 1) % 3, y)


def noted_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members are in each stack that trains from now on."""
    sizes: list[int] = []
    train_epochs = population.train_epochs

    def noted(run: Run, *rest: Any, **given: Any) -> Any:
        sizes.append(run.network.members or 0)
        return train_epochs(run, *rest, **given)

    monkeypatch.setattr(population, "train_epochs", noted)
    return sizes


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_members_stop_early_as_alone(quick_backend: Backend, compact: bool, average: float) -> None:
    result = assert_all_as_alone(
        *problems.labels(),
        validation=wrong_labels(),
        weight_average=average,
        compact=compact,
        **on(quick_backend),
        **STOPPING,
    )
    lengths = [len(m.history) for m in result]
    assert len(set(lengths)) > 1
    assert any(m.best_epoch < n - 1 for n, m in zip(lengths, result, strict=True))
    assert {"stopped"} <= {m.status for m in result} <= {"stopped", "finished"}
    assert all(m.status == "stopped" for n, m in zip(lengths, result, strict=True) if n < 9)


def test_decay_dropout_and_stopping_are_as_alone(quick_backend: Backend) -> None:
    result = assert_all_as_alone(
        *problems.labels(),
        hidden=(4,),
        optimizer=["adam", Adam(0.8), Adam(beta2=0.9)],
        weight_decay=[0.1, 0.0, 0.01],
        dropout=[0.2, 0.4, 0.0],
        validation=wrong_labels(),
        epochs=4,
        learning_rate=[0.3, 0.01, 0.1],
        early_stopping=[EarlyStopping(patience=n) for n in (1, 2, 1)],
        **on(quick_backend),
    )
    assert result[0].status == "stopped"


@pytest.mark.parametrize("cause", ["stopped", "diverged"])
def test_a_schedule_remembers_when_others_leave(cause: str) -> None:
    patience = [3, 9, 9] if cause == "stopped" else [9, 9, 9]
    result = assert_all_as_alone(
        *problems.numbers(),
        epochs=9,
        optimizer="adam",
        learning_rate=[0.01, 0.01, 0.02],
        schedule=[
            "constant" if cause == "stopped" else Blows(),
            Adaptive(patience=2, min_change=9.0, factor=0.5),
            Adaptive(patience=4, min_change=9.0, factor=0.5),
        ],
        early_stopping=[EarlyStopping("loss", p, min_change=9.0) for p in patience],
    )
    assert result[0].status == cause
    assert [len(set(m.history["learning_rate"])) for m in result][1:] == [4, 2]
    assert len(result[0].history) < len(result[1].history)


def test_the_whole_runs_epochs_are_as_alone_when_others_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = noted_sizes(monkeypatch)
    given = {"validation": wrong_labels(), **STOPPING, "schedule": "cosine", "dtype": "float32"}
    result = sweep(*problems.labels(), total_epochs=12, **given)
    assert len(sizes) > 1
    for member in result:
        run = alone(member, *problems.labels(), total_epochs=12, **given)
        assert figures(member.history) == figures(run.history)
        for ours, theirs in zip(parameters(member.network), parameters(run.network), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_members_that_are_done_leave_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = noted_sizes(monkeypatch)
    given = {"validation": wrong_labels(), **STOPPING}
    compact = sweep(*problems.labels(), **given)
    assert sizes[0] == 3
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 1
    sizes.clear()
    together = sweep(*problems.labels(), compact=False, **given)
    assert sizes == [3]
    for a, b in zip(compact, together, strict=True):
        assert_same_bits(a, b)


def test_a_divergent_member_is_marked_and_changes_no_bit_of_the_others(
    quick_backend: Backend,
) -> None:
    X, y = problems.numbers()
    given = {"hidden": (4,), "dtype": "float32", "epochs": 5, "compact": False, **on(quick_backend)}
    wild = sweep(X, y, learning_rate=[0.02, 1e6, 0.05], **given)
    calm = sweep(X, y, learning_rate=[0.02, 0.03, 0.05], **given)
    assert [m.status for m in wild] == ["finished", "diverged", "finished"]
    assert [m.status for m in calm] == ["finished"] * 3
    for k in (0, 2):
        assert_same_bits(wild[k], calm[k])
    lost = wild[1]
    epoch = lost.history[-1]["epoch"]
    assert epoch < 4
    assert not np.isfinite(lost.history[-1]["loss"])
    assert all(np.isfinite(lost.history["loss"][:-1]))
    assert lost.cause.startswith(f"loss {lost.history[-1]['loss']} in epoch {epoch}, weights of")
    assert lost.score is None
    run = alone(lost, X, y, **given)
    assert run.history["epoch"] == lost.history["epoch"]


def test_all_may_diverge() -> None:
    X, y = problems.numbers()
    result = sweep(X, y, learning_rate=[1e30, 1e3, 1e4], dtype="float32", epochs=6)
    assert {m.status for m in result} == {"diverged"}
    with pytest.raises(ValueError, match="no network has a score: all diverged"):
        _ = result.best


def test_a_divergent_member_has_its_best_weights_too() -> None:
    X, y = problems.numbers()
    given = {
        "learning_rate": [0.02, 0.01, 0.02],
        "schedule": ["constant", Blows(), "constant"],
        "early_stopping": "loss",
        "epochs": 6,
    }
    result = sweep(X, y, **given)
    assert result[1].status == "diverged"
    assert_as_alone(result[0], alone(result[0], X, y, **given), 1e-9)
    run = alone(result[1], X, y, **given)
    assert result[1].best_epoch == run.best_epoch == 2
    for a, b in zip(parameters(result[1].network), parameters(run.network), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


class Blows(arraymlp.schedules.Schedule):
    """A rate that is far too large from the fourth epoch's end on."""

    def factors(self, steps: Any, n_steps: int) -> Any:
        return np.where(steps >= 12, 1e200, 1.0)


# --- stacks, threads, device ----------------------------------------------------------------------


STACKED: dict[str, Any] = {
    "seed": range(5),
    "learning_rate": [0.05, 0.3],
    "mode": "grid",
    "early_stopping": EarlyStopping("loss", min_change=0.05, patience=1),
    "epochs": 6,
}


def one_member(X: HostArray, y: HostArray, **given: Any) -> int:
    """Bytes that one network is said to take."""
    with pytest.raises(ValueError, match="one network 4-6-5-3 takes about") as refused:
        sweep(X, y, **given, memory=1)
    return int(str(refused.value).split("about ")[1].split(" bytes")[0].replace(",", ""))


@pytest.mark.parametrize("fits", [1, 2, 5])
def test_stacks_are_as_the_whole(
    quick_backend: Backend, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "cores", lambda: 1)
    X, y = problems.labels()
    given = {**STACKED, "dtype": "float64", **on(quick_backend), "compact": False}
    whole = sweep(X, y, **given)
    assert " stacks" not in whole.plan
    stacks = sweep(X, y, memory=one_member(X, y, **given) * fits, **given)
    assert f" stacks of up to {fits}" in stacks.plan
    for a, b in zip(stacks, whole, strict=True):
        if quick_backend.name == "numpy":
            assert_same_bits(a, b)
        np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-9)
        for p, q in zip(parameters(a.network), parameters(b.network), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.xdist_group("signals")
def test_threads_have_the_bits_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problems.labels()
    given = {**STACKED, "cv": 3}
    one_thread = sweep(X, y, **given)
    used = set()
    train_population = partition.train_population

    def noted(*args: Any, **kwargs: Any) -> Any:
        used.add(threading.current_thread().name)
        return train_population(*args, **kwargs)

    monkeypatch.setattr(partition, "cores", lambda: 3)
    monkeypatch.setattr(partition, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(partition, "train_population", noted)
    threads = sweep(X, y, **given)
    assert "in 3 stacks of up to 12" in threads.plan
    assert used
    assert all(name.startswith("arraymlp-worker") for name in used)
    for a, b in zip(threads, one_thread, strict=True):
        assert_same_bits(a, b)


def test_schedules_of_members_go_on_with_what_each_remembers() -> None:
    def begun() -> SchedulesOfMembers:
        adaptive = [Adaptive(patience=1, factor=factor) for factor in (0.5, 0.1)]
        return SchedulesOfMembers([*adaptive, Cosine()]).begin()

    schedules, others = begun(), begun()
    schedules.observe({"loss": [2.0, 2.0, 2.0]})
    schedules.observe({"loss": [3.0, 1.0, 2.0]})
    others.restore(json.loads(json.dumps(schedules.state())))
    for loss in (1.0, 1.5):
        steps = np.arange(3)[:, None]
        factors = [s.factors(steps, 9).tolist() for s in (schedules, others)]
        assert factors[0] == factors[1] != begun().factors(steps, 9).tolist()
        for each in (schedules, others):
            each.observe({"loss": [loss] * 3})
