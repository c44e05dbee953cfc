"""A history gives back what was recorded: by column, by row, as JSON and as a picture."""

import json
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import History

ONE = [
    {"epoch": 0, "step": 5, "loss": 0.9, "validation_loss": 1.0, "validation_error": 0.5},
    {"epoch": 1, "step": 10, "loss": 0.4, "validation_loss": 0.7, "validation_error": 0.25},
]
# Two members; the errors were asked for from the second epoch on.
POPULATION = [
    {"epoch": 0, "loss": [0.9, 0.8]},
    {"epoch": 1, "loss": [0.4, nan], "training_error": [0.25, 0.75]},
]


@pytest.fixture
def history() -> History:
    return History([dict(record) for record in ONE])


@pytest.fixture
def population() -> History:
    return History([dict(record) for record in POPULATION])


# Rows and columns


def test_a_name_gives_a_column(history: History) -> None:
    assert history["loss"] == [0.9, 0.4]


@pytest.mark.parametrize("index", [0, 1, -1, -2])
def test_a_number_gives_a_record(history: History, index: int) -> None:
    assert history[index] == ONE[index]


def test_its_length_is_the_number_of_epochs(history: History) -> None:
    assert len(history) == 2
    assert len(History()) == 0


def test_it_iterates_over_records(history: History) -> None:
    assert list(history) == ONE


def test_columns_come_in_the_order_of_their_first_appearance() -> None:
    history = History([{"epoch": 0, "loss": 1.0}, {"error": 0.5, "loss": 0.9, "epoch": 1}])
    assert history.columns == ["epoch", "loss", "error"]


def test_to_dict_is_all_columns(history: History) -> None:
    assert history.to_dict() == {name: [r[name] for r in ONE] for name in ONE[0]}


def test_a_figure_that_an_epoch_lacks_is_none(population: History) -> None:
    assert population["training_error"] == [None, [0.25, 0.75]]


def test_an_unknown_column_lists_what_there_is(history: History) -> None:
    with pytest.raises(KeyError, match=r"no 'los'; it has epoch, step, loss"):
        history["los"]


@pytest.mark.parametrize("index", [2, -3])
def test_an_epoch_that_was_not_is_an_index_error(history: History, index: int) -> None:
    with pytest.raises(IndexError):
        history[index]


def test_two_histories_share_no_records() -> None:
    History().records.append({"epoch": 0})
    assert len(History()) == 0


def test_its_repr_has_the_last_figures(history: History, population: History) -> None:
    assert repr(history).startswith("<History of 2 epochs; the last: epoch 1, step 10, loss 0.4,")
    assert repr(population) == (
        "<History of 2 epochs of 2 members; the last, as median (least to greatest): epoch 1, "
        "loss 0.4 (1 of 2 not finite), training_error 0.5 (0.25 to 0.75)>"
    )
    assert repr(History()) == "<History of no epochs>"


# JSON


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_gives_the_columns_back(history: History) -> None:
    assert strictly(history.to_json()) == history.to_dict()


def test_json_of_no_epochs_is_an_empty_object() -> None:
    assert strictly(History().to_json()) == {}


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("put", [lambda v: v, lambda v: [0.5, v], lambda v: [[1.0, v]]])
def test_what_json_cannot_say_is_null(value: float, put: Any) -> None:
    history = History([{"loss": put(value)}])
    assert strictly(history.to_json()) == {"loss": [put(None)]}


def test_json_of_a_population_gives_lists(population: History) -> None:
    assert strictly(population.to_json()) == {
        "epoch": [0, 1],
        "loss": [[0.9, 0.8], [0.4, None]],
        "training_error": [None, [0.25, 0.75]],
    }


@pytest.mark.parametrize("kind", [str, Path])
def test_json_is_also_written_to_a_file(history: History, tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "history.json"
    text = history.to_json(kind(path))
    assert path.read_text(encoding="utf-8") == text


# The picture


@pytest.fixture
def _agg() -> Iterator[None]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def labels(ax: Any) -> list[str]:
    return [line.get_label() for line in ax.lines]


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.usefixtures("_agg")
def test_losses_and_errors_are_drawn_over_the_epochs(history: History) -> None:
    losses, errors = history.plot()
    assert labels(losses) == legend(losses) == ["loss", "validation loss"]
    assert labels(errors) == legend(errors) == ["validation error"]
    assert losses.lines[0].get_xydata().tolist() == [[0, 0.9], [1, 0.4]]
    assert errors.lines[0].get_xydata().tolist() == [[0, 0.5], [1, 0.25]]


@pytest.mark.usefixtures("_agg")
def test_the_axes_say_what_they_show(history: History) -> None:
    axes = history.plot()
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in axes] == [
        ("epoch", "loss"),
        ("epoch", "error"),
    ]


@pytest.mark.usefixtures("_agg")
def test_axes_that_are_given_are_drawn_on(history: History) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots(2, 1)
    assert history.plot(axes) is axes
    assert labels(axes[0]) == ["loss", "validation loss"]


@pytest.mark.usefixtures("_agg")
def test_regression_has_no_error_to_draw() -> None:
    (losses,) = History([{"epoch": 0, "loss": 1.0}]).plot()
    assert labels(losses) == ["loss"]


@pytest.mark.usefixtures("_agg")
def test_each_metric_has_a_panel_of_its_own() -> None:
    figures = {"loss": 1.0, "training_f1": 0.5, "validation_f1": 0.4, "validation_log_loss": 0.9}
    history = History([{"epoch": 0, "seconds": 1.0, **figures, "predicted": [1, 2]}])
    assert history.panels == {
        "loss": ["loss"],
        "f1": ["training_f1", "validation_f1"],
        "log_loss": ["validation_log_loss"],
    }
    assert [ax.get_ylabel() for ax in history.plot()] == ["loss", "f1", "log loss"]


@pytest.mark.usefixtures("_agg")
def test_epochs_without_a_figure_are_left_out_of_its_line() -> None:
    history = History([{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5, "test_loss": 0.7}])
    _, second = history.plot()[0].lines
    assert [y for _, y in second.get_xydata().tolist() if y == y] == [0.7]


@pytest.mark.usefixtures("_agg")
def test_each_member_has_a_line_and_the_legend_one_entry() -> None:
    history = History([{"epoch": 0, "loss": [0.9, 0.8]}, {"epoch": 1, "loss": [0.4, nan]}])
    (losses,) = history.plot()
    assert [line.get_ydata().tolist()[0] for line in losses.lines] == [0.9, 0.8]
    assert legend(losses) == ["loss"]


@pytest.mark.usefixtures("_agg")
def test_a_population_may_lack_a_figure_in_some_epochs(population: History) -> None:
    _, errors = population.plot()
    assert [line.get_ydata().tolist()[-1] for line in errors.lines] == [0.25, 0.75]


def test_there_is_no_picture_of_no_epochs() -> None:
    with pytest.raises(ValueError, match="no epochs to plot"):
        History().plot()


def test_numpys_numbers_in_a_record_become_json() -> None:
    record = {
        "epoch": 0,
        "mine": np.float32(0.5),
        "n": np.int64(3),
        "all": np.arange(2),
        "bad": np.float64("nan"),
    }
    columns = json.loads(History([record]).to_json())
    assert columns == {"epoch": [0], "mine": [0.5], "n": [3], "all": [[0, 1]], "bad": [None]}
