"""The backends by name, and `resolve`, which turns a name into a backend that works."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import array_api_compat

from arraymlp._checks import caller_level, error_text, unknown
from arraymlp.backends import cupy, jax, numpy, strict, torch
from arraymlp.backends.array import Array, Device, array_namespace, is_device_array
from arraymlp.backends.backend import Backend, NoSuchDeviceError

log = logging.getLogger("arraymlp")

# Each takes a device, None for the default, and returns a backend or raises the reason why not.
# A new library is a module with such a function, a row here and one in `backend_of`.
LOADERS: dict[str, Callable[[Device], Backend]] = {
    "numpy": numpy.load,
    "cupy": cupy.load,
    "torch": torch.load,
    "jax": jax.load,
    "array_api_strict": strict.load,
}

INSTALL = {
    "cupy": "pip install 'arraymlp[cuda13]' (or 'arraymlp[cuda12]' with a CUDA 12 driver)",
    "torch": "pip install 'arraymlp[torch]'",
    "jax": "pip install 'arraymlp[jax]'",
    "array_api_strict": "pip install array-api-strict",
}


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name and cannot run here; the message gives cause and remedy."""


class BackendFallbackWarning(UserWarning):
    """A backend was asked for by name and cannot run here; NumPy does the work instead."""


def loaded(name: str, device: Device) -> Backend:
    """The backend of that name on that device, for unpickling; errors are the library's."""
    return LOADERS[name](device)


def backend_of(array: Array) -> Backend:
    """The backend an array belongs to."""
    if array_api_compat.is_numpy_array(array):
        return numpy.load(None)
    for name, test in (
        ("cupy", array_api_compat.is_cupy_array),
        ("torch", array_api_compat.is_torch_array),
        ("jax", array_api_compat.is_jax_array),
    ):
        if test(array):
            return LOADERS[name](array_api_compat.device(array))
    xp = array_namespace(array)
    if array_api_compat.is_array_api_strict_namespace(xp):
        return strict.load(array_api_compat.device(array))
    raise ValueError(f"arrays of {xp.__name__} are not supported; there is {', '.join(LOADERS)}")


_WORKING: set[tuple[str, str]] = set()  # backends and devices that have been tried in this process


def _try(name: str, device: Device) -> Backend | str:
    """The backend, or the reason why it cannot run here."""
    try:
        backend = LOADERS[name](device)
        key = (backend.name, backend.device_name)
        if name != "cupy" and key not in _WORKING:  # CuPy's loader tries for itself
            backend.require_working()
            _WORKING.add(key)
        return backend
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except NoSuchDeviceError:
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
        BackendUnavailableError: the backend cannot run and a fallback is not allowed.
        ValueError: no such backend, or no such kind of device.
    """
    if isinstance(name, Backend):
        if device is not None:
            raise ValueError(f"device={device!r} was given together with a Backend, which has one")
        return name
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
    if not isinstance(name, str) or name not in LOADERS:
        raise unknown(["auto", *LOADERS], name, "backend")
    backend = _try(name, device)
    if isinstance(backend, Backend):
        return _logged(backend)
    reason = backend
    message = f"the {name} backend cannot run here ({reason})"
    if name in INSTALL and (name == "cupy" or reason.endswith("is not installed")):
        message += f"; to install it: {INSTALL[name]}"
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
    """Every backend this package has, with version and device, or the reason it cannot run."""
    statuses = []
    for name in LOADERS:
        backend = _try(name, None)
        if isinstance(backend, Backend):
            status = BackendStatus(name, True, backend.version, _describe_device(backend))
        else:
            install = INSTALL.get(name, "")
            status = BackendStatus(name, False, reason=backend, install=install)
        statuses.append(status)
    return statuses


def _describe_device(backend: Backend) -> str:
    model = backend.device_model
    return f"{backend.device_name} ({model})" if model else backend.device_name
