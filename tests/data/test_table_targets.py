"""Columns of a table as targets: what they mean, and what none is."""

import numpy as np
import pytest

from arraymlp.data.files.table_targets import require_learnable, target_of
from arraymlp.data.frames.frame import Frame, Texts


def texts(*values: str | None) -> Texts:
    known = sorted({value for value in values if value is not None})
    codes = [-1 if value is None else known.index(value) for value in values]
    return Texts(np.array(codes, np.int32), tuple(known))


def table(**columns: object) -> Frame:
    made = [c if isinstance(c, Texts) else np.array(c) for c in columns.values()]
    return Frame(tuple(columns), tuple(made))


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        ([3, -1, 3], np.int64, [3, -1, 3]),
        (np.array([1, 2, 3], np.uint8), np.int64, [1, 2, 3]),
        ([0.5, 1, 2], np.float64, [0.5, 1, 2]),
        (np.array([0.5, 1, 2], np.float32), np.float32, [0.5, 1, 2]),
        (texts("dog", "cat", "dog"), "<U3", ["dog", "cat", "dog"]),
        (texts("007", "7", "7"), "<U3", ["007", "7", "7"]),
        ([True, False, True], "<U5", ["True", "False", "True"]),
    ],
)
def test_what_a_target_means(column, dtype, values) -> None:
    frame = table(a=[1, 2, 3], y=column, b=[4, 5, 6])
    features, y = target_of(frame, ("y",))
    assert features.names == ("a", "b")
    assert (y.dtype, y.tolist()) == (np.dtype(dtype), values)


def test_several_targets_are_columns(tmp_path) -> None:
    frame = table(a=[1, 2], y=[3, 4], flag=[True, False], z=[0.5, 1.5])
    features, y = target_of(frame, ("z", "y"))
    assert (features.names, y.dtype, y.tolist()) == (("a", "flag"), float, [[0.5, 3], [1.5, 4]])
    _, y = target_of(frame, ("y", "flag"))
    assert (y.dtype, y.tolist()) == (np.int64, [[3, 1], [4, 0]])


@pytest.mark.parametrize(
    ("column", "names", "message"),
    [
        ([1, np.nan], "y", "the target 'y' has no value in row 1"),
        (texts(None, "a"), "y", "the target 'y' has no value in row 0: leave such rows out"),
        (texts(None, None), "y", "the target 'y' has no value in row 0, nor in 1 others"),
        (texts("a\0", "a"), "y", "row 0 has a null character in its target"),
        (texts(str(2**63), "1"), "y", "the target 'y' has an integer beyond int64, 9223"),
        (np.array([2**63, 1], np.uint64), "y", "the target 'y' has an integer beyond int64, 9223"),
        (np.array(["2020", "2021"], "M8[D]"), "y", "the target 'y' is dates"),
        ([1, 2], "z", "there is no column 'z'. There is a, t, y"),
        ([1, 2], "a,y,a", "a target is named twice: a, y, a"),
        ([1, 2], "a,t,y", "needs columns: features, and a target"),
        ([1, 2], "y,t", "each must be numbers, but 't' is texts"),
        ([1, np.nan], "y,a", "the target 'y' has no value in row 1"),
    ],
)
def test_what_is_no_target(column, names, message) -> None:
    frame = table(a=[1, 2], t=texts("u", "v"), y=column)
    with pytest.raises(ValueError, match=message):
        target_of(frame, names.split(","))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 3, "the target 'y' is 'a' in every row"),
        ([1.5] * 3, "the target 'y' is 1.5 in every row"),
        ([f"row {i}" for i in range(11)], "a different text in every row, as 'row 0' and 'row 1'"),
    ],
)
def test_what_cannot_be_learnt(y, message) -> None:
    with pytest.raises(ValueError, match=message):
        require_learnable(np.array(y), "y")


@pytest.mark.parametrize(
    "y", [["a"], ["a", "b", "c"], list(range(20)), ["a", "b"] * 10, [[1], [1]]]
)
def test_what_can_be_learnt(y) -> None:
    require_learnable(np.array(y), "y")
