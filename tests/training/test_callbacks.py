"""The callbacks: what they write reads back, by the standard library and by TensorBoard itself."""

import csv
import sys
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runs
from arraymlp import History, Run, train
from arraymlp.training.callbacks import Callback, StopAt
from arraymlp.training.logs import CSVLog, TensorBoardLog
from problems import BATCH, HIDDEN, N, labels

STEPS = N // BATCH
POPULATION = {"seed": [0, 1, 2]}
KINDS = pytest.mark.parametrize(
    "settings",
    [{}, {"validation": 0.25, "training_error": True, "probes": True}, POPULATION,
     {**POPULATION, "learning_rate": [0.1, 0.2, 0.3], "validation": 0.25, "probes": True}],
    ids=["network", "network, all figures", "population", "population, all figures"],
)  # fmt: skip


def trained(*callbacks: Any, epochs: int = 3, **settings: Any) -> Run:
    X, y = labels()
    if "network" not in settings:
        settings = {"hidden": HIDDEN, "batch_size": BATCH, **settings}
    return train(X, y, backend="numpy", epochs=epochs, callbacks=callbacks, **settings)


def gone_on(run: Run, *callbacks: Any, epochs: int = 2, **settings: Any) -> Run:
    return train(network=run, epochs=epochs, callbacks=callbacks, **settings)


def event(*records: dict[str, Any], number: int | None = None, members: int | None = None) -> Any:
    """The end of the last of these epochs, made by hand."""
    records = tuple(dict(record) for record in records)
    return SimpleNamespace(
        record=records[-1],
        number=len(records) if number is None else number,
        epochs=9,
        network=SimpleNamespace(members=members),
        history=History(list(records)),
    )


# --- CSV ------------------------------------------------------------------------------------------


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def assert_holds(rows: list[dict[str, str]], history: History) -> None:
    """Each figure of the history stands in its cell, exactly, and nothing else does."""
    assert len(rows) == len(history)
    for row, record in zip(rows, history, strict=True):
        left = {name: cell for name, cell in row.items() if cell}
        for name, value in record.items():
            if not isinstance(value, list | tuple):
                assert type(value)(left.pop(name)) == value
                continue
            for i, v in enumerate(value):
                if not isinstance(v, list):
                    assert float(left.pop(f"{name}[{i}]")) == v
                    continue
                for j, x in enumerate(v):
                    assert float(left.pop(f"{name}[{i}][{j}]")) == x
        assert not left


