"""Windows of streamed rows equal the same rows in memory, in bounded memory, and end cleanly."""

import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.backends import cupy
from arraymlp.backends.cupy import CupyBackend
from arraymlp.data.stream import (
    WINDOW_BYTES,
    Streamed,
    is_chunks,
    is_streamed,
    stream,
    stream_chunks,
    window_rows,
)
from conftest import assert_same, on_host

N, WIDTH = 23, 3
ROWS = 5  # of a window: 23 rows make 4 windows of 5 and one of 3
X = np.random.default_rng(0).integers(0, 200, (N, WIDTH)).astype(np.float64)
Y = np.arange(N) % 4
SPARSE = np.array([0, 1, 8, 9, 17, 22], np.int32)


def memmap(path: Path, values: np.ndarray) -> np.memmap:
    """Read-only: who writes there fails."""
    np.save(path / "values.npy", values)
    return np.load(path / "values.npy", mmap_mode="r")


def hdf5(path: Path, values: np.ndarray) -> Any:
    h5py = pytest.importorskip("h5py")
    return h5py.File(path / "values.h5", "w").create_dataset("X", data=values, chunks=(4, 2))


class Sliced:
    """As little as an array can offer; it notes what was read, and by which thread."""

    def __init__(self, values: np.ndarray, chunks: tuple[int, ...] | None = None) -> None:
        self._values, self.chunks = values, chunks
        self.shape, self.dtype = values.shape, values.dtype
        self.reads: list[tuple[int, int]] = []
        self.threads: set[threading.Thread] = set()

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert rows.step is None
        if rows.start is not None:  # not the look at the dtype
            assert type(rows.start) is type(rows.stop) is int
            assert 0 <= rows.start < rows.stop <= self.shape[0]
            self.reads.append((rows.start, rows.stop))
            self.threads.add(threading.current_thread())
        return self._values[rows].copy()


ARRAYS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "memmap": memmap,
    "part of a memmap": lambda path, values: memmap(path, np.insert(values, 0, 7, axis=1))[:, 1:],
    "Zarr": lambda path, values: Sliced(values, (4, 2)),
    "unchunked": lambda path, values: Sliced(values),
}


class Chunks:
    """The data in chunks of the given sizes; each pass goes on with the next of ``passes``."""

    def __init__(self, sizes: Iterable[int], *passes: tuple[Any, Any]) -> None:
        self.ends = np.cumsum([0, *sizes])
        self.passes = list(passes) or [(X, Y)]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        x, y = self.passes.pop(0) if len(self.passes) > 1 else self.passes[0]
        for a, b in zip(self.ends[:-1], self.ends[1:], strict=True):
            if a < len(x):
                yield x[a:b], y[a:b]


def chunked(*sizes: int, dtype: str = "float32") -> Streamed:
    return stream_chunks(Chunks(sizes), dtype)[0]


STREAMS: dict[str, Callable[[], Streamed]] = {
    "slices": lambda: stream(Sliced(X), "float32"),
    "storage chunks": lambda: stream(Sliced(X, (7, 3)), "float32"),
    "chunks": lambda: chunked(1, 9, 2, 11),
}


@pytest.fixture(params=STREAMS)
def streamed(request: pytest.FixtureRequest) -> Streamed:
    return STREAMS[request.param]()


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("arraymlp")]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert not readers()


def assert_windows(windows: Iterable[Any], expected: np.ndarray, backend: Backend) -> None:
    """All windows are held until the end: none may change after it was handed out."""
    held = list(windows)
    assert [w.shape[0] for w in held] == [
        min(ROWS, len(expected) - a) for a in range(0, len(expected), ROWS)
    ]
    for i, window in enumerate(held):
        assert_same(window, backend.asarray(expected[i * ROWS : (i + 1) * ROWS]))


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
    assert source.reads == [(0, 10), (17, 23)]
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


# Refused


def changed(row: int, column: int, value: float) -> np.ndarray:
    values = X.copy()
    values[row, column] = value
    return values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(
    value: float, numpy_backend: Backend
) -> None:
    shown = "inf" if value == 1e300 else value
    words = rf"the X must be finite, but the X\[17, 2\] is {shown} as float32"
    values = changed(17, 2, value)
    with pytest.raises(ValueError, match=words):
        stream_chunks(Chunks((9, 14), (values, Y)), "float32", what="the X")
    spoilt_later = Chunks((9, 14), (X, Y), (values, Y))
    for streamed in (
        stream(Sliced(values), "float32", what="the X"),
        stream_chunks(spoilt_later, "float32", what="the X")[0],
    ):
        windows = streamed.windows(numpy_backend, ROWS)
        for i in range(3):
            assert (next(windows) == X[i * ROWS : (i + 1) * ROWS]).all()
        with pytest.raises(ValueError, match=words):
            next(windows)
        with pytest.raises(ValueError, match=words):
            streamed.kept(np.arange(9, 18)).take(np.array([2, 8]), numpy_backend)


