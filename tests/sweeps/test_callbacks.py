"""The callbacks of a sweep: what they are told, what they may end, and that they change nothing."""

import csv
import threading
from collections.abc import Sequence
from math import inf
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Checkpoint, EarlyStopping, History, SweepResult
from arraymlp.callbacks import Callback, CSVLog, MemberEpochEnd, StopAt, TensorBoardLog
from arraymlp.sweeps import partition
from broken_off import Killed
from members import assert_same_bits
from runs import interrupt_after, parameters

X, Y = problems.labels()
FEW: dict[str, Any] = {
    **problems.PLAIN,
    "hidden": problems.HIDDEN,
    "batch_size": problems.BATCH,
    "epochs": 4,
    "backend": "numpy",
}
GRID = {"learning_rate": [0.1, 0.01], "seed": range(3)}
# Two shapes and folds: several populations, in threads where they are worth one.
MANY = {"hidden": [(6, 5), (7,)], "learning_rate": [0.1, 0.01], "cv": 3, "metrics": "accuracy"}


def sweep(*callbacks: Any, X_: Any = X, y: Any = Y, **given: Any) -> SweepResult:
    return arraymlp.sweep(X_, y, callbacks=callbacks, **{**FEW, **given})


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several stacks at once, however small they are."""
    monkeypatch.setattr(partition, "WORTH_A_THREAD", 100)
    monkeypatch.setattr(partition, "cores", lambda: 3)


def assert_same_sweep(ours: SweepResult, theirs: SweepResult) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert_same_bits(a, b)


# --- what they are told ---------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [GRID, MANY], ids=["grid", "populations and folds"])
def test_each_network_is_told_by_itself(settings: dict[str, Any]) -> None:
    told: list[MemberEpochEnd] = []
    result = sweep(told.append, **settings)
    assert len(told) == sum(len(m.history) for m in result)
    for member in result:
        events = [event for event in told if event.member == member.number]
        assert [event.number for event in events] == [1, 2, 3, 4]
        assert [event.record for event in events] == member.history.records
        for event in events:
            assert event.epochs == 4
            assert event.history is member.history
            assert event.histories[member.number] is member.history
            assert not any(isinstance(v, list) for v in event.record.values())
            assert event.fold == member.fold
            assert event.settings == member.settings
            row = member.row()
            assert event.swept == {name: row[name] for name in result.swept}
            assert all(f"{name} " in event.name for name in result.swept)
            assert event.fold is None or event.name.endswith(f", fold {event.fold}")
            assert f"member={member.number}, name={event.name!r}" in repr(event)


def test_the_network_is_the_one_that_has_this_epoch() -> None:
    seen: dict[tuple[int, int], Any] = {}

    def look(event: Any) -> None:
        assert event.network is event.network
        seen[event.member, event.number] = parameters(event.network)
        for array in parameters(event.network):
            array[...] = np.nan  # a copy: nothing happens to the sweep's

    result = sweep(look, **GRID)
    for member in result:
        for n in (2, 4):
            of_few = sweep(**GRID, epochs=n, total_epochs=4)
            expected = parameters(of_few.members[member.number].network)
            for ours, theirs in zip(seen[member.number, n], expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_a_network_that_is_read_too_late_is_an_error() -> None:
    told: list[MemberEpochEnd] = []

    def look(event: Any) -> bool:
        told.append(event)
        return event.member == 1 and event.number == 2

    # Network 1 stays in its stack, whose steps change its weights after it ended.
    sweep(look, **GRID, compact=False)
    (ended,) = [event for event in told if (event.member, event.number) == (1, 2)]
    for late in (told[0], told[-1], ended):
        words = f"network {late.member} may have been trained on since epoch {late.number - 1}"
        with pytest.raises(RuntimeError, match=words):
            _ = late.network


def test_a_network_that_was_read_in_time_is_kept() -> None:
    told: list[MemberEpochEnd] = []
    sweep(lambda event: told.append(event) if event.network else None)
    assert told[0].network.sizes == told[-1].network.sizes == (4, 6, 5, 3)
    assert told[0].network is not told[-1].network


def test_histories_are_of_all_networks_so_far() -> None:
    def look(event: Any) -> None:
        counts = [len(history) for history in event.histories]
        assert len(counts) == 6
        assert counts[event.member] == event.number
        seen.append(counts)

    seen: list[list[int]] = []
    sweep(look, **GRID)
    assert seen[0] == [1, 0, 0, 0, 0, 0]
    assert seen[-1] == [4] * 6


def test_callbacks_are_called_in_turn_whatever_thread_trains(side_by_side: None) -> None:
    inside = 0
    threads = set()

    def slow(event: Any) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        sleep(0.001)
        threads.add(threading.get_ident())
        assert inside == 1
        inside -= 1

    order: list[tuple[str, int, int]] = []
    first, second = (
        lambda event, name=name: order.append((name, event.member, event.number))
        for name in ("first", "second")
    )
    result = sweep(slow, first, second, **MANY)
    assert len(threads) > 1
    assert len(order) == 2 * sum(len(m.history) for m in result)
    assert order[1::2] == [("second", *told) for _, *told in order[::2]]


# --- they change nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [GRID, MANY], ids=["grid", "populations and folds"])
def test_the_bits_are_those_without_callbacks(settings: dict[str, Any], side_by_side: None) -> None:
    def look(event: Any) -> str:
        assert event.network.n_parameters
        return "True"  # no bool, and so no answer

    assert_same_sweep(sweep(look, **settings), sweep(**settings))


def test_networks_are_as_alone_on_every_backend(quick_backend: Backend) -> None:
    where = {"backend": quick_backend.name, "device": quick_backend.device, "dtype": "float64"}
    given = {**FEW, **where, **GRID, "compact": False}
    stop = StopAt("loss", below=0.9)
    result = arraymlp.sweep(X, Y, callbacks=stop, **given)
    epochs = {len(m.history) for m in result}
    assert len(epochs) > 1
    for member in result:
        settings = {**given, **member.swept}
        settings.pop("compact")
        run = arraymlp.train(X, Y, callbacks=stop, **settings)
        assert len(run.history) == len(member.history)
        np.testing.assert_allclose(member.history["loss"], run.history["loss"], rtol=1e-9)


# --- they end networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [True, False])
def test_true_ends_that_network_and_no_other(compact: bool, side_by_side: None) -> None:
    whole = sweep(**GRID)
    ends = {1: 2, 4: 3}  # these networks after so many epochs

    def prune(event: Any) -> Any:
        return np.bool_(event.number == ends.get(event.member))

    result = sweep(prune, compact=compact, **GRID)
    assert not result.interrupted
    for member, before in zip(result, whole, strict=True):
        if member.number not in ends:
            assert_same_bits(member, before)
            continue
        n = ends[member.number]
        assert (member.status, len(member.history)) == ("stopped", n)
        assert result.run(member.number).ended == "stopped early"
        shorter = sweep(**GRID, epochs=n, total_epochs=4).members[member.number]
        for ours, theirs in zip(
            parameters(member.network), parameters(shorter.network), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        assert member.score is not None


def test_one_that_callbacks_end_has_its_best_weights_with_early_stopping() -> None:
    given = {
        "validation": 0.25,
        "early_stopping": EarlyStopping(patience=50),
        "learning_rate": [0.5, 1.0],
        "epochs": 12,
    }
    result = sweep(StopAt("epoch", above=8), **given)
    for member in result:
        losses = member.history["validation_loss"]
        assert len(losses) == 9
        assert member.best_epoch == int(np.argmin(losses))
    assert any(m.best_epoch != 8 for m in result)


def test_a_callback_may_look_at_the_others() -> None:
    def prune(event: Any) -> bool:
        n = event.number
        losses = [h[n - 1]["loss"] for h in event.histories if len(h) >= n]
        return n == 2 and event.record["loss"] > median(losses)

    result = sweep(prune, learning_rate=[0.1, 0.05, 1e-6, 1e-7])
    assert [m.status for m in result] == ["finished", "finished", "stopped", "stopped"]


def test_a_network_that_diverges_is_told_and_diverged() -> None:
    told: list[Any] = []
    result = sweep(lambda event: told.append(event.record["loss"]) or True,
                   loss="squared_error", y=X[:, 0], optimizer="sgd",
                   learning_rate=[0.01, 1e30], standardize=False)  # fmt: skip
    assert [m.status for m in result] == ["stopped", "diverged"]
    assert len(told) == 2


# --- errors, and Ctrl-C ---------------------------------------------------------------------------


class BrokenError(Exception):
    """A callback's own."""


