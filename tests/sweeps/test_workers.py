"""sweep(executor=): the bits of the sweep in this process, by threads and processes of any kind."""

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Checkpoint, Dropout, ExecutorError
from arraymlp.backends.threads import cores, limited, processors
from arraymlp.sweeps.workers import pools, slices, transport
from arraymlp.sweeps.workers.conduct import Conductor
from arraymlp.sweeps.workers.identity import kernels
from arraymlp.training.progress import SweepProgress
from broken_off import Killed
from engines import CASES, WEIGHT, X, assert_same_sweep, closing, swept
from engines import one_epoch_slices as one_epoch_slices

pytestmark = [
    pytest.mark.xdist_group("workers"),
    pytest.mark.filterwarnings("ignore:os.fork"),  # of a process that tests JAX, too
]
linux = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def forked() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("fork")) as executor:
        yield executor


@pytest.mark.parametrize("case", CASES)
def test_threads_give_the_bits_of_the_sweep(
    case: str, threads: Executor, one_epoch_slices: None
) -> None:
    assert_same_sweep(swept(threads, **CASES[case]), swept(**CASES[case]))


@linux
@pytest.mark.parametrize("case", CASES)
def test_processes_give_the_bits_of_the_sweep(
    case: str, forked: Executor, one_epoch_slices: None
) -> None:
    assert_same_sweep(swept(forked, **CASES[case]), swept(**CASES[case]))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_begin_anew_do(method: str) -> None:
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("there is none on Windows")
    case = CASES["some leave early"] | {"dropout": Dropout(0.2, 0.1), "sample_weight": WEIGHT}
    with ProcessPoolExecutor(2, get_context(method)) as executor:
        assert_same_sweep(swept(executor, **case), swept(**case))


def test_other_backends_do(threads: Executor, quick_backend: arraymlp.Backend) -> None:
    where = {"backend": quick_backend.name, "device": quick_backend.device}
    case = CASES["grid"] | where | {"compact": False, "learning_rate": 0.01, "seed": [0]}
    assert_same_sweep(swept(threads, **case), swept(**case))


@linux
def test_a_memmap_is_opened_by_the_workers(forked: Executor, tmp_path: Path) -> None:
    whole = np.memmap(tmp_path / "X.dat", np.float32, "w+", shape=(len(X) + 7, 8))
    whole[:] = np.random.default_rng(1).normal(size=whole.shape)
    mapped = whole[7:, 1:7]  # neither the file's beginning nor whole rows
    given = {"X": mapped, "seed": [0, 1]}
    assert_same_sweep(swept(forked, **given), swept(**given))


