"""``cupy.cuda.Device``, and the handle of cuBLAS."""

from typing import Any

from cupy import _state
from cupy.cuda import runtime


class Device:
    """A device by its number; equal by it, and without a hash, as CuPy's."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, device: Any = None) -> None:
        self.id = _state.device() if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> "Device":
        _before().append(_state.device())
        runtime.setDevice(self.id)
        return self

    def __exit__(self, *error: object) -> None:
        runtime.setDevice(_before().pop())

    def use(self) -> "Device":
        """Make it the thread's current device."""
        runtime.setDevice(self.id)
        return self

    def synchronize(self) -> None:
        """Wait for all its work."""
        runtime.deviceSynchronize()

    @property
    def compute_capability(self) -> str:
        """Such as "90"."""
        return str(_state.COMPUTE_CAPABILITY)

    @property
    def attributes(self) -> dict[str, int]:
        """What it has, by the names of CUDA's attributes."""
        if not 0 <= self.id < _state.DEVICES:
            raise runtime.CUDARuntimeError(101)
        return dict(_state.ATTRIBUTES)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and all bytes."""
        with self:
            return runtime.memGetInfo()

    @property
    def pci_bus_id(self) -> str:
        """Where it is."""
        return runtime.deviceGetPCIBusId(self.id)


def _before() -> list[int]:
    devices: list[int] = _state._of_thread.__dict__.setdefault("devices", [])
    return devices


def get_cublas_handle() -> int:
    """One for each device; it must be used where that is the current one."""
    return 1000 + _state.device()


def get_compute_capability() -> str:
    """Of the current device."""
    return str(_state.COMPUTE_CAPABILITY)
