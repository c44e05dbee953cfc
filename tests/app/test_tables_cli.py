"""``arraymlp train``, ``predict``, ``evaluate``, ``export``, ``show``: from a table to a model."""

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.main import get_command

import arraymlp
from arraymlp.app.main import command_line
from arraymlp.app.sweeps.values import SWEPT
from arraymlp.app.tables.evaluation import scores_on
from arraymlp.data.files.table_files import open_table
from arraymlp.data.frames.frame import Frame
from arraymlp.data.splits import split
from arraymlp.training.scores.scores import scores_of
from arraymlp.training.settings import TABLE
from commands import run

rng = np.random.default_rng(0)
N = 120
AGE, FARE = rng.normal(30, 10, N).round(1), rng.lognormal(3, 1, N).round(2)
SEX, PORT = rng.choice(["f", "m"], N), rng.choice(["C", "Q", "S"], N)
LIVES = np.where((SEX == "f") ^ (rng.random(N) < 0.1), "yes", "no")
QUICK = ("--members", "2", "--epochs", "3", "--backend", "numpy")


def write_csv(path: Path, columns: dict[str, Any], delimiter: str = ",") -> str:
    """The path as text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True))
    return str(path)


def passengers() -> dict[str, Any]:
    """Columns of mixed kinds, with cells missing."""
    ages: list[Any] = AGE.tolist()
    ports = PORT.tolist()
    ages[3] = ages[50] = ports[7] = ""
    return {
        "id": np.arange(N),
        "age": np.asarray(ages, object),
        "sex": SEX,
        "fare": FARE,
        "port": np.asarray(ports, object),
        "lives": LIVES,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, and a model of each."""
    made = tmp_path_factory.mktemp("tables")
    table = passengers()
    write_csv(made / "people.csv", table)
    later = {name: table[name][:40] for name in ("port", "age", "fare", "sex")}
    later["shoes"] = np.arange(40)
    later["port"] = np.asarray(["Z", *later["port"][1:]], object)
    write_csv(made / "later.csv", later)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    """A model of who lives, of two networks."""
    with pytest.MonkeyPatch.context() as patch:
        status, _, err = run_quietly(patch, "train", f"{folder}/people.csv", "--target", "lives",
                                     *QUICK, "--save", f"{folder}/lives.safetensors")  # fmt: skip
    assert (status, err) == (0, "")
    return f"{folder}/lives.safetensors"


@pytest.fixture(scope="module")
def fares(folder: Path) -> str:
    """A model of numbers, of one network."""
    with pytest.MonkeyPatch.context() as patch:
        given = ("train", f"{folder}/people.csv", "--target", "fare", "--ignore", "lives")
        status, _, err = run_quietly(patch, *given, *QUICK, "--members", "1",
                                     "--save", f"{folder}/fares.safetensors")  # fmt: skip
    assert (status, err) == (0, "")
    return f"{folder}/fares.safetensors"


def run_quietly(patch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """As `run`, where there is no capsys."""
    out, err = io.StringIO(), io.StringIO()
    patch.setattr(sys, "stdout", out)
    patch.setattr(sys, "stderr", err)

    class Captured:
        def readouterr(self) -> tuple[str, str]:
            return out.getvalue(), err.getvalue()

    return run(Captured(), patch, *arguments)


def frame_of(path: Path | str) -> Frame:
    with open_table(path) as file:
        return file.read()


def rows_of(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


# Training


def test_it_says_what_it_reads_and_how_good_it_is(capsys, monkeypatch, folder):
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK)
    status, out, err = run(capsys, monkeypatch, *given)
    assert (status, err) == (0, "")
    lines = [line.split(None, 1) for line in out.splitlines()]
    said = {line[0]: line[1] for line in lines if len(line) == 2}
    assert said["table"] == f"{folder}/people.csv: 120 rows, 5 columns beside the target"
    no = int((LIVES == "no").sum())
    assert said["target"] == f"lives: 2 classes, no ({no}), yes ({N - no})"
    assert said["columns"].startswith("2 of numbers, 2 of categories; ")
    assert "left out   id (it numbers the rows; --keep id takes it)\n" in out
    assert said["held"] == "out   24 of the rows"
    assert said["backend"].startswith("numpy")
    assert said["trained"].startswith("2 networks, 3 epochs in ")
    assert "on the rows held out:\n24 rows\n" in out
    assert "true \\ predicted" in out
    assert "--save model.safetensors keeps the model" in out


def test_the_figures_are_of_rows_that_had_no_part_in_the_training(capsys, monkeypatch, folder):
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK)
    status, out, err = run(capsys, monkeypatch, *given, "--json", "--validation", "0.25")
    assert status == 0
    assert "held out   30 of the rows" in err
    assert "\non the rows held out:\n30 rows" in err
    content = json.loads(out)
    frame = frame_of(folder / "people.csv")
    rows, held_out = split(N, 0.25, 0, LIVES == "yes")
    trained = arraymlp.train(
        frame.select([n for n in frame.names if n != "id"])[rows],
        "lives",
        seed=range(2),
        epochs=3,
        backend="numpy",
    )
    assert content["held_out"] == content["evaluation"]["rows"] == 30
    assert content["evaluation"] == trained.evaluate(frame[held_out]).to_dict()
    assert content["best_epochs"] == trained.best_epoch
    assert content["classes"] == ["no", "yes"]
    assert content["target"] == ["lives"]
    assert content["left_out"].keys() == {"id"}
    assert content["columns"] == {
        "age": "numbers", "sex": "categories", "fare": "numbers", "port": "categories"
    }  # fmt: skip


