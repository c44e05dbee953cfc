"""BLAS's threads: one while anything computes, as before after that, and the same bits anyhow."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

import arraymlp
from arraymlp.backends import threads
from arraymlp.backends.host import Interrupt

WAIT = 30  # seconds, for what takes milliseconds
TINY: dict[str, Any] = {"X": np.eye(4), "y": [0, 1, 0, 1], "hidden": (3,), "batch_size": 2}


def numbers() -> list[int]:
    """The number of threads of each BLAS, that of SciPy included where it is loaded."""
    pools = ThreadpoolController().info()
    return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]


@pytest.fixture
def three() -> Iterator[list[int]]:
    """The user's BLAS has three threads."""
    with threadpool_limits(3, user_api="blas"):
        if not numbers() or set(numbers()) != {3}:
            pytest.skip("threadpoolctl cannot set the threads of this BLAS")
        yield numbers()


class Training:
    """A training in a thread of its own, which stays in its first epoch until it is told to end."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.inside: list[int] = []
        self.thread = threading.Thread(target=self._train)
        self.thread.start()
        assert self.began.wait(WAIT)

    def _train(self) -> None:
        def wait(event: object) -> None:
            self.inside = numbers()
            self.began.set()
            assert self.may_end.wait(WAIT)

        arraymlp.train(**TINY, epochs=1, callbacks=[wait], backend="numpy")

    def end(self) -> None:
        """End the training, and its thread."""
        self.may_end.set()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()


@pytest.fixture
def begin() -> Iterator[Callable[[], Training]]:
    """A function that begins a training; all have ended after the test."""
    trainings: list[Training] = []

    def begun() -> Training:
        trainings.append(Training())
        return trainings[-1]

    yield begun
    for training in trainings:
        training.end()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_trainings_enter_and_leave_in_any_order(
    three: list[int], begin: Callable[[], Training], order: tuple[int, ...]
) -> None:
    trainings = [begin() for _ in order]
    for n, i in enumerate(order):
        assert numbers() == [1] * len(three), f"after {n} had left"
        trainings[i].end()
    assert [set(training.inside) for training in trainings] == [{1}] * 3
    assert numbers() == three


def test_a_thread_that_does_not_control_threadpoolctl_limits_blas(
    three: list[int], begin: Callable[[], Training]
) -> None:
    with threadpool_limits(3, user_api="blas"):  # this thread does
        training = begin()
        training.end()
    assert set(training.inside) == {1}
    assert numbers() == three


def test_an_error_inside_sets_it_back(three: list[int]) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("of the user's")

    with pytest.raises(RuntimeError, match="of the user's"):
        arraymlp.train(**TINY, epochs=1, callbacks=[fail], backend="numpy")
    assert numbers() == three


def test_what_is_inside_may_train(three: list[int]) -> None:
    seen = []

    def train_too(event: object) -> None:
        arraymlp.train(**TINY, epochs=1, backend="numpy").network.predict(TINY["X"])
        seen.append(numbers())

    arraymlp.train(**TINY, epochs=2, callbacks=[train_too], backend="numpy")
    assert seen == [[1] * len(three)] * 2
    assert numbers() == three


def test_each_thread_keeps_its_own_number_where_a_blas_has_one_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As an OpenBLAS with OpenMP, and MKL.
    class Numbers(threading.local):
        mine = 5

    numbers, both = Numbers(), threading.Barrier(2)
    library: Any = None
    pool = threads._Pool(
        "", library, lambda: numbers.mine, lambda n: setattr(numbers, "mine", n), of_thread=True
    )
    monkeypatch.setattr(threads, "_pools", lambda: [pool])

    def work(number: int) -> tuple[int, int, int]:
        numbers.mine = number
        both.wait(WAIT)
        with threads.OneBlasThread():
            both.wait(WAIT)
            inside, available = numbers.mine, threads.available_threads()
            both.wait(WAIT)
        return inside, available, numbers.mine

    monkeypatch.setattr(threads, "processors", lambda: 8)
    with ThreadPoolExecutor(2) as workers:
        assert list(workers.map(work, [4, 3])) == [(1, 4, 4), (1, 3, 3)]


def test_several_share_the_cores_and_the_users_limit_holds(
    three: list[int], begin: Callable[[], Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 8)
    assert threads.available_threads() == threads.cores() == 3
    with threadpool_limits(2, user_api="blas"):
        assert threads.cores() == 2
        with threads.OneBlasThread(), threads.OneBlasThread():
            assert threads.cores() == 2
    training = begin()
    with threads.OneBlasThread():
        assert threads.available_threads() == 3
        assert threads.cores() == 1
    training.end()
    monkeypatch.setattr(threads, "processors", lambda: 2)
    assert threads.available_threads() == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_who_waits_for_others_takes_no_share(
    three: list[int], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 8)
    both, shares = threading.Barrier(workers), []

    def work(_: int) -> None:
        with threads.OneBlasThread():
            both.wait(WAIT)
            shares.append(threads.cores())
            both.wait(WAIT)

    with threads.OneBlasThread():
        threads.side_by_side(work, range(workers), workers, Interrupt())
        assert threads.cores() == 3
    assert shares == [3 // workers] * workers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.xdist_group("signals")
def test_a_child_process_has_what_its_parent_had_before_it_trained() -> None:
    # The training of another thread is not in the child; that of the thread that forks is.
    code = """
