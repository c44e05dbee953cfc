"""``cupy.cuda``. It has no ``nccl``, as CuPy has none where NCCL is not installed."""

from cupy.cuda import cublas, device, driver, memory, runtime, stream
from cupy.cuda.device import Device
from cupy.cuda.stream import Event, Graph, Stream, get_current_stream

__all__ = [
    "Device",
    "Event",
    "Graph",
    "Stream",
    "cublas",
    "device",
    "driver",
    "get_current_stream",
    "is_available",
    "memory",
    "runtime",
    "stream",
]


def is_available() -> bool:
    """True where a device is counted."""
    return runtime.getDeviceCount() > 0
