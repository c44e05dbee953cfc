"""The command line: what it prints, and the status it ends with."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from arraymlp import BackendSpeed
from arraymlp.app.lab.experiments import EXPERIMENTS, Verdict
from commands import run

LAB = ("lab", "--backend", "numpy", "--runs", "relu-0.05", "--epochs", "1")


def test_lab_prints_the_labs_own_lines_and_a_table(capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, *LAB)
    assert status == 0
    assert "[   0] Training error: 0.90137 Test error: 0.90420\n" in out
    assert "not judged: 1 of 70 epochs" in out
    assert "seed 0" in out


@pytest.mark.parametrize(
    ("option", "engine"),
    [((), "auto"), (("--engine", "array"), "array"), (("--engine", "auto"), "auto")],
)
def test_lab_is_trained_by_the_engine_asked_for(capsys, monkeypatch, option, engine):
    asked = []

    def lab(*args, **given):
        asked.append(given["engine"])
        raise ValueError("enough")

    monkeypatch.setattr("arraymlp.app.lab.command.run_lab", lab)
    run(capsys, monkeypatch, *LAB, *option)
    assert asked == [engine]


def test_lab_says_that_ctrl_c_cost_the_report(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")

    def broken_off(result, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("arraymlp.app.lab.report.write_report", broken_off)
    status, out, _ = run(capsys, monkeypatch, *LAB, "--report", str(tmp_path / "r"))
    assert status == 130
    assert out.endswith("writing the report ...\nthe report is not written\n")


def test_a_required_engine_that_is_missing_is_one_error(capsys, monkeypatch):
    library = pytest.importorskip("arraymlp.engines.cpu.library")
    monkeypatch.setenv("ARRAYMLP_NATIVE", "require")
    monkeypatch.setattr(library._Process, "outcome", "some reason")
    status, _, err = run(capsys, monkeypatch, *LAB)
    assert status == 2
    words = "ARRAYMLP_NATIVE=require, but the CPU engine cannot be used: some reason"
    assert err == f"arraymlp: error: {words}\n"


def test_lab_ends_with_1_where_a_run_is_out_of_band(capsys, monkeypatch):
    bad = EXPERIMENTS["relu-0.05"]
    monkeypatch.setattr(
        "arraymlp.app.lab.experiments.LabRun.verdict", Verdict(False, "not as published")
    )
    status, out, _ = run(capsys, monkeypatch, *LAB)
    assert status == 1
    assert bad.name in out
    assert "NO" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lab", "--runs", "relu-0.5"), "unknown lab run 'relu-0.5': did you mean 'relu-0.05'"),
        (("lab", "--backend", "nunpy"), "unknown backend 'nunpy': did you mean 'numpy'"),
        (("lab", "--dtype", "float16"), "unknown dtype 'float16'"),
        (("lab", "--engine", "fast"), "unknown engine 'fast': "),
        (("lab", "--epochs", "0"), "--epochs must be at least 1, not 0"),
        (("lab", "--seeds", "0"), "--seeds must be at least 1, not 0"),
        (("lab", "--seed", "-1"), "seed must be a whole number from 0, not -1"),
        (("lab", "--backend", "numpy", "--device", "cuda:0"), "not on 'cuda:0'"),
        (("lab", "--epochs", "many"), "not a valid|valid integer"),
        (("laboratory",), "No such command"),
        (("backends", "--bench", "--sizes", "784x10"), "--sizes 784x10: give the widths from"),
        (("backends", "--bench", "--sizes", "784"), "--sizes 784: give the widths from inputs to"),
        (("backends", "--bench", "--sizes", "784--10"), "such as 784-100-10"),
        (("backends", "--bench", "--sizes", "784-0-10"), "such as 784-100-10"),
        (("backends", "--bench", "--sizes", ""), "such as 784-100-10"),
        (("backends", "--bench", "--seconds", "0"), "seconds must be a positive number, not 0"),
        (("backends", "--bench", "--dtype", "float16"), "unknown dtype 'float16'"),
        (("backends", "--bench", "--batch-size", "0"), "batch_size must be a whole number from 1"),
        (
            ("backends", "--sizes", "784-10", "--batch-size", "9"),
            "--sizes, --batch-size can be given only with --bench",
        ),
    ],
)
def test_a_mistake_is_one_error_and_status_2(capsys, monkeypatch, arguments, words):
    status, out, err = run(capsys, monkeypatch, *arguments)
    assert status == 2
    assert any(word in err for word in words.split("|"))
    assert "Traceback" not in out + err


def test_a_report_that_cannot_be_written_is_refused_at_once(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "file"
    file.write_text("")
    status, out, err = run(capsys, monkeypatch, *LAB, "--report", str(file / "r"))
    assert status == 2
    assert "cannot be written" in err
    assert "Training error" not in out


def test_the_report_is_written(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    status, out, _ = run(capsys, monkeypatch, *LAB, "--report", str(tmp_path / "r"))
    assert status == 0
    assert (tmp_path / "r" / "report.html").is_file()
    assert "report.html" in out


def test_backends_shows_each_with_its_reason(capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, "backends")
    assert status == 0
    for name in ("numpy", "cupy", "torch", "jax", "array_api_strict", '"auto" means'):
        assert name in out


def test_backends_shows_numpys_engine_or_why_there_is_none(capsys, monkeypatch):
    library = pytest.importorskip("arraymlp.engines.cpu.library")
    monkeypatch.delenv("ARRAYMLP_NATIVE", raising=False)
    native = library.Native("avx2", Path("lib", "native"), lambda address: 0)
    outcomes = {
        "some reason": "none, so it trains by the definition: some reason",
        native: f"compiled, by avx2 instructions ({native.path})",
    }
    for outcome, said in outcomes.items():
        monkeypatch.setattr(library._Process, "outcome", outcome)
        status, out, _ = run(capsys, monkeypatch, "backends")
        assert status == 0
        assert out.endswith(f"NumPy's engine: {said}\n")
    monkeypatch.setitem(sys.modules, "arraymlp.engines.cpu", None)
    monkeypatch.delitem(sys.modules, "arraymlp.engines.cpu.library", raising=False)
    _, out, _ = run(capsys, monkeypatch, "backends")
    assert "none, so it trains by the definition: arraymlp.engines.cpu" in out


BENCH = ("backends", "--bench", "--sizes", "5-4-2", "--batch-size", "10", "--seconds", "0.2")


def cells(out):
    """The cells of the rows that were printed, by the first of each."""
    lines = [line for line in out.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    return {row[0]: row[1:] for row in rows if row[0]}


def test_backends_are_timed_and_the_fastest_is_named(capsys, monkeypatch):
    status, out, _ = run(capsys, monkeypatch, *BENCH)
    assert status == 0
    assert "training 5-4-2 in minibatches of 10, float32, momentum: about 0.2 s" in out
    rows = cells(out)
    device, us, rate, ratio, first = rows["numpy"]
    assert (device, ratio) == ("cpu", "1.00")
    assert first.endswith(" s")
    us, rate = (float(figure.replace(",", "")) for figure in (us, rate))
    assert abs(rate * us / 1e7 - 1) < 0.1  # us are rounded
    for absent in {"cupy", "torch", "jax"} - set(rows):
        assert f"{absent}: " in out
    assert "array_api_strict on CPU_DEVICE: for tests, not timed" in out
    assert 'to train with it: train(backend="' in out


def test_without_numpys_figures_there_are_no_ratios_and_what_is_about_as_fast_is_named(
    capsys, monkeypatch
):
    def speeds(widths, **settings):
        given = {"batch_size": 100, "dtype": "float32", "optimizer": "adam", "seconds": 10.0}
        assert (widths, settings) == ([784, 100, 100, 10], given | {"members": 1})
        return [
            BackendSpeed(
                "torch", "cuda:0", 'train(backend="torch", device="cuda:0")', 99.0, 5e5, 1
            ),
            BackendSpeed("jax", "cpu:0", 'train(backend="jax")', 105.0, 1e6, 2),
            BackendSpeed("torch", "cpu", 'train(backend="torch")', 150.0, 1e6, 0.5),
            BackendSpeed("numpy", "cpu", reason="RuntimeError: out of memory"),
            BackendSpeed("cupy", reason="cupy is not installed", install="pip install cupy"),
        ]

    monkeypatch.setattr("arraymlp.app.backends_command.backend_speeds", speeds)
    status, out, _ = run(capsys, monkeypatch, "backends", "--bench", "--optimizer", "adam")
    assert status == 0
    assert cells(out)["jax"] == ["cpu:0", "105", "1,000,000", "", "2.000 s"]
    assert "numpy on cpu: RuntimeError: out of memory\n" in out
    assert "cupy: cupy is not installed; pip install cupy\n" in out
    assert out.splitlines()[-1] == (
        'fastest here: torch on cuda:0; to train with it: train(backend="torch", device="cuda:0") '
        "(within a tenth of it: jax on cpu:0)"
    )


@pytest.mark.xdist_group("signals")
@pytest.mark.parametrize(
    ("number", "expected"), [(None, 1), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_nothing_measured(capsys, monkeypatch, number, expected):
    def speeds(*_, **__):
        if number is not None:
            signal.raise_signal(number)
        return [BackendSpeed("numpy", "cpu", 'train(backend="numpy")', reason="some reason")]

    monkeypatch.setattr("arraymlp.app.backends_command.backend_speeds", speeds)
    status, out, _ = run(capsys, monkeypatch, *BENCH)
    assert status == expected
    assert out.splitlines()[-1] == "nothing was measured"


def test_version(capsys, monkeypatch):
    from arraymlp import __version__

    assert run(capsys, monkeypatch, "--version")[:2] == (0, f"arraymlp {__version__}\n")


def test_without_its_extra_it_names_the_install_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "typer", None)
    status, _, err = run(capsys, monkeypatch, "backends")
    assert status == 2
    assert "pip install typer rich" in err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_the_table_of_the_runs_so_far(number, status):
    process = subprocess.Popen(
        [sys.executable, "-m", "arraymlp", "lab", "--backend", "numpy", "--runs", "relu-0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[   1]"):
            break
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "interrupted: the table shows the runs so far" in out
    assert "of 70 epochs" in out
