"""Checkpoints of a sweep: a folder with a file for each stack of networks, and one for the sweep.

``sweep.safetensors`` says what is trained: settings, digests of rows and given networks, and the
fingerprints of the data. ``stack-0.safetensors``, by the number of the stack's first network, has
the networks that are finished, and the state of those in training. What goes on keeps the stacks
that it finds, and partitions the other networks as the machine is now.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data
from arraymlp.data.fingerprint import differing, fingerprint, row_plan_digests, without_scales
from arraymlp.sweeps.partition import populations
from arraymlp.sweeps.population import (
    DIVERGED,
    FINISHED,
    INTERRUPTED,
    STOPPED,
    MemberSpec,
    Population,
)
from arraymlp.sweeps.population_state import population_state, restore_population
from arraymlp.training.checkpoint import (
    NOT_COMPARED,
    Checkpoint,
    network_digest,
    require_state,
)
from arraymlp.training.description import described_settings, differing_settings
from arraymlp.training.generations import CheckpointError, Generations
from arraymlp.training.run_files import DATA
from arraymlp.training.saver import Saver
from arraymlp.training.schema import (
    ANY,
    COUNT,
    FLAG,
    TEXT,
    Form,
    ModelFileError,
    optional,
    require,
)
from arraymlp.training.snapshots import (
    SNAPSHOT,
)
from arraymlp.training.state import (
    FIGURES,
    JSON,
    MEASUREMENT,
    RECORD,
    State,
    content_of,
)

log = logging.getLogger("arraymlp")

VERSION = 1
SWEEP_HEADER: Form = {"sweep": {"version": COUNT}}
STACK_HEADER: Form = {"stack": {"version": COUNT}}
MEMBER: Form = {
    "settings": {"*": ANY},
    "data": COUNT,  # its place among the fingerprints
    "rows": ANY,
    "network": optional(TEXT),
}
SWEEP: Form = {"members": [MEMBER], "data": [DATA]}
STATUSES = (FINISHED, STOPPED, DIVERGED, INTERRUPTED)
RESULT: Form = {
    "member": COUNT,
    "status": Rule(" or ".join(STATUSES), lambda v: isinstance(v, str) and v in STATUSES),
    "cause": TEXT,
    "best_epoch": optional(COUNT),
    "engine": TEXT,
    "engine_reason": TEXT,
    "measurements": [MEASUREMENT],
    "dead_units": FIGURES,
    "snapshots?": [SNAPSHOT],
}
STACK: Form = {
    "numbers": [COUNT],
    "sweep": TEXT,
    "members": [COUNT],
    "finished": FLAG,
    "results": [RESULT],
    "histories": [[RECORD]],
    "callbacks": [ANY],
    "run": {"*": ANY},
}
FILE = re.compile(r"(stack-\d+\.safetensors)(\.\d+)?")


class SweepFolder:
    """The checkpoints of one call of `sweep`, or of another training of many networks.

    Args:
        checkpoint: the folder, which is made where there is none, and how often.
        specs: all networks.
        datas: the data of each.
        backend: where they train.

    Attributes:
        held: the numbers of the networks of each stack that the folder has.

    Raises:
        ValueError: a schedule remembers records, but cannot say what.
        OSError: the folder cannot be made.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        specs: Sequence[MemberSpec],
        datas: Sequence[Data],
        backend: Backend,
    ) -> None:
        for spec in specs:
            require_state(spec.settings.schedule.begin())
        self._checkpoint, self._backend = checkpoint, backend
        self.folder = Path(checkpoint.path).absolute()  # wherever the process goes meanwhile
        self.folder.mkdir(parents=True, exist_ok=True)
        self._content = _described(specs, datas, backend)
        self._digest = _digest(self._content)
        self._specs, self._datas = specs, datas
        self._sweep = Generations(self.folder / "sweep.safetensors", keep=1)
        self._stacks: dict[int, tuple[dict[str, Any], dict[str, HostArray]]] = {}
        self.held: list[list[int]] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder for this call, and read what it has.

        Raises:
            CheckpointError: another process holds it; or it is of another sweep, or damaged.
            OSError: it cannot be read or written.
        """
        with self._sweep.lock():
            found = self._sweep.read()
            if found is not None:
                self._compare(*found)
            self._read_stacks()
            if found is None:
                text = json.dumps(self._content)
                tensors = {JSON: np.frombuffer(text.encode(), np.uint8)}
                self._sweep.write({"sweep": {"version": VERSION}}, tensors)
            yield

    def _compare(self, header: Mapping[str, Any], tensors: dict[str, HostArray]) -> None:
        """A CheckpointError where the folder is of another sweep."""
        path = self._sweep.path
        try:
            require(header, SWEEP_HEADER, "its header")
            _require_version(header["sweep"]["version"])
            content = content_of(tensors)
            require(content, SWEEP, "its sweep")
        except ModelFileError as error:
            raise CheckpointError(f"{path}: {error}") from error
        differ = _differences(self._content, content)
        if differ:
            more = f"; and {len(differ) - 5} more" if len(differ) > 5 else ""
            raise CheckpointError(
                f"{self.folder} is of another sweep: {'; '.join(differ[:5])}{more}. Give the sweep "
                "as it was, or another folder"
            )

    def _read_stacks(self) -> None:
        taken, (alike, _) = set[int](), populations(self._specs, self._datas)
        names = {match[1] for file in self.folder.iterdir() if (match := FILE.fullmatch(file.name))}
        for name in sorted(names):
            found = Generations(self.folder / name, self._checkpoint.keep).read()
            if found is None:
                continue
            header, tensors = found
            try:
                require(header, STACK_HEADER, "its header")
                _require_version(header["stack"]["version"])
                content = content_of(tensors)
                require(content, STACK, "its stack")
                numbers = set(content["numbers"])
                _require_members(content)
                if content["sweep"] != self._digest:
                    raise ModelFileError("it is of another sweep")
                if name != _name(content["numbers"]) or numbers & taken:
                    raise ModelFileError("its networks are those of another file")
                if not any(numbers <= set(population) for population in alike):
                    raise ModelFileError("its networks are not those of the sweep")
            except ModelFileError as error:
                raise CheckpointError(f"{self.folder / name}: {error}") from error
            taken |= numbers
            self.held.append(content["numbers"])
            self._stacks[content["numbers"][0]] = content, tensors
        if self.held:
            log.info("going on from the checkpoint %s: %d networks begun", self.folder, len(taken))

    def file(self, numbers: Sequence[int]) -> "StackFile":
        """The file of a stack of networks."""
        path = self.folder / _name(numbers)
        files = Generations(path, self._checkpoint.keep)
        found = self._stacks.pop(numbers[0], None)
        return StackFile(files, self._checkpoint.cadence, list(numbers), self._digest, found)


class NoFolder:
    """Stands for a folder where nothing is kept."""

    held: Sequence[Sequence[int]] = ()
    file = None


@contextmanager
def sweep_folder(
    checkpoint: Checkpoint | None,
    specs: Sequence[MemberSpec],
    datas: Sequence[Data],
    backend: Backend,
) -> Iterator[SweepFolder | NoFolder]:
    """Hold the folder of a training of many networks, if there is one; as of `SweepFolder`.

    What it yields has ``held`` for `plan_stacks` and ``file`` for `train_stacks`.
    """
    if checkpoint is None:
        yield NoFolder()
        return
    folder = SweepFolder(checkpoint, specs, datas, backend)
    with folder.open():
        yield folder


class StackFile:
    """The file of a stack; see `arraymlp.sweeps.population.PopulationFile`."""

    def __init__(
        self,
        files: Generations,
        cadence: Mapping[str, Any],
        numbers: list[int],
        digest: str,
        found: tuple[dict[str, Any], dict[str, HostArray]] | None,
    ) -> None:
        self._files, self._cadence, self._found = files, cadence, found
        self._of = {"numbers": numbers, "sweep": digest}

    @property
    def found(self) -> tuple[dict[str, Any], dict[str, HostArray]] | None:
        """Content and tensors of the file that was there; None once `restore` has taken them."""
        return self._found

    @property
    def cadence(self) -> Mapping[str, Any]:
        """How often its state is to be kept, as `Saver` is told it."""
        return self._cadence

    def restore(self, population: Population) -> None:
        """Bring a population to where the file has it, where there is one.

        Raises:
            CheckpointError: the file does not fit it.
        """
        if self._found is None:
            return
        content, tensors = self._found
        self._found = None
        try:
            restore_population(population, content, tensors)
        except (ModelFileError, KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self._files.path} does not fit its sweep: {error}") from error

    def saver(self, population: Population) -> Saver:
        """What takes its state when that is due, from here on."""
        saver = Saver(
            self._files,
            {"stack": {"version": VERSION}},
            lambda: population_state(population, self._of),
            population.backend,
            **self._cadence,
        )
        saver.resume(population.run.steps_done, population.run.next_epoch)
        return saver

    def saver_of(
        self, state: Callable[[], State], backend: Backend, steps: int, epochs: int
    ) -> Saver:
        """The same of a population that is trained elsewhere.

        Args:
            state: gives its newest state.
            backend: of the arrays in it.
            steps: that it has done so far, as the file has it.
            epochs: likewise.
        """

        def of_this_stack() -> State:
            taken = state()
            return State(taken.content | self._of, taken.arrays)

        header: dict[str, object] = {"stack": {"version": VERSION}}
        saver = Saver(self._files, header, of_this_stack, backend, **self._cadence)
        saver.resume(steps, epochs)
        return saver


def _name(numbers: Sequence[int]) -> str:
    """The name of a stack's file, by the numbers of its networks."""
    return f"stack-{numbers[0]}.safetensors"


