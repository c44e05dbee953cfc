"""What the fake device is, which device and stream a thread works on, and what was counted."""

import os
import threading
from collections import Counter
from typing import Any

DEVICES = int(os.environ.get("FAKE_CUPY_DEVICES", "1"))
TOTAL_MEMORY = int(os.environ.get("FAKE_CUPY_MEMORY", str(16 * 2**30)))  # bytes of each device
NAME = "fake GPU on NumPy"
COMPUTE_CAPABILITY = 90
ATTRIBUTES = {  # an H100's
    "MultiProcessorCount": 132,
    "MaxSharedMemoryPerBlock": 48 * 1024,
    "MaxSharedMemoryPerBlockOptin": 227 * 1024,
    "MaxSharedMemoryPerMultiprocessor": 228 * 1024,
    "MaxThreadsPerBlock": 1024,
    "WarpSize": 32,
    "CooperativeLaunch": 1,
    "ComputeCapabilityMajor": COMPUTE_CAPABILITY // 10,
    "ComputeCapabilityMinor": COMPUTE_CAPABILITY % 10,
}

counts: Counter[str] = Counter()  # "device to host", "host to device", "launches"
_of_thread = threading.local()


def device() -> int:
    """The thread's current device; each thread begins with the first."""
    return int(getattr(_of_thread, "device", 0))


def set_device(number: int) -> None:
    """Make a device the thread's current one."""
    _of_thread.device = number


def streams() -> list[Any]:
    """The thread's streams on its current device, the last of which is the current one."""
    every: dict[int, list[Any]] = _of_thread.__dict__.setdefault("streams", {})
    if device() not in every:
        from cupy.cuda.stream import Stream

        every[device()] = [Stream.null]
    return every[device()]


def current_stream() -> Any:
    """The thread's current stream."""
    return streams()[-1]
