"""Damaged files of runs and of checkpoints, with the SHA-256 that they had, or with one made right.

What reads a checkpoint is the call that it is of: that goes on, or refuses the file, or takes the
one before it.
"""

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np

import arraymlp
from arraymlp import ModelFileError, NonFiniteLossError, sweep, train
from arraymlp.schedules import Adaptive
from arraymlp.training.checkpoint import Checkpoint
from arraymlp.training.generations import CheckpointDamagedWarning, CheckpointError
from fuzzing import SAME, VALID, Format
from kill_cases import outcome_of_run, outcome_of_sweep
from model_files import apart, sealed
from mutations import damage, resealed

X = np.random.default_rng(0).normal(size=(24, 3)).round(2).astype("float32")
LABELS = np.arange(24) % 3 * 5 + 2
HOW: dict[str, Any] = {"batch_size": 5, "backend": "numpy"}
CALL: dict[str, Any] = {
    **HOW,
    "hidden": (3,),
    "epochs": 4,
    "validation": 0.25,
    "optimizer": "adam",
    "seed": [1, 2],
    "dropout": 0.1,
    "weight_average": 0.5,
    "schedule": Adaptive(patience=1),
    "early_stopping": True,
    "probes": True,
}
SWEEP: dict[str, Any] = {
    **HOW,
    "hidden": (2,),
    "epochs": 4,
    "learning_rate": [0.1, 1.0],
    "seed": [1, 2],
    "validation": 0.25,
    "early_stopping": True,
    "weight_average": 0.5,
    "schedule": Adaptive(patience=1),
}


class RefusedError(Exception):
    """A checkpoint was refused in the words that are its reader's."""


class BrokenError(Exception):
    """In place of a kill."""


