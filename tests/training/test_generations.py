"""Checkpoints on the disk: stopped at every call, torn in every way, raced for, at any path."""

import errno
import logging
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

fcntl = pytest.importorskip("fcntl")

from arraymlp.training.generations import (  # noqa: E402
    CheckpointDamagedWarning,
    CheckpointError,
    Generations,
)
from io_faults import (  # noqa: E402
    Traced,
    child_that_holds,
    die,
    ended,
    failing,
    forked,
    power_off,
    traced,
)


def write(files: Generations, number: int) -> None:
    """Write a content that can be told from others, of some 13 kB."""
    ones = np.ones((30, 100), np.float32)
    files.write({"number": number}, {"a": ones * number, "b": np.arange(50.0) + number})


def number_in(content: tuple[dict[str, Any], dict[str, np.ndarray]] | None) -> int | None:
    """Which content it is, whole; None for none at all."""
    if content is None:
        return None
    header, tensors = content
    number = header["number"]
    assert header == {"number": number}
    assert sorted(tensors) == ["a", "b"]
    np.testing.assert_array_equal(tensors["a"], np.full((30, 100), number, np.float32))
    np.testing.assert_array_equal(tensors["b"], np.arange(50.0) + number)
    return number


def newest(files: Generations) -> int | None:
    """Which content a process that comes to the files reads, without a warning."""
    return number_in(Generations(files.path, files.keep).read())


def contents(files: Generations) -> list[int | None]:
    """Which content each file has; None where there is no file."""
    return [number_in(Generations(file, 1).read()) for file in files.files]


def others(files: Generations) -> set[str]:
    """What else is in the folder."""
    return set(os.listdir(files.path.parent)) - {file.name for file in files.files}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ckpt"


def full(path: Path, keep: int) -> Generations:
    """All generations: the newest has content ``keep``."""
    files = Generations(path, keep)
    for number in range(1, keep + 1):
        write(files, number)
    assert contents(files) == [*range(keep, 0, -1)]
    return files


# What is written is read


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_is_read_and_the_last_ones_are_kept(path: Path, keep: int) -> None:
    files = Generations(path, keep)
    assert files.read() is None
    for number in range(1, 6):
        write(files, number)
        assert newest(files) == number
        assert contents(files) == [n if n > 0 else None for n in range(number, number - keep, -1)]
        assert not others(files)
    files.remove()
    assert files.read() is None
    assert not os.listdir(path.parent)


def test_a_header_and_dtypes_come_back(path: Path) -> None:
    header = {"text": "ä\n", "numbers": [1, 2.5, -0.0, 1e300], "deep": {"none": None, "yes": True}}
    tensors = {
        "f": np.array([[np.nan, -0.0, np.inf]], np.float32),
        "d": np.array([np.pi]),
        "u": np.arange(256, dtype=np.uint8).reshape(2, 8, 16),
        "t": np.arange(6.0).reshape(2, 3).T,  # not contiguous
        'ä\n"\u2028': np.ones(1),
    }
    swapped = np.arange(6.0, dtype=">f8")
    Generations(path).write(header, {**tensors, "swapped": swapped})
    content = Generations(path).read()
    assert content is not None
    assert content[0] == header
    assert content[1].pop("swapped").tolist() == swapped.tolist()
    assert content[1].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert content[1][name].dtype == tensor.dtype
        assert content[1][name].tobytes() == tensor.tobytes()


def test_a_number_to_keep_is_a_whole_one_from_1(path: Path) -> None:
    with pytest.raises(ValueError, match="keep must be a whole number from 1, not 0"):
        Generations(path, 0)


def test_what_no_file_has_changes_nothing(path: Path) -> None:
    files = full(path, 2)
    for header in ({"x": float("nan")}, {"x": float("inf")}):
        with pytest.raises(ValueError, match="JSON"):
            files.write(header, {})
    for tensor in (np.array(1.0), np.ones((2, 0)), np.ones((1, 1, 1, 1)), np.ones(3, np.int32)):
        with pytest.raises(ValueError, match="no file has a tensor like x: "):
            files.write({}, {"x": tensor})
    assert contents(files) == [2, 1]
    assert not others(files)


