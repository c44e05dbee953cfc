"""The lab: its bands judge right, its runs start right, and its report is whole."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from arraymlp import History, resolve, train
from arraymlp.app.lab.experiments import EXPERIMENTS, LabRun
from arraymlp.app.lab.method import LISTINGS
from arraymlp.app.lab.report import findings_json, write_report
from arraymlp.app.lab.result import LabResult
from arraymlp.app.lab.sections import plateau_table
from arraymlp.app.lab.training import run_lab
from arraymlp.app.page import require_writable
from arraymlp.datasets import load_mnist, published_curves

pytestmark = pytest.mark.xdist_group("lab")  # runs are trained once a process
# How many of the 10,000 test images each class has.
IMAGES = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


def lab_run(
    name, accuracy, constant=(), seed=0, epochs=70, asked=None, interrupted=False, last=None
):
    """A run: one class for all images in some epochs, and an accuracy in the others.

    Args:
        name: of the experiment.
        accuracy: in percent, of the epochs with more than one class.
        constant: the class of each of the first epochs; None for more than one class.
        seed: of the run.
        epochs: how many it made.
        asked: how many it was to make, if not as many.
        interrupted: by Ctrl-C.
        last: accuracies of the last epochs, in place of the others.
    """
    classes = [*constant, *[None] * (epochs - len(constant))]
    counts = [[1000.0 if c is None else 10000.0 * (k == c) for k in range(10)] for c in classes]
    accuracies = [accuracy if c is None else IMAGES[c] / 100 for c in classes]
    if last:
        accuracies[-len(last) :] = last
    records = [
        {"epoch": e, "validation_error": 1 - a / 100, "predicted": c, "seconds": 1.0}
        for e, (a, c) in enumerate(zip(accuracies, counts, strict=True))
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
        ("relu-0.05", 11.35, (1,) * 70, False),  # as with the mean in place of the sum
    ],
)
def test_bands(name, accuracy, constant, in_band):
    assert lab_run(name, accuracy, constant).verdict.in_band is in_band


def test_only_runs_of_full_length_are_judged():
    assert lab_run("relu-0.05", 9.58, (6,) * 3, epochs=3).verdict.in_band is None
    assert lab_run("sigmoid-0.05", 97.4, interrupted=True).verdict.in_band is None


def test_a_run_that_broke_down_before_its_last_epoch_is_out_of_band():
    assert lab_run("sigmoid-0.5", 9.8, (4,) * 3, epochs=3, asked=70).verdict.in_band is False


@pytest.mark.parametrize(
    ("accuracy", "constant", "expected"),
    [
        (97.97, (7,) * 24, (True, True, 24)),
        (97.97, (7,) * 10, (True, True, 10)),
        (97.97, (7,) * 9, (False, True, 9)),  # too early
        (97.97, (7,) * 50, (True, True, 50)),
        (97.97, (7,) * 51, (None, True, 51)),  # too late to see whether it learns
        (10.28, (7,) * 70, (True, False, None)),
        (97.97, (), (False, None, None)),  # never stuck
        (97.97, (1,) * 24, (False, None, None)),  # another class: the mean in place of the sum
        (11.35, (1,) * 70, (False, None, None)),
        (96.5, (7,) * 24, (True, True, 24)),
        (96.4, (7,) * 24, (False, True, 24)),  # escaped, and did not learn
        (98.6, (7,) * 24, (False, True, 24)),  # as if measured on the training data
        (9.58, (7,) * 30 + (6,) * 40, (False, True, 30)),
        (10.28, (7,) * 30 + (None,) * 10 + (7,) * 30, (False, True, 30)),  # died after its escape
    ],
)
def test_the_stuck_run_ends_in_one_of_two_ways(accuracy, constant, expected):
    verdict = lab_run("relu-0.005", accuracy, constant).verdict
    assert (verdict.in_band, verdict.escaped, verdict.escape_epoch) == expected


@pytest.mark.parametrize(
    ("accuracy", "constant", "what"),
    [
        (
            97.97,
            (7,) * 24,
            "stuck at class 7, escaped in epoch 24 (published: 24) and learned: "
            "test error 2.03 % at the end (published: 2.03 %)",
        ),
        (
            10.28,
            (7,) * 70,
            "stuck at class 7 to the end (published: until epoch 24): "
            "test error 89.72 % at the end (published: 2.03 %)",
        ),
        (97.97, (), "not stuck at class 7: more than one class in epoch 0"),
        (11.35, (1,) * 70, "not stuck at class 7: class 1 in epoch 0"),
    ],
)
def test_the_verdict_says_which_and_what_was_published(accuracy, constant, what):
    assert lab_run("relu-0.005", accuracy, constant).verdict.what == what


@pytest.mark.parametrize("name", ["sigmoid-0.05", "relu-0.005"])
def test_errors_that_jump_in_a_few_of_the_last_epochs_change_no_verdict(name):
    stuck = (7,) * 24 if name == "relu-0.005" else ()
    jumps = lab_run(name, 97.5, stuck, last=(56.2, 90.0, 97.4, 95.0, 56.2))
    assert (jumps.accuracy, jumps.level, jumps.verdict.in_band) == (56.2, 97.45, True)
    low = lab_run(name, 97.5, stuck, last=(90.0,) * 6)
    assert (low.level, low.verdict.in_band) == (90.0, False)


@pytest.mark.parametrize(("rate", "only"), [(0.05, 6), (0.005, 7)])
def test_the_class_of_a_network_that_ignores_its_input_is_fixed_by_data_and_rate(rate, only):
    """Output biases alone, in float64: p = softmax(b), b -= rate * sum over rows of (p - y).

    The lead over the next class is far above any rounding, and the same after every epoch.
    """
    counts = np.eye(10)[load_mnist().y_train].reshape(600, 100, 10).sum(axis=1)
    bias, leads = np.zeros(10), []
    for _ in range(3):
        for count in counts:
            p = np.exp(bias) / np.exp(bias).sum()
            bias -= rate * (100 * p - count)
        assert bias.argmax() == only
        leads.append(bias[only] - np.delete(bias, only).max())
    assert min(leads) > 0.02
    assert leads == pytest.approx([leads[0]] * 3, abs=1e-9)


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
    assert "2 of 3 seeds escaped the plateau (epoch 17 to 20; published: 24)" in text
    assert "ended at 97.80 % (standard deviation 0.42" in text
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
    page = write_report(small_lab, tmp_path / "new" / "report").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # self-contained
    files = {path.name for path in page_folder(tmp_path)}
    for name in ("sigmoid-0.5", "relu-0.05"):
        assert f'id="{name}"' in page
        assert {f"{name}-errors.svg", f"{name}-active.svg", f"{name}-weights.png"} <= files
    for part in ("method", "questions", "data", "results", "conclusion", "code"):
        assert f'<h2 id="{part}">' in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{anchor}"') == 1, anchor
    for listing in LISTINGS:
        assert f'href="#{listing.anchor}"' in page
    content = json.loads((tmp_path / "new" / "report" / "findings.json").read_text())
    assert [(r["run"], r["seed"]) for r in content["runs"]] == [
        ("sigmoid-0.5", 0), ("sigmoid-0.5", 3), ("relu-0.05", 0), ("relu-0.05", 3),
    ]  # fmt: skip
    dead = content["runs"][2]
    (finding,) = [f for f in dead["findings"] if f["kind"] == "dead_units"]
    assert finding["sentence"].replace("'", "&#x27;") in page
    assert finding["figures"]["dead"] == 100


def test_the_report_shows_each_stuck_run_beside_the_published_one():
    table = plateau_table(
        [
            lab_run("relu-0.005", 97.5, (7,) * 20, seed=0),
            lab_run("relu-0.005", 10.28, (7,) * 70, seed=1),
        ]
    )
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(<td>.*?)</tr>", table)]
    assert rows == [
        ["published", "89.72 %", "escaped", "24", "2.03 %", "2.12 %"],
        ["seed 0", "89.72 %", "escaped", "20", "2.50 %", "2.50 %"],
        ["seed 1", "89.72 %", "stayed to the end", "", "89.72 %", "89.72 %"],
    ]
    assert plateau_table([lab_run("relu-0.05", 9.58, (6,) * 70)]) == ""


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
