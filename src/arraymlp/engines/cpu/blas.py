"""Matrix products by NumPy's own BLAS, in two ways that `numpy.matmul` lacks.

- Added to C, C <- A B + beta C: a gradient goes straight into the weights or into their velocity,
  which saves one pass over memory after the product.
- Cut into independent blocks of C's rows, one for each thread. OpenBLAS's own threads share a
  product more closely and wait for each other several times in it; at the sizes of small networks,
  and the more on a busy machine, that costs much of the second thread's gain.

The function called is ``cblas_?gemm_batch``, where the BLAS is an OpenBLAS that has it, as that of
NumPy's wheels on Linux and Windows does. Elsewhere `Product` multiplies by `numpy.matmul` and adds
after it. SciPy offers gemm with beta in Python, but of a second OpenBLAS with threads of its own,
and the waiting threads of two pools fight for the cores (a step was seen to take 29 times as long).
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.threads import call_alone, matmul, row_blocks, thread_pools

OLDEST = (0, 3, 29)  # the oldest version that the tests have run on
# In builds for many processors gemm_batch crashes on products of up to 100^3 multiply-adds, for
# which it looks up a kernel in the wrong table (OpenBLAS's pull request 5980 of August 2026).
SMALL = 100**3
WORTH_A_BLOCK = 2_000_000  # multiply-adds; a thread that does fewer is hardly worth waking
# On a busy machine a product by several threads waits for the one that has no core, and can take
# ten times as long as by one. So calls are timed, and the slower way is tried again now and then,
# for some calls, as the first of them wakes the threads. The blocks, and the bits, are the same
# either way.
PERIOD, TRIES = 1024, 16

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # of cblas.h


Layout: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]  # shape, strides, dtype


class CFunction(Protocol):
    """A function of a C library, as ctypes has it."""

    argtypes: Sequence[type]
    restype: type | None

    def __call__(self, *args: object) -> Any:  # of its restype
        """Call it."""


class Blas(NamedTuple):
    """The functions of a BLAS that are called.

    Attributes:
        gemm: by dtype, "float32" and "float64".
        integer: the type of its integers.
        set_threads: sets the number of threads of its pool.
    """

    gemm: dict[str, CFunction]
    integer: type[np.int32 | np.int64]
    set_threads: Callable[[int], object]


@cache
def numpy_blas() -> Blas | None:
    """The OpenBLAS that NumPy multiplies with; None where it has another BLAS, or an old one."""
    pools = [pool for pool in thread_pools() if pool["internal_api"] == "openblas"]
    numpys = [p for p in pools if "numpy" in p["filepath"].replace("\\", "/").split("/")[-2]]
    for pool in numpys or pools:
        numbers = tuple(int(n) for n in pool["version"].split(".")[:3] if n.isdecimal())
        if numbers < OLDEST:
            continue
        library = ctypes.CDLL(pool["filepath"])
        for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
            names = [f"{prefix}cblas_{letter}gemm_batch{suffix}" for letter in "sd"]
            names += [f"{prefix}openblas_{name}{suffix}" for name in _SETTINGS]
            if all(hasattr(library, name) for name in names):
                return _declared(*(getattr(library, name) for name in names))
    return None


_SETTINGS = ("set_num_threads", "get_config")


def _declared(
    single: CFunction,
    double: CFunction,
    set_threads: CFunction,
    config: CFunction,
) -> Blas:
    """The functions with their C types declared."""
    config.restype = ctypes.c_char_p
    wide = b"USE64BITINT" in config()
    integer = ctypes.c_int64 if wide else ctypes.c_int32
    for gemm in (single, double):
        # order, 13 arrays with an entry a group, the number of groups, the products of each
        gemm.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 13, integer, ctypes.c_void_p]
        gemm.restype = None
    set_threads.argtypes, set_threads.restype = [ctypes.c_int], None
    return Blas(
        {"float32": single, "float64": double},
        np.int64 if wide else np.int32,
        set_threads,
    )


class Product:
    """C <- A B + beta C, with A (..., m, k), B (..., k, n) and C (..., m, n) of one dtype.

    Made once for given sizes, and called for many arrays of these. A leading axis is of members;
    A's may be shorter: each matrix is then that of K / G neighbouring members.

    Args:
        m: rows of C.
        k: columns of A.
        n: columns of C.
        members: K, or None.
        dtype: "float32" or "float64".
        threads: the number of threads that may share it.
    """

    def __init__(self, m: int, k: int, n: int, members: int | None, dtype: str, threads: int):
        self.members = members or 1
        self.scratch: HostArray | None = None
        self.seen: list[HostArray | None] = [None, None, None]
        self.blas = numpy_blas() if m * k * n > SMALL else None
        if self.blas is None:
            return
        ends = row_blocks(m, min(threads // self.members, m * k * n // WORTH_A_BLOCK))
        blocks = len(ends) - 1
        entries = self.members * blocks
        self.threads = min(threads, entries)
        self.calls = 0
        self.seconds = [0.0, 0.0]  # of a call by one thread and by several: running means
        self.member = np.repeat(np.arange(self.members), blocks)
        self.start = np.tile(ends[:-1], self.members)

        integer = self.blas.integer

        def integers(values: HostArray | int) -> HostArray:
            return np.resize(np.asarray(values, integer), entries)

        self.transposed = [np.full(entries, _PLAIN, np.int32) for _ in "ab"]
        self.pointers = [np.zeros(entries, np.uintp) for _ in "abc"]
        self.offsets = [np.zeros(entries, np.uintp) for _ in "abc"]
        self.leading = [integers(0) for _ in "abc"]
        self.beta = np.zeros(entries, dtype)
        self.sizes = [integers(np.diff(ends)), integers(n), integers(k)]
        self.alpha, self.one = np.ones(entries, dtype), integers(1)
        (a, b, c), (lda, ldb, ldc) = self.pointers, self.leading
        arrays = [*self.transposed, *self.sizes, self.alpha, a, lda, b, ldb, self.beta, c, ldc]
        addresses = [array.ctypes.data for array in arrays]
        self.gemm = self.blas.gemm[dtype]
        self.call = (_ROW_MAJOR, *addresses, entries, self.one.ctypes.data)
        self.shapes = ((m, k), (k, n), (m, n))
        self.layouts: list[Layout | None] = [None, None, None]
        self.dtype = np.dtype(dtype)

    @property
    def adds(self) -> bool:
        """True where adding to C takes no pass over memory of its own."""
        return self.blas is not None

    def __call__(
        self, a: HostArray, b: HostArray, c: HostArray, beta: float | HostArray = 0.0
    ) -> None:
        """Multiply.

        Args:
            a: (..., m, k), or (G, m, k).
            b: (..., k, n).
            c: (..., m, n), overwritten.
            beta: a number, or (1, 1) or (K, 1, 1).
        """
        seen = self.seen
        if (
            self.blas is None
            or not (a is seen[0] or self._set(0, a))
            or not (b is seen[1] or self._set(1, b))
            or not (c is seen[2] or self._set(2, c))
        ):
            self._by_matmul(a, b, c, beta)
            return
        if isinstance(beta, float) or beta.ndim == 2:
            self.beta[:] = beta
        else:
            self.beta[:] = beta[self.member, 0, 0]
        if self.threads == 1:
            self.gemm(*self.call)
            return
        trying = self.calls % PERIOD < TRIES
        threaded = (self.seconds[1] <= self.seconds[0]) != trying
        self.calls += 1
        started = perf_counter()
        threaded = threaded and call_alone(self._by_threads)
        if not threaded:
            self.gemm(*self.call)
        took, other = perf_counter() - started, self.seconds[not threaded]
        took = min(took, 3 * other) if other else took  # an interruption counts only so much
        self.seconds[threaded] += (took - self.seconds[threaded]) / 8

    def _by_threads(self) -> None:
        assert self.blas is not None
        self.blas.set_threads(self.threads)
        try:
            self.gemm(*self.call)
        finally:
            self.blas.set_threads(1)

    def _set(self, i: int, array: HostArray) -> bool:
        """Point at operand i; False where its layout is none that BLAS accepts."""
        layout = array.shape, array.strides, array.dtype
        if layout != self.layouts[i] and not self._lay_out(i, array):
            return False
        np.add(self.offsets[i], np.uintp(array.ctypes.data), out=self.pointers[i])
        self.layouts[i], self.seen[i] = layout, array
        return True

    def _lay_out(self, i: int, array: HostArray) -> bool:
        """Compute where the blocks of operand i start, and how far apart its rows are."""
        self.seen[i] = self.layouts[i] = None
        rows, columns = self.shapes[i]
        if array.dtype != self.dtype or array.shape[-2:] != (rows, columns):
            return False
        groups = prod(array.shape[:-2])
        item = self.dtype.itemsize
        down, across = (stride // item for stride in array.strides[-2:])
        row_major = (across == 1 or columns == 1) and (down >= columns or rows == 1)
        column_major = (down == 1 or rows == 1) and (across >= rows or columns == 1)
        if not (row_major or (column_major and i < 2)) or self.members % groups:
            return False
        if any(stride % item or stride < 0 for stride in array.strides):
            return False
        if i < 2:
            self.transposed[i][:] = _PLAIN if row_major else _TRANSPOSED
        self.leading[i][:] = max(down, columns) if row_major else max(across, rows)
        apart = array.strides[0] if array.ndim > 2 else 0
        self.offsets[i][:] = self.member * groups // self.members * apart
        if i != 1:  # all blocks read the whole of B
            self.offsets[i] += (self.start * array.strides[-2]).astype(np.uintp)
        return True

    def _by_matmul(self, a: HostArray, b: HostArray, c: HostArray, beta: float | HostArray) -> None:
        out = c
        if not isinstance(beta, float) or beta:
            if self.scratch is None:
                self.scratch = np.empty_like(c)
            out = self.scratch
        if a.ndim < 3 or a.shape[0] in (1, self.members):
            matmul(a, b, out)
        else:
            groups = a.shape[0], self.members // a.shape[0]
            product = out.reshape(*groups, *out.shape[1:])
            np.matmul(a[:, None], b.reshape(*groups, *b.shape[1:]), out=product)
        if out is not c:
            if not isinstance(beta, float) or beta != 1:
                c *= beta
            c += out
