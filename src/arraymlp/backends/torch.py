"""PyTorch, on the CPU or a GPU."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, Self, cast

from arraymlp.backends.array import Array, Device, HostArray
from arraymlp.backends.backend import Backend, NoSuchDeviceError


class Tensor(Array, Protocol):
    """A PyTorch tensor, with what its library adds to the standard's array."""

    def detach(self) -> Self:
        """The same values without a history of gradients."""

    def cpu(self) -> Self:
        """The tensor on the host."""

    def numpy(self) -> HostArray:
        """The values of a tensor on the host, in shared memory."""


@dataclass(frozen=True)
class TorchBackend(Backend):
    """PyTorch on one device."""

    @property
    def is_accelerator(self) -> bool:
        """True for any device but the CPU."""
        return bool(self.device.type != "cpu")

    @property
    def _is_cuda(self) -> bool:
        return bool(self.device.type == "cuda")

    @property
    def compute_capability(self) -> float:
        """The CUDA device's, such as 9.0; 0 for any other device."""
        if not self._is_cuda:
            return 0.0
        major, minor = import_module("torch").cuda.get_device_capability(self.device)
        return float(major + minor / 10)

    @property
    def rounded_precisions(self) -> tuple[str, ...]:
        """TF32, by a setting of PyTorch's."""
        return ("tf32",)

    def active(self) -> AbstractContextManager[object]:
        """Context without PyTorch's own gradients: the package computes them."""
        context: AbstractContextManager[object] = import_module("torch").no_grad()
        return context

    @contextmanager
    def rounding(self) -> Iterator[None]:
        """Context in which products on CUDA round their factors to TF32."""
        torch = import_module("torch")
        with _ROUNDING.lock:  # the setting is the process's, and other threads may train, too
            if _ROUNDING.inside == 0:
                _ROUNDING.before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("high")
            _ROUNDING.inside += 1
        try:
            yield
        finally:
            with _ROUNDING.lock:
                _ROUNDING.inside -= 1
                if _ROUNDING.inside == 0:
                    torch.set_float32_matmul_precision(_ROUNDING.before)

    def memory(self) -> tuple[int, int] | None:
        """A CUDA device's memory in bytes, (free, total)."""
        if not self._is_cuda:
            return None
        free, total = import_module("torch").cuda.mem_get_info(self.device)
        return int(free), int(total)

    def wait(self, result: Array | None = None) -> None:
        """Wait for a CUDA device."""
        if self._is_cuda:
            import_module("torch").cuda.synchronize(self.device)

    def _values(self, array: Array) -> object:
        return cast(Tensor, array).detach().cpu().numpy()

    def _own(self, array: Array) -> Array:
        return cast(Tensor, array).detach()

    def _uploadable(self, host: HostArray) -> HostArray:
        # PyTorch has no read-only tensors, and none with negative strides.
        writeable = host.flags.writeable and min(host.strides, default=0) >= 0
        return host if writeable else host.copy()


@dataclass
class _Rounding:
    """The number of contexts that round now, and PyTorch's setting before the first of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: str = ""


_ROUNDING = _Rounding()


def load(device: Device) -> Backend:
    """PyTorch on a device: None for the CPU, or what `torch.device` takes."""
    torch = import_module("torch")
    try:
        device = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise NoSuchDeviceError(f"PyTorch knows no device {device!r}") from error
    if device.type == "meta":
        raise NoSuchDeviceError("PyTorch's 'meta' device computes nothing")
    device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0", or raises
    xp = import_module("array_api_compat.torch")
    return TorchBackend("torch", xp, device, torch.__version__)
