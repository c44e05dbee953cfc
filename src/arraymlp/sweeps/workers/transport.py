"""What goes to workers: networks and data as pickles, and large arrays once a machine, by content.

The parent has a temporary folder, in which each large array, each data set and each stack's
networks are one file, by their digest. Workers that see the folder map the arrays, and so processes
of one machine share their pages; what they sent back lies there, too, so that no message is long. A
worker that does not see the folder says what it lacks, and is sent that with its next slice.
"""

import hashlib
import io
import os
import pickle
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data
from arraymlp.sweeps.workers.errors import ExecutorError

LARGE = 64 * 2**10  # bytes, from which an array is a file of its own
KEPT = 4  # jobs whose data a worker keeps
SAME_TIME = 2.0  # seconds by which file systems may round the time of a change


class MissingError(Exception):
    """A worker lacks some of what the parent has; ``names`` says what."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = list(names)


class Packed(NamedTuple):
    """Something that is in the parent's folder.

    Attributes:
        name: of its file.
        needs: the names of all that a worker needs to unpack it, its own among them.
    """

    name: str
    needs: tuple[str, ...]


def _pickler() -> type[pickle.Pickler]:
    """cloudpickle's, where it is installed: it takes functions of ``__main__`` along."""
    try:
        from cloudpickle import Pickler
    except ModuleNotFoundError:
        return pickle.Pickler
    return Pickler  # type: ignore[no-any-return]


class Depot:
    """The parent's folder, and what is in it.

    Args:
        backend: that arrays of data and networks are on.
        host: NumPy, on which they travel.
    """

    def __init__(self, backend: Backend, host: Backend) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="arraymlp-"))
        self.backend, self.host = backend, host
        self._contents: dict[str, bytes | HostArray] = {}
        self._arrays: dict[int, tuple[HostArray, str]] = {}  # each with what keeps its id taken
        self._data: dict[int, tuple[Data, Packed]] = {}

    def close(self) -> None:
        """Remove the folder; workers that still have a file of it open keep that one."""
        rmtree(self.folder, ignore_errors=True)

    def contents(self, names: Sequence[str]) -> dict[str, bytes | HostArray]:
        """What workers that do not see the folder are sent, by name."""
        return {name: self._contents[name] for name in names}

    def pack(self, value: object) -> Packed:
        """Pickle something, with its large arrays and its data apart; errors are the pickler's."""
        into, needs = io.BytesIO(), dict[str, None]()
        depot = self

        class Pickler(_pickler()):  # type: ignore[misc]
            def persistent_id(self, obj: Any) -> Any:
                return depot._apart(obj, needs)

        Pickler(into, protocol=5).dump(value)
        content = into.getvalue()
        name = f"{_digest(content)}.pickle"
        self._keep(name, content)
        return Packed(name, (*needs, name))

    def _apart(self, obj: Any, needs: dict[str, None]) -> tuple[Any, ...] | None:
        """What stands for an object that is not pickled where it stands; None for others."""
        if isinstance(obj, Data):
            packed = self._packed_data(obj)
            needs |= dict.fromkeys(packed.needs)
            return "data", packed.name
        if isinstance(obj, Backend):
            return ("backend",) if obj in (self.backend, self.host) else None
        if not isinstance(obj, np.ndarray) or obj.dtype.hasobject or obj.dtype.fields:
            return None
        if isinstance(obj, np.memmap) and (mapped := _mapped(obj)) is not None:
            return mapped
        if type(obj) not in (np.ndarray, np.memmap) or obj.nbytes < LARGE:
            return None
        name = self._array(obj)
        needs[name] = None
        return "array", name

    def _packed_data(self, data: Data) -> Packed:
        if id(data) not in self._data:
            moved = data.moved(self.backend, self.host)
            fields = {name: getattr(moved, name) for name in moved.__dataclass_fields__}
            self._data[id(data)] = data, self.pack(fields)
        return self._data[id(data)][1]

    def _array(self, array: HostArray) -> str:
        if id(array) not in self._arrays:
            digest = hashlib.blake2b(repr((array.dtype.str, array.shape)).encode(), digest_size=16)
            digest.update(b"F" if array.flags.fnc else b"C")
            digest.update(np.ascontiguousarray(array.T if array.flags.fnc else array).data)
            name = f"{digest.hexdigest()}.npy"
            self._arrays[id(array)] = array, name
            self._keep(name, array)
        return self._arrays[id(array)][1]

    def _keep(self, name: str, content: bytes | HostArray) -> None:
        if name in self._contents:
            return
        self._contents[name] = content
        try:
            if isinstance(content, bytes):
                write_whole(self.folder / name, content)
            else:
                np.save(self.folder / name, content, allow_pickle=False)
        except OSError:  # the disk is full: workers are sent it
            (self.folder / name).unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that nobody sees before it is whole."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    part.write_bytes(content)
    part.replace(path)


def _mapped(array: "np.memmap[Any, Any]") -> tuple[Any, ...] | None:
    """Where an array lies in the file that it maps; None where the file has something else."""
    root: Any = array
    while isinstance(root.base, np.memmap):
        root = root.base
    path = getattr(root, "filename", None)
    if getattr(array, "_mmap", None) is None or root.mode == "c" or path is None:
        return None
    if "joblib_memmapping_folder" in str(path):  # which joblib may remove
        return None
    if root.mode in ("r+", "w+"):
        root.flush()
    begins = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    status = os.stat(path)
    where = os.fspath(path), status.st_size, status.st_mtime
    layout = array.dtype.str, array.shape, array.strides, int(root.offset) + begins
    return "memmap", *where, *layout


def _map(
    path: str,
    size: int,
    changed: float,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
) -> HostArray:
    """The array of `_mapped`, in a worker.

    Raises:
        ExecutorError: there is no such file, or another one.
    """
    try:
        status = os.stat(path)
        raw: HostArray = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise ExecutorError(
            f"it cannot open {path}, which the data is read from ({error}): put the file where all "
            "workers see it by that path, or give the data as an array in memory"
        ) from error
    if status.st_size != size or abs(status.st_mtime - changed) > SAME_TIME:
        raise ExecutorError(f"its {path} is another file than that of the process that sweeps")
    return np.ndarray(shape, np.dtype(dtype), buffer=raw, offset=offset, strides=strides)


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
        """What `Depot.pack` packed, made anew, but for its data and arrays.

        Raises:
            MissingError: something of it is not here.
        """
        self.require([name])
        shelf = self

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid: tuple[Any, ...]) -> Any:
                return shelf._object(*pid)

        return Unpickler(io.BytesIO(self._contents[name])).load()

    def _object(self, kind: str, *which: Any) -> Any:
        if kind == "backend":
            return self._host  # data and networks are moved when they are whole
        if kind == "memmap":
            return _map(*which)
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
