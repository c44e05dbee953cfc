"""What a worker has of a job: what it found in the parent's folder, and what it was sent."""

import io
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data
from arraymlp.sweeps.workers.errors import ExecutorError

KEPT = 4  # jobs whose data a worker keeps


class MissingError(Exception):
    """A worker lacks some of what the parent has; ``names`` says what."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = list(names)


class Shelf:
    """What a worker has of one job.

    Args:
        folder: the parent's.
        backend: gives the worker's own, for which the job's stands.
        host: NumPy.
    """

    def __init__(self, folder: Path, backend: Callable[[], Backend], host: Backend) -> None:
        self._folder, self._make, self._host = folder, backend, host
        self._backend: Backend | None = None
        self._contents: dict[str, Any] = {}
        self._data: dict[str, Data] = {}
        self._lock = threading.RLock()

    @property
    def backend(self) -> Backend:
        """The worker's own, on its device."""
        with self._lock:
            if self._backend is None:
                self._backend = self._make()
            return self._backend

    def take(self, contents: Mapping[str, Any]) -> None:
        """Keep what the parent has sent."""
        with self._lock:
            self._contents |= contents

    def require(self, names: Sequence[str]) -> None:
        """Have all of these at hand.

        Raises:
            MissingError: some are neither here nor in the folder.
        """
        with self._lock:
            missing = [name for name in names if not self._has(name)]
        if missing:
            raise MissingError(missing)

    def _has(self, name: str) -> bool:
        if name in self._contents:
            return True
        try:
            path = self._folder / name
            if name.endswith(".npy"):  # writable, for libraries that warn otherwise, but its own
                self._contents[name] = np.load(path, mmap_mode="c").view(np.ndarray)
            else:
                self._contents[name] = path.read_bytes()
        except OSError:
            return False
        return True

    def unpack(self, name: str) -> Any:
        """What the parent's `Depot` has packed, made anew, but for its data and arrays.

        Raises:
            MissingError: something of it is not here.
            ExecutorError: a file or a store that the data is read from cannot be opened here.
        """
        self.require([name])
        shelf = self

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid: tuple[Any, ...]) -> Any:
                return shelf._object(*pid)

        try:
            return Unpickler(io.BytesIO(self._contents[name])).load()
        except OSError as error:
            raise ExecutorError(
                f"it cannot open what the data is read from ({error}): put it where all workers "
                "see it by that path, or give the data as an array in memory"
            ) from error

    def _object(self, kind: str, *which: Any) -> Any:
        if kind == "backend":
            return self._host  # data and networks are moved when they are whole
        (name,) = which
        self.require([name])
        if kind == "array":
            return self._contents[name]
        with self._lock:
            if name not in self._data:
                self._data[name] = Data(**self.unpack(name)).moved(self._host, self.backend)
            return self._data[name]


_shelves: OrderedDict[str, Shelf] = OrderedDict()
_lock = threading.Lock()


def shelf_of(job: str, make: Callable[[], Shelf]) -> Shelf:
    """The shelf of a job in this process; those of older jobs are given up."""
    with _lock:
        if job not in _shelves:
            _shelves[job] = make()
        _shelves.move_to_end(job)
        while len(_shelves) > KEPT:
            _shelves.popitem(last=False)
        return _shelves[job]


def _forked() -> None:
    """In a child process: the locks may have been held by threads that it has not."""
    global _lock
    _lock = threading.Lock()
    _shelves.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
