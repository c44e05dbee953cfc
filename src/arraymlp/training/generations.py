"""A checkpoint on the disk: a file that is written again and again, and the ones before it.

The newest is at the path, the one before it at the path with ``.1``, and so on. At every moment,
and so after any kill, one of them is whole, and the newest whole one is the old or the new content:

1. the new content goes to a temporary file, and by fsync to the disk;
2. it is read back from that file and held against its SHA-256;
3. only then the older ones move up by one name; the newest has two names by a hard link, so that
   the path is never without a file;
4. the temporary file is renamed to the path, and the folder goes to the disk.

The bytes are those of `arraymlp.training.tensor_file`.
"""

import errno
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from arraymlp.backends.array import HostArray
from arraymlp.training.atomic import (
    naming_file,
    part_name,
    regular_file,
    remove_leftovers,
    short_mark,
    sync_folder,
)
from arraymlp.training.schema import FormatVersionError, ModelFileError
from arraymlp.training.tensor_file import naming, read_parts, write_parts

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger("arraymlp")

LOCKED_BYTE = 1 << 30  # on Windows, where a byte that is locked cannot be read: beyond the text

# The locks of this process. A forked child has the same open files, and would hold them on after
# its parent was killed.
_without_locks: set[Path] = set()  # folders of which the log has said so
_held: set[int] = set()


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on with; the message says why."""


class CheckpointDamagedWarning(UserWarning):
    """A checkpoint is damaged; the run goes on from the one before."""


class Generations:
    """A file that is replaced again and again, with the ones before it.

    Whoever writes should hold `lock`. Without it files are still whole, but which of two writers'
    is an older one is left to chance, and so is an OSError of the one that finds a name moved.

    Attributes:
        path: of the newest; behind a symbolic link the file it points to.
        keep: how many there are at most. Files of more than that, left by a larger number, are
            neither read nor removed.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be a whole number from 1, not {keep}")
        self.path = Path(os.path.realpath(path))
        self.keep = keep
        self._damaged: set[Path] = set()  # as `read` found them

    @property
    def files(self) -> list[Path]:
        """The paths, the newest's first, whether or not there are files."""
        name = self.path.name
        return [self.path, *(self.path.with_name(f"{name}.{i}") for i in range(1, self.keep))]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from the files for the block, by locks that end with the process, too.

        Each of the paths has one: another run's file may have the name of an older one here.

        Where the file system has no locks the log says so, and the block is entered all the same.

        Raises:
            CheckpointError: another process, or another block of this one, holds the lock.
            OSError: the folder cannot be written to.
        """
        with ExitStack() as locks:
            for path in self.files:
                locks.enter_context(_lock(path))
            yield

    def write(self, header: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> None:
        """Write the newest; the others move up by one name, and what exceeds `keep` goes.

        What `read` found to be damaged takes no sound one's place.

        Args:
            header: in JSON's types.
            tensors: of float32, float64 or uint8, with one to three axes, none of them empty.

        Raises:
            ValueError: the header has what JSON lacks, such as NaN; or a tensor is not like that.
            OSError: it cannot be written, or what was written is not what is read back; or at one
                of the paths there is something else than a file. The newest is as before then, the
                others can be read, and no temporary file is left behind.
        """
        there = [file for file in self.files if regular_file(file) is not None]
        if there and there[0] != self.path:  # killed between two renames, or removed by hand
            os.replace(there[0], self.path)

        def read_back_and_shift(part: Path) -> None:
            self._read_back(part)
            self._shift()

        write_parts(self.path, header, tensors, read_back_and_shift)
        self._damaged.discard(self.path)

    def read(self) -> tuple[dict[str, Any], dict[str, HostArray]] | None:
        """Header and tensors of the newest that is sound; None where there are no files.

        A damaged one, or one that cannot be read, is passed over with a CheckpointDamagedWarning.

        Raises:
            CheckpointError: all there are are damaged; or one that would be read is of a newer
                format than this version knows; or there can be no files by these names.
        """
        found: list[str] = []
        for file in self.files:
            try:
                if regular_file(file) is None:
                    continue
            except OSError as error:
                raise CheckpointError(f"{file}: no checkpoint ({error.strerror})") from error
            try:
                with naming(file):
                    content = read_parts(file)
            except FileNotFoundError:
                continue  # removed since
            except FormatVersionError as error:
                raise CheckpointError(
                    f"{error}: a newer version of arraymlp has written it"
                ) from error
            except (ModelFileError, OSError) as error:
                self._damaged.add(file)
                damage = str(error)
                found.append(damage if str(file) in damage else f"{file}: {damage}")
                continue
            self._damaged.discard(file)
            if found:
                message = f"{'; '.join(found)}. The run goes on from {file}, which is older."
                warnings.warn(message, CheckpointDamagedWarning, stacklevel=2)
            return content
        if found:
            raise CheckpointError(
                f"no checkpoint is left that can be read: {'; '.join(found)}. Removing what is "
                "damaged begins anew."
            )
        return None

    def remove(self) -> None:
        """Remove all of them, the newest last: no older one is ever taken for it.

        Raises:
            OSError: one cannot be removed; those that are newer are still there.
        """
        for file in reversed(self.files):
            file.unlink(missing_ok=True)
        remove_leftovers(self.path)
        sync_folder(self.path.parent)

    def _read_back(self, part: Path) -> None:
        try:
            with naming(self.path):
                read_parts(part)
        except ModelFileError as error:
            said = f"what was written is not what is read back ({error})"
            raise OSError(errno.EIO, said, os.fspath(self.path)) from error

    def _shift(self) -> None:
        """Free the path for a new file: what is there gets the next name as well.

        The others move up as far as the first name that is free, or that has a damaged file.
        """
        files = self.files
        there = [regular_file(file) is not None and file not in self._damaged for file in files]
        if self.keep == 1 or not there[0]:
            return
        if there[1] and os.path.samefile(files[0], files[1]):
            return  # a write was killed or failed after it had come so far
        free = there.index(False) if False in there else self.keep - 1
        for i in range(free, 1, -1):
            os.replace(files[i - 1], files[i])
        self._damaged.discard(files[free])
        _name_twice(files[0], files[1])


def _name_twice(file: Path, other: Path) -> None:
    """Have another name for a file, too, in place of what has that; or alone, without links."""
    link = part_name(file)
    try:
        os.link(file, link)
        os.replace(link, other)
    except OSError:  # of many kinds, by system and file system
        link.unlink(missing_ok=True)
        os.replace(file, other)
    except BaseException:
        link.unlink(missing_ok=True)
        raise


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of one path."""
    file = path.with_name(f".arraymlp-{short_mark(path)}.lock")
    with naming_file(path):
        handle = _locked(file, path)
    _held.add(handle)
    process = os.getpid()
    try:
        yield
    finally:
        if process == os.getpid():  # else it is a forked child, which has no lock
            _held.discard(handle)
            _release(handle, file)


