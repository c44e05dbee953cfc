"""Sources that cannot be streamed are refused, and streams are told from data in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, resolve
from arraymlp.data.chunks import is_chunks, stream_chunks
from arraymlp.data.stream import WINDOW_BYTES, is_streamed, stream, window_rows
from streams import ROWS, SPARSE, WIDTH, Chunks, Sliced, X, Y, hdf5, memmap, readers


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert not readers()


# RefusedError


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


class Lying:
    """An array whose slices are not all what its shape and its first row say."""

    dtype, shape = X.dtype, X.shape

    def __init__(self, later: Any) -> None:
        self.later = later

    def __getitem__(self, rows: slice) -> Any:
        return X[rows] if (rows.start or 0) < 8 else self.later(X[rows])


LATER_SLICES: dict[str, tuple[Any, str]] = {
    "masked": (lambda x: np.ma.array(x, mask=x > 0), "X has a masked array, whose mask would be"),
    "one column": (lambda x: x[:, :1], r"X\[8:16\] must be of shape \(8, 3\).* not of \(8, 1\)"),
    "one row": (lambda x: x[:1], r"X\[8:16\] must be of shape \(8, 3\).* not of \(1, 3\)"),
    "1-D": (lambda x: x[:, 0], r"X\[8:16\] must be of shape \(8, 3\).* not of \(8,\)"),
    "complex": (lambda x: x + 0j, "X must be numeric, not of dtype complex128"),
    "strings": (lambda x: x.astype("U5"), "X must be numeric, not of dtype <U5"),
    "dates": (lambda x: x.astype("datetime64[s]"), "X must be numeric, not of dtype datetime64"),
    "ragged": (lambda x: [[1.0, 2.0, 3.0], [1.0]], "X is not an array: setting an array element"),
    "objects": (lambda x: x.astype(object), "X must be numeric, not of dtype object"),
}


@pytest.mark.parametrize("case", LATER_SLICES)
def test_every_slice_is_checked_as_an_array_is(case: str, numpy_backend: Backend) -> None:
    later, words = LATER_SLICES[case]
    streamed = stream(Lying(later), "float32", n_features=WIDTH)
    with pytest.raises(ValueError, match=words):
        list(streamed.windows(numpy_backend, 8))
    words = words.replace("8:16", "8:18").replace("\\(8,", "\\(10,")
    with pytest.raises(ValueError, match=words):
        list(streamed.kept(np.arange(8, 18)).windows(numpy_backend, 10))


def test_a_slice_of_another_librarys_array_is_brought_to_the_host(backend: Backend) -> None:
    class Slices(Lying):
        def __getitem__(self, rows: slice) -> Any:
            return backend.asarray(X[rows], "float32")

    streamed = stream(Slices(None), "float32")
    (window,) = streamed.windows(resolve("numpy"), 23)
    np.testing.assert_array_equal(window, X.astype("float32"))


FIVE = (X[:5], Y[:5])
BAD_CHUNKS: dict[str, tuple[list[Any], str]] = {
    "no chunk": ([], "X is empty: it yields no chunks"),
    "no tuple": ([FIVE, X], r"chunk 1 of X must be a tuple \(X, y\), not a ndarray"),
    "three": ([FIVE, (*FIVE, Y)], r"chunk 1 of X must be a tuple \(X, y\), not a tuple"),
    "1-D": ([FIVE, (X[0], Y[:3])], r"chunk 1 of X must be 2-D .*not 1-D of shape \(3,\)"),
    "empty": ([(X[:0], Y[:0]), (X[:0], Y[:0])], "X is empty: it yields no chunks with rows"),
    "no columns": ([(X[:5, :0], Y[:5])], r"chunk 0 of X is empty: shape \(5, 0\)"),
    "uint64 beside int64": ([FIVE, (X[:5], Y[:5].astype("uint64"))], "y of chunk 1 of X .*uint64"),
    "bool beside int64": ([FIVE, (X[:5], Y[:5] > 0)], "the y of chunk 1 of X .*bool"),
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


def test_empty_chunks_are_passed_over(numpy_backend: Backend) -> None:
    empty = (X[:0], Y[:0])
    chunks = [empty, (X[:5], Y[:5]), empty, (X[5:], Y[5:]), empty]
    streamed, y = stream_chunks(chunks, "float64")
    np.testing.assert_array_equal(y, Y)
    (window,) = streamed.windows(numpy_backend, len(X))
    np.testing.assert_array_equal(window, X)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [("int8", "int64", "int64"), ("uint8", "int8", "int16"), ("float32", "float64", "float64")],
)
def test_labels_may_be_wider_in_some_chunks(
    first: str, second: str, common: str, numpy_backend: Backend
) -> None:
    chunks = [(X[:5], Y[:5].astype(first)), (X[5:], Y[5:].astype(second))]
    streamed, y = stream_chunks(chunks, "float64")
    assert y.dtype == common
    np.testing.assert_array_equal(y, Y)
    assert len(list(streamed.windows(numpy_backend, len(X)))) == 1  # another pass, and the same y


def test_chunks_may_be_sparse(numpy_backend: Backend) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    chunks = [(sparse.csr_matrix(X[:5]), Y[:5]), (sparse.coo_array(X[5:]), Y[5:])]
    assert is_chunks(chunks)
    streamed, _ = stream_chunks(chunks, "float64")
    (window,) = streamed.windows(numpy_backend, len(X))
    np.testing.assert_array_equal(window, X)


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


def _kind_in_worker(*arrays: Any) -> list[tuple[str, bool]]:
    return [(type(a).__name__, is_streamed(a)) for a in arrays]


def test_what_joblib_gives_its_workers_is_what_it_was_here(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    on_disk = memmap(tmp_path, X)
    with joblib.Parallel(n_jobs=2, max_nbytes=100) as parallel:
        ((there, own),) = parallel([joblib.delayed(_kind_in_worker)(X, on_disk)])
    assert there == ("memmap", False)
    assert own == ("memmap", True)


class _InMemory(Sliced):
    """The part of xarray's DataArray that is asked for."""

    variable = SimpleNamespace(_in_memory=True)


def test_an_array_with_names_of_its_axes_is_in_memory_where_its_values_are() -> None:
    labelled = _InMemory(X)
    assert not is_streamed(labelled)
    labelled.variable._in_memory = False
    assert is_streamed(labelled)
    xarray = pytest.importorskip("xarray")
    assert not is_streamed(xarray.DataArray(X, dims=("row", "feature")))


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
