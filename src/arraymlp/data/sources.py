"""Arrays that rows are read from, some at a time: by slices ``X[a:b]``, or sparse."""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, cast

import array_api_compat
import numpy as np

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.registry import backend_of
from arraymlp.data.memory_maps import MapOfFile, is_map
from arraymlp.data.storage_chunks import Numbers, storage_chunks

Rows: TypeAlias = Numbers  # ascending row numbers
AS_STORED = 0  # rows at once: those asked for alone, with what is stored in one chunk with them


class Source(Protocol):
    """A source of rows: an array that is sliced, or an iterable of chunks."""

    shape: tuple[int, int]

    def parts(self, rows: Rows, start: int, at_once: int) -> Iterator[tuple[int, HostArray]]:
        """Yield (a, the values from row a on) in order, with all of ``rows[start:]`` among them.

        Args:
            rows: the rows to read.
            start: a position in ``rows``.
            at_once: rows of the source to read together, or a storage chunk where that has more;
                or `AS_STORED`.
        """


def is_dask(X: object) -> bool:
    """True for an array of dask, which is computed when it is read."""
    return bool(array_api_compat.is_dask_array(X))


def is_sparse(X: object) -> bool:
    """True for a SciPy sparse matrix or array."""
    return hasattr(X, "tocsr") and isinstance(getattr(X, "shape", None), tuple)


def require_numeric(values: Any, what: str) -> None:
    """Raise a ValueError where values are not numbers."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numeric, not of dtype {values.dtype}")


class Sliceable(Protocol):
    """An array that gives rows as slices ``array[a:b]``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""

    def __getitem__(self, rows: slice, /) -> object: ...


class OwnRows:
    """Rows of a class of this package, whose errors say what was read."""


class _SparseRows(Protocol):
    """A SciPy sparse array in CSR form."""

    data: HostArray

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice | HostArray, /) -> "_SparseRows": ...
    def toarray(self) -> HostArray: ...


class Slices:
    """An array that is read by as few slices as possible, each checked as an array would be.

    Of an array in storage chunks those are read that have some of the rows, each whole, and in one
    pass each once. It is pickled as the array is, but a memmap by its path.
    """

    def __init__(self, array: Sliceable, what: str) -> None:
        self._array, self._what = array, what
        self._map: MapOfFile | None = None  # where the array is, in a process that it was sent to
        self.shape = cast(tuple[int, int], tuple(array.shape))
        self._chunks = storage_chunks(array)

    def parts(self, rows: Rows, start: int, at_once: int) -> Iterator[tuple[int, HostArray]]:
        """See `Source`."""
        while start < len(rows):
            a = int(rows[start])
            if self._chunks is None:
                start = bisect_left(rows, a + max(at_once, 1), start)
            else:
                start = self._chunks.stop(rows, start, at_once or len(rows))
            yield a, self.values(a, int(rows[start - 1]) + 1)

    def values(self, a: int, b: int) -> HostArray:
        """Rows a to b - 1.

        Raises:
            ValueError: they are masked, not numeric, or of another shape than asked for.
            OSError: they cannot be read.
        """
        values = on_host(self._read(a, b), self._what)
        require_numeric(values, self._what)
        if values.shape != (b - a, self.shape[1]):
            raise ValueError(
                f"{self._what}[{a}:{b}] must be of shape {(b - a, self.shape[1])}, as the shape "
                f"{self.shape} of {self._what} says, not of {values.shape}"
            )
        return values

    def first(self) -> Any:
        """The first row, as the array gives it."""
        if isinstance(self._array, OwnRows):
            return self._array[:1]
        with reading(f"{self._what}[0:1]"):
            return self._array[:1]

    def _read(self, a: int, b: int) -> Any:
        if isinstance(self._array, np.ndarray | OwnRows):
            return self._array[a:b]
        with reading(f"{self._what}[{a}:{b}]"):
            return computed(self._array[a:b])

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if is_map(self._array):
            state["_map"] = MapOfFile.of(cast(HostArray, self._array))
        if state["_map"] is not None:
            del state["_array"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._map is not None:
            self._array = self._map.open()


class Sparse(Slices):
    """A SciPy sparse matrix or array, by rows."""

    def __init__(self, matrix: Any, what: str) -> None:
        self._rows: _SparseRows = matrix.tocsr()
        super().__init__(self._rows, what)

    def require_finite(self, dtype: str, what: str) -> None:
        """Raise a ValueError where a value is not finite as ``dtype``."""
        with np.errstate(over="ignore"):
            finite = np.isfinite(self._rows.data.astype(dtype))
        if not finite.all():
            value = self._rows.data[~finite][0]
            raise ValueError(f"{what} must be finite, but it has {value}, as {dtype}")

    def values(self, a: int, b: int) -> HostArray:
        """Rows a to b - 1."""
        return self.dense(slice(a, b))

    def dense(self, rows: slice | HostArray) -> HostArray:
        """Rows of these numbers, dense."""
        return np.asarray(self._rows[rows].toarray())


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Have an error of a store name what was read. Trying again is left to what reads the store.

    Args:
        what: is read, such as "X[0:100]".

    Raises:
        OSError: anything was raised by the store, or by what computes the rows.
    """
    try:
        yield
    except (MemoryError, AssertionError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        message = f"{what} could not be read: {type(error).__name__}: {said}"
        raise OSError(message) from error


def computed(values: Any) -> Any:
    """The values of an array of dask, by the scheduler that the caller chose; others unchanged."""
    return values.compute() if is_dask(values) else values


def on_host(values: Any, what: str) -> HostArray:
    """The values as an array on the host, sparse ones dense; a ValueError for masked ones."""
    if is_sparse(values):
        return np.asarray(values.toarray() if hasattr(values, "toarray") else values.todense())
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{what} has a masked array, whose mask would be lost: fill it first, or have the "
            "reader give plain arrays"
        )
    if is_device_array(values):
        return backend_of(values).to_numpy(values)
    try:
        return np.asarray(values)
    except ValueError as error:  # ragged lists
        raise ValueError(f"{what} is not an array: {error}") from error