def test_settings_are_those_of_train(capsys, monkeypatch, folder, tmp_path):
    file = tmp_path / "m.safetensors"
    given = ("--hidden", "5", "--activation", "tanh", "--learning-rate", "0.01", "--dropout", "0")
    status, out, _ = run(
        capsys, monkeypatch, "train", f"{folder}/people.csv", "--target", "lives", *QUICK, *given,
        "--numbers", "standardize", "--ignore", "id,port", "--seed", "7", "--save", str(file),
        "--metrics", "f1", "--early-stopping", "off", "--json",
    )  # fmt: skip
    assert status == 0
    content = json.loads(out)
    assert (content["model"], content["report"]) == (str(file), None)
    assert content["settings"]["seed"] == [7, 8]
    assert content["settings"]["early_stopping"] is None
    network = arraymlp.load(file)
    assert network.sizes == (5, 5, 2)  # age, whether it is missing, sex twice, fare
    frame = frame_of(folder / "people.csv").select(("age", "sex", "fare", "lives"))
    expected = arraymlp.train(
        frame, "lives", encode=arraymlp.TableEncoder("standardize"), hidden=(5,),
        activation="tanh", learning_rate=0.01, dropout=0.0, epochs=3, seed=range(7, 9),
        validation=0.2, early_stopping=False, backend="numpy",
    ).network  # fmt: skip
    np.testing.assert_array_equal(network.predict_proba(frame), expected.predict_proba(frame))
    assert network.targets == ("lives",)


@pytest.mark.parametrize(
    ("members", "words", "n"),
    [
        ("8", "on each row by the networks that had it held out (together all are better):", N),
        ("3", "on each row by the networks that had it held out (together all are better):", 45),
        ("1", "on the rows that it was trained on:", N),
    ],
)
def test_without_rows_held_out_it_trains_on_all(capsys, monkeypatch, folder, members, words, n):
    given = ("train", f"{folder}/people.csv", "--target", "fare", *QUICK, "--validation", "0")
    status, out, _ = run(capsys, monkeypatch, *given, "--members", members)
    assert status == 0
    assert "held out  " not in out
    assert f"{words}\n{n} rows\n" in out
    assert "RMSE" in out


def test_figures_of_rows_held_out_in_turn_are_of_the_networks_that_had_them(
    capsys, monkeypatch, folder
):
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK, "--validation", "0")
    _, out, _ = run(capsys, monkeypatch, *given, "--members", "9", "--json")
    frame = frame_of(folder / "people.csv").select(("age", "sex", "fare", "port", "lives"))
    trained = arraymlp.train(frame, "lives", seed=range(9), epochs=3, backend="numpy")
    p = np.full((N, 2), np.nan, np.float32)
    for k, plan in enumerate(trained.data.row_plans[:8]):
        part = frame[plan.held_out]
        p[plan.held_out] = trained.network.member(k).predict_proba(part)
        if k == 0:  # the ninth has the rows of the first
            p[plan.held_out] += trained.network.member(8).predict_proba(part)
            p[plan.held_out] /= 2
    expected = scores_of(LIVES, p, trained.network.loss, trained.network.classes).to_dict()
    content = json.loads(out)["evaluation"]
    assert content["confusion"] == expected["confusion"]
    assert content["log_loss"] == pytest.approx(expected["log_loss"])


