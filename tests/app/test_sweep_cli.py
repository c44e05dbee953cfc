"""``arraymlp sweep``: what it trains, what it prints and writes, and the status it ends with."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from math import nan
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.main import get_command

import arraymlp
from arraymlp import SweepResult, sweep
from arraymlp.app.main import command_line
from arraymlp.app.sweeps.report import write_sweep_report
from arraymlp.app.sweeps.summary import call, edges, lines, ranking
from arraymlp.app.sweeps.values import SWEPT, values
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.training.progress import LEADERS, SweepBar, SweepProgress
from arraymlp.training.settings import TABLE, Settings
from commands import run

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
Y = (X[:, 0] + 0.5 * rng.normal(size=90) > 0).astype(int)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "points.csv"
    rows = [f"{a},{b},{c},{('minus', 'plus')[y]}\n" for (a, b, c), y in zip(X, Y, strict=True)]
    path.write_text("a,b,c,sign\n" + "".join(rows))
    return str(path)


def frame() -> Frame:
    """The same table."""
    return Frame(("a", "b", "c", "sign"), (*X.T, Texts(Y.astype(np.int32), ("minus", "plus"))))


QUICK = ("--epochs", "2", "--batch-size", "25", "--hidden", "4", "--backend", "numpy")


def table(out: str) -> list[list[str]]:
    """The cells of the rows that were printed."""
    lines = [line for line in out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


# Values


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("learning_rate", "0.05", 0.05),
        ("learning_rate", "0.005, 5e-2,1", [0.005, 0.05, 1.0]),
        ("seed", "0:4", [0, 1, 2, 3]),
        ("seed", "7,0:9:3", [7, 0, 3, 6]),
        ("epochs", "3", 3),
        ("hidden", "100-50", (100, 50)),
        ("hidden", "100-100,50,none", [(100, 100), (50,), ()]),
        ("activation", "relu,tanh", ["relu", "tanh"]),
        ("gradient_clip", "inf", float("inf")),
        ("standardize", "targets,true,false", ["targets", True, False]),
    ],
)
def test_values_are_read(name, text, expected):
    assert values(name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("learning_rate", "fast", "--learning-rate fast: 'fast' is no number"),
        ("learning_rate", "0.1,", "a value is missing"),
        ("learning_rate", "0:1", "'0:1' is no range of whole numbers"),
        ("seed", "0.5", "'0.5' is no whole number"),
        ("seed", "4:4", "'4:4' is no range"),
        ("seed", "0:4:0", "--seed 0:4:0: "),
        ("seed", "0:1:1:1", "'0:1:1:1' is no range"),
        ("hidden", "100x100", "'100x100' is no list of widths such as 100-50"),
        ("hidden", "-5", "'-5' is no list of widths"),
    ],
)
def test_a_value_of_another_kind_is_refused(name, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        values(name, text)


# A run


def test_it_trains_what_sweep_does_and_prints_the_ranking(capsys, monkeypatch, data):
    swept = ("--learning-rate", "0.001,0.1", "--activation", "relu,tanh", "--seed", "0:3")
    status, out, _ = run(capsys, monkeypatch, "sweep", data, *swept, *QUICK)
    assert status == 0
    counts = f"minus ({90 - Y.sum()}), plus ({Y.sum()})"
    assert f"90 rows, 3 columns beside the target; target sign: 2 classes, {counts}" in out
    assert "12 networks in" in out
    assert out.index("12 networks in") < out.index("validation error best") < out.index("rank ")
    expected = sweep(
        frame(),
        "sign",
        learning_rate=[0.001, 0.1],
        activation=["relu", "tanh"],
        seed=range(3),
        validation=1 / 6,
        epochs=2,
        batch_size=25,
        hidden=(4,),
        backend="numpy",
    )
    rows = ranking(expected)[1]
    assert table(out) == rows
    assert [row[1:3] for row in rows] == [
        [f"{r['learning_rate']:g}", r["activation"]] for r in expected.rank()
    ]
    assert f"best single network: network {expected.best.number} (learning rate" in out


def test_files_are_written_and_read_again(capsys, monkeypatch, data, tmp_path):
    pytest.importorskip("matplotlib")
    files = ("--json", str(tmp_path / "s.json"), "--save", str(tmp_path / "s.safetensors"))
    report = tmp_path / "new" / "report"
    status, out, _ = run(
        capsys, monkeypatch, "sweep", data, "--learning-rate", "0.1,1e30", *QUICK, *files,
        "--optimizer", "momentum", "--weight-decay", "0", "--report", str(report),
    )  # fmt: skip
    assert status == 0
    for path in (report / "report.html", *files[1::2]):
        assert f"{path}\n" in out
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["classes"] == ["minus", "plus"]
    assert content == json.loads((report / "sweep.json").read_text())
    loaded = SweepResult.load(tmp_path / "s.safetensors")
    assert loaded.rank() == content["rank"]
    assert [f.sentence for f in loaded.findings(1)] == [
        f["sentence"] for f in content["members"][1]["findings"]
    ]
    assert sorted(p.name for p in report.iterdir()) == ["report.html", "sweep.json", "sweep.png"]
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in (
        "2 classes, minus (",
        "<td>0.1<td>",
        "data:image/png;base64,",
        "learning_rate=0.1,",
        "The best single network: network 0",
        "1 of 1 network, as network 1 (learning rate 1e+30)",
        loaded.findings(1)[0].sentence[:40],
        "2 networks in 1 population",
    ):
        assert words in page


def test_folds_instead_of_rows_held_out(capsys, monkeypatch, data):
    status, out, _ = run(
        capsys, monkeypatch, "sweep", data, "--learning-rate", "0.01,0.1", "--cv", "3", *QUICK
    )
    assert status == 0
    assert "; 3 folds" in out
    assert [row[3] for row in table(out)] == ["3", "3"]


def test_searching(capsys, monkeypatch, data):
    status, out, _ = run(
        capsys, monkeypatch, "sweep", data, "--learning-rate", "0.01,0.1,0.5", "--l2", "0,1e-3",
        "--mode", "random", "--n", "4", "--metrics", "accuracy,f1", "--score", "validation_f1",
        "--early-stopping", "1", "--validation", "0.3", "--top", "2", *QUICK,
    )  # fmt: skip
    assert status == 0
    assert "4 networks in" in out
    assert "validation f1 best" in out
    scores = [float(row[3]) for row in table(out)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert "the best 2 of 4 settings; --top 4 shows all" in out


def test_regression_on_another_column(capsys, monkeypatch, tmp_path):
    path = tmp_path / "whole.csv"
    path.write_text("price,a\n" + "".join(f"{round(10 * a)},{a}\n" for a in X[:, 0]))
    given = ("sweep", str(path), "--target", "price", "--loss", "squared_error", *QUICK)
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 0
    assert "validation loss" in out
    assert "nothing was swept" in out


def test_whole_numbers_written_as_fractions_are_classes_for_such_a_loss(
    capsys, monkeypatch, tmp_path
):
    path = tmp_path / "floats.csv"
    path.write_text("a,y\n" + "".join(f"{a},{y}.0\n" for a, y in zip(X[:, 0], Y, strict=True)))
    given = ("sweep", str(path), "--loss", "softmax_cross_entropy", *QUICK)
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 0
    assert "validation error" in out


def test_mnist_is_ranked_on_rows_held_out_and_tested_on_its_test_set(capsys, monkeypatch):
    given = ("--learning-rate", "0.05,0.005", "--epochs", "1", "--hidden", "16")
    status, out, _ = run(capsys, monkeypatch, "sweep", *given, "--backend", "numpy")
    assert status == 0
    mnist = arraymlp.datasets.load_mnist()
    result = sweep(
        mnist.X_train, mnist.y_train, learning_rate=[0.05, 0.005], epochs=1, hidden=(16,),
        validation=1 / 6, backend="numpy",
    )  # fmt: skip
    assert table(out) == ranking(result)[1]
    wrong = [
        100 * np.mean(n.predict(mnist.X_test) != mnist.y_test)
        for n in (result.best.network, result.ensemble(2))
    ]
    assert f"best network {wrong[0]:.2f} %, ensemble of the best 2 {wrong[1]:.2f} %" in out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_the_output_cannot_encode_are_escaped(encoding, tmp_path):
    path = tmp_path / "größe 花.csv"
    rows = [f"{a},{b},{('ja', '花')[y]}\n" for (a, b, _), y in zip(X, Y, strict=True)]
    path.write_text("a,b,art\n" + "".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "arraymlp", "sweep", str(path), "--seed", "0:2", *QUICK]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=100)
    out = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert " \\u82b1 (" in out
    assert "±" in out or "\\xb1" in out


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--learning-rate", "fast"), "'fast' is no number"),
        (("--activation", "rleu"), "did you mean 'relu'"),
        (("--target", "sing"), "did you mean 'sign'"),
        (("--mode", "gird"), "did you mean 'grid'"),
        (("--mode", "random"), "needs n, how many draws"),
        (("--score", "validation_eror"), "did you mean 'validation_error'"),
        (("--cv", "3", "--validation", "0.1"), "give one of them"),
        (("--top", "0"), "--top must be at least 1, not 0"),
        (("--memory", "much"), "memory must be an amount"),
        (("--backend", "nunpy"), "did you mean 'numpy'"),
        (("--early-stopping", "validation_los"), "validation_loss"),
        (("--json", "/absent/folder/file"), "cannot be written"),
        (("--save", "/"), "cannot be written"),
        (("--learning-rtae", "1"), "No such option"),
    ],
)
def test_a_mistake_is_one_error_and_status_2(capsys, monkeypatch, data, arguments, words):
    status, out, err = run(capsys, monkeypatch, "sweep", data, "--batch-size", "25", *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in out + err
    assert "best" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.csv",), "absent.csv"),
        (("table.xlsx",), "table.xlsx: a data file is .csv, .tsv, .parquet or .npz"),
        (("--target", "y"), "--target is the column of a data file"),
    ],
)
def test_data_that_is_not_there_is_named(capsys, monkeypatch, arguments, words):
    status, _, err = run(capsys, monkeypatch, "sweep", *arguments)
    assert status == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_report_without_matplotlib_is_refused_at_once(capsys, monkeypatch, data, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    given = ("sweep", data, "--report", str(tmp_path / "r"))
    status, out, err = run(capsys, monkeypatch, *given)
    assert status == 2
    assert "pip install matplotlib" in err
    assert out == ""


def test_help_names_every_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    status, out, _ = run(capsys, monkeypatch, "sweep", "--help")
    assert status == 0
    for flag in ("--learning-rate", "--hidden", "--seed", "--cv", "--report", "--json", "--save"):
        assert flag in out


def test_options_are_the_settings_of_the_table_that_have_values_for_them():
    options = {p.name: p for p in get_command(command_line()).commands["sweep"].params}
    on_command_line = {name: row for name, row in TABLE.items() if row.metadata["cli"]}
    assert set(options) & set(TABLE) == set(on_command_line)
    assert {*SWEPT, "metrics", "early_stopping"} == set(on_command_line)
    for name, row in on_command_line.items():
        assert options[name].default is None
        for text in (row.metadata["help"][1:], row.metadata["cli"]):
            assert text in options[name].help


@pytest.mark.parametrize("name", SWEPT)
def test_examples_in_the_help_can_be_given(name):
    examples = re.split(r"[,;] ?", TABLE[name].metadata["cli"].partition(" is ")[0])
    for text in examples:
        if text != "...":
            arguments = {name: values(name, text)}
            if not isinstance(arguments[name], list):  # a range, which is swept
                Settings(**arguments)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_the_table_of_the_networks_so_far(
    tmp_path: Path, number: int, status: int
):
    kept = tmp_path / "sweep.safetensors"
    given = ("--hidden", "8", "--seed", "0:2", "--backend", "numpy", "--save", str(kept))
    process = subprocess.Popen(
        [sys.executable, "-m", "arraymlp", "sweep", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[ "):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "interrupted: these are the results so far" in out
    assert len(table(out)) == 1
    assert SweepResult.load(kept).interrupted


# What it says


def result_of(**given) -> SweepResult:
    few = {"epochs": 1, "batch_size": 25, "hidden": (4,), "validation": 0.2, "backend": "numpy"}
    return sweep(X, Y, **{**few, **given})


@pytest.mark.parametrize(
    ("name", "tried", "best", "words"),
    [
        ("learning_rate", [0.01, 0.1, 0.5], 2, "learning_rate 0.5 is the largest tried"),
        ("learning_rate", [0.01, 0.1, 0.5], 0, "learning_rate 0.01 is the smallest tried"),
        ("learning_rate", [0.01, 0.1, 0.5], 1, ""),
        ("dropout", [0.0, 0.5], 0, ""),
        ("batch_size", [1, 25], 0, ""),
        ("hidden", [(4,), (8,)], 1, ""),
        ("seed", [0, 1], 1, ""),
    ],
)
def test_a_best_value_on_the_edge_is_pointed_out(name, tried, best, words):
    result = result_of(**{name: tried})
    for i, m in enumerate(result.members):
        m.score = 0.1 if i == best else 0.2
    notes = edges(result)
    assert len(notes) == bool(words)
    assert all(words in line for line in notes)


def test_what_became_of_the_others_is_told():
    result = result_of(learning_rate=[0.1, 1e30], seed=range(5))
    text = "\n".join(lines(result))
    assert "5 of 10 networks diverged:" in text
    assert f"  network 5 (learning rate 1e+30, seed 0): {result[5].cause}" in text
    assert "  and 2 more" in text
    for m in result.members:
        m.result = m.score = None
    result.interrupted = True
    text = "\n".join(lines(result))
    assert "no network has a score" in text
    assert "10 of 10 networks were not started" in text


def dying(**given):
    """A sweep of networks that die at once, and of others."""

    def dead(_, n_in, n_out):
        return np.ones((n_in, n_out)), np.full((1, n_out), -1e6)

    one, other = (arraymlp.initializers.Initializer(name, dead) for name in ("dead", "gone"))
    return sweep(
        X, Y, initializer=[one, other], epochs=20, validation=0.2, batch_size=25, backend="numpy",
        **given,
    )  # fmt: skip


def test_dead_networks_have_no_rank_and_give_no_advice(tmp_path):
    pytest.importorskip("matplotlib")
    result = dying(weight_decay=[0.0, 0.01])
    text = "\n".join(lines(result))
    assert text.startswith("no network has a score\n4 of 4 networks give every row the same output")
    why = result.findings(0)[0].sentence
    assert f"  network 0 (initializer dead, weight decay 0): {why}" in text
    assert "try larger ones" not in text
    assert [row[0] for row in ranking(result)[1]] == ["-"] * 4
    page = write_sweep_report(result, tmp_path).read_text(encoding="utf-8")
    kind = result.findings(0)[0].kind.replace("_", " ")
    assert page.count(f"<h3>Failed: {kind}</h3>") == 1  # equal ones together
    assert page.count("<li>1 of 1 network, as network ") == 4


def test_values_that_tie_are_no_advice():
    result = result_of(learning_rate=[0.1, 0.2, 0.3])
    for m in result.members:
        m.score = 0.5
    assert edges(result) == []


def test_where_even_the_best_stood_still_no_value_is_advised():
    result = sweep(
        X, np.arange(90) % 2, learning_rate=[1e-9, 2e-9], epochs=6, batch_size=25, hidden=(4,),
        backend="numpy",
    )  # fmt: skip
    text = "\n".join(lines(result))
    assert "even the best network did not learn: From epoch 0 to 5 the loss stayed" in text
    assert "try larger ones" not in text


def test_where_all_failed_there_is_no_call_but_a_report(capsys, monkeypatch, data, tmp_path):
    pytest.importorskip("matplotlib")
    given = ("sweep", data, "--learning-rate", "1e30", "--weight-decay", "0", *QUICK)
    given = (*given, "--report", str(tmp_path))
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 1
    assert "no network has a score" in out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A sweep of 1 network<" in page
    assert "<h3>Failed: " in page
    assert "1 of 1 network, as network 0: " in page
    assert "arraymlp.train(" not in page


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (arraymlp.EarlyStopping(patience=3), "arraymlp.EarlyStopping(patience=3)"),
        (arraymlp.Dropout(0.2, 0.1), "arraymlp.Dropout(hidden=0.2, input=0.1)"),
        (arraymlp.optimizers.Adam(beta1=0.8), "arraymlp.optimizers.Adam(beta1=0.8)"),
        (arraymlp.schedules.StepDecay(every=5), "arraymlp.schedules.StepDecay(every=5)"),
        (arraymlp.losses.Huber(2.0), "arraymlp.losses.Huber(threshold=2.0)"),
    ],
)
def test_objects_are_written_with_what_is_not_their_default(value, source):
    code = call(result_of(seed=range(2)), {"setting": value}, "")
    assert code.startswith(f"arraymlp.train(\n    setting={source},\n")
    assert eval(source, {"arraymlp": arraymlp}) == value


def test_the_best_settings_are_a_call_that_trains_that_network():
    given = {"epochs": 2, "batch_size": 25, "hidden": (4,)}
    result = sweep(
        X, Y, learning_rate=[0.01, 0.1], seed=range(2), backend="numpy",
        optimizer=arraymlp.optimizers.Adam(beta1=0.8), **given,
    )  # fmt: skip
    fixed = {**given, "optimizer": arraymlp.optimizers.Adam(beta1=0.8), "backend": "numpy"}
    source = call(result, fixed, "X, y")
    trained = eval(source, {"arraymlp": arraymlp, "X": X, "y": Y}).network
    top = result.rank()[0]["members"]
    best = min((result[k] for k in top), key=lambda m: m.score)
    np.testing.assert_allclose(
        trained.layers[0].weights, best.network.layers[0].weights, rtol=1e-5, atol=1e-6
    )


# While it trains


def test_a_terminal_sees_one_bar_and_the_networks_that_lead(monkeypatch):
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=120)
    monkeypatch.setattr("rich.progress.get_console", lambda: terminal)
    names = [f"learning_rate {rate}" for rate in (1, 2, 3, 4, 5, 6)]
    with SweepBar(12, ["6 networks in 1 population"], "validation_error", False, names) as bar:
        bar.update(range(6), [{"validation_error": v} for v in (0.6, 0.5, 0.4, 0.3, 0.2, nan)])
        bar.update([0], [{"validation_error": 0.1}])
    shown = out.getvalue()
    for words in (names[0], "6 networks in 1 population", "validation error best 0.1000", "58%"):
        assert words in shown
    last = [line for line in shown.splitlines() if "learning_rate" in line][-LEADERS:]
    assert [re.findall(r"\d\.\d{4}", line) for line in last] == [
        ["0.1000"], ["0.2000"], ["0.3000"], ["0.4000"], ["0.5000"]
    ]  # fmt: skip
    assert names[5] not in shown


def test_the_networks_that_lead_are_those_with_the_best_latest_scores():
    progress = SweepProgress(4, [], "validation_r2", True)
    progress.update([0, 1, 2], [{"validation_r2": v} for v in (0.1, 0.9, 0.9)])
    assert progress.leaders(2) == [("1", 0.9), ("2", 0.9)]


@pytest.mark.parametrize("epochs", ["0", "0,1"])
def test_what_is_not_trained_is_refused(capsys, monkeypatch, data, epochs):
    status, _, err = run(capsys, monkeypatch, "sweep", data, "--epochs", epochs)
    assert status == 2
    assert "--epochs must be at least 1" in err
