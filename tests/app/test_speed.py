"""``backend_speeds``: figures that agree with each other, and a reason for what fails."""

import signal
import sys
from dataclasses import FrozenInstanceError
from itertools import count

import numpy as np
import pytest

import arraymlp
from arraymlp import (
    BackendSpeed,
    BackendUnavailableError,
    EngineMismatchWarning,
    backend_speeds,
    resolve,
)
from arraymlp.app import speed
from arraymlp.training.history import History
from arraymlp.training.run import PartialEpoch
from broken_engines import OwnEngine, take_engine

SIZES = (6, 4, 3)
QUICK = {"batch_size": 10, "seconds": 0.2}


@pytest.fixture
def numpy_alone(monkeypatch):
    """NumPy is the only backend there is: the others take their time."""
    statuses = [status for status in arraymlp.available_backends() if status.name == "numpy"]
    monkeypatch.setattr(speed, "available_backends", lambda: statuses)


def trainings(monkeypatch):
    """The calls of `train`, as they are made: positional and keyword arguments."""
    calls = []

    def train(*arrays, **settings):
        calls.append((arrays, settings))
        return arraymlp.train(*arrays, **settings)

    monkeypatch.setattr(speed, "train", train)
    return calls


def assert_timed(row, batch_size):
    assert row.us_per_step > 0
    assert row.samples_per_s == pytest.approx(1e6 * batch_size / row.us_per_step)
    assert row.first_epoch_s > 0
    assert row.epochs >= 1
    assert (row.reason, row.install) == ("", "")


def test_each_backend_has_figures_or_a_reason():
    rows = backend_speeds(SIZES, **QUICK)
    statuses = {status.name: status for status in arraymlp.available_backends()}
    assert {row.name for row in rows} == set(statuses)
    for row in rows:
        if row.name == "array_api_strict":
            assert (row.us_per_step, row.reason) == (None, "for tests, not timed")
        elif statuses[row.name].available:
            assert_timed(row, 10)
        else:
            assert (row.us_per_step, row.samples_per_s, row.first_epoch_s) == (None, None, None)
            assert (row.reason, row.install, row.call) == (
                statuses[row.name].reason,
                statuses[row.name].install,
                "",
            )
    timed = [row.us_per_step for row in rows if row.us_per_step is not None]
    assert timed == sorted(timed)
    assert [row.us_per_step for row in rows[len(timed) :]] == [None] * (len(rows) - len(timed))


def test_a_row_is_frozen_and_names_the_call(numpy_alone):
    (row,) = backend_speeds(SIZES, **QUICK)
    assert (row.name, row.device, row.call) == ("numpy", "cpu", 'train(backend="numpy")')
    with pytest.raises(FrozenInstanceError):
        row.name = "other"


def test_the_time_is_the_histories_own_and_the_first_epoch_apart(numpy_alone, monkeypatch):
    seconds = [[3.0, 0.001], [5.0, 0.2, 0.1, 0.9]]

    class Timed:
        def __init__(self):
            self.history = History([{"seconds": s} for s in seconds.pop(0)])
            self.partial_epoch = PartialEpoch()

    def train(X, y, **settings):
        assert len(X) == len(y)
        lengths.append(len(X))
        return Timed()

    lengths = []
    monkeypatch.setattr(speed, "train", train)
    (row,) = backend_speeds(SIZES, batch_size=10, seconds=100.0)
    steps = 1250  # of 0.2 ms, as many as make a quarter of a second
    assert lengths == [50, 10 * steps]
    assert row.first_epoch_s == 3.0
    assert row.us_per_step == pytest.approx(1e6 * 0.2 / steps)
    assert row.samples_per_s == pytest.approx(10 * steps / 0.2)
    assert row.epochs == 3