@pytest.mark.parametrize(
    ("option", "words"),
    [((), "quality: 4 classes, 2 ("), (("--regression",), "quality: numbers from 2 to 5")],
)
def test_whole_numbers_are_classes_or_numbers(capsys, monkeypatch, tmp_path, option, words):
    quality = 2 + np.arange(N) % 4
    path = write_csv(tmp_path / "wine.csv", {"age": AGE + 5 * quality, "quality": quality})
    given = ("train", path, "--target", "quality", *QUICK, *option)
    status, out, err = run(capsys, monkeypatch, *given)
    assert (status, err) == (0, "")
    assert words in out
    assert ("accuracy" in out) != bool(option)
    written = write_csv(tmp_path / "f.csv", {"age": AGE, "quality": quality.astype(float)})
    given = ("train", written, "--target", "quality", *QUICK, *option)
    hint = "quality: numbers from 2 to 5 (--classes takes them for classes)"
    assert (hint in run(capsys, monkeypatch, *given)[1]) != bool(option)
    loss = ("train", path, "--target", "quality", *QUICK, "--loss", "huber")
    assert ("RMSE" in run(capsys, monkeypatch, *loss)[1]) is True


def test_several_columns_are_predicted_together(capsys, monkeypatch, folder, tmp_path):
    file = tmp_path / "m.safetensors"
    table = {"a": AGE, "b": 2 * AGE, "x": AGE + FARE}
    path = write_csv(tmp_path / "t.csv", table)
    given = ("train", path, "--target", "a,b", *QUICK, "--save", str(file))
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 0
    assert "a, b: numbers" in out
    _, out, _ = run(capsys, monkeypatch, "predict", str(file), path)
    assert rows_of(out)[0] == ["a", "b"]
    assert len(rows_of(out)) == N + 1


def test_dates_are_left_out_or_taken(capsys, monkeypatch, tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(N)
    path = write_csv(tmp_path / "t.csv", {"day": days.astype(str), "x": AGE, "y": FARE})
    given = ("train", path, "--target", "y", *QUICK)
    _, out, _ = run(capsys, monkeypatch, *given)
    assert "left out   day (dates; --dates takes them)" in out
    file = tmp_path / "m.safetensors"
    status, out, _ = run(capsys, monkeypatch, *given, "--dates", "--save", str(file))
    assert status == 0
    assert "1 of dates" in out
    assert run(capsys, monkeypatch, "predict", str(file), path)[0] == 0


@pytest.mark.parametrize("module", ["source", "train_command"])
def test_a_table_larger_than_memory_is_trained_on(capsys, monkeypatch, folder, tmp_path, module):
    file = tmp_path / "m.safetensors"
    monkeypatch.setattr(f"arraymlp.app.tables.{module}.fits_memory", lambda n: False)
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK, "--save", str(file))
    status, out, err = run(capsys, monkeypatch, *given, "--json")
    assert status == 0, err
    assert "120 rows, 5 columns beside the target, larger than memory" in err
    content = json.loads(out)
    assert content["columns"].keys() == {"age", "sex", "fare", "port"}
    assert content["evaluation"]["rows"] == 24
    assert content["evaluation"]["accuracy"] > 0.6
    network = arraymlp.load(file)
    assert (network.targets, network.features) == (("lives",), ("age", "sex", "fare", "port"))
    frame = frame_of(folder / "people.csv")
    _, out, _ = run(capsys, monkeypatch, "evaluate", str(file), f"{folder}/people.csv", "--json")
    whole = arraymlp.Ensemble([network]).evaluate(frame).to_dict()
    assert json.loads(out)["confusion"] == whole["confusion"]


def test_dates_larger_than_memory_are_refused(capsys, monkeypatch, tmp_path):
    days = np.datetime64("2024-01-01") + np.arange(N)
    path = write_csv(tmp_path / "t.csv", {"day": days.astype(str), "x": AGE, "y": FARE})
    monkeypatch.setattr("arraymlp.app.tables.source.fits_memory", lambda n: False)
    given = ("train", path, "--target", "y", *QUICK)
    assert "left out   day (dates" in run(capsys, monkeypatch, *given)[1]
    status, _, err = run(capsys, monkeypatch, *given, "--dates")
    assert status == 2
    assert "dates of a table that is larger than memory are not read" in err


