"""Writes a table block by block, as CSV or Parquet: to a file that is whole or not there, or -."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.app.number_texts import number_texts
from arraymlp.app.outputs import require_file
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.training.atomic import write_stream

BROKEN_PIPE = 141  # what a shell reports of a program that nobody reads any more
ROWS = 2**16  # that are written at once
SPECIAL = frozenset('"\r\n')  # what has a cell quoted, with the delimiter
Writer = Callable[[Iterable[Frame]], Iterator[bytes]]


def table_writer(path: Path | str) -> Writer:
    """What turns a table into the content of a file, by how that ends; ``-`` takes CSV.

    Raises:
        ValueError: it ends otherwise.
        ModuleNotFoundError: pyarrow, which writes Parquet, is not installed.
    """
    suffix = ".csv" if str(path) == "-" else Path(path).suffix.lower()
    if suffix == ".parquet":
        try:
            import_module("pyarrow.parquet")
        except ImportError as error:
            raise ModuleNotFoundError(
                f"{path}: Parquet needs pyarrow: pip install pyarrow"
            ) from error
        return _parquet
    if suffix not in (".csv", ".tsv"):
        raise ValueError(f"{path}: a table is written as .csv, .tsv or .parquet, or to - as CSV")
    delimiter = "\t" if suffix == ".tsv" else ","
    return lambda frames: _csv(frames, delimiter)


def write_table(path: Path | str, frames: Iterable[Frame]) -> None:
    """Write a table.

    Numbers are written with the fewest digits that read back as the same; a missing value is an
    empty cell; a cell is quoted where it must be.

    Args:
        path: of a file that ends in .csv, .tsv or .parquet; or ``-`` for standard output as CSV.
        frames: the rows, some at a time, all with the same columns; one or more. What making them
            raises leaves the file as it was.

    Raises:
        ValueError, ModuleNotFoundError: as of `table_writer`.
        OSError: it cannot be written.
    """
    content = table_writer(path)(frames)
    if str(path) != "-":
        write_stream(Path(path), content)
        return
    try:
        for piece in content:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever reads it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def require_output(path: Path | str) -> None:
    """Raise what `write_table` would raise after the work: before it."""
    table_writer(path)
    if str(path) != "-":
        require_file(Path(path))


# CSV


def _csv(frames: Iterable[Frame], delimiter: str) -> Iterator[bytes]:
    for i, frame in enumerate(frames):
        if i == 0:
            yield (delimiter.join(_cells(frame.names, delimiter)) + "\n").encode()
        alone = len(frame.names) == 1  # where an empty line would be no row
        for a in range(0, len(frame), ROWS):
            columns = [_column(c[a : a + ROWS], delimiter, alone) for c in frame.columns]
            lines = map(delimiter.join, zip(*columns, strict=True))
            yield ("\n".join(lines) + "\n").encode()


def _column(column: Column, delimiter: str, alone: bool) -> list[str]:
    missing = '""' if alone else ""
    if isinstance(column, Texts):
        cells = np.asarray([*_cells(column.values, delimiter), missing], dtype=object)
        texts: list[str] = cells[column.codes].tolist()
        return texts
    if column.dtype.kind == "f":
        return [missing if text == "nan" else text for text in number_texts(column)]
    if column.dtype.kind == "M":
        times = np.datetime_as_string(column).tolist()
        return [missing if time == "NaT" else time for time in times]
    return list(map(str, column.tolist()))


def _cells(texts: Iterable[str], delimiter: str) -> list[str]:
    special = SPECIAL | {delimiter}
    return [
        text if special.isdisjoint(text) and text else '"' + text.replace('"', '""') + '"'
        for text in texts
    ]


# Parquet


class _Sink:
    """A file for pyarrow, whose bytes are taken as they come."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _parquet(frames: Iterable[Frame]) -> Iterator[bytes]:
    pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    sink, writer = _Sink(), None
    for frame in frames:
        table = pa.table([_arrow(pa, c) for c in frame.columns], names=list(frame.names))
        if writer is None:
            writer = parquet.ParquetWriter(sink, table.schema)
        writer.write_table(table.cast(writer.schema))
        yield sink.taken()
    if writer is not None:
        writer.close()
    yield sink.taken()


def _arrow(pa: Any, column: Column) -> Any:
    """A column as pyarrow's, with null where a value is missing."""
    if not isinstance(column, Texts):
        return pa.array(column, from_pandas=True)
    codes = pa.array(column.codes, mask=column.codes < 0)
    values = pa.array(column.values, pa.string())
    return pa.DictionaryArray.from_arrays(codes, values).cast(pa.string())