def test_a_way_that_was_left_for_the_definition_has_no_figures(numpy_alone, monkeypatch):
    def wrong(network, states, batch, hyper, step):
        after = step(network, states, batch, hyper)
        network.layers[0].bias += 0.1
        return after

    take_engine(monkeypatch, OwnEngine(wrong))
    monkeypatch.setattr(speed, "_ways", lambda *_: ("three kernels",))
    with pytest.warns(EngineMismatchWarning):
        (row,) = backend_speeds(SIZES, **QUICK)
    assert (row.way, row.us_per_step) == ("three kernels", None)
    assert "the engine own differs from the definition" in row.reason


@pytest.mark.parametrize(("n_out", "loss"), [(1, "squared_error"), (2, "softmax_cross_entropy")])
def test_one_output_is_a_regression_and_several_are_classes(numpy_alone, monkeypatch, n_out, loss):
    calls = trainings(monkeypatch)
    (row,) = backend_speeds(np.array([5, n_out]), dtype="float64", optimizer="adam", **QUICK)
    assert_timed(row, 10)
    (X, y), settings = calls[0]
    network = settings["network"]
    assert (network.sizes, network.loss.name, network.dtype) == ((5, n_out), loss, "float64")
    assert X.dtype == np.float64
    assert y.dtype.kind == ("f" if n_out == 1 else "i")
    assert settings["optimizer"] == arraymlp.optimizers.Adam()


def test_more_classes_than_rows(numpy_alone):
    (row,) = backend_speeds((2, 300), batch_size=1, seconds=0.05)
    assert_timed(row, 1)


def test_networks_that_train_together(numpy_alone, monkeypatch):
    calls = trainings(monkeypatch)
    (row,) = backend_speeds(SIZES, members=3, **QUICK)
    assert calls[0][1]["network"].members == 3
    assert row.samples_per_s == pytest.approx(30 / (1e-6 * row.us_per_step))
    with pytest.raises(ValueError, match="members must be a whole number from 1, not 0"):
        backend_speeds(SIZES, members=0, **QUICK)


def test_a_wide_network_has_fewer_rows(numpy_alone, monkeypatch):
    monkeypatch.setattr(speed, "X_BYTES", 1000)
    calls = trainings(monkeypatch)
    backend_speeds((40, 2), **QUICK)
    assert [len(X) for (X, _), _ in calls] == [50, 50]


@pytest.mark.parametrize("call", [1, 2])
def test_a_backend_that_fails_is_a_row(monkeypatch, call):
    calls = []

    def train(*arrays, backend, **settings):
        if backend.name == "numpy":
            calls.append(backend)
            if len(calls) == call:
                raise RuntimeError("out of memory\n(and a long story)")
        return arraymlp.train(*arrays, backend=backend, **settings)

    monkeypatch.setattr(speed, "train", train)
    rows = {row.name: row for row in backend_speeds(SIZES, **QUICK)}
    assert rows["numpy"].reason == "RuntimeError: out of memory"
    assert rows["numpy"].us_per_step is None
    for name in {"torch", "jax", "cupy"} - {row.name for row in rows.values() if not row.call}:
        assert_timed(rows[name], 10)


def test_a_dtype_that_a_backend_lacks_is_a_row():
    jax = {row.name: row for row in backend_speeds(SIZES, dtype="float64", **QUICK)}["jax"]
    if not jax.call:
        pytest.skip(jax.reason)
    if resolve("jax").has("float64"):
        pytest.skip("this JAX has 64 bits")
    assert "has no float64" in jax.reason
    assert jax.us_per_step is None


def test_a_second_device_is_a_row_of_its_own(monkeypatch):
    statuses = [s for s in arraymlp.available_backends() if s.name == "array_api_strict"]
    monkeypatch.setattr(speed, "available_backends", lambda: statuses)
    monkeypatch.setattr(speed, "TESTS_ONLY", "")
    devices = ("device1", "CPU_DEVICE", "absent")
    monkeypatch.setattr(speed, "OTHER_DEVICES", {"array_api_strict": devices})

    def named(name, device=None, **rest):
        if device == "absent":
            raise BackendUnavailableError("no such machine")
        return resolve(name, device, **rest)

    monkeypatch.setattr(speed, "resolve", named)
    calls = trainings(monkeypatch)
    rows = backend_speeds(SIZES, **QUICK)
    assert {row.call for row in rows} == {
        'train(backend="array_api_strict")',
        'train(backend="array_api_strict", device="device1")',
    }
    assert {row.device for row in rows} == {"CPU_DEVICE", "device1"}
    assert [s["backend"].device_name for _, s in calls] == 2 * ["CPU_DEVICE"] + 2 * ["device1"]