def _require_members(content: Mapping[str, Any]) -> None:
    """A ModelFileError unless a stack's networks are in training or have a result, each once."""
    count, members = len(content["numbers"]), content["members"]
    done = [result["member"] for result in content["results"]]
    good = count > 0 and len(set(content["numbers"])) == count
    good = good and all(sorted(set(of)) == sorted(of) for of in (members, done))
    missing = set(range(count)) - set(done)
    good = good and max([*members, *done], default=0) < count and bool(members)
    good = good and (not missing if content["finished"] else missing <= set(members))
    if not good or len(content["histories"]) != count:
        raise ModelFileError("its networks are not in training or finished, each once")


def _require_version(version: int) -> None:
    if version != VERSION:
        raise ModelFileError(f"its version is {version}, but this version reads {VERSION}")


def _described(
    specs: Sequence[MemberSpec], datas: Sequence[Data], backend: Backend
) -> dict[str, Any]:
    """What is trained, in JSON's types."""
    distinct = list({id(data): data for data in datas}.values())
    places = {id(data): i for i, data in enumerate(distinct)}
    plans = {id(s.row_plan): row_plan_digests(s.row_plan) for s in specs if s.row_plan is not None}
    members = [
        {
            "settings": described_settings(spec.settings),
            "data": places[id(data)],
            "rows": plans.get(id(spec.row_plan)),
            "network": None if spec.network is None else network_digest(spec.network),
        }
        for spec, data in zip(specs, datas, strict=True)
    ]
    with backend.active():
        return {"members": members, "data": [fingerprint(data, backend) for data in distinct]}


def _digest(content: Mapping[str, Any]) -> str:
    """A digest of what is compared of a sweep, which each of its stacks has."""
    members = [
        {**m, "settings": {k: v for k, v in m["settings"].items() if k not in NOT_COMPARED}}
        for m in content["members"]
    ]
    text = json.dumps([members, without_scales(content["data"])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """In what two sweeps differ, in words."""
    counts = [len(content["members"]) for content in (then, now)]
    if counts[0] != counts[1]:
        return [f"it was of {counts[0]} networks, is of {counts[1]}"]
    if len(now["data"]) != len(then["data"]):
        return ["its networks have other data"]
    differ = [d for a, b in zip(now["data"], then["data"], strict=True) for d in differing(a, b)]
    for k, (a, b) in enumerate(zip(now["members"], then["members"], strict=True)):
        own = differing_settings(a["settings"], b["settings"], *NOT_COMPARED)
        own += [f"other {name}" for name in ("data", "rows", "network") if a[name] != b[name]]
        differ += [f"network {k}: {d}" for d in own]
    return differ
