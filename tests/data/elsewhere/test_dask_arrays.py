"""Arrays of dask are computed window by window, by the user's scheduler, to the bits of NumPy's."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend
from arraymlp.backends.array import is_device_array
from arraymlp.data.stream import is_streamed, stream
from elsewhere import rows_elsewhere, rows_of, same_training
from engines_required import require_engine

require_engine("dask")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

N, WIDTH = 200, 5
X = np.random.default_rng(5).normal(size=(N, WIDTH)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 10, "window": 50, "backend": "numpy"}
CHUNKS = {
    "regular": (30, 5),
    "columns": (64, (2, 3)),
    "irregular": ((1, 99, 60, 40), (1, 1, 3)),
    "one": (N, WIDTH),
}


@pytest.mark.parametrize("chunks", CHUNKS)
def test_training_has_the_bits_of_that_in_memory(chunks: str) -> None:
    lazy, y = da.from_array(X, chunks=CHUNKS[chunks]), da.from_array(Y, chunks=70)
    assert is_streamed(lazy)
    assert not is_device_array(lazy)
    for validation in (None, 0.2, (X[:50] + 1, Y[:50])):
        expected = arraymlp.train(X, Y, validation=validation, **HOW)
        same_training(arraymlp.train(lazy, y, validation=validation, **HOW), expected)
    np.testing.assert_array_equal(expected.predict(lazy), expected.predict(X))
    assert str(expected.evaluate(lazy, y)) == str(expected.evaluate(X, Y))
    weighed = arraymlp.train(lazy, Y, sample_weight=da.from_array(np.arange(N), chunks=9), **HOW)
    same_training(weighed, arraymlp.train(X, Y, sample_weight=np.arange(N), **HOW))


def test_it_is_trained_on_everywhere(quick_backend: Backend) -> None:
    how = HOW | {"backend": quick_backend.name, "device": quick_backend.device, "engine": "array"}
    run = arraymlp.train(da.from_array(X, chunks=(30, 5)), Y, **how)
    same_training(run, arraymlp.train(X, Y, **how))


def test_targets_that_are_numbers_or_a_computation_stay_what_they_are() -> None:
    numbers = da.from_array(X[:, :2] * 3, chunks=(40, 1))
    expected = arraymlp.train(X, X[:, :2] * 3, **HOW)
    assert arraymlp.train(X, numbers, **HOW).history["loss"] == expected.history["loss"]
    lazy = (da.from_array(X, chunks=(30, 5)) * 2 + 1).rechunk((45, 5))
    same_training(arraymlp.train(lazy, Y, **HOW), arraymlp.train(X * 2 + 1, Y, **HOW))


def counted(calls: list[int], fails: int = -1) -> Any:
    """An array in four blocks that note their computation."""

    def block(i: int) -> np.ndarray:
        calls.append(i)
        if i == fails:
            raise ConnectionError("the worker is gone")
        return X[50 * i : 50 * i + 50]

    parts = [
        da.from_delayed(dask.delayed(block, pure=False)(i), (50, WIDTH), np.float32)
        for i in range(4)
    ]
    return da.concatenate(parts)


@pytest.mark.parametrize("size", [10, 50, 120, 1000])
def test_each_block_is_computed_once_in_a_pass(size: int) -> None:
    calls: list[int] = []
    streamed = stream(counted(calls), "float32")
    assert not calls
    np.testing.assert_array_equal(rows_of(streamed, size), X)
    assert sorted(calls) == [0, 1, 2, 3]
    calls.clear()
    rows_of(streamed.kept(np.r_[5:10, 160:190]), size)
    assert calls == [0, 3]


def test_the_scheduler_is_the_users() -> None:
    threads: set[threading.Thread] = set()
    lazy = da.from_array(X, chunks=(50, 5)).map_blocks(
        lambda block: threads.add(threading.current_thread()) or block, dtype=X.dtype
    )
    streamed = stream(lazy, "float32")
    threads.clear()
    with dask.config.set(scheduler="synchronous"):
        rows_of(streamed, 50)
    assert {thread.name.partition("_")[0] for thread in threads} == {"arraymlp-reader"}


def test_a_computation_that_fails_is_named_with_the_rows() -> None:
    with pytest.raises(OSError, match=r"^X\[100:150\] could not be read: ConnectionError: the w"):
        rows_of(stream(counted([], fails=2), "float32"), 50)
    with pytest.raises(OSError, match=r"^y could not be read: ConnectionError: the worker is gone"):
        arraymlp.train(X, counted([], fails=2), **HOW)


def widths() -> Any:
    """An array whose second block is not of the width that it says."""
    lazy = da.from_array(X, chunks=(100, 5))
    return lazy.map_blocks(
        lambda block, block_info: block[:, :4] if block_info[0]["chunk-location"][0] else block,
        dtype=X.dtype,
        meta=X[:0],
    )


def objects() -> Any:
    """An array whose second block is not of the dtype that it says."""
    lazy = da.from_array(X, chunks=(100, 5))
    return lazy.map_blocks(
        lambda block, block_info: (
            block.astype(str) if block_info[0]["chunk-location"][0] else block
        ),
        dtype=X.dtype,
        meta=X[:0],
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (
        lambda: (lambda lazy: lazy[lazy[:, 0] > 0])(da.from_array(X, chunks=(30, 5))),
        r"X has chunks of unknown sizes, shape \(nan, 5\): call its compute_chunk_sizes\(\) first",
    ),
    "objects": (
        lambda: da.from_array(X.astype(object), chunks=(30, 5)),
        "X must be numeric, not of dtype object",
    ),
    "1-D": (lambda: da.from_array(X[:, 0], chunks=30), r"X must be 2-D .* not 1-D"),
    "width": (widths, r"X\[100:200\] must be of shape \(100, 5\), .* not of \(100, 4\)"),
    "dtype": (objects, "X must be numeric, not of dtype <U"),
    "masked": (
        lambda: da.ma.masked_greater(da.from_array(X, chunks=(100, 5)), 1.0),
        "X has a masked array, whose mask would be lost",
    ),
    "NaN": (
        lambda: da.from_array(np.where(X[130, 2] == X, np.nan, X), chunks=(100, 5)),
        r"X must be finite, but X\[130, 2\] is nan",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        arraymlp.train(make(), Y, **HOW | {"window": 100})


def test_sizes_that_were_computed_are_known() -> None:
    lazy = da.from_array(X, chunks=(30, 5))
    some = lazy[lazy[:, 0] > 0]
    some.compute_chunk_sizes()
    chosen = X[:, 0] > 0
    how = HOW | {"batch_size": 5}
    same_training(
        arraymlp.train(some, Y[chosen], **how), arraymlp.train(X[chosen], Y[chosen], **how)
    )


def test_sparse_blocks_become_dense() -> None:
    scipy = pytest.importorskip("scipy.sparse")
    lazy = da.from_array(X, chunks=(50, 5)).map_blocks(scipy.csr_matrix, dtype=X.dtype)
    np.testing.assert_array_equal(rows_of(stream(lazy, "float32"), 50), X)


def test_another_process_computes_it_again() -> None:
    lazy = da.from_array(X, chunks=(30, 2)) + np.float32(1)
    np.testing.assert_array_equal(rows_elsewhere(stream(lazy, "float32")), X + np.float32(1))
