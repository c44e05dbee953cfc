"""Trainings in processes of their own that are killed at random, and go on by the same call.

A process is forked from this one, which must not have trained, or started afresh, as any user's is.
It says when it begins to train; the kill falls a random time after that, or, of one that is started
afresh, in its imports. In the end all that the training came to is that of the unbroken one.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from arraymlp.training.checkpoint import Checkpoint
from kill_cases import INTERRUPTED, Outcome, available

EVERY = ["1 step", "1 step", "3 steps", "1 epoch", "0.003 s", "0.02 s"]
FORKS = hasattr(os, "fork") and sys.platform != "darwin"  # whose BLAS does not survive a fork
AFRESH = 0.05  # of the processes, which are started and not forked
GENTLE = 0.15  # of the signals, which are SIGTERM
IMPORTS = 1.0  # seconds, in which the imports of a process that is started are killed
SLOWER = 1.5  # times the unbroken time is one with checkpoints, about
HANG = 60.0  # seconds after which a process that is not killed hangs
KILLED = {-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)}


@dataclass
class Tally:
    """What became of a case.

    Attributes:
        kills: processes that a signal ended.
        interrupted: processes that ended by themselves after SIGTERM, to go on.
        restarts: processes that went on.
        trainings: that came to their end.
        bits: that differ in their outcomes.
        faults: each error, hang and differing part, in words.
    """

    kills: int
    interrupted: int
    restarts: int
    trainings: int
    bits: int
    faults: list[str]


class Process(Protocol):
    """A process, as `subprocess.Popen` has it."""

    def poll(self) -> int | None:
        """Its exit status, where it has one."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""


