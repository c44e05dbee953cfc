"""The backends by name, and `resolve`, which turns a name into a backend that works."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import array_api_compat

from arraymlp._checks import caller_level, error_text, unknown
from arraymlp.backends import cupy, jax, numpy, strict, torch
from arraymlp.backends.array import Array, Device, array_namespace, is_device_array
from arraymlp.backends.backend import Backend, NoSuchDeviceError

log = logging.getLogger("arraymlp")


class Library(NamedTuple):
    """An array library that there is a backend for.

    Attributes:
        load: from a device, None for the default, a backend; or raises the reason why not.
        owns: True for the library's arrays.
        install: the command that installs it, "" where it always is there.
    """

    load: Callable[[Device], Backend]
    owns: Callable[[object], bool]
    install: str = ""


# A new library of the package is a module with a function ``load``, and a row here.
LIBRARIES: dict[str, Library] = {
    "numpy": Library(numpy.load, array_api_compat.is_numpy_array),
    "cupy": Library(
        cupy.load,
        array_api_compat.is_cupy_array,
        "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]' with a CUDA 12 driver)",
    ),
    "torch": Library(torch.load, array_api_compat.is_torch_array, "pip install torch"),
    "jax": Library(jax.load, array_api_compat.is_jax_array, "pip install jax"),
    "array_api_strict": Library(strict.load, strict.owns, "pip install array-api-strict"),
}
BUILT_IN = tuple(LIBRARIES)


def register_backend(
    name: str,
    load: Callable[[Device], Backend],
    owns: Callable[[object], bool],
    install: str = "",
) -> None:
    """Make a backend of yours known by a name, in this process.

    After that ``backend=name`` means it, and arrays that it owns are trained on where they are. It
    is tried before it is used, as any backend is. A name registered again means the new one; runs
    that go on then go on with it.

    Args:
        name: the name that `resolve` finds it by; none of the package's own.
        load: a function that gives the `Backend` of that name on a device: the default for None,
            what the user gave as ``device=``, an array's own device, or a ``device_name`` when
            a backend is unpickled. It raises the reason why it cannot; `NoSuchDeviceError` for a
            device that is a mistake. It is called often, so it should take next to no time.
        owns: True for an array of the library, which must follow the array API standard; False,
            without raising, for anything else. It is not asked of NumPy's arrays.
        install: the command that installs the library, for messages.

    Raises:
        ValueError: a name that is no identifier, or one of the package's own.
        TypeError: what cannot be called.
    """
    global LIBRARIES, _WORKING
    if not isinstance(name, str) or not name.isidentifier() or name in ("auto", *BUILT_IN):
        raise ValueError(
            "a backend's name must be an identifier that the package has no backend for "
            f"({', '.join(('auto', *BUILT_IN))}), not {name!r}"
        )
    if not callable(load) or not callable(owns):
        raise TypeError(f"load and owns must be functions, not {load!r} and {owns!r}")
    # New tables in one step each, for whoever reads the old ones in another thread. The latest is
    # asked first.
    others = {known: library for known, library in LIBRARIES.items() if known != name}
    LIBRARIES = {name: Library(load, owns, install), **others}
    _WORKING = frozenset(key for key in _WORKING if key[0] != name)


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name and cannot run here; the message gives cause and remedy."""


class BackendFallbackWarning(UserWarning):
    """A backend was asked for by name and cannot run here; NumPy does the work instead."""


class _WrongBackendError(TypeError):
    """A registered ``load`` gave something else than its backend: a mistake in it, no reason."""


def loaded(name: str, device: Device) -> Backend:
    """The backend of that name on that device; errors are the library's.

    Raises:
        BackendUnavailableError: there is no backend of that name in this process.
        TypeError: what ``load`` gave is no backend of that name.
    """
    if name not in LIBRARIES:
        raise BackendUnavailableError(
            f"there is no backend {name!r} in this process: call arraymlp.register_backend first"
        )
    backend = LIBRARIES[name].load(device)
    if not isinstance(backend, Backend) or backend.name != name:
        raise _WrongBackendError(
            f"load of the backend {name!r} must give a Backend of that name, not {backend!r}"
        )
    return backend


def backend_of(array: Array) -> Backend:
    """The backend an array belongs to."""
    if array_api_compat.is_numpy_array(array):
        return numpy.load(None)
    for name, library in LIBRARIES.items():
        if library.owns(array):
            return loaded(name, array_api_compat.device(array))
    xp = array_namespace(array)
    raise ValueError(f"arrays of {xp.__name__} are not supported; there is {', '.join(LIBRARIES)}")


