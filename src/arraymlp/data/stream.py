"""Data larger than memory: rows read window by window, while the caller computes on the last one.

X is a memmap, an HDF5 or Zarr array, or an iterable of (X, y) chunks; y is always held in memory.
A pass keeps the order of the rows. X may also be a SciPy sparse matrix or array, which would be too
large as a dense one; its rows become dense a few at a time, in any order.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from arraymlp._checks import require_table, require_width
from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks

WINDOW_BYTES = 64 * 2**20  # of a window, where its rows are not given
_Rows: TypeAlias = Sequence[int] | HostArray  # ascending row numbers


class Streamed:
    """Rows (N, n_features) that are read window by window and never all at once.

    Memory: three windows on the host, and with CuPy three on the GPU (one of those on the host is
    then page-locked). Besides, an HDF5 or Zarr array takes one window in its own dtype, or one of
    its storage chunks where that is larger; an iterable takes two of its chunks. The third window
    is there only while the caller exchanges one for the next. What the operating system keeps of a
    memmap is its cache, and not counted.
    """

    ndim = 2

    def __init__(
        self, source: "_Slices | _Chunks", dtype: str, what: str, rows: HostArray | None = None
    ) -> None:
        self._source, self._dtype, self._what = source, dtype, what
        self._rows: _Rows = range(source.shape[0]) if rows is None else rows
        self.shape: tuple[int, int] = (len(self._rows), source.shape[1])

    def windows(self, backend: Backend, rows: int, first: int = 0) -> Generator[Array, None, None]:
        """Yield device arrays of ``rows`` rows each, the last one with what is left.

        A helper thread reads, checks, converts and uploads the next window meanwhile. Leaving the
        loop early ends the thread, once it has read the window that it is at.

        Args:
            backend: where to.
            rows: of a window.
            first: the window to begin with, counted from 0.

        Raises:
            ValueError: a value is not finite, or an iterable yields other chunks than before.
        """
        from concurrent.futures import ThreadPoolExecutor

        uploads = map(backend.uploader(), self._read(rows, first, at_once=rows))
        with ThreadPoolExecutor(1, "arraymlp-reader") as reader:
            ahead = reader.submit(next, uploads, None)
            while (window := ahead.result()) is not None:
                ahead = reader.submit(next, uploads, None)
                yield backend.asarray(window, self._dtype)

    @property
    def any_order(self) -> bool:
        """Whether rows can be had in any order at no greater cost: of a sparse matrix."""
        return isinstance(self._source, _Sparse)

    def gather(self, rows: HostArray, backend: Backend) -> Array:
        """Rows in any order, where `any_order` allows it, together on the device."""
        assert isinstance(self._source, _Sparse)
        dense = self._source.dense(np.asarray(self._rows)[rows])
        return backend.asarray(dense, self._dtype)

    def dense_blocks(self, backend: Backend, at_once: int) -> Iterator[tuple[slice, Array]]:
        """All rows, where `any_order` allows it, as (where they stand, rows on the device).

        There are ``at_once`` in each, or as many as are small when dense.
        """
        most = window_rows(self.shape[1], 1, "float64", None)
        for rows in blocks(self.shape[0], min(most, at_once)):
            yield rows, self.gather(np.arange(rows.start, rows.stop), backend)

    def take(self, rows: HostArray, backend: Backend) -> Array:
        """Some rows (ascending row numbers), together on the device."""
        (window,) = self.kept(rows)._read(len(rows), at_once=1)
        return backend.asarray(window, self._dtype)

    def kept(self, rows: HostArray) -> "Streamed":
        """The same source, but only these of its rows (ascending row numbers)."""
        rows = rows if isinstance(self._rows, range) else np.asarray(self._rows)[rows]
        return Streamed(self._source, self._dtype, self._what, rows)

    def _read(self, size: int, first: int = 0, *, at_once: int) -> Iterator[HostArray]:
        """Windows of ``size`` rows on the host, each in memory of its own."""
        rows, (n, width) = self._rows, self.shape
        start = first * size  # in rows
        for a, part in self._source.parts(rows, start, at_once):
            stop = bisect_left(rows, a + len(part))
            while start < stop:
                backend = start % size
                if backend == 0:
                    window = np.empty((min(size, n - start), width), self._dtype)
                some = rows[start : min(stop, start + size - backend)]
                _convert(part, a, some, window[backend:], self._what)
                start += len(some)
                if backend + len(some) == len(window):
                    yield window
            del part  # before the next is read


def _convert(part: HostArray, a: int, rows: _Rows, into: HostArray, what: str) -> None:
    """Write rows of a part that begins with row a into the head of a window; refuse infinite ones.

    Args:
        part: (m, n_features), of any numeric dtype.
        a: the number of its first row.
        rows: the n rows wanted, all of them in this part.
        into: (n or more, n_features), of the dtype wanted.
        what: the name of the data, for the message.
    """
    for block in blocks(len(rows), ROWS_AT_ONCE):
        some = rows[block]
        first, last = int(some[0]) - a, int(some[-1]) - a
        all_between = last - first == len(some) - 1
        chosen = part[first : last + 1] if all_between else part[np.asarray(some) - a]
        with np.errstate(over="ignore"):
            into[block] = chosen
        fine = np.isfinite(into[block])
        if not fine.all():
            row, column = np.argwhere(~fine)[0]
            value = into[block][row, column]
            raise ValueError(
                f"{what} must be finite, but {what}[{some[row]}, {column}] is {value} as "
                f"{into.dtype}"
            )


def is_streamed(X: object) -> bool:
    """Whether X is to be read window by window: a memmap, an HDF5 or Zarr array, or `Streamed`."""
    if isinstance(X, np.ndarray | np.generic):  # what is computed from a memmap is one in name only
        return isinstance(X, np.memmap) and getattr(X, "_mmap", None) is not None
    if is_sparse(X):
        return False
    shaped = isinstance(getattr(X, "shape", None), tuple) and hasattr(X, "dtype")
    sliced = shaped and hasattr(X, "__getitem__") and not is_device_array(X)
    return sliced or isinstance(X, Streamed)


def is_sparse(X: object) -> bool:
    """Whether X is a SciPy sparse matrix or array."""
    return hasattr(X, "tocsr") and isinstance(getattr(X, "shape", None), tuple)


def is_chunks(X: object) -> bool:
    """Whether X may be an iterable of (X, y) chunks; lists of numbers are data in memory."""
    if isinstance(X, str | bytes | Mapping) or hasattr(X, "shape") or hasattr(X, "__array__"):
        return False
    if isinstance(X, list | tuple):
        return bool(X) and isinstance(X[0], tuple) and len(X[0]) == 2 and np.ndim(X[0][0]) > 0
    return isinstance(X, Iterable)


def window_rows(n_features: int, batch_size: int, dtype: str, wanted: int | None) -> int:
    """Rows of a window: a multiple of ``batch_size``, at least one.

    Args:
        n_features: of a row.
        batch_size: rows of a minibatch.
        dtype: of the values.
        wanted: rows to round down; None for as many as `WINDOW_BYTES` hold.
    """
    if wanted is None:
        wanted = WINDOW_BYTES // (n_features * np.dtype(dtype).itemsize)
    return max(wanted // batch_size, 1) * batch_size


def stream(X: Any, dtype: str, *, n_features: int | None = None, what: str = "X") -> Streamed:
    """Return X, read by slices ``X[a:b]`` or sparse, as rows of ``dtype``; X is never written.

    Raises:
        ValueError: X is not 2-D, empty, of another width, or not numeric.
    """
    require_table(X.shape, what)
    source = _Sparse(X) if is_sparse(X) else _Slices(X)
    _require_numeric(source.values(0, 1) if is_sparse(X) else np.asarray(X[:1]), what)
    require_width(X.shape[1], n_features, what)
    if isinstance(source, _Sparse):
        source.require_finite(dtype, what)
    return Streamed(source, dtype, what)


def _require_numeric(values: HostArray, what: str) -> None:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numeric, not of dtype {values.dtype}")


class _Slices:
    """An array that is read by slices, as few as there can be."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, int] = tuple(array.shape)
        chunks = getattr(array, "chunks", None) or (1,)  # of the storage, each read as a whole
        self._at_least = chunks[0] if isinstance(chunks[0], int) else 1

    def parts(self, rows: _Rows, start: int, at_once: int) -> Iterator[tuple[int, HostArray]]:
        """Yield (a, the values from row a on) in order, with all of ``rows[start:]`` among them.

        Args:
            rows: the rows wanted.
            start: a place in ``rows``.
            at_once: rows of the array to read together, or more.
        """
        at_once = max(at_once, self._at_least)
        while start < len(rows):
            a = int(rows[start])
            start = bisect_left(rows, a + at_once)
            yield a, self.values(a, int(rows[start - 1]) + 1)

    def values(self, a: int, b: int) -> HostArray:
        """Rows a to b - 1."""
        return np.asarray(self._array[a:b])


