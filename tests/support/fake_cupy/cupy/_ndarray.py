"""``cupy.ndarray``: an array that is on no host."""

import math
import operator
import sys
from typing import Any, NamedTuple

import numpy as np

from cupy import _compiled, _state
from cupy._memory import Block, MemoryPointer, require_free, unwritten

HostArray = np.ndarray[Any, Any]
CPU, CUDA = 1, 2  # as DLPack numbers them
SUPPORTED = "?bBhHiIlLqQefdFD"
WITHOUT_COPY = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


class Flags(NamedTuple):
    """The layout of an array."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool

    @property
    def fnc(self) -> bool:
        """True where it is by columns, and not by rows."""
        return self.f_contiguous and not self.c_contiguous


class ndarray:  # noqa: N801
    """An array of the device. Its numbers are in ``_host``, a view of a `Block`."""

    __array_priority__ = 100

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: str = "C",
    ) -> None:
        if memptr is not None or strides is not None:
            raise NotImplementedError("the fake makes arrays of new memory alone")
        dtype = np.dtype(dtype)
        if dtype.char not in SUPPORTED:
            raise ValueError(f"Unsupported dtype {dtype}")
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        memory = unwritten(math.prod(shape) * dtype.itemsize)
        self._block = Block(memory)
        self._host: HostArray = np.ndarray(shape, dtype, memory, order="F" if order == "F" else "C")

    # Its numbers

    def _view(self, host: HostArray) -> "ndarray":
        view = object.__new__(type(self))
        view._block, view._host = self._block, host
        return view

    def __array__(self, dtype: Any = None, copy: Any = None) -> HostArray:
        raise TypeError(WITHOUT_COPY)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> HostArray:
        """A copy on the host."""
        stream = _state.current_stream() if stream is None else stream
        stream.refuse()
        stream.catch_up()
        order = order.upper()
        if order == "A":
            order = "F" if self.flags.f_contiguous else "C"
        if not (self.flags.c_contiguous if order == "C" else self.flags.f_contiguous):
            _copied(self, np.empty_like(self._host, order="C" if order == "C" else "F"))
        if out is not None:
            if self.dtype != out.dtype:
                raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
            if self.shape != out.shape:
                raise ValueError(f"Shape mismatch. Expected shape: {self.shape}")
        _state.counts["device to host"] += self.size > 0
        if out is None:
            return np.array(self._host, order="F" if order == "F" else "C")
        out[...] = self._host
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        """Copy an array of the host here."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = _state.current_stream() if stream is None else stream
        stream.refuse()
        _state.counts["host to device"] += 1
        here = self._host
        stream.queue(lambda: operator.setitem(here, ..., arr), late=True)

    def __reduce__(self) -> Any:
        from cupy import array

        return array, (self.get(order="A"),)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device.id

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        """To the host alone, as a copy; to libraries that use GPUs it cannot."""
        if dl_device != (CPU, 0):
            raise BufferError("the fake's memory is on no GPU")
        if copy is False:
            raise ValueError("GPU memory cannot be exported to CPU without copy.")
        return self.get().__dlpack__(max_version=max_version)

    def __bool__(self) -> bool:
        if self.size == 1:
            return bool(self.get())
        raise ValueError(
            "The truth value of an array with more than one element is ambiguous. "
            "Use a.any() or a.all()"
        )

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def item(self) -> Any:
        """The one number of it."""
        return self.get().item()

    def tolist(self) -> Any:
        """Nested lists."""
        return self.get().tolist()

    # What it is like

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._host.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @property
    def ndim(self) -> int:
        return self._host.ndim

    @property
    def size(self) -> int:
        return self._host.size

    @property
    def strides(self) -> tuple[int, ...]:
        return self._host.strides

    @property
    def itemsize(self) -> int:
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        return self._host.nbytes

    @property
    def flags(self) -> Flags:
        flags = self._host.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, self._host.base is None)

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self._block, self._host.ctypes.data)

    @property
    def device(self) -> Any:
        return self.data.device

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Any:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    # Views

    @property
    def T(self) -> "ndarray":  # noqa: N802
        return self._view(self._host.T)

    @property
    def mT(self) -> "ndarray":  # noqa: N802
        return self._view(self._host.mT)

    def view(self, dtype: Any = None) -> "ndarray":
        return self._view(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> "ndarray":
        given = shape[0] if len(shape) == 1 else shape
        host = self._host.reshape(given, order=order)
        if self.size == 0 or np.may_share_memory(host, self._host):
            return self._view(host) if not copy else self._view(host).copy()
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return _copied(self, np.empty(self.shape, self.dtype)).reshape(given)

    def ravel(self, order: str = "C") -> "ndarray":
        return self.reshape(-1)

    def flatten(self, order: str = "C") -> "ndarray":
        return self.copy().reshape(-1)

    def transpose(self, *axes: Any) -> "ndarray":
        return self._view(self._host.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> "ndarray":
        return self._view(self._host.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> "ndarray":
        return self._view(self._host.squeeze(axis))

    # Copies

    def astype(self, dtype: Any, order: str = "K", *, copy: bool = True) -> "ndarray":
        dtype = np.dtype(dtype)
        if dtype.char not in SUPPORTED:
            raise ValueError(f"Unsupported dtype {dtype}")
        kept = order == "K" or (order == "C" and self.flags.c_contiguous)
        if not copy and dtype == self.dtype and kept:
            return self
        require_free(self.shape, dtype)
        return _copied(self, np.empty_like(self._host, dtype, order=order))  # type: ignore[call-overload]

    def copy(self, order: str = "C") -> "ndarray":
        return self.astype(self.dtype, order)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> "ndarray":
        with self.device:
            return self.copy()

    def fill(self, value: Any) -> None:
        here = self._host
        if isinstance(value, ndarray):
            if value.shape:
                raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
            _compiled.elementwise("cupy_fill", [value._host, here], here.shape)
            source: Any = value._host
        else:
            source = np.asarray(value, dtype=self.dtype)
            if source.shape:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            if source != 0 or not self.flags.c_contiguous:
                _compiled.elementwise("cupy_fill", [self.dtype, here], here.shape)
        _state.current_stream().queue(lambda: operator.setitem(here, ..., source))

    # Indices

    def __getitem__(self, key: Any) -> "ndarray":
        from cupy import _indexing

        return _indexing.got(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        from cupy import _indexing

        _indexing.set_to(self, key, value)

    # NumPy's functions on it are CuPy's

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **given: Any) -> Any:
        function = getattr(sys.modules["cupy"], ufunc.__name__, None)
        if method != "__call__" or function is None:
            return NotImplemented
        if "out" in given:
            (given["out"],) = given["out"]
        return function(*inputs, **given)

    def __array_function__(self, function: Any, types: Any, args: Any, given: Any) -> Any:
        own = getattr(sys.modules["cupy"], function.__name__, None)
        if own is None or own is function or function.__module__ != "numpy":
            return NotImplemented
        return own(*args, **given)


ndarray.__module__ = "cupy"


def on_device(host: HostArray) -> ndarray:
    """An array of what NumPy has computed, in its memory; a copy where that is another's."""
    if host.base is not None or not host.flags.owndata or not host.flags.writeable:
        host = host.copy(order="C")
    array = object.__new__(ndarray)
    array._block, array._host = Block(host), host
    return array


def by_rows(host: Any) -> HostArray:
    """A result as CuPy lays it out; NumPy's own may be a scalar, or by columns."""
    return np.asarray(host, order="C")


def _copied(array: ndarray, new: HostArray) -> ndarray:
    """A copy with another dtype or layout, by CuPy's ``elementwise_copy``."""
    require_here(array)
    _compiled.elementwise("cupy_copy", [array._host, new], new.shape)
    result = on_device(new)
    with np.errstate(all="ignore"):
        np.copyto(new, array._host, casting="unsafe")
    return result


def require_here(*arrays: Any) -> None:
    """Refuse what is not on the current device; CuPy would turn on access among peers, and warn."""
    for array in arrays:
        if isinstance(array, ndarray) and array._block.device_id != _state.device():
            raise ValueError(
                f"The device where the array resides ({array._block.device_id}) is different from "
                f"the current device ({_state.device()})."
            )
