"""Minibatches: every row once, in an order that the seed decides and every backend shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymlp import Backend, resolve
from arraymlp.data.minibatches import epoch_order, minibatches
from arraymlp.data.splits import split
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

    @given(
        n=st.integers(1, 200),
        window=st.integers(1, 250),
        seed=st.integers(0, 100),
        epoch=st.integers(0, 9),
    )
    def test_of_windows_is_a_permutation_of_each(
        self, n: int, window: int, seed: int, epoch: int
    ) -> None:
        order = epoch_order(n, seed, epoch, window)
        assert order.dtype == np.int32
        for start in range(0, n, window):
            rows = np.arange(start, min(start + window, n))
            np.testing.assert_array_equal(np.sort(order[rows]), rows)
        if window >= n:
            np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))

    def test_of_windows_differs_from_one_to_the_next(self) -> None:
        order = epoch_order(300, 0, 0, 100).reshape(3, 100) - [[0], [100], [200]]
        for a, b in ((0, 1), (1, 2), (0, 2)):
            assert (order[a] != order[b]).any()
        assert (order != np.arange(100)).any(axis=1).all()


class TestMinibatches:
    @pytest.mark.parametrize("y", [LABELS, COLUMNS], ids=["labels", "columns"])
    @pytest.mark.parametrize("order", [None, ORDER], ids=["in order", "shuffled"])
    @pytest.mark.parametrize(
        ("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])], ids=["ragged", "dropped"]
    )
    def test_are_the_rows_in_order(
        self,
        quick_backend: Backend,
        y: np.ndarray,
        order: np.ndarray | None,
        drop_last: bool,
        sizes: list[int],
    ) -> None:
        x_all = quick_backend.asarray(X, "float32")
        y_dtype = "int32" if y is LABELS else "float32"
        y_all = quick_backend.asarray(y, y_dtype)
        there = None if order is None else quick_backend.asarray(order)
        batches = list(
            minibatches(x_all, y_all, 4, backend=quick_backend, order=there, drop_last=drop_last)
        )
        rows = np.arange(N) if order is None else order
        start = 0
        for (x_some, y_some, _), size in zip(batches, sizes, strict=True):
            expected = rows[start : start + size]
            assert_same(x_some, quick_backend.asarray(X[expected], "float32"))
            assert_same(y_some, quick_backend.asarray(y[expected], y_dtype))
            start += size

    @pytest.mark.parametrize("order", [None, ORDER], ids=["in order", "shuffled"])
    @pytest.mark.parametrize("members", [None, 3])
    def test_weights_come_with_their_rows(
        self, backend: Backend, order: np.ndarray | None, members: int | None
    ) -> None:
        weight = np.random.default_rng(1).random((N,) if members is None else (N, members))
        x_all, y_all = backend.asarray(X, "float32"), backend.asarray(LABELS)
        w_all = backend.asarray(weight, "float32")
        rows = np.arange(N) if order is None else order
        there = None if order is None else backend.asarray(order)
        batches = list(
            minibatches(x_all, y_all, 4, backend=backend, weight=w_all, order=there, skip=1)
        )
        for start, batch in zip((4, 8), batches, strict=True):
            expected = rows[start : start + 4]
            assert_same(batch.weight, backend.asarray(weight[expected].T, "float32"))
            assert_same(batch.y, backend.asarray(LABELS[expected]))

    def test_nothing_is_dropped_where_nothing_is_over(self, numpy_backend: Backend) -> None:
        batches = list(minibatches(X, LABELS, 5, backend=numpy_backend, drop_last=True))
        assert [len(batch.y) for batch in batches] == [5, 5]

    @pytest.mark.parametrize("order", [None, ORDER], ids=["in order", "shuffled"])
    @pytest.mark.parametrize("skip", [0, 1, 2, 3])
    def test_skipping_leaves_the_first_ones_out(
        self, numpy_backend: Backend, order: np.ndarray | None, skip: int
    ) -> None:
        every = list(minibatches(X, LABELS, 4, backend=numpy_backend, order=order))
        rest = list(minibatches(X, LABELS, 4, backend=numpy_backend, order=order, skip=skip))
        assert [b.y.tolist() for b in rest] == [b.y.tolist() for b in every[skip:]]
        assert [b.x.tolist() for b in rest] == [b.x.tolist() for b in every[skip:]]

    def test_in_file_order_they_are_views(self, numpy_backend: Backend) -> None:
        for x, y, _ in minibatches(X, LABELS, 4, backend=numpy_backend):
            assert np.shares_memory(x, X)
            assert np.shares_memory(y, LABELS)

    @given(n=st.integers(1, 30), size=st.integers(1, 30), seed=st.integers(0, 100))
    def test_meet_every_row_once(self, n: int, size: int, seed: int) -> None:
        rows = np.arange(n)
        order = epoch_order(n, seed, 0)
        batches = minibatches(rows[:, None], rows, size, backend=resolve("numpy"), order=order)
        met = np.concatenate([batch.y for batch in batches])
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


class TestStratifiedSplit:
    @given(
        counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
        fraction=st.floats(0.02, 0.95),
        seed=st.integers(0, 100),
    )
    def test_takes_the_same_fraction_of_each_class(
        self, counts: list[int], fraction: float, seed: int
    ) -> None:
        classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
        n = len(classes)
        held_out = round(n * fraction)
        if held_out in (0, n) or held_out > n - len(counts):
            with pytest.raises(ValueError, match=r"leaves (one side|some of the \d+ classes)"):
                split(n, fraction, seed, classes)
            return
        rows, out = split(n, fraction, seed, classes)
        np.testing.assert_array_equal(np.sort(np.concatenate([rows, out])), np.arange(n))
        assert len(out) == held_out
        for part in (rows, out):
            assert part.dtype == np.int32
            assert (np.diff(part) > 0).all()
        counts_out = np.bincount(classes[out], minlength=len(counts))
        shares = np.asarray(counts) * held_out / n
        assert (counts_out < counts).all()  # each class keeps a row to train on
        if (np.ceil(shares) < counts).all():  # else others give more, so that it can
            assert (np.abs(counts_out - shares) <= 1).all()

    def test_of_few_classes_of_very_different_size(self) -> None:
        counts = [910, *[10] * 9]
        _, out = split(1000, 0.5, 0, np.repeat(np.arange(10), counts))
        np.testing.assert_allclose(
            np.bincount(np.repeat(np.arange(10), counts)[out]), np.asarray(counts) / 2, atol=1
        )

    def test_is_a_function_of_the_seed(self) -> None:
        classes = np.arange(100) % 3
        np.testing.assert_array_equal(
            split(100, 0.3, 5, classes)[1], split(100, 0.3, 5, classes)[1]
        )
        assert (split(100, 0.3, 5, classes)[1] != split(100, 0.3, 6, classes)[1]).any()

    def test_which_rows_of_a_class_is_left_to_chance(self) -> None:
        classes = np.arange(40) % 2
        met = {int(row) for seed in range(60) for row in split(40, 0.25, seed, classes)[1]}
        assert met == set(range(40))
