"""Common to the CUDA kernels and their callers: the sources, and a device.

Nothing here needs a GPU, or CuPy: `arraymlp.engines.cuda.device` is a device that does. The tests
have another, which runs the same sources on the host.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from posixpath import normpath
from typing import Protocol, TypeAlias

import numpy as np

from arraymlp.backends.array import Array

# What a kernel can be given: an array by its address, None as a null pointer, and a NumPy scalar,
# which may be a struct (numpy.void), by value.
Argument: TypeAlias = Array | np.generic | None


class RefusedError(RuntimeError):
    """The device does not run blocks as they are launched now: all at once, or in clusters."""


class Launches(Protocol):
    """A device that runs the kernels of one source file."""

    processors: int  # multiprocessors; as many blocks keep the device busy
    shared_memory: int  # bytes that a block can have at most
    compute_capability: float  # such as 9.0, from which on there are clusters of blocks

    def prepare(self, names: Iterable[str]) -> None:
        """Begin to compile kernels that will be launched, all at once, where that takes time."""
        ...

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Argument],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Queue a kernel.

        Args:
            name: the kernel's.
            grid: blocks along x, y and z.
            threads: of a block.
            args: the kernel's arguments, see `Argument`.
            shared: bytes of dynamic shared memory of a block.
            cooperative: whether blocks may wait for each other, and so must all run at once.

        Raises:
            RefusedError: the device has no room for them; nothing was queued.
        """
        ...

    def address(self, array: Array) -> int:
        """Return the address of the array in the device's memory."""
        ...


@cache
def source(name: str) -> str:
    """Return a kernel file with its includes pasted in, since NVRTC gets one text.

    Args:
        name: the file's, as an include in this folder gives it.
    """
    path = normpath(f"cuda/{name}").split("/")
    lines = []
    for line in files("arraymlp.engines").joinpath(*path).read_text(encoding="utf-8").splitlines():
        _, include, header = line.partition('#include "')
        lines.append(source(header.rstrip('"')) if include else line)
    return "\n".join(lines) + "\n"


def only(text: str, kernel: str) -> str:
    """A kernel file's text for one of its kernels, where it can be compiled for ONLY one.

    The choice stands in the text and not in the compiler's options, since for each other set of
    options CuPy compiles an empty file first, to tell compilers apart.
    """
    if "defined(ONLY)" not in text:
        return text
    return f"#define ONLY\n#define ONLY_{kernel}\n{text}"


def blocks_of(n: int, size: int) -> int:
    """The number of blocks of a size that cover n."""
    return -(-n // size)


def rounded_up(n: int, size: int) -> int:
    """The least multiple of a size that is not below n."""
    return blocks_of(n, size) * size
