"""NCCL's carrier with a stand-in for NCCL that copies memory by address, as NCCL is asked to."""

import ctypes
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arraymlp.backends.array import Array
from arraymlp.backends.numpy import NAMESPACE
from arraymlp.data.stripes import owned
from arraymlp.steps.shards import leaf
from arraymlp.training.ranks.adding import HostCarrier, sum_over_ranks
from arraymlp.training.ranks.nccl import carrier_for
from arraymlp.training.ranks.ranks import Ranks
from ranks import TIMEOUT, ThreadGroup, on_ranks

BYTES = {7: 4, 8: 8}  # of a number, by NCCL's kinds


class DeviceArray(np.ndarray):
    """An array that has its address where CuPy's have it."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


@dataclass
class Fabric:
    """The stand-in: what ranks send each other, in the order in which they do."""

    size: int
    sent: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    wrong: bool = False
    lacks: bool = False

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)
        self.here = threading.local()

    NCCL_FLOAT32, NCCL_FLOAT64 = 7, 8

    def get_version(self) -> int:
        return 22809

    def get_unique_id(self) -> bytes:
        return b"name"

    def groupStart(self) -> None:  # noqa: N802  # the library's own names
        self.here.receiving = []

    def groupEnd(self) -> None:  # noqa: N802
        self.barrier.wait(TIMEOUT)
        for address, n, key in self.here.receiving:
            data = self.sent[key].pop(0)
            assert len(data) == n
            ctypes.memmove(address, bytes(n) if self.wrong else data, n)
        self.barrier.wait(TIMEOUT)

    def NcclCommunicator(self, size: int, name: bytes, rank: int) -> Any:  # noqa: N802
        assert (size, name) == (self.size, b"name")
        if self.lacks and rank == 1:
            raise RuntimeError("NCCL_ERROR_SYSTEM_ERROR")
        return Communicator(self, rank)


class Communicator:
    def __init__(self, fabric: Fabric, rank: int) -> None:
        self.fabric, self.rank = fabric, rank

    def send(self, address: int, n: int, kind: int, peer: int, stream: int) -> None:
        data = ctypes.string_at(address, n * BYTES[kind])
        self.fabric.sent.setdefault((self.rank, peer), []).append(data)

    def recv(self, address: int, n: int, kind: int, peer: int, stream: int) -> None:
        request = address, n * BYTES[kind], (peer, self.rank)
        self.fabric.here.receiving.append(request)


class Device:
    """As much of CuPy's backend as a carrier asks for."""

    name = "cupy"

    def __init__(self, number: int) -> None:
        self.device = SimpleNamespace(id=number)
        self.xp = SimpleNamespace(
            concat=lambda arrays: np.concatenate(arrays).view(DeviceArray),
            asarray=lambda host: np.array(host).view(DeviceArray),
        )

    def active(self) -> Any:
        return np.errstate()

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        return np.array(values, dtype).view(DeviceArray)

    def to_numpy(self, values: Any) -> np.ndarray:
        return np.array(values)


@pytest.fixture
def with_nccl(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fabric, Sequence[int]], None]:
    def install(fabric: Fabric, gpus: Sequence[int]) -> None:
        runtime = SimpleNamespace(deviceGetPCIBusId=lambda number: f"0000:{gpus[number]}")
        stream = SimpleNamespace(ptr=0)
        cuda = SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
        monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", fabric)

    return install


def carried(size: int, n: int, shards: int) -> list[Any]:
    """For each rank the kind of its carrier, and the sum by it and by way of the host."""
    rng = np.random.default_rng(n)
    leaves = [rng.normal(size=n).astype(np.float32) for _ in range(shards)]
    of_ranks = [[(leaf(s), True) for s in owned(shards, r, size)] for r in range(size)]

    def work(group: ThreadGroup) -> Any:
        device: Any = Device(group.rank)
        carrier = carrier_for(Ranks(group), device)
        own = [leaves[s].view(DeviceArray) for s in owned(shards, group.rank, size)]
        like = leaves[0].view(DeviceArray)
        both = [
            np.array(sum_over_ranks(c, group.rank, own, of_ranks, like))
            for c in (carrier, HostCarrier(group, device))
        ]
        return type(carrier).__name__, *both

    return on_ranks(size, work)


@pytest.mark.parametrize(("size", "n"), [(2, 1), (2, 1001), (3, 7), (4, 64)])
def test_gpus_get_the_bits_that_the_host_adds_up(size: int, n: int, with_nccl: Any) -> None:
    with_nccl(Fabric(size), range(size))
    for name, by_nccl, by_host in carried(size, n, 4):
        assert name == "NCCLCarrier"
        assert by_nccl.tobytes() == by_host.tobytes()


@pytest.mark.parametrize(
    ("fabric", "gpus", "reason"),
    [
        (Fabric(2, wrong=True), [0, 1], "NCCL carried other numbers"),
        (Fabric(2, lacks=True), [0, 1], "rank 1: RuntimeError: NCCL_ERROR_SYSTEM_ERROR"),
        (Fabric(2), [3, 3], "some have the same one"),
    ],
)
def test_where_nccl_does_not_work_the_host_carries(
    fabric: Fabric, gpus: list[int], reason: str, with_nccl: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with_nccl(fabric, gpus)
    with caplog.at_level(logging.WARNING, "arraymlp"):
        results = carried(2, 33, 2)
    assert [name for name, *_ in results] == ["HostCarrier"] * 2
    assert len(caplog.messages) == 1  # of rank 0
    assert caplog.messages[0].startswith("gradients go from GPU to GPU by way of the host: ")
    assert reason in caplog.messages[0]


def test_it_can_be_left_out(with_nccl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with_nccl(Fabric(2), [0, 1])
    monkeypatch.setenv("ARRAYMLP_NCCL", "0")
    assert [name for name, *_ in carried(2, 5, 2)] == ["HostCarrier"] * 2


def test_numpy_goes_by_way_of_the_host() -> None:
    from arraymlp import resolve

    def work(group: ThreadGroup) -> Any:
        return carrier_for(Ranks(group), resolve("numpy")).xp

    assert on_ranks(2, work) == [NAMESPACE] * 2
