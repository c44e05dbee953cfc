"""array_api_strict: the standard and nothing else, for tests. Its devices stand in for a GPU."""

from dataclasses import dataclass
from importlib import import_module
from typing import cast

import array_api_compat

from arraymlp.backends.array import Array, Device, array_namespace
from arraymlp.backends.backend import Backend, NoSuchDeviceError


@dataclass(frozen=True)
class StrictBackend(Backend):
    """array_api_strict on one of its devices."""

    @property
    def device_name(self) -> str:
        """Such as "device1"; ``str`` of the device object gives its repr."""
        return str(getattr(self.device, "_device", self.device))

    def _values(self, array: Array) -> object:
        return array_api_compat.to_device(array, self.xp.Device("CPU_DEVICE"))


def load(device: Device) -> Backend:
    """array_api_strict on a device: None for "CPU_DEVICE", "device1", or its own object."""
    xp = import_module("array_api_strict")
    if not isinstance(device, xp.Device):
        try:
            device = xp.Device(device or "CPU_DEVICE")
        except ValueError as error:
            raise NoSuchDeviceError(f"array_api_strict: {error}") from error
    return StrictBackend("array_api_strict", xp, device, xp.__version__)


def owns(array: object) -> bool:
    """True for an array of array_api_strict."""
    if not array_api_compat.is_array_api_obj(array):
        return False
    xp = array_namespace(cast(Array, array))
    return bool(array_api_compat.is_array_api_strict_namespace(xp))
