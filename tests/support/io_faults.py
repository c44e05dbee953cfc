"""The calls by which files are written: counted, failing one by one, and the process dying at each.

As in SQLite's tests of atomic commits: whoever writes does it again and again, and is stopped at
the first call, at the second, and so on. What is found on the disk then must be old or new.
"""

import errno
import fcntl
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

CALLS = (
    *((os, name) for name in ("open", "write", "fsync", "close", "link", "replace", "rename")),
    *((os, name) for name in ("unlink", "stat", "lstat", "fstat", "fchmod", "fchown", "listdir")),
    (fcntl, "flock"),
)
REAL = {name: getattr(module, name) for module, name in CALLS}


class Traced:
    """Calls by name and by the paths they are about; before call number ``at``, ``stop`` is done.

    fsync is not waited for: a machine that goes out is played by `power_off`.
    """

    def __init__(
        self, at: int | None, stop: Callable[["Traced"], None] | None, links: bool
    ) -> None:
        self.at, self.stop, self.links = at, stop, links
        self.log: list[tuple[str, list[str]]] = []
        self.paths: dict[int, str] = {}  # of open files
        self.unsynced: dict[tuple[int, int], int] = {}  # by device and inode: a descriptor

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        if len(self.log) == self.at and self.stop is not None:
            self.log.append(("stopped", [name]))
            self.stop(self)
        about = [self.paths.get(a, "?") if isinstance(a, int) else a for a in args[:2]]
        self.log.append((name, [os.fspath(a) for a in about if isinstance(a, str | os.PathLike)]))
        if name == "link" and not self.links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        result = None if name == "fsync" else REAL[name](*args, **options)
        if name == "open":
            self.paths[result] = os.fspath(args[0])
        elif name == "write":
            if identity(args[0]) not in self.unsynced:
                self.unsynced[identity(args[0])] = os.dup(args[0])
        elif name == "fsync" and identity(args[0]) in self.unsynced:
            REAL["close"](self.unsynced.pop(identity(args[0])))  # it holds the file's lock, too
        return result


def identity(handle: int) -> tuple[int, int]:
    """Which file is open, by whatever descriptor."""
    there = REAL["fstat"](handle)
    return there.st_dev, there.st_ino


@contextmanager
def traced(
    at: int | None = None, stop: Callable[[Traced], None] | None = None, *, links: bool = True
) -> Iterator[Traced]:
    """The calls of the block, by way of a `Traced`; without ``links`` as on FAT."""
    trace = Traced(at, stop, links)
    patches = [
        mock.patch.object(module, name, lambda *a, _name=name, **k: trace.call(_name, *a, **k))
        for module, name in CALLS
    ]
    for patch in patches:
        patch.start()
    try:
        yield trace
    finally:
        for patch in patches:
            patch.stop()
        for handle in trace.unsynced.values():
            os.close(handle)


def failing(number: int) -> Callable[[Traced], None]:
    """The call has that error; all others are as they are."""

    def stop(trace: Traced) -> None:
        raise OSError(number, os.strerror(number))

    return stop


def die(trace: Traced) -> None:
    """The process is killed; the system goes on, with all that it was told."""
    os._exit(9)


def power_off(trace: Traced) -> None:
    """The machine goes out: names are on the disk already, and what no fsync followed is not."""
    for handle in trace.unsynced.values():
        os.pwrite(handle, bytes(REAL["fstat"](handle).st_size), 0)
    os._exit(9)


def forked(action: Callable[[], object]) -> int:
    """The process number of a child that does that and ends, with 1 where it raised."""
    with warnings.catch_warnings():  # the children do nothing that another thread's lock could stop
        warnings.simplefilter("ignore")  # a DeprecationWarning of Python, a RuntimeWarning of JAX
        process = os.fork()
    if process:
        return process
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(process: int) -> int:
    """The exit status of a child, waited for; of one that was killed the negative signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextmanager
def child_that_holds(enter: Callable[[], Any]) -> Iterator[int]:
    """A child inside a context of its own, until the block ends; its process number."""
    ready, told = os.pipe()

    def hold() -> None:
        with enter():
            os.write(told, b"x")
            time.sleep(60)

    process = forked(hold)
    os.close(told)
    try:
        assert os.read(ready, 1) == b"x"
        yield process
    finally:
        os.close(ready)
        os.kill(process, signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
