"""A run that is ended by anything goes on from its checkpoint, to the bits of the unbroken run."""

import logging
import re
import signal
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import (
    Backend,
    Checkpoint,
    CheckpointError,
    CheckpointWarning,
    EarlyStopping,
    NonFiniteLossError,
    Run,
    load,
    train,
)
from arraymlp.callbacks import Callback, CSVLog, StopAt
from arraymlp.nn.activations import Activation
from arraymlp.schedules import Adaptive, Schedule
from arraymlp.training import loop
from arraymlp.training.callbacks import EpochEnd, StepEnd
from arraymlp.training.saver import Saver
from broken_off import Killed, KilledAt, assert_same_run, until_done, without_times
from runs import engine_of_steps, interrupt_after

rng = np.random.default_rng(0)
N, BATCH = 130, 20
X = rng.normal(size=(N, 6)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)
NUMBERS = X[:, 0] * 100 + rng.normal(size=N)
WEIGHT = rng.uniform(0.1, 2, N)
STEPS = 6  # an epoch, with a fifth of the rows held out

CASES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 17},
    "adam, dropout, cosine": {"optimizer": "adam", "dropout": 0.2, "schedule": "cosine"},
    "early stopping": {"early_stopping": EarlyStopping(patience=2), "epochs": 40},
    "average, alpha": {"optimizer": "adamw", "weight_average": 0.9, "alpha": 0.01},
    "average, early stopping": {"weight_average": 0.9, "early_stopping": True, "epochs": 30},
    "adaptive": {"optimizer": "sgd", "schedule": Adaptive(patience=1), "epochs": 12},
    "probes": {"probes": True, "training_error": True, "epochs": 9},
    "population": {
        "seed": (0, 1, 2),
        "learning_rate": (0.01, 0.02, 0.1),
        "early_stopping": EarlyStopping(patience=(1, 2, 3)),
        "epochs": 20,
    },
    "population of one": {"seed": (5,), "dropout": 0.5},
    "regression": {"y": NUMBERS, "metrics": ("r2",), "optimizer": "rmsprop"},
    "weights": {"sample_weight": WEIGHT, "class_weight": "balanced", "gradient_clip": 0.5},
    "alpha in float64": {"alpha": 0.01, "dtype": "float64"},
    "members' own alpha": {"seed": (0, 1), "alpha": (0.01, 0.1), "gradient_clip": (0.5, 1.0)},
    "window, drop_last": {"window": 40, "drop_last": True, "batch_size": 13},
}