BAD_ARRAYS: dict[str, tuple[np.ndarray, str]] = {
    "1-D": (X[:, 0], r"X must be 2-D \(samples, features\), not 1-D of shape \(23,\)"),
    "3-D": (X[None], r"X must be 2-D .*3-D"),
    "no rows": (X[:0], r"X is empty: shape \(0, 3\)"),
    "no features": (X[:, :0], r"X is empty: shape \(23, 0\)"),
    "strings": (X.astype("S3"), "X must be numeric, not of dtype .S3"),
    "complex": (X + 0j, "X must be numeric, not of dtype complex128"),
    "width": (X[:, :2], "X has 2 features, but 3 are expected"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_an_array_of_another_kind_is_refused(case: str) -> None:
    values, words = BAD_ARRAYS[case]
    with pytest.raises(ValueError, match=words):
        stream(Sliced(values), "float32", n_features=WIDTH)


FIVE = (X[:5], Y[:5])
BAD_CHUNKS: dict[str, tuple[list[Any], str]] = {
    "no chunk": ([], "X is empty: it yields no chunks"),
    "no tuple": ([FIVE, X], r"chunk 1 of X must be a tuple \(X, y\), not a ndarray"),
    "three": ([FIVE, (*FIVE, Y)], r"chunk 1 of X must be a tuple \(X, y\), not a tuple"),
    "1-D": ([FIVE, (X[0], Y[:3])], r"chunk 1 of X must be 2-D .*not 1-D of shape \(3,\)"),
    "empty": ([FIVE, (X[:0], Y[:0])], r"chunk 1 of X is empty: shape \(0, 3\)"),
    "strings": ([FIVE, (X[:5].astype(str), Y[:5])], "chunk 1 of X must be numeric"),
    "masked": ([(np.ma.array(X[:5]), Y[:5])], "chunk 0 of X has a masked array"),
    "width": ([(X[:5, :2], Y[:5])], "chunk 0 of X has 2 features, but 3 are expected"),
    "another width": (
        [FIVE, (X[:5, :2], Y[:5])],
        "chunk 1 of X has 2 features, but the chunks before have 3",
    ),
    "length": ([(X[:5], Y[:4])], r"chunk 0 of X has 5 rows, but its y is of shape \(4,\)"),
    "no y": ([(X[:5], None)], r"chunk 0 of X has 5 rows, but its y is of shape \(\)"),
    "y's dtype": ([FIVE, (X[:5], Y[:5] / 2)], "the y of chunk 1 of X .*float64.* int64"),
    "y's shape": ([FIVE, (X[:5], Y[:5, None])], r"the y of chunk 1 of X .*\(1,\).* \(\)"),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_a_chunk_of_another_kind_is_refused(case: str) -> None:
    chunks, words = BAD_CHUNKS[case]
    with pytest.raises(ValueError, match=words):
        stream_chunks(chunks, "float32", n_features=WIDTH)


@pytest.mark.parametrize(
    "once", [iter, lambda chunks: (c for c in chunks)], ids=["iterator", "generator"]
)
def test_what_can_be_read_once_only_is_refused_before_it_is_read(once: Callable) -> None:
    chunks = once([FIVE])
    with pytest.raises(ValueError, match=r"read once only.*list of chunks.*__iter__"):
        stream_chunks(chunks, "float32")
    assert next(chunks) is FIVE


LATER: dict[str, tuple[Any, Any, str]] = {
    "fewer rows": (X[:20], Y[:20], "X yields 20 rows, but yielded 23 at first"),
    "nothing": (X[:0], Y[:0], "X yields 0 rows, but yielded 23 at first"),
    "more rows": (
        np.concatenate([X, X]),
        np.concatenate([Y, Y]),
        "X yields 24 rows or more, but yielded 23 at first",
    ),
    "width": (X[:, :2], Y, "chunk 0 of X has 2 features, but 3 are expected"),
    "order": (X[::-1], Y[::-1], "X yields another y for rows 0 to 8 .*same order"),
}


@pytest.mark.parametrize("case", LATER)
def test_another_pass_must_yield_the_same(case: str, numpy_backend: Backend) -> None:
    x, y, words = LATER[case]
    streamed, _ = stream_chunks(Chunks((9, 14, 1), (X, Y), (x, y)), "float32")
    with pytest.raises(ValueError, match=words):
        list(streamed.windows(numpy_backend, ROWS))
    with pytest.raises(ValueError, match=words):
        streamed.take(SPARSE, numpy_backend)


# What is streamed, and by how many rows


def test_only_what_is_not_in_memory_is_streamed(backend: Backend, tmp_path: Path) -> None:
    on_disk = memmap(tmp_path, X)
    for yes in (on_disk, on_disk[2:], Sliced(X), hdf5(tmp_path, X), stream(on_disk, "float32")):
        assert is_streamed(yes)
        assert not is_chunks(yes)
    for no in (
        X,
        X.tolist(),
        on_disk + 1,
        np.float64(1),
        None,
        "X",
        [FIVE],
        backend.asarray(X[0] > 1),
    ):
        assert not is_streamed(no)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([FIVE, FIVE], True),
        ((FIVE,), True),
        ([(X[:2].tolist(), [0, 1])], True),
        (Chunks((23,)), True),
        (iter([FIVE]), True),
        ((chunk for chunk in [FIVE]), True),
        ([], False),
        ([[0, 1], [1, 0]], False),
        ([(0, 1), (1, 0)], False),
        (((0.5, 1.0), (1.0, 0.5)), False),
        (X, False),
        ("chunks", False),
        ({"X": X}, False),
        (None, False),
        (3, False),
    ],
)
def test_chunks_are_told_from_rows_of_numbers(values: Any, expected: bool) -> None:
    assert is_chunks(values) is expected
    assert not is_streamed(values)


def test_device_arrays_are_no_chunks(backend: Backend) -> None:
    assert not is_chunks(backend.asarray(X, "float32"))


@pytest.mark.parametrize(
    ("n_features", "batch_size", "dtype", "wanted", "expected"),
    [
        (784, 100, "float32", None, 21_300),
        (784, 100, "float64", None, 10_600),
        (10**9, 32, "float32", None, 32),
        (784, 100, "float32", 1000, 1000),
        (784, 100, "float32", 1099, 1000),
        (784, 100, "float32", 99, 100),
    ],
)
def test_a_window_holds_whole_minibatches(
    n_features: int, batch_size: int, dtype: str, wanted: int | None, expected: int
) -> None:
    assert window_rows(n_features, batch_size, dtype, wanted) == expected
    if wanted is None and expected > batch_size:
        bytes_of_a_row = n_features * np.dtype(dtype).itemsize
        assert expected * bytes_of_a_row <= WINDOW_BYTES
        assert (expected + batch_size) * bytes_of_a_row > WINDOW_BYTES


# CuPy. A fake stands in for the GPU: work is queued by stream, and done when it is waited for.


class FakeCuda:
    """Records what is asked of CuPy; a copy happens when its stream is waited for, not before."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = "none"
        fake = self

        class Stream:
            def __init__(self, name: str = "side", *, non_blocking: bool = False) -> None:
                assert non_blocking
                self.name, self.queued = name, []

            def __enter__(self) -> "Stream":
                fake.current = self.name
                return self

            def __exit__(self, *error: object) -> None:
                fake.current = "none"

            def record(self) -> str:
                fake.log.append(f"record {self.name}")
                return f"event of {self.name}"

            def wait_event(self, event: str) -> None:
                fake.log.append(f"{self.name} waits for {event}")

            def synchronize(self) -> None:
                fake.log.append(f"wait for {self.name}")
                for copy in self.queued:
                    copy()

        class Array(np.ndarray):
            def set(self, host: np.ndarray, stream: Any) -> None:
                assert any(host is locked for locked in fake.locked)
                fake.log.append(f"copy on {stream.name}")
                stream.queued.append(lambda: np.copyto(self, host))

        def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            fake.log.append(f"allocate on {fake.current}")
            return np.full(shape, np.nan, dtype).view(Array)

        def empty_pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            fake.locked.append(np.empty(shape, dtype))
            return fake.locked[-1]

        self.locked: list[np.ndarray] = []
        self.modules = {
            "cupy": SimpleNamespace(
                empty=empty,
                cuda=SimpleNamespace(
                    Stream=Stream, get_current_stream=lambda: Stream("user", non_blocking=True)
                ),
            ),
            "cupyx": SimpleNamespace(empty_pinned=empty_pinned),
        }


def test_cupy_uploads_beside_the_queue_and_after_what_may_still_use_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeCuda()
    monkeypatch.setattr(cupy, "import_module", fake.modules.__getitem__)
    active: list[threading.Thread] = []

    def context(backend: CupyBackend) -> Any:
        active.append(threading.current_thread())  # CuPy's current device is the thread's own
        return nullcontext()

    monkeypatch.setattr(CupyBackend, "active", context)
    backend = CupyBackend("cupy", array_api_compat.numpy, "cpu", "14")
    once = [
        "allocate on user",
        "record user",
        "side waits for event of user",
        "copy on side",
        "wait for side",
    ]
    windows = stream(Sliced(X), "float32").windows(backend, ROWS)
    assert (next(windows) == X[:ROWS]).all()
    windows.close()
    assert fake.log == once * 2  # the second was uploaded ahead
    assert active[0] is threading.current_thread()  # whose stream it is
    assert active[1] is not threading.current_thread()


def test_an_upload_ahead_ends_as_asarray(backend: Backend, dtype: str) -> None:
    host = X.astype(dtype)
    ahead = backend.uploader()(host)
    assert_same(backend.asarray(ahead, dtype), backend.asarray(host, dtype))
    assert (on_host(backend.asarray(ahead, dtype)) == host).all()
