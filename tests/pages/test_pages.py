"""What goes into a page: weights, examples, columns, and the course of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, MultilayerPerceptron, Run, TableEncoder, load, save, train
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.nn.network import Network
from arraymlp.pages.columns import MISSING, OTHER, columns_of
from arraymlp.pages.course import described_course
from arraymlp.pages.examples import examples_for
from arraymlp.pages.packing import Block
from arraymlp.pages.playground import image_of, playground
from arraymlp.pages.subject import Stack, subject_of
from arraymlp.pages.weights import described_stack
from arraymlp.training.snapshots import Snapshot, snapshot_of
from in_javascript import data_of, weights_in_javascript
from problems import labels

pytestmark = pytest.mark.xdist_group("browser")


def run_of(**given: Any) -> Run:
    X, y = labels()
    settings = {"epochs": 4, "batch_size": 8, "hidden": (6,), "backend": "numpy", **given}
    return train(X, y, validation=(X[:10], y[:10]), **settings)


# Weights


def as_in_the_page(model: Any, snapshots: Any, members: int) -> None:
    """The page has the weights of each snapshot, the last exactly, others rounded."""
    for stop, snapshot in enumerate(snapshots):
        last = stop == len(snapshots) - 1
        decoded = weights_in_javascript(model, stop)
        assert len(decoded) == members
        for i, (weights, bias) in enumerate(snapshot.parameters):
            for k, layers in enumerate(decoded):
                w, b = (a if members == 1 else a[k] for a in (weights, bias))
                np.testing.assert_array_equal(layers[i][1], b.ravel())
                found = layers[i][0].reshape(w.shape)
                if last or not np.isfinite(w).all():
                    np.testing.assert_array_equal(found, w)
                else:  # half of a multiple, of a power of two less than twice what it could be
                    assert (np.abs(found - w) <= np.abs(w).max(axis=0) / 127).all()


@pytest.mark.parametrize("seed", [0, [0, 1]], ids=["one", "two"])
def test_earlier_weights_are_rounded_to_8_bits(seed: Any) -> None:
    run = run_of(snapshots=4, seed=seed, learning_rate=0.003, hidden=(200,))
    assert [s.epoch for s in run.snapshots] == [-1, 1, 3]
    (stack,) = data_of(playground({"": run}))[0]["models"][0]["stacks"]
    assert any(layer["differs"] for snapshot in stack["earlier"] for layer in snapshot)
    as_in_the_page(run, run.snapshots, len(np.ravel(seed)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_any_size_come_back(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    run = run_of(hidden=(5,), dtype=dtype, snapshots=2)
    snapshots = []
    for epoch, factor in enumerate([1, 40, 1e-20, 1e-25, 1e30, 1e-40, np.nan, np.inf, 0, 1, 1]):
        with np.errstate(invalid="ignore"):
            first = (factor * np.sign(rng.normal(size=(4, 5))) * rng.random((4, 5))).astype(dtype)
        first[:, 0] = 0
        parts = (first, rng.normal(size=(1, 5)).astype(dtype)), run.snapshots[0].parameters[1]
        snapshots.append(Snapshot(epoch - 10, epoch, parts))
    run.snapshots = [*snapshots, run.snapshots[-1]]
    as_in_the_page(run, run.snapshots, 1)


def test_weights_that_do_not_change_cost_nothing() -> None:
    network = Network.create((100, 100, 10))
    as_it_is = snapshot_of(network, 0, 0)

    def size(snapshots: tuple[Snapshot, ...]) -> int:
        block = Block()
        described_stack(Stack(network, None, snapshots), block)
        return len(block.text())

    changed = Snapshot(0, 0, tuple((2.7 * w + 0.01, b) for w, b in as_it_is.parameters))
    alone, dead = size((as_it_is,)), size((as_it_is,) * 12)
    assert dead - alone < 0.1 * alone
    assert size((changed, as_it_is)) - alone > 0.1 * alone


# Examples


def table(n: int = 150) -> Frame:
    rng = np.random.default_rng(0)
    number = np.where(rng.random(n) < 0.2, np.nan, np.round(rng.lognormal(size=n), 3))
    texts = Texts(rng.integers(-1, 3, n).astype(np.int32), ("S", "C", "Q"))
    days = np.datetime64("2020-01-01") + rng.integers(0, 900, n)
    return Frame(("number", "text", "day", "y"), (number, texts, days, rng.integers(0, 2, n)))


@pytest.mark.parametrize(
    "numbers", ["mixed", "piecewise", "standardize", "smooth_clip", "quantile"]
)
@pytest.mark.parametrize("how", ["validation", "in turn", "training"])
def test_a_runs_rows_come_back_from_its_features(numbers: Any, how: str) -> None:
    frame = table()
    given: dict[str, Any] = {"validation": {"validation": 0.3, "in turn": "in_turn"}.get(how)}
    if how == "training":
        given["early_stopping"] = False  # which would hold out some
    seed = [0, 1] if how == "in turn" else 0
    encoder = TableEncoder(numbers=numbers, dates=True)
    run = train(frame, "y", encode=encoder, epochs=1, seed=seed, backend="numpy", **given)
    subject = subject_of(run)
    columns = columns_of(subject)
    examples = examples_for(subject, columns)
    assert examples is not None
    said = {"training": "training rows", "in turn": "validation rows of network 1, which"}
    assert examples.what.startswith(said.get(how, "validation rows"))
    assert examples.truth is not None
    original: dict[Any, list[int]] = {}
    for row in range(len(frame)):
        day = frame.column("day")[row].astype(float)
        truth = str(frame.column("y")[row])
        original[day, truth] = [*original.get((day, truth), []), row]
    text, number = frame.column("text"), frame.column("number")
    assert isinstance(text, Texts)
    names = columns[1].values
    found = 0
    for cells, truth in zip(examples.cells, examples.truth, strict=True):
        like = [*original.get((round(cells[2]), truth), ())]
        label = names[int(cells[1])] if cells[1] >= 0 else None
        matches = [
            row
            for row in like
            if (text.values[text.codes[row]] if text.codes[row] >= 0 else None) == label
            and np.allclose(number[row], cells[0], rtol=0.02, atol=2e-3, equal_nan=True)
        ]
        found += bool(matches)
    assert found >= 0.95 * len(examples.cells), "but for numbers beyond the ends of a map"


def test_rows_given_by_the_user() -> None:
    frame = table()
    run = train(frame, "y", encode=TableEncoder(dates=True), epochs=1, backend="numpy")
    subject = subject_of(run)
    columns = columns_of(subject)
    shuffled = frame.select(["text", "day", "number"])
    strange = Frame(shuffled.names, (Texts(frame.column("text").codes, ("S", "odd", "Q")),  # type: ignore[union-attr]
                                     *shuffled.columns[1:]))  # fmt: skip
    examples = examples_for(subject, columns, strange)
    assert examples is not None
    assert examples.truth is None
    codes = frame.column("text").codes  # type: ignore[union-attr]
    names = columns[1].values
    expected = [{-1: MISSING, 1: OTHER}.get(c, names.index("SCQ"[c])) for c in codes]
    np.testing.assert_array_equal(examples.cells[:, 1], expected)
    np.testing.assert_array_equal(examples.cells[:, 0], frame.column("number"))
    with_targets = examples_for(subject, columns, frame)
    assert with_targets is not None
    assert with_targets.truth == tuple(map(str, frame.column("y")))
    with pytest.raises(ValueError, match="lack the columns 'day'"):
        examples_for(subject, columns, frame.select(["number", "text"]))
    with pytest.raises(ValueError, match="150 rows, but y has 2"):
        examples_for(subject, columns, (frame, [0, 1]))


def test_greys_are_bytes_and_standardised_rows_come_back() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (60, 64))
    for X in (levels / 255, levels.astype(float)):
        run = train(X, levels[:, 0] % 2, standardize=True, epochs=1, backend="numpy")
        subject = subject_of(run)
        examples = examples_for(subject, columns_of(subject))
        assert examples is not None
        np.testing.assert_allclose(examples.cells, X, atol=1e-3 * X.max())
        greys = examples.greys()
        assert greys is not None
        np.testing.assert_array_equal(greys[0], levels)
        content, _ = data_of(playground({"run": run}))
        assert content["examples"]["cells"][0] == "uint8"
        assert content["image"] == [8, 8]
    X = rng.normal(size=(30, 64))
    examples = examples_for(subject, columns_of(subject), X)
    assert examples is not None
    assert examples.greys() is None


def test_at_most_so_many_rows_evenly_spread() -> None:
    X = np.arange(5000.0)[:, None] * [1.0, 2.0]
    run = train(X, X[:, 0] > 2500, epochs=1, batch_size=500, backend="numpy")
    subject = subject_of(run)
    for given, n in ((None, 200), (X, 1000)):
        examples = examples_for(subject, columns_of(subject), given)
        assert examples is not None
        assert len(examples.cells) == n
        np.testing.assert_allclose(examples.cells[[0, -1], 0], [0, 4999], atol=1e-2)


def test_there_are_none_of_a_network_alone_a_file_or_a_stream(tmp_path: Path) -> None:
    run = run_of()
    columns = columns_of(subject_of(run))
    assert examples_for(subject_of(run.network), columns) is None
    save(run, tmp_path / "run.safetensors")
    assert examples_for(subject_of(load(tmp_path / "run.safetensors")), columns) is None
    X, y = labels()
    stream = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", X.dtype, X.shape)
    stream[:] = X
    streamed = train(stream, y, epochs=1, batch_size=8, backend="numpy", window=8)
    content, _ = data_of(playground({"": streamed}))
    assert content["examples"] is None or content["examples"]["rows"] == len(X)


def test_a_run_of_any_backend_has_them(backend: Backend) -> None:
    X, y = labels()
    run = train(X, y, validation=(X[:9], y[:9]), epochs=1, batch_size=8, snapshots=2,
                backend=backend, standardize=True)  # fmt: skip
    subject = subject_of(run)
    examples = examples_for(subject, columns_of(subject))
    assert examples is not None
    np.testing.assert_allclose(examples.cells, X[:9], atol=1e-5)
    assert examples.truth == tuple(map(str, y[:9]))
    given = examples_for(subject, columns_of(subject), (run.backend.asarray(X, "float32"), y))
    assert given is not None
    np.testing.assert_allclose(given.cells, X, atol=1e-5)
    playground({"": run})


# Columns and images


def test_what_is_an_image() -> None:
    def subject(n: int, **given: Any) -> Any:
        return subject_of(MultilayerPerceptron.create((n, 2), **given))

    assert image_of(subject(784), "auto") == (28, 28)
    assert image_of(subject(49), "auto") is None
    assert image_of(subject(65), "auto") is None
    assert image_of(subject(64, features=tuple(map(str, range(64)))), "auto") is None
    assert image_of(subject(784), None) is None
    assert image_of(subject(6), (2, 3)) == (2, 3)
    for wrong in ((2, 4), (6,), "automatic"):
        with pytest.raises(ValueError, match="image_shape"):
            image_of(subject(6), wrong)  # type: ignore[arg-type]


def test_ranges_of_sliders() -> None:
    X = np.column_stack([np.arange(40.0), np.linspace(-1, 1, 40), np.full(40, 3.0)])
    run = train(X, X[:, 0], epochs=1, backend="numpy")
    content, _ = data_of(playground({"": run}))
    whole, part, same = content["columns"]
    assert (whole["low"], whole["high"], whole["whole"]) == (0, 39, True)
    assert (part["low"], part["high"], part["whole"]) == (
        pytest.approx(-1),
        pytest.approx(1),
        False,
    )
    assert same["low"] < 3 <= same["high"]
    assert content["models"][0]["outputs"] == ["prediction"]


def test_models_of_a_page_have_the_same_inputs() -> None:
    a, b = (MultilayerPerceptron.create((n, 2)) for n in (3, 4))
    with pytest.raises(ValueError, match="'b' has other inputs"):
        playground({"a": a, "b": b})


def test_texts_of_the_user_cannot_end_an_element() -> None:
    bad = "</script><script>alert(1)</script>"
    network = MultilayerPerceptron.create((1, 2), features=(bad,), classes=np.array(["<b>", bad]))
    html = playground({bad: network})
    assert html.count("<script") == 4
    assert html.count("</script>") == 4
    content, _ = data_of(html)
    assert content["columns"][0]["name"] == bad
    assert content["models"][0]["classes"] == ["<b>", bad]


# The course


@pytest.mark.parametrize(
    ("expected", "given"),
    [("learned", {}), ("dead_units", {"optimizer": "sgd", "learning_rate": 5.0})],
)
def test_figures_are_the_historys_and_the_probes(expected: str, given: dict[str, Any]) -> None:
    run = run_of(snapshots=3, probes=True, training_error=True, epochs=30, hidden=(30,), **given)
    assert expected in {finding.kind for finding in run.findings}
    snapshots = subject_of(run).stacks[0].snapshots
    course = described_course(run, snapshots)
    assert [stop["epoch"] for stop in course["stops"]] == [s.epoch for s in run.snapshots]
    assert {c["label"]: c["values"] for c in course["curves"]} == {
        "validation error": run.history["validation_error"],
        "training error": run.history["training_error"],
    }
    assert course["stops"][0]["live"] is None, "nothing is measured before the first step"
    for stop in course["stops"][1:]:
        (measured,) = [m for m in run.measurements if m.step == stop["step"]]
        assert stop["live"] == measured.active_units
    for i, finding in enumerate(run.findings):
        if finding.kind == "learned":
            assert [i in stop["findings"] for stop in course["stops"]] == [False, False, True]
            continue
        for stop in course["stops"]:
            first, last = finding.from_epoch, finding.to_epoch
            if first is not None and last is not None:
                assert (i in stop["findings"]) == (first <= stop["epoch"] <= last)


def test_weights_that_early_stopping_put_back_are_the_last() -> None:
    run = run_of(snapshots=8, early_stopping=True, epochs=60, learning_rate=0.5)
    best = run.best_epoch
    assert best < run.history[-1]["epoch"], "there are later snapshots"
    subject = subject_of(run)
    epochs = [s.epoch for s in subject.stacks[0].snapshots]
    assert epochs[-1] == best
    assert epochs == sorted(set(epochs))
    course = described_course(run, subject.stacks[0].snapshots)
    assert course["restored"] == f"epoch {best}"
    assert course["stops"][-1]["step"] == run.history["step"][best]


def test_a_population_has_means() -> None:
    run = run_of(snapshots=2, seed=[0, 1, 2])
    course = described_course(run, run.snapshots)
    means = [np.mean(values) for values in run.history["validation_error"]]
    assert course["curves"][0]["values"] == pytest.approx(means)
    json.dumps(course, allow_nan=False)
    assert all(f["sentence"].startswith("network ") for f in course["findings"])


def test_numbers_have_their_loss() -> None:
    X, _ = labels()
    run = train(X, X[:, 0], validation=0.2, epochs=2, backend="numpy")
    course = described_course(run, subject_of(run).stacks[0].snapshots)
    assert not course["percent"]
    assert [curve["label"] for curve in course["curves"]] == ["loss", "validation loss"]
