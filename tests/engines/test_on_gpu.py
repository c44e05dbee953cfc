"""Tests that need a CUDA device, through CuPy: transfers, parity, lack of memory, threads."""

import json
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, DeviceMemoryError, Dropout, MultilayerPerceptron, Run, sweep
from arraymlp.data.blocks import BYTES_AT_ONCE
from arraymlp.training import train_function
from conftest import SELECTED, _require, assert_same
from conftest import on_host as values_of
from fused_cases import Case, assert_as_good_as_array, kernels_of, parameters
from test_cuda_fused import RULES

N, FEATURES, CLASSES, BATCH = 500, 40, 5, 50
DRAW = np.random.default_rng(60)
X = DRAW.normal(size=(N, FEATURES))
Y = np.argmax(X @ DRAW.normal(size=(FEATURES, CLASSES)) + DRAW.normal(size=(N, CLASSES)), axis=1)
WEIGHT = DRAW.uniform(0.5, 2, N)
ENGINE = pytest.mark.parametrize("engine", ["array", "auto"])


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> Backend:
    """CuPy on its default device."""
    request.node.user_properties.append(("backend", "cupy"))  # ci/gpu counts by it
    if "cupy" not in SELECTED:
        pytest.skip("cupy is not among ARRAYMLP_TEST_BACKENDS")
    return _require("cupy")


def train(backend: str | Backend, x: Any = X, **given: Any) -> Run:
    """arraymlp.train on a small problem by momentum, labels on the host."""
    defaults = {"hidden": (32, 16), "activation": "tanh", "batch_size": BATCH, "epochs": 3}
    defaults |= {} if "preset" in given else {"optimizer": "momentum"}
    return arraymlp.train(x, Y, backend=backend, **{**defaults, **given})


# Transfers


