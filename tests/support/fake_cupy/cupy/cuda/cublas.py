"""The two products of cuBLAS that the package calls, by NumPy, on what lies at addresses.

As strict as cuBLAS: it refuses leading dimensions that are too small and types that it does not
multiply; and it refuses to work while the stream is captured, as CuPy does.
"""

import ctypes
from typing import Any

import numpy as np

from cupy import _state
from cupy._errors import CUBLASError
from cupy._memory import require_allocated
from cupy.cuda.runtime import CUDA_R_16BF, CUDA_R_32F, CUDA_R_64F

CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT_TENSOR_OP = -1, 99
CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
DTYPES = {
    CUDA_R_32F: np.dtype("float32"),
    CUDA_R_64F: np.dtype("float64"),
    CUDA_R_16BF: np.dtype("uint16"),  # its bits
}
# Factors, result, computation: what cublasGemmEx's table has of what is multiplied here.
SUPPORTED = {
    (CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F),
    (CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32),
    (CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F),
    (CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F),
}


def gemmEx(  # noqa: N802
    handle: int,
    transa: int,
    transb: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    A: int,
    Atype: int,
    lda: int,
    B: int,
    Btype: int,
    ldb: int,
    beta: int,
    C: int,
    Ctype: int,
    ldc: int,
    computeType: int,
    algo: int,
) -> None:
    """C = alpha op(A) op(B) + beta C, matrices by columns."""
    gemmStridedBatchedEx(
        *(handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0),
        *(beta, C, Ctype, ldc, 0, 1, computeType, algo),
    )


def gemmStridedBatchedEx(  # noqa: N802
    handle: int,
    transa: int,
    transb: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    A: int,
    Atype: int,
    lda: int,
    strideA: int,
    B: int,
    Btype: int,
    ldb: int,
    strideB: int,
    beta: int,
    C: int,
    Ctype: int,
    ldc: int,
    strideC: int,
    batchCount: int,
    computeType: int,
    algo: int,
) -> None:
    """The same for stacks of matrices, which lie so many numbers apart."""
    numbers = (transa, transb, m, n, k, lda, strideA, ldb, strideB, ldc, strideC, batchCount)
    if not all(isinstance(number, int) for number in (*numbers, A, B, C, alpha, beta)):
        raise TypeError("an integer is required")
    if _state.current_stream().captured is not None:
        raise NotImplementedError(
            "calling cuBLAS API during stream capture is currently unsupported"
        )
    if handle != 1000 + _state.device():
        raise CUBLASError("CUBLAS_STATUS_MAPPING_ERROR")  # of another device
    rows_a, rows_b = (k if transa else m), (n if transb else k)
    leads = (lda, rows_a), (ldb, rows_b), (ldc, m)
    if min(m, n, k, batchCount) < 1 or any(lead < rows for lead, rows in leads):
        raise CUBLASError("CUBLAS_STATUS_INVALID_VALUE")
    types = (Atype, Ctype, computeType)
    if Atype != Btype or types not in SUPPORTED or algo != CUBLAS_GEMM_DEFAULT:
        raise CUBLASError("CUBLAS_STATUS_NOT_SUPPORTED")
    stack = batchCount
    a = _factors(A, Atype, (stack, strideA), (rows_a, m if transa else k), lda, computeType)
    b = _factors(B, Btype, (stack, strideB), (rows_b, k if transb else n), ldb, computeType)
    c = _matrices(C, DTYPES[Ctype], (stack, strideC), (m, n), ldc)
    scalar = DTYPES[Ctype]  # alpha and beta are of the computation's type, on the host
    factor, old = (_matrices(at, scalar, (1, 0), (1, 1), 1, False)[0] for at in (alpha, beta))
    a, b = (x.mT if transposed else x for x, transposed in ((a, transa), (b, transb)))
    product = factor * np.matmul(a, b)
    c[...] = product + old * c if old[0, 0] else product


def _factors(
    at: int, kind: int, stack: tuple[int, int], shape: tuple[int, int], lead: int, compute: int
) -> np.ndarray[Any, Any]:
    values = _matrices(at, DTYPES[kind], stack, shape, lead)
    if kind == CUDA_R_16BF:
        return (values.astype(np.uint32) << 16).view(np.float32)
    if compute == CUBLAS_COMPUTE_32F_FAST_TF32:  # to 10 bits after the point
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
    return values


def _matrices(
    at: int,
    dtype: np.dtype[Any],
    stack: tuple[int, int],
    shape: tuple[int, int],
    lead: int,
    on_device: bool = True,
) -> np.ndarray[Any, Any]:
    """The matrices (stack, rows, columns) that lie by columns at an address."""
    (count, apart), (rows, columns) = stack, shape
    nbytes = ((count - 1) * apart + (columns - 1) * lead + rows) * dtype.itemsize
    if on_device:
        require_allocated(at, nbytes)
    memory = np.frombuffer((ctypes.c_char * nbytes).from_address(at), dtype)
    strides = (apart * dtype.itemsize, dtype.itemsize, lead * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(memory, (count, rows, columns), strides)