# Ctrl-C


@pytest.mark.usefixtures("numpy_alone")
@pytest.mark.parametrize("call", [1, 2])
def test_an_epoch_that_a_signal_breaks_off_is_no_figure(monkeypatch, call):
    calls = count(1)

    class Break(arraymlp.callbacks.Callback):
        def on_step(self, event):
            signal.raise_signal(signal.SIGTERM)

    def train(*arrays, callbacks, **settings):
        end = [Break()] if next(calls) == call else []
        return arraymlp.train(*arrays, callbacks=[*end, *callbacks], **settings)

    monkeypatch.setattr(speed, "train", train)
    (row,) = backend_speeds(SIZES, batch_size=10, seconds=60)
    assert (row.reason, row.epochs, row.us_per_step) == ("interrupted", 0, None)
    assert (row.first_epoch_s is None) == (call == 1)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("call", "epoch"), [(1, 1), (2, 1), (2, 3)])
def test_ctrl_c_ends_it_with_what_there_is(monkeypatch, call, epoch):
    started = []

    def train(*arrays, callbacks, **settings):
        started.append(settings["backend"].name)
        number = len(started)

        def interrupt(end):
            if (number, end.number) == (call, epoch):
                signal.raise_signal(signal.SIGINT)

        return arraymlp.train(*arrays, callbacks=[interrupt, *callbacks], **settings)

    monkeypatch.setattr(speed, "train", train)
    rows = {row.name: row for row in backend_speeds(SIZES, batch_size=10, seconds=60)}
    assert started == ["numpy"] * call
    assert rows["numpy"].reason == "interrupted"
    assert rows["numpy"].first_epoch_s > 0
    assert rows["numpy"].epochs == (epoch - 1 if call == 2 else 0)
    assert (rows["numpy"].us_per_step is None) == (rows["numpy"].epochs == 0)
    assert all(row.reason for row in rows.values())
    assert all(row.reason == "interrupted" for row in rows.values() if row.call)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Mistakes


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ((784,), {}, "sizes must be two or more whole numbers from 1"),
        ((), {}, "sizes must be two or more"),
        ((784, 0, 10), {}, r"inputs to outputs, not \(784, 0, 10\)"),
        ((784, 2.5), {}, "sizes must be two or more whole numbers"),
        ((784, True), {}, "sizes must be two or more whole numbers"),
        ("784-10", {}, "sizes must be two or more whole numbers .* not '784-10'"),
        (784, {}, "sizes must be two or more whole numbers"),
        (SIZES, {"batch_size": 0}, "batch_size must be a whole number from 1, not 0"),
        (SIZES, {"dtype": "float16"}, "unknown dtype 'float16'"),
        (SIZES, {"optimizer": "adem"}, "unknown optimizer 'adem': did you mean 'adam'"),
        (SIZES, {"seconds": 0}, "seconds must be a positive number, not 0"),
        (SIZES, {"seconds": "10"}, "seconds must be a positive number, not '10'"),
        ((10**15, 2), {}, "1000000000000000-2 in minibatches of 100 needs too much memory"),
    ],
)
def test_a_mistake_is_an_error_at_once(monkeypatch, sizes, settings, message):
    monkeypatch.setattr(speed, "available_backends", lambda: pytest.fail("too late"))
    with pytest.raises(ValueError, match=message):
        backend_speeds(sizes, **settings)


def test_without_figures_there_is_a_row_all_the_same():
    assert BackendSpeed("cupy", reason="cupy is not installed").us_per_step is None
