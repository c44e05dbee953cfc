"""CUDA sources compiled for the host by g++, their kernels run on the CPU: see `cuda_on_host.h`."""

import atexit
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEADERS = [Path(__file__).with_name(name) for name in ("cuda_on_host.h", "cuda_on_host_ptx.h")]
BACKWARD = -1
"""The `order` that runs the last block and the last thread first."""

LANGUAGE = ["-x", "c++", "-std=c++17"]
FLAGS = [
    *["-O2", "-shared", "-fPIC", "-include", str(HEADERS[0])],
    *["-Wall", "-Werror", "-Wno-unknown-pragmas"],  # nvcc's `#pragma unroll`
    "-fno-strict-aliasing",  # CUDA code reads shared memory under several types
    "-fno-ipa-reference-addressable",  # shared memory is filled behind the compiler's back
    "-fno-extern-tls-init",  # and is not initialised
    *["-fvisibility=hidden", "-fno-gnu-unique"],  # modules share nothing
    "-U_FORTIFY_SOURCE",  # which takes a change of stacks for an error
]
BOUNDS = r"__(?:launch_bounds|cluster_dims)__\s*\((?:[^()]|\([^()]*\))*\)"
KERNEL = re.compile(rf"__global__((?:\s|void\b|{BOUNDS})*)(\w+)\s*\(")
CLUSTER = re.compile(r"__cluster_dims__\s*\(\s*(\d+)")  # blocks along x, of a kernel's bounds
DYNAMIC = re.compile(r"extern\s+__shared__[^;]*?(\w+)\s*\[\s*\]\s*;")
MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_THREADS = (1024, 1024, 64)
MOST_SHARED = 227 * 1024


class CompileError(Exception):
    """g++ refuses the source; the message is the compiler's."""


class LaunchError(Exception):
    """A kernel did what is undefined, or hangs, on a GPU; the message says what and where."""


def unavailable() -> str:
    """Why kernels cannot run on this host; empty where they can."""
    if not sys.platform.startswith("linux"):
        return "kernels run on the host on Linux only"
    return "" if shutil.which("g++") else "no g++ on the path to compile kernels for the host"


