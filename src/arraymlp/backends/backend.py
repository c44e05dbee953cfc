"""`Backend`: an array library on one device, and all that the package asks of it.

The class itself is what most libraries need; a library's module overrides what it does otherwise.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np

from arraymlp._checks import error_text
from arraymlp.backends.array import Array, Device, DType, HostArray, Namespace, is_device_array
from arraymlp.backends.memory import (
    DeviceMemoryError,
    host_memory,
    is_memory_error,
    memory_text,
    requested_memory,
)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class NoSuchDeviceError(ValueError):
    """The caller's device is a mistake, not a machine's lack: never answered by a fallback."""


@dataclass(frozen=True)
class Backend:
    """An array namespace on one device; `resolve` gives one that works.

    Backends are equal where library and device are. `register_backend` makes one of your own known:
    a `Backend`, or a subclass that overrides what its library does otherwise.

    Attributes:
        name: "numpy", "cupy", "torch", "jax", "array_api_strict", or the registered name.
        xp: the namespace, conforming to the Array API standard (through array-api-compat).
        device: the namespace's own device object ("cpu" for NumPy).
        version: the version of the library behind the namespace.
    """

    name: str
    xp: Namespace = field(hash=False)
    device: Device = field(hash=False)  # CuPy's is equal by value, and has no hash
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} on {self.device_name}"

    # The namespace is a module, which no pickle can hold: the state is what finds it again. (A
    # `__reduce__` would do for pickle, but skops looks at the state alone.)

    def __getstate__(self) -> dict[str, str]:
        return {"name": self.name, "device": self.device_name}

    def __setstate__(self, state: dict[str, str]) -> None:
        from arraymlp.backends.registry import loaded

        vars(self).update(vars(loaded(state["name"], state["device"])))

    # What a library's module overrides

    @property
    def device_name(self) -> str:
        """The device as the user would write it, such as ``"cpu"``, ``"cuda:0"``, ``"device1"``."""
        return str(self.device)

    @property
    def device_model(self) -> str:
        """The device's make, in words, where the library knows it, else ""."""
        return ""

    @property
    def is_accelerator(self) -> bool:
        """True for a GPU or the like, where each launch of a kernel takes its time."""
        return False

    @property
    def compute_capability(self) -> float:
        """The CUDA device's, such as 9.0; 0 for any other device."""
        return 0.0

    @property
    def rounded_precisions(self) -> tuple[str, ...]:
        """Precisions below float32 that `rounding` offers; see `arraymlp.backends.precision`."""
        return ()

    def active(self) -> AbstractContextManager[object]:
        """Context in which this device is the current one, and products are in full precision.

        CuPy and torch use TF32 only where their own settings turn it on.
        """
        return nullcontext()

    def rounding(self) -> AbstractContextManager[object]:
        """Context in which the factors of matrix products are rounded to TF32.

        Raises:
            NotImplementedError: the library has no such setting.
        """
        raise NotImplementedError(f"{self} has no setting that rounds the factors of products")

    def of_process(self, number: int) -> Self:
        """The same library on a device for the process of that number, of those of a machine."""
        return self

    def in_threads(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """The results of ``work(item)``, in order; on NumPy by several threads."""
        return [work(item) for item in items]

    def memory(self) -> tuple[int, int] | None:
        """The device's memory in bytes, (free, total); None where it is the host's, or unknown."""
        return None

    def wait(self, result: Array | None = None) -> None:
        """Wait until the device has finished its queued work; with JAX, until result is there."""

    def uploader(self) -> Callable[[HostArray], Array]:
        """A function that begins an upload in a helper thread; ``asarray`` ends it in this one.

        Nobody may write to its argument from then on.
        """
        return lambda host: self.asarray(host, host.dtype.name)

    def _values(self, array: Array) -> object:
        """The array as something that `numpy.asarray` accepts."""
        return array

    def _own(self, array: Array) -> Array:
        """An array of this library as the package computes with it."""
        return array

    def _uploadable(self, host: HostArray) -> HostArray:
        """Host data in a layout that the library accepts."""
        return host

    # What all share

    def asarray(self, values: Any, dtype: str | None = None, *, copy: bool | None = None) -> Array:
        """Bring host data, or an array already on this device, in as an array of this backend.

        Args:
            values: anything `numpy.asarray` takes, or an array of this backend.
            dtype: name of the dtype to convert to; None keeps it.
            copy: True always copies; None shares memory where that is possible.

        Raises:
            ValueError: the device has no such dtype, or the array is on another device.
        """
        device_dtype = None if dtype is None else self.dtype(dtype)
        if is_device_array(values):
            self.require(values)
            values = self._own(values)
            with self.active():  # or CuPy would move a copy to the current device
                return self.xp.asarray(values, dtype=device_dtype, copy=copy)
        host = np.asarray(values, dtype=dtype)  # converts before the upload, never after
        host = self._uploadable(host)
        with self.active():
            return self.xp.asarray(host, dtype=device_dtype, device=self.device, copy=copy)

    def to_numpy(self, array: Array) -> HostArray:
        """Return the array as a NumPy array (it shares memory where the device is the host)."""
        return np.asarray(self._values(array))

    def fetch(self, arrays: Sequence[Array]) -> list[HostArray]:
        """Read many small floating-point arrays of one dtype in one transfer, shapes kept."""
        if not arrays:
            return []
        flat = self.xp.concat([self.xp.reshape(a, (-1,)) for a in arrays])
        ends = np.cumsum([int(np.prod(a.shape, dtype=int)) for a in arrays])
        parts = np.split(self.to_numpy(flat), ends[:-1])
        return [p.reshape(a.shape) for p, a in zip(parts, arrays, strict=True)]

    def dtype(self, name: str) -> DType:
        """The namespace's dtype of that name, such as "float32".

        Raises:
            ValueError: the device has none.
        """
        if not self.has(name):
            raise ValueError(f"{self} has no {name}: {self._lacks_dtype}")
        return getattr(self.xp, name)

    _lacks_dtype = "use 32 bits or another device"  # not annotated, and so no field

    def has(self, dtype: str) -> bool:
        """True where the device has a dtype of that name."""
        kinds = ("bool", "integral", "real floating")
        return dtype in self.xp.__array_namespace_info__().dtypes(device=self.device, kind=kinds)

    @property
    def widest(self) -> str:
        """The name of the device's widest floating-point dtype: float64, or float32."""
        return "float64" if self.has("float64") else "float32"

    def exact_on_host(self, array: Array) -> HostArray:
        """The values in float64 on the host, of a dtype that NumPy lacks, such as bfloat16, too."""
        if self.xp.isdtype(array.dtype, "real floating"):
            array = self.asarray(array, self.widest)
        return self.to_numpy(array).astype(np.float64)

    def require(self, array: Array, what: str = "the array") -> None:
        """Raise a ValueError naming both devices if the array is not on this backend's."""
        from arraymlp.backends.registry import backend_of

        there = backend_of(array)
        if (there.name, there.device) != (self.name, self.device):
            raise ValueError(
                f"{what} is on {there.name}, device {there.device_name}, but "
                f"{self.name}, device {self.device_name} was expected: pass host (NumPy) "
                "data, or move it first"
            )

    def require_working(self) -> None:
        """Run elementwise operations and a matrix product: what is imported need not work.

        Raises:
            RuntimeError: it computes wrong results; or whatever the library raises.
        """
        xp = self.xp
        x = self.asarray(np.ones((2, 2)), "float32")
        if float(xp.sum(x * 2 + 1)) != 12 or self.to_numpy(xp.matmul(x, x)).sum() != 8:
            raise RuntimeError(f"{self} computes wrong results")

    def free_memory(self) -> int | None:
        """Free bytes of the device's memory; None where that is the host's, or unknown."""
        memory = self.memory()
        return None if memory is None else memory[0]

    @contextmanager
    def within_memory(self, remedy: str) -> Iterator[None]:
        """`active`, with a lack of memory reported in words.

        Args:
            remedy: what needs less memory, in a sentence.

        Raises:
            DeviceMemoryError: NumPy, CuPy, torch or JAX ran out of memory.
        """
        try:
            with self.active():
                yield
        except Exception as error:
            if not is_memory_error(error):
                raise
            raise DeviceMemoryError(f"{self._memory_report(error)}. {remedy}") from error

    def _memory_report(self, error: Exception) -> str:
        """Which memory ran out, how much was asked for, and how much is free."""
        # NumPy's own error, as of initial values, which are drawn on the host
        of_numpy = isinstance(error, MemoryError) and not type(error).__module__.startswith("cupy")
        on_device = self.is_accelerator and not of_numpy
        memory = self.memory() if on_device else host_memory()
        amount = requested_memory(error)
        report = f"{amount} were asked for" if amount else error_text(error)
        if memory is not None:
            report += f", {memory_text(memory[0])} of {memory_text(memory[1])} are free"
        where = "the host" if self.is_accelerator and of_numpy else self
        return f"{where} ran out of memory: {report}"


def device_number(device: Device, prefixes: tuple[str, ...], library: str) -> int:
    """0 from None, 1 from 1, "1", "cuda:1"; 0 from a bare prefix."""
    prefix, _, number = str(0 if device is None else device).rpartition(":")
    if prefix in ("", *prefixes) and number.isdecimal():
        return int(number)
    if number in prefixes:
        return 0
    raise NoSuchDeviceError(
        f"{library} knows no device {device!r}; give a number from 0, or 'cuda:1'"
    )
