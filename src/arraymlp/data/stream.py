"""Data larger than memory: the next window of rows is read while the caller computes on the last.

X is a memmap, an array of HDF5, Zarr or dask, the rows of a table that are read from where they are
stored (`arraymlp.data.elsewhere`), or an iterable of (X, y) chunks (see `arraymlp.data.chunks`); y
is always held in memory.
A pass keeps the order of the rows. X may also be a SciPy sparse matrix or array, which would be too
large as a dense one; its rows become dense a few at a time, in any order.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context
from typing import Any

import numpy as np

from arraymlp._checks import require_table, require_width
from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks, some_blocks
from arraymlp.data.inputs import not_finite, scaled_rows
from arraymlp.data.memory_maps import is_map
from arraymlp.data.sources import (
    AS_STORED,
    Rows,
    Slices,
    Source,
    Sparse,
    is_sparse,
    on_host,
    require_numeric,
)
from arraymlp.nn.scaling import Scaling

WINDOW_BYTES = 64 * 2**20  # of a window, where the number of its rows is not given


class Streamed:
    """Rows (N, n_features) that are read window by window and never all at once.

    Memory: three windows on the host, and with CuPy three on the GPU (one of those on the host is
    then page-locked). In addition an array of HDF5, Zarr or dask takes one window in its own dtype,
    or one of its storage chunks where that is larger; an iterable takes two of its chunks. The
    third window exists only while the caller exchanges one for the next. The operating system's
    cache of a memmap is not counted.

    It is pickled as its source is: what reads a store reads it again, a memmap by its path, and
    arrays in memory by their content.
    """

    ndim = 2

    def __init__(
        self,
        source: Source,
        dtype: str,
        what: str,
        rows: HostArray | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        self._source, self.dtype, self._what = source, dtype, what
        self._scaling = scaling
        self.features: tuple[str, ...] | None = None
        self._rows: Rows = range(source.shape[0]) if rows is None else rows
        self.shape: tuple[int, int] = (len(self._rows), source.shape[1])

    def windows(
        self, backend: Backend, rows: int, first: int = 0, count: int | None = None
    ) -> Generator[Array, None, None]:
        """Yield device arrays of ``rows`` rows each, the last one with the rest.

        Meanwhile a helper thread reads, checks, converts and uploads the next window. Leaving the
        loop early ends the thread, once it has read its present window.

        Args:
            backend: of the arrays.
            rows: of a window.
            first: the window to begin with, counted from 0.
            count: of windows, where the last one may have more rows; None for as many as it takes.

        Raises:
            ValueError: a value is not finite, or an iterable yields other chunks than before.
        """
        from concurrent.futures import ThreadPoolExecutor

        uploads = map(backend.uploader(), self._read(rows, first, count, at_once=rows))
        context = copy_context()  # in which dask has the client that is current here

        def upload() -> Array | None:
            return context.run(next, uploads, None)

        with ThreadPoolExecutor(1, "arraymlp-reader") as reader:
            ahead = reader.submit(upload)
            while (window := ahead.result()) is not None:
                ahead = reader.submit(upload)
                yield backend.asarray(window, self.dtype)

    @property
    def origin(self) -> object:
        """What the rows are read from, as it was given."""
        source: Any = self._source
        return getattr(source, "_array", getattr(source, "_chunks", source))

    @property
    def any_order(self) -> bool:
        """True where rows in any order cost no more: for a sparse matrix."""
        return isinstance(self._source, Sparse)

    def gather(self, rows: HostArray, backend: Backend) -> Array:
        """Rows in any order, together on the device; for sources with `any_order`."""
        assert isinstance(self._source, Sparse)
        numbers = np.asarray(self._rows)[rows]
        dense = self._source.dense(numbers)
        if self._scaling is None:  # it is known to be finite
            return backend.asarray(dense, self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            into = scaled_rows(dense, self.dtype, self._scaling)
        if not np.isfinite(into).all():
            raise ValueError(not_finite(dense, into, self._what, numbers))
        return backend.asarray(into)

    def dense_blocks(
        self, backend: Backend, at_once: int, own: Callable[[int], range] = range
    ) -> Iterator[tuple[slice, Array]]:
        """Rows as (positions, rows on the device), for sources with `any_order`.

        There are ``at_once`` rows in each block, or fewer where these would fill more than 64 MiB;
        of the number of blocks ``own`` says which to give, by default all.
        """
        size = min(window_rows(self.shape[1], 1, "float64", None), at_once)
        for rows in some_blocks(self.shape[0], size, own):
            yield rows, self.gather(np.arange(rows.start, rows.stop), backend)

    def take(self, rows: HostArray, backend: Backend) -> Array:
        """These rows (ascending row numbers), together on the device."""
        (window,) = self.kept(rows)._read(len(rows), at_once=AS_STORED)
        return backend.asarray(window, self.dtype)

    def kept(self, rows: HostArray) -> "Streamed":
        """The same source with these of its rows alone (ascending row numbers)."""
        rows = rows if isinstance(self._rows, range) else np.asarray(self._rows)[rows]
        return Streamed(self._source, self.dtype, self._what, rows, self._scaling)

    def scaled(self, scaling: Scaling) -> "Streamed":
        """The same rows, standardised, in float64, as they are read."""
        whole = scaling if self._scaling is None else self._scaling.then(scaling)
        rows = None if isinstance(self._rows, range) else np.asarray(self._rows)
        return Streamed(self._source, self.dtype, self._what, rows, whole)

    def host_blocks(self) -> Iterator[HostArray]:
        """All rows in float64 on the host, some at a time."""
        if isinstance(self._source, Sparse):
            for block in blocks(self.shape[0], ROWS_AT_ONCE):
                dense = self._source.dense(np.asarray(self._rows[block]))
                yield np.asarray(_scaled(dense, self._scaling), dtype=np.float64)
            return
        exact = Streamed(self._source, "float64", self._what, None, self._scaling)
        exact._rows, exact.shape = self._rows, self.shape
        size = window_rows(self.shape[1], 1, "float64", None)
        yield from exact._read(size, at_once=size)

    def _read(
        self, size: int, first: int = 0, count: int | None = None, *, at_once: int
    ) -> Iterator[HostArray]:
        """Windows of ``size`` rows on the host, each in its own memory; the last has the rest."""
        rows, (n, width) = self._rows, self.shape
        last = (-(-n // size) if count is None else count) - 1
        start = first * size  # in rows
        for a, part in self._source.parts(rows, start, at_once):
            stop = bisect_left(rows, a + len(part))
            while start < stop:
                number = min(start // size, last)
                filled = start - number * size  # rows that the window has
                if filled == 0:
                    length = size if number < last else n - start
                    window = np.empty((length, width), self.dtype)
                taken = rows[start : min(stop, start + len(window) - filled)]
                convert(part, a, taken, window[filled:], self._what, self._scaling)
                start += len(taken)
                if filled + len(taken) == len(window):
                    yield window
            del part  # before the next is read


def _scaled(values: HostArray, scaling: Scaling | None) -> HostArray:
    """The values, or standardised in float64."""
    return values if scaling is None else scaling.exactly(values)


def convert(
    part: HostArray,
    a: int,
    rows: Rows,
    into: HostArray,
    what: str,
    scaling: Scaling | None = None,
) -> None:
    """Write rows of a part, converted, to the head of a window.

    Args:
        part: (m, n_features), of any numeric dtype.
        a: the number of the part's first row.
        rows: the numbers of n rows, all of them in this part.
        into: (n or more, n_features), of the dtype to convert to.
        what: the name of the data, for the message.
        scaling: applied before the conversion.

    Raises:
        ValueError: a value is not finite.
    """
    for block in blocks(len(rows), ROWS_AT_ONCE):
        numbers = rows[block]
        first, last = int(numbers[0]) - a, int(numbers[-1]) - a
        consecutive = last - first == len(numbers) - 1
        values = part[first : last + 1] if consecutive else part[np.asarray(numbers) - a]
        with np.errstate(over="ignore", invalid="ignore"):
            into[block] = values if scaling is None else scaling.exactly(values)
        if not np.isfinite(into[block]).all():
            raise ValueError(not_finite(values, into[block], what, numbers))


def is_streamed(X: object) -> bool:
    """True for what is read by windows: a memmap, an array of HDF5, Zarr or dask, or `Streamed`."""
    if isinstance(X, np.ndarray | np.generic):  # a result computed from a memmap is one in name
        return is_map(X) and not _is_joblibs(X)
    if is_sparse(X) or getattr(getattr(X, "variable", None), "_in_memory", False):  # xarray's
        return False
    is_shaped = isinstance(getattr(X, "shape", None), tuple) and hasattr(X, "dtype")
    can_slice = is_shaped and hasattr(X, "__getitem__") and not is_device_array(X)
    return can_slice or isinstance(X, Streamed)


def _is_joblibs(X: object) -> bool:
    """True for an array that joblib gives its workers as a memmap: it must train as it would here.

    That is for arrays of over 1 MB, by default; a memmap of the user's keeps its own file there.
    """
    return "joblib_memmapping_folder" in str(getattr(X, "filename", None))


def window_rows(n_features: int, batch_size: int, dtype: str, at_most: int | None) -> int:
    """The number of rows of a window: a multiple of ``batch_size``, at least one minibatch.

    Args:
        n_features: of a row.
        batch_size: rows of a minibatch.
        dtype: of the values.
        at_most: rows; None for as many as `WINDOW_BYTES` hold.
    """
    if at_most is None:
        at_most = WINDOW_BYTES // (n_features * np.dtype(dtype).itemsize)
    return max(at_most // batch_size, 1) * batch_size


def stream(X: Any, dtype: str, *, n_features: int | None = None, what: str = "X") -> Streamed:
    """Return X, read by slices ``X[a:b]`` or sparse, as rows of ``dtype``; X is never written.

    Raises:
        ValueError: X is not 2-D, empty, of another width, or not numeric.
    """
    require_known(X.shape, what)
    require_table(X.shape, what)
    source = (Sparse if is_sparse(X) else Slices)(X, what)
    if isinstance(X.dtype, np.dtype):  # a look at a row would read, or compute, a whole chunk
        require_numeric(X, what)
    else:
        first = source.values(0, 1) if is_sparse(X) else on_host(source.first(), what)
        require_numeric(first, what)
    require_width(X.shape[1], n_features, what)
    if isinstance(source, Sparse):
        source.require_finite(dtype, what)
    return Streamed(source, dtype, what)


def require_known(shape: tuple[float, ...], what: str) -> None:
    """Raise a ValueError where dask does not know yet how long the chunks of an array are."""
    if any(size != size for size in shape):  # NaN
        raise ValueError(
            f"{what} has chunks of unknown sizes, shape {shape}: call its compute_chunk_sizes() "
            "first, or make it of a data frame with to_dask_array(lengths=True)"
        )