@linux
def test_large_arrays_are_files_that_go_in_the_end(
    forked: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LARGE", 1000)
    monkeypatch.setattr(transport.tempfile, "tempdir", str(tmp_path))
    seen: list[set[str]] = []
    close = transport.Depot.close

    def closed(self: transport.Depot) -> None:
        seen.append({path.suffix for path in self.folder.iterdir()})
        close(self)

    monkeypatch.setattr(transport.Depot, "close", closed)
    case = {"X": np.asfortranarray(X), **CASES["folds"]}
    assert_same_sweep(swept(forked, **case), swept(**case))
    assert len(seen) == 1
    assert ".npy" in seen[0]
    assert not list(tmp_path.iterdir())


def test_a_worker_without_the_folder_is_sent_what_it_lacks(
    threads: Executor, monkeypatch: pytest.MonkeyPatch, one_epoch_slices: None, tmp_path: Path
) -> None:
    asked: list[list[str]] = []
    train_slice = slices.train_slice

    def elsewhere(request: Any, sent: Any) -> Any:
        reply = train_slice({**request, "folder": str(tmp_path / "nowhere")}, sent)
        asked.append(reply.get("missing", []))
        return reply

    monkeypatch.setattr(transport, "LARGE", 1000)
    monkeypatch.setattr("arraymlp.sweeps.workers.conduct.train_slice", elsewhere)
    assert_same_sweep(swept(threads, **CASES["folds"]), swept(**CASES["folds"]))
    assert any(name.endswith(".npy") for names in asked for name in names)
    lacking = [bool(names) for names in asked]
    assert not any(lacking[-4:])  # each stack and each worker is told but once


@pytest.mark.parametrize("case", ["grid", "some leave early", "folds"])
@pytest.mark.parametrize("here_first", [True, False])
def test_a_checkpoint_goes_on_here_and_there(
    case: str,
    here_first: bool,
    threads: Executor,
    tmp_path: Path,
    one_epoch_slices: None,
) -> None:
    expected, left = swept(**CASES[case]), 14

    def killing(event: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    given = {**CASES[case], "checkpoint": Checkpoint(tmp_path, "1 epoch")}
    with pytest.raises(Killed):
        swept(None if here_first else threads, callbacks=killing, **given)
    files = list(tmp_path.glob("stack-*.safetensors"))
    assert files
    actual = swept(threads if here_first else None, **given)
    assert "go on from the checkpoint" in actual.plan
    assert_same_sweep(actual, expected)
    assert_same_sweep(swept(threads, **given), expected)  # which trains nothing


class Told:
    """Notes what it is told, and stops some networks."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, float, int]] = []

    def __call__(self, event: Any) -> bool:
        first = event.network.layers[0].weights
        self.events.append((event.member, event.number, float(first.sum()), len(event.history)))
        return (event.member, event.number) in {(1, 2), (3, 1), (2, 5)}


@pytest.mark.parametrize("case", ["grid", "some leave early", "some diverge"])
def test_callbacks_are_told_here_and_stop_the_same_networks(
    case: str, threads: Executor, tmp_path: Path
) -> None:
    ours, theirs = Told(), Told()
    given = {**CASES[case], "checkpoint": Checkpoint(tmp_path, "1 epoch")}
    actual = swept(threads, callbacks=ours, **given)
    expected = swept(callbacks=theirs, **CASES[case])
    assert_same_sweep(actual, expected)
    assert repr(sorted(ours.events, key=lambda e: e[:2])) == repr(
        sorted(theirs.events, key=lambda e: e[:2])
    )
    assert_same_sweep(swept(threads, callbacks=Told(), **given), expected)  # from the checkpoint


def test_progress_is_told_of_every_epoch_once(threads: Executor, one_epoch_slices: None) -> None:
    class Count(SweepProgress):
        told: list[tuple[int, int]] = []  # noqa: RUF012

        def update(self, members: Any, records: Any) -> None:
            self.told += [(k, r["epoch"]) for k, r in zip(members, records, strict=True)]
            super().update(members, records)

    progress = Count(score="loss")
    result = swept(threads, progress=progress, **CASES["some leave early"])
    assert sorted(progress.told) == [(m.number, r["epoch"]) for m in result for r in m.history]
    assert progress.done == 12 * len(result)


def test_the_plan_has_two_stacks_a_worker(threads: Executor) -> None:
    result = swept(threads, seed=range(8), epochs=1)
    assert "8 x 6-8-3, minibatches of 16, 1 epochs in 4 stacks of up to 2" in result.plan


def failing_order(n: int, epoch: int) -> Any:
    if epoch == 1:
        raise ZeroDivisionError("an order of one's own")
    return np.arange(n)


def test_an_error_of_the_training_ends_the_sweep_and_says_where(threads: Executor) -> None:
    with pytest.raises(ZeroDivisionError, match="an order of one's own") as caught:
        swept(threads, shuffle=failing_order, seed=range(3))
    assert any("raised in worker" in note for note in caught.value.__notes__)


class OddError(Exception):
    """One that pickle does not take, whoever has taught it to take errors, as distributed does."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.lock = Lock()


def odd_order(n: int, epoch: int) -> Any:
    raise OddError("of its own")


@linux
def test_so_does_one_that_does_not_travel(forked: Executor) -> None:
    with pytest.raises(ExecutorError, match="of its own"):
        swept(forked, shuffle=odd_order, seed=range(3))
    assert forked.submit(abs, -1).result(10) == 1  # the pool is whole


def test_a_worker_of_another_version_is_refused(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**slices.identity(), "versions": ["Python 3.99", "arraymlp 0", "NumPy 0"]}
    monkeypatch.setattr(slices, "identity", lambda: other)
    with pytest.raises(ExecutorError, match=r"worker .*:\d+ has Python 3\.99.*this process has Py"):
        swept(threads, seed=[0, 1])


def test_processors_that_differ_are_logged_once(
    threads: Executor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    identity = slices.identity
    monkeypatch.setattr(slices, "identity", lambda: identity() | {"kernels": "BLAS Cray-1"})
    swept(threads, seed=range(4))
    assert [r.message for r in caplog.records if "Cray-1" in r.message] == [
        f"processors differ (BLAS Cray-1; {kernels()}): the last bits of a network depend "
        "on which of them trains it"
    ]


class Unpicklable:
    """Rows that stay in their process, as those of h5py do."""

    shape, dtype = X.shape, X.dtype

    def __getitem__(self, rows: slice) -> Any:
        return X[rows]

    def __reduce__(self) -> Any:
        raise TypeError("h5py objects cannot be pickled")


def test_what_cannot_be_pickled_is_named_before_anything_is_trained(threads: Executor) -> None:
    with pytest.raises(ValueError, match=r"X \(.*Unpicklable\) cannot be pickled: h5py objects"):
        swept(threads, X=Unpicklable(), seed=[0, 1])

    class Order:
        def __call__(self, n: int, epoch: int) -> Any:
            return np.arange(n)

        def __reduce__(self) -> Any:
            raise TypeError("no")

    with pytest.raises(ValueError, match=r"shuffle \(.*Order\) cannot be pickled: no"):
        swept(threads, shuffle=Order(), seed=[0, 1])


@linux
def test_a_file_that_a_worker_does_not_see_is_named(
    tmp_path: Path, forked: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "X.dat"
    mapped = np.memmap(path, np.float32, "w+", shape=X.shape)
    mapped[:] = X

    train = Conductor.train

    def elsewhere(self: Conductor, parts: Any) -> None:
        path.unlink()
        train(self, parts)

    monkeypatch.setattr(Conductor, "train", elsewhere)
    with pytest.raises(ExecutorError, match=r"worker .* cannot train: it cannot open .*X\.dat"):
        swept(forked, X=mapped, seed=range(4))


def test_a_pool_that_is_shut_is_an_error() -> None:
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        executor = kind(1)
        executor.shutdown()
        with pytest.raises(ExecutorError, match=f"the {kind.__name__} given as executor= has"):
            swept(executor)


@pytest.mark.parametrize("wrong", [3, ThreadPoolExecutor, "processes"])
def test_what_is_no_executor_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="executor must be an executor as of"):
        swept(wrong)


def test_a_sweep_in_a_thread_of_its_own_pool_is_refused() -> None:
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(swept, executor)
        with pytest.raises(ExecutorError, match="would wait for itself"):
            future.result(timeout=60)


def test_a_backend_that_workers_lack_is_named(threads: Executor) -> None:
    with pytest.raises(ExecutorError, match=r"worker .* cannot train: it has no backend 'cupy'"):
        swept(threads, backend="cupy", seed=[0, 1])


def test_a_backend_that_workers_alone_have_trains_there(
    threads: Executor, monkeypatch: pytest.MonkeyPatch, strict_backend: arraymlp.Backend
) -> None:
    expected = swept(backend="array_api_strict", device="device1", seed=[0, 1])

    def here(name: Any = "auto", device: Any = None, **_: Any) -> arraymlp.Backend:
        if name == "cupy":
            raise arraymlp.BackendUnavailableError("no GPU")
        return arraymlp.resolve("numpy")

    monkeypatch.setattr("arraymlp.sweeps.sweep_function.resolve", here)
    monkeypatch.setattr(slices, "resolve", lambda *_, **__: strict_backend)
    actual = swept(threads, backend="cupy", seed=[0, 1])
    for a, b in zip(actual, expected, strict=True):
        assert isinstance(a.network.layers[0].weights, np.ndarray)
        for ours, theirs in zip(a.network.layers, b.network.layers, strict=True):
            there = strict_backend.to_numpy(theirs.weights)
            np.testing.assert_array_equal(ours.weights, there)


def test_workers_share_the_processors() -> None:
    with limited(1):
        assert cores() == 1
        with limited(64):
            assert cores() == 1
    assert cores() <= processors()
    with closing(ProcessPoolExecutor(3)) as executor:
        assert pools.pool_of(executor).threads == max(1, processors() // 3)


@linux
def test_functions_of_its_own_travel_where_cloudpickle_is(forked: Executor) -> None:
    pytest.importorskip("cloudpickle")

    def reversed_order(n: int, epoch: int) -> Any:
        return np.arange(n)[::-1].copy()

    case = {"shuffle": reversed_order, "seed": range(3)}
    assert_same_sweep(swept(forked, **case), swept(**case))
