"""Windows of streamed rows equal the same rows in memory, in bounded memory, and end cleanly."""

import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.data.chunks import stream_chunks
from arraymlp.data.stream import Streamed, stream
from conftest import assert_same
from streams import (
    ARRAYS,
    ROWS,
    SPARSE,
    STREAMS,
    WIDTH,
    Chunks,
    N,
    Sliced,
    X,
    Y,
    assert_windows,
    hdf5,
    readers,
)


@pytest.fixture(params=STREAMS)
def streamed(request: pytest.FixtureRequest) -> Streamed:
    return STREAMS[request.param]()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert not readers()


# Equal to data in memory


DTYPES = pytest.mark.parametrize("source", ["float32", "float64", "uint8", ">f4", "bool"])


@DTYPES
@pytest.mark.parametrize("kind", ARRAYS)
def test_windows_hold_what_the_array_holds(
    kind: str, source: str, backend: Backend, tmp_path: Path
) -> None:
    values = X.astype(source)
    streamed = stream(ARRAYS[kind](tmp_path, values), "float32")
    assert (streamed.shape, streamed.ndim) == ((N, WIDTH), 2)
    assert_windows(streamed.windows(backend, ROWS), values.astype("float32"), backend)


@DTYPES
def test_windows_hold_what_an_hdf5_array_holds(
    source: str, numpy_backend: Backend, tmp_path: Path
) -> None:
    values = X.astype(source)
    windows = stream(hdf5(tmp_path, values), "float32").windows(numpy_backend, ROWS)
    assert_windows(windows, values.astype("float32"), numpy_backend)


@pytest.mark.parametrize("sizes", [(23,), (5, 5, 5, 5, 3), (1,) * 23, (7, 1, 1, 14), (4, 12, 7)])
def test_chunks_of_any_size_are_cut_into_windows(sizes: tuple[int, ...], backend: Backend) -> None:
    streamed, y = stream_chunks(Chunks(sizes), "float32")
    assert_windows(streamed.windows(backend, ROWS), X.astype("float32"), backend)
    assert y.dtype == Y.dtype
    assert (y == Y).all()


def test_windows_are_of_the_dtype_asked_for(backend: Backend, dtype: str) -> None:
    values = X / 7
    for streamed in (
        stream(Sliced(values), dtype),
        stream_chunks(Chunks((9, 14), (values, Y)), dtype)[0],
    ):
        assert_windows(streamed.windows(backend, ROWS), values.astype(dtype), backend)
        assert_same(streamed.take(SPARSE, backend), backend.asarray(values[SPARSE], dtype))


@pytest.mark.parametrize("first", range(7))
def test_windows_begin_where_asked(streamed: Streamed, first: int, numpy_backend: Backend) -> None:
    expected = X[first * ROWS :].astype("float32")
    assert_windows(streamed.windows(numpy_backend, ROWS, first), expected, numpy_backend)


def test_every_pass_gives_the_same(streamed: Streamed, numpy_backend: Backend) -> None:
    for _ in range(3):
        assert_windows(streamed.windows(numpy_backend, ROWS), X.astype("float32"), numpy_backend)


@pytest.mark.parametrize("rows", [SPARSE, np.delete(np.arange(N), SPARSE), np.arange(N)], ids=len)
def test_kept_rows_come_alone_and_in_order(
    streamed: Streamed, rows: np.ndarray, backend: Backend
) -> None:
    kept = streamed.kept(rows)
    assert kept.shape == (len(rows), WIDTH)
    expected = X[rows].astype("float32")
    assert_windows(kept.windows(backend, ROWS), expected, backend)
    assert_windows(kept.windows(backend, ROWS, 1), expected[ROWS:], backend)
    some = np.array([1, 3, 4])
    assert_windows(kept.kept(some).windows(backend, ROWS), expected[some], backend)
    assert_same(kept.take(some, backend), backend.asarray(expected[some]))


