"""The pictures and sentences of the lab's report: they show what was measured and published."""

import re
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from arraymlp import History, train
from arraymlp.app.lab import pictures
from arraymlp.app.lab.experiments import EXPERIMENTS, LabRun
from arraymlp.app.lab.questions import conclusion, questions
from arraymlp.app.lab.result import LabResult
from arraymlp.backends.registry import resolve
from arraymlp.datasets import load_mnist, published_curves
from arraymlp.html.png import diverging_palette


def run_with(training: list[float], test: list[float]) -> SimpleNamespace:
    records = [
        {
            "epoch": e,
            "training_error": a,
            "validation_error": b,
            "training_loss": 2 * a,
            "validation_loss": 2 * b,
        }
        for e, (a, b) in enumerate(zip(training, test, strict=True))
    ]
    return SimpleNamespace(history=History(records))


def spoken(chart: str) -> str:
    return ElementTree.fromstring(chart).get("aria-label") or ""


def test_errors_lie_over_the_published_ones() -> None:
    published = published_curves()["relu-0.05"]
    (chart,) = pictures.errors([run_with([0.5, 0.4], [0.6, 0.45])], published, 0.9042)
    assert spoken(chart) == (
        "Errors: training error from 50 % to 40 %; test error from 60 % to 45 %; "
        "published test error from 90.4 % to 90.4 %"
    )


def test_what_was_learned_has_a_closer_look_from_there_on() -> None:
    test = [0.9, 0.5, 0.08, 0.06, 0.05]
    runs = [run_with(test, test), run_with(test, test)]
    whole, closer = pictures.errors(runs, [], 0.0252)
    assert "published test error at the end from 2.52 % to 2.52 %" in spoken(whole)
    assert "Errors from epoch 2 on, closer: training error from 8 % to 5 %" in spoken(closer)
    assert len(pictures.losses(runs)) == 2
    assert pictures.closer_from(run_with(test[:4], test[:4])) is None, "two epochs are no curve"


def test_insides_are_the_measurements() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    run = train(X, y, hidden=(5, 4), epochs=2, batch_size=20, probes=True)
    charts = pictures.insides(run)
    first, last = run.measurements[0], run.measurements[-1]
    for name, figure, label in (
        ("spread", "spread", "output layer"),
        ("gradient", "gradient_norm", "hidden layer 1"),
    ):
        i = -1 if label == "output layer" else 0
        ends = [f"{getattr(m, figure)[i]:.3g}" for m in (first, last)]
        assert f"{label} from {ends[0]} to {ends[1]}" in spoken(charts[name])
    assert f"hidden layer 2 from {100 * first.active_units[1]:.3g} %" in spoken(charts["active"])


def test_first_layer_shows_each_unit_scaled_to_its_own_largest_weight() -> None:
    weights = np.zeros((784, 3), np.float32)
    weights[:4, 1] = [0.0, 0.8, -4.0, 2.0]
    pixels = pictures.first_layer(weights, columns=3)
    assert pixels.shape == (30, 88)
    assert pixels[1, 30:34].tolist() == [128, 153, 1, 192]  # 0, 1/5, -1, 1/2
    assert not pixels[0].any(), "grey between the images"
    assert diverging_palette()[pixels[1, 32]].tolist() == [33, 102, 172]
    weights[0, 0] = np.nan
    assert pictures.first_layer(weights, columns=3)[1, 1] == 0


def test_confusion_counts_images_and_says_what_share_was_right() -> None:
    table = pictures.confusion(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), n_classes=2)
    rows = re.findall(r"<tr><th scope=\"row\">(.)</th>(.*?)</tr>", table)
    cells = [(name, re.sub("<[^>]+>", " ", row).split()) for name, row in rows]
    assert cells == [("0", ["2", "1", "66.7", "%"]), ("1", ["0", "1", "100.0", "%"])]


@pytest.fixture(scope="module")
def dead() -> LabRun:
    run = train(preset="lab", activation="relu", learning_rate=0.05, epochs=1)
    return LabRun(EXPERIMENTS["relu-0.05"], 0, run, 1.0)


def test_answers_and_conclusion_are_of_the_runs_at_hand(dead: LabRun) -> None:
    result = LabResult([dead], resolve("numpy"), "float32", 1.0, load_mnist())
    answers, said = questions(result), conclusion(result)
    figures = next(f for f in dead.run.findings if f.kind == "dead_units").figures
    assert "None of the sigmoid runs is among these." in answers
    assert f"were dead from step {figures['step_dead']} on" in answers
    assert f"from {figures['step_gradients_zero']} of 600 on the slope of the loss" in said
    assert "The run at 0.005 supports that" not in said, "it is not among them"
    assert "Sigmoid and ReLU</h3>" not in said

    alive = LabRun(
        EXPERIMENTS["relu-0.05"], 0, replace(dead.run, dead_units=[0, 0], measurements=[]), 1.0
    )
    result = LabResult([alive], resolve("numpy"), "float32", 1.0, load_mnist())
    assert "dead from" not in questions(result), "what was not measured is not said"
    assert "no weight moved" not in conclusion(result)