import os, sys, threading, numpy as np, arraymlp
from threadpoolctl import ThreadpoolController, threadpool_limits
threadpool_limits(3, user_api="blas")
def numbers():
    return {p["num_threads"] for p in ThreadpoolController().info() if p["user_api"] == "blas"}
X, y = np.ones((2500, 300), "float32"), np.arange(2500) % 3
def train(*callbacks):
    given = {"hidden": (100,), "epochs": 1, "batch_size": 100, "backend": "numpy"}
    run = arraymlp.train(X, y, callbacks=callbacks, **given)
    return run.network.predict_proba(X)
def wait_for_child():
    child = os.fork()
    if child == 0:
        return True
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return False
expected, here = numbers(), train()
began, may_end = threading.Event(), threading.Event()
other = threading.Thread(target=train, args=[lambda event: (began.set(), may_end.wait(30))])
other.start()
began.wait(30)
if wait_for_child():
    same = numbers() == expected and np.array_equal(train(), here) and numbers() == expected
    os._exit(not same)
may_end.set()
other.join()
assert numbers() == expected
forked = []
train(lambda event: forked.append(wait_for_child()))
assert numbers() == expected
os._exit(0)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# The same bits


def trained(
    optimizer: str, dropout: float = 0.0, engine: Any = "auto", batch_size: int = 200
) -> Any:
    """All bits of a training, an evaluation and predictions, where products are worth cutting."""
    X = np.random.default_rng(0).normal(size=(1300, 310)).astype("float32")
    y = X[:, :5].argmax(axis=1)
    run = arraymlp.train(
        X,
        y,
        hidden=(130, 60),
        epochs=1,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=0.01,
        dropout=dropout,
        engine=engine,
        training_error=True,
        seed=0,
        backend="numpy",
    )
    arrays = [a for layer in run.network.layers for a in (layer.weights, layer.bias)]
    arrays += [run.network.predict_proba(X), run.network.predict_proba(X[:900])]
    return [a.tobytes() for a in arrays], run.history["training_loss"]


def swept() -> Any:
    """All bits of a sweep's networks."""
    X = np.random.default_rng(0).normal(size=(400, 300)).astype("float32")
    y = X[:, :5].argmax(axis=1)
    settings: dict[str, Any] = {"hidden": (120,), "seed": [0, 1, 2, 3], "epochs": 2}
    settings |= {"optimizer": "momentum", "batch_size": 100}
    result = arraymlp.sweep(X, y, backend="numpy", **settings)
    networks = [network for network in result.networks if network is not None]
    return [layer.weights.tobytes() for network in networks for layer in network.layers]


