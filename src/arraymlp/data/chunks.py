"""Data as an iterable of (X, y) chunks, which every pass reads anew; all y stays in memory."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from arraymlp._checks import require_table
from arraymlp.backends.array import HostArray
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks
from arraymlp.data.names import feature_names, require_same_names
from arraymlp.data.sources import Rows, on_host, require_numeric
from arraymlp.data.stream import Streamed, convert


def is_chunks(X: object) -> bool:
    """True for what may be an iterable of (X, y) chunks; lists of numbers are data in memory."""
    if isinstance(X, str | bytes | Mapping) or hasattr(X, "shape") or hasattr(X, "__array__"):
        return False
    if isinstance(X, list | tuple):
        return bool(X) and isinstance(X[0], tuple) and len(X[0]) == 2 and np.ndim(X[0][0]) > 0
    return isinstance(X, Iterable)


def stream_chunks(
    chunks: Iterable[Any], dtype: str, *, n_features: int | None = None, what: str = "X"
) -> tuple[Streamed, HostArray]:
    """Read (X, y) chunks once through; return the rows of X as ``dtype``, and all y.

    Each pass iterates over the chunks anew, and they must be the same in each.

    Args:
        chunks: tuples of X (n, n_features) and y (n,) or (n, n_outputs), for any n.
        dtype: of the rows.
        n_features: the width that X must have; None for any.
        what: the name of X, for messages.

    Raises:
        ValueError: the chunks can be read once only, there is none, or one is not such a tuple,
            not numeric, not finite, or of another width or dtype than those before.
    """
    if iter(chunks) is chunks:
        raise ValueError(
            f"{what} is a {type(chunks).__name__}, which can be read once only, but every epoch "
            "reads it: give a list of chunks, or an object whose __iter__ begins anew"
        )
    n, ys = 0, []
    names: tuple[str, ...] | None = None
    for X, y, named in _checked(chunks, n_features, what):
        names = named
        for block in blocks(len(X), ROWS_AT_ONCE):
            rows = range(n + block.start, n + block.stop)  # converted only to be checked
            convert(X, n, rows, np.empty((len(rows), X.shape[1]), dtype), what)
        n += len(X)
        ys.append(y.copy())  # a view would keep the whole chunk
        n_features = X.shape[1]
    if n_features is None or not ys:
        raise ValueError(f"{what} is empty: it yields no chunks with rows")
    all_y = np.concatenate(ys)
    streamed = Streamed(_Chunks(chunks, all_y, n_features, what), dtype, what)
    streamed.features = names
    return streamed, all_y


def _checked(
    chunks: Iterable[Any], n_features: int | None, what: str
) -> Iterator[tuple[HostArray, HostArray, tuple[str, ...] | None]]:
    """Every chunk's X and y on the host and the names of X's columns, but for empty chunks.

    Sparse ones are made dense.

    Raises:
        ValueError: they differ in more than length, and the width of integers or floats in y; or
            columns have other names.
    """
    y_kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None
    names: tuple[str, ...] | None = None
    for number, chunk in enumerate(chunks):
        name = f"chunk {number} of {what}"
        if not isinstance(chunk, tuple | list) or len(chunk) != 2:
            raise ValueError(f"{name} must be a tuple (X, y), not a {type(chunk).__name__}")
        require_same_names(feature_names(chunk[0]), names, name)
        names = names or feature_names(chunk[0])
        X, y = (on_host(part, name) for part in chunk)
        if X.shape[:1] == y.shape[:1] == (0,):
            continue
        require_table(X.shape, name)
        require_numeric(X, name)
        if n_features not in (None, X.shape[1]):
            expected = (
                f"the chunks before have {n_features}" if number else f"{n_features} are expected"
            )
            raise ValueError(f"{name} has {X.shape[1]} features, but {expected}")
        if y.shape[:1] != X.shape[:1]:
            raise ValueError(f"{name} has {len(X)} rows, but its y is of shape {y.shape}")
        if y_kind is not None and not _alike(y, *y_kind):
            raise ValueError(
                f"the y of {name} has rows of {y.dtype} and shape {y.shape[1:]}, but the chunks "
                f"before have {y_kind[0]} and {y_kind[1]}"
            )
        n_features, y_kind = X.shape[1], (y.dtype, y.shape[1:])
        yield X, y, names


def _alike(y: HostArray, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """True where y's rows are of this shape, and its dtype or a wider or narrower one."""
    if y.shape[1:] != shape:
        return False
    if y.dtype == dtype:
        return True
    kinds = {y.dtype.kind, dtype.kind}
    if kinds == {"U"}:
        return True
    if not (kinds <= {"i", "u"} or kinds == {"f"}):
        return False
    return np.result_type(y.dtype, dtype).kind in kinds  # uint64 with int64 would be float64


class _Chunks:
    """An iterable of chunks, read from its start in each pass; its y is known from the first."""

    def __init__(self, chunks: Iterable[Any], y: HostArray, n_features: int, what: str) -> None:
        self._chunks, self._y, self._what = chunks, y, what
        self.shape = (len(y), n_features)

    def parts(self, rows: Rows, start: int, at_once: int) -> Iterator[tuple[int, HostArray]]:
        """See `Source`; every chunk is yielded."""
        n, width = self.shape
        a = 0
        for X, y, _ in _checked(self._chunks, width, self._what):
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