@KINDS
def test_a_csv_log_holds_the_history_exactly(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = trained(CSVLog(tmp_path / "run.csv"), **settings)
    assert_holds(read_csv(tmp_path / "run.csv"), run.history)


def test_the_csv_file_says_what_is_in_it(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    one = {"epoch": 0, "loss": 0.1, "error": nan, "none": None}
    two = {"epoch": 1, "loss": -inf, "error": 1e-300}
    log(event(one))
    log(event(one, two))
    assert log.path.read_bytes() == b"epoch,loss,error,none\n0,0.1,nan,\n1,-inf,1e-300,\n"


def test_a_row_is_there_when_its_epoch_ends_and_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    seen = []

    def look(event: Any) -> None:
        assert_holds(read_csv(path), event.history)
        seen.append(event.number)

    trained(CSVLog(path), look)
    assert seen == [1, 2, 3]


def test_later_rows_are_appended_and_leave_the_earlier_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"

    def blot(event: Any) -> None:
        if event.number == 1:
            path.write_bytes(path.read_bytes().replace(b"\n0,", b"\n#,"))

    trained(CSVLog(path), blot)
    assert [row["epoch"] for row in read_csv(path)] == ["#", "1", "2"]


def test_a_csv_log_of_a_run_that_goes_on_has_its_earlier_epochs(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    first = trained(log)
    run = gone_on(first, log)
    assert len(run.history) == 5
    assert_holds(read_csv(log.path), run.history)
    run = gone_on(run, CSVLog(log.path))
    assert_holds(read_csv(log.path), run.history)


def test_a_column_that_comes_later_has_the_file_written_again(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    history = History()
    for record in ({"epoch": 0}, {"epoch": 1, "loss": [0.5, nan]}, {"epoch": 2}):
        history.records.append(record)
        log(SimpleNamespace(record=record, history=history))
    assert log.path.read_text() == "epoch,loss[0],loss[1]\n0,,\n1,0.5,nan\n2,,\n"


def test_a_second_training_replaces_the_first_ones_file(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    trained(log, validation=0.25)
    run = trained(log, epochs=2)
    assert_holds(read_csv(log.path), run.history)
    assert "validation_loss" not in read_csv(log.path)[0]


def test_a_csv_log_that_is_first_called_late_still_has_every_epoch(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    log.path.write_text("what stood there before\n")
    run = trained(lambda event: log(event) if event.number == 3 else None)
    assert_holds(read_csv(log.path), run.history)


def test_a_csv_file_that_could_not_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing to write .*csv"):
        CSVLog(tmp_path / "missing" / "run.csv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        CSVLog(str(tmp_path))


# --- TensorBoard ----------------------------------------------------------------------------------


@pytest.fixture
def accumulator() -> Any:
    return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture
def read_folder(accumulator: Any) -> Any:
    def read(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Steps and values by run and tag, as TensorBoard shows them."""
        runs = {}
        for run in {path.parent for path in folder.rglob("*tfevents*")}:
            found = accumulator.EventAccumulator(str(run))
            found.Reload()
            runs[run.relative_to(folder).as_posix()] = {
                tag: [(e.step, e.value) for e in found.Scalars(tag)]
                for tag in found.Tags()["scalars"]
            }
        return runs

    return read


def curve(history: History, name: str, *positions: int) -> Any:
    """Steps and values of a column, or of a position in its lists; floats as float32."""
    column = history[name]
    for i in positions:
        column = [value[i] for value in column]
    return [(s, pytest.approx(v, rel=1e-7)) for s, v in zip(history["step"], column, strict=True)]


def test_training_and_validation_are_runs_that_share_their_tags(
    tmp_path: Path, read_folder: Any
) -> None:
    log = TensorBoardLog(tmp_path / "new" / "run")
    history = trained(log, validation=0.25, training_error=True, probes=True).history
    own = ("epoch", "loss", "learning_rate", "seconds", "samples_per_s")
    assert read_folder(tmp_path / "new" / "run") == {
        ".": {
            **{name: curve(history, name) for name in own},
            **{f"predicted/{i}": curve(history, "predicted", i) for i in range(3)},
        },
        "training": {what: curve(history, f"training_{what}") for what in ("loss", "error")},
        "validation": {what: curve(history, f"validation_{what}") for what in ("loss", "error")},
    }


def test_members_of_a_population_are_runs_of_their_own(tmp_path: Path, read_folder: Any) -> None:
    rates = [0.1, 0.2, 0.3]
    history = trained(
        TensorBoardLog(tmp_path), **POPULATION, learning_rate=rates, validation=0.25, probes=True
    ).history
    runs = read_folder(tmp_path)
    assert runs.pop(".") == {
        name: curve(history, name) for name in ("epoch", "seconds", "samples_per_s")
    }
    for k in range(3):
        assert runs.pop(f"member-{k}") == {
            "loss": curve(history, "loss", k),
            "learning_rate": curve(history, "learning_rate", k),
            **{f"predicted/{i}": curve(history, "predicted", k, i) for i in range(3)},
        }
        assert runs.pop(f"member-{k}/validation") == {
            "loss": curve(history, "validation_loss", k),
            "error": curve(history, "validation_error", k),
        }
    assert not runs


def test_scalars_are_there_when_their_epoch_ends_in_one_file_a_run(
    tmp_path: Path, read_folder: Any
) -> None:
    seen = []

    def look(event: Any) -> None:
        runs = read_folder(tmp_path)
        assert runs["."]["loss"] == curve(event.history, "loss")
        assert runs["validation"]["loss"] == curve(event.history, "validation_loss")
        seen.append(sorted(tmp_path.rglob("*tfevents*")))

    trained(TensorBoardLog(tmp_path), look, validation=0.25)
    assert [len(files) for files in seen] == [2, 2, 2]
    assert seen[0] == seen[2]


@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_goes_on_is_shown_whole_and_once(
    tmp_path: Path, read_folder: Any, same: bool
) -> None:
    log = TensorBoardLog(tmp_path)
    first = trained(log)
    history = gone_on(first, log if same else TensorBoardLog(tmp_path)).history
    assert [step for step, _ in read_folder(tmp_path)["."]["loss"]] == history["step"]
    assert read_folder(tmp_path)["."]["loss"] == curve(history, "loss")


def test_a_log_that_is_first_called_late_still_has_every_epoch(
    tmp_path: Path, read_folder: Any
) -> None:
    log = TensorBoardLog(tmp_path)
    history = trained(lambda event: log(event) if event.number == 3 else None).history
    assert read_folder(tmp_path)["."]["loss"] == curve(history, "loss")


def test_a_second_training_takes_the_place_of_the_first(tmp_path: Path, read_folder: Any) -> None:
    log = TensorBoardLog(tmp_path)
    trained(log, batch_size=1)  # whose steps lie between those of the second
    history = trained(log, epochs=2).history
    assert read_folder(tmp_path)["."]["loss"] == curve(history, "loss")


def test_what_is_no_number_is_left_out_and_nan_and_large_numbers_are_not(
    tmp_path: Path, read_folder: Any
) -> None:
    log = TensorBoardLog(tmp_path)
    log(event({"step": 3, "loss": nan, "big": 1e300, "none": None, "word": "x", "flag": True,
               "validation_loss": None}))  # fmt: skip
    [(name, tags)] = read_folder(tmp_path).items()
    assert name == "."
    assert tags == {"loss": [(3, pytest.approx(nan, nan_ok=True))], "big": [(3, inf)]}


def test_tensorboard_itself_finds_the_runs(tmp_path: Path, accumulator: Any) -> None:
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    log = TensorBoardLog(tmp_path)
    history = gone_on(trained(log, **POPULATION), log).history
    found = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert set(found.Runs()) == {".", "member-0", "member-1", "member-2"}
    assert [e.step for e in found.Tensors("member-1", "loss")] == history["step"]


def test_without_tensorboard_the_error_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        TensorBoardLog(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        TensorBoardLog(tmp_path / "file")


# --- StopAt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "value", "stops"),
    [
        ({"below": 0.5}, 0.5, True),
        ({"below": 0.5}, 0.51, False),
        ({"below": 0.5}, -inf, True),
        ({"below": 0.5}, nan, False),
        ({"below": 0}, 0.0, True),
        ({"above": 0.5}, 0.5, True),
        ({"above": 0.5}, 0.49, False),
        ({"above": 0.5}, inf, True),
        ({"above": 0.5}, nan, False),
        ({"above": 0.5}, None, False),
        ({"below": 0.5}, [0.4, 0.5, 0.1], True),
        ({"below": 0.5}, [0.4, 0.6, 0.1], False),
        ({"below": 0.5}, [0.4, nan], False),
        ({"below": 0.5, "members": "any"}, [0.6, nan, 0.1], True),
        ({"below": 0.5, "members": "any"}, [0.6, nan], False),
        ({"above": 0.5, "members": "any"}, [0.6, nan], True),
        ({"above": 0.5, "members": "all"}, (0.6, 0.5), True),
    ],
)
def test_a_target_is_reached_by_the_figure_that_is_recorded(
    target: dict[str, Any], value: Any, stops: bool
) -> None:
    assert StopAt("figure", **target)(event({"epoch": 0, "figure": value})) is stops


def test_training_stops_in_the_first_epoch_at_the_target() -> None:
    losses = trained(epochs=6).history["loss"]
    assert losses == sorted(losses, reverse=True)
    run = trained(StopAt("loss", below=losses[3]), epochs=6)
    assert run.history["loss"] == losses[:4]
    assert len(trained(StopAt("epoch", above=2), epochs=6).history) == 3


@pytest.mark.parametrize(("members", "which"), [("all", max), ("any", min)])
def test_a_population_stops_when_all_or_any_got_there(members: Any, which: Any) -> None:
    losses = trained(epochs=6, **POPULATION).history["loss"]
    target = max(losses[3])
    expected = next(i for i, found in enumerate(losses, 1) if which(found) <= target)
    assert (expected == 4) is (members == "all")
    run = trained(StopAt("loss", below=target, members=members), epochs=6, **POPULATION)
    assert len(run.history) == expected


def test_a_column_that_is_not_recorded_lists_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'los': did you mean 'loss'\? There is epoch, .*step"):
        trained(StopAt("los", below=0.1))


@pytest.mark.parametrize(
    "targets",
    [{}, {"below": 0.1, "above": 0.2}, {"below": nan}, {"above": inf}, {"above": "high"},
     {"below": True}],
)  # fmt: skip
def test_a_target_is_one_finite_number(targets: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finite number as either below or above"):
        StopAt("loss", **targets)


def test_members_are_all_or_any() -> None:
    with pytest.raises(ValueError, match="'al': did you mean 'all'"):
        StopAt("loss", below=0.1, members="al")  # type: ignore[arg-type]


# --- all ------------------------------------------------------------------------------------------


def test_they_say_what_they_are(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert repr(CSVLog("run.csv")) == "CSVLog('run.csv')"
    assert repr(TensorBoardLog(tmp_path)) == f"TensorBoardLog({str(tmp_path)!r})"
    assert repr(StopAt("loss", below=0.5)) == (
        "StopAt(monitor='loss', below=0.5, above=None, members='all')"
    )


class Watching(Callback):
    """A callback whose ``on_step`` is made when it is."""

    def __init__(self, steps: list[int]) -> None:
        self.on_step = lambda event: steps.append(event.step)  # type: ignore[method-assign]


def test_an_on_step_of_one_object_alone_is_called() -> None:
    steps: list[int] = []
    run = runs.train(callbacks=[Watching(steps), Callback()])
    assert steps == list(range(1, run.steps_done + 1))