CASES: dict[str, Callable[[], Any]] = {
    "sgd": lambda: trained("sgd"),
    "adam, dropout": lambda: trained("adam", 0.2),
    "the definition": lambda: trained("sgd", 0.2, "array", 1300),
    "a sweep": swept,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_run_has_the_same_bits_in_any_threads(
    case: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 4)
    with threadpool_limits(1, user_api="blas"):
        alone = CASES[case]()
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(3, user_api="blas"))  # in control from here on
        assert CASES[case]() == alone
        workers = stack.enter_context(ThreadPoolExecutor(at_once))
        runs = [workers.submit(CASES[case]) for _ in range(at_once)]
        assert all(run.result() == alone for run in runs)


@pytest.mark.parametrize("shape", [(1000, 300, 120), (24, 2000, 1000), (30_001, 60, 19)])
def test_a_large_product_is_matmuls_in_any_number_of_threads(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(k, m)).T, rng.normal(size=(k, n))
    assert m * k * n >= threads.LARGE_PRODUCT
    results = []
    for count in (1, 2, 5):
        with threadpool_limits(count, user_api="blas"), threads.OneBlasThread():
            monkeypatch.setattr(threads, "processors", lambda: count)  # noqa: B023
            results.append(threads.matmul(a, b))
            out = np.full((m, n), np.nan)
            assert threads.matmul(a, b, out) is out
            np.testing.assert_array_equal(out, results[-1])
    np.testing.assert_allclose(results[0], a @ b, rtol=0, atol=1e-11)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(("m", "blocks"), [(1, 3), (23, 2), (50, 2), (100, 3), (784, 7), (49, 9)])
def test_blocks_of_rows_cover_all_and_begin_where_the_bits_stay(m: int, blocks: int) -> None:
    ends = threads.row_blocks(m, blocks)
    assert (ends[0], ends[-1]) == (0, m)
    assert all(end % threads.ROWS_TOGETHER == 0 for end in ends[:-1])
    sizes = np.diff(ends)
    assert len(sizes) <= blocks
    if len(sizes) > 1:
        assert min(sizes) >= max(threads.ROWS_TOGETHER, m / len(sizes) / 2)


# Helpers


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This thread is inside, and has four threads."""
    monkeypatch.setattr(threads, "cores", lambda: 4)
    threads._helpers.cache_clear()  # it may have been made for fewer processors
    monkeypatch.setattr(threads, "processors", lambda: 4)
    with threads.OneBlasThread():
        yield
    threads._helpers.cache_clear()


def test_work_is_shared_out_and_comes_back_in_order(helped: None) -> None:
    together = threading.Barrier(4)  # nobody passes before all four are at work

    def work(i: int) -> tuple[int, int]:
        if i < 4:
            together.wait(WAIT)
        return i * i, threading.get_ident()

    results = threads.in_threads(work, range(40))
    assert [square for square, _ in results] == [i * i for i in range(40)]
    assert len({thread for _, thread in results[:4]}) == 4
    assert threads.in_threads(work, range(4, 4)) == []


def test_helpers_have_the_callers_context_and_none_of_their_own(helped: None) -> None:
    together = threading.Barrier(4)

    def work(i: int) -> tuple[str, bool]:
        together.wait(WAIT)
        here = threading.get_ident()
        nested = threads.in_threads(lambda _: threading.get_ident(), range(2)) if i else [here]
        return np.geterr()["over"], set(nested) == {here}

    with np.errstate(over="raise"):
        results = threads.in_threads(work, range(4))
    assert {over for over, _ in results} == {"raise"}
    assert sum(alone for _, alone in results) >= 3  # all but this thread


def test_an_error_of_a_helper_is_the_callers_and_ends_the_work(helped: None) -> None:
    together, done = threading.Barrier(4), []

    def work(i: int) -> None:
        together.wait(WAIT)
        done.append(i)
        raise ValueError(f"item {i}")

    with pytest.raises(ValueError, match="item"):
        threads.in_threads(work, range(4000))
    assert len(done) == 4  # nobody is still at it


def test_outside_it_nobody_helps() -> None:
    threads_used = threads.in_threads(lambda _: threading.get_ident(), range(50))
    assert set(threads_used) == {threading.get_ident()}
