"""What commands must not lose, and how they end: outputs onto inputs, closed streams, signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

import arraymlp
from arraymlp.app import main as cli
from arraymlp.data.frames.frame import Frame
from commands import run

COMMAND = (sys.executable, "-m", "arraymlp")
QUICK = ("--target", "y", "--epochs", "1", "--backend", "numpy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table t.csv, and a model of it, m.safetensors."""
    x = np.linspace(0, 1, 40) ** 2
    table = Frame(("x", "y"), (x, (x > 0.3).astype(int)))
    arraymlp.save(arraymlp.train(table, "y", epochs=1).network, tmp_path / "m.safetensors")
    rows = "".join(f"{a:g},{int(a > 0.3)}\n" for a in x)
    (tmp_path / "t.csv").write_text(f"x,y\n{rows}")
    os.symlink("t.csv", tmp_path / "same.csv")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "m.safetensors", "t.csv", "-o", "t.csv"),
        ("predict", "m.safetensors", "t.csv", "-o", "same.csv"),
        ("export", "m.safetensors", "m.safetensors"),
        ("train", "t.csv", *QUICK, "--save", "t.csv"),
        ("sweep", "t.csv", *QUICK, "--save", "t.csv"),
        ("sweep", "t.csv", *QUICK, "--model", "./t.csv"),
        ("sweep", "t.csv", *QUICK, "--json", "t.csv"),
    ],
)
def test_what_is_read_is_not_written(capsys, monkeypatch, folder, arguments):
    monkeypatch.chdir(folder)
    before = [(folder / name).read_bytes() for name in ("t.csv", "m.safetensors")]
    status, out, err = run(capsys, monkeypatch, *arguments)
    assert (status, out) == (2, "")
    assert "is the file that is read, and would be lost" in err
    assert [(folder / name).read_bytes() for name in ("t.csv", "m.safetensors")] == before


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes streams")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [("show {0} >&-", 0), ("predict {0} - <&-", 2), ("show {0}.none >&- 2>&-", 2)],
)
def test_streams_may_be_closed(folder, arguments, status):
    command = f"{' '.join(COMMAND)} {arguments.format(folder / 'm.safetensors')}"
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell with pipes")
def test_a_model_is_saved_though_nobody_reads_what_is_said(folder):
    train = " ".join((*COMMAND, "train", f"{folder}/t.csv", *QUICK, "--members 1 --save"))
    command = f"({train} {folder}/new.safetensors; echo $? > {folder}/status) | true"
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert done.stderr == b""
    assert (folder / "status").read_text() == "0\n"
    assert (folder / "new.safetensors").exists()


def test_the_row_of_an_infinite_number_is_the_file_s(capsys, monkeypatch, folder):
    rows = (folder / "t.csv").read_text() + "inf,1\n0.2,0\n"
    (folder / "inf.csv").write_text(rows)
    status, out, err = run(capsys, monkeypatch, "train", f"{folder}/inf.csv", *QUICK)
    assert (status, out) == (2, "")
    assert f"{folder}/inf.csv: column 'x' has an infinite number in row 40: they must be" in err


def test_too_little_memory_is_a_sentence(capsys, monkeypatch):
    def command_line():
        def fails():
            raise MemoryError("malloc of size 5 failed")

        return fails

    monkeypatch.setattr(cli, "command_line", command_line)
    status, _, err = run(capsys, monkeypatch)
    assert status == 2
    assert err == "arraymlp: error: there is not enough memory (malloc of size 5 failed)\n"


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM")
def test_sigterm_leaves_nothing_of_the_standard_input(folder):
    spool = folder / "spool"
    spool.mkdir()
    environment = os.environ | {"TMPDIR": str(spool)}
    with subprocess.Popen(
        (*COMMAND, "predict", str(folder / "m.safetensors"), "-"),
        env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"x\n" + b"1\n" * 100_000)
        process.stdin.flush()  # the pipe is full until it is read, so that the file is there
        assert os.listdir(spool)
        process.send_signal(signal.SIGTERM)
        # One that comes just before a read waits for its end, as Python's signals do.
        process.stdin.close()
        assert process.wait(timeout=60) == 143
    assert not os.listdir(spool)
