"""One table with columns of every kind, in memory, as a data frame of dask, as Parquet files."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp import TableEncoder
from arraymlp.data.files import parquet_dataset

N = 600
# How two networks learn all of the table, dates included.
BOTH: dict[str, Any] = {
    "validation": 0.2,
    "seed": (0, 1),
    "encode": TableEncoder(dates=True),
}


def table() -> Any:
    """A data frame of pandas; its columns have other kinds of values in some of its parts."""
    import pandas as pd

    rng = np.random.default_rng(11)
    late = np.arange(N) > 450
    df = pd.DataFrame(
        {
            "number": rng.normal(size=N).astype(np.float32),
            "whole": rng.integers(0, 1000, N),
            "gaps": np.where(rng.random(N) < 0.3, np.nan, rng.normal(size=N)),
            "flag": rng.random(N) < 0.5,
            "text": rng.choice(["x", "y", "z"], N),
            "late text": pd.Series([str(i % 3) if now else None for i, now in enumerate(late)]),
            "category": pd.Categorical(rng.choice(["u", "v"], N)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, N), unit="D"),
        }
    )
    df["maybe"] = pd.array(np.where(late, 1, 0) * np.arange(N) % 7, dtype="Int64")
    df.loc[500:520, "maybe"] = pd.NA
    df["perhaps"] = pd.array(np.arange(N) % 3 == 1, dtype="boolean")
    df.loc[10:12, "perhaps"] = pd.NA
    df.loc[[3, 77], "text"] = None
    df["label"] = np.where(df.number + df.whole / 500 + (df.text == "x") > 1.3, "yes", "no")
    return df


def write_folder(folder: Path, df: Any, ends: Sequence[int], rows: int = 50) -> Path:
    """The table as files part-0.parquet, part-1.parquet, ... that end at these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (a, b) in enumerate(zip([0, *ends], [*ends, len(df)], strict=False)):
        df[a:b].to_parquet(folder / f"part-{i}.parquet", row_group_size=rows, index=False)
    return folder


@contextmanager
def reads() -> Iterator[list[tuple[int, int, tuple[str, ...]]]]:
    """Which row groups of which files are read, and which of their columns."""
    noted: list[tuple[int, int, tuple[str, ...]]] = []
    plain = parquet_dataset.ParquetDataset.tables

    def tables(self: Any, groups: Any, names: Sequence[str]) -> Any:
        noted.extend((group.file, group.number, tuple(names)) for group in groups)
        return plain(self, groups, names)

    parquet_dataset.ParquetDataset.tables = tables  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        parquet_dataset.ParquetDataset.tables = plain  # type: ignore[method-assign]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warning that names columns which are not encoded."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "columns that are not encoded")
        yield
