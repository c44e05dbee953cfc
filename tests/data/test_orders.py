"""Orders of epochs: the same whether they were prepared or not, and never of an epoch in vain."""

from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend
from arraymlp.callbacks import StepEnd
from arraymlp.data import orders
from arraymlp.data.data import Data
from arraymlp.data.loading import load_data
from arraymlp.data.minibatches import epoch_order
from arraymlp.data.orders import Orders
from arraymlp.training.settings import Settings
from conftest import assert_same, on_host
from runs import engine_of_steps

HostArray = np.ndarray[Any, Any]


def loaded(backend: Backend, settings: Settings, X: Any = None) -> Data:
    rows, y = problems.labels()
    return load_data(rows if X is None else X, y, None, settings, None, backend)


def orders_of(backend: Backend, X: Any = None, **given: Any) -> Orders:
    settings = Settings(batch_size=problems.BATCH, **given)
    return Orders(loaded(backend, settings, X), settings, backend)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled with events as they happen: orders drawn, and records read from the device."""
    events: list[str] = []
    draw, fetch = orders.epoch_order, Backend.fetch

    def drawing(n: int, seed: int, epoch: int, *rest: Any) -> HostArray:
        events.append(f"draw {epoch}")
        return draw(n, seed, epoch, *rest)

    def fetching(backend: Backend, arrays: Any) -> Any:
        events.append("read")
        return fetch(backend, arrays)

    monkeypatch.setattr(orders, "epoch_order", drawing)
    monkeypatch.setattr(Backend, "fetch", fetching)
    return events


@pytest.mark.parametrize("prepared", [False, True])
def test_an_order_is_the_seeds_on_the_host_and_on_the_device(
    backend: Backend, prepared: bool
) -> None:
    run_orders = orders_of(backend, order_seed=4)
    for epoch in range(3):
        host, device = run_orders.of(epoch)
        if prepared:
            run_orders.prepare(epoch + 1)
        expected = epoch_order(problems.N, 4, epoch)
        np.testing.assert_array_equal(host, expected)
        assert_same(device, backend.asarray(expected))


def test_an_order_within_windows_is_so_when_prepared(backend: Backend) -> None:
    run_orders = orders_of(backend, window=12)
    run_orders.prepare(1)
    expected = epoch_order(problems.N, 0, 1, problems.BATCH)  # 12 rounded to whole minibatches
    np.testing.assert_array_equal(on_host(run_orders.of(1)[1]), expected)


def test_an_order_prepared_for_an_epoch_that_never_comes_is_forgotten(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = noted(monkeypatch)
    run_orders = orders_of(backend)
    run_orders.prepare(7)
    for epoch in (2, 7):
        np.testing.assert_array_equal(on_host(run_orders.of(epoch)[1]), epoch_order(24, 0, epoch))
    ahead = [] if backend.name == "numpy" else ["draw 7"]
    assert events == [*ahead, "draw 2", "draw 7"]


def test_the_order_of_the_file_is_none(backend: Backend) -> None:
    run_orders = orders_of(backend, shuffle=False)
    run_orders.prepare(0)
    assert run_orders.of(0) == (None, None)


def test_rows_read_by_windows_have_an_order_on_the_host_alone(
    backend: Backend, tmp_path: Any
) -> None:
    X = np.memmap(tmp_path / "X", "float32", "w+", shape=(problems.N, problems.FEATURES))
    run_orders = orders_of(backend, X, window=problems.BATCH)
    run_orders.prepare(1)
    host, device = run_orders.of(1)
    np.testing.assert_array_equal(host, epoch_order(problems.N, 0, 1, problems.BATCH))
    assert device is None


def test_sparse_rows_have_an_order_on_the_device(backend: Backend) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    run_orders = orders_of(backend, sparse.csr_matrix(problems.labels()[0]))
    run_orders.prepare(1)
    np.testing.assert_array_equal(on_host(run_orders.of(1)[1]), epoch_order(problems.N, 0, 1))


class OwnOrder:
    """An order of the user's that changes with each call, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, n: int, epoch: int) -> HostArray:
        self.calls.append((n, epoch))
        return np.roll(np.arange(n), len(self.calls))


def test_a_function_is_never_called_ahead(backend: Backend) -> None:
    shuffle = OwnOrder()
    run_orders = orders_of(backend, shuffle=shuffle)
    run_orders.prepare(0)
    assert shuffle.calls == []
    for _ in range(2):  # asked twice, it is called once
        np.testing.assert_array_equal(on_host(run_orders.of(0)[1]), np.roll(np.arange(24), 1))
    assert shuffle.calls == [(problems.N, 0)]


# In training


class StopAfter:
    """A callback that stops after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, event: Any) -> None: ...

    def on_step(self, event: StepEnd) -> bool:
        return event.step == self.steps


def train(backend: Backend, **given: Any) -> arraymlp.Run:
    X, y = problems.labels()
    return arraymlp.train(
        X,
        y,
        backend=backend,
        **{**problems.PLAIN, "hidden": problems.HIDDEN, "batch_size": problems.BATCH},
        **{"epochs": 3, **given},
    )


def test_training_calls_a_function_once_an_epoch_and_in_order(quick_backend: Backend) -> None:
    shuffle = OwnOrder()
    train(quick_backend, shuffle=shuffle)
    assert shuffle.calls == [(problems.N, epoch) for epoch in range(3)]


def test_training_calls_a_function_for_no_epoch_that_does_not_come(quick_backend: Backend) -> None:
    shuffle = OwnOrder()
    train(quick_backend, shuffle=shuffle, callbacks=[lambda event: event.number == 2])
    assert shuffle.calls == [(problems.N, 0), (problems.N, 1)]


def test_the_first_call_of_a_function_is_in_the_run_that_goes_on(quick_backend: Backend) -> None:
    shuffle = OwnOrder()
    broken = train(quick_backend, shuffle=shuffle, callbacks=[StopAfter(4)])
    assert shuffle.calls == [(problems.N, 0), (problems.N, 1)]
    arraymlp.train(network=broken, epochs=2)
    assert shuffle.calls[2:] == [(problems.N, 1), (problems.N, 2)]


def test_a_run_broken_off_in_an_epoch_goes_on_as_if_it_had_not_been(quick_backend: Backend) -> None:
    engine: Any = engine_of_steps(quick_backend)
    whole = train(quick_backend, engine=engine)
    broken = train(quick_backend, callbacks=[StopAfter(4)], engine=engine)
    run = arraymlp.train(network=broken, epochs=2, engine=engine)
    assert run.history["step"] == [3, 4, 6, 9]
    for ours, theirs in zip(run.network.layers, whole.network.layers, strict=True):
        assert_same(ours.weights, theirs.weights)


def test_the_next_order_is_drawn_before_the_device_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, strict_backend: Backend
) -> None:
    events = noted(monkeypatch)
    train(strict_backend)
    assert events == ["draw 0", "draw 1", "read", "draw 2", "read", "read"]


def test_on_numpy_nothing_is_drawn_ahead(
    monkeypatch: pytest.MonkeyPatch, numpy_backend: Backend
) -> None:
    events = noted(monkeypatch)
    train(numpy_backend)
    assert events == ["draw 0", "read", "draw 1", "read", "draw 2", "read"]


def test_nothing_is_drawn_ahead_of_a_stop(
    monkeypatch: pytest.MonkeyPatch, strict_backend: Backend
) -> None:
    events = noted(monkeypatch)
    train(strict_backend, callbacks=[StopAfter(4)])
    assert events == ["draw 0", "draw 1", "read", "read"]