def test_a_mode_is_kept_by_every_generation(path: Path) -> None:
    files = full(path, 3)
    path.chmod(0o600)
    for number in (4, 5):
        write(files, number)
    assert [stat.S_IMODE(file.stat().st_mode) for file in files.files] == [0o600] * 3
    path.unlink()  # as between two renames
    write(files, 6)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Every call fails, or is the last one of the process

LINKS = pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
NUMBERS = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
KEEP = pytest.mark.parametrize("keep", [1, 2, 3])


def copied(files: Generations, name: str) -> Generations:
    """The same files in another folder."""
    folder = files.path.parent.with_name(name)
    shutil.copytree(files.path.parent, folder)
    return Generations(folder / files.path.name, files.keep)


def sound(tmp_path: Path, keep: int) -> Generations:
    """All generations, in a folder that others can stand beside."""
    (tmp_path / "sound").mkdir()
    return full(tmp_path / "sound" / "run.ckpt", keep)


def calls_of_a_write(files: Generations, links: bool) -> list[tuple[str, list[str]]]:
    """The calls of one write to files like these."""
    copy = copied(files, "counted")
    with traced(links=links) as trace:
        write(copy, 99)
    assert len(trace.log) > 15
    return trace.log


@LINKS
@KEEP
@NUMBERS
def test_every_call_may_fail(tmp_path: Path, keep: int, number: int, links: bool) -> None:
    before, raised = sound(tmp_path, keep), 0
    for i in range(len(calls_of_a_write(before, links))):
        files, expected = copied(before, str(i)), keep + 1
        with traced(i, failing(number), links=links) as trace:
            try:
                write(files, keep + 1)
            except OSError:
                expected, raised = keep, raised + 1
        assert trace.log[i][0] == "stopped"
        assert newest(files) == expected, trace.log
        assert not others(files), trace.log
        with traced():
            write(files, keep + 2)
        assert newest(files) == keep + 2, trace.log
    assert raised > 5


def killed_write(
    files: Generations, number: int, at: int, how: Callable[[Traced], None], links: bool
) -> bool:
    """Whether a process that writes died before that call, and so after the one before it."""

    def action() -> None:
        with traced(at, how, links=links):
            write(files, number)

    status = ended(forked(action))
    assert status in (0, 9)
    return status == 9


@LINKS
@KEEP
@pytest.mark.parametrize("how", [die, power_off])
def test_the_process_may_die_at_every_call(
    tmp_path: Path, keep: int, links: bool, how: Callable[[Traced], None]
) -> None:
    before, seen = sound(tmp_path, keep), set()
    calls = calls_of_a_write(before, links)
    for i in range(len(calls)):
        files = copied(before, str(i))
        assert killed_write(files, keep + 1, i, how, links)
        found = newest(files)
        seen.add(found)
        assert found in (keep, keep + 1), calls[:i]
        if links:
            assert files.path.exists(), calls[:i]
        left = [number for number in contents(files) if number is not None]
        assert left == sorted(left, reverse=True), calls[:i]
        with traced(links=links):
            write(files, keep + 2)
        assert newest(files) == keep + 2
        assert not others(files), calls[:i]
    assert seen == {keep, keep + 1}


@LINKS
@KEEP
def test_kills_one_after_another_use_up_no_older_ones(
    tmp_path: Path, keep: int, links: bool
) -> None:
    before = sound(tmp_path, keep)
    for i in range(0, len(calls_of_a_write(before, links)), 2):
        files, last = copied(before, str(i)), keep
        for number in range(keep + 1, keep + 4):
            killed_write(files, number, i, die, links)
            found = newest(files)
            assert found in (last, number)
            last = found
            left = {content for content in contents(files) if content is not None}
            assert len(left) >= max(1, keep - 1)
            assert len(others(files)) <= 2  # of this kill alone: the new content, and a link


