"""Training on data larger than memory: bit for bit that on the same rows in memory."""

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Run
from arraymlp.data.stream import Streamed
from arraymlp.training.early_stopping import EarlyStopping
from runs import assert_same_bits, engine_of_steps, go_on, interrupt_after

HostArray = np.ndarray[Any, Any]
N, BATCH, WINDOW = 50, 6, 12  # nine minibatches, the last of two rows; windows of two minibatches
X = np.random.default_rng(95).normal(size=(N, problems.FEATURES)).astype(np.float32)
Y = np.argmax(X @ np.random.default_rng(96).normal(size=(problems.FEATURES, 3)), axis=1)
WEIGHT = np.random.default_rng(97).uniform(0, 2, N)
STEPS = 9
SEEDS = (0, 1, 2)


class Chunks:
    """Rows and labels in pieces, whose lengths have nothing to do with windows."""

    def __init__(self, X_: HostArray, y: HostArray) -> None:
        self.X, self.y = X_, y

    def __iter__(self) -> Iterator[tuple[HostArray, HostArray]]:
        ends = [0, 7, 8, 31, len(self.y)]
        for a, b in pairwise(ends):
            yield self.X[a:b], self.y[a:b]


def memmap(path: Path, values: HostArray) -> HostArray:
    np.save(path / "X.npy", values)
    return np.load(path / "X.npy", mmap_mode="r")


def hdf5(path: Path, values: HostArray) -> Any:
    h5py = pytest.importorskip("h5py")
    return h5py.File(path / "X.h5", "w").create_dataset("X", data=values, chunks=(7, 2))


SOURCES: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "memmap": lambda path: (memmap(path, X), Y),
    "HDF5": lambda path: (hdf5(path, X), Y),
    "list of chunks": lambda path: (list(Chunks(X, Y)), None),
    "iterable": lambda path: (Chunks(X, Y), None),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    """X and y to train on, of each kind."""
    return SOURCES[request.param](tmp_path)


def train(X_: Any, y: Any, **given: Any) -> Run:
    defaults = {"hidden": problems.HIDDEN, "batch_size": BATCH, "epochs": 3, "backend": "numpy"}
    plain = {} if "network" in given else problems.PLAIN
    return arraymlp.train(X_, y, **{**defaults, **plain, **given})


def assert_same_run(streamed: Run, in_memory: Run) -> None:
    """The same weights and the same figures, to the last bit."""
    assert isinstance(streamed.data.X, Streamed)
    assert not isinstance(in_memory.data.X, Streamed)
    assert_same_bits(streamed.network, in_memory.network)
    assert_same_bits(streamed.raw_network, in_memory.raw_network)
    assert streamed.history.columns == in_memory.history.columns
    for column in set(in_memory.history.columns) - {"seconds", "samples_per_s"}:
        np.testing.assert_array_equal(streamed.history[column], in_memory.history[column], column)
    assert streamed.measurements == in_memory.measurements
    assert streamed.dead_units == in_memory.dead_units
    assert streamed.best_epoch == in_memory.best_epoch
    findings, expected = ([str(f) for f in run.findings] for run in (streamed, in_memory))
    assert findings == expected


