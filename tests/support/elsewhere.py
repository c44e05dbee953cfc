"""Data that lies elsewhere: which libraries there are, stores that count, a server as S3's.

ARRAYMLP_REQUIRE_ENGINES, a comma-separated list, names what must be there: "zarr", "dask",
"parquet" and "s3". What is not named is skipped where it is absent.
"""

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from arraymlp import resolve
from arraymlp.data.stream import Streamed

MODULES = {
    "zarr": ("zarr",),
    "dask": ("dask.array",),
    "dask frames": ("dask.dataframe",),
    "parquet": ("pyarrow.parquet", "pandas"),
    "s3": ("moto.server", "s3fs", "zarr", "pyarrow.parquet", "pandas"),
}
REQUIRED = os.environ.get("ARRAYMLP_REQUIRE_ENGINES", "").split(",")
PATIENCE = 60  # seconds for another process


def needed(what: str) -> None:
    """Skip where a library is not installed; fail where it is required."""
    for module in MODULES[what]:
        if what.partition(" ")[0] in REQUIRED:
            __import__(module)
        pytest.importorskip(module, reason=f"{module} is not installed")


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
