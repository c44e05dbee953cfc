"""Sources of rows that are read by windows, and what their windows must hold."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.data.chunks import stream_chunks
from arraymlp.data.stream import Streamed, stream
from conftest import assert_same

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


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("arraymlp-reader")]


def assert_windows(windows: Iterable[Any], expected: np.ndarray, backend: Backend) -> None:
    """All windows are held until the end: none may change after it was handed out."""
    held = list(windows)
    assert [w.shape[0] for w in held] == [
        min(ROWS, len(expected) - a) for a in range(0, len(expected), ROWS)
    ]
    for i, window in enumerate(held):
        assert_same(window, backend.asarray(expected[i * ROWS : (i + 1) * ROWS]))
