"""A CuPy that has no GPU: NumPy on the host, as strict as CuPy 14.2 and without its speed.

It is for tests and rehearsals alone, on a PYTHONPATH of their own. CuPy's own paths through the
package run on it: arrays that NumPy cannot take, a device that is current or not, streams that are
captured, cuBLAS by addresses, kernels compiled when they are asked for. `cupy.fake` tells what CuPy
would have compiled, and what was copied to the host.

Stricter than CuPy, where what CuPy lets pass is a mistake in this package:

- new memory is full of NaN, and a kernel is refused that would read memory which was freed;
- a copy on a stream of its own is done as late as CUDA may do it;
- arrays of another device are refused, though GPUs can read each other's memory;
- memory cannot be had while a stream is captured; numbers of rows must be in range.

Laxer:

- the work of a stream is done at once, so that a race between streams is seen only by such a copy;
- rounding is NumPy's, and denormal numbers are kept;
- kernels are compiled by g++, not NVRTC (``ci/kernels`` has NVRTC compile them);
- freed memory is in one piece; there is no NCCL, no FFT, no linear algebra beyond products.
"""

from numpy import (  # noqa: F401
    bool_,
    can_cast,
    complex64,
    complex128,
    complexfloating,
    dtype,
    e,
    finfo,
    float16,
    float32,
    float64,
    floating,
    iinfo,
    inf,
    int8,
    int16,
    int32,
    int64,
    integer,
    intp,
    isdtype,
    issubdtype,
    nan,
    newaxis,
    number,
    pi,
    promote_types,
    signedinteger,
    uint8,
    uint16,
    uint32,
    uint64,
    unsignedinteger,
)

from cupy import cuda, fake, fft, linalg  # noqa: F401
from cupy._indexing import take, take_along_axis  # noqa: F401
from cupy._memory import POOLS, MemoryPool
from cupy._ndarray import ndarray
from cupy._products import *  # noqa: F403
from cupy._raw import RawKernel, RawModule  # noqa: F401
from cupy._reductions import *  # noqa: F403
from cupy._reductions import max, min
from cupy._routines import *  # noqa: F403
from cupy._ufuncs import *  # noqa: F403
from cupy._ufuncs import absolute, conjugate

__version__ = "14.2.0+fake"

abs, amax, amin, conj = absolute, max, min, conjugate


def result_type(*arrays_and_dtypes):  # type: ignore[no-untyped-def]
    """The dtype that these have together."""
    import numpy

    given = [x._host if isinstance(x, ndarray) else x for x in arrays_and_dtypes]
    return numpy.result_type(*given)


def get_default_memory_pool() -> MemoryPool:
    """That of the current device."""
    return POOLS[cuda.runtime.getDevice()]


def is_available() -> bool:
    """True where a device is counted."""
    return cuda.is_available()
