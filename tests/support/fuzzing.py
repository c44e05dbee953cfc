"""Every reader on damaged files: what it did, in how much time and memory.

What may come of a file: its reader's own error; the same content, where a SHA-256 holds it; valid
content, where the SHA-256 was made right; or, in formats without one, what the library that knows
the format best reads there. Anything else raises, and is a fault.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

REFUSED, SAME, VALID, AS_READ = "own error", "same content", "valid", "as read elsewhere"
SECONDS, MEGABYTES = 1.0, 100.0  # of the processor's time, and above the file, that one may take


class Format(NamedTuple):
    """Files of a kind, and their reader.

    Attributes:
        suffix: of a file's name.
        originals: good files.
        change: makes a damaged one of an original's content and the originals'.
        read: the reader.
        refusal: its own error, whose message begins with the file's path.
        judge: of what was read, the file and its content, says what it is, or raises.
    """

    suffix: str
    originals: list[bytes]
    change: Callable[[bytes, list[bytes], Random], bytes]
    read: Callable[[Path], Any]
    refusal: type[Exception]
    judge: Callable[[Any, Path], str]


class Outcome(NamedTuple):
    """What came of a file: in a word; seconds of the processor; megabytes above the file."""

    outcome: str
    seconds: float
    megabytes: float


def damaged(form: Format, random: Random) -> bytes:
    """A damaged file's content."""
    return form.change(random.choice(form.originals), form.originals, random)


def tried(form: Format, content: bytes, file: Path, *, limited: bool = True) -> Outcome:
    """What comes of a file with such content, written to a path.

    An AssertionError for a fault, and for what takes too long or too much, where that is limited.
    """
    file.unlink(missing_ok=True)  # ext4 waits for the disk where a file is written over
    file.write_bytes(content)
    _reset_peak()
    before, begun = _memory("VmRSS"), time.process_time()
    try:
        read, error = form.read(file), None
    except form.refusal as refused:
        error = refused
    seconds = time.process_time() - begun
    megabytes = (_memory("VmHWM") - before - len(content)) / 2**20
    if error is None:
        outcome = form.judge(read, file)
    else:
        assert str(error).startswith(f"{file}: "), f"a message without the file: {error}"
        outcome = REFUSED
    assert not limited or seconds < SECONDS, f"{seconds} s"
    assert not limited or megabytes < MEGABYTES, f"{megabytes} MB"
    return Outcome(outcome, seconds, megabytes)


def _reset_peak() -> None:
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _memory(name: str) -> int:
    """Bytes that this process has in memory, or has had at most since the reset; 0 if unknown."""
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return 0
