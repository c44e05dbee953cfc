"""Storage chunks are read whole, once in a pass, and only where some of their rows are wanted."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraymlp import Backend, resolve
from arraymlp.data.storage_chunks import StorageChunks, storage_chunks
from arraymlp.data.stream import stream
from elsewhere import rows_of
from streams import Sliced

N = 60


class Counted(Sliced):
    """An array in chunks that notes which of them each read touches."""

    def __init__(self, values: np.ndarray, chunks: int | Sequence[int]) -> None:
        size = chunks if isinstance(chunks, int) else tuple(chunks)
        super().__init__(values, (size, 2) if isinstance(size, int) else (size, (2,)))
        lengths = [chunks] * len(values) if isinstance(chunks, int) else chunks
        self.of_row = np.repeat(np.arange(len(lengths)), lengths)[: len(values)]

    def touched(self) -> list[int]:
        """The chunks read, in order, one as often as reads touched it."""
        return [int(c) for a, b in self.reads for c in np.unique(self.of_row[a:b])]


VALUES = np.arange(2.0 * N).reshape(N, 2)
LENGTHS = st.one_of(
    st.integers(2, 70),
    st.lists(st.integers(1, 25), min_size=1).map(
        lambda parts: [*(p := _within(parts)), *([N - sum(p)] if sum(p) < N else [])]
    ),
)


def _within(parts: Sequence[int]) -> list[int]:
    kept: list[int] = []
    for part in parts:
        if sum(kept) + part <= N:
            kept.append(part)
    return kept


@settings(deadline=None, max_examples=200)
@given(
    lengths=LENGTHS,
    rows=st.sets(st.integers(0, N - 1), min_size=1).map(sorted),
    size=st.integers(1, 70),
    first=st.integers(0, 3),
)
def test_each_chunk_with_kept_rows_is_read_once_and_no_other(
    lengths: int | list[int], rows: list[int], size: int, first: int
) -> None:
    array = Counted(VALUES, lengths)
    kept = stream(array, "float64").kept(np.asarray(rows, dtype=np.int32))
    windows = list(kept.windows(resolve("numpy"), size, first))
    wanted = rows[first * size :]
    read = np.concatenate(windows) if windows else np.empty((0, 2))
    np.testing.assert_array_equal(read, VALUES[wanted])
    assert array.touched() == sorted({int(array.of_row[row]) for row in wanted})
    longest = max(np.bincount(array.of_row))
    assert all(b - a <= max(size, longest) for a, b in array.reads)


def test_windows_of_rows_that_are_not_kept_are_not_read(numpy_backend: Backend) -> None:
    array = Counted(VALUES, 10)
    rows = np.r_[3:8, 45:60]
    kept = stream(array, "float64").kept(rows)
    np.testing.assert_array_equal(rows_of(kept, 30), VALUES[rows])
    assert array.reads == [(3, 8), (45, 60)]


def test_neighbouring_chunks_are_read_together_up_to_a_window() -> None:
    array = Counted(VALUES, [5, 5, 20, 1, 1, 28])
    rows_of(stream(array, "float64"), 12)
    assert array.reads == [(0, 10), (10, 30), (30, 32), (32, 60)]


def test_taken_rows_that_are_neighbours_are_one_read(numpy_backend: Backend) -> None:
    array = Counted(VALUES, 4)
    streamed = stream(array, "float64")
    streamed.take(np.arange(30, dtype=np.int32), numpy_backend)
    assert array.reads == [(0, 28), (28, 30)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [(None, None), ((), None), ((1, 5), None), (7, None), ((4, 2), 8), (((3, 4), (2,)), 7)],
)
def test_chunks_are_said_in_two_ways(chunks: object, expected: int | None) -> None:
    class Said:
        pass

    Said.chunks = chunks  # type: ignore[attr-defined]
    found = storage_chunks(Said())
    assert (found and found.end(4)) == expected
    assert storage_chunks(object()) is None
    assert StorageChunks([0, 3, 0, 4]).end(3) == 7
