"""Labels that are texts, of whatever holds them: none is made up, lost or merged."""

from typing import Any

import numpy as np
import pytest

from arraymlp.data.frames.frame import Frame
from arraymlp.data.labels import text_labels
from arraymlp.data.table_input import TableInput, take_table

STRINGS = np.dtypes.StringDType


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", float("nan")], "row 1 has none"),
        (["a", None], "row 1 has none"),
        (("a", 1), "row 1 has 1"),
        (["a", True], "row 1 has True"),
        ([["a"], [2.5]], r"row 1 has 2\.5"),
        (["a", "a\0"], "row 1 of y has a label that ends in a null character"),
        (np.array(["a", "a\0"], STRINGS()), "ends in a null character"),
        (np.array(["a", np.nan], STRINGS(na_object=np.nan)), "row 1 has none"),
        (np.array(["a", None], STRINGS(na_object=None)), "row 1 has none"),
    ],
)
def test_among_texts_nothing_else_is_a_label(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_labels(y, "y")


def test_missing_values_of_pandas_are_none() -> None:
    pandas = pytest.importorskip("pandas")
    for dtype in ("string", "category", object):
        with pytest.raises(ValueError, match="row 1 has none"):
            text_labels(pandas.Series(["a", pandas.NA], dtype=dtype), "y")


@pytest.mark.parametrize(
    "y",
    [
        ["a", ""],
        ("a", ""),
        np.array(["a", ""]),
        np.array(["a", ""], object),
        np.array(["a", ""], STRINGS()),
    ],
)
def test_texts_are_labels_whatever_holds_them(y: Any) -> None:
    labels = text_labels(y, "y")
    assert labels is not None
    assert labels.dtype.kind == "U"
    assert labels.tolist() == ["a", ""]


@pytest.mark.parametrize("y", [[1, 2], [1.0, float("nan")], [True, None], [[1, 2], [3]]])
def test_others_are_none(y: Any) -> None:
    assert text_labels(y, "y") is None


def test_a_list_of_labels_that_are_also_names_of_columns_is_of_labels() -> None:
    table = Frame(("a", "b", "c"), (np.arange(4.0), np.ones(4), np.zeros(4)))
    taken, y = take_table(table, ["a", "b", "a", "b"], encode=True)
    assert isinstance(taken, TableInput)
    assert taken.table.names == ("a", "b", "c")
    assert list(y) == ["a", "b", "a", "b"]
    _, y = take_table(table, ["a", "b"], encode=True)
    assert y.shape == (4, 2)