def _locked(file: Path, path: Path) -> int:
    """The lock file, open and locked, with process and host in it; errors as of `lock`."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        handle = os.open(file, flags, 0o666)
        try:
            if not _try_lock(handle, file.parent):
                raise CheckpointError(f"{path} is written by {_holder(handle)}")
            if _is_at(handle, file):
                os.ftruncate(handle, 0)
                os.write(handle, _this_process())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has removed it since it was opened


def _try_lock(handle: int, folder: Path) -> bool:
    """Whether nobody else has the file locked; True without locks, as the log says once."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if folder in _without_locks:
            return True
        _without_locks.add(folder)
        log.warning(
            "the file system has no locks (%s): nothing keeps two trainings from one checkpoint",
            error.strerror,
        )
    return True


def _is_at(handle: int, file: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _this_process() -> bytes:
    return f"{os.getpid()} {platform.node()}".encode(errors="replace")


def _holder(handle: int) -> str:
    """Who holds a lock, by what the lock file says."""
    os.lseek(handle, 0, os.SEEK_SET)
    text = os.read(handle, 1000)
    if text == _this_process():
        return "another training of this process"
    pid, _, host = text.decode(errors="replace").partition(" ")
    return f"process {pid} on {host}" if pid else "another process"  # which is about to write it


def _release(handle: int, file: Path) -> None:
    """Remove a lock file, while it is locked where the system can, and free the lock.

    Whoever has opened it meanwhile sees that it is not at its path any longer.
    """
    with suppress(OSError):
        if sys.platform != "win32":
            file.unlink()
            # Before it is closed: a program that is just being started by another thread has it
            # open, too.
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
    if sys.platform == "win32":
        with suppress(OSError):  # another one has it open
            file.unlink()


def _close_held() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_held)