class Forked:
    """A process that is forked from this one and trains."""

    def __init__(self, *arguments: str) -> None:
        self._status: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which are NumPy's
            self._pid = os.fork()
        if self._pid == 0:
            os._exit(child(*arguments))

    def poll(self) -> int | None:
        """Its exit status, where it has one."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""
        if self.poll() is None:
            os.kill(self._pid, sig)


def child(case: str, folder: str, every: str, keep: str) -> int:
    """Train in this process, which then has an exit status; the outcome is in the folder."""
    there = Path(folder)
    with (there / "errors").open("w") as errors:
        sys.stdout = sys.stderr = errors
        try:
            work = available()[case]
            checkpoint = Checkpoint(there / "checkpoint", every, int(keep)) if every else None
            (there / "begun").touch()
            start = time.perf_counter()
            outcome = work(checkpoint, there)
            seconds = time.perf_counter() - start
            (there / "new").write_bytes(pickle.dumps((tuple(outcome), seconds)))
            (there / "new").replace(there / "outcome")
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


class Trial:
    """One training, killed again and again.

    Args:
        case: its name.
        random: draws how it is trained, and when it is killed.
        folder: where all of it is.
        unbroken: what it comes to.
        seconds: that the unbroken one took.
        tally: the account.
    """

    def __init__(
        self,
        case: str,
        random: Random,
        folder: Path,
        unbroken: Outcome,
        seconds: float,
        tally: Tally,
    ) -> None:
        self.case, self.random, self.folder = case, random, folder
        self.unbroken, self.seconds, self.tally = unbroken, seconds, tally
        self.how = (random.choice(EVERY), str(random.randint(1, 3)))

    def go(self, kills: int) -> None:
        """Kill it so often, unless it is done before, and let it come to its end."""
        begun = False
        for attempt in range(3 * kills + 1):
            self.tally.restarts += begun
            ended = self.train(kills > attempt)
            begun = True
            if ended is None:
                continue
            if ended.ended == INTERRUPTED:
                self.tally.interrupted += 1
                continue
            self._compare(ended, "")
            again = self.train(False)
            if again is not None:
                self._compare(again, "of a finished one, called again: ")
            self.tally.trainings += 1
            return
        self._fault("it does not come to an end")

    def train(self, kill: bool) -> Outcome | None:
        """Start it; its outcome where it was not killed."""
        for name in ("begun", "outcome"):
            (self.folder / name).unlink(missing_ok=True)
        afresh = not FORKS or self.random.random() < AFRESH
        process = start(self.case, self.folder, *self.how, afresh=afresh)
        number = None
        if kill:
            imports = afresh and self.random.random() < 0.5
            gentle = self.random.random() < GENTLE
            number = signal.SIGTERM if gentle else getattr(signal, "SIGKILL", signal.SIGTERM)
            if imports:
                time.sleep(self.random.uniform(0, IMPORTS))
            else:
                self._wait(process, begun=True)
                time.sleep(self.random.uniform(0, SLOWER * self.seconds))
            process.send_signal(number)
        status = self._wait(process)
        if number is not None and status in KILLED:
            self.tally.kills += 1
            return None
        if status:
            said = (self.folder / "errors").read_text(errors="replace").strip()
            self._fault(f"status {status} of a process: {said[-3000:]}")
            return None
        return outcome_in(self.folder)[0]

    def _wait(self, process: Process, *, begun: bool = False) -> int | None:
        """Wait for the end of a process, or until it begins to train."""
        file, until = self.folder / "begun", time.perf_counter() + HANG
        while (status := process.poll()) is None:
            if begun and file.exists():
                return None
            if time.perf_counter() > until:
                process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
                self._fault("a process hangs")
                until += HANG
            time.sleep(0.001)
        return status

    def _compare(self, outcome: Outcome, of: str) -> None:
        for name in dict.fromkeys([*self.unbroken.parts, *outcome.parts]):
            ours, theirs = outcome.parts.get(name, b""), self.unbroken.parts.get(name, b"")
            if bits := differing_bits(ours, theirs):
                self.tally.bits += bits
                detail = f": {ours[-300:]!r}, not {theirs[-300:]!r}" if name == "state" else ""
                self._fault(f"{of}{bits} bits of its {name} differ{detail}")

    def _fault(self, what: str) -> None:
        every, keep = self.how
        self.tally.faults.append(f"{self.case}, every {every}, keep {keep}: {what}")


def start(case: str, folder: Path, every: str, keep: str, *, afresh: bool) -> Process:
    """A process that trains."""
    arguments = (case, str(folder), every, keep)
    if not afresh:
        return Forked(*arguments)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], env=environment, stderr=subprocess.DEVNULL
    )


def outcome_in(folder: Path) -> tuple[Outcome, float]:
    """The outcome that a process has left, and the seconds that its training took."""
    outcome, seconds = pickle.loads((folder / "outcome").read_bytes())
    return Outcome(*outcome), seconds


def differing_bits(a: bytes, b: bytes) -> int:
    """In how many bits two contents differ; one that is longer, in all that it has more."""
    n = max(len(a), len(b))
    ours, theirs = (int.from_bytes(c.ljust(n, b"\0"), "little") for c in (a, b))
    return (ours ^ theirs).bit_count() + 8 * abs(len(a) - len(b))


def killed(case: str, seed: int, kills: int) -> Tally:
    """Train a case until so many processes of it were killed."""
    tally = Tally(0, 0, 0, 0, 0, [])
    available()  # imports what every fork of this process then has
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        unbroken, seconds = _unbroken(case, folder)
        number = 0
        while tally.kills < kills and number < 4 * kills + 4 and len(tally.faults) < 5:
            random = Random(f"{seed}/{case}/{number}")
            trial = folder / str(number)
            trial.mkdir()
            left = kills - tally.kills
            wanted = min(left, random.randint(1, 8))
            Trial(case, random, trial, unbroken, seconds, tally).go(wanted)
            number += 1
    return tally


def _unbroken(case: str, folder: Path) -> tuple[Outcome, float]:
    """What a case comes to without a checkpoint, and in how many seconds."""
    process: Any = start(case, folder, "", "1", afresh=not FORKS)
    while process.poll() is None:
        time.sleep(0.001)
    if process.poll():
        raise RuntimeError(f"{case}, unbroken: {(folder / 'errors').read_text()}")
    return outcome_in(folder)


if __name__ == "__main__":
    sys.exit(child(*sys.argv[1:]))
