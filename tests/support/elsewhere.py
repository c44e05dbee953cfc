"""Data that lies elsewhere: stores that count, a server as S3's."""

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from arraymlp import resolve
from arraymlp.data.stream import Streamed

PATIENCE = 60  # seconds for another process


def rows_of(streamed: Streamed, size: int = 7) -> np.ndarray:
    return np.concatenate(list(streamed.windows(resolve("numpy"), size)))


def _rows_there(pickled: bytes) -> tuple[int, np.ndarray]:
    return os.getpid(), rows_of(pickle.loads(pickled))


def rows_elsewhere(streamed: Streamed) -> np.ndarray:
    """What a process of its own, which shares nothing, reads of a stream that was sent to it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pid, rows = pool.submit(_rows_there, pickle.dumps(streamed)).result(PATIENCE)
    assert pid != os.getpid()
    return rows


def same_training(run: Any, expected: Any) -> None:
    """The same weights and figures to the last bit, where one of both is streamed."""
    from runs import assert_same_bits

    assert isinstance(run.data.X, Streamed)
    assert not isinstance(expected.data.X, Streamed)
    assert_same_bits(run.network, expected.network)
    assert run.history.columns == expected.history.columns
    for column in set(expected.history.columns) - {"seconds", "samples_per_s"}:
        np.testing.assert_array_equal(run.history[column], expected.history[column], column)
