"""Files are written whole or not at all: modes, owners, links, pipes, long names, kills."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arraymlp.training import atomic
from arraymlp.training.atomic import write_whole

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX alone has these")
KILLED = """
import os, signal, sys
from pathlib import Path
from arraymlp.training.atomic import write_whole
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"never whole")
"""


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755], ids=oct)
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write_whole(path, b"new")
    there = path.stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 2345, 0o640)


@POSIX
def test_behind_a_link_the_file_it_points_to_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link, target = tmp_path / "link", folder / "model"
    link.symlink_to(target)
    for content in (b"first", b"second"):  # at first it points to nothing
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert os.listdir(folder) == ["model"]


@POSIX
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/null")):
        with pytest.raises(OSError, match=rf"not a regular file.*{path.name}"):
            write_whole(path, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@POSIX
def test_a_ring_of_links_is_an_os_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(OSError, match=r"one|two"):
        write_whole(one, b"new")


@pytest.mark.parametrize("name", ["m", "ä" * 100, "n" * 255, "[a-z]*", "-rf"])
def test_any_name_that_a_file_may_have(tmp_path: Path, name: str) -> None:
    for content in (b"first", b"second"):
        write_whole(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content
    assert os.listdir(tmp_path) == [name]


@POSIX
def test_what_a_killed_call_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path, other = tmp_path / "model", tmp_path / "other"
    path.write_bytes(b"old")
    for victim in (path, path, other):
        done = subprocess.run([sys.executable, "-c", KILLED, str(victim)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = {name for name in os.listdir(tmp_path) if name.endswith(".part")}
    assert len(left) == 2  # the second call removed the first one's
    write_whole(path, b"new")
    still = {name for name in os.listdir(tmp_path) if name.endswith(".part")}
    assert len(still) == 1  # of the other file
    assert still < left


@POSIX
def test_what_another_call_is_writing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "model", os.fsync
    begun, go_on = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert go_on.wait(10)
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)
    first = threading.Thread(target=write_whole, args=(path, b"first"))
    first.start()
    assert begun.wait(10)
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    go_on.set()
    first.join()
    assert path.read_bytes() == b"first"  # the one that ended last
    assert os.listdir(tmp_path) == ["model"]


@POSIX
def test_a_temporary_file_that_is_gone_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = os.open, []

    def open_and_lose(path: Path, flags: int, *mode: int) -> int:
        handle = real(path, flags, *mode)
        if flags & os.O_EXCL and not taken:
            taken.append(path)
            os.unlink(path)  # as another call may, which takes it for a leftover
        return handle

    monkeypatch.setattr(os, "open", open_and_lose)
    write_whole(tmp_path / "model", b"new")
    assert taken
    assert os.listdir(tmp_path) == ["model"]


@POSIX
def test_the_folder_is_synchronised_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised: list[int] = []
    real = os.fsync

    def noted(handle: int) -> None:
        synchronised.append(stat.S_IFMT(os.fstat(handle).st_mode))
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write_whole(tmp_path / "model", b"new")
    assert synchronised == [stat.S_IFREG, stat.S_IFDIR]


def test_without_locks_a_file_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "fcntl", None)  # as on Windows
    for content in (b"first", b"second"):
        write_whole(tmp_path / "model", content)
        assert (tmp_path / "model").read_bytes() == content
    assert os.listdir(tmp_path) == ["model"]


@POSIX
def test_many_at_once_all_succeed(tmp_path: Path) -> None:
    path, failures = tmp_path / "model", []

    def write_often(content: bytes) -> None:
        try:
            for _ in range(60):
                write_whole(path, content)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write_often, args=(b"%d" % i * 9,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert path.read_bytes() in [b"%d" % i * 9 for i in range(6)]
    assert os.listdir(tmp_path) == ["model"]


@POSIX
def test_what_replaces_a_private_file_is_private_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(0o600)
    made: list[int] = []
    real = os.open

    def noted(name: Path, flags: int, mode: int = 0) -> int:
        if flags & os.O_EXCL:
            made.append(mode)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", noted)
    write_whole(path, b"new")
    write_whole(tmp_path / "another", b"new")
    assert made == [0o600, 0o666]
