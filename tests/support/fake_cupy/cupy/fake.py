"""What only the fake knows: what would have been compiled, and what was copied."""

from collections import Counter

from cupy import _compiled, _state
from cupy._compiled import CUB, ELEMENTWISE, OWN, REDUCTION, Compilation

__all__ = [
    "CUB",
    "ELEMENTWISE",
    "OWN",
    "REDUCTION",
    "Compilation",
    "compilations",
    "counts",
    "forget",
]


def compilations() -> list[Compilation]:
    """The kernels that CuPy would have compiled since `forget`, in order."""
    return [*_compiled.log]


def counts() -> Counter[str]:
    """How many there were of "device to host", "host to device", "launches"; the live counter."""
    return _state.counts


def forget() -> None:
    """Begin as a process with an empty cache; counts begin at 0."""
    _compiled.forget()
    _state.counts.clear()
