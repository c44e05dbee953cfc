"""Which way whole epochs go: three kernels a step, unless another was measured to be faster here.

Other ways round otherwise. So none is chosen by a clock while a run trains, which would give other
bits the next time: ``arraymlp backends --bench`` times them all and notes the fastest for that
network in a file, which every later training on such a device reads. What is not in it goes by
three kernels. ``ARRAYMLP_CUDA_WAY`` in the environment names a way for all networks that it covers.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from arraymlp.engines.cuda.clusters import Clusters
from arraymlp.engines.cuda.epochs import MOST_ROWS, uncovered
from arraymlp.engines.cuda.fused import Way
from arraymlp.engines.cuda.persistent import Persistent
from arraymlp.engines.cuda.source import Launches
from arraymlp.engines.cuda.three_kernels import Record, ThreeKernels
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer

log = logging.getLogger("arraymlp")

USUAL, *OTHERS = (way.name for way in (ThreeKernels, Persistent, Clusters))
VARIABLE = "ARRAYMLP_CUDA_WAY"
LEAST_GAIN = 0.05  # by which another way must be faster than the usual one
_wanted: ContextVar[str] = ContextVar("wanted", default="")


class Ways:
    """The ways on one device.

    Args:
        devices: the device, for the kernels of a source file.
        record: makes one function of many launches, a graph.
        model: the device's name.
    """

    def __init__(self, devices: Callable[[str], Launches], record: Record, model: str) -> None:
        self._devices, self._model = devices, model
        every: tuple[Way, ...] = ThreeKernels(record), Persistent(), Clusters()
        self._ways = {way.name: way for way in every}

    def usual(self) -> tuple[Way, Launches]:
        """The way that covers all that one of them does, and the device with its kernels."""
        return self._named(USUAL)

    def chosen(self, network: Network, optimizer: Optimizer, batch: int) -> tuple[Way, Launches]:
        """The way for this network in minibatches of so many rows, and the device likewise.

        Raises:
            ValueError: there is no way of the wanted name.
        """
        name = _wanted.get() or os.environ.get(VARIABLE, "") or noted(self._model, network)
        if name not in ("", *self._ways):
            raise ValueError(f"{VARIABLE}={name}: give {', '.join(self._ways)}, or leave it out")
        if reason := self._reason(name or USUAL, network, optimizer, batch):
            log.info("an epoch at a time by %s, not by %s: %s", USUAL, name, reason)
            return self.usual()
        return self._named(name or USUAL)

    def covering(self, network: Network, optimizer: Optimizer, batch: int) -> tuple[str, ...]:
        """The names of the ways that train whole epochs of this network in such minibatches."""
        _, device = self.usual()
        if uncovered(network, optimizer, device.shared_memory) or batch > MOST_ROWS:
            return ()
        return tuple(
            name for name in self._ways if not self._reason(name, network, optimizer, batch)
        )

    def _reason(self, name: str, network: Network, optimizer: Optimizer, batch: int) -> str:
        way, device = self._named(name)
        return way.reason(network, optimizer, batch, device)

    def _named(self, name: str) -> tuple[Way, Launches]:
        way = self._ways[name]
        return way, self._devices(way.file)


@contextmanager
def wanted(name: str) -> Iterator[None]:
    """Have what this thread trains go by the way of this name, where that covers it."""
    token = _wanted.set(name)
    try:
        yield
    finally:
        _wanted.reset(token)


def fastest(times: Mapping[str, float]) -> str:
    """The way of the least time; the usual one where another gains less than noise may be."""
    name = min(times, key=lambda name: times[name])
    usual = times.get(USUAL)
    return USUAL if usual is not None and times[name] > (1 - LEAST_GAIN) * usual else name


def notes_path() -> Path:
    """The file that says which way was fastest: ``arraymlp/cuda-ways.json`` in the user's cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():  # what is relative is to be ignored, by XDG's rules
        folder = Path(os.path.expanduser("~"), ".cache")
    return folder / "arraymlp" / "cuda-ways.json"


def with_note(model: str, members: int, sizes: Sequence[int], name: str) -> bytes:
    """What that file is to say, with the fastest way for such networks on such a device in it."""
    notes = {**_notes(notes_path()), _key(model, members, sizes): name}
    return (json.dumps(dict(sorted(notes.items())), indent=1) + "\n").encode()


def noted(model: str, network: Network) -> str:
    """The way that was measured to be the fastest for this network on such a device, or ""."""
    name = _notes(notes_path()).get(_key(model, network.members or 1, network.sizes), "")
    return name if name in OTHERS else ""


def _notes(path: Path) -> dict[str, str]:
    """What the file says; nothing, where it is not there or is none that was written here."""
    try:
        notes = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _key(model: str, members: int, sizes: Sequence[int]) -> str:
    """What a measurement holds for: device, kernels, number of networks and widths."""
    return f"{model}, kernels {_digest()}: {members} x {'-'.join(map(str, sizes))}"


@cache
def _digest() -> str:
    """Of the kernels' sources: when they change, measurements hold no longer."""
    folder = files("arraymlp.engines.cuda")
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith((".cu", ".cuh")))
    return sha256(b"".join(folder.joinpath(name).read_bytes() for name in names)).hexdigest()[:12]