@KEEP
def test_a_chain_of_kills_and_writes(path: Path, keep: int) -> None:
    files, last, died = Generations(path, keep), None, 0
    for number in range(1, 60):
        if number % 5:
            died += killed_write(files, number, 3 + number * 7 % 30, die, number % 2 > 0)
            found = newest(files)
            assert found in (last, number)
            last = found
        else:
            with traced():
                write(files, number)
            last = newest(files)
            assert last == number
            assert not others(files)
    assert died > 20


def test_the_calls_of_a_write_are_in_an_order_that_keeps(tmp_path: Path) -> None:
    files = sound(tmp_path, 3)
    with traced() as trace:
        write(files, 4)
    log, path = trace.log, str(files.path)
    moves = [i for i, (name, _) in enumerate(log) if name in ("link", "replace", "rename")]
    assert [log[i][0] for i in moves] == ["replace", "link", "replace", "replace"]
    part, target = log[moves[-1]][1]
    assert target == path
    about = [(i, name) for i, (name, paths) in enumerate(log) if paths[:1] == [part]]
    steps = [(i, name) for i, name in about if name in ("open", "write", "fsync", "replace")]
    writes = [step for step in steps if step[1] == "write"]
    assert steps[1 : 1 + len(writes)] == writes
    del steps[1 : len(writes)]  # all but the last
    # Made, written, on the disk, read back, and only then does any file get another name.
    assert [name for _, name in steps] == ["open", "write", "fsync", "open", "replace"]
    assert steps[3][0] < moves[0]
    synced = [i for i, call in enumerate(log) if call == ("fsync", [str(files.path.parent)])]
    assert len(synced) == 1
    assert synced[0] > moves[-1]


def test_what_is_not_read_back_replaces_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, real = full(path, 2), os.write

    def half(handle: int, data: memoryview) -> int:
        return real(handle, data[: len(data) // 2]) and len(data)

    def flipped(handle: int, data: memoryview) -> int:
        changed = bytearray(data)
        changed[-7] ^= 1
        return real(handle, changed)

    for lie in (half, flipped, lambda handle, data: len(data)):
        monkeypatch.setattr(os, "write", lie)
        with pytest.raises(OSError, match=r"not what is read back .*run\.ckpt"):
            write(files, 3)
        assert contents(files) == [2, 1]
        assert not others(files)


def test_a_disk_may_take_a_few_bytes_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1000]))
    assert contents(full(path, 2)) == [2, 1]


def test_two_that_write_at_once_leave_whole_files(path: Path) -> None:
    """As no lock keeps them from doing, on some file systems."""

    def often(start: int) -> None:
        files, written = Generations(path, 3), 0
        with traced():
            for number in range(start, start + 60):
                try:
                    write(files, number)
                    written += 1
                except OSError:  # the other has moved a file
                    continue
        assert written > 10

    write(Generations(path, 3), 1)
    writers = [forked(lambda start=start: often(start)) for start in (100, 200)]
    for _ in range(100):
        assert newest(Generations(path, 3)) in {1, *range(100, 160), *range(200, 260)}
    assert [ended(writer) for writer in writers] == [0, 0]
    files = Generations(path, 3)
    write(files, 2)
    assert newest(files) == 2
    assert not others(files)


@pytest.mark.parametrize("how", [failing(errno.EIO), die], ids=["error", "kill"])
def test_no_older_one_is_taken_for_the_newest_while_all_are_removed(
    tmp_path: Path, how: Callable[[Traced], None]
) -> None:
    before, seen = sound(tmp_path, 3), set()
    for i in range(8):
        files = copied(before, str(i))

        def remove(files: Generations = files, i: int = i) -> None:
            with traced(i, how):
                files.remove()

        ended(forked(remove))
        seen.add(newest(files))
        files.remove()
        assert not os.listdir(files.path.parent)
    assert seen == {3, None}


