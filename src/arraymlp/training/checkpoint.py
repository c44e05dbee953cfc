"""Checkpoints: a run's state in a file, from which the same call of `train` goes on.

The file has the bytes of a model file (`arraymlp.training.tensor_file`), all under one SHA-256: the
state of `arraymlp.training.state`, the settings, and the fingerprint of the data
(`arraymlp.data.fingerprint`), but nothing of the data itself.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.data.fingerprint import differing, fingerprint
from arraymlp.nn.network import Network
from arraymlp.steps.schedules import Schedule
from arraymlp.training.callbacks import AnyCallback
from arraymlp.training.description import (
    described_settings,
    differing_settings,
    where_defined,
)
from arraymlp.training.generations import CheckpointError, Generations
from arraymlp.training.network_parts import parameters
from arraymlp.training.run import INTERRUPTED, Run
from arraymlp.training.run_files import VERSION, file_state, read_content, restore_run
from arraymlp.training.saver import Saver
from arraymlp.training.schema import ModelFileError
from arraymlp.training.state import State, callback_states, restore_callbacks, updated

log = logging.getLogger("arraymlp")

MOST = 100  # states that are kept
NOT_COMPARED = ("engine", "snapshots")  # what changes speed, rounding and what is kept alone
EVERY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|seconds?|min|minutes?|h|hours?|steps?|epochs?)")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # by a unit's first letter


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a run is kept, and how often: for ``checkpoint`` of `train`.

    For example::

        train(X, y, epochs=500, checkpoint=Checkpoint("run.ckpt", every="10 min"))

    Attributes:
        path: of the file; the states before it stand beside it, in path.1, path.2, ...
        every: "5 min", "30 s", "2 h", "100 steps" or "1 epoch". By the clock a checkpoint also
            waits until writing one takes no more than 2 % of the time. One that is due while
            another is being written is taken when that is done. Each has the whole history: an
            epoch of a millisecond is no time to write that of thousands of epochs.
        keep: how many states are kept, from 1.

    Raises:
        ValueError: a value that is none of these.
    """

    path: str | os.PathLike[str]
    every: str = "5 min"
    keep: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike) or not os.fspath(self.path):
            raise ValueError(f"checkpoint must be the path of a file, not {self.path!r}")
        if (
            isinstance(self.keep, bool)
            or not isinstance(self.keep, int)
            or not 1 <= self.keep <= MOST
        ):
            raise ValueError(f"keep must be a whole number from 1 to {MOST}, not {self.keep!r}")
        self.cadence  # noqa: B018  # refuses what is wrong

    @property
    def cadence(self) -> dict[str, Any]:
        """How often, as `Saver` is told it: a number of seconds, steps or epochs."""
        match = EVERY.fullmatch(self.every) if isinstance(self.every, str) else None
        number = 0.0 if match is None else float(match[1])
        unit = "" if match is None else match[2]
        counts = unit[:2] in ("st", "ep")
        if number <= 0 or (counts and number % 1):
            raise ValueError(
                "every must be a time, or a whole number of steps or epochs, as in '5 min', "
                f"'100 steps' or '1 epoch', not {self.every!r}"
            )
        if counts:
            return {"steps" if unit.startswith("st") else "epochs": int(number)}
        return {"seconds": number * SECONDS[unit[0]]}

    def within(self, name: str) -> "Checkpoint":
        """The same of a folder, or file, in this one's folder."""
        return replace(self, path=Path(self.path) / name)


def as_checkpoint(value: str | os.PathLike[str] | Checkpoint) -> Checkpoint:
    """A checkpoint, of a path with the defaults; a ValueError where it is neither."""
    return value if isinstance(value, Checkpoint) else Checkpoint(value)


