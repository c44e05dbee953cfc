"""PyTorch, on the CPU or a GPU."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend, NoSuchDeviceError


@dataclass(frozen=True)
class TorchBackend(Backend):
    """PyTorch on one device."""

    @property
    def is_accelerator(self) -> bool:
        """Whether the device is not the CPU."""
        return bool(self.device.type != "cpu")

    @property
    def _is_cuda(self) -> bool:
        return bool(self.device.type == "cuda")

    @property
    def compute_capability(self) -> float:
        """The CUDA device's, such as 9.0; 0 on others."""
        if not self._is_cuda:
            return 0.0
        major, minor = import_module("torch").cuda.get_device_capability(self.device)
        return float(major + minor / 10)

    @property
    def rounded_precisions(self) -> tuple[str, ...]:
        """TF32, by a setting of PyTorch's."""
        return ("tf32",)

    def active(self) -> AbstractContextManager[Any]:
        """Gradients are computed here, not by PyTorch."""
        context: AbstractContextManager[Any] = import_module("torch").no_grad()
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
        """Of a CUDA device."""
        if not self._is_cuda:
            return None
        free, total = import_module("torch").cuda.mem_get_info(self.device)
        return int(free), int(total)

    def wait(self, result: Any = None) -> None:
        """Wait for a CUDA device."""
        if self._is_cuda:
            import_module("torch").cuda.synchronize(self.device)

    def _values(self, array: Any) -> Any:
        return array.detach().cpu().numpy()

    def _own(self, array: Any) -> Any:
        return array.detach()

    def _uploadable(self, host: HostArray) -> HostArray:
        # PyTorch has no read-only tensors, and none with negative strides.
        writeable = host.flags.writeable and min(host.strides, default=0) >= 0
        return host if writeable else host.copy()


@dataclass
class _Rounding:
    """Who rounds now, and how PyTorch was set before the first of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: str = ""


_ROUNDING = _Rounding()


def load(device: Any) -> Backend:
    """PyTorch on a device: None for the CPU, or what `torch.device` takes."""
    torch = import_module("torch")
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise NoSuchDeviceError(f"PyTorch knows no device {device!r}") from error
    if found.type == "meta":
        raise NoSuchDeviceError("PyTorch's 'meta' device computes nothing")
    found = torch.empty(0, device=found).device  # "cuda" becomes "cuda:0", or raises
    xp = import_module("array_api_compat.torch")
    return TorchBackend("torch", xp, found, torch.__version__)