# Torn and damaged files


def test_every_torn_file_is_passed_over(path: Path) -> None:
    files = full(path, 2)
    whole, page = path.read_bytes(), 4096
    torn = [whole[:n] for n in range(0, len(whole), 97)]
    torn += [whole + b"\0", bytes(len(whole)), bytes(page), b"\xff" * len(whole)]
    for start in range(0, len(whole), page):
        rest = whole[start + page :]
        torn.append(whole[:start] + bytes(len(whole) - len(rest) - start) + rest)
    for content in torn:
        path.write_bytes(content)
        with pytest.warns(CheckpointDamagedWarning) as caught:
            assert number_in(files.read()) == 1
        (warning,) = [str(each.message) for each in caught]
        assert warning.startswith(f"{path}: ")
        assert f"goes on from {path}.1," in warning
        with pytest.raises(CheckpointError, match="Removing what is damaged begins anew") as error:
            Generations(path, 1).read()
        assert f"{path}: " in str(error.value)


def test_every_flipped_byte_is_noticed_or_harmless(path: Path) -> None:
    files = full(path, 2)
    whole, harmless = path.read_bytes(), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(header), *range(header, len(whole), 61)]
    places.remove(whole.index(b'\\"format\\": 2') + len(b'\\"format\\": '))  # see newer formats
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = number_in(files.read())
        assert found == (1 if caught else 2)
        harmless += not caught
    assert harmless < header / 20


def test_each_damage_is_named_where_nothing_is_sound(path: Path) -> None:
    files = full(path, 3)
    for i, file in enumerate(files.files):
        file.write_bytes(file.read_bytes()[: 500 * i])
    with pytest.raises(CheckpointError) as error:
        files.read()
    for file in files.files:
        assert f"{file}: not a readable safetensors file" in str(error.value)
    files.remove()
    assert files.read() is None


