"""Backends: the only door between the host and a device.

``resolve`` turns a name into a `Backend`; a `Backend` brings data in (``asarray``) and results out
(``to_numpy``). Between the two, the arrays themselves say which namespace computes: nothing else in
the package asks where it runs.
"""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace

from arraymlp._checks import in_words, outside, unknown
from arraymlp.memory import DeviceMemoryError, amount, asked_for, host_memory, ran_out

__all__ = [
    "Array",
    "Backend",
    "BackendFallbackWarning",
    "BackendStatus",
    "BackendUnavailableError",
    "DeviceMemoryError",
    "array_namespace",
    "available_backends",
    "backend_of",
    "resolve",
]

Array: TypeAlias = Any  # an array of any namespace; no common static type exists yet
HostArray: TypeAlias = np.ndarray[Any, Any]
log = logging.getLogger("arraymlp")


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name and cannot run here; the message gives cause and remedy."""


class BackendFallbackWarning(UserWarning):
    """A backend was asked for by name and cannot run here; NumPy does the work instead."""


@dataclass(frozen=True)
class Backend:
    """An array namespace on one device.

    Attributes:
        name: "numpy", "cupy", "torch", "jax" or "array_api_strict".
        xp: the namespace, conforming to the Array API standard (through array-api-compat).
        device: the namespace's own device object ("cpu" for NumPy).
        version: the version of the library behind the namespace.
    """

    name: str
    xp: Any
    device: Any
    version: str
    _to_host: Callable[[Array], Any] = field(repr=False, compare=False)
    _context: Callable[[], AbstractContextManager[Any]] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version} on {self.device_name}"

    @property
    def device_name(self) -> str:
        """The device as the user would write it: "cpu", "cuda:0", "device1"."""
        return _device_name(self.device)

    @property
    def is_accelerator(self) -> bool:
        """Whether it is a GPU or the like, where every launch of a kernel takes its time."""
        if self.name == "torch":
            return bool(self.device.type != "cpu")
        if self.name == "jax":
            return bool(self.device.platform != "cpu")
        return self.name == "cupy"

    def asarray(self, values: Any, dtype: str | None = None, *, copy: bool | None = None) -> Array:
        """Bring host data, or an array already on this device, in as an array of this backend.

        Args:
            values: anything `numpy.asarray` takes, or an array of this backend.
            dtype: name of the dtype to convert to; None keeps it.
            copy: True always copies; None shares memory where that is possible.

        Raises:
            ValueError: the device has no such dtype, or the array is on another device.
        """
        kind = None if dtype is None else self.dtype(dtype)
        if is_device_array(values):
            self.require(values)
            if self.name == "torch":
                values = values.detach()  # gradients are computed here, not by torch
            with self.active():  # or CuPy would move a copy to the current device
                return self.xp.asarray(values, dtype=kind, copy=copy)
        host = np.asarray(values, dtype=dtype)  # converts before the upload, never after
        if self.name == "torch" and (not host.flags.writeable or min(host.strides, default=0) < 0):
            host = host.copy()  # torch has no read-only tensors, and none with negative strides
        with self.active():
            return self.xp.asarray(host, dtype=kind, device=self.device, copy=copy)

    def uploader(self) -> Callable[[HostArray], Array]:
        """A function for a helper thread, which begins what ``asarray`` ends in this one.

        What it is given nobody may write to from then on. CuPy copies beside the work that is
        queued on this thread's stream. JAX copies nothing yet: whether it has 64 bits may be a
        setting of the thread that computes. The others call ``asarray``.
        """
        if self.name == "jax":
            return lambda host: host
        if self.name != "cupy":
            return lambda host: self.asarray(host, host.dtype.name)
        with self.active():
            queue = import_module("cupy").cuda.get_current_stream()

        def upload(host: HostArray) -> Array:
            with self.active():
                return _copied_beside(host, queue)

        return upload

    def to_numpy(self, array: Array) -> HostArray:
        """Return the array's values on the host (shares memory where host and device are one)."""
        return np.asarray(self._to_host(array))

    def fetch(self, arrays: Sequence[Array]) -> list[HostArray]:
        """Read many small floating-point arrays of one dtype in one transfer, shapes kept."""
        if not arrays:
            return []
        flat = self.xp.concat([self.xp.reshape(a, (-1,)) for a in arrays])
        ends = np.cumsum([int(np.prod(a.shape, dtype=int)) for a in arrays])
        parts = np.split(self.to_numpy(flat), ends[:-1])
        return [p.reshape(a.shape) for p, a in zip(parts, arrays, strict=True)]

    def dtype(self, name: str) -> Any:
        """The namespace's dtype of that name; a ValueError where the device has none."""
        if not self.has(name):
            how = (
                'jax.config.update("jax_enable_x64", True) or JAX_ENABLE_X64=1 turns it on'
                if self.name == "jax"
                else "use 32 bits or another device"
            )
            raise ValueError(f"{self} has no {name}: {how}")
        return getattr(self.xp, name)

    def has(self, dtype: str) -> bool:
        """Whether the device has a dtype of that name."""
        kinds = ("bool", "integral", "real floating")
        return dtype in self.xp.__array_namespace_info__().dtypes(device=self.device, kind=kinds)

    def require(self, array: Array, what: str = "the array") -> None:
        """Raise a ValueError naming both places if the array is not on this backend and device."""
        there = backend_of(array)
        if (there.name, there.device) != (self.name, self.device):
            raise ValueError(
                f"{what} is on {there.name}, device {there.device_name}, but "
                f"{self.name}, device {self.device_name} was expected: pass host (NumPy) "
                "data, or move it first"
            )

    def memory(self) -> tuple[int, int] | None:
        """Bytes of the device's memory: free, and all; None where it is the host's, or unknown."""
        with self.active():
            if self.name == "cupy":
                cupy = import_module("cupy")
                free, total = cupy.cuda.runtime.memGetInfo()
                return int(free + cupy.get_default_memory_pool().free_bytes()), int(total)
            if self.name == "torch" and self.device.type == "cuda":
                free, total = import_module("torch").cuda.mem_get_info(self.device)
                return int(free), int(total)
            if self.name == "jax":
                known = self.device.memory_stats() or {}
                if "bytes_limit" in known:
                    total = int(known["bytes_limit"])
                    return total - int(known["bytes_in_use"]), total
        return None

    def free_memory(self) -> int | None:
        """Bytes of the device's memory that are free; None where that is the host's, or unknown."""
        known = self.memory()
        return None if known is None else known[0]

    def compute_capability(self) -> float:
        """Of the CUDA device, such as 9.0; 0 where it is none."""
        device = self.device
        if self.name == "cupy":
            return int(device.compute_capability) / 10
        if self.name == "torch" and device.type == "cuda":
            major, minor = import_module("torch").cuda.get_device_capability(device)
            return float(major + minor / 10)
        if self.name == "jax" and device.platform == "gpu":
            return float(device.compute_capability)
        return 0.0

    @contextmanager
    def rounding(self) -> Iterator[None]:
        """Context in which torch and JAX on CUDA round the factors of matrix products to TF32."""
        if self.name == "jax":
            with import_module("jax").default_matmul_precision("tensorfloat32"):
                yield
            return
        torch = import_module("torch")
        with _ROUNDING.lock:  # the setting is the process's, and other threads may train, too
            if _ROUNDING.inside == 0:
                _ROUNDING.before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("high")
            _ROUNDING.inside += 1
        try:
            yield
        finally:
            with _ROUNDING.lock:
                _ROUNDING.inside -= 1
                if _ROUNDING.inside == 0:
                    torch.set_float32_matmul_precision(_ROUNDING.before)

    def wait(self, result: Any = None) -> None:
        """Wait until the device has done what it was given; with JAX, until the result is there."""
        if self.name == "cupy":
            import_module("cupy").cuda.get_current_stream().synchronize()
        elif self.name == "torch" and self.device.type == "cuda":
            import_module("torch").cuda.synchronize(self.device)
        elif self.name == "jax" and result is not None:
            import_module("jax").block_until_ready(result)

    def __reduce__(self) -> Any:
        return _restored, (self.name, self.device_name)

    def active(self) -> AbstractContextManager[Any]:
        """Context in which this device is the current one; JAX is kept from using TF32 in it.

        CuPy and torch use TF32 only where their own settings turn it on.
        """
        return self._context()

    @contextmanager
    def within_memory(self, remedy: str) -> Iterator[None]:
        """`active`, and a lack of memory on the way is told in words.

        Args:
            remedy: what needs less memory, in a sentence.

        Raises:
            DeviceMemoryError: NumPy, CuPy, torch or JAX found no memory.
        """
        try:
            with self.active():
                yield
        except Exception as error:
            if not ran_out(error):
                raise
            raise DeviceMemoryError(f"{self._lack(error)}. {remedy}") from error

    def _lack(self, error: Exception) -> str:
        """What was asked for, of whom, and what there is."""
        # NumPy's own, as of initial values, which are drawn on the host
        host = isinstance(error, MemoryError) and not type(error).__module__.startswith("cupy")
        elsewhere = host and self.is_accelerator
        known = self.memory() if self.is_accelerator and not host else host_memory()
        asked = asked_for(error)
        said = f"{asked} were asked for" if asked else in_words(error)
        if known is not None:
            said += f", {amount(known[0])} of {amount(known[1])} are free"
        return f"{'the host' if elsewhere else self} ran out of memory: {said}"


