"""NumPy: the host itself."""

import array_api_compat.numpy
import numpy as np

from arraymlp.backends.array import Device
from arraymlp.backends.backend import Backend, NoSuchDeviceError


def load(device: Device) -> Backend:
    """NumPy on "cpu", its one device."""
    if not (device is None or (isinstance(device, str) and device == "cpu")):
        raise NoSuchDeviceError(f"NumPy computes on 'cpu' alone, not on {device!r}")
    return Backend("numpy", array_api_compat.numpy, "cpu", np.__version__)