def test_both_sides_of_a_split_are_read_side_by_side(
    streamed: Streamed, numpy_backend: Backend
) -> None:
    rest = np.delete(np.arange(N), SPARSE)
    a = streamed.kept(rest).windows(numpy_backend, ROWS)
    b = streamed.kept(SPARSE).windows(numpy_backend, ROWS)
    assert (next(a) == X[rest[:ROWS]]).all()
    assert (next(b) == X[SPARSE[:ROWS]]).all()
    assert (next(a) == X[rest[ROWS : 2 * ROWS]]).all()
    a.close()
    b.close()


def test_taken_rows_come_together(streamed: Streamed, backend: Backend) -> None:
    expected = backend.asarray(X[SPARSE].astype("float32"))
    assert_same(streamed.take(SPARSE, backend), expected)


def test_the_callers_data_is_not_shared(tmp_path: Path, numpy_backend: Backend) -> None:
    np.save(tmp_path / "values.npy", X)
    writable = np.load(tmp_path / "values.npy", mmap_mode="r+")
    chunks = [(X.copy(), Y)]
    for streamed in (stream(writable, "float64"), stream_chunks(chunks, "float64")[0]):
        for window in streamed.windows(numpy_backend, ROWS):
            window += 1
    assert (writable == X).all()
    assert (chunks[0][0] == X).all()


@pytest.mark.parametrize("pair", [tuple, list])
def test_chunks_may_be_arrays_of_another_library(pair: Callable, quick_backend: Backend) -> None:
    chunks = [
        pair([quick_backend.asarray(X[rows], "float32"), quick_backend.asarray(Y[rows], "int32")])
        for rows in (slice(0, 9), slice(9, N))
    ]
    streamed, y = stream_chunks(chunks, "float32")
    assert_windows(streamed.windows(quick_backend, ROWS), X.astype("float32"), quick_backend)
    assert type(y) is np.ndarray
    assert (y == Y).all()


# What is read


def test_windows_are_read_once_each(numpy_backend: Backend) -> None:
    source = Sliced(X)
    list(stream(source, "float32").windows(numpy_backend, ROWS, 1))
    assert source.reads == [(5, 10), (10, 15), (15, 20), (20, 23)]


def test_kept_rows_are_read_in_ranges_of_a_window(numpy_backend: Backend) -> None:
    rows = np.sort(np.random.default_rng(1).permutation(10_000)[:1000])
    source = Sliced(np.arange(20_000.0).reshape(10_000, 2))
    windows = list(stream(source, "float32").kept(rows).windows(numpy_backend, 100))
    assert (np.concatenate(windows)[:, 0] == 2 * rows).all()
    assert len(source.reads) <= 101
    assert max(b - a for a, b in source.reads) <= 100
    assert all(b <= c for (_, b), (c, _) in zip(source.reads, source.reads[1:], strict=False))


def test_taken_rows_are_read_alone(numpy_backend: Backend) -> None:
    source = Sliced(X)
    stream(source, "float32").take(SPARSE, numpy_backend)
    assert source.reads == [(i, i + 1) for i in SPARSE]


def test_storage_chunks_are_read_together(numpy_backend: Backend) -> None:
    source = Sliced(X, (10, 3))
    streamed = stream(source, "float32")
    streamed.take(SPARSE, numpy_backend)
    assert source.reads == [(0, 10), (17, 18), (22, 23)]
    source.reads.clear()
    assert_windows(streamed.windows(numpy_backend, ROWS), X.astype("float32"), numpy_backend)
    assert source.reads == [(0, 10), (10, 20), (20, 23)]


def test_the_next_window_is_read_meanwhile_and_no_further(numpy_backend: Backend) -> None:
    second = threading.Event()

    class Watched(Sliced):
        def __getitem__(self, rows: slice) -> np.ndarray:
            values = super().__getitem__(rows)
            if rows.start == ROWS:
                second.set()
            return values

    source = Watched(X)
    windows = stream(source, "float32").windows(numpy_backend, ROWS)
    next(windows)
    assert second.wait(10)
    (reader,) = readers()
    assert source.reads == [(0, 5), (5, 10)]
    assert source.threads == {reader}
    windows.close()
    assert source.reads == [(0, 5), (5, 10)]


