"""CuPy as the device of the CUDA kernels: compiles, launches and records them as graphs."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, cast

import cupy
import numpy as np

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.arrays import DeviceArray
from arraymlp.engines.cuda.cublas import plan
from arraymlp.engines.cuda.source import Argument, RefusedError, only, source

OPTIONS = ("--std=c++17",)
# CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, _COOPERATIVE_LAUNCH_TOO_LARGE, _NOT_SUPPORTED and
# _INVALID_CLUSTER_SIZE: a debugger, say, or another process on the device has what the blocks need,
# or a part of a device has too few processors next to each other.
REFUSALS = (701, 720, 801, 912)
NULL = np.uintp(0)  # a null pointer; CuPy drops an argument that is None


class Kernels:
    """The kernels of one source file on one device; see `arraymlp.engines.cuda.source.Launches`.

    A file is compiled as a whole, or, where it can be compiled for ONLY one of its kernels, each
    of them for itself, when it is asked for; unless CuPy's cache on disk has it.
    """

    def __init__(self, name: str, number: int) -> None:
        device = cupy.cuda.Device(number)
        attributes = device.attributes
        self.processors = int(attributes["MultiProcessorCount"])
        self.shared_memory = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self.compute_capability = int(device.compute_capability) / 10  # of "90" or "120"
        self._source, self._number = source(name), number
        self._modules: dict[str, Future[Any]] = {}  # by their text
        self._kernels: dict[str, Any] = {}

    def prepare(self, names: Iterable[str]) -> None:
        """Begin to compile kernels, side by side; a launch waits for its own.

        NVRTC compiles without Python's lock, and what CuPy does around it is made for threads: its
        files are moved into their cache as wholes, and its modules are known by device and text.
        """
        for name in names:
            self._compiling(only(self._source, name))

    def _compiling(self, text: str) -> Future[Any]:
        future = self._modules.get(text)
        if future is None or (future.done() and future.exception()):  # a lack of memory passes
            future = self._modules[text] = _compilers().submit(self._module, text)
        return future

    def _module(self, text: str) -> Any:
        with cupy.cuda.Device(self._number):  # each thread begins with the first device
            module = cupy.RawModule(code=text, options=OPTIONS)
            module.compile()
        return module

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Argument],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Queue a kernel on the current stream."""
        kernel = self._kernels.get(name)
        if kernel is None:
            kernel = self._kernels[name] = self._compiled(name)
        passed = tuple(NULL if arg is None else arg for arg in args)
        function, driver = kernel.kernel, cupy.cuda.driver
        if cooperative:
            # Where not all fit, CuPy would launch fewer, with a warning.
            fit = driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, threads, shared)
            blocks, room = grid[0] * grid[1] * grid[2], fit * self.processors
            if blocks > room:
                raise RefusedError(f"{room} blocks fit on the device, not {blocks}")
        try:
            function(grid, (threads,), passed, shared, enable_cooperative_groups=cooperative)
        except driver.CUDADriverError as error:
            if error.status not in REFUSALS:
                raise
            raise RefusedError(str(error)) from error

    def _compiled(self, name: str) -> Any:
        compiling = self._compiling(only(self._source, name))
        kernel = compiling.result().get_function(name)
        # 48 KiB by default. CUDA refuses more than what the kernel's static shared memory leaves.
        kernel.max_dynamic_shared_size_bytes = self.shared_memory - kernel.shared_size_bytes
        return kernel

    def address(self, array: Array) -> int:
        """Return the address of the array in the device's memory."""
        return int(cast(DeviceArray, array).data.ptr)


def recorded(work: Callable[[], None]) -> Callable[[], None]:
    """Record the launches of ``work`` as a CUDA graph; return a function that launches all at once.

    Nothing runs now. The work must not allocate, copy to or from the host, or call cuBLAS. Another
    thread may do so meanwhile, since only this thread's stream is captured ("relaxed").
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
def _compilers() -> ThreadPoolExecutor:
    """The threads that compile; as many as there are kernels to wait for, up to Python's limit."""
    return ThreadPoolExecutor(thread_name_prefix="arraymlp-compiler")


@cache
def kernels(name: str, number: int) -> Kernels:
    """The kernels of a source file on the device of that number; made once."""
    return Kernels(name, number)


class Products:
    """Matrix products by cuBLAS, on the current device and stream, whatever CuPy's settings.

    float64 is computed in float64, bfloat16 (as uint16, its bits) with sums and results in float32.

    Args:
        tf32: True to round factors of float32 to TF32, which has 10 bits after the point.
    """

    def __init__(self, tf32: bool = False) -> None:
        cublas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        single = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if tf32 else cublas.CUBLAS_COMPUTE_32F
        self._scalars = {np.dtype(kind): np.ones(2, kind) for kind in ("float32", "float64")}
        f32, f64, bf16 = runtime.CUDA_R_32F, runtime.CUDA_R_64F, runtime.CUDA_R_16BF
        # By the factors' dtype: their type, the result's type, and that of the computation.
        self._types = {
            np.dtype("float32"): (f32, f32, single),
            np.dtype("float64"): (f64, f64, cublas.CUBLAS_COMPUTE_64F),
            np.dtype("uint16"): (bf16, f32, cublas.CUBLAS_COMPUTE_32F),
        }

    def __call__(
        self, a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        """Put alpha A B + beta out into out; see `arraymlp.engines.cuda.cublas.Multiplies`."""
        planned, (factor, result, compute) = plan(a, b, out), self._types[a.dtype]
        cublas, scalars = cupy.cuda.cublas, self._scalars[out.dtype]
        scalars[0], scalars[1] = alpha, beta  # read before the call returns
        alpha_at = scalars.ctypes.data
        beta_at = alpha_at + scalars.itemsize
        op_b, op_a = planned.transposed  # CUBLAS_OP_N is 0, CUBLAS_OP_T 1
        ldb, lda, ldc = planned.leading
        common = (op_b, op_a, *planned.sizes, alpha_at)
        handle, default = cupy.cuda.device.get_cublas_handle(), cublas.CUBLAS_GEMM_DEFAULT
        arrays = [cast(DeviceArray, array) for array in (b, a, out)]
        for call in range(planned.calls):
            b_at, a_at, out_at = (
                array.data.ptr + call * step * array.itemsize
                for array, step in zip(arrays, planned.steps, strict=True)
            )
            if planned.matrices == 1:
                factors = (b_at, factor, ldb, a_at, factor, lda)
                product = (beta_at, out_at, result, ldc, compute, default)
                cublas.gemmEx(handle, *common, *factors, *product)
            else:
                apart_b, apart_a, apart_out = planned.apart
                stacks = (b_at, factor, ldb, apart_b, a_at, factor, lda, apart_a)
                stack = (
                    beta_at,
                    out_at,
                    result,
                    ldc,
                    apart_out,
                    planned.matrices,
                    compute,
                    default,
                )
                cublas.gemmStridedBatchedEx(handle, *common, *stacks, *stack)
