"""A table written as it is made, some rows at a time: CSV, TSV or Parquet, to a file or stdout."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.app.outputs import require_file
from arraymlp.data.frames import Column, Frame, Texts
from arraymlp.training.atomic import write_pieces

STANDARD_OUTPUT = "-"
BROKEN_PIPE = 141  # what a shell reports of a program that nobody reads any more


def require_output(output: str) -> None:
    """Raise the errors of `write_table` before the work, not after it."""
    if output != STANDARD_OUTPUT:
        _writer(output)
        if Path(output).suffix.lower() == ".parquet":
            _arrow()
        require_file(Path(output))


def write_table(output: str, frames: Iterable[Frame]) -> None:
    """Write the rows of frames with the same columns; a file is written whole or not at all.

    Floating-point numbers have the fewest digits that are read back as the same number of their
    dtype; NaN, and a text that there is not, are empty cells.

    Args:
        output: a .csv, .tsv or .parquet file, or ``-`` for a CSV on the standard output.
        frames: one or more, made as they are written; what their making raises ends it.

    Raises:
        ValueError: another kind of file.
        ModuleNotFoundError: pyarrow, which writes Parquet, is not installed.
        OSError: it cannot be written.
    """
    if output != STANDARD_OUTPUT:
        write_pieces(Path(output), _writer(output)(frames))
        return
    try:
        for piece in _csv(frames, ","):
            _print(piece)
    except BrokenPipeError:  # whoever reads it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def _print(piece: bytes) -> None:
    """Write to the standard output, in UTF-8 where it takes bytes."""
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(piece)
    else:
        sys.stdout.write(piece.decode())
    sys.stdout.flush()


def _writer(output: str) -> Callable[[Iterable[Frame]], Iterator[bytes]]:
    writers: Mapping[str, Callable[[Iterable[Frame]], Iterator[bytes]]] = {
        ".csv": lambda frames: _csv(frames, ","),
        ".tsv": lambda frames: _csv(frames, "\t"),
        ".parquet": _parquet,
    }
    writer = writers.get(Path(output).suffix.lower())
    if writer is None:
        raise ValueError(f"{output}: a table is written as .csv, .tsv or .parquet")
    return writer


def _csv(frames: Iterable[Frame], delimiter: str) -> Iterator[bytes]:
    for i, frame in enumerate(frames):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        if i == 0:
            writer.writerow(frame.names)
        writer.writerows(zip(*map(_cells, frame.columns), strict=True))
        yield text.getvalue().encode()


def _cells(column: Column) -> list[Any]:
    """The cells of a column, which the csv module writes as they are."""
    if isinstance(column, Texts):
        return ["" if text is None else text for text in column.to_numpy().tolist()]
    if column.dtype.kind == "f":
        return ["" if v != v else str(v) for v in column]
    if column.dtype.kind == "M":
        return ["" if np.isnat(v) else str(v) for v in column]
    return list(column.tolist())


def _parquet(frames: Iterable[Frame]) -> Iterator[bytes]:
    pa, parquet = _arrow()
    sink, writer = _Sink(), None
    for frame in frames:
        columns = [_arrow_column(pa, column) for column in frame.columns]
        table = pa.table(columns, names=list(frame.names))
        if writer is None:
            writer = parquet.ParquetWriter(sink, table.schema)
        writer.write_table(table)
        yield sink.taken()
    if writer is not None:
        writer.close()
    yield sink.taken()


def _arrow_column(pa: Any, column: Column) -> Any:
    if isinstance(column, Texts):
        return pa.array(column.to_numpy().tolist(), pa.string())
    return pa.array(column.tolist(), pa.string()) if column.dtype.kind == "U" else pa.array(column)


class _Sink(io.RawIOBase):
    """A file of which what was written is taken away, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """What was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ModuleNotFoundError("a .parquet file needs pyarrow: pip install pyarrow") from error
