"""A slice of a stack's training, as a worker does it: whole epochs, from one state to the next.

Nothing is left in the worker but the data: the state goes back, and the next slice may be
anybody's.
Request and reply are dictionaries of plain values, which every version of the package can read.
"""

import io
import pickle
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt, interruptible
from arraymlp.backends.registry import BackendUnavailableError, loaded, resolve
from arraymlp.backends.threads import limited
from arraymlp.data.data import Data
from arraymlp.sweeps.population import MemberSpec, Population, StepLosses
from arraymlp.sweeps.population_state import population_state, restore_population
from arraymlp.sweeps.workers.errors import ExecutorError
from arraymlp.sweeps.workers.identity import identity
from arraymlp.sweeps.workers.parcel import News, Tensors, opened, packed
from arraymlp.sweeps.workers.pools import threads_here
from arraymlp.sweeps.workers.shelf import MissingError, Shelf, shelf_of
from arraymlp.sweeps.workers.transport import write_whole
from arraymlp.training.generations import Generations
from arraymlp.training.history import Record
from arraymlp.training.saver import Saver
from arraymlp.training.state import content_of

STOP = "stop"  # a file in the parent's folder: slices end at once
LOOK = 0.1  # seconds between looks for it
STATE = "state"  # the name of a state that is sent in a message


class Job(NamedTuple):
    """What a stack is, as it is packed for workers.

    Attributes:
        specs: of its members; with networks on the host.
        data: all rows.
        compact: as for `arraymlp.sweeps.population.train_population`.
        step_losses: likewise.
        holds: whether the parent tells callbacks after each epoch.
    """

    specs: list[MemberSpec]
    data: Data
    compact: bool
    step_losses: StepLosses | None
    holds: bool


