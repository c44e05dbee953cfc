"""A file that is the old one or the whole new one, whenever one looks and whatever is killed."""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where a file that is open can be neither removed nor renamed
    fcntl = None  # type: ignore[assignment]


def write_whole(
    path: Path,
    *pieces: bytes | memoryview,
    before_replace: Callable[[Path], None] | None = None,
) -> None:
    """Write a file by way of a temporary one beside it, which is then renamed: see `write_stream`.

    Args:
        path: of the file.
        pieces: its content, one after the other.
        before_replace: is called with the temporary file, which is on the disk by then; what it
            raises ends the call.
    """
    write_stream(path, pieces, before_replace)


def write_stream(
    path: Path,
    pieces: Iterable[bytes | memoryview],
    before_replace: Callable[[Path], None] | None = None,
) -> None:
    """Write a file as its pieces come, by way of a temporary one beside it, which is then renamed.

    A file that is there keeps its mode and, where the system allows it, its owner and group; it is
    a new file, though, and no hard link to the old one shows it. Behind a symbolic link the file it
    points to is written. What a killed call left behind is removed by the next one.

    Args:
        path: of the file.
        pieces: its content, one after the other; what making them raises ends the call.
        before_replace: as for `write_whole`.

    Raises:
        OSError: the file cannot be written, or something that is no regular file is there. Nothing
            has changed then, and nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    old = regular_file(path)
    remove_leftovers(path)
    with naming_file(path):
        # Nobody else may read what is to replace a file that nobody else may read.
        part, handle = _locked_part(path, 0o666 if old is None else 0o600)
        try:
            try:
                _write_all(handle, pieces)
                if old is not None:
                    _take_over(handle, old)
                os.fsync(handle)
                if fcntl is not None:  # while the lock is held
                    _replace(part, path, before_replace)
            finally:
                with suppress(OSError):  # it is on the disk, or there is an error already
                    os.close(handle)
            if fcntl is None:
                _replace(part, path, before_replace)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    sync_folder(path.parent)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Have an OSError name the file that was asked for, not one beside it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _replace(part: Path, path: Path, before: Callable[[Path], None] | None) -> None:
    if before is not None:
        before(part)
    os.replace(part, path)


def _write_all(handle: int, pieces: Iterable[bytes | memoryview]) -> None:
    """Write pieces whole: of what is large, or when a disk fills up, a call may write a part."""
    for piece in pieces:
        rest = memoryview(piece).cast("B")
        while rest:
            rest = rest[os.write(handle, rest) :]


def regular_file(path: Path) -> os.stat_result | None:
    """What is at the path, or None; an OSError where it is no regular file."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(there.st_mode):
        what = "not a regular file (a device, a pipe or a socket)"
        raise OSError(errno.EINVAL, what, os.fspath(path))
    return there


def short_mark(path: Path) -> str:
    """What says in the name of a file beside it for which one it is, however long that name is."""
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]


def part_name(path: Path) -> Path:
    """A name for a temporary file beside it, which no other call has; a leftover if it stays."""
    return path.with_name(f".arraymlp-{short_mark(path)}-{secrets.token_hex(4)}.part")


def _locked_part(path: Path, mode: int) -> tuple[Path, int]:
    """A new temporary file, and its descriptor, which holds a lock on it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = part_name(path)
        handle = os.open(part, flags, mode)
        if fcntl is None:
            return part, handle
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits for a call that takes it for a leftover
        try:
            if os.fstat(handle).st_nlink:  # else that call has removed it
                return part, handle
        except BaseException:
            part.unlink()
            os.close(handle)
            raise
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of calls that were killed: those that nobody holds a lock on."""
    start = f".arraymlp-{short_mark(path)}-"
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if not (name.startswith(start) and name.endswith(".part")):
                continue
            part = path.with_name(name)
            with suppress(OSError):
                if fcntl is None:
                    part.unlink()
                    continue
                handle = os.open(part, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
                finally:
                    os.close(handle)


def _take_over(handle: int, old: os.stat_result) -> None:
    """Give a new file the group, owner and mode of the old one, as far as the system allows it."""
    if os.name != "posix":
        return
    new = os.fstat(handle)
    if new.st_gid != old.st_gid:
        with suppress(PermissionError):
            os.fchown(handle, -1, old.st_gid)
    if new.st_uid != old.st_uid:
        with suppress(PermissionError):
            os.fchown(handle, old.st_uid, -1)
    new, mode = os.fstat(handle), stat.S_IMODE(old.st_mode)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    with suppress(PermissionError):  # a file that has been given away
        os.fchmod(handle, mode)


def sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too; where a folder can be opened and synchronised."""
    if os.name != "posix":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