# Memory


def peak(run: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def total(windows: Iterable[Any]) -> float:
    return sum(float(w[0, 0]) for w in windows)


BIG, BIG_WIDTH, BIG_WINDOW = 64_000, 256, 2048
WINDOW = BIG_WINDOW * BIG_WIDTH * 4  # 2 MiB of 64 MB
SLACK = 2**20  # of the check for finite values, and Python's own


@pytest.mark.parametrize("kept", [None, slice(None, None, 10), slice(1, None, 2)])
def test_a_memmap_takes_three_windows_of_memory(
    kept: slice | None, tmp_path: Path, numpy_backend: Backend
) -> None:
    big = np.memmap(tmp_path / "big", "float32", "w+", shape=(BIG, BIG_WIDTH))  # a file of holes
    streamed = stream(big, "float32")
    if kept is not None:
        streamed = streamed.kept(np.arange(BIG, dtype=np.int32)[kept])
    used = peak(lambda: total(streamed.windows(numpy_backend, BIG_WINDOW)))
    assert 2 * WINDOW < used < 3 * WINDOW + 2 * SLACK


def test_a_sliced_array_takes_a_window_of_its_own_dtype_besides(numpy_backend: Backend) -> None:
    class Watched(Sliced):
        given: weakref.ref[np.ndarray] | None = None

        def __getitem__(self, rows: slice) -> np.ndarray:
            assert self.given is None or self.given() is None, "what was read before is still held"
            values = super().__getitem__(rows)
            self.given = weakref.ref(values)
            return values

    streamed = stream(Watched(np.zeros((BIG // 4, BIG_WIDTH))), "float32")
    used = peak(lambda: total(streamed.windows(numpy_backend, BIG_WINDOW)))
    assert used < 3 * WINDOW + 2 * WINDOW + SLACK


def test_an_iterable_takes_two_of_its_chunks_besides(numpy_backend: Backend) -> None:
    class Made:
        def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for _ in range(20):
                both = np.zeros((3000, BIG_WIDTH + 1), np.float32)
                yield both[:, 1:], both[:, 0]

    chunk = 3000 * (BIG_WIDTH + 1) * 4
    made: list[Streamed] = []
    assert peak(lambda: made.append(stream_chunks(Made(), "float32")[0])) < 2 * chunk + 3 * SLACK
    used = peak(lambda: total(made[0].windows(numpy_backend, BIG_WINDOW)))
    assert used < 3 * WINDOW + 2 * chunk + SLACK


# The thread


def test_no_thread_is_left_where_the_loop_is_left(
    streamed: Streamed, numpy_backend: Backend
) -> None:
    for _ in streamed.windows(numpy_backend, ROWS):
        assert len(readers()) == 1
        break
    assert not readers()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_no_thread_is_left_by_an_exception(
    error: type[BaseException], streamed: Streamed, numpy_backend: Backend
) -> None:
    def fail() -> None:
        for _ in streamed.windows(numpy_backend, ROWS):
            raise error

    with pytest.raises(error):
        fail()
    assert not readers()


def test_an_iterables_own_error_reaches_the_caller(numpy_backend: Backend) -> None:
    class Breaking(Chunks):
        broken = False

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            for i, chunk in enumerate(super().__iter__()):
                if self.broken and i == 2:
                    raise OSError("the disk is gone")
                yield chunk

    chunks = Breaking((6, 6, 6, 5))
    streamed, _ = stream_chunks(chunks, "float32")
    chunks.broken = True
    windows = streamed.windows(numpy_backend, ROWS)
    assert (next(windows) == X[:5]).all()
    assert (next(windows) == X[5:10]).all()
    with pytest.raises(OSError, match="the disk is gone"):
        next(windows)