class Breaker:
    """A callback that breaks a training off, and remembers how many steps there were."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.steps = at, 0

    def __call__(self, event: Any) -> None:
        pass

    def on_step(self, event: Any) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise BrokenError

    def state(self) -> Any:
        return {"steps": self.steps}

    def restore(self, state: Any) -> None:
        self.steps = int(state["steps"])


def _timeless(content: bytes) -> bytes:
    """The file with times that another training has, too: a seed's files are the same ones."""
    header, tensors = apart(content)
    about = tensors["run.json"].tobytes()

    def always(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        times = {"seconds": 0.25, "samples_per_s": 64.0}
        return {name: times.get(name, value) for name, value in pairs}

    text = json.dumps(json.loads(about, object_pairs_hook=always))
    return sealed(header, {**tensors, "run.json": np.frombuffer(text.encode(), np.uint8)})


@cache
def runs() -> list[bytes]:
    """Runs of one network, of several, of one that was broken off in an epoch, and of one more."""
    with np.errstate(all="ignore"):
        several = train(X, LABELS, **CALL)
    plain = train(X, LABELS, hidden=(3,), epochs=2, **HOW)
    stops: Any = Breaker()
    stops.on_step = lambda event: event.step == 3
    broken = train(X, LABELS, hidden=(2,), optimizer="rmsprop", alpha=0.1, callbacks=stops, **HOW)
    numbers = train(X, X[:, :2], hidden=(2, 2), epochs=1, standardize=True, loss="huber", **HOW)
    with TemporaryDirectory() as folder:
        file, contents = Path(folder) / "a", []
        for run in (several, plain, broken, numbers):
            arraymlp.save(run, file)
            contents.append(_timeless(file.read_bytes()))
    return contents


@cache
def checkpoints() -> list[bytes]:
    """A call's checkpoints: at its beginning, in an epoch, after one, and of its end."""
    contents = []
    for every, at in (("1 epoch", 2), ("6 steps", 8), ("1 epoch", 6), ("9 epochs", 0)):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "a"
            with suppress(BrokenError):
                called(file, every, at)
            contents.append(_timeless(file.read_bytes()))
    return contents


def called(file: Path, every: str = "9 epochs", at: int = 0) -> Any:
    """The call that `checkpoints` are of."""
    return train(X, LABELS, **CALL, checkpoint=Checkpoint(file, every), callbacks=[Breaker(at)])


@cache
def sweep_files() -> dict[str, list[bytes]]:
    """A sweep's files: what it is of, and of its stack what was begun, and what was finished."""
    files: dict[str, list[bytes]] = {}
    with TemporaryDirectory() as text:
        folder = Path(text)
        swept(folder, "1 epoch")
        for generation, file in enumerate([".1", ""]):
            content = (folder / f"stack-0.safetensors{file}").read_bytes()
            files.setdefault("stack-0", []).insert(generation, _timeless(content))
        files["sweep"] = [(folder / "sweep.safetensors").read_bytes()]
    return files


def swept(folder: Path, every: str = "9 epochs") -> Any:
    """The sweep that `sweep_files` are of."""
    return sweep(X, LABELS, **SWEEP, checkpoint=Checkpoint(folder, every))


def content_of_run(run: Any) -> Any:
    """All that a run is; and it is used."""
    repr(run)
    repr(run.settings.to_dict())
    run.history.to_json()
    repr(run.findings)
    with suppress(ValueError, NonFiniteLossError):  # of what the run is for
        train(X, LABELS, network=run, epochs=1, batch_size=5)
    return _repeatable(outcome_of_run(run))


def _repeatable(outcome: Any) -> Any:
    return {name: part for name, part in outcome.parts.items() if name != "predictions"}


def read_checkpoint(file: Path) -> Any:
    """Call what goes on from a file; now and then there is an older one beside it."""
    folder = _emptied(file)
    there = folder / "run.ckpt"
    shutil.copy(file, there)
    older = crc32(file.read_bytes()) % 4 == 0
    if older:
        there.with_name("run.ckpt.1").write_bytes(checkpoints()[0])
    return _gone_on(file, there, older, called)


def read_sweep_file(name: str, file: Path) -> Any:
    """Call what goes on from a folder with a file in it."""
    folder = _emptied(file)
    for own, contents in sweep_files().items():
        (folder / f"{own}.safetensors").write_bytes(contents[0])
    there = folder / f"{name}.safetensors"
    shutil.copy(file, there)
    return _gone_on(file, folder, False, swept)


def _emptied(file: Path) -> Path:
    folder = file.with_name("checkpoint")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _gone_on(file: Path, there: Path, older: bool, call: Callable[[Path], Any]) -> Any:
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            result = call(there)
        except NonFiniteLossError as error:
            result = error.run
        except CheckpointError as error:
            named = f"{file}: " if str(there) in str(error) else "without its file: "
            raise RefusedError(f"{named}{error}") from error
    kinds = {warning.category for warning in caught}
    if CheckpointDamagedWarning in kinds:
        assert older, "an older file was read where there is none"
    return result


@cache
def _outcomes(kind: str) -> list[Any]:
    """What the good files of a kind come to."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a"
        if kind == "run":
            outcomes = []
            for content in runs():
                file.write_bytes(content)
                outcomes.append(content_of_run(arraymlp.load(file)))
            return outcomes
        if kind == "checkpoint":
            run = train(X, LABELS, **CALL, callbacks=[Breaker()])
            return [_repeatable(outcome_of_run(run))]
        return [_repeatable(outcome_of_sweep(sweep(X, LABELS, **SWEEP)))]


def _content(kind: str, thing: Any) -> Any:
    if kind == "run":
        return content_of_run(thing)
    return _repeatable((outcome_of_run if kind == "checkpoint" else outcome_of_sweep)(thing))


def _same(kind: str, thing: Any, file: Path) -> str:
    assert _content(kind, thing) in _outcomes(kind), "other content, unnoticed"
    return SAME


def _valid(kind: str, thing: Any, file: Path) -> str:
    with np.errstate(all="ignore"):
        _content(kind, thing)
    return VALID


def _formats(
    name: str,
    originals: Callable[[], list[bytes]],
    read: Callable[[Path], Any],
    refusal: type[Exception] = RefusedError,
) -> dict[str, Callable[[], Format]]:
    """Two formats: with the SHA-256 that it had, and with it made right again."""

    def made(change: Any, judge: Any) -> Callable[[], Format]:
        judged = partial(judge, name)
        return lambda: Format(".safetensors", originals(), change, read, refusal, judged)

    return {name: made(damage, _same), f"{name} (sealed again)": made(resealed, _valid)}


RUNS: dict[str, Callable[[], Format]] = {
    **_formats("run", runs, arraymlp.load, ModelFileError),
    **_formats("checkpoint", checkpoints, read_checkpoint),
    **_formats(
        "stack checkpoint", lambda: sweep_files()["stack-0"], partial(read_sweep_file, "stack-0")
    ),
    **_formats(
        "sweep checkpoint", lambda: sweep_files()["sweep"], partial(read_sweep_file, "sweep")
    ),
}