class Copies:
    """Counts every copy from the GPU to the host of this process, by what CUDA itself reports.

    A fake of CuPy counts its own.
    """

    def __init__(self, folder: Path) -> None:
        self.names: list[str] = []
        self._fake: Any = getattr(import_module("cupy"), "fake", None)
        if self._fake is not None:
            return
        self._torch: Any = pytest.importorskip("torch")
        if not self._torch.cuda.is_available():
            pytest.skip("torch, whose profiler counts copies, has no CUDA")
        self._torch.cuda.init()
        self._trace = folder / "trace.json"

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add the copies made within, each by its name."""
        if self._fake is not None:
            before = self._fake.counts()["device to host"]
            yield
            self.names += ["DtoH"] * (self._fake.counts()["device to host"] - before)
            return
        wait = self._torch.cuda.synchronize
        wait()
        with warnings.catch_warnings(action="ignore"):  # the profiler's, and what it imports
            profiler = import_module("torch.profiler")
            watch = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
            watch.start()
        try:
            yield
        finally:
            wait()
            with warnings.catch_warnings(action="ignore"):
                watch.stop()
                watch.export_chrome_trace(str(self._trace))
        events = json.loads(self._trace.read_text(encoding="utf-8"), strict=False)["traceEvents"]
        copies = [e["name"] for e in events if e.get("cat") == "gpu_memcpy"]
        self.names += [name for name in copies if "DtoH" in name]


@pytest.fixture
def copies(cuda: Backend, tmp_path: Path) -> Copies:
    """A counter of copies that starts at 0."""
    return Copies(tmp_path)


# In one process: the profiler starts once, and may lose copies of its first use.
PROFILED = pytest.mark.xdist_group("copies")


@PROFILED
def test_every_copy_to_the_host_is_counted_and_no_other(cuda: Backend, copies: Copies) -> None:
    array = cuda.xp.arange(4)
    with copies.counted():  # the first in a process may lose some: then tests below fail
        cuda.to_numpy(array)
    copies.names.clear()
    with copies.counted():
        cuda.to_numpy(array)
        float(array[1])
        bool(array[2])
        cuda.asarray(np.ones(4))
        cuda.xp.asarray(array, copy=True)
    assert len(copies.names) == 3, copies.names


TRANSFERS: dict[str, dict[str, Any]] = {
    "file order": {"optimizer": "sgd", "shuffle": False},
    "shuffled": {},
    "adam": {"optimizer": "adam"},
    "evaluated": {"validation": (X, Y), "training_error": True},
    "metrics": {"validation": (X, Y), "metrics": ("accuracy", "f1")},
    "probes": {"probes": True, "validation": (X, Y)},
    "population": {"seed": (0, 1, 2), "learning_rate": (0.1, 0.05, 0.02)},
    "dropout and weights": {"dropout": Dropout(0.3, 0.1), "sample_weight": WEIGHT},
    "early stopping": {"validation": (X, Y), "early_stopping": True},
}


@PROFILED
@ENGINE
@pytest.mark.parametrize("batch_size", [BATCH, 10])
@pytest.mark.parametrize("settings", TRANSFERS.values(), ids=list(TRANSFERS))
def test_training_copies_to_the_host_once_an_epoch_and_nothing_else(
    cuda: Backend,
    copies: Copies,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    batch_size: int,
    engine: Any,
) -> None:
    train_epochs = train_function.train_epochs

    def counted(*args: Any) -> int:
        with copies.counted():
            return train_epochs(*args)

    given = {**settings, "batch_size": batch_size, "engine": engine}
    train(cuda, **given, epochs=1)  # an engine's first step of a kind is checked, on the host
    monkeypatch.setattr(train_function, "train_epochs", counted)
    run = train(cuda, **given, epochs=4)
    assert len(run.history) == 4
    assert len(copies.names) == 4, copies.names


# Parity

# NumPy and PyTorch differ on a CPU by up to 2e-7 in these losses and 6e-7 of the largest weight:
# sums of 40 and 50 products in other orders, in 30 steps. A GPU's exp and tanh are off by a few
# units in the last place more. A rule that is wrong differs by 1e-3 and more.
RTOL = {"float32": 1e-5, "float64": 1e-9}
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "momentum"},
    "nesterov": {"optimizer": "nesterov"},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "rmsprop": {"optimizer": "rmsprop"},
    "relu": {"activation": "relu"},
    "sigmoid and a sum": {
        "activation": "sigmoid",
        "optimizer": "sgd",
        "learning_rate": 0.001,
        "reduction": "sum",
        "shuffle": False,
    },
    "cosine and decay": {"schedule": "cosine", "l2": 0.01, "weight_decay": 0.1},
    "ragged": {"batch_size": 64},
    "dropout": {"dropout": Dropout(0.4, 0.1)},
    "weights": {"sample_weight": WEIGHT, "class_weight": "balanced"},
    "population": {"seed": (0, 1, 2, 3), "learning_rate": (0.1, 0.05, 0.02, 0.01)},
    "population with dropout and weights": {
        "seed": (0, 1, 2),
        "optimizer": "adam",
        "dropout": Dropout((0.0, 0.3, 0.5), (0.1, 0.0, 0.2)),
        "sample_weight": np.stack([WEIGHT, WEIGHT[::-1], WEIGHT**2]),
    },
    "wide": {"hidden": (300, 200), "batch_size": 100},
    "streamed": {"window": 2 * BATCH},
}


def assert_alike(there: Any, here: Any, rtol: float) -> None:
    """Networks whose weights differ by rounding, relative to the largest of a layer and member."""
    for ours, theirs in zip(there.layers, here.layers, strict=True):
        for name in ("weights", "bias"):
            a, b = values_of(getattr(ours, name)), values_of(getattr(theirs, name))
            assert a.dtype == b.dtype
            largest = np.abs(b).max(axis=(-2, -1), keepdims=True)
            off = float((np.abs(a - b) / np.maximum(largest, 1e-2)).max())
            assert off <= rtol, f"{name} are off by {off:.1e} of the largest"


@ENGINE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", RUNS.values(), ids=list(RUNS))
def test_a_whole_run_is_numpys(
    cuda: Backend, settings: dict[str, Any], dtype: str, engine: Any, tmp_path: Path
) -> None:
    given = {"validation": (X, Y), **settings, "dtype": dtype}
    x = X
    if "window" in settings:
        x = np.memmap(tmp_path / "X", "float64", "w+", shape=X.shape)
        x[:] = X
    here, there = train("numpy", x, **given, engine="array"), train(cuda, x, **given, engine=engine)
    for column in ("loss", "validation_loss"):
        np.testing.assert_allclose(there.history[column], here.history[column], RTOL[dtype])
    errors = there.history["validation_error"], here.history["validation_error"]
    np.testing.assert_allclose(*errors, rtol=0, atol=1.5 / N)  # a row may lie on the border
    assert_alike(there.network, here.network, RTOL[dtype])


@ENGINE
def test_a_sweep_of_64_is_numpys(cuda: Backend, engine: Any) -> None:
    given: dict[str, Any] = {
        "optimizer": "momentum",
        "learning_rate": np.geomspace(0.005, 0.2, 16),
        "seed": range(4),
        "hidden": [(32, 16)],
        "activation": "tanh",
        "batch_size": BATCH,
        "epochs": 3,
        "validation": 0.2,
    }
    here = sweep(X, Y, **given, backend="numpy", engine="array")
    there = sweep(X, Y, **given, backend=cuda, engine=engine)
    assert len(there) == len(here) == 64
    for ours, theirs in zip(there, here, strict=True):
        assert ours.swept == theirs.swept
        assert ours.status == theirs.status == "finished"
        for column in ("loss", "validation_loss"):
            a, b = ours.history[column], theirs.history[column]
            np.testing.assert_allclose(a, b, RTOL["float32"])
        assert_alike(ours.network, theirs.network, RTOL["float32"])


# Arrays of other backends


def test_arrays_of_other_backends_are_refused_beside_cupys(
    cuda: Backend, strict_backend: Backend
) -> None:
    device_x, foreign = cuda.asarray(X, "float32"), strict_backend
    with pytest.raises(ValueError, match=r"y is on array_api_strict.*cupy, device cuda"):
        arraymlp.train(device_x, foreign.asarray(Y))
    validation = foreign.asarray(X, "float32"), Y
    with pytest.raises(ValueError, match=r"validation X is on array_api_strict.*cupy"):
        arraymlp.train(device_x, Y, validation=validation)
    network = MultilayerPerceptron.create((FEATURES, CLASSES), backend=cuda)
    with pytest.raises(ValueError, match=r"X is on array_api_strict.*cupy"):
        network.predict(foreign.asarray(X, "float32"))
    with pytest.raises(ValueError, match=r"X is on cupy.*numpy"):
        network.to("numpy").predict(device_x)


def test_labels_on_the_host_are_taken_with_rows_on_the_device(cuda: Backend) -> None:
    rows_on_device, all_on_host = train(cuda, cuda.asarray(X)), train(cuda)
    assert rows_on_device.backend == cuda
    layers = rows_on_device.network.layers, all_on_host.network.layers
    for ours, theirs in zip(*layers, strict=True):
        assert_same(ours.weights, theirs.weights)


# Memory


def out_of_memory(backend: Backend, remedy: str) -> str:
    """The pattern of the message of a device without memory."""
    n = r"[\d.]+ [GT]iB"
    lack = f"{re.escape(str(backend))} ran out of memory: {n} were asked for, {n} of {n} are free"
    return rf"{lack}\. {remedy}"


@pytest.fixture
def total(cuda: Backend) -> Iterator[int]:
    """Bytes of the device's memory; what a test took of it goes back."""
    memory = cuda.memory()
    assert memory is not None
    free, all_bytes = memory
    assert 0 < free <= all_bytes
    pool = import_module("cupy").get_default_memory_pool()
    pool.free_all_blocks()
    yield all_bytes
    pool.free_all_blocks()