@dataclass
class _Rounding:
    """Who rounds with PyTorch now, and how it was set before the first of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: str = ""


_ROUNDING = _Rounding()


def _restored(name: str, device: str) -> Backend:
    """A pickled backend, in the process that reads it."""
    return _LOADERS[name](device)


def is_device_array(values: object) -> bool:
    """True for an array of a namespace other than NumPy (a torch tensor on the CPU counts)."""
    return array_api_compat.is_array_api_obj(values) and not array_api_compat.is_numpy_array(values)


def backend_of(array: Array) -> Backend:
    """The backend an array belongs to."""
    if array_api_compat.is_numpy_array(array):
        return _numpy("cpu")
    for name, test in (
        ("cupy", array_api_compat.is_cupy_array),
        ("torch", array_api_compat.is_torch_array),
        ("jax", array_api_compat.is_jax_array),
    ):
        if test(array):
            return _LOADERS[name](array_api_compat.device(array))
    xp = array_namespace(array)
    if array_api_compat.is_array_api_strict_namespace(xp):
        return _strict(array_api_compat.device(array))
    raise ValueError(f"arrays of {xp.__name__} are not supported; there is {', '.join(_LOADERS)}")


# One loader a backend: device (None for the default) -> Backend, or an exception saying why not.


def _numpy(device: Any) -> Backend:
    if device not in (None, "cpu"):
        raise _NoSuchDeviceError(f"NumPy computes on 'cpu' alone, not on {device!r}")
    return Backend("numpy", array_api_compat.numpy, "cpu", np.__version__, lambda a: a, nullcontext)


def _cupy(device: Any) -> Backend:
    number = getattr(device, "id", None)  # of a cupy.cuda.Device
    if number is None:  # a mistake is a mistake without CuPy, too
        number = _device_number(device, ("cuda", "gpu"), "CuPy")
    cupy = import_module("cupy")
    count = cupy.cuda.runtime.getDeviceCount()
    if number >= count:
        raise RuntimeError(f"there is no CUDA device {number}: {count} found")
    _check_cupy(number)
    return Backend(
        "cupy",
        import_module("array_api_compat.cupy"),
        cupy.cuda.Device(number),
        cupy.__version__,
        lambda a: a.get(),
        lambda: cupy.cuda.Device(number),
    )


@cache
def _check_cupy(number: int) -> None:
    """Compile a kernel and multiply matrices: a counted device can still lack NVRTC or cuBLAS."""
    cupy = import_module("cupy")
    with cupy.cuda.Device(number):
        x = cupy.ones((2, 2), dtype=cupy.float32)
        if float((x * 2 + 1).sum()) != 12 or (x @ x).get().sum() != 8:
            raise RuntimeError(f"CUDA device {number} computes wrong results")


def _copied_beside(host: HostArray, queue: Any) -> Array:
    """Copy host data to CuPy's current device on a stream of its own, and wait for that stream.

    The copy is as fast as the bus from page-locked memory alone. Work on the stream that computes,
    ``queue``, may still use the memory that the pool hands out for it again, and so the copy waits
    for that work, while what is queued from then on runs beside it.
    """
    cupy = import_module("cupy")
    with queue:
        array = cupy.empty(host.shape, host.dtype)
        unused = queue.record()
    locked = import_module("cupyx").empty_pinned(host.shape, host.dtype)
    locked[...] = host
    beside = cupy.cuda.Stream(non_blocking=True)
    beside.wait_event(unused)
    array.set(locked, stream=beside)
    beside.synchronize()  # before another array gets the page-locked memory
    return array


def _torch(device: Any) -> Backend:
    torch = import_module("torch")
    try:
        place = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise _NoSuchDeviceError(f"PyTorch knows no device {device!r}") from error
    if place.type == "meta":
        raise _NoSuchDeviceError("PyTorch's 'meta' device computes nothing")
    place = torch.empty(0, device=place).device  # "cuda" becomes "cuda:0", or raises
    return Backend(
        "torch",
        import_module("array_api_compat.torch"),
        place,
        torch.__version__,
        lambda a: a.detach().cpu().numpy(),
        torch.no_grad,
    )


def _jax(device: Any) -> Backend:
    jax = import_module("jax")
    if hasattr(device, "device_set"):
        raise _NoSuchDeviceError(f"arrays sharded over devices are not supported: {device}")
    if device is None:
        (device,) = jax.numpy.zeros(()).devices()  # the default device, as JAX is configured
    if not isinstance(device, jax.Device):
        platform, _, number = str(device).partition(":")
        if platform not in ("cpu", "gpu", "cuda", "rocm", "tpu", "METAL"):
            raise _NoSuchDeviceError(f"JAX knows no device {device!r}; give 'cpu' or 'gpu:1'")
        index = _device_number(number or None, (), "JAX")
        found = jax.devices("gpu" if platform == "cuda" else platform)
        if index >= len(found):
            raise RuntimeError(f"there is no JAX device {device}: {len(found)} found")
        device = found[index]
    return Backend(
        "jax",
        import_module("jax.numpy"),
        device,
        jax.__version__,
        np.asarray,
        lambda: jax.default_matmul_precision("highest"),
    )


def _strict(device: Any) -> Backend:
    xp = import_module("array_api_strict")
    if not isinstance(device, xp.Device):
        try:
            device = xp.Device(device or "CPU_DEVICE")
        except ValueError as error:
            raise _NoSuchDeviceError(f"array_api_strict: {error}") from error
    host = xp.Device("CPU_DEVICE")
    return Backend(
        "array_api_strict",
        xp,
        device,
        xp.__version__,
        lambda a: array_api_compat.to_device(a, host),
        nullcontext,
    )


_LOADERS: dict[str, Callable[[Any], Backend]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "torch": _torch,
    "jax": _jax,
    "array_api_strict": _strict,
}

_INSTALL = {
    "cupy": "pip install 'arraymlp[cuda13]' (or 'arraymlp[cuda12]' with a CUDA 12 driver)",
    "torch": "pip install 'arraymlp[torch]'",
    "jax": "pip install 'arraymlp[jax]'",
    "array_api_strict": "pip install 'arraymlp[test]'",
}


class _NoSuchDeviceError(ValueError):
    """The caller's device is a mistake, not a machine's lack: never answered by a fallback."""


def _device_number(device: Any, prefixes: tuple[str, ...], who: str) -> int:
    """0 from None, 1 from 1, "1", "cuda:1"; 0 from a bare prefix."""
    prefix, _, number = str(0 if device is None else device).rpartition(":")
    if prefix in ("", *prefixes) and number.isdecimal():
        return int(number)
    if number in prefixes:
        return 0
    raise _NoSuchDeviceError(f"{who} knows no device {device!r}; give a number from 0, or 'cuda:1'")


def _device_name(device: Any) -> str:
    """'cpu', 'cuda:0', 'device1': as the user would write it."""
    if hasattr(device, "id") and type(device).__module__.startswith("cupy"):
        return f"cuda:{device.id}"
    return str(getattr(device, "_device", device))  # array_api_strict's str is its repr


def _try(name: str, device: Any) -> Backend | str:
    """The backend, or in words why it cannot run here."""
    try:
        backend = _LOADERS[name](device)
        if name != "cupy":  # its loader has seen it work
            _check(backend)
        return backend
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except _NoSuchDeviceError:
        raise
    except Exception as error:  # a GPU stack fails in many classes; each is a reason, none a crash
        return in_words(error)


def _check(backend: Backend) -> None:
    """Run elementwise operations and a matrix product: what is imported need not work."""
    place = (backend.name, backend.device_name)
    if place in _SEEN_WORKING:
        return
    xp = backend.xp
    x = backend.asarray(np.ones((2, 2)), "float32")
    if float(xp.sum(x * 2 + 1)) != 12 or backend.to_numpy(xp.matmul(x, x)).sum() != 8:
        raise RuntimeError(f"{backend} computes wrong results")
    _SEEN_WORKING.add(place)


_SEEN_WORKING: set[tuple[str, str]] = set()


def why_not(name: str) -> str:
    """Why a backend cannot run here on its default device; "" where it can."""
    found = _try(name, None)
    return "" if isinstance(found, Backend) else found


def resolve(
    name: str | Backend = "auto",
    device: Any = None,
    *,
    like: object = None,
    fallback: bool = True,
) -> Backend:
    """Turn a backend's name into a `Backend` that has been seen to work.

    Args:
        name: "numpy", "cupy", "torch", "jax", "array_api_strict" or "auto". "auto" is the backend
            of ``like`` where that is a device array, else CuPy where a CUDA device really works,
            else NumPy. A `Backend` is returned as it is.
        device: None for the backend's default, or its own device object or name: a number or
            "cuda:1" for CuPy; "cpu", "cuda", "mps" for torch; "cpu", "gpu:1" for JAX; "device1"
            for array_api_strict.
        like: the data, for "auto".
        fallback: where a named backend cannot run here, True gives NumPy and one
            `BackendFallbackWarning`; False raises. The environment variable
            ``ARRAYMLP_FALLBACK=error`` means False everywhere.

    Raises:
        BackendUnavailableError: the backend cannot run and no fallback was wanted.
        ValueError: no such backend, or no such kind of device.
    """
    if isinstance(name, Backend):
        if device is not None:
            raise ValueError(f"device={device!r} was given together with a Backend, which has one")
        return name
    if name == "auto" and is_device_array(like):
        found = backend_of(like)
        wanted = found if device is None else _try(found.name, device)
        if not isinstance(wanted, Backend) or wanted.device != found.device:
            raise ValueError(f"the data is on {found.device_name}, but device={device!r} was given")
        return _logged(found)
    if name == "auto" and device in (None, "cpu"):
        cupy = _try("cupy", None) if device is None else "device='cpu'"
        if isinstance(cupy, Backend):
            return _logged(cupy)
        log.debug("no CuPy: %s", cupy)
        return _logged(_numpy(None))
    name = "cupy" if name == "auto" else name  # the one backend that "auto" has a device for
    if not isinstance(name, str) or name not in _LOADERS:
        raise unknown(["auto", *_LOADERS], name, "backend")
    found_or_reason = _try(name, device)
    if isinstance(found_or_reason, Backend):
        return _logged(found_or_reason)
    message = f"the {name} backend cannot run here ({found_or_reason})"
    if name in _INSTALL and (name == "cupy" or found_or_reason.endswith("is not installed")):
        message += f"; to install it: {_INSTALL[name]}"
    if not fallback or os.environ.get("ARRAYMLP_FALLBACK") == "error":
        raise BackendUnavailableError(message)
    warnings.warn(
        f"{message}. NumPy is used instead.", BackendFallbackWarning, stacklevel=outside()
    )
    return _numpy(None)


def _logged(backend: Backend) -> Backend:
    log.info("backend: %s", backend)
    return backend


@dataclass(frozen=True)
class BackendStatus:
    """What `available_backends` found out about one backend.

    Attributes:
        name: the backend's name.
        available: whether it ran a kernel and a matrix product here.
        version: its library's version, "" where it is absent.
        device: its default device, "" where it is absent.
        reason: why it is not available, "" where it is.
        install: the command that installs it, "" where it is available.
    """

    name: str
    available: bool
    version: str = ""
    device: str = ""
    reason: str = ""
    install: str = ""


def available_backends() -> list[BackendStatus]:
    """Every backend this package knows, with version and device, or the reason it cannot run."""
    rows = []
    for name in _LOADERS:
        found = _try(name, None)
        if isinstance(found, Backend):
            rows.append(BackendStatus(name, True, found.version, _describe_device(found)))
        else:
            rows.append(BackendStatus(name, False, reason=found, install=_INSTALL.get(name, "")))
    return rows


def _describe_device(backend: Backend) -> str:
    name = backend.device_name
    if backend.name == "cupy":
        runtime = import_module("cupy").cuda.runtime
        model = runtime.getDeviceProperties(backend.device.id)["name"].decode()
        return f"{name} ({model})"
    return name
