"""Arrays of any library, as the type checker sees them, and how to find their namespace."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeAlias

import array_api_compat
import numpy as np
from array_api_compat import array_namespace

__all__ = [
    "Array",
    "DType",
    "Device",
    "HostArray",
    "Namespace",
    "array_namespace",
    "dtype_name",
    "is_device_array",
    "product",
]

HostArray: TypeAlias = np.ndarray[Any, Any]
# The libraries' own classes, which have no common type.
DType: TypeAlias = Any
Device: TypeAlias = Any
# An array of the same library, or a number; NumPy's own stubs accept no protocol here.
Operand: TypeAlias = Any
Index: TypeAlias = Any  # integers, slices, None, ..., arrays of integers


class Array(Protocol):
    """An array of the standard: NumPy's, CuPy's, PyTorch's, JAX's, array_api_strict's.

    See https://data-apis.org/array-api/latest/API_specification/array_object.html.
    """

    @property
    def dtype(self) -> DType:
        """The dtype, an object of the library; see `dtype_name`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""

    @property
    def ndim(self) -> int:
        """The number of axes."""

    @property
    def mT(self) -> "Array":  # noqa: N802 - the standard's name
        """The array with its last two axes exchanged."""

    def __getitem__(self, key: Index, /) -> "Array": ...
    def __bool__(self) -> bool: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __neg__(self) -> "Array": ...
    def __invert__(self) -> "Array": ...
    def __add__(self, other: Operand, /) -> "Array": ...
    def __radd__(self, other: Operand, /) -> "Array": ...
    def __iadd__(self, other: Operand, /) -> Self: ...
    def __sub__(self, other: Operand, /) -> "Array": ...
    def __rsub__(self, other: Operand, /) -> "Array": ...
    def __isub__(self, other: Operand, /) -> Self: ...
    def __mul__(self, other: Operand, /) -> "Array": ...
    def __rmul__(self, other: Operand, /) -> "Array": ...
    def __imul__(self, other: Operand, /) -> Self: ...
    def __truediv__(self, other: Operand, /) -> "Array": ...
    def __rtruediv__(self, other: Operand, /) -> "Array": ...
    def __itruediv__(self, other: Operand, /) -> Self: ...
    def __pow__(self, other: Operand, /) -> "Array": ...
    def __and__(self, other: Operand, /) -> "Array": ...
    def __or__(self, other: Operand, /) -> "Array": ...
    def __xor__(self, other: Operand, /) -> "Array": ...
    def __ixor__(self, other: Operand, /) -> Self: ...
    def __rshift__(self, other: Operand, /) -> "Array": ...
    def __lt__(self, other: Operand, /) -> "Array": ...
    def __le__(self, other: Operand, /) -> "Array": ...
    def __gt__(self, other: Operand, /) -> "Array": ...
    def __ge__(self, other: Operand, /) -> "Array": ...


class FloatInfo(Protocol):
    """The limits of a floating-point dtype: what the package reads of ``xp.finfo``."""

    @property
    def max(self) -> float:
        """The largest finite number."""

    @property
    def eps(self) -> float:
        """The distance from 1 to the next larger number."""

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with full precision."""


class NamespaceInfo(Protocol):
    """A namespace's information on itself: what the package reads of it."""

    def dtypes(
        self, *, device: Device | None = None, kind: str | Sequence[str] | None = None
    ) -> dict[str, DType]:
        """The dtypes that a device has, by name."""


class Namespace(Protocol):
    """A namespace of the standard, ``xp``: nearly all its functions give an array.

    See https://data-apis.org/array-api/latest/API_specification/index.html.
    """

    def isdtype(self, dtype: DType, kind: str | Sequence[str], /) -> bool:
        """True for a dtype of a kind, such as "integral"."""

    def finfo(self, dtype: DType, /) -> FloatInfo:
        """The limits of a floating-point dtype."""

    def __array_namespace_info__(self) -> NamespaceInfo: ...
    def __getattr__(self, name: str, /) -> Callable[..., Array]: ...


def is_device_array(values: object) -> bool:
    """True for an array of a namespace other than NumPy (a torch tensor on the CPU counts).

    One of dask is on no device: it is computed where its rows are read.
    """
    if array_api_compat.is_numpy_array(values) or array_api_compat.is_dask_array(values):
        return False
    return bool(array_api_compat.is_array_api_obj(values))


def dtype_name(array: Array) -> str:
    """The name of an array's dtype, such as "float32", whatever the library calls it.

    NumPy's of another byte order has the same name, and another text.
    """
    return str(getattr(array.dtype, "name", array.dtype)).rpartition(".")[2]


def product(a: Array, b: Array, xp: Namespace) -> Array:
    """A B, by `xp.matmul`, without NumPy's warning of "an invalid value".

    NumPy warns so of right products, now and then: BLAS may compute more lanes than a product has,
    on whatever lay in memory. OpenBLAS's kernels of float32 for AVX-512 do, and others have
    (https://github.com/numpy/numpy/issues/24067). Where a value is invalid, it is NaN.
    """
    if isinstance(a, np.ndarray):
        return _product_on_host(a, b, xp)
    return xp.matmul(a, b)


@np.errstate(invalid="ignore")
def _product_on_host(a: Array, b: Array, xp: Namespace) -> Array:
    return xp.matmul(a, b)