# Backends and devices that have been tried in this process.
_WORKING: frozenset[tuple[str, str]] = frozenset()


def _try(name: str, device: Device) -> Backend | str:
    """The backend, or the reason why it cannot run here."""
    global _WORKING
    try:
        backend = loaded(name, device)
        key = (backend.name, backend.device_name)
        if name != "cupy" and key not in _WORKING:  # CuPy's loader tries for itself
            backend.require_working()
            _WORKING |= {key}
        return backend
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (NoSuchDeviceError, _WrongBackendError):
        raise
    except Exception as error:  # a GPU stack fails in many classes; each is a reason, none a crash
        return error_text(error)


def why_not(name: str) -> str:
    """The reason why a backend cannot run here on its default device; "" where it can."""
    backend = _try(name, None)
    return "" if isinstance(backend, Backend) else backend


def resolve(
    name: str | Backend = "auto",
    device: Device | None = None,
    *,
    like: object = None,
    fallback: bool = True,
) -> Backend:
    """Turn a backend's name into a `Backend` that has been tried and works.

    Args:
        name: "numpy", "cupy", "torch", "jax", "array_api_strict", one that `register_backend`
            made known, or "auto": the backend of ``like`` where that is a device array, else CuPy
            where a CUDA device really works, else NumPy. A `Backend` is returned as it is.
        device: None for the backend's default, or its own device object or name: a number or
            "cuda:1" for CuPy; "cpu", "cuda", "mps" for torch; "cpu", "gpu:1" for JAX; "device1"
            for array_api_strict.
        like: the data, for "auto"; anything but a device array counts for nothing.
        fallback: where a named backend cannot run here, True gives NumPy and one
            `BackendFallbackWarning`; False raises. The environment variable
            ``ARRAYMLP_FALLBACK=error`` means False everywhere.

    Raises:
        BackendUnavailableError: the backend cannot run and a fallback is not allowed.
        ValueError: no such backend, or no such kind of device.
    """
    if isinstance(name, Backend):
        if device is not None:
            raise ValueError(f"device={device!r} was given together with a Backend, which has one")
        return name
    if not isinstance(name, str):
        raise unknown(["auto", *LIBRARIES], name, "backend")
    if name == "auto" and is_device_array(like):
        of_data = backend_of(cast(Array, like))
        of_device = of_data if device is None else _try(of_data.name, device)
        if not isinstance(of_device, Backend) or of_device.device != of_data.device:
            raise ValueError(
                f"the data is on {of_data.device_name}, but device={device!r} was given"
            )
        return _logged(of_data)
    if name == "auto" and device in (None, "cpu"):
        gpu = _try("cupy", None) if device is None else "device='cpu'"
        if isinstance(gpu, Backend):
            return _logged(gpu)
        log.debug("no CuPy: %s", gpu)
        return _logged(numpy.load(None))
    name = "cupy" if name == "auto" else name  # the one backend that "auto" has a device for
    if name not in LIBRARIES:
        raise unknown(["auto", *LIBRARIES], name, "backend")
    backend = _try(name, device)
    if isinstance(backend, Backend):
        return _logged(backend)
    reason = backend
    message = f"the {name} backend cannot run here ({reason})"
    install = LIBRARIES[name].install
    if install and (name == "cupy" or reason.endswith("is not installed")):
        message += f"; to install it: {install}"
    if not fallback or os.environ.get("ARRAYMLP_FALLBACK") == "error":
        raise BackendUnavailableError(message)
    warnings.warn(
        f"{message}. NumPy is used instead.", BackendFallbackWarning, stacklevel=caller_level()
    )
    return numpy.load(None)


def _logged(backend: Backend) -> Backend:
    log.info("backend: %s", backend)
    return backend


@dataclass(frozen=True)
class BackendStatus:
    """A backend's state on this machine; see `available_backends`.

    Attributes:
        name: the backend's name.
        available: True where it ran a kernel and a matrix product here.
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
    """Every backend this package has, with version and device, or the reason it cannot run.

    Each is tried on its default device, with a kernel and a matrix product. Registered backends
    are among them.
    """
    statuses = []
    for name in LIBRARIES:
        backend = _try(name, None)
        if isinstance(backend, Backend):
            status = BackendStatus(name, True, backend.version, _describe_device(backend))
        else:
            install = LIBRARIES[name].install
            status = BackendStatus(name, False, reason=backend, install=install)
        statuses.append(status)
    return statuses


def _describe_device(backend: Backend) -> str:
    model = backend.device_model
    return f"{backend.device_name} ({model})" if model else backend.device_name
