"""Memory in words: amounts, what the host has of it, and the errors that mean that it ran out."""

import re
from pathlib import Path


class DeviceMemoryError(MemoryError):
    """A device, or the host, has too little memory; the message says what of it, and what helps."""


# What a lack of memory says of itself where it has no class of its own: JAX; PyTorch on the host
# and on a device; CUDA's runtime and cuBLAS, through CuPy.
_WORDS = (
    "RESOURCE_EXHAUSTED",
    "can't allocate memory",
    "CUDA error: out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_SIZE = re.compile(r"allocat\D*([\d,.]+) ?([KMGTP]iB|B|bytes)\b")


def ran_out(error: BaseException) -> bool:
    """Whether an error of NumPy, CuPy, PyTorch or JAX is a lack of memory, and not yet our own."""
    if isinstance(error, DeviceMemoryError):
        return False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def asked_for(error: BaseException) -> str:
    """The amount that an error says was asked for, as `amount` says it; "" where it does not."""
    found = _SIZE.search(str(error))
    if found is None:
        return ""
    number, unit = found[1].strip(",.").replace(",", ""), found[2]
    return f"{number} {unit}" if unit.endswith("iB") else amount(int(float(number)))


def amount(n: int) -> str:
    """So many bytes as a person says it: "512 bytes", "1.5 GiB"."""
    size = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{n} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def host_memory() -> tuple[int, int] | None:
    """Bytes of the host's memory that this process may still use, and of all; None if unknown."""
    known = []
    info, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if info.exists():
        found = {
            name: int(kB) * 1024 for name, kB in re.findall(r"(\w+): +(\d+) kB", info.read_text())
        }
        if "MemAvailable" in found and "MemTotal" in found:
            known.append((found["MemAvailable"], found["MemTotal"]))
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        used = Path("/sys/fs/cgroup/memory.current")
        taken = int(used.read_text()) if used.exists() else 0
        known.append((max(int(text) - taken, 0), int(text)))
    return min(known) if known else None