# What each is given: to both, or that with which only the one in memory has the same order.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "in order": ({"shuffle": False}, {}),
    "one window": ({}, {}),
    "windows of all rows": ({"window": 1000}, {"window": None}),
    "windows": ({"window": WINDOW}, {}),
    "windows rounded down": ({"window": WINDOW + 5}, {"window": WINDOW}),
    "windows in order": ({"window": WINDOW, "shuffle": False}, {"window": None}),
    "windows of one minibatch": ({"window": 1}, {"window": BATCH}),
    "ragged windows": ({"window": 21, "batch_size": 7}, {}),
    "training error and metrics": (
        {"window": WINDOW, "training_error": True, "metrics": ("f1", "log_loss")},
        {},
    ),
    "probes": ({"window": WINDOW, "probes": True}, {}),
    "validation fraction": (
        {"window": WINDOW, "validation": 0.3, "metrics": ("f1", "accuracy"), "probes": True},
        {},
    ),
    "weights": (
        {
            "window": WINDOW,
            "sample_weight": WEIGHT,
            "class_weight": "balanced",
            "validation": 0.2,
            "training_error": True,
        },
        {},
    ),
    "early stopping": (
        {
            "window": WINDOW,
            "validation": 0.3,
            "early_stopping": EarlyStopping(patience=2),
            "learning_rate": 0.5,
            "epochs": 12,
        },
        {},
    ),
    "everything, many": (
        {
            "window": WINDOW,
            "seed": SEEDS,
            "learning_rate": (0.001, 0.01, 0.02),
            "optimizer": "adam",
            "schedule": "cosine",
            "dropout": (0.0, 0.3, 0.5),
            "label_smoothing": 0.1,
            "gradient_clip": 1.0,
            "weight_average": 0.9,
            "weight_decay": 0.1,
            "l2": 0.01,
            "sample_weight": np.stack([WEIGHT, WEIGHT[::-1], WEIGHT**2]),
            "class_weight": (None, "balanced", {1: 2.0}),
            "validation": 0.3,
            "early_stopping": EarlyStopping("validation_f1", patience=(1, 2, 3)),
            "metrics": "f1",
            "epochs": 6,
        },
        {},
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_streamed_run_is_the_one_in_memory(source: tuple[Any, Any], case: str) -> None:
    given, in_memory = SETTINGS[case]
    assert_same_run(train(*source, **given), train(X, Y, **{**given, **in_memory}))


@pytest.mark.parametrize("case", ["windows", "weights", "everything, many"])
def test_a_streamed_run_is_the_one_in_memory_everywhere(
    quick_backend: Backend, tmp_path: Path, case: str
) -> None:
    given, _ = SETTINGS[case]
    given = {**given, "backend": quick_backend.name, "device": quick_backend.device}
    given["engine"] = engine_of_steps(quick_backend)
    streamed = train(memmap(tmp_path, X), Y, **given)
    assert streamed.backend == quick_backend
    assert_same_run(streamed, train(X, Y, **given))


@pytest.mark.filterwarnings("ignore:the last . of 50 samples do not fill:UserWarning")
@pytest.mark.parametrize("size", [6, 7, 16])
def test_rows_that_fill_no_minibatch_are_dropped_from_streams_too(
    source: tuple[Any, Any], size: int
) -> None:
    given = {"batch_size": size, "window": 20, "drop_last": True}
    run = train(*source, **given)
    assert_same_run(run, train(X, Y, **given))
    assert run.history[-1]["step"] == 3 * (N // size)


def test_validation_rows_may_be_streamed(source: tuple[Any, Any], tmp_path: Path) -> None:
    rows, labels, weight = X[::2] + 0.5, Y[::2], WEIGHT[::2]
    folder = tmp_path / "validation"
    folder.mkdir()
    given = {"window": WINDOW, "metrics": "f1", "probes": True}
    expected = train(X, Y, validation=(rows, labels, weight), **given)
    for validation in (memmap(folder, rows), hdf5(folder, rows)):
        streamed = train(*source, validation=(validation, labels, weight), **given)
        assert isinstance(streamed.data.X_val, Streamed)
        assert_same_run(streamed, expected)


def test_targets_of_any_kind_are_learnt(tmp_path: Path) -> None:
    y = np.sin(X[:, :2])
    chunks = train(Chunks(X, y), None, window=WINDOW, loss="huber", metrics="r2", validation=0.2)
    in_memory = train(X, y, window=WINDOW, loss="huber", metrics="r2", validation=0.2)
    assert_same_run(chunks, in_memory)
    labels = (X[:, :2] > 0).astype(int)
    assert_same_run(train(memmap(tmp_path, X), labels), train(X, labels))


def test_other_numbers_are_converted_window_by_window(tmp_path: Path) -> None:
    whole = np.random.default_rng(98).integers(0, 256, (N, 5)).astype(np.uint8)
    given = {"window": WINDOW, "dtype": "float64", "learning_rate": 1e-4}
    assert_same_run(train(memmap(tmp_path, whole), Y, **given), train(whole, Y, **given))


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 3, STEPS + 8, STEPS + 9])
@pytest.mark.parametrize("case", ["windows", "in order", "weights"])
def test_an_interrupted_run_goes_on_in_the_middle_of_a_window(
    source: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, case: str, at: int
) -> None:
    given = {**SETTINGS[case][0], "dropout": 0.2}
    steps = -(-40 // BATCH) if "validation" in given else STEPS
    whole = train(X, Y, **given)
    interrupt_after(monkeypatch, at)
    broken = train(*source, **given)
    assert broken.interrupted
    assert broken.partial_epoch.steps == at % steps
    run = go_on(broken, epochs=3 - at // steps)
    assert_same_bits(run.network, whole.network)
    assert run.history[-1]["loss"] == whole.history[-1]["loss"]


def test_a_run_goes_on_with_its_streamed_data_on_another_backend(
    quick_backend: Backend, tmp_path: Path
) -> None:
    first = train(memmap(tmp_path, X), Y, window=WINDOW, validation=0.2, epochs=1)
    backend = {"backend": quick_backend.name, "device": quick_backend.device}
    there, here = go_on(first, epochs=1, **backend), go_on(first, epochs=1)
    assert there.backend == quick_backend
    for column in ("loss", "validation_loss"):
        np.testing.assert_allclose(there.history[column], here.history[column], rtol=1e-5)


def test_another_window_begins_a_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, 2)
    run = go_on(train(Chunks(X, Y), None, window=WINDOW), epochs=1, window=24)
    assert run.history["step"] == [2, 2 + STEPS]


# --- what is refused -----------------------------------------------------------------------------


def never(event: Any) -> None:
    pytest.fail("an epoch was trained")


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (lambda: iter(Chunks(X, Y)), None, "X is a generator, which can be read once only"),
        (lambda: iter(list(Chunks(X, Y))), None, "X is a list_iterator, which can be read once"),
        (lambda: (row for row in X), Y, "X must be numeric, not of dtype object"),
        (lambda: [(X[:9], Y[:9]), (X[9:, :3], Y[9:])], None, "chunk 1 of X has 3 features, but"),
        (lambda: [(X[:9], Y[:9]), (X[9:], Y[8:])], None, "chunk 1 of X has 41 rows, but its y is"),
        (lambda: [(X[:9], Y[:9]), (X[9:],)], None, r"chunk 1 of X must be a tuple \(X, y\)"),
        (lambda: Chunks(np.where(X[40, 2] == X, np.nan, X), Y), None, r"X\[40, 2\] is nan"),
        (lambda: Chunks(X, Y), Y, "X must be numeric|X must be 2-D|X is not an array"),
        (lambda: Chunks(X, Y * 0), None, "y contains one class only"),
        (list, None, "y is missing"),
    ],
    ids=["generator", "iterator", "rows", "width", "length", "tuple", "nan", "y", "classes", "no"],
)
def test_what_cannot_be_streamed_is_refused_before_the_training(
    make: Callable[[], Any], y: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(make(), y, callbacks=[never])


def test_streams_must_fit_the_rest_of_the_data(tmp_path: Path) -> None:
    rows = memmap(tmp_path, X)
    with pytest.raises(ValueError, match="y has 49 samples, but there are 50 rows of data"):
        train(rows, Y[1:], callbacks=[never])
    with pytest.raises(ValueError, match="the validation X has 3 features, but 4 are expected"):
        train(X, Y, validation=(rows[:, :3], Y), callbacks=[never])
    with pytest.raises(ValueError, match=r"sample_weight must have the shape \(50,\)"):
        train(Chunks(X, Y), None, sample_weight=WEIGHT[1:], callbacks=[never])
    network = train(X[:, :3], Y, epochs=0).network
    with pytest.raises(ValueError, match="X has 4 features, but 3 are expected"):
        arraymlp.train(rows, Y, network=network, callbacks=[never])
    with pytest.raises(ValueError, match="chunk 0 of X has 4 features, but 3 are expected"):
        arraymlp.train(Chunks(X, Y), network=network, callbacks=[never])


def test_a_value_that_is_not_finite_ends_the_training_where_it_is_met(tmp_path: Path) -> None:
    values = X.copy()
    values[33, 1] = np.inf
    with pytest.raises(ValueError, match=r"X must be finite, but X\[33, 1\] is inf as float32"):
        train(memmap(tmp_path, values), Y, window=WINDOW)


class Fails:
    """A callback that has an error of its own after a step."""

    def __call__(self, event: Any) -> None:
        pass

    def on_step(self, event: Any) -> None:
        if event.step == 3:
            raise ZeroDivisionError


def test_no_reader_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = memmap(tmp_path, X)
    with pytest.raises(ZeroDivisionError):
        train(rows, Y, window=BATCH, callbacks=[Fails()])
    interrupt_after(monkeypatch, 2)
    assert train(rows, Y, window=BATCH, validation=0.2).interrupted
    assert not [t for t in threading.enumerate() if t.name.startswith("arraymlp-reader")]


# --- memory --------------------------------------------------------------------------------------


def test_training_takes_three_windows_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 MB, all of them read, never more than a few at once."""
    monkeypatch.setenv("ARRAYMLP_ENGINE_CHECK", "0")  # its copies of a minibatch come and go
    n, width, size = 50_000, 1000, 250
    np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n, width)).flush()
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = np.arange(n, dtype=np.int32) % 2
    window = 1000
    of_window = window * width * 4
    given = {"hidden": (4,), "batch_size": size, "window": window, "epochs": 1}
    train(rows[:size], y[:size], optimizer="sgd", **given)  # what a process takes once
    gc.collect()
    tracemalloc.start()
    try:
        run = train(rows, y, optimizer="sgd", **given)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run.history[-1]["step"] == n // size
    # Besides three windows: a minibatch, which is copied; of each row its label, as it is checked
    # and as it is kept, and its place in the order, at most 40 bytes; and what the code itself
    # takes. Four windows do not fit.
    assert most < 3 * of_window + size * width * 4 + 40 * n + 2**19 < 4 * of_window
