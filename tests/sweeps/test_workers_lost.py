"""Workers that are killed, and signals: the sweep ends, and what was trained is not lost."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import SweepResult
from engines import CASES, At, assert_same_sweep, closing, swept
from engines import one_epoch_slices as one_epoch_slices
from members import assert_same_bits

pytestmark = [
    pytest.mark.xdist_group("workers"),
    pytest.mark.filterwarnings("ignore:os.fork"),  # of a process that tests JAX, too
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
]
LONG: dict[str, Any] = {**CASES["grid"], "epochs": 12}
PARENT = os.getpid()


@pytest.fixture
def forked() -> Iterator[Executor]:
    with closing(ProcessPoolExecutor(2, get_context("fork"))) as executor:
        yield executor


def workers_of(executor: Any) -> list[int]:
    return list(executor._processes)


def kill(executor: Any, number: int = signal.SIGKILL) -> None:
    os.kill(workers_of(executor)[0], number)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_worker_costs_a_slice(
    method: str, one_epoch_slices: None, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ProcessPoolExecutor(2, get_context(method))) as executor:
        actual = swept(executor, progress=At(20, lambda: kill(executor)), **LONG)
    assert_same_sweep(actual, swept(**LONG))
    assert "in 2 processes of their own" in caplog.text


def test_so_does_a_worker_that_the_system_ends(forked: Executor, one_epoch_slices: None) -> None:
    progress = At(20, lambda: kill(forked, signal.SIGTERM))
    assert_same_sweep(swept(forked, progress=progress, **LONG), swept(**LONG))


def deadly(n: int, epoch: int) -> Any:
    """An order that kills the worker which asks for that of the third epoch."""
    if epoch >= 2 and os.getpid() != PARENT:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.random.default_rng(epoch).permutation(n)


def deadly_at_once(n: int, epoch: int) -> Any:
    """An order that kills whatever worker asks for it."""
    if os.getpid() != PARENT:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.arange(n)


@pytest.mark.parametrize(("order", "epochs"), [(deadly, 2), (deadly_at_once, 0)])
def test_what_kills_its_workers_is_lost_alone(
    order: Any, epochs: int, forked: Executor, one_epoch_slices: None, tmp_path: Path
) -> None:
    given = {"shuffle": [True, order], "seed": range(3), "epochs": 5}
    actual, expected = swept(forked, **given), swept(**given)
    for a, b in zip(actual, expected, strict=True):
        if a.swept["shuffle"] is True:
            assert_same_bits(a, b)
            continue
        assert a.status == "lost"
        assert "workers were lost with it" in a.cause
        assert "BrokenProcessPool" in a.cause
        assert not a.counts
        assert [r["loss"] for r in a.records] == b.history["loss"][:epochs]
    rank = actual.rank()
    assert rank[0]["failed"] == 0
    assert rank[1]["failed"] == 3
    assert actual.failures()[0]["status"] == "lost"
    assert "3 lost" in actual._repr_html_()
    actual.save(tmp_path / "sweep.safetensors")
    assert [m.status for m in SweepResult.load(tmp_path / "sweep.safetensors")] == [
        m.status for m in actual
    ]


def test_what_was_lost_goes_on_from_its_checkpoint(
    forked: Executor, one_epoch_slices: None, tmp_path: Path
) -> None:
    given = {"shuffle": deadly, "seed": range(2), "epochs": 5}
    lost = swept(forked, checkpoint=tmp_path, **given)
    assert {m.status for m in lost} == {"lost"}
    assert_same_sweep(swept(checkpoint=tmp_path, **given), swept(**given))


def test_an_executor_that_cannot_begin_again_loses_the_rest(one_epoch_slices: None) -> None:
    with closing(ThreadPoolExecutor(2)) as executor:
        progress = At(20, lambda: executor.shutdown(wait=False))
        result = swept(executor, progress=progress, **LONG)
    assert {m.status for m in result} >= {"lost"}
    assert all("the ThreadPoolExecutor is gone" in m.cause for m in result if m.status == "lost")


def begins_badly() -> None:
    raise RuntimeError("no licence")


def test_workers_that_never_begin_lose_the_sweep_and_end() -> None:
    pool = ProcessPoolExecutor(2, get_context("fork"), begins_badly)
    with closing(pool) as executor:
        result = swept(executor, seed=range(4))
    assert {m.status for m in result} == {"lost"}


def prefix(short: Any, whole: Any) -> bool:
    losses = [record["loss"] for record in short]
    return bool(losses == whole["loss"][: len(losses)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sweep_with_what_there_is(
    number: int, forked: Executor, one_epoch_slices: None, tmp_path: Path
) -> None:
    expected = swept(**LONG)
    progress = At(20, lambda: signal.raise_signal(number))
    broken = swept(forked, progress=progress, checkpoint=tmp_path, **LONG)
    assert broken.interrupted
    assert {m.status for m in broken} <= {"interrupted", "finished", "not trained"}
    assert "interrupted" in {m.status for m in broken}
    for a, b in zip(broken, expected, strict=True):
        assert not a.records or len(a.history) < 12
        assert a.result is None or prefix(a.history, b.history)
    assert forked.submit(abs, -1).result(10) == 1  # it stays the user's
    assert_same_sweep(swept(forked, checkpoint=tmp_path, **LONG), expected)


def test_ctrl_c_that_reaches_the_workers_too_does(tmp_path: Path) -> None:
    given = {**CASES["grid"], "epochs": 4000, "hidden": (64, 64)}

    with closing(ProcessPoolExecutor(2, get_context("fork"))) as executor:

        def ctrl_c() -> None:
            for pid in workers_of(executor):
                os.kill(pid, signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        broken = swept(executor, progress=At(1, ctrl_c), **given)
    assert broken.interrupted
    assert all(m.status in ("interrupted", "not trained") for m in broken)


def test_a_second_sweep_in_a_broken_pool_has_workers_of_its_own(
    forked: Executor, one_epoch_slices: None
) -> None:
    swept(forked, progress=At(5, lambda: kill(forked)), **LONG)
    assert_same_sweep(swept(forked, **LONG), swept(**LONG))
