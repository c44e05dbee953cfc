"""The lab: its bands judge right, its runs start right, and its report is whole."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from arraymlp import History, resolve, train
from arraymlp.app.lab.experiments import EXPERIMENTS, LabRun
from arraymlp.app.lab.report import findings_json, write_report
from arraymlp.app.lab.result import LabResult
from arraymlp.app.lab.training import run_lab
from arraymlp.app.page import require_writable
from arraymlp.datasets import load_mnist, published_curves


def lab_run(name, accuracy, constant=(), seed=0, epochs=70, asked=None, interrupted=False):
    """A run with a final accuracy, and a constant class in its first epochs."""
    counts = [[10000.0 * (k == c) for k in range(10)] for c in constant]
    counts += [[1000.0] * 10] * (epochs - len(constant))
    records = [
        {"epoch": e, "validation_error": 1 - accuracy / 100, "predicted": c, "seconds": 1.0}
        for e, c in enumerate(counts)
    ]
    settings = SimpleNamespace(epochs=epochs if asked is None else asked)
    run = SimpleNamespace(
        history=History(records), interrupted=interrupted, findings=[], settings=settings
    )
    return LabRun(EXPERIMENTS[name], seed, run, 1.0)


@pytest.mark.parametrize(
    ("name", "accuracy", "constant", "in_band"),
    [
        ("sigmoid-0.05", 97.0, (), True),
        ("sigmoid-0.05", 96.9, (), False),
        ("sigmoid-0.005", 97.9, (), True),
        ("sigmoid-0.005", 98.0, (), False),
        ("sigmoid-0.5", 9.74, (8,) * 70, True),
        ("sigmoid-0.5", 20.1, (), False),
        ("relu-0.05", 9.58, (6,) * 70, True),
        ("relu-0.05", 9.58, (6,) * 69, False),
        ("relu-0.05", 9.58, (6,) * 69 + (7,), False),
        ("relu-0.005", 97.97, (7,) * 24, True),
        ("relu-0.005", 97.97, (7,) * 5, True),
        ("relu-0.005", 97.97, (7,) * 4, False),
        ("relu-0.005", 96.9, (7,) * 24, False),
        ("relu-0.005", 98.5, (7,) * 24, False),
        ("relu-0.005", 10.28, (7,) * 70, True),
        ("relu-0.005", 9.58, (6,) * 70, False),
    ],
)
def test_bands(name, accuracy, constant, in_band):
    assert lab_run(name, accuracy, constant).verdict.in_band is in_band


def test_only_runs_of_full_length_are_judged():
    assert lab_run("relu-0.05", 9.58, (6,) * 3, epochs=3).verdict.in_band is None
    assert lab_run("sigmoid-0.05", 97.4, interrupted=True).verdict.in_band is None


def test_a_run_that_broke_down_before_its_last_epoch_is_out_of_band():
    assert lab_run("sigmoid-0.5", 9.8, (4,) * 3, epochs=3, asked=70).verdict.in_band is False


def test_a_change_of_class_is_no_escape():
    verdict = lab_run("relu-0.005", 9.58, (7,) * 30 + (6,) * 40).verdict
    assert (verdict.in_band, verdict.escaped) == (False, False)


def result_of(*lab_runs):
    return LabResult(list(lab_runs), resolve("numpy"), "float32", 1.0, mnist=None)


def test_one_run_out_of_band_is_enough():
    good, bad = lab_run("sigmoid-0.05", 97.4), lab_run("sigmoid-0.005", 50.0)
    assert result_of(good).in_band
    assert not result_of(good, bad).in_band


def test_escapes_are_counted_over_seeds():
    result = result_of(
        lab_run("relu-0.005", 97.5, (7,) * 20, seed=0),
        lab_run("relu-0.005", 98.1, (7,) * 17, seed=1),
        lab_run("relu-0.005", 10.28, (7,) * 70, seed=2),
    )
    text = result.escapes()
    assert "2 of 3 seeds escaped" in text
    assert "97.80 % (standard deviation 0.42" in text
    assert "1 never did and stayed at 10.28 %" in text
    (row,) = result.rows()
    assert (row["in_band"], row["judged"], row["seeds"]) == (3, 3, [0, 1, 2])
    assert row["spread"] == pytest.approx(np.std([97.5, 98.1, 10.28], ddof=1))


@pytest.fixture(scope="module")
def small_lab():
    """Two runs of two epochs, one of which continues a run that nobody asked for."""
    return run_lab(["sigmoid-0.5", "relu-0.05"], backend="numpy", epochs=2, seeds=[0, 3])


def test_first_epochs_of_the_dead_run_are_the_published_ones_to_the_digit(small_lab):
    published = published_curves()["relu-0.05"]
    for lab_run in small_lab.of("relu-0.05"):
        for record, printed in zip(lab_run.run.history, published, strict=False):
            assert f"{record['training_error']:.5f}" == f"{printed.training_error:.5f}"
            assert f"{record['validation_error']:.5f}" == f"{printed.test_error:.5f}"


def test_a_run_that_continues_another_is_trained_after_it(small_lab):
    assert small_lab.names == ["sigmoid-0.5", "relu-0.05"]
    mnist = load_mnist()
    first = train(
        mnist.X_train, mnist.y_train, preset="lab", activation="sigmoid", learning_rate=0.005,
        epochs=2, seed=3, backend="numpy", probes=False, training_error=False,
    )  # fmt: skip
    then = train(
        mnist.X_train, mnist.y_train, preset="lab", network=first.network, learning_rate=0.5,
        epochs=2, probes=False, training_error=False,
    )  # fmt: skip
    continued = small_lab.of("sigmoid-0.5")[1].run
    for ours, theirs in zip(continued.network.layers, then.network.layers, strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)


@pytest.mark.parametrize("engine", ["array", "auto"])
def test_the_lab_is_trained_by_the_engine_asked_for(engine):
    (trained,) = run_lab(["relu-0.05"], backend="numpy", epochs=1, engine=engine).runs
    assert trained.run.settings.engine == engine


def test_the_report_is_one_page_with_all_pictures_and_findings(small_lab, tmp_path):
    pytest.importorskip("matplotlib")
    page = write_report(small_lab, tmp_path / "new" / "report").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # self-contained
    files = {path.name for path in page_folder(tmp_path)}
    for name in ("sigmoid-0.5", "relu-0.05"):
        assert f'id="{name}"' in page
        assert {f"{name}-errors.png", f"{name}-insides.png", f"{name}-weights.png"} <= files
    content = json.loads((tmp_path / "new" / "report" / "findings.json").read_text())
    assert [(r["run"], r["seed"]) for r in content["runs"]] == [
        ("sigmoid-0.5", 0), ("sigmoid-0.5", 3), ("relu-0.05", 0), ("relu-0.05", 3),
    ]  # fmt: skip
    dead = content["runs"][2]
    (finding,) = [f for f in dead["findings"] if f["kind"] == "dead_units"]
    assert finding["sentence"].replace("'", "&#x27;") in page
    assert finding["figures"]["dead"] == 100


def page_folder(tmp_path):
    return (tmp_path / "new" / "report").iterdir()


def test_findings_json_has_no_nan(small_lab):
    json.loads(findings_json(small_lab), parse_constant=pytest.fail)


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match=r"report folder .*file.*cannot be written"):
        require_writable(file / "report")
    require_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
