"""NumPy: the host itself."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

import array_api_compat.numpy
import numpy as np

from arraymlp.backends import threads
from arraymlp.backends.array import Device
from arraymlp.backends.backend import Backend, NoSuchDeviceError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """NumPy, with its BLAS on one thread while the package computes; see `backends.threads`."""

    def active(self) -> AbstractContextManager[object]:
        """Context in which BLAS uses one thread: a product has the same bits on any machine."""
        return threads.OneBlasThread()

    def in_threads(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """The results of ``work(item)``, in order, by several threads where there are cores."""
        return threads.in_threads(work, items)


def _namespace() -> ModuleType:
    """NumPy's namespace, whose large products are shared out among threads."""
    namespace = ModuleType(array_api_compat.numpy.__name__, array_api_compat.numpy.__doc__)
    vars(namespace).update(vars(array_api_compat.numpy), matmul=threads.matmul)
    return namespace


NAMESPACE = _namespace()


def load(device: Device) -> Backend:
    """NumPy on "cpu", its one device."""
    if not (device is None or (isinstance(device, str) and device == "cpu")):
        raise NoSuchDeviceError(f"NumPy computes on 'cpu' alone, not on {device!r}")
    return NumpyBackend("numpy", NAMESPACE, "cpu", np.__version__)
