"""Memory sizes and out-of-memory errors as text, and how much memory the host has."""

import re
from pathlib import Path


class DeviceMemoryError(MemoryError):
    """A device, or the host, has too little memory; the message says how little, and a remedy."""


# The words of out-of-memory errors that have no class of their own: JAX's; PyTorch's on the host
# and on a device; those of CUDA's runtime and cuBLAS, through CuPy.
_WORDS = (
    "RESOURCE_EXHAUSTED",
    "can't allocate memory",
    "CUDA error: out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_SIZE = re.compile(r"allocat\D*([\d,.]+) ?([KMGTP]iB|B|bytes)\b")


def is_memory_error(error: BaseException) -> bool:
    """True for a lack of memory in NumPy, CuPy, PyTorch or JAX, but not for our own error."""
    if isinstance(error, DeviceMemoryError):
        return False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def requested_memory(error: BaseException) -> str:
    """The amount that an error's message says was requested, as text; "" where it says none."""
    match = _SIZE.search(str(error))
    if match is None:
        return ""
    number, unit = match[1].strip(",.").replace(",", ""), match[2]
    return f"{number} {unit}" if unit.endswith("iB") else memory_text(int(float(number)))


def memory_text(n_bytes: int) -> str:
    """A number of bytes in the unit that fits: "512 bytes", "1.5 GiB"."""
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{n_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def host_memory() -> tuple[int, int] | None:
    """The host's memory in bytes, (free for this process, total); None if unknown."""
    limits = []  # of the machine, and of this process's control group
    info, group_limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if info.exists():
        sizes = {
            name: int(kB) * 1024 for name, kB in re.findall(r"(\w+): +(\d+) kB", info.read_text())
        }
        if "MemAvailable" in sizes and "MemTotal" in sizes:
            limits.append((sizes["MemAvailable"], sizes["MemTotal"]))
    if group_limit.exists() and (text := group_limit.read_text().strip()).isdigit():
        usage = Path("/sys/fs/cgroup/memory.current")
        used = int(usage.read_text()) if usage.exists() else 0
        limits.append((max(int(text) - used, 0), int(text)))
    return min(limits) if limits else None
