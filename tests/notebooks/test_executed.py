"""Notebooks, executed: what a cell shows while it trains, what it keeps, and plots once."""

from importlib.util import find_spec

import pytest

from notebook_cells import Cell, executed, words

MISSING = [name for name in ("nbclient", "ipykernel") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.xdist_group("notebooks"),  # the cells are executed once a process
]

CELLS = {
    "begin": """
import os, signal, threading, time
import numpy as np
import arraymlp
from arraymlp.training import live, notebook_output, progress
rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3)).astype("float32")
y = (X[:, 0] > 0).astype(int)
FEW = {"hidden": (4,), "batch_size": 20, "validation": 0.25, "backend": "numpy"}
def slowly(event):
    time.sleep(0.02)
""",
    "train": """
print("before")
run = arraymlp.train(X, y, **FEW, epochs=60, callbacks=slowly, progress=True)
print("after")
""",
    "quiet": "arraymlp.train(X, y, **FEW, epochs=2);",
    "sweep": """
result = arraymlp.sweep(
    X, y, **FEW, epochs=4, seed=range(3), learning_rate=[0.01, 1e30], progress=True
)
""",
    "thread": """
shown = progress.sweep_progress_for(True, 100, ["a plan <1>"], "loss", False, ["one & only"])
def train():
    for i in range(60):
        shown.update([0], [{"loss": 1 / (i + 1)}])
        time.sleep(0.02)
with shown:
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
""",
    "left running": """
shown = progress.sweep_progress_for(True, 100, [], "loss", False)
shown.__enter__()
thread = threading.Thread(target=train)
thread.start()
""",
    "meanwhile": "time.sleep(0.7)",
    "joined": "thread.join()",
    "interrupt": """
def interrupts(event):
    if event.number == 10:
        os.kill(os.getpid(), signal.SIGINT)
run = arraymlp.train(X, y, **FEW, epochs=5000, callbacks=interrupts, progress=True)
print(run.ended, len(run.history))
""",
    "error": """
def fails(event):
    if event.number == 3:
        raise RuntimeError("mine")
arraymlp.train(X, y, **FEW, epochs=5, callbacks=fails, progress=True)
""",
    "broken": """
def broken(self, html, text):
    raise OSError("no display")
kept, notebook_output.JupyterOutput.show = notebook_output.JupyterOutput.show, broken
run = arraymlp.train(X, y, **FEW, epochs=5, progress=True)
notebook_output.JupyterOutput.show = kept
print(len(run.history))
""",
    "run": "run",
    "history": "run.history",
    "findings": "run.findings",
    "network": "run.network",
    "result": "result",
    "rank": "result.rank()",
    "scores": "run.evaluate(X, y)",
}
PLOTS = {
    "plot": "run.history.plot()",
    "assigned": "axes = run.history.plot()",
    "later": "axes;",
    "both": "fig = run.history.plot()\nfig",
    "sweep": "result.plot()",
    "sweep both": "axes = result.plot()\naxes",
}


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    sources = dict(CELLS)
    if find_spec("matplotlib"):
        sources |= {f"plot: {name}": source for name, source in PLOTS.items()}
    return dict(zip(sources, executed(list(sources.values())), strict=True))


def test_a_training_is_one_output_between_those_before_and_after(cells: dict[str, Cell]) -> None:
    cell = cells["train"]
    assert [o["output_type"] for o in cell.outputs] == ["stream", "display_data", "stream"]
    assert [o["text"] for o in cell.outputs[::2]] == ["before\n", "after\n"]
    assert cell.errors == []


def test_what_is_kept_is_the_last_state(cells: dict[str, Cell]) -> None:
    cell = cells["train"]
    text = words(cell.html)
    assert "60 of 60 epochs" in text
    assert cell.html.count("<svg") == 2  # loss, error
    assert 'aria-valuenow="100"' in cell.html
    (plain,) = cell.of_type("text/plain")
    assert plain.startswith("Training: 60 of 60 epochs, ")


@pytest.mark.parametrize("name", ["train", "thread"])
def test_it_is_renewed_at_most_four_times_a_second(cells: dict[str, Cell], name: str) -> None:
    times = cells[name].times("update_display_data")
    seconds = times[-1] - cells[name].times("display_data")[0]
    assert 3 <= len(times) <= 4 * seconds + 1


def test_nothing_is_shown_unasked(cells: dict[str, Cell]) -> None:
    assert cells["quiet"].outputs == []


def test_a_sweep_is_one_output(cells: dict[str, Cell]) -> None:
    cell = cells["sweep"]
    text = words(cell.html)
    assert "24 of 24 epochs" in text
    assert "6 networks in 1 population" in text
    assert "learning_rate 0.01" in text  # of those that lead
    assert [o["output_type"] for o in cell.outputs] == ["display_data"]


def test_threads_write_to_the_cell_that_began(cells: dict[str, Cell]) -> None:
    cell = cells["thread"]
    assert "60 of 100 epochs" in words(cell.html)
    assert "a plan <1>" in words(cell.html)
    assert "0.0167 one & only" in words(cell.html)
    assert cell.errors == []


def test_what_a_thread_shows_later_is_not_of_the_cell_that_runs_then(
    cells: dict[str, Cell],
) -> None:
    assert cells["left running"].count("display_data") == 1
    assert cells["meanwhile"].count("update_display_data") == 0


def test_ctrl_c_leaves_the_last_state(cells: dict[str, Cell]) -> None:
    cell = cells["interrupt"]
    ended, epochs = cell.printed.split()
    assert ended == "interrupted"
    assert f"ended after {epochs} of 5000 epochs" in words(cell.html)
    assert cell.errors == []


def test_an_error_is_named_in_the_last_state(cells: dict[str, Cell]) -> None:
    cell = cells["error"]
    assert [o["ename"] for o in cell.errors] == ["RuntimeError"]
    assert "ended by RuntimeError after 3 of 5 epochs" in words(cell.html)


def test_a_display_that_fails_ends_no_training(cells: dict[str, Cell]) -> None:
    assert cells["broken"].printed == "5\n"
    assert not any("ename" in o for o in cells["broken"].outputs)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run", "Run finished after 5 epochs"),
        ("history", "History of 5 epochs"),
        ("findings", "Findings"),
        ("network", "MultilayerPerceptron"),
        ("result", "SweepResult of 6 networks over seed, learning_rate"),
        ("rank", "Rows 2"),
        ("scores", "ClassScores on 80 rows"),
    ],
)
def test_an_object_is_shown_as_html_and_has_its_text(
    cells: dict[str, Cell], name: str, text: str
) -> None:
    cell = cells[name]
    (output,) = cell.outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert words(cell.html).startswith(text)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_shown_once(cells: dict[str, Cell], name: str) -> None:
    pytest.importorskip("matplotlib")
    cell = cells[f"plot: {name}"]
    assert len(cell.of_type("image/png")) == (name != "later")
    assert cell.errors == []
