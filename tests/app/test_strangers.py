"""Columns in which a model knows no category get a word, and others do not."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")

from arraymlp.app.tables.strangers import strangers
from arraymlp.data.encoding.columns import Categories
from arraymlp.data.frames.frame import Frame, Texts


@pytest.mark.parametrize(
    ("learnt", "values", "known"),
    [
        (("False", "True"), np.array([True, False]), True),
        (("False", "True"), np.array([0, 1]), True),  # as these are encoded
        (("0", "1"), np.array([True, False]), True),
        (("2", "3"), np.array([True, False]), False),
        (("False", "True"), Texts(np.array([0, 1], np.int32), ("FALSE", "TRUE")), True),
        (("f", "m"), Texts(np.array([0, 1], np.int32), ("F", "M")), False),
        (("a", "b"), Texts(np.array([0, 1], np.int32), ("a", "z")), True),
        (("a", "b"), Texts(np.array([-1, -1], np.int32), ("z",)), True),
    ],
)
def test_a_column_of_unknown_categories_gets_a_word(
    learnt: tuple[str, ...], values: Any, known: bool
) -> None:
    column = Categories("a", learnt, missing=False, other=True)
    assert bool(strangers([column], Frame(("a",), (values,)))) != known
