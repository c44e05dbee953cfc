"""Data frames of dask are trained on partition by partition, to the bits of the same in pandas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp.data.elsewhere.given import opened
from elsewhere import rows_elsewhere, rows_of, same_training
from engines_required import require_engine
from tables_elsewhere import BOTH, N, quiet, table

require_engine("dask frames")
import dask  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import pandas as pd  # noqa: E402

DF = table()
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 20, "window": 100, "backend": "numpy"}


def lazy(df: Any = DF, parts: int = 7) -> Any:
    return dd.from_pandas(df, npartitions=parts, sort=False)


def parted(*parts: Any) -> Any:
    """A data frame of these partitions, whatever is in them."""
    made = [dask.delayed(lambda part: part, pure=False)(part) for part in parts]
    return dd.from_delayed(made, meta=parts[0].iloc[:0], verify_meta=False)


@pytest.mark.parametrize("parts", [1, 7, 15])
def test_training_has_the_bits_of_the_frame_in_memory(parts: int) -> None:
    with quiet():
        how = {**HOW, **BOTH}
        expected = arraymlp.train(DF, "label", **how)
        run = arraymlp.train(lazy(parts=parts), "label", **how)
    same_training(run, expected)
    assert run.network.encoding == expected.network.encoding
    assert run.network.targets == ("label",)
    assert (run.predict(lazy(parts=parts)) == expected.predict(DF)).all()
    assert str(run.evaluate(lazy(parts=parts))) == str(expected.evaluate(DF))
    assert str(run.evaluate(lazy(), lazy()["label"])) == str(expected.evaluate(DF))


def test_validation_rows_and_targets_may_be_of_dask_too() -> None:
    with quiet():
        X, y = DF.drop(columns="label"), DF["label"]
        expected = arraymlp.train(X, y, validation=(DF[:200], "label"), **HOW)
        run = arraymlp.train(lazy(X), lazy()["label"], validation=(lazy(DF[:200]), "label"), **HOW)
    same_training(run, expected)
    assert run.network.targets == expected.network.targets


def test_numbers_alone_are_trained_on_as_they_are() -> None:
    X, y = DF[["number", "whole", "flag"]], DF["gaps"].fillna(0.0)
    expected = arraymlp.train(X, y, standardize=True, **HOW)
    run = arraymlp.train(lazy(X), lazy(y.to_frame())["gaps"], standardize=True, **HOW)
    same_training(run, expected)
    assert run.network.features == expected.network.features == ("number", "whole", "flag")
    np.testing.assert_array_equal(run.predict(lazy(X)), expected.predict(X))
    with pytest.raises(ValueError, match=r"the columns of X are not those trained on"):
        run.predict(lazy(X[["number", "whole"]]))
    with pytest.raises(ValueError, match=r"X must be numeric, but column 'text' is text: encode"):
        arraymlp.train(lazy(DF[["number", "text"]]), y, encode=False, **HOW)


def test_a_sweep_takes_it() -> None:
    with quiet():
        how = {"learning_rate": [0.001, 0.01], **HOW, "validation": 0.25, "preset": "default"}
        expected = arraymlp.sweep(DF, "label", **how)
        result = arraymlp.sweep(lazy(), "label", **how)
    assert [m.score for m in result] == [m.score for m in expected]


def counted(calls: list[int], fails: int = -1) -> Any:
    def part(df: Any, partition_info: Any = None) -> Any:
        if partition_info is not None:
            calls.append(partition_info["number"])
            if partition_info["number"] == fails and calls.count(fails) > 1:
                raise ConnectionError("the worker is gone")
        return df

    return lazy().map_partitions(part, meta=DF.iloc[:0])


def test_each_partition_is_computed_once_in_a_pass() -> None:
    calls: list[int] = []
    with quiet():
        run = arraymlp.train(counted(calls), "label", preset="default", **HOW)
    for size in (20, 100, 1000):
        calls.clear()
        assert len(rows_of(run.data.X, size)) == N
        assert sorted(calls) == list(range(7))
    calls.clear()
    kept = run.data.X.kept(np.r_[10:20, 595:600])
    assert len(rows_of(kept, 300)) == 15
    assert calls == [0, 6]


def test_a_partition_that_fails_is_named() -> None:
    table = opened(counted([], fails=4))
    assert len(table) == N
    with pytest.raises(OSError, match=r"^partitions 4 to 6 of X could not be read: ConnectionErr"):
        table.take(np.arange(N)[350:])


def test_kinds_are_those_of_all_partitions_together() -> None:
    parts = [
        pd.DataFrame({"a": [1, 2], "b": [True, False], "c": [None, None], "d": [None, 1]}),
        pd.DataFrame({"a": [0.5, 1], "b": [True, None], "c": ["x", None], "d": [2, 3]}),
        pd.DataFrame({"a": [], "b": [], "c": [], "d": []}, dtype=object),
        pd.DataFrame({"a": [3, 4], "b": [None, None], "c": [None, "y"], "d": [None, None]}),
    ]
    with dask.config.set({"dataframe.convert-string": False}):  # else all objects become texts
        found = opened(parted(*(part.astype(object) for part in parts)))
    assert found.kinds == {"a": "number", "b": "text", "c": "text", "d": "number"}
    whole = found[:]
    assert whole.column("a").tolist() == [1, 2, 0.5, 1, 3, 4]
    assert whole.column("b").to_numpy().tolist() == ["True", "False", "True", None, None, None]
    assert whole.column("c").to_numpy().tolist() == [None, None, "x", None, None, "y"]
    assert found[3:5].column("d").tolist()[0] == 3
    assert found.chunks == ((2, 2, 2),)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "kinds": (
        lambda: parted(pd.DataFrame({"a": [1.0], "y": [1]}), pd.DataFrame({"a": ["x"], "y": [2]})),
        "partition 1 of X: column 'a' has texts, but the rows before have numbers",
    ),
    "names": (
        lambda: lazy(pd.DataFrame({0: [1.0], "y": [1]}), 1),
        "the names of the columns of X must be texts, not 0",
    ),
    "no rows": (lambda: lazy(DF[["gaps"]][:0].assign(y=1), 1), "X: it has no rows"),
    "no target": (lambda: lazy(DF[["text"]]), "y is 'y', but X has no such column: it has 'text'"),
    "no y": (lambda: lazy(DF), "y is 'y', but X has no such column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        arraymlp.train(make(), "y", **HOW)


def test_partitions_that_change_are_refused() -> None:
    sizes = iter([2, 2])
    changing = dd.from_delayed(
        [dask.delayed(lambda: pd.DataFrame({"a": [1.0] * next(sizes)}), pure=False)()],
        meta=pd.DataFrame({"a": [1.0]}),
        verify_meta=False,
    )
    found = opened(changing)
    assert len(found) == 2
    assert len(found[:]) == 2
    sizes = iter([1])
    with pytest.raises(ValueError, match=r"partition 0 of X has 1 rows, but had 2 at first"):
        found[:]


def test_another_process_computes_it_again() -> None:
    with quiet():
        run = arraymlp.train(lazy(), "label", validation=0.2, **HOW)
    np.testing.assert_array_equal(rows_elsewhere(run.data.X), rows_of(run.data.X))