class _Sparse(_Slices):
    """A SciPy sparse matrix or array, by rows."""

    def __init__(self, matrix: Any) -> None:
        super().__init__(matrix.tocsr())

    def require_finite(self, dtype: str, what: str) -> None:
        """A ValueError where a value is not finite as ``dtype``."""
        with np.errstate(over="ignore"):
            fine = np.isfinite(self._array.data.astype(dtype))
        if not fine.all():
            value = self._array.data[~fine][0]
            raise ValueError(f"{what} must be finite, but it has {value}, as {dtype}")

    def values(self, a: int, b: int) -> HostArray:
        return self.dense(slice(a, b))

    def dense(self, rows: Any) -> HostArray:
        """Rows of these numbers, dense."""
        return np.asarray(self._array[rows].toarray())


def stream_chunks(
    chunks: Iterable[Any], dtype: str, *, n_features: int | None = None, what: str = "X"
) -> tuple[Streamed, HostArray]:
    """Read (X, y) chunks from start to end; return the rows of X as ``dtype``, and all y.

    The chunks are iterated over anew for each pass, and must be the same in each.

    Args:
        chunks: tuples of X (n, n_features) and y (n,) or (n, n_outputs), n being any number.
        dtype: of the rows.
        n_features: the width X must have.
        what: the name of X, for messages.

    Raises:
        ValueError: the chunks can be read once only, there is none, or one is not such a tuple,
            not numeric, not finite, or of another width or kind than those before.
    """
    if iter(chunks) is chunks:
        raise ValueError(
            f"{what} is a {type(chunks).__name__}, which can be read once only, but every epoch "
            "reads it: give a list of chunks, or an object whose __iter__ begins anew"
        )
    n, ys = 0, []
    for X, y in _checked(chunks, n_features, what):
        for block in blocks(len(X), ROWS_AT_ONCE):
            some = range(n + block.start, n + block.stop)
            _convert(X, n, some, np.empty((len(some), X.shape[1]), dtype), what)
        n += len(X)
        ys.append(y.copy())  # a view would keep the whole chunk
        n_features = X.shape[1]
    if n_features is None or not ys:
        raise ValueError(f"{what} is empty: it yields no chunks")
    all_y = np.concatenate(ys)
    return Streamed(_Chunks(chunks, all_y, n_features, what), dtype, what), all_y