def test_a_file_that_cannot_be_read_is_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, real = full(path, 2), os.open

    def refuse(file: Any, *rest: Any) -> int:
        if file == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(file))
        return real(file, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.warns(CheckpointDamagedWarning, match=r"Input/output error: .*ckpt'\. The run"):
        assert number_in(files.read()) == 1


@pytest.mark.parametrize("damaged", [1, 2])
def test_what_is_damaged_takes_no_sound_ones_place(path: Path, damaged: int) -> None:
    files = full(path, 3)
    for file in files.files[:damaged]:
        file.write_bytes(b"torn")
    with pytest.warns(CheckpointDamagedWarning):
        assert number_in(files.read()) == 3 - damaged
    write(files, 4)
    assert number_in(Generations(files.files[damaged], 1).read()) == 3 - damaged
    write(files, 5)
    assert contents(files) == [5, 4, 2 if damaged == 1 else 1]
    write(files, 6)
    assert contents(files) == [6, 5, 4]


@KEEP
def test_a_newer_format_is_no_damage(path: Path, keep: int) -> None:
    files = full(path, keep)
    path.write_bytes(path.read_bytes().replace(b'\\"format\\": 2', b'\\"format\\": 3'))
    with pytest.raises(CheckpointError, match=r"run\.ckpt: format 3, .* a newer version"):
        files.read()
    assert len(os.listdir(path.parent)) == keep


def test_a_newer_format_behind_a_damaged_file_is_none_either(path: Path) -> None:
    files = full(path, 3)
    path.write_bytes(b"torn")
    older = files.files[1]
    older.write_bytes(older.read_bytes().replace(b'\\"format\\": 2', b'\\"format\\": 3'))
    with pytest.raises(CheckpointError, match=r"run\.ckpt\.1: format 3"):
        files.read()


@pytest.mark.parametrize("gone", [1, 2])
def test_the_path_may_be_absent(path: Path, gone: int) -> None:
    files = full(path, 3)
    for file in files.files[:gone]:
        file.unlink()
    assert newest(files) == 3 - gone
    write(files, 4)
    assert contents(files)[:2] == [4, 3 - gone]
    write(files, 5)
    assert contents(files) == [5, 4, 3 - gone]


def test_a_gap_is_filled_before_an_older_one_goes(path: Path) -> None:
    files = full(path, 3)
    files.files[1].unlink()
    write(files, 4)
    assert contents(files) == [4, 3, 1]


def test_files_that_were_moved_are_taken_for_nothing_else(path: Path) -> None:
    files = full(path, 2)
    for folder in ("a.part", ".arraymlp-moved", "tmp"):
        other = path.parent / folder / "run.ckpt.arraymlp-checkpoint-tmp-1.part"
        other.parent.mkdir()
        shutil.copy(path, other)
        shutil.copy(path, other.with_name("run.ckpt.part"))
        moved = Generations(other)
        write(moved, 3)
        write(moved, 4)
        assert contents(moved) == [4, 3]
        assert others(moved) == {"run.ckpt.part"}
        beside = Generations(other.with_name("run.ckpt.part"))
        assert newest(beside) == 2
        beside.remove()
        assert contents(moved) == [4, 3]
    assert contents(files) == [2, 1]


# The lock


def try_lock(path: Path) -> None:
    with Generations(path).lock():
        pass


def test_another_process_is_told_who_holds_the_lock(path: Path) -> None:
    with child_that_holds(Generations(path).lock) as process:
        told = rf"{path} is written by process {process} on {socket.gethostname()}$"
        with pytest.raises(CheckpointError, match=told):
            try_lock(path)
        assert os.listdir(path.parent)  # the lock of the other is still there
    try_lock(path)  # it was killed
    assert not os.listdir(path.parent)


def test_another_training_of_this_process_is_told(path: Path) -> None:
    with Generations(path).lock():
        (path.parent / "link").symlink_to(path)
        for other in (path, path.parent / "link"):
            with pytest.raises(CheckpointError, match=r"another training of this process$"):
                try_lock(other)
        try_lock(path.with_name("other"))
        with pytest.raises(CheckpointError):
            try_lock(path)
    try_lock(path)


def test_an_error_in_the_block_frees_the_lock(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), Generations(path).lock():
            raise ZeroDivisionError
        assert not os.listdir(path.parent)


def test_the_lock_is_none_of_the_files(path: Path) -> None:
    files = Generations(path)
    with files.lock():
        write(files, 1)
        locks = others(files)  # of each path: another run's file may have an older one's name
        assert len(locks) == 2
        assert all(len(lock) < 50 for lock in locks)
        files.remove()
        assert set(os.listdir(path.parent)) == set(locks)


def test_a_child_of_a_killed_holder_does_not_hold_it(path: Path) -> None:
    ready, told = os.pipe()

    def child_of_it() -> None:
        os.write(told, b"%d" % os.getpid())
        time.sleep(30)

    def parent() -> None:
        with Generations(path).lock():
            forked(child_of_it)
            time.sleep(30)

    process = forked(parent)
    child = int(os.read(ready, 20))
    try:
        with pytest.raises(CheckpointError):  # as long as the parent lives
            try_lock(path)
        os.kill(process, signal.SIGKILL)
        ended(process)
        try_lock(path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(ready)
        os.close(told)


def test_a_forked_child_that_leaves_the_block_leaves_the_lock(path: Path) -> None:
    with Generations(path).lock():
        context = Generations(path.with_name("b")).lock()
        context.__enter__()
        assert ended(forked(lambda: context.__exit__(None, None, None))) == 0
        with pytest.raises(CheckpointError):
            try_lock(path.with_name("b"))
        context.__exit__(None, None, None)
    assert not os.listdir(path.parent)


def test_of_those_that_race_for_the_lock_one_has_it(path: Path) -> None:
    inside = path.with_name("inside")

    def race() -> None:
        had, end = 0, time.monotonic() + 1
        while time.monotonic() < end:
            try:
                with Generations(path).lock():
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # else another is in it
                    had += 1
                    inside.unlink()
            except CheckpointError:
                continue
        assert had > 10

    assert [ended(p) for p in [forked(race) for _ in range(3)]] == [0, 0, 0]
    assert not os.listdir(path.parent)


def test_without_locks_the_log_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    files = Generations(path)
    with caplog.at_level(logging.WARNING, "arraymlp"), files.lock():
        write(files, 1)
        assert newest(files) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the file system has no locks" in caplog.text
    assert not others(files)


# Paths


@pytest.mark.parametrize("name", ["r", "n" * 250, "ä" * 120, "日本", "[a-z]*", "-rf", "a b", ".1"])
def test_any_name(tmp_path: Path, name: str) -> None:
    files = full(tmp_path / name, 3)
    with files.lock():
        assert len(others(files)) == 3
        write(files, 4)
    assert contents(files) == [4, 3, 2]
    assert not others(files)


def test_a_name_too_long_for_its_generations_is_an_error_at_once(tmp_path: Path) -> None:
    files = Generations(tmp_path / ("n" * 255))
    with pytest.raises(OSError, match="File name too long"):
        write(files, 1)
    with pytest.raises(CheckpointError, match="File name too long"):
        files.read()
    assert not os.listdir(tmp_path)
    assert contents(full(tmp_path / ("n" * 255), 1)) == [1]


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = Generations("run.ckpt")
    write(files, 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(files, 2)
    assert contents(files) == [2, 1]
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "run.ckpt", "run.ckpt.1"]


def test_behind_a_symbolic_link_all_of_them_are_where_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run.ckpt"
    link.symlink_to(tmp_path / "disk" / "real")  # at first there is nothing
    files = full(link, 2)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path / "disk")) == ["real", "real.1"]
    files.remove()
    assert link.is_symlink()
    assert not os.listdir(tmp_path / "disk")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("make", "words"),
    [(os.mkdir, "Is a directory"), (os.mkfifo, "not a regular file")],
    ids=["folder", "pipe"],
)
def test_what_is_no_file_is_refused(
    path: Path, which: int, make: Callable[[Path], None], words: str
) -> None:
    files = Generations(path)
    make(files.files[which])
    with pytest.raises(OSError, match=words):
        write(files, 1)
    with pytest.raises(CheckpointError, match=rf"{files.files[which]}: .*{words}"):
        files.read()
    assert os.listdir(path.parent) == [files.files[which].name]


def test_a_folder_that_is_absent_is_an_error(tmp_path: Path) -> None:
    files = Generations(tmp_path / "absent" / "run.ckpt")
    assert files.read() is None
    for action in (lambda: write(files, 1), lambda: files.lock().__enter__()):
        with pytest.raises(FileNotFoundError, match=r"absent/run\.ckpt'"):
            action()


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user that may not write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_to_is_an_error_and_can_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = full(Path(folder) / "run.ckpt", 2)
        os.chmod(folder, 0o555)
        with without_rights():
            assert newest(files) == 2
            for action in (lambda: write(files, 3), lambda: files.lock().__enter__()):
                with pytest.raises(PermissionError, match=r"run\.ckpt'"):
                    action()
        os.chmod(folder, 0o755)
        assert contents(files) == [2, 1]
        assert not others(files)


def test_the_path_of_an_older_one_is_no_other_runs(path: Path) -> None:
    ours, theirs = Generations(path), Generations(path.with_name(f"{path.name}.1"))
    for first, second in ((ours, theirs), (theirs, ours)):
        with (
            first.lock(),
            pytest.raises(CheckpointError, match="is written by another training"),
            second.lock(),
        ):
            pass