@ENGINE
def test_a_step_that_does_not_fit_is_reported_and_the_device_goes_on(
    cuda: Backend, total: int, engine: Any
) -> None:
    rows = 1_000_000
    width = 2 * total // (4 * rows)  # the hidden layer's sums take twice the memory there is
    x, y = np.ones((rows, 1), np.float32), np.arange(rows) % 2
    remedy = "A smaller batch_size, narrower hidden layers"
    with pytest.raises(DeviceMemoryError, match=out_of_memory(cuda, remedy)):
        arraymlp.train(
            x, y, hidden=(width,), batch_size=rows, epochs=1, backend=cuda, engine=engine
        )
    assert len(train(cuda).history) == 3


def test_for_a_population_that_does_not_fit_the_message_names_the_option(
    cuda: Backend, total: int
) -> None:
    rows, members = 100_000, 64
    given = {"hidden": [(2 * total // (4 * rows * members),)], "batch_size": rows, "epochs": 1}
    x, y = np.ones((rows, 1), np.float32), np.arange(rows) % 2
    with pytest.raises(DeviceMemoryError, match=out_of_memory(cuda, "Up to 64 networks.* memory=")):
        sweep(x, y, **given, seed=range(members), memory="1000 TB", backend=cuda)


def test_predicting_takes_no_more_than_its_budget(cuda: Backend, total: int) -> None:
    network = MultilayerPerceptron.create((1, 20_000, 2), backend=cuda)
    rows = cuda.asarray(np.ones((50_000, 1)), "float32")
    pool = import_module("cupy").get_default_memory_pool()
    before = pool.total_bytes()
    chosen = network.predict(rows)  # 4 GB, all at once
    assert chosen.shape == (50_000,)
    assert pool.total_bytes() - before < 2 * BYTES_AT_ONCE


# Ctrl-C and threads


@pytest.mark.xdist_group("signals")
@ENGINE
def test_ctrl_c_in_the_middle_keeps_what_was_trained(cuda: Backend, engine: Any) -> None:
    started = time.monotonic()
    timers: list[threading.Timer] = []

    def press_later(event: arraymlp.callbacks.EpochEnd) -> bool:
        if event.number == 2:  # all is compiled by then
            timers.append(threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)))
            timers[0].start()
        return time.monotonic() - started > 60

    try:
        run = train(cuda, epochs=1_000_000, callbacks=[press_later], engine=engine)
    finally:
        for timer in timers:
            timer.join()
    assert run.interrupted
    assert len(run.history) > 2
    for layer in run.network.layers:
        assert np.isfinite(values_of(layer.weights)).all()
    assert np.isfinite(run.history["loss"]).all()
    continued = arraymlp.train(network=run, epochs=2)
    assert not continued.interrupted
    assert continued.history["epoch"][-1] >= run.history["epoch"][-1] + 1


@pytest.mark.xdist_group("signals")
@ENGINE
@pytest.mark.parametrize("given", [{}, {"seed": (0, 1, 2)}], ids=["one", "population"])
def test_two_trainings_at_once_are_those_one_after_the_other(
    cuda: Backend, given: dict[str, Any], engine: Any
) -> None:
    """To rounding: cuBLAS may choose other sums where it shares the device."""
    rates = (0.05, 0.02)

    def trained(rate: float) -> Run:
        return train(cuda, **given, learning_rate=rate, epochs=20, engine=engine)

    alone = [trained(rate) for rate in rates]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(trained, rates))
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours.history["loss"], theirs.history["loss"], 1e-4)
        assert_alike(ours.network, theirs.network, 1e-4)


# All steps by one launch, whose blocks wait for each other

BY_ONE_LAUNCH = {
    **{name: Case(optimizer=rule) for name, rule in RULES.items()},
    "dropout and penalty": Case(dropout=Dropout(0.3, 0.1), alpha=0.1, weighted="shared"),
    "one layer": Case(sizes=(9, 4)),
    "the lab's": Case(sizes=(784, 100, 100, 10), rows=630, batch=100, optimizer="momentum"),
}


@pytest.mark.parametrize("name", sorted(BY_ONE_LAUNCH))
def test_one_launch_for_all_steps(cuda: Backend, name: str) -> None:
    assert_as_good_as_array(BY_ONE_LAUNCH[name], kernels_of("cupy-persistent"), epochs=2)


@pytest.mark.parametrize("place", ["cupy", "cupy-persistent"])
def test_the_same_bits_each_time(cuda: Backend, place: str) -> None:
    case = BY_ONE_LAUNCH["the lab's"]
    first, again = (case.by_fused(kernels_of(place), epochs=2) for _ in range(2))
    for a, b in zip(parameters(first[0]), parameters(again[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1] == again[1]