def _checked(
    chunks: Iterable[Any], n_features: int | None, what: str
) -> Iterator[tuple[HostArray, HostArray]]:
    """Every chunk's X and y on the host, alike in all but length."""
    kind: Any = None
    for number, chunk in enumerate(chunks):
        name = f"chunk {number} of {what}"
        if not isinstance(chunk, tuple | list) or len(chunk) != 2:
            raise ValueError(f"{name} must be a tuple (X, y), not a {type(chunk).__name__}")
        X, y = (_on_host(part, name) for part in chunk)
        require_table(X.shape, name)
        _require_numeric(X, name)
        if n_features not in (None, X.shape[1]):
            known = (
                f"the chunks before have {n_features}" if number else f"{n_features} are expected"
            )
            raise ValueError(f"{name} has {X.shape[1]} features, but {known}")
        if y.shape[:1] != X.shape[:1]:
            raise ValueError(f"{name} has {len(X)} rows, but its y is of shape {y.shape}")
        if kind not in (None, (y.dtype, y.shape[1:])):
            raise ValueError(
                f"the y of {name} has rows of {y.dtype} and shape {y.shape[1:]}, but the chunks "
                f"before have {kind[0]} and {kind[1]}"
            )
        n_features, kind = X.shape[1], (y.dtype, y.shape[1:])
        yield X, y


def _on_host(values: Any, what: str) -> HostArray:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} has a masked array, whose mask would be lost: fill it first")
    return backend_of(values).to_numpy(values) if is_device_array(values) else np.asarray(values)


class _Chunks:
    """An iterable of chunks, which has been read once and is read from its start in each pass."""

    def __init__(self, chunks: Iterable[Any], y: HostArray, n_features: int, what: str) -> None:
        self._chunks, self._y, self._what = chunks, y, what
        self.shape = (len(y), n_features)

    def parts(self, rows: _Rows, start: int, at_once: int) -> Iterator[tuple[int, HostArray]]:
        """As of `_Slices`; here every chunk passes by."""
        n, width = self.shape
        a = 0
        for X, y in _checked(self._chunks, width, self._what):
            b = a + len(X)
            if b > n:
                raise ValueError(f"{self._what} yields {b} rows or more, but yielded {n} at first")
            if not np.array_equal(y, self._y[a:b]):
                raise ValueError(
                    f"{self._what} yields another y for rows {a} to {b - 1} than at first: "
                    "chunks must come in the same order in every pass"
                )
            yield a, X
            a = b
        if a < n:
            raise ValueError(f"{self._what} yields {a} rows, but yielded {n} at first")
