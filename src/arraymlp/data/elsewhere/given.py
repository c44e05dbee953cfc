"""What users give that lies elsewhere: data frames of dask, paths of Parquet files, and targets."""

import os
from typing import Any

import numpy as np

from arraymlp.data.elsewhere.block_table import BlockTable
from arraymlp.data.elsewhere.dask_frame import DaskFrame, is_dask_frame, is_dask_series
from arraymlp.data.elsewhere.parquet_blocks import ParquetBlocks
from arraymlp.data.encoded_rows import PlainRows
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.files.parquet_dataset import SUFFIX, ParquetDataset, is_url
from arraymlp.data.sources import is_dask, reading


def opened(X: Any) -> Any:
    """A data frame of dask, or what a path names, as a table; anything else as it is.

    Raises:
        ValueError: it is a path of something else than Parquet files.
        OSError: what the path names is not there, or cannot be read.
        ModuleNotFoundError: what reads it is not installed.
    """
    if is_dask_frame(X):
        return BlockTable(DaskFrame(X))
    if not isinstance(X, str | os.PathLike):
        return X
    path = os.fspath(X)
    if not is_url(path) and not os.path.exists(path):
        raise FileNotFoundError(f"X is {path!r}, but there is no such file or folder")
    if os.path.isfile(path) and not path.lower().endswith(SUFFIX):
        raise ValueError(
            f"X is {path!r}: of paths those of {SUFFIX} files, and of folders of them, are read; "
            "give a data frame for another file"
        )
    return BlockTable(ParquetBlocks(ParquetDataset(path)))


def plain(X: Any) -> Any:
    """The same, a table as rows of its numbers.

    Raises:
        ValueError: as of `opened`; or a column is no numbers.
    """
    table = opened(X)
    return PlainRows(table) if isinstance(table, LargeTable) else table


def held(y: Any, what: str = "y") -> Any:
    """Targets in memory: computed by dask, read from HDF5 or Zarr; anything else as it is.

    Raises:
        OSError: they cannot be read; the message names them.
    """
    if is_dask(y) or is_dask_series(y) or is_dask_frame(y):
        with reading(what):
            return y.compute()
    if getattr(y, "chunks", None) is not None and hasattr(y, "dtype"):
        with reading(what):
            return np.asarray(y)
    return y