def test_a_report_and_a_checkpoint(capsys, monkeypatch, folder, tmp_path):
    pytest.importorskip("matplotlib")
    kept, report = tmp_path / "run.ckpt", tmp_path / "new" / "report"
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK)
    files = ("--checkpoint", str(kept), "--report", str(report), "--json")
    status, out, err = run(capsys, monkeypatch, *given, *files)
    assert status == 0
    assert f"checkpoint {kept}\n" in err
    assert json.loads(out)["report"] == str(report / "report.html")
    assert sorted(p.name for p in report.iterdir()) == ["curves.png", "report.html", "train.json"]
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in ("lives from", "balanced accuracy", "data:image/png;base64,", "id (it numbers"):
        assert words in page
    assert "One line a network." in page
    content = json.loads((report / "train.json").read_text(encoding="utf-8"))
    assert len(content["history"]["epoch"]) == 3
    again = json.loads(run(capsys, monkeypatch, *given, *files)[1])
    assert again["evaluation"] == content["evaluation"]


def test_a_report_on_one_network_says_nothing_of_others(capsys, monkeypatch, folder, tmp_path):
    pytest.importorskip("matplotlib")
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK, "--members", "1")
    assert run(capsys, monkeypatch, *given, "--report", str(tmp_path / "r"))[0] == 0
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "One line a network." not in page
    assert "Of networks that are alike" not in page


def test_what_does_not_learn_is_not_saved_and_ends_with_1(capsys, monkeypatch, folder, tmp_path):
    file = tmp_path / "m.safetensors"
    given = ("train", f"{folder}/people.csv", "--target", "lives", *QUICK, "--save", str(file))
    too_fast = ("--optimizer", "sgd", "--learning-rate", "1e30", "--weight-decay", "0", "--json")
    status, out, err = run(capsys, monkeypatch, *given, *too_fast)
    assert status == 1
    assert "it did not learn, and nothing is saved: the loss became " in err
    assert json.loads(out)["ended"] == "diverged"

    def constant(parts: Any, *arguments: Any) -> Any:
        listed = list(parts)
        for ensemble, _, _ in listed:
            for layer in ensemble.networks[0].layers:
                layer.weights[...] = 0
        return scores_on(listed, *arguments)

    monkeypatch.setattr("arraymlp.app.tables.trained.scores_on", constant)
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 1
    assert "it did not learn, and nothing is saved: it gives every row the same output" in out
    assert not file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_the_model_so_far(folder, tmp_path, number, status):
    file = tmp_path / "m.safetensors"
    command = ("train", f"{folder}/people.csv", "--target", "lives", "--epochs", "100000",
               "--early-stopping", "off", "--backend", "numpy", "--save", str(file))  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "arraymlp", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("backend"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "")
    assert "interrupted: the model is that so far" in out
    assert arraymlp.load(file).members == 8


# Predictions


