"""CuPy: a CUDA GPU. CuPy itself is imported when the backend is loaded, and not before."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Protocol, Self, cast

import numpy as np

from arraymlp.backends.array import Array, Device, HostArray
from arraymlp.backends.backend import Backend, device_number

OLDEST = (14, 1)  # the first that takes large structs as arguments of kernels


class CupyArray(Array, Protocol):
    """A CuPy array, with what its library adds to the standard's."""

    def get(self) -> HostArray:
        """The values on the host."""


class Stream(Protocol):
    """A CUDA stream as CuPy has it: a queue of work on the device."""

    def __enter__(self) -> "Stream": ...
    def __exit__(self, *error: object) -> None: ...
    def record(self) -> object:
        """An event that comes when all work queued so far is done."""


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CuPy on one CUDA device."""

    @property
    def device_name(self) -> str:
        """Such as "cuda:0"."""
        return f"cuda:{self.device.id}"

    @property
    def device_model(self) -> str:
        """The GPU's name, from the driver."""
        return _model(self.device.id)

    @property
    def is_accelerator(self) -> bool:
        """True: it is a GPU."""
        return True

    @property
    def compute_capability(self) -> float:
        """The device's, such as 9.0."""
        return int(self.device.compute_capability) / 10

    def active(self) -> AbstractContextManager[object]:
        """Context in which the device is CuPy's current one."""
        device: AbstractContextManager[object] = import_module("cupy").cuda.Device(self.device.id)
        return device

    def of_process(self, number: int) -> Self:
        """CuPy on the GPU of that number, from the first again where there are fewer."""
        cuda = import_module("cupy").cuda
        return replace(self, device=cuda.Device(number % cuda.runtime.getDeviceCount()))

    def memory(self) -> tuple[int, int]:
        """The device's memory in bytes: free, with what CuPy's pool holds unused, and total."""
        with self.active():
            cupy = import_module("cupy")
            free, total = cupy.cuda.runtime.memGetInfo()
            return int(free + cupy.get_default_memory_pool().free_bytes()), int(total)

    def wait(self, result: Array | None = None) -> None:
        """Wait for the current stream."""
        import_module("cupy").cuda.get_current_stream().synchronize()

    def uploader(self) -> Callable[[HostArray], Array]:
        """Copies that run beside the work queued on this thread's stream."""
        with self.active():
            queue: Stream = import_module("cupy").cuda.get_current_stream()

        def upload(host: HostArray) -> Array:
            with self.active():
                return _copied_beside(host, queue)

        return upload

    def _values(self, array: Array) -> object:
        return cast(CupyArray, array).get()


def load(device: Device) -> Backend:
    """CuPy on a CUDA device: None, a number, "cuda:1", or CuPy's own object."""
    number = getattr(device, "id", None)  # of a cupy.cuda.Device
    if number is None:  # a mistake is a mistake without CuPy, too
        number = device_number(device, ("cuda", "gpu"), "CuPy")
    cupy = import_module("cupy")
    if tuple(map(int, cupy.__version__.split(".")[:2])) < OLDEST:
        raise RuntimeError(f"CuPy {cupy.__version__} is too old: 14.1 or newer is needed")
    count = cupy.cuda.runtime.getDeviceCount()
    if number >= count:
        raise RuntimeError(f"there is no CUDA device {number}: {count} found")
    require_working(number)
    xp = import_module("array_api_compat.cupy")
    return CupyBackend("cupy", xp, cupy.cuda.Device(number), cupy.__version__)


@cache
def _model(number: int) -> str:
    """The name of a GPU; asked for in each training, and all its properties are read for it."""
    return str(import_module("cupy").cuda.runtime.getDeviceProperties(number)["name"].decode())


@cache
def require_working(number: int) -> None:
    """Compile a kernel and multiply matrices: a counted device can still lack NVRTC or cuBLAS.

    The kernel is that of a copy, which whatever follows needs, too.
    """
    cupy = import_module("cupy")
    with cupy.cuda.Device(number):
        x = cupy.asarray(np.ones((2, 2), np.float32))
        if float(x.copy().sum()) != 4 or (x @ x).get().sum() != 8:
            raise RuntimeError(f"CUDA device {number} computes wrong results")


def _copied_beside(host: HostArray, queue: "Stream") -> Array:
    """Copy host data to CuPy's current device on a stream of its own, and wait for that stream.

    The copy is as fast as the bus from page-locked memory alone. Work on the stream that computes,
    ``queue``, may still use the memory that the pool hands out for it again, and so the copy waits
    for that work, while what is queued from then on runs beside it.
    """
    cupy = import_module("cupy")
    with queue:
        array = cupy.empty(host.shape, host.dtype)
        unused = queue.record()
    locked = import_module("cupyx").empty_pinned(host.shape, host.dtype)
    locked[...] = host
    beside = cupy.cuda.Stream(non_blocking=True)
    beside.wait_event(unused)
    array.set(locked, stream=beside)
    beside.synchronize()  # before another array gets the page-locked memory
    return cast(Array, array)
