"""CuPy as the device of the CUDA kernels: compiles, launches and records them as graphs."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy
import numpy as np

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.cublas import plan
from arraymlp.engines.cuda.source import source

log = logging.getLogger("arraymlp")

OPTIONS = ("--std=c++17",)
MOST_MEMBERS = 65_535  # blocks along y or z
FUSED_FROM = 7.0  # compute capability of Volta, the first that has __grid_constant__ parameters
NULL = np.uintp(0)  # a null pointer; None is to CuPy an argument that stands nowhere


class Kernels:
    """The kernels of one source file on one device; `arraymlp.engines.cuda.source.Launches`.

    They are compiled when the first is launched, or, where the file can be compiled for ONLY one of
    them, each when it is, unless CuPy's cache on the disk has them.
    """

    def __init__(self, name: str, number: int) -> None:
        attributes = cupy.cuda.Device(number).attributes
        self.processors = int(attributes["MultiProcessorCount"])
        self.shared_memory = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self._source = source(name)
        self._modules: dict[tuple[str, ...], Any] = {}
        self._kernels: dict[str, Any] = {}

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Queue a kernel on the current stream."""
        kernel = self._kernels.get(name)
        if kernel is None:
            kernel = self._kernels[name] = self._compiled(name)
        passed = tuple(NULL if arg is None else arg for arg in args)
        kernel(grid, (threads,), passed, shared_mem=shared)

    def _compiled(self, name: str) -> Any:
        one = ("-DONLY", f"-DONLY_{name}") if "defined(ONLY)" in self._source else ()
        options = (*OPTIONS, *one)
        if options not in self._modules:
            self._modules[options] = cupy.RawModule(code=self._source, options=options)
        kernel = self._modules[options].get_function(name)
        kernel.max_dynamic_shared_size_bytes = self.shared_memory  # unasked, 48 KiB
        return kernel

    def address(self, array: Array) -> int:
        """Where the array's numbers stand in the device's memory."""
        return int(array.data.ptr)


def recorded(work: Callable[[], None]) -> Callable[[], None]:
    """The launches of ``work`` as a CUDA graph: a function that starts them all at once.

    Nothing of it runs now. It must not allocate, copy to or from the host, or call cuBLAS. Another
    thread may do so meanwhile: the capture is of this thread's stream alone ("relaxed").
    """
    aside = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be captured
    with aside:
        aside.begin_capture(cupy.cuda.runtime.streamCaptureModeRelaxed)
        try:
            work()
        finally:
            graph = aside.end_capture()
    return lambda: graph.launch()


@cache
def kernels(name: str, number: int) -> Kernels:
    """The kernels of this source file on the device of this number."""
    return Kernels(name, number)


class Products:
    """Matrix products by cuBLAS, on the current device and stream, whatever CuPy's settings.

    float64 is computed in float64, bfloat16 (as uint16, its bits) with sums and results in float32.

    Args:
        tf32: whether factors of float32 are rounded to TF32, which has 10 bits after the point.
    """

    def __init__(self, tf32: bool = False) -> None:
        cublas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        single = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if tf32 else cublas.CUBLAS_COMPUTE_32F
        self._scalars = {np.dtype(kind): np.ones(2, kind) for kind in ("float32", "float64")}
        f32, f64, bf16 = runtime.CUDA_R_32F, runtime.CUDA_R_64F, runtime.CUDA_R_16BF
        # Of factors of a dtype: their type, the result's type, and how it is computed.
        self._kinds = {
            np.dtype("float32"): (f32, f32, single),
            np.dtype("float64"): (f64, f64, cublas.CUBLAS_COMPUTE_64F),
            np.dtype("uint16"): (bf16, f32, cublas.CUBLAS_COMPUTE_32F),
        }

    def __call__(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        """Put alpha A B + beta out into out; `arraymlp.engines.cuda.cublas.Multiplies`."""
        todo, (kind, result, compute) = plan(a, b, out), self._kinds[a.dtype]
        cublas, scalars = cupy.cuda.cublas, self._scalars[out.dtype]
        scalars[0], scalars[1] = alpha, beta  # read before the call returns
        one = scalars.ctypes.data
        two = one + scalars.itemsize
        op_b, op_a = todo.transposed  # CUBLAS_OP_N is 0, CUBLAS_OP_T 1
        ldb, lda, ldc = todo.leading
        told = (op_b, op_a, *todo.sizes, one)
        handle, default = cupy.cuda.device.get_cublas_handle(), cublas.CUBLAS_GEMM_DEFAULT
        for call in range(todo.calls):
            pb, pa, pc = (
                array.data.ptr + call * step * array.itemsize
                for array, step in zip((b, a, out), todo.steps, strict=True)
            )
            if todo.matrices == 1:
                factors = (pb, kind, ldb, pa, kind, lda)
                made = (two, pc, result, ldc, compute, default)
                cublas.gemmEx(handle, *told, *factors, *made)
            else:
                apart_b, apart_a, apart_c = todo.apart
                stacks = (pb, kind, ldb, apart_b, pa, kind, lda, apart_a)
                stack = (two, pc, result, ldc, apart_c, todo.matrices, compute, default)
                cublas.gemmStridedBatchedEx(handle, *told, *stacks, *stack)
