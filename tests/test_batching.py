"""Minibatches: every row once, in an order that the seed decides and every backend shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymlp import Backend, resolve
from arraymlp.batching import epoch_order, minibatches, split
from conftest import assert_same

N = 10
X = np.arange(2.0 * N).reshape(N, 2)
LABELS = np.arange(N, dtype=np.int32)
COLUMNS = np.arange(3.0 * N).reshape(N, 3)
ORDER = epoch_order(N, order_seed=0, epoch=0)


class TestOrder:
    @given(n=st.integers(1, 200), seed=st.integers(0, 2**63), epoch=st.integers(0, 1000))
    def test_is_a_permutation(self, n: int, seed: int, epoch: int) -> None:
        order = epoch_order(n, seed, epoch)
        assert order.dtype == np.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(n))

    def test_is_a_function_of_seed_and_epoch(self) -> None:
        np.testing.assert_array_equal(epoch_order(100, 1, 2), epoch_order(100, 1, 2))

    @pytest.mark.parametrize(("seed", "epoch"), [(2, 2), (1, 3), (2, 1)])
    def test_differs_for_another_seed_or_epoch(self, seed: int, epoch: int) -> None:
        assert (epoch_order(100, seed, epoch) != epoch_order(100, 1, 2)).any()


class TestMinibatches:
    @pytest.mark.parametrize("y", [LABELS, COLUMNS], ids=["labels", "columns"])
    @pytest.mark.parametrize("order", [None, ORDER], ids=["in order", "shuffled"])
    @pytest.mark.parametrize(
        ("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])], ids=["ragged", "dropped"]
    )
    def test_are_the_rows_in_order(
        self,
        backend: Backend,
        y: np.ndarray,
        order: np.ndarray | None,
        drop_last: bool,
        sizes: list[int],
    ) -> None:
        x_all = backend.asarray(X, "float32")
        y_dtype = "int32" if y is LABELS else "float32"
        y_all = backend.asarray(y, y_dtype)
        found = list(minibatches(x_all, y_all, 4, order, drop_last, backend))
        rows = np.arange(N) if order is None else order
        start = 0
        for (x_some, y_some), size in zip(found, sizes, strict=True):
            some = rows[start : start + size]
            assert_same(x_some, backend.asarray(X[some], "float32"))
            assert_same(y_some, backend.asarray(y[some], y_dtype))
            start += size

    def test_nothing_is_dropped_where_nothing_is_over(self, numpy_backend: Backend) -> None:
        found = list(minibatches(X, LABELS, 5, None, True, numpy_backend))
        assert [len(y) for _, y in found] == [5, 5]

    @pytest.mark.parametrize("order", [None, ORDER], ids=["in order", "shuffled"])
    @pytest.mark.parametrize("skip", [0, 1, 2, 3])
    def test_skipping_leaves_the_first_ones_out(
        self, numpy_backend: Backend, order: np.ndarray | None, skip: int
    ) -> None:
        every = list(minibatches(X, LABELS, 4, order, False, numpy_backend))
        rest = list(minibatches(X, LABELS, 4, order, False, numpy_backend, skip))
        assert [y.tolist() for _, y in rest] == [y.tolist() for _, y in every[skip:]]
        assert [x.tolist() for x, _ in rest] == [x.tolist() for x, _ in every[skip:]]

    def test_in_file_order_they_are_views(self, numpy_backend: Backend) -> None:
        for x, y in minibatches(X, LABELS, 4, None, False, numpy_backend):
            assert np.shares_memory(x, X)
            assert np.shares_memory(y, LABELS)

    @given(n=st.integers(1, 30), size=st.integers(1, 30), seed=st.integers(0, 100))
    def test_meet_every_row_once(self, n: int, size: int, seed: int) -> None:
        rows = np.arange(n)
        order = epoch_order(n, seed, 0)
        batches = minibatches(rows[:, None], rows, size, order, False, resolve("numpy"))
        met = np.concatenate([y for _, y in batches])
        np.testing.assert_array_equal(met, order)


class TestSplit:
    @given(n=st.integers(2, 200), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 100))
    def test_sends_every_row_to_one_side(self, n: int, fraction: float, seed: int) -> None:
        held_out = round(n * fraction)
        if held_out in (0, n):
            with pytest.raises(ValueError, match="leaves one side"):
                split(n, fraction, seed)
            return
        train_rows, validation_rows = split(n, fraction, seed)
        assert len(validation_rows) == held_out
        np.testing.assert_array_equal(
            np.sort(np.concatenate([train_rows, validation_rows])), np.arange(n)
        )

    def test_sides_are_in_ascending_order(self) -> None:
        for rows in split(100, 0.3, 0):
            assert rows.dtype == np.int32
            assert (np.diff(rows) > 0).all()

    def test_is_a_function_of_the_seed(self) -> None:
        np.testing.assert_array_equal(split(100, 0.3, 5)[1], split(100, 0.3, 5)[1])
        assert (split(100, 0.3, 5)[1] != split(100, 0.3, 6)[1]).any()

    def test_is_drawn_apart_from_the_orders(self) -> None:
        assert set(split(100, 0.3, 0)[1]) != set(epoch_order(100, 0, 0)[:30])

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, float("nan")])
    def test_fraction_must_lie_between_0_and_1(self, fraction: float) -> None:
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            split(100, fraction, 0)

    @pytest.mark.parametrize("fraction", [0.01, 0.99])
    def test_neither_side_may_be_empty(self, fraction: float) -> None:
        with pytest.raises(ValueError, match="leaves one side of 10 rows empty"):
            split(10, fraction, 0)
