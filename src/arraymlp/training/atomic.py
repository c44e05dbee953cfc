"""A file that is the old one or the whole new one, whenever one looks and whatever is killed."""

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where a file that is open can be neither removed nor renamed
    fcntl = None  # type: ignore[assignment]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, which is then renamed.

    A file that is there keeps its mode and, where the system allows it, its owner and group; it is
    a new file, though, and no hard link to the old one shows it. Behind a symbolic link the file it
    points to is written. What a killed call left behind is removed by the next one.

    Raises:
        OSError: the file cannot be written, or something that is no regular file is there. Nothing
            has changed then, and nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    old = _regular_file(path)
    mark = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    _remove_leftovers(path.parent, mark)
    try:
        # Nobody else may read what is to replace a file that nobody else may read.
        part, handle = _locked_part(path.parent, mark, 0o666 if old is None else 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if old is not None:
                    _take_over(handle, old)
                os.fsync(handle)
                if fcntl is not None:  # while the lock is held
                    os.replace(part, path)
            if fcntl is None:
                os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:  # of the file that was asked for, not of the temporary one
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    _sync_folder(path.parent)


def _regular_file(path: Path) -> os.stat_result | None:
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


def _locked_part(folder: Path, mark: str, mode: int) -> tuple[Path, int]:
    """A new temporary file, and its descriptor, which holds a lock on it.

    The name says for which file it is, and is short whatever that one's name is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = folder / f".arraymlp-{mark}-{secrets.token_hex(4)}.part"
        handle = os.open(part, flags, mode)
        if fcntl is None:
            return part, handle
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits for a call that takes it for a leftover
        if os.fstat(handle).st_nlink:  # else that call has removed it
            return part, handle
        os.close(handle)


def _remove_leftovers(folder: Path, mark: str) -> None:
    """Remove the temporary files of calls that were killed: those that nobody holds a lock on."""
    with suppress(OSError):
        for part in folder.glob(f".arraymlp-{mark}-*.part"):
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


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too; where a folder can be opened and synchronised."""
    if os.name != "posix":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