def call(backend: Backend, path: Any = None, *callbacks: Any, **settings: Any) -> Run:
    given: dict[str, Any] = {"hidden": (8, 5), "batch_size": BATCH, "epochs": 6, "validation": 0.2}
    given |= settings
    y = given.pop("y", LABELS)
    where = {"backend": backend.name, "device": backend.device}
    return train(given.pop("X", X), y, callbacks=callbacks, checkpoint=path, **where, **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ckpt"


@pytest.mark.parametrize("every", ["1 step", "5 steps", "2 epochs", "0.001 s"])
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_to_the_bits_of_the_unbroken_run(
    case: str, every: str, path: Path, numpy_backend: Backend
) -> None:
    settings = CASES[case]
    expected = call(numpy_backend, **settings)
    checkpoint = Checkpoint(path, every)
    actual, n = until_done(
        lambda kill: call(numpy_backend, checkpoint, kill, **settings), len(case), 4 * STEPS
    )
    assert n > 0
    assert_same_run(actual, expected)


@pytest.mark.parametrize(
    "case", ["adam, dropout, cosine", "average, early stopping", "population", "regression"]
)
def test_it_does_on_other_backends(case: str, path: Path, quick_backend: Backend) -> None:
    settings = {"engine": engine_of_steps(quick_backend), **CASES[case]}
    expected = call(quick_backend, **settings)
    checkpoint = Checkpoint(path, "4 steps")
    actual, _ = until_done(
        lambda kill: call(quick_backend, checkpoint, kill, **settings), 7, 4 * STEPS
    )
    assert_same_run(actual, expected)


def test_it_does_on_every_backend(path: Path, backend: Backend) -> None:
    rows, y = problems.labels()  # of the shapes that JAX has compiled for other tests
    shapes = {"X": rows, "y": y, "hidden": problems.HIDDEN, "batch_size": problems.BATCH}
    settings = {**shapes, "validation": (rows, y), "epochs": 3, "early_stopping": True}
    settings |= {"dropout": 0.1, "engine": engine_of_steps(backend)}
    expected = call(backend, **settings)
    checkpoint = Checkpoint(path, "2 steps")
    actual, n = until_done(lambda kill: call(backend, checkpoint, kill, **settings), 7, 5)
    assert n > 0
    assert_same_run(actual, expected)


def test_it_does_by_the_definition(path: Path, numpy_backend: Backend) -> None:
    settings = {"engine": "array", **CASES["adam, dropout, cosine"]}
    checkpoint = Checkpoint(path, "1 step")
    actual, _ = until_done(lambda kill: call(numpy_backend, checkpoint, kill, **settings), 3, 9)
    assert_same_run(actual, call(numpy_backend, **settings))


class Chunks:
    """Data that comes in chunks."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for i in range(0, N, 30):
            yield X[i : i + 30], LABELS[i : i + 30]


@pytest.mark.parametrize("kind", ["memmap", "chunks"])
def test_streams_go_on_in_the_middle_of_an_epoch(
    kind: str, path: Path, numpy_backend: Backend
) -> None:
    mapped = np.memmap(path.with_suffix(".bin"), "float32", "w+", shape=X.shape)
    mapped[:] = X
    data = {"X": mapped} if kind == "memmap" else {"X": Chunks(), "y": None}
    settings = {**data, "validation": (X[:20], LABELS[:20]), "window": 40, "dropout": 0.1}
    checkpoint = Checkpoint(path, "3 steps")
    actual, _ = until_done(lambda kill: call(numpy_backend, checkpoint, kill, **settings), 2, 20)
    assert_same_run(actual, call(numpy_backend, **settings))


def test_a_finished_run_returns_at_once(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = call(numpy_backend, path, early_stopping=EarlyStopping(patience=1), epochs=30)
    assert expected.ended == "stopped early"
    monkeypatch.setattr(
        "arraymlp.training.train_function.train_epochs", lambda *_: pytest.fail("it trained")
    )
    again = call(numpy_backend, path, early_stopping=EarlyStopping(patience=1), epochs=30)
    assert_same_run(again, expected)
    assert again.findings == expected.findings


def test_how_it_ended_is_told(path: Path, numpy_backend: Backend) -> None:
    assert call(numpy_backend).ended == "finished"
    stop = StopAt("loss", below=100)
    assert call(numpy_backend, path, stop).ended == "stopped early"
    assert call(numpy_backend, path, stop).ended == "stopped early"
    assert len(call(numpy_backend, path, stop).history) == 1


def test_a_run_that_diverged_says_so_again(path: Path, numpy_backend: Backend) -> None:
    settings = {"learning_rate": 1e30, "optimizer": "sgd", "loss": "squared_error", "y": NUMBERS}
    messages = []
    for _ in range(2):
        with pytest.raises(NonFiniteLossError) as caught:
            call(numpy_backend, path, **settings)
        assert caught.value.run.ended == "diverged"
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_ctrl_c_leaves_the_history_of_the_unbroken_run(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dropout": 0.2, "probes": True}
    expected = call(numpy_backend, **settings)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)
        broken = call(numpy_backend, path, **settings)
    assert broken.ended == "interrupted"
    assert broken.interrupted
    assert broken.partial_epoch.steps == 8 % STEPS
    assert_same_run(call(numpy_backend, path, **settings), expected)


def test_a_run_goes_on_with_a_checkpoint_of_its_own(path: Path, numpy_backend: Backend) -> None:
    first = call(numpy_backend, dropout=0.1)
    expected = train(network=first, epochs=4)
    checkpoint = Checkpoint(path, "2 steps")
    actual, n = until_done(
        lambda kill: train(network=first, epochs=4, checkpoint=checkpoint, callbacks=[kill]), 5, 9
    )
    assert n > 0
    assert_same_run(actual, expected)
    with pytest.raises(CheckpointError, match="network that the call begins with"):
        train(network=expected, epochs=4, checkpoint=checkpoint)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "rate": ({"learning_rate": 0.1}, r"learning_rate was 0\.0\d+, is 0\.1"),
    "schedule": ({"schedule": "step"}, r"schedule was Cosine\(warm_up=.*\), is StepDecay\("),
    "epochs": ({"epochs": 7}, "epochs was 6, is 7"),
    "activation": ({"activation": "tanh"}, "activation was relu, is tanh"),
    "hidden": ({"hidden": (9, 5)}, r"hidden was \(8, 5\), is \(9, 5\)"),
    "own activation": (
        {"activation": Activation("my", lambda s, xp: s, lambda s, z, xp: 1.0)},
        "is arraymlp",
    ),
    "shuffle": (
        {"shuffle": lambda n, epoch: np.arange(n)},
        "shuffle was True, is .*<lambda>",
    ),
    "a value": ({"X": X + np.eye(N, 6, dtype=np.float32)}, r"X was \(104, 6\) numbers with digest"),
    "a label": ({"y": np.where(np.arange(N) == 7, 2, LABELS)}, "y.* was"),
    "other labels": ({"y": LABELS + 1}, "y was .* integers"),
    "more rows": ({"X": np.r_[X, X[:1]], "y": np.r_[LABELS, 1]}, r"X was \(104, 6\)"),
    "weights": ({"sample_weight": WEIGHT}, r"sample_weight was none, is \(104,\)"),
    "validation": ({"validation": None}, "X of validation was .*, is none"),
    "seed": ({"seed": 1}, "seed was 0, is 1"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_call_is_refused_with_the_difference(
    case: str, path: Path, numpy_backend: Backend
) -> None:
    call(numpy_backend, path)
    before = path.read_bytes()
    settings, words = DIFFERENT[case]
    with pytest.raises(CheckpointError, match=words):
        call(numpy_backend, path, **settings)
    assert path.read_bytes() == before


def test_backend_engine_and_device_may_differ(path: Path, strict_backend: Backend) -> None:
    numpy = arraymlp.resolve("numpy")
    expected = call(numpy)
    with pytest.raises(Killed):
        call(strict_backend, Checkpoint(path, "1 epoch"), KilledAt(epochs=2))
    actual = call(numpy, path, engine="array")
    for a, b in zip(without_times(actual), without_times(expected), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


class Counts(Callback):
    """A callback that remembers how many steps and epochs it saw."""

    def __init__(self) -> None:
        self.steps = self.epochs = 0

    def __call__(self, event: EpochEnd) -> None:
        self.epochs += 1

    def on_step(self, event: StepEnd) -> None:
        self.steps += 1

    def state(self) -> Any:
        return {"steps": self.steps, "epochs": np.int64(self.epochs)}

    def restore(self, state: Any) -> None:
        self.steps, self.epochs = state["steps"], state["epochs"]


def test_callbacks_go_on_with_what_they_remember(path: Path, numpy_backend: Backend) -> None:
    made: list[Counts] = []

    def start(kill: KilledAt) -> Run:
        made.append(Counts())
        return call(numpy_backend, Checkpoint(path, "1 step"), made[-1], kill)

    _, n = until_done(start, 1, 9)
    assert n > 0
    assert (made[-1].steps, made[-1].epochs) == (6 * STEPS, 6)
    with pytest.raises(CheckpointError, match=r"what a .*Counts remembers"):
        call(numpy_backend, path)


def test_a_csv_log_has_each_row_once(path: Path, numpy_backend: Backend) -> None:
    log = path.with_suffix(".csv")
    run, n = until_done(
        lambda kill: call(numpy_backend, Checkpoint(path, "3 steps"), CSVLog(log), kill), 4, 9
    )
    assert n > 0
    lines = log.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(6))]
    assert len(run.history) == 6


class Halving(Schedule):
    """A schedule of the user's own that remembers."""

    factor = 1.0

    def factors(self, steps: Any, n_steps: int) -> Any:
        return np.full(steps.shape, self.factor)

    def begin(self) -> Schedule:
        return type(self)()

    def observe(self, record: Mapping[str, object]) -> None:
        self.factor /= 2


class Remembering(Halving):
    def state(self) -> Any:
        return self.factor

    def restore(self, state: Any) -> None:
        self.factor = state


def test_an_own_schedule_that_remembers_has_to_say_what(path: Path, numpy_backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"Halving observes records.*must have state\(\)"):
        call(numpy_backend, path, schedule=Halving())
    actual, _ = until_done(
        lambda kill: call(numpy_backend, Checkpoint(path, "1 step"), kill, schedule=Remembering()),
        1,
        9,
    )
    assert_same_run(actual, call(numpy_backend, schedule=Remembering()))


def test_an_own_activation_goes_on_and_cannot_be_loaded(path: Path, numpy_backend: Backend) -> None:
    own = Activation("mine", lambda s, xp: s * 0.5, lambda s, z, xp: 0.5)
    with pytest.raises(Killed):
        call(numpy_backend, Checkpoint(path, "1 step"), KilledAt(steps=9), activation=own)
    actual = call(numpy_backend, path, activation=own)
    assert_same_run(actual, call(numpy_backend, activation=own))
    with pytest.raises(arraymlp.ModelFileError, match="its network must be an object"):
        load(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("",), "path of a file"),
        ((3,), "path of a file"),
        (("a", 5), "every must be"),
        (("a", "5"), "every must be"),
        (("a", "0 s"), "every must be"),
        (("a", "1.5 epochs"), "every must be"),
        (("a", "5 days"), "every must be"),
        (("a", "5 min", 0), "keep must be"),
        (("a", "5 min", True), "keep must be"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Checkpoint(*given)


@pytest.mark.parametrize(
    ("every", "cadence"),
    [
        ("5 min", {"seconds": 300}),
        ("1.5 h", {"seconds": 5400}),
        ("30s", {"seconds": 30}),
        ("2 seconds", {"seconds": 2}),
        ("1 step", {"steps": 1}),
        ("20 epochs", {"epochs": 20}),
    ],
)
def test_how_often_is_read(every: str, cadence: dict[str, float]) -> None:
    assert Checkpoint("a", every).cadence == cadence


def test_by_the_clock_writing_takes_its_share_at_most(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    take = Saver.take
    monkeypatch.setattr(Saver, "take", lambda *args: (taken.append(1), take(*args)))
    monkeypatch.setattr("arraymlp.training.saver.SHARE", 1e-9)
    call(numpy_backend, Checkpoint(path, "0.0001 s"), epochs=30)
    assert not taken  # a write takes a millisecond, and the next one may come after ten days
    monkeypatch.setattr("arraymlp.training.saver.SHARE", 1e9)
    path.unlink()
    call(numpy_backend, Checkpoint(path, "0.0001 s"), epochs=30)
    assert taken


def test_a_full_disk_is_told_and_the_training_goes_on(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arraymlp.training.generations import Generations

    write, writes = Generations.write, []

    def failing(*args: Any) -> None:
        writes.append(1)
        if len(writes) > 1:
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(Generations, "write", failing)
    with pytest.warns(CheckpointWarning, match="No space left on device"):
        run = call(numpy_backend, Checkpoint(path, "1 epoch"))
    assert_same_run(run, call(numpy_backend))
    monkeypatch.undo()
    assert_same_run(call(numpy_backend, path), run)  # from the first state


def test_a_path_that_cannot_be_written_is_told_before_the_training(
    tmp_path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "run_epoch", lambda *_: pytest.fail("it trained"))
    for wrong in (tmp_path, tmp_path / "absent" / "run.ckpt"):
        with pytest.raises((OSError, CheckpointError)):
            call(numpy_backend, wrong)


def test_a_second_training_on_the_same_path_is_told(path: Path, numpy_backend: Backend) -> None:
    def second(event: EpochEnd) -> None:
        with pytest.raises(CheckpointError, match="another"):
            call(numpy_backend, path)

    call(numpy_backend, path, second, epochs=1)


def test_the_file_has_nothing_of_the_data(path: Path, numpy_backend: Backend) -> None:
    marked = X.copy()
    marked[:, 0] = np.float32(123456.789)
    call(numpy_backend, path, X=marked, y=NUMBERS, sample_weight=WEIGHT, standardize=False)
    content = path.read_bytes()
    for secret in (marked[:1, 0], NUMBERS[:1], NUMBERS[:1].astype("f"), WEIGHT[:1]):
        assert secret.tobytes() not in content
        assert repr(secret[0].item()).encode() not in content


def test_going_on_is_logged(
    path: Path, numpy_backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Killed):
        call(numpy_backend, Checkpoint(path, "1 epoch"), KilledAt(epochs=2))
    with caplog.at_level(logging.INFO, "arraymlp"):
        call(numpy_backend, path)
        call(numpy_backend, path)
    lines = [r.getMessage() for r in caplog.records if "checkpoint" in r.getMessage()]
    assert len(lines) == 2
    for line, done in zip(lines, (r"\d+ steps done", "finished"), strict=True):
        assert re.fullmatch(rf"going on from the checkpoint {path}: {done}", line)


def test_no_thread_is_left_and_nothing_is_said(path: Path, numpy_backend: Backend) -> None:
    import threading

    before = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(numpy_backend, Checkpoint(path, "1 step"))
    assert threading.active_count() <= before + 1  # those of the engine stay
    assert not [t for t in threading.enumerate() if "checkpoint" in t.name]


def test_other_units_of_what_is_standardised_are_other_data(
    path: Path, numpy_backend: Backend
) -> None:
    settings = {"y": NUMBERS, "standardize": True}
    call(numpy_backend, path, **settings)
    assert_same_run(call(numpy_backend, path, **settings), call(numpy_backend, **settings))
    for other in ({"X": X * 1024}, {"y": NUMBERS / 8}, {"y": NUMBERS + 1e6}):
        with pytest.raises(CheckpointError, match="at scale"):
            call(numpy_backend, path, **{**settings, **other})


def test_a_run_that_was_saved_is_no_checkpoint(
    path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)
        run = call(numpy_backend, path)
    assert load(path).ended == "interrupted"
    arraymlp.save(run, path)
    with pytest.raises(CheckpointError, match="written by save and is no checkpoint"):
        call(numpy_backend, path)


def test_a_file_of_a_run_that_is_not_done_says_so(path: Path, numpy_backend: Backend) -> None:
    with pytest.raises(Killed):
        call(numpy_backend, Checkpoint(path, "1 epoch"), KilledAt(epochs=2))
    assert load(path).ended == "interrupted"


def test_a_callback_that_stops_is_heard_beside_ctrl_c(path: Path, numpy_backend: Backend) -> None:
    def stop(event: EpochEnd) -> bool:
        if event.number == 3:
            signal.raise_signal(signal.SIGINT)
        return event.number == 3

    for _ in range(2):
        run = call(numpy_backend, path, stop)
        assert (run.ended, len(run.history)) == ("stopped early", 3)


class Factor(Schedule):
    """A schedule with a number of its own, and no text."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def factors(self, steps: Any, n_steps: int) -> Any:
        return np.full(steps.shape, self.factor)


def test_own_objects_are_compared_by_their_numbers(path: Path, numpy_backend: Backend) -> None:
    call(numpy_backend, path, schedule=Factor(1.0))
    with pytest.raises(CheckpointError, match=r"factor=1\.0, is .*factor=0\.5"):
        call(numpy_backend, path, schedule=Factor(0.5))


class Seen(Callback):
    """Remembers what JSON has not."""

    def state(self) -> Any:
        return {"seen": {1, 2}}

    def restore(self, state: Any) -> None:
        raise AssertionError


def test_what_json_has_not_is_refused_at_once(path: Path, numpy_backend: Backend) -> None:
    with pytest.raises(TypeError, match=r"the state\(\) of .*Seen.* has a set"):
        call(numpy_backend, path, Seen())


@pytest.mark.parametrize("error", [MemoryError("none left"), TypeError("no JSON")], ids=repr)
def test_no_error_of_a_write_ends_the_training(
    error: Exception, path: Path, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arraymlp.training.state import State

    tensors, calls = State.tensors, []

    def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise error
        return tensors(*args)

    monkeypatch.setattr(State, "tensors", failing)
    with pytest.warns(CheckpointWarning, match=str(error)):
        run = call(numpy_backend, Checkpoint(path, "1 epoch"))
    assert len(run.history) == 6
