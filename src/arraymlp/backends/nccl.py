"""NCCL by CuPy: what GPUs of several processes send each other, from device to device."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from arraymlp.backends.backend import Backend


def unique_name() -> Any:
    """A name for a new group of GPUs, which one process makes for all.

    Raises:
        Exception: of whatever kind, where CuPy is without NCCL or does not find it.
    """
    return import_module("cupy.cuda.nccl").get_unique_id()


def gpu_of(backend: Backend) -> str:
    """What tells a GPU from the others of its machine: where it is on the bus."""
    runtime = import_module("cupy").cuda.runtime
    return str(runtime.deviceGetPCIBusId(backend.device.id))


class GPUGroup:
    """The GPUs of a group of processes, one each. All make it at once.

    Args:
        name: as of `unique_name`.
        rank: the number of this one.
        size: how many there are.

    Raises:
        Exception: of NCCL's or CuPy's, where they cannot reach each other.
    """

    def __init__(self, name: Any, rank: int, size: int) -> None:
        self._nccl = import_module("cupy.cuda.nccl")
        self.rank, self.size, self.version = rank, size, str(self._nccl.get_version())
        self._group = self._nccl.NcclCommunicator(size, name, rank)

    def send_and_receive(self, sent: Sequence[Any], received: Sequence[Any]) -> None:
        """Give each other rank an array and take one from it, as one operation on this stream.

        Args:
            sent: 1-D arrays of CuPy's, one a rank, that of this rank aside.
            received: likewise; they are written to.
        """
        nccl, stream = self._nccl, import_module("cupy").cuda.get_current_stream().ptr
        kinds = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
        nccl.groupStart()
        for r in range(self.size):
            if r == self.rank:
                continue
            for move, array in ((self._group.send, sent[r]), (self._group.recv, received[r])):
                _require_in_a_row(array)
                if array.size:
                    move(array.data.ptr, array.size, kinds[str(array.dtype)], r, stream)
        nccl.groupEnd()


def _require_in_a_row(array: Any) -> None:
    assert array.ndim == 1
    assert array.flags.c_contiguous