def test_predictions_are_those_of_python_on_any_backend(
    capsys, monkeypatch, folder, model, quick_backend
):
    status, out, err = run(capsys, monkeypatch, "predict", model, f"{folder}/later.csv")
    assert status == 0
    assert err == "arraymlp: columns that the model does not take are ignored: shoes\n"
    ensemble = arraymlp.Ensemble([arraymlp.load(model, backend=quick_backend)])
    frame = frame_of(folder / "later.csv")
    (name,), *rows = rows_of(out)
    assert name == "lives"
    assert [row for (row,) in rows] == ensemble.predict(frame).tolist()

    given = ("predict", model, f"{folder}/later.csv", "--proba", "--spread")
    _, out, _ = run(capsys, monkeypatch, *given)
    names, *rows = rows_of(out)
    assert names == ["no", "yes", "no spread", "yes spread"]
    mean, spread = ensemble.predict_proba(frame, return_std=True)
    expected = np.concatenate([mean, spread], axis=1)
    np.testing.assert_allclose(np.asarray(rows, float), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_predictions_are_written(capsys, monkeypatch, folder, fares, tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"predictions.{suffix}"
    given = ("predict", fares, f"{folder}/later.csv", "-o", str(file))
    status, out, _ = run(capsys, monkeypatch, *given)
    assert (status, out) == (0, "")
    written = frame_of(file)
    assert written.names == ("fare",)
    expected = arraymlp.load(fares).predict(frame_of(folder / "later.csv"))
    np.testing.assert_allclose(written.columns[0], expected, rtol=1e-6)


def test_columns_of_the_table_are_written_beside_the_predictions(
    capsys, monkeypatch, model, tmp_path
):
    keys = [f"{i:04}" for i in range(N)]
    path = write_csv(tmp_path / "t.csv", passengers() | {"key": keys})
    _, alone, _ = run(capsys, monkeypatch, "predict", model, path)
    status, out, _ = run(capsys, monkeypatch, "predict", model, path, "--with", "key,sex")
    assert status == 0
    header, *rows = out.splitlines()
    name, *predicted = alone.splitlines()
    assert header == f"key,sex,{name}"
    expected = zip(keys, SEX, predicted, strict=True)
    assert [row.replace('"', "") for row in rows] == [",".join(row) for row in expected]
    for wrong, words in (("keys", "did you mean 'key'"), (name, "have a column of that name")):
        status, out, err = run(capsys, monkeypatch, "predict", model, path, "--with", wrong)
        assert (status, out) == (2, "")
        assert words in err


def test_a_table_is_predicted_some_rows_at_a_time(capsys, monkeypatch, folder, model):
    given = ("predict", model, f"{folder}/people.csv", "--proba")
    _, whole, _ = run(capsys, monkeypatch, *given)
    monkeypatch.setattr("arraymlp.app.tables.evaluation.AT_ONCE", 7)
    _, parts, _ = run(capsys, monkeypatch, *given)
    a, b = (np.asarray(rows_of(text)[1:], float) for text in (whole, parts))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_standard_input_and_output(folder, model):
    command = [sys.executable, "-m", "arraymlp", "predict", model, "-"]
    text = (folder / "later.csv").read_bytes()
    done = subprocess.run(command, input=text, capture_output=True, timeout=100, check=True)
    assert done.stdout.decode().splitlines()[0] == "lives"
    assert len(done.stdout.splitlines()) == 41


def test_categories_written_as_numbers_are_the_same_however_they_are_written(
    capsys, monkeypatch, tmp_path
):
    floors = rng.integers(1, 4, N)
    file, table = tmp_path / "m.safetensors", {"floor": floors, "x": AGE, "y": LIVES}
    path = write_csv(tmp_path / "t.csv", table)
    given = ("train", path, "--target", "y", *QUICK, "--categories", "floor", "--save", str(file))
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 0
    assert "1 of categories" in out
    fractions = write_csv(tmp_path / "f.csv", table | {"floor": [f"{v}.0" for v in floors]})
    one, other = (
        run(capsys, monkeypatch, "predict", str(file), p, "--proba")[1] for p in (path, fractions)
    )
    assert one == other


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_column_of_categories_in_other_words_is_told_of(
    capsys, monkeypatch, folder, model, tmp_path, command
):
    path = write_csv(tmp_path / "t.csv", passengers() | {"sex": np.char.upper(SEX)})
    status, _, err = run(capsys, monkeypatch, command, model, path)
    assert status == 0
    assert "column 'sex' has F, M, of which the model knows none: it knows f, m\n" in err
    assert "'port'" not in err
    one = write_csv(tmp_path / "one.csv", passengers() | {"sex": [*SEX[:-1], "unknown"]})
    assert "column 'sex'" not in run(capsys, monkeypatch, command, model, one)[2]


def test_an_index_as_pandas_writes_it_is_left_out(capsys, monkeypatch, tmp_path):
    file, columns = tmp_path / "m.safetensors", {"age": AGE, "sex": SEX, "lives": LIVES}
    path = write_csv(tmp_path / "t.csv", {"": np.arange(N)} | columns)
    given = ("train", path, "--target", "lives", *QUICK, "--save", str(file))
    status, out, err = run(capsys, monkeypatch, *given)
    assert (status, err) == (0, "")
    assert "left out   Unnamed: 0 (it numbers the rows" in out
    without = write_csv(tmp_path / "w.csv", columns)
    one, other = (run(capsys, monkeypatch, "predict", str(file), p)[1] for p in (path, without))
    assert one == other != ""


def test_a_model_of_arrays_takes_columns_of_numbers_by_name_or_in_their_order(
    capsys, monkeypatch, folder, tmp_path
):
    X, y = np.stack([AGE, FARE], axis=1), (LIVES == "yes").astype(int)
    network = arraymlp.train(X, y, epochs=1, backend="numpy").network
    file = tmp_path / "m.safetensors"
    arraymlp.save(network, file)
    path = write_csv(tmp_path / "t.csv", {"age": AGE, "fare": FARE})
    status, out, _ = run(capsys, monkeypatch, "predict", str(file), path)
    assert status == 0
    assert [int(row) for (row,) in rows_of(out)[1:]] == network.predict(X).tolist()
    assert rows_of(out)[0] == ["prediction"]

    network.features = ("fare", "age")
    arraymlp.save(network, file)
    _, out, _ = run(capsys, monkeypatch, "predict", str(file), path)
    assert [int(row) for (row,) in rows_of(out)[1:]] == network.predict(X[:, ::-1]).tolist()
    status, _, err = run(capsys, monkeypatch, "predict", str(file), f"{folder}/people.csv")
    assert status == 2
    assert "must be finite" in err or "missing" in err or "age" in err


# Evaluation


def test_evaluation_is_that_of_scikit_learn(capsys, monkeypatch, folder, model):
    metrics = pytest.importorskip("sklearn.metrics")
    given = ("evaluate", model, f"{folder}/people.csv")
    status, out, err = run(capsys, monkeypatch, *given)
    assert (status, err) == (0, "")
    assert "120 rows" in out
    assert "true \\ predicted" in out
    content = json.loads(run(capsys, monkeypatch, *given, "--json")[1])
    ensemble = arraymlp.Ensemble([arraymlp.load(model)])
    chosen = ensemble.predict(frame_of(folder / "people.csv"))
    assert content["accuracy"] == metrics.accuracy_score(LIVES, chosen)
    assert content["confusion"] == metrics.confusion_matrix(LIVES, chosen).tolist()


def test_evaluation_of_numbers_on_another_column(capsys, monkeypatch, folder, fares, tmp_path):
    table = passengers()
    table["price"] = table.pop("fare")
    path = write_csv(tmp_path / "t.csv", table)
    given = ("evaluate", fares, path, "--target", "price", "--json")
    status, out, _ = run(capsys, monkeypatch, *given)
    assert status == 0
    output = arraymlp.load(fares).predict(frame_of(folder / "people.csv"))
    rmse = np.sqrt(np.mean((output - FARE) ** 2))
    assert json.loads(out)["rmse"] == pytest.approx(rmse, rel=1e-5)


# What a file is, and its export


def test_a_file_of_any_kind_is_shown_and_predicts(capsys, monkeypatch, folder, tmp_path, model):
    frame = frame_of(folder / "people.csv").select(("age", "sex", "fare", "port", "lives"))
    few = {"epochs": 1, "backend": "numpy", "validation": 0.2}
    trained = arraymlp.train(frame, "lives", **few)
    arraymlp.save(trained, tmp_path / "run")
    result = arraymlp.sweep(frame, "lives", learning_rate=[1e-3, 1e-2], **few)
    result.save(tmp_path / "sweep")
    kinds = {"run": trained.network, "sweep": result.best.network}
    for kind, network in kinds.items():
        file = str(tmp_path / kind)
        status, out, _ = run(capsys, monkeypatch, "show", file)
        assert status == 0
        assert "lives: one of 2 classes, no, yes" in out
        assert "4 columns of a table: age, sex, fare, port" in out
        assert "port  categories  3: C, Q, S" in out
        content = json.loads(run(capsys, monkeypatch, "show", file, "--json")[1])
        assert content["kind"] == kind
        assert content["classes"] == ["no", "yes"]
        status, out, err = run(capsys, monkeypatch, "predict", file, f"{folder}/later.csv")
        assert status == 0
        assert ("the best one, network" in err) == (kind == "sweep")
        expected = network.predict(frame_of(folder / "later.csv")).tolist()
        assert [row for (row,) in rows_of(out)[1:]] == expected
    _, out, _ = run(capsys, monkeypatch, "show", str(tmp_path / "run"))
    assert "1 epochs, " in out or "1 epoch, " in out


def test_an_estimators_file_keeps_its_labels(capsys, monkeypatch, tmp_path):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("sklearn")
    X = pandas.DataFrame({"fare": FARE, "age": AGE})
    estimator = arraymlp.MLPClassifier((4,), max_iter=2000, tol=1e-2).fit(X, LIVES)
    file = str(tmp_path / "m.safetensors")
    estimator.save(file)
    path = write_csv(tmp_path / "t.csv", {"age": AGE, "fare": FARE, "prediction": LIVES})
    status, out, _ = run(capsys, monkeypatch, "predict", file, path)
    assert status == 0
    assert [row for (row,) in rows_of(out)[1:]] == estimator.predict(X).tolist()
    content = json.loads(run(capsys, monkeypatch, "evaluate", file, path, "--json")[1])
    assert content["accuracy"] == estimator.score(X, LIVES)
    _, out, _ = run(capsys, monkeypatch, "show", file)
    assert "the estimator MLPClassifier" in out
    assert "from         2 columns of numbers: fare, age" in out


def test_a_graph_gives_what_predict_gives(capsys, monkeypatch, folder, model, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "m.onnx"
    status, out, _ = run(capsys, monkeypatch, "export", model, str(file))
    assert status == 0
    assert str(file) in out
    frame = frame_of(folder / "later.csv")
    session = runtime.InferenceSession(str(file))
    feed = {
        i.name: np.asarray(
            [["" if v is None else v] for v in frame.column(i.name).to_numpy()], object
        )
        if "string" in i.type
        else frame.column(i.name).astype(np.float32 if "float" in i.type else np.float64)[:, None]
        for i in session.get_inputs()
    }
    label, p, *_ = session.run(None, feed)
    _, out, _ = run(capsys, monkeypatch, "predict", model, f"{folder}/later.csv")
    assert [row for (row,) in rows_of(out)[1:]] == np.ravel(label).tolist()
    _, out, _ = run(capsys, monkeypatch, "predict", str(file), f"{folder}/later.csv", "--proba")
    np.testing.assert_allclose(np.asarray(rows_of(out)[1:], float), p, atol=1e-6)


def test_a_sweeps_best_networks_are_one_model(capsys, monkeypatch, folder, tmp_path):
    file, several = str(tmp_path / "best"), str(tmp_path / "several")
    given = ("sweep", f"{folder}/people.csv", "--hidden", "4,8", "--seed", "0:3", "--epochs", "2",
             "--backend", "numpy")  # fmt: skip
    status, out, _ = run(capsys, monkeypatch, *given, "--model", file)
    assert status == 0
    assert f"model: {file}, network " in out
    assert arraymlp.load(file).members is None
    _, out, _ = run(capsys, monkeypatch, *given, "--model", several, "--ensemble", "5")
    assert f"model: {several}, the best 3 of one shape, of which there are no more; " in out
    loaded = arraymlp.load(several)
    assert (loaded.members, loaded.targets) == (3, ("lives",))
    status, out, _ = run(capsys, monkeypatch, "predict", several, f"{folder}/later.csv")
    assert status == 0
    assert set(np.ravel(rows_of(out)[1:])) <= {"no", "yes"}


# Mistakes


def mistakes(folder: Path, model: str) -> dict[str, str]:
    """Files that are wrong, by name."""
    table = passengers()
    files = {
        "empty.csv": "",
        "header.csv": "a,b\n",
        "ragged.csv": "a,b\n1,2\n3\n",
        "broken.csv": 'a,b\n1,"2\n',
        "missing.csv": "a,y\n1,x\n2,\n3,y\n",
        "numbers.csv": "a,y\n1,1.5\n2,\n3,2\n",
        "constant.csv": "a,y\n1,x\n2,x\n3,x\n",
        "one.csv": "y\n1\n2\n",
        "text.csv": "port,age,fare,sex\nC,old,1,f\n",
        "future.safetensors": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    header = (folder / Path(model).name).read_bytes()
    newer = header.replace(b'\\"format\\": 2', b'\\"format\\": 9')
    assert newer != header
    (folder / "future.safetensors").write_bytes(newer)
    (folder / "broken.safetensors").write_bytes(header[:-7])
    return table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train people.csv", "say by --target which column is to be predicted: there is id, age, "),
        ("train people.csv --target live", "there is no column 'live'; did you mean 'lives'?"),
        ("train absent.csv --target y", "absent.csv: No such file"),
        ("train people.xlsx --target y", "a data file is .csv, .tsv, .parquet or .npz"),
        ("train empty.csv --target y", "empty.csv: it is empty"),
        ("train header.csv --target b", "header.csv: it has no rows"),
        ("train ragged.csv --target b", "ragged.csv: line 3 has 1 cells, but there are 2 columns"),
        ("train broken.csv --target b", "broken.csv: not readable as CSV"),
        ("train missing.csv --target y", "the target 'y' has no value in row 1"),
        ("train numbers.csv --target y", "the target 'y' has no value in row 1"),
        ("train constant.csv --target y", "the target 'y' is 'x' in every row"),
        ("train one.csv --target y", "no column is left to learn from"),
        ("train people.csv --target id", "seems to number them"),
        ("train people.csv --target lives --regression", "is texts, not numbers"),
        ("train people.csv --target fare --classes", "numbers with a fraction"),
        ("train people.csv --target lives --ignore shoe", "there is no column 'shoe'"),
        ("train people.csv --target lives --ignore lives", "among the columns to leave out"),
        ("train people.csv --target lives --keep shoe", "'shoe'"),
        ("train people.csv --target lives --categories shoe", "'shoe'"),
        ("train people.csv --target lives --numbers wise", "'wise'"),
        ("train people.csv --target lives --bins 0", "bins must be a whole number from 1"),
        ("train people.csv --target lives --members 0", "--members must be at least 1, not 0"),
        ("train people.csv --target lives --validation 1", "--validation must be from 0 up to"),
        ("train people.csv --target lives --epochs 1,2", "give one value; arraymlp sweep"),
        ("train people.csv --target lives --epochs many", "'many' is no whole number"),
        ("train people.csv --target lives --activation rleu", "did you mean 'relu'"),
        ("train people.csv --target lives --preset tabel", "did you mean 'table'"),
        ("train people.csv --target lives --metrics f2", "unknown metric 'f2'"),
        ("train people.csv --target lives --save no/m", "no/m cannot be written"),
        ("train people.csv --target lives --checkpoint .", "--checkpoint . is no file"),
        ("train people.csv --target lives --checkpoint-every 5s", "only with --checkpoint"),
        ("train people.csv --target lives --early-stopping loss_", "'loss_'"),
        ("train people.csv --target lives --backend nunpy", "did you mean 'numpy'"),
        ("predict lives.safetensors absent.csv", "absent.csv: No such file"),
        ("predict lives.safetensors header.csv", "header.csv"),
        (
            "predict lives.safetensors text.csv",
            "column 'age' must be numbers, but line 2 has 'old'",
        ),
        ("predict lives.safetensors missing.csv", "'age', 'sex', 'fare', 'port'"),
        ("predict people.csv lives.safetensors", "give the model first, and then the table"),
        ("predict absent people.csv", "absent: No such file"),
        ("predict future.safetensors people.csv", "format 9, but this version reads"),
        ("predict broken.safetensors people.csv", "broken.safetensors: "),
        ("predict lives.safetensors people.csv -o no/p.csv", "no/p.csv cannot be written"),
        ("predict lives.safetensors people.csv -o p.xlsx", "p.xlsx"),
        ("predict lives.safetensors people.csv --spread", "give --proba, too"),
        ("predict fares.safetensors people.csv --proba", "predicts numbers, not classes"),
        ("predict fares.safetensors people.csv --spread", "has one network"),
        ("evaluate lives.safetensors later.csv", "there is no column 'lives'"),
        ("evaluate lives.safetensors people.csv --target fare", "that the model takes"),
        ("evaluate lives.safetensors people.csv --target id", "does not know"),
        ("show people.csv", "give the model first"),
        ("show broken.safetensors", "broken.safetensors: "),
        ("export broken.safetensors m.onnx", "broken.safetensors: "),
        ("export lives.safetensors no/m.onnx", "no/m.onnx cannot be written"),
        ("sweep people.csv --ensemble 2", "only with --model"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    capsys, monkeypatch, folder, model, fares, arguments, words
):
    mistakes(folder, model)
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    more = QUICK[2:] if arguments.startswith("train") and "--backend" not in arguments else ()
    more = more[2:] if "--epochs" in arguments else more
    status, out, err = run(capsys, monkeypatch, *arguments.split(), *more)
    assert status == 2, out
    assert words in err
    errors = [line for line in err.splitlines() if "ignored" not in line]
    assert len(errors) == 1, err
    assert "Traceback" not in out + err
    assert sorted(path.name for path in folder.iterdir()) == before


# Help


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export", "show"])
def test_help_begins_with_what_it_does_and_has_an_example(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "120")
    status, out, _ = run(capsys, monkeypatch, command, "--help")
    assert status == 0
    assert f" arraymlp {command} " in out
    assert "Exit status: 0" in out


def test_options_of_train_are_the_settings_of_the_table():
    options = {p.name: p for p in get_command(command_line()).commands["train"].params}
    on_command_line = {name for name, row in TABLE.items() if row.metadata["cli"]}
    assert on_command_line == {*SWEPT, "metrics", "early_stopping"} == set(options) & set(TABLE)