@pytest.mark.parametrize("settings", [GRID, MANY], ids=["grid", "populations and folds"])
@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
def test_an_error_ends_the_sweep_and_is_the_sweeps(
    settings: dict[str, Any], error: type[BaseException], side_by_side: None
) -> None:
    calls = []

    def fails(event: Any) -> None:
        calls.append(event.member)
        if len(calls) == 5:
            raise error("mine")

    before = threading.active_count()
    with pytest.raises(error, match="mine"):
        sweep(fails, **settings)
    assert len(calls) == 5  # nor is one called after it
    assert threading.active_count() <= before + 3  # those of the pool that others use


def test_what_ctrl_c_leaves_of_an_epoch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[MemberEpochEnd] = []
    interrupt_after(monkeypatch, 4)
    result = sweep(lambda event: told.append(event) or True if event.number > 1 else None, **GRID)
    assert result.interrupted
    assert [m.status for m in result] == ["interrupted"] * 6
    assert {(event.number, event.record["step"]) for event in told} == {(2, 4)}


class Counts(Callback):
    def on_step(self, event: Any) -> None:
        """Never called."""


class Remembers(Callback):
    def state(self) -> Any:
        return 1

    def restore(self, state: Any) -> None:
        """Never called."""


@pytest.mark.parametrize(
    ("callbacks", "more", "words"),
    [
        ([Counts()], {}, "has an on_step, but the steps of a sweep are those of many networks"),
        ([StopAt], {}, "a callback must be a function, or an object that can be called, not"),
        ("log", {}, "a callback must be a function, or an object that can be called, not 'log'"),
        (3, {}, "a callback must be a function"),
        ([Remembers()], {"checkpoint": "f"}, "has a state, which a sweep's checkpoint does not"),
    ],
)
def test_what_a_sweep_cannot_call_is_refused_before_the_training(
    callbacks: Any, more: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        arraymlp.sweep(X, Y, callbacks=callbacks, **FEW, **more)
    assert not list(tmp_path.iterdir())


def test_without_a_checkpoint_one_that_remembers_is_called() -> None:
    result = sweep(Remembers(), Callback())
    assert len(result.members[0].history) == 4


# --- checkpoints ----------------------------------------------------------------------------------


class Log(Callback):
    """What it is told, and the network after whose epochs it breaks off."""

    def __init__(self, after: float = inf) -> None:
        self.told: list[tuple[int, int]] = []
        self.before: list[tuple[int, int]] = []
        self.after = after

    def __call__(self, event: Any) -> bool:
        assert len(event.history) == event.number
        self.told.append((event.member, event.number))
        if len(self.told) > self.after:
            raise Killed
        return event.member == 1 and event.number == 1

    def finished_before(self, event: MemberEpochEnd) -> None:
        assert event.network.n_parameters
        self.before.append((event.member, event.number))


def test_what_goes_on_tells_what_it_trains_and_what_was_finished(tmp_path: Path) -> None:
    expected = sweep(Log(), **GRID)
    given = {**GRID, "checkpoint": Checkpoint(tmp_path, "1 epoch"), "compact": False}
    first, second = Log(after=17), Log()
    with pytest.raises(Killed):
        sweep(first, **given)
    result = sweep(second, **given)
    assert_same_sweep(result, expected)
    assert second.before == [(1, 1)]
    assert not any(k == 1 for k, _ in second.told)
    assert {n for _, n in second.told} <= {2, 3, 4}
    everything = [(k, n) for k in range(6) for n in range(1, 5) if k != 1 or n == 1]
    assert set(first.told) | set(second.told) == set(everything)
    third = Log()
    assert_same_sweep(sweep(third, **given), expected)  # nothing is left to train
    assert third.told == []
    assert third.before == [(k, 1 if k == 1 else 4) for k in range(6)]


# --- logs -----------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def assert_has(rows: Sequence[dict[str, str]], result: SweepResult) -> None:
    """Each epoch of each network has one row, with its figures."""
    for member in result:
        own = [row for row in rows if row["member"] == str(member.number)]
        assert [row["epoch"] for row in own] == [str(e) for e in member.history["epoch"]]
        shown = member.row()
        for row, record in zip(own, member.history, strict=True):
            assert float(row["loss"]) == record["loss"]
            assert float(row["learning_rate"]) == record["learning_rate"]
            for name in result.swept:
                assert row[f"swept.{name}"] == str(shown[name])
            assert row.get("fold", "") == ("" if member.fold is None else str(member.fold))
    assert len(rows) == sum(len(m.history) for m in result)


@pytest.mark.parametrize("settings", [GRID, MANY], ids=["grid", "populations and folds"])
def test_a_csv_log_has_every_epoch_of_every_network(
    tmp_path: Path, settings: dict[str, Any], side_by_side: None
) -> None:
    log = CSVLog(tmp_path / "sweep.csv")
    result = sweep(log, **settings)
    assert_has(rows_of(log.path), result)
    result = sweep(log, **GRID)  # another sweep, which replaces it
    assert_has(rows_of(log.path), result)


def test_a_column_that_some_networks_have_is_empty_in_others(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "sweep.csv")
    result = sweep(log, alpha=[0.0, 0.1])
    rows = rows_of(log.path)
    assert_has(rows, result)
    assert {(row["member"], bool(row["penalty"])) for row in rows} == {("0", False), ("1", True)}


def test_an_epoch_that_is_not_told_yet_is_written_once(tmp_path: Path) -> None:
    """Another thread's network may have it in its history when the file is written again."""
    log, histories = CSVLog(tmp_path / "sweep.csv"), [History(), History()]

    def tell(k: int) -> None:
        known = {"member": k, "history": histories[k], "histories": histories}
        log(MemberEpochEnd(make_network=list, swept={}, fold=None, **known))

    histories[0].records.append({"epoch": 0})
    tell(0)
    histories[0].records.append({"epoch": 1})
    histories[1].records.append({"epoch": 0, "penalty": 0.5})
    tell(1)
    assert log.path.read_text() == "member,epoch,penalty\n0,0,\n1,0,0.5\n"
    tell(0)
    assert log.path.read_text() == "member,epoch,penalty\n0,0,\n1,0,0.5\n0,1,\n"


def test_a_csv_log_of_a_sweep_that_goes_on_is_whole(tmp_path: Path) -> None:
    log, folder = tmp_path / "sweep.csv", Checkpoint(tmp_path / "folder", "1 epoch")
    given = {**GRID, "checkpoint": folder, "compact": False}
    with pytest.raises(Killed):
        sweep(CSVLog(log), Log(after=17), **given)
    for _ in range(2):  # the second has nothing left to train
        result = sweep(CSVLog(log), Log(), **given)
        assert_has(rows_of(log), result)


def test_tensorboard_has_a_folder_for_each_network(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    log = TensorBoardLog(tmp_path)
    for epochs in (4, 2):
        result = sweep(log, **{**MANY, "epochs": epochs})
        runs = {path.parent.relative_to(tmp_path) for path in tmp_path.rglob("*tfevents*")}
        assert runs == {Path(f"member-{m.number}") / part for m in result
                        for part in ("", "validation")}  # fmt: skip
        for member in result:
            found = accumulator(str(tmp_path / f"member-{member.number}"))
            found.Reload()
            curve = [(e.step, e.value) for e in found.Scalars("loss")]
            steps, losses = member.history["step"], member.history["loss"]
            assert curve == list(zip(steps, map(pytest.approx, losses), strict=True))


def test_stop_at_ends_each_network_by_itself() -> None:
    losses = [h["loss"] for h in (m.history for m in sweep(**GRID))]
    target = median(column[1] for column in losses)
    result = sweep(StopAt("loss", below=target), **GRID)
    for member, column in zip(result, losses, strict=True):
        reached = [i for i, loss in enumerate(column, 1) if loss <= target]
        assert len(member.history) == min(reached, default=4)
