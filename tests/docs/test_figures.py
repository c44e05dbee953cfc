"""Figures in prose are measured: each stands in a file under ci/results/, or says what is set."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from arraymlp.steps.optimizers import DECAY_A_STEP
from arraymlp.training import defaults
from pages import PAGES, README, ROOT, page_name, prose

RESULTS = ROOT / "ci" / "results"
SPEED = ROOT / "docs" / "speed.md"
BENCH: dict[str, Any] = json.loads((RESULTS / "bench-cpu.json").read_text(encoding="utf-8"))
NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
FIGURE = re.compile(
    rf"(?<![\w.^/-])((?:{NUMBER}(?:,| and| or| to) )*{NUMBER})\s?(%|s|ms|GB|MB|times)(?![\w^])"
)
# Numbers with units that nobody measured here: settings, and what others published.
SET = {
    "docs/lab.md": {"97 %", "98 %", "97.48 %", "97.49 %", "9.74 %", "9.58 %", "97.97 %"},
    "docs/long-runs.md": {"2 %", "10 s", "30 s", "90 s"},  # a bound, and others' grace periods
    "docs/training.md": {"15 %"},  # held out of a table
    "docs/larger-than-memory.md": {"1.0 GB", "0.5 GB"},  # of the example, which asserts them
}


def result(title: str) -> dict[str, Any]:
    (found,) = [r for r in BENCH["results"] if r["title"].startswith(title)]
    return dict(found["figures"])


def claims() -> list[str]:
    """What the README says of speed, from the figures."""
    network = "784-100-100-10, batch 100, SGD, 60,000 rows, "
    dropout = "784-100-100-10, batch 100, Adam, dropout 0.2, 60,000 rows, "
    order, shuffled = result(f"{network}in order"), result(f"{network}shuffled")

    def ratio(name: str) -> str:
        return f"{order[name]['over_ours']:.2f} ({shuffled[name]['over_ours']:.2f})"

    own = [f"{figures['arraymlp']['seconds']:.3f} s" for figures in (order, shuffled)]
    jax = [result(f"{dropout}{how}")["JAX"]["over_ours"] for how in ("in order", "shuffled")]
    wide = "784-1024-1024-10, batch 512, SGD, 10,240 rows, "
    level = [result(f"{wide}{how}")["JAX"]["over_ours"] for how in ("in order", "shuffled")]
    together = result("64 x 20-16-3")["scikit-learn"]["over_ours"]
    return [
        f"takes {own[0]} in order ({own[1]} shuffled)",
        f"PyTorch takes {ratio('PyTorch')} times as long",
        f"scikit-learn {ratio('scikit-learn')}, JAX {ratio('JAX')}, and with Adam and dropout JAX",
        f"one by one, takes {together:.1f} times as long",
        f"With wide layers JAX is level: {level[0]:.2f} ({level[1]:.2f})",
        f"Adam and dropout JAX {jax[0]:.2f} ({jax[1]:.2f})",
    ]


def claims_of_tables() -> list[str]:
    """What the README says of tables, from the figures."""
    text = (RESULTS / "tables.txt").read_text(encoding="utf-8")

    def rank(method: str) -> str:
        (found,) = re.findall(rf"^ +\d+ {re.escape(method)} {{2,}}([\d.]+)", text, re.MULTILINE)
        return str(found)

    (share,) = re.findall(r"a tenth of RealMLP-TD's CPU time: ([\d.]+) of it", text)
    return [
        f"a mean rank of {rank('arraymlp, 8 members')} among nine methods",
        f"One network has {rank('arraymlp, one network')}",
        f"boosting with early stopping {rank('boosting, early stopping')}",
        f"RealMLP-TD {rank('RealMLP-TD')}",
        f"take {share} of RealMLP's CPU time",
    ]


@pytest.mark.parametrize("claim", [*claims(), *claims_of_tables()])
def test_what_the_readme_claims_was_measured(claim: str) -> None:
    assert claim in " ".join(README.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("page", [p for p in PAGES if p != SPEED], ids=page_name)
def test_every_figure_in_prose_was_measured_or_set(page: Path) -> None:
    text = " ".join(prose(page).split())
    named = "".join(
        (ROOT / path).read_text(encoding="utf-8")
        for path in set(re.findall(r"ci/results/[\w.-]+\.txt", text))
    )
    measured, text = " ".join(named.split()), re.sub("`[^`]*`", "", text)
    for claim in claims():
        text = text.replace(claim, "")
    allowed = SET.get(page_name(page), set())
    for numbers, unit in FIGURE.findall(text):
        for number in re.findall(NUMBER, numbers):
            stands = re.search(rf"(?<![\d.]){re.escape(number)} ?{unit}(?!\w)", measured)
            assert stands or f"{number} {unit}" in allowed, f"{number} {unit}"


def test_results_name_the_machine() -> None:
    for path in RESULTS.glob("*.txt"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert re.search(r"cores of an? ", first), path
    assert {"date", "cpu", "cores", "numpy"} <= set(BENCH["machine"])


def test_the_defaults_are_those_that_were_measured() -> None:
    text = (RESULTS / "choose-defaults.txt").read_text(encoding="utf-8")
    recipe = text.partition("auto: ")[2].partition("\n\n")[0]
    rates = [defaults.RATE_OF_WIDTH, defaults.RATE, defaults.HIGHEST_RATE]
    expected = [DECAY_A_STEP, *rates, defaults.BATCHES, 1, defaults.LARGEST_BATCH]
    assert [float(n) for n in re.findall(r"\d[\d.]*", recipe)] == expected  # else: measure anew
    assert recipe.startswith(type(defaults.AUTO).__name__)
    assert defaults.AUTO_SCHEDULE in recipe
    failed = re.findall(r"runs, (\d+) with a loss that is not finite", text)
    assert failed
    assert set(failed) == {"0"}


def test_the_page_on_speed_is_what_the_results_say() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "ci" / "benchmarks" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert SPEED.read_text(encoding="utf-8") == page.from_results()  # else: ci/bench --page