class HostModule:
    """A CUDA source compiled for the host, once a process.

    Args:
        source: The text of the file; its kernels are `extern "C" __global__ void name(...)`.
        options: More options of g++, such as `-DTILE=16`.

    Raises:
        CompileError: g++ refuses it.
    """

    def __init__(self, source: str, options: Sequence[str] = ()) -> None:
        code = _preprocessed(source, options)
        self.names = _names(code)
        clusters = ((name, CLUSTER.search(bounds)) for bounds, name in KERNEL.findall(code))
        self._clusters = {name: int(found[1]) for name, found in clusters if found}
        launchers = [f"CUDA_ON_HOST_LAUNCHER({name})" for name in self.names]
        aliases = [f"CUDA_ON_HOST_DYNAMIC({name})" for name in dict.fromkeys(DYNAMIC.findall(code))]
        text = "\n".join([source, '#line 1 "launchers"', *launchers, *aliases, ""])
        headers = [header.read_text() for header in HEADERS]
        key = hashlib.sha256(repr((headers, code, text, options)).encode()).hexdigest()
        library = _folder() / f"{key[:16]}.so"
        if not library.exists():
            new = library.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            _gcc(text, [*LANGUAGE, *FLAGS, *options, "-o", str(new), "-"])
            new.replace(library)  # whole, for other threads and processes
        self._library = ctypes.PyDLL(str(library))

    @property
    def static_shared(self) -> int:
        """Bytes of static shared memory of the file's kernels, all together."""
        statics = self._library["cuda_on_host_statics"]
        statics.restype = ctypes.c_size_t
        return int(statics())

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: Sequence[Any],
        shared_mem: int = 0,
        order: int | None = None,
        cooperative: bool = False,
    ) -> None:
        """Run a kernel to its end.

        Blocks run one after the other, but those of a cluster, or of a cooperative launch, at once.

        Args:
            name: The kernel.
            grid: Blocks along x, y and z.
            block: Threads of a block along x, y and z.
            args: An array, C-contiguous, goes by pointer; None as a null pointer; a numpy.uintp,
                where the parameter is a pointer, as that address; a NumPy scalar, which may be a
                struct, by value; an int, float or bool by value with 64, 64 and 8 bits.
            shared_mem: Bytes of dynamic shared memory.
            order: Which of the blocks, and of the threads that can run, is first: None the one with
                the smallest index, `BACKWARD` that with the largest, a number from 0 on seeds a
                shuffle. A kernel whose result depends on it has a race, or adds with atomics.
            cooperative: Whether blocks may wait for each other.

        Raises:
            LaunchError: The kernel has a bug; what it had written stays.
            TypeError: The arguments are not the kernel's.
            ValueError: There is no such kernel, or a number is out of range.
        """
        if name not in self.names:
            raise ValueError(f"no kernel {name!r}: there are {', '.join(self.names)}")
        _check_range("grid", grid, MOST_BLOCKS)
        _check_range("block", block, MOST_THREADS)
        if np.prod(block) > MOST_THREADS[0]:
            raise ValueError(f"block {block} has more than {MOST_THREADS[0]} threads")
        if not 0 <= shared_mem <= MOST_SHARED:
            raise ValueError(f"shared_mem is {shared_mem}, not from 0 to {MOST_SHARED}")
        if order is not None and not BACKWARD <= order < 2**31 - 4:
            raise ValueError(f"order is {order}, neither a seed nor {BACKWARD}")

        at_once = int(np.prod(grid)) if cooperative else self._clusters.get(name, 1)
        if not cooperative and grid[0] % at_once:
            raise ValueError(f"grid {grid} is not a whole number of clusters of {at_once} blocks")

        described = self._library[f"parameters_{name}"]
        described.restype = ctypes.c_char_p
        parameters = described().decode().split()
        if len(parameters) != len(args):
            raise TypeError(f"{name} takes {len(parameters)} arguments, got {len(args)}")
        values = [
            _value(f"argument {i} of {name}", parameter, argument)
            for i, (parameter, argument) in enumerate(zip(parameters, args, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        run = self._library[f"launch_{name}"]
        run.restype = ctypes.c_char_p
        triple = ctypes.c_int * 3
        how = ctypes.c_int64(-2 if order is None else order)
        error = run(
            pointers, triple(*grid), triple(*block), ctypes.c_size_t(shared_mem), how, at_once
        )
        if error:
            raise LaunchError(f"{name}, {error.decode()}")


def check(source: str) -> None:
    """Have g++ read a source without making code of it.

    Raises:
        CompileError: g++ refuses it.
    """
    _gcc(source, [*LANGUAGE, *FLAGS, "-fsyntax-only", "-"])


def kernel_names(source: str) -> tuple[str, ...]:
    """The names of a source's kernels."""
    return _names(_preprocessed(source))


def _preprocessed(source: str, options: Sequence[str] = ()) -> str:
    # Without the header CUDA's words stay; macros that write kernels are written out.
    return _gcc(source, ["-E", "-P", *LANGUAGE, *options, "-"])


def _names(code: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name in KERNEL.findall(code)))


def _check_range(name: str, sizes: tuple[int, int, int], most: tuple[int, int, int]) -> None:
    if len(sizes) != 3 or not all(1 <= n <= m for n, m in zip(sizes, most, strict=True)):
        raise ValueError(f"{name} is {sizes}, not three numbers from 1 to {most}")


def _value(what: str, parameter: str, argument: Any) -> np.ndarray:
    """The bytes of an argument, for a parameter such as "p8": its kind and its size."""
    kind, size = parameter[0], int(parameter[1:])
    if argument is None:
        value, given = np.zeros(1, np.uint64), "p"
    elif isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise TypeError(f"{what} is not C-contiguous")
        if kind == "p" and not argument.flags.writeable:
            raise TypeError(f"{what} is read-only, and its pointer is not to const")
        value, given = np.array([argument.ctypes.data], np.uint64), "p"
    elif isinstance(argument, np.uintp) and kind in "pP":
        value, given = np.array([argument]), "p"
    elif isinstance(argument, np.generic | bool | int | float):
        value = np.array(argument)  # a copy, aligned as the C struct may need
        given = value.dtype.kind.replace("u", "i")
    else:
        raise TypeError(f"{what} is a {type(argument).__name__}")
    if given != kind.replace("P", "p").replace("u", "i"):
        raise TypeError(f"{what} is of kind {given!r}, its parameter of kind {kind!r}")
    if value.nbytes != size:
        raise TypeError(f"{what} has {value.nbytes} bytes, its parameter {size}")
    return value


@functools.cache
def _folder() -> Path:  # of the libraries of this process, or of all that name one
    if kept := os.environ.get("CUDA_ON_HOST_LIBRARIES"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    folder = Path(tempfile.mkdtemp(prefix="cuda_on_host_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _gcc(text: str, arguments: Sequence[str]) -> str:
    """What g++ prints of a text given as its input, which its messages call kernels.cu."""
    done = subprocess.run(
        ["g++", *arguments],
        input=f'#line 1 "kernels.cu"\n{text}',
        env=os.environ | {"LC_ALL": "C"},  # its words in ASCII English
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise CompileError(done.stderr)
    return done.stdout


class HostKernels:
    """One file's kernels, run on the host; see `arraymlp.engines.cuda.source.Launches`.

    Args:
        name: the file's.
        order: as for `HostModule.launch`.
        processors: multiprocessors, 132 as an H100 has; blocks and parts are divided among them.
    """

    shared_memory, compute_capability = MOST_SHARED, 9.0

    def __init__(self, name: str, order: int | None = None, processors: int = 132) -> None:
        self._module, self._order = host_module(name), order
        self.processors = processors
        self.launched: list[str] = []

    def prepare(self, names: Iterable[str]) -> None:
        """Nothing: the file is compiled."""

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Any],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Run a kernel to its end; a cooperative launch has a block a processor at most."""
        from arraymlp.engines.cuda.source import RefusedError

        if cooperative and np.prod(grid) > self.processors:
            raise RefusedError(f"{self.processors} blocks fit on the host, not {np.prod(grid)}")
        self.launched.append(name)
        block = (threads, 1, 1)
        self._module.launch(name, grid, block, args, shared, self._order, cooperative)

    def address(self, array: Any) -> int:
        """The address of the array's first number."""
        assert array.flags.c_contiguous
        return int(array.ctypes.data)


@functools.cache
def host_module(name: str) -> HostModule:
    """The package's kernel file of that name."""
    from arraymlp.engines.cuda.source import source

    return HostModule(source(name))
