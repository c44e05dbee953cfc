"""The errors of CUDA's libraries, with CuPy's classes and words."""

from typing import Any

ERRORS = {
    1: ("cudaErrorInvalidValue", "invalid argument"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    101: ("cudaErrorInvalidDevice", "invalid device ordinal"),
    700: ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
    701: ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"),
    900: (
        "cudaErrorStreamCaptureUnsupported",
        "operation not permitted when stream is capturing",
    ),
    901: (
        "cudaErrorStreamCaptureInvalidated",
        "operation failed due to a previous error during capture",
    ),
}


class CUDARuntimeError(RuntimeError):
    """An error of CUDA's runtime, with its name and words."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__("{}: {}".format(*ERRORS[status]))

    def __reduce__(self) -> Any:
        return type(self), (self.status,)


CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"


DRIVER_ERRORS = {
    1: ("CUDA_ERROR_INVALID_VALUE", "invalid argument"),
    500: ("CUDA_ERROR_NOT_FOUND", "named symbol not found"),
    700: ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    701: ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"),
    720: (
        "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
        "too many blocks in cooperative launch",
    ),
    912: ("CUDA_ERROR_INVALID_CLUSTER_SIZE", "invalid cluster size"),
}


class CUDADriverError(RuntimeError):
    """An error of CUDA's driver, with its name and words."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__("{}: {}".format(*DRIVER_ERRORS[status]))

    def __reduce__(self) -> Any:
        return type(self), (self.status,)


CUDADriverError.__module__ = "cupy_backends.cuda.api.driver"


class CUBLASError(RuntimeError):
    """An error of cuBLAS."""


CUBLASError.__module__ = "cupy_backends.cuda.libs.cublas"
