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
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data

LARGE = 64 * 2**10  # bytes, from which an array is a file of its own


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
        folder = self.folder.with_name(f"{self.folder.name}.over")
        try:
            self.folder.rename(folder)  # or a slice that ends just now would write to it
        except OSError:  # on Windows, where a file of it is open
            folder = self.folder
        rmtree(folder, ignore_errors=True)

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