def train_slice(request: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Train a stack for a while.

    Args:
        request: what `arraymlp.sweeps.workers.conduct` asks for.
        sent: what this worker has said it lacks, by name.

    Returns:
        The worker's `identity`, and one of: ``refused`` (other versions), ``missing`` (names of
        what it lacks), ``unable`` (why it cannot train), ``error`` (an exception of the training,
        pickled, or None where it cannot be) with ``text``; or ``done``, a parcel with `News` and
        state: the name of its file in the parent's folder, or its bytes; and ``busy``, in seconds.
    """
    began = time.perf_counter()
    reply = identity()
    if request["versions"] != reply["versions"]:
        return reply | {"refused": True}
    try:
        with limited(threads_here(request["threads"])):
            reply["done"] = _trained(request, sent)
    except MissingError as missing:
        return reply | {"missing": missing.names}
    except ExecutorError as error:
        return reply | {"unable": str(error)}
    except Exception as error:
        return reply | {"error": _pickled(error), "text": traceback.format_exc()}
    return reply | {"busy": time.perf_counter() - began}


def _pickled(error: Exception) -> bytes | None:
    """An exception as bytes; None where it does not come back from them."""
    try:
        content = pickle.dumps(error)
        return content if type(pickle.loads(content)) is type(error) else None
    except Exception:  # of any kind: the exception may be the user's
        return None


def _own_backend(kind: str, device: Any) -> Backend:
    try:
        return resolve(kind, device, fallback=False)
    except (BackendUnavailableError, ValueError) as error:
        raise ExecutorError(f"it has no backend {kind!r}: {error}") from error


def _trained(request: Mapping[str, Any], sent: Mapping[str, Any]) -> str | bytes:
    """Do a slice; return the parcel, by name or as bytes."""
    folder = Path(request["folder"])
    numpy = loaded("numpy", None)

    def own() -> Backend:
        return _own_backend(*request["backend"])

    shelf = shelf_of(request["job"], lambda: Shelf(folder, own, numpy))
    sent = dict(sent)
    state = sent.pop(STATE, None)
    shelf.take(sent)
    shelf.require(request["needs"])
    if state is None and request["state"] is not None:
        try:
            state = (folder / request["state"]).read_bytes()
        except OSError as error:
            raise MissingError([STATE]) from error
    backend = shelf.backend
    job: Job = shelf.unpack(request["part"])
    with backend.within_memory(request["less_memory"]):
        parcel = _slice(job, backend, state, request)
    try:
        if (folder / STOP).exists() or not folder.is_dir():
            return parcel  # it may be gone when the parent reads
        name = f"{uuid4().hex}.state"
        write_whole(folder / name, parcel)
    except OSError:
        return parcel
    return name


def _slice(job: Job, backend: Backend, state: bytes | None, request: Mapping[str, Any]) -> bytes:
    """Train a stack from a state on; return the parcel."""
    specs = [
        spec if spec.network is None else replace(spec, network=spec.network.to(backend))
        for spec in job.specs
    ]
    population = Population(specs, job.data, backend, job.compact, None, job.step_losses, None)
    population.holds = job.holds
    if state is not None:
        _, (tensors, _) = opened(io.BytesIO(state))
        restore_population(population, content_of(tensors), tensors)
        if request["settle"] is not None:
            population.settle(*request["settle"])
    known = [len(history) for history in population.histories]
    began = time.perf_counter()
    last_epoch = population.run.next_epoch + (request["epochs"] or population.epochs)
    population.pauses = lambda: (
        time.perf_counter() - began >= request["seconds"] or population.run.next_epoch >= last_epoch
    )
    file = _SliceFile()
    with interruptible() as signalled:
        population.train(_SliceInterrupt(signalled, Path(request["folder"]) / STOP), file)
    news = News(
        _since(file.state, known),
        _since(file.shown, known),
        population.held,
        held=population.is_paused and job.holds,
        finished=population.is_finished,
        steps=population.run.steps_done,
        epochs=population.run.next_epoch,
        seconds=time.perf_counter() - began,
    )
    return packed(news, (file.state, file.shown))


def _since(tensors: Tensors | None, known: Sequence[int]) -> list[list[Record]]:
    """The records of each member that a state has beyond those that are known."""
    if tensors is None:
        return []
    histories = content_of(dict(tensors))["histories"]
    return [records[n:] for records, n in zip(histories, known, strict=True)]


class _SliceInterrupt(Interrupt):
    """A signal to this process, or the parent's word that it is enough."""

    def __init__(self, signalled: Interrupt, stop: Path) -> None:
        self._signalled, self._stop = signalled, stop
        self._sees_folder, self._looked = stop.parent.is_dir(), time.perf_counter()
        super().__init__()

    @property
    def requested(self) -> bool:
        """Whether to end now."""
        if self._signalled.requested:
            return True
        now = time.perf_counter()
        if self._sees_folder and now - self._looked > LOOK:
            self._looked = now
            if self._stop.exists() or not self._stop.parent.is_dir():
                self._signalled.requested = True
        return self._signalled.requested

    @requested.setter
    def requested(self, value: bool) -> None:
        if value:
            self._signalled.requested = True


class _SliceFile:
    """Takes the state at the end of a slice: see `arraymlp.sweeps.population.PopulationFile`.

    Attributes:
        state: to go on with.
        shown: where an epoch was broken off, the state with the record of its part; else None.
    """

    def __init__(self) -> None:
        self.state: Tensors = {}
        self.shown: Tensors | None = None

    def restore(self, population: Population) -> None:
        """The population has its state already."""

    def saver(self, population: Population) -> Saver:
        """What takes the state, once."""
        return _SliceSaver(self, population)


class _SliceSaver(Saver):
    """A saver that nothing is due for but the last state, which it keeps in memory."""

    def __init__(self, file: _SliceFile, population: Population) -> None:
        nowhere = Generations(STATE)
        backend = population.backend
        super().__init__(nowhere, {}, lambda: population_state(population, {}), backend)
        self._file = file

    def finish(self) -> None:
        """Take the last state: the one that was kept, or as it is now."""
        kept, now = self._kept, self._state()
        self._file.state = (kept or now).tensors(self._backend)
        self._file.shown = None if kept is None else now.tensors(self._backend)
