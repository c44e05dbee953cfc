"""Zarr's arrays, wherever they are stored, are trained on as the same rows in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp.data.fingerprint import fingerprint
from arraymlp.data.stream import stream
from elsewhere import rows_elsewhere, rows_of, same_training
from engines_required import require_engine

require_engine("zarr")
import zarr  # noqa: E402
from zarr.storage import LocalStore, MemoryStore, WrapperStore  # noqa: E402

N, WIDTH = 200, 5
X = np.random.default_rng(3).normal(size=(N, WIDTH)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 10, "window": 50, "backend": "numpy"}


class CountingStore(WrapperStore[Any]):
    """A store that notes which chunks are read, and may fail."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.read: list[str] = []
        self.fails = False

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        if "/c/" in key:
            if self.fails:
                raise ConnectionError("the network is gone")
            self.read.append(key)
        return await super().get(key, *args, **kwargs)


STORES: dict[str, Callable[[Path], Any]] = {
    "local": lambda path: LocalStore(path / "data.zarr"),
    "memory": lambda path: MemoryStore(),
    "counting": lambda path: CountingStore(MemoryStore()),
}


def written(store: Any, name: str, values: np.ndarray, chunks: tuple[int, ...], **how: Any) -> Any:
    array = zarr.create_array(
        store, name=name, shape=values.shape, chunks=chunks, dtype=values.dtype, **how
    )
    array[...] = values
    return array


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("chunks", [(30, 2), (50, 5), (7, 5), (3, 5), (500, 3)])
def test_training_has_the_bits_of_that_in_memory(
    store: str, chunks: tuple[int, int], tmp_path: Path
) -> None:
    at = STORES[store](tmp_path)
    array = written(at, "X", X, chunks)
    y = written(at, "y", Y, chunks[:1])
    expected = arraymlp.train(X, Y, validation=0.2, **HOW)
    run = arraymlp.train(array, y, validation=0.2, **HOW)
    same_training(run, expected)
    assert fingerprint(run.data, run.backend)["y"] == fingerprint(expected.data, run.backend)["y"]
    np.testing.assert_array_equal(run.predict(array), expected.predict(X))
    assert str(run.evaluate(array, y)) == str(expected.evaluate(X, Y))


def test_shards_are_read_chunk_by_chunk(tmp_path: Path) -> None:
    array = written(LocalStore(tmp_path / "data.zarr"), "X", X, (10, 5), shards=(50, 5))
    same_training(arraymlp.train(array, Y, **HOW), arraymlp.train(X, Y, **HOW))


def test_each_chunk_is_read_once_in_a_pass() -> None:
    store = CountingStore(MemoryStore())
    streamed = stream(written(store, "X", X, (30, 2)), "float32")
    chunks = 7 * 3
    for size in (50, 30, 7, 1000):
        store.read.clear()
        np.testing.assert_array_equal(rows_of(streamed, size), X)
        assert len(store.read) == len(set(store.read)) == chunks
    store.read.clear()
    rows = np.r_[31:40, 150:155, 185:190]
    np.testing.assert_array_equal(rows_of(streamed.kept(rows), 100), X[rows])
    assert sorted({key.split("/")[-2] for key in store.read}) == ["1", "5", "6"]
    assert len(store.read) == 3 * 3


def test_a_store_that_fails_is_named_with_the_rows() -> None:
    store = CountingStore(MemoryStore())
    array, y = written(store, "X", X, (50, 5)), written(store, "y", Y, (50,))
    run = arraymlp.train(array, Y, epochs=1, backend="numpy", window=50, batch_size=10)
    store.fails = True
    with pytest.raises(OSError, match=r"^X\[0:200\] could not be read: ConnectionError: the netw"):
        run.predict(array)
    with pytest.raises(OSError, match=r"^X\[0:50\] could not be read: ConnectionError: the net"):
        rows_of(run.data.X, 50)
    with pytest.raises(OSError, match=r"^y could not be read: ConnectionError: the netw"):
        arraymlp.train(X, y, **HOW)


def test_what_is_no_table_of_numbers_is_refused() -> None:
    store = MemoryStore()
    array = written(store, "X", X, (50, 5))
    with pytest.raises(ValueError, match="X must be numeric, not of dtype complex64"):
        arraymlp.train(written(store, "complex", X + 0j, (50, 5)), Y, **HOW)
    with pytest.raises(ValueError, match=r"X must be 2-D .*1-D"):
        arraymlp.train(written(store, "1-D", X[:, 0], (50,)), Y, **HOW)
    with pytest.raises(ValueError, match="y has 199 samples, but there are 200 rows of data"):
        arraymlp.train(array, written(store, "short", Y[1:], (50,)), **HOW)
    network = arraymlp.train(array, Y, **HOW).network
    narrow = written(store, "narrow", X[:, :4], (50, 4))
    with pytest.raises(ValueError, match="X has 4 features, but 5 are expected"):
        network.predict(narrow)


def test_another_process_reads_the_store_again(tmp_path: Path) -> None:
    array = written(LocalStore(tmp_path / "data.zarr"), "X", X, (30, 2))
    streamed = stream(array, "float32").kept(np.arange(10, 150))
    np.testing.assert_array_equal(rows_elsewhere(streamed), X[10:150])
