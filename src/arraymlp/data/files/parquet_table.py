"""Parquet files, by pyarrow, some rows at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.data.files.cells import Kind
from arraymlp.data.files.iso_times import times_of
from arraymlp.data.files.table_file import (
    TableFile,
    Unsettled,
    errors_of,
    kind_of,
    require_columns,
    require_different,
)
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.sources import frame_of
from arraymlp.data.frames.values import BOOLEANS

ROWS = 2**16  # of a block


class ParquetFile(TableFile):
    """A Parquet file as a table; see `arraymlp.data.files.table_files.open_table`."""

    def __init__(self, path: Path, title: str, kinds: Mapping[str, Kind] | None = None) -> None:
        self._path = path
        with errors_of(title), _reading():
            with parquet().ParquetFile(path) as file:
                names, groups = names_of(file.schema_arrow), file.metadata
                n_bytes = sum(
                    groups.row_group(i).total_byte_size for i in range(groups.num_row_groups)
                )
            require_columns(names, tuple(kinds or ()))
        self._begin(title, names, kinds, n_bytes)

    def _begin(
        self, title: str, names: Sequence[str], kinds: Mapping[str, Kind] | None, n_bytes: int
    ) -> None:
        super().__init__(title, names, kinds)
        self._given, self._bytes = dict(kinds or {}), n_bytes
        self._kinds: dict[str, Kind | None] = dict.fromkeys(self.used)

    @property
    def n_bytes(self) -> int:
        """See `TableFile`."""
        return self._bytes

    @property
    def settled(self) -> dict[str, Kind]:
        """See `TableFile`."""
        return {
            name: self._given.get(name) or kind or "number" for name, kind in self._kinds.items()
        }

    def attempt(self) -> Iterator[Frame]:
        """See `TableFile`."""
        with errors_of(self.title):
            rows, is_wrong = 0, False
            for batch in self._batches():
                with _reading():
                    frame = frame_of(batch).select(self.used)
                columns = zip(frame.names, frame.columns, strict=True)
                frame = Frame(self.used, tuple(self._as_known(n, c, rows) for n, c in columns))
                is_wrong |= self._note(frame) and rows > 0
                rows += len(frame)
                if not is_wrong:
                    yield frame
            if not rows:
                raise ValueError("it has no rows")
            if is_wrong:
                raise Unsettled

    def _batches(self) -> Iterator[Any]:
        with _reading():
            file = parquet().ParquetFile(self._path, pre_buffer=False)
        with file:
            batches = file.iter_batches(ROWS, columns=list(self.used))
            while True:
                with _reading():
                    batch = next(batches, None)
                    if batch is not None:
                        batch.validate(full=True)
                if batch is None:
                    return
                if batch.num_rows:
                    yield batch

    def _as_known(self, name: str, column: Column, row: int) -> Column:
        """A column from that row on, as what its kind was given as, or has proved to be."""
        given = self._given.get(name)
        if given == "time" and isinstance(column, Texts):
            return times_of(column, name, row)
        if isinstance(column, np.ndarray) and column.dtype.kind == "b":
            if given == "number":
                return column.astype(np.float64)
            if given == "text" or self._kinds[name] == "text":
                return Texts(column.astype(np.int32), BOOLEANS)
        return column

    def _note(self, frame: Frame) -> bool:
        """Keep what the columns are; whether booleans have proved to be texts: some is missing."""
        changed = False
        for name, column in zip(frame.names, frame.columns, strict=True):
            known, kind = self._kinds[name], kind_of(column)
            if known is None or (known, kind) == ("integer", "number"):
                self._kinds[name] = kind
            elif (known, kind) == ("boolean", "text"):
                self._kinds[name], changed = kind, True
        return changed


def parquet() -> Any:
    """Pyarrow's module; a ModuleNotFoundError says what to install."""
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise ModuleNotFoundError("a .parquet file needs pyarrow: pip install pyarrow") from error


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what pyarrow raises of a damaged file into a ValueError."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # its OSErrors have no number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, ValueError) and not type(error).__module__.startswith("pyarrow"):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"not readable as Parquet ({reason})") from error


def names_of(schema: Any) -> tuple[str, ...]:
    """The columns' names, without the index of a pandas data frame, which is no feature.

    pandas says in the file's metadata which columns are its index.
    """
    metadata = schema.pandas_metadata or {}
    index = {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
    names = tuple(name for name in schema.names if name not in index)
    require_different(names)
    if "" in names:
        raise ValueError("a column has no name")
    if not names:
        raise ValueError("it has no columns")
    return names
