"""``RawModule``: kernels of a source, run on the host by ``cuda_on_host``."""

import math
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cupy import _compiled, _memory, _state
from cupy._errors import CUDADriverError
from cupy._ndarray import ndarray

sys.path.append(str(Path(__file__).parents[3] / "engines"))  # where cuda_on_host lies
from cuda_on_host import HostModule, LaunchError

OPTIONS = ("--std=c++17", "-std=c++17")  # those that g++ is given anyway
_modules: dict[tuple[Any, ...], HostModule] = {}  # by device and text, as CuPy's
_functions: dict[tuple[HostModule, str], "Function"] = {}
_lock = threading.Lock()


class RawModule:
    """The kernels of a source; they are compiled when the first is asked for."""

    def __init__(
        self,
        *,
        code: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        enable_cooperative_groups: bool = False,
    ) -> None:
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("code must be a str, and options a tuple")
        if unknown := [option for option in options if option not in OPTIONS]:
            raise NotImplementedError(f"the fake has no options {unknown}")
        self.code, self.options = code, options
        self.enable_cooperative_groups = enable_cooperative_groups

    def _module(self) -> HostModule:
        key = (_state.device(), self.code, self.options, self.enable_cooperative_groups)
        if key not in _modules:
            module = HostModule(self.code)
            with _lock:
                if key not in _modules:
                    _modules[key] = module
                    _compiled.compiled(_compiled.OWN, module.names[0], key)
        return _modules[key]

    def compile(self, log_stream: Any = None) -> None:
        """Compile it, and load it."""
        self._module()

    def get_function(self, name: str) -> "RawKernel":
        """A kernel by its name."""
        module = self._module()
        if name not in module.names:
            raise CUDADriverError(500)
        function = _functions.setdefault((module, name), Function(module, name))
        return RawKernel(function, self.enable_cooperative_groups)


class RawKernel:
    """A kernel of a module; made by it."""

    def __init__(self, function: "Function", cooperative: bool) -> None:
        self.kernel, self.enable_cooperative_groups = function, cooperative
        self.name = function.name

    @property
    def shared_size_bytes(self) -> int:
        """Bytes of static shared memory that a block has."""
        return self.kernel.statics

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Bytes of dynamic shared memory that a block may be given."""
        return self.kernel.shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, n_bytes: int) -> None:
        room = _state.ATTRIBUTES["MaxSharedMemoryPerBlockOptin"] - self.shared_size_bytes
        if not 0 <= n_bytes <= room:
            raise CUDADriverError(1)
        self.kernel.shared = n_bytes

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        """Queue it."""
        at_once = self.enable_cooperative_groups
        self.kernel(grid, block, args, shared_mem, stream, enable_cooperative_groups=at_once)


class Function:
    """A kernel as the driver has it."""

    def __init__(self, module: HostModule, name: str) -> None:
        self._module, self.name, self.ptr = module, name, id(self)
        self.statics = module.static_shared
        self.shared = _state.ATTRIBUTES["MaxSharedMemoryPerBlock"]  # that a block may be given

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        stream: Any = None,
        enable_cooperative_groups: bool = False,
    ) -> None:
        """Queue it; with cooperative groups, its blocks may wait for each other."""
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError("grid and block must be tuples")
        if shared_mem > self.shared:
            raise CUDADriverError(1)
        grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        if enable_cooperative_groups:
            fit = active_blocks(math.prod(block), shared_mem)
            if math.prod(grid) > fit * _state.ATTRIBUTES["MultiProcessorCount"]:
                raise CUDADriverError(720)
        given = [_argument(arg) for arg in args]
        pointers = [p for arg in given for p in _pointers(arg)]

        def work() -> None:
            for pointer, number in pointers:
                found = _memory.owner(pointer)
                if found is None or found[2] != number:
                    raise LaunchError(f"{self.name}: an array of it was freed")
            _state.counts["launches"] += 1
            at_once = enable_cooperative_groups
            self._module.launch(self.name, grid, block, given, shared_mem, cooperative=at_once)

        stream = _state.current_stream() if stream is None else stream
        stream.queue(work)


def active_blocks(threads: int, shared: int) -> int:
    """The blocks that a multiprocessor has at once. Laxer than CUDA's: registers do not count."""
    room = _state.ATTRIBUTES["MaxSharedMemoryPerMultiprocessor"]
    return min(room // (shared + 1024), 2048 // threads, 32)


def _argument(arg: Any) -> Any:
    """An argument as `HostModule.launch` takes it: an array by its address, a scalar by value."""
    if arg is None:
        return np.uintp(0)
    if isinstance(arg, ndarray):
        if arg._block.device_id != _state.device():
            raise ValueError("an array of another device is given to a kernel")
        return np.uintp(arg.data.ptr)
    if isinstance(arg, np.ndarray):
        if arg.size != 1:
            raise TypeError(
                f"You are trying to pass a numpy.ndarray of shape {arg.shape} as a kernel "
                "parameter."
            )
        return arg.reshape(())[()]
    if isinstance(arg, np.generic | bool | int | float):
        return arg.copy() if isinstance(arg, np.void) else arg
    raise TypeError(f"Unsupported type {type(arg)}")


def _pointers(arg: Any) -> list[tuple[int, int]]:
    """What of an argument is an address of device memory, and the number of the block there."""
    if isinstance(arg, np.void):
        words = np.frombuffer(arg.tobytes()[: arg.nbytes // 8 * 8], np.uint64)
    elif isinstance(arg, np.uint64):
        words = np.atleast_1d(arg)
    else:
        return []
    found = [(int(word), _memory.owner(int(word))) for word in words if word]
    return [(word, block[2]) for word, block in found if block is not None]
