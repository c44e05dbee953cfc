"""CUDA arrays as the type checker sees them: the standard's, with addresses and strides."""

from typing import Protocol, cast

from arraymlp.backends.array import Array, Index, Operand


class Flags(Protocol):
    """The layout of an array's numbers in memory."""

    @property
    def c_contiguous(self) -> bool:
        """True where they stand one after the other, row by row."""


class Memory(Protocol):
    """The memory of an array."""

    @property
    def ptr(self) -> int:
        """The address of the first number."""


class DeviceArray(Array, Protocol):
    """An array of CuPy's. Tests run the kernels on NumPy's, which differ in ``data`` alone.

    Every array that reaches the engine is one, and so it is cast here and there, never converted.
    """

    @property
    def size(self) -> int:
        """The number of numbers."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from a number to the next along each axis."""

    @property
    def flags(self) -> Flags:
        """The layout."""

    @property
    def data(self) -> Memory:
        """The memory."""

    @property
    def mT(self) -> "DeviceArray":  # noqa: N802 - the standard's name
        """The array with its last two axes exchanged."""

    def copy(self) -> "DeviceArray":
        """A copy, contiguous by rows."""

    def __getitem__(self, key: Index, /) -> "DeviceArray": ...
    def __setitem__(self, key: Index, value: Operand, /) -> None: ...


def is_contiguous(array: Array) -> bool:
    """True where an array's numbers stand one after the other in memory, row by row."""
    return cast(DeviceArray, array).flags.c_contiguous


def contiguous(array: Array) -> Array:
    """The array, or where it does not stand so, a copy that does."""
    return array if is_contiguous(array) else cast(DeviceArray, array).copy()