class RunFile:
    """The file of one call of `train`: what is in it, and what is to be written.

    Args:
        checkpoint: where, and how often.
        run: of the call, before its first step.
        callbacks: of the call.

    Raises:
        ValueError: the schedule remembers records, but cannot say what.
    """

    HEADER: ClassVar[dict[str, object]] = {"run": {"version": VERSION}}

    def __init__(self, checkpoint: Checkpoint, run: Run, callbacks: Sequence[AnyCallback]) -> None:
        require_state(run.schedule)
        self._run, self._callbacks = run, callbacks
        self._settings = described_settings(run.settings)
        self._data = fingerprint(run.required_data(), run.backend)
        self._began = beginning(run)
        self._files = Generations(checkpoint.path, checkpoint.keep)
        self.saver = Saver(self._files, self.HEADER, self.state, run.backend, **checkpoint.cadence)
        self._finished = False

    @contextmanager
    def open(self) -> Iterator[bool]:
        """Hold the file for this call; restore the run from it where there is one.

        Yields:
            Whether there was one.

        Raises:
            CheckpointError: another process holds it; or it is of another call, or damaged.
            OSError: it cannot be read.
        """
        with self._files.lock():
            there = self._restore()
            try:
                yield there
            finally:
                self.saver.close()

    @property
    def is_finished(self) -> bool:
        """True where there is nothing left to train."""
        return self._finished

    def finish(self) -> None:
        """Write the last state of the call."""
        self._finished = self._run.ended != INTERRUPTED
        self.saver.finish()

    def state(self) -> State:
        """What is to be written now."""
        state = file_state(
            self._run,
            self._settings,
            self._data,
            began=self._began,
            callbacks=callback_states(self._callbacks),
            finished=self._finished,
            copied=True,
        )
        if not self._finished:
            state.content["ended"] = INTERRUPTED  # for whoever looks: the file outlived its process
        return state

    def _restore(self) -> bool:
        found = self._files.read()
        if found is None:
            return False
        header, tensors = found
        path = self._files.path
        try:
            content = read_content(header, tensors)
            if content["finished"] is None:
                raise ModelFileError(
                    "it was written by save and is no checkpoint: train(network=load(path)) goes "
                    "on with it"
                )
            differ = differing_settings(self._settings, content["settings"], *NOT_COMPARED)
            differ += differing(self._data, content["data"])
            if content["began"] != self._began:
                differ.append("the network that the call begins with is another one")
            if differ:
                raise CheckpointError(
                    f"{path} is of another call: {'; '.join(differ)}. Give the call as it was, or "
                    "another path; to begin anew, remove the file and those of earlier states "
                    f"({path.name}.1, ...)"
                )
            first = self._run.next_epoch
            restore_run(self._run, content, tensors)
            if not first <= self._run.next_epoch <= first + self._run.settings.epochs:
                raise ModelFileError("its epochs are not those of the call")
            restore_callbacks(self._callbacks, content["callbacks"])
        except ModelFileError as error:
            raise CheckpointError(f"{path}: {error}") from error
        self._finished = content["finished"]
        run = self._run
        done = "finished" if self._finished else f"{run.steps_done} steps done"
        log.info("going on from the checkpoint %s: %s", path, done)
        return True


def require_state(schedule: Schedule) -> None:
    """A ValueError where a schedule remembers records, but cannot say what it remembers."""
    of = type(schedule)
    if of.observe is not Schedule.observe and of.state is Schedule.state:
        raise ValueError(
            f"{where_defined(schedule)} observes records: for a checkpoint it must have state() "
            "and restore(state), as arraymlp.schedules.Schedule says"
        )


def beginning(run: Run) -> str | None:
    """What the network of a call begins with, if it was given: a digest; None for a new one."""
    if run.settings.initializer is not None and not len(run.history):
        return None
    arrays = [a for _, a in sorted(updated(run).items())]
    return _digest(arrays, run.backend, steps=run.steps_done)


def network_digest(network: Network) -> str:
    """A digest of the parameters of a network."""
    return _digest(list(parameters(network).values()), network.backend)


def _digest(arrays: Sequence[Array], backend: Backend, steps: int = 0) -> str:
    digest = hashlib.sha256(str(steps).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(backend.to_numpy(array)).data)
    return digest.hexdigest()
