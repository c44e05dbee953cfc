"""Damaged files of formats without a SHA-256: what is read there is held to another reader."""

import gzip
import io
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np

from arraymlp.data.datasets.idx import IDXError, read_idx
from arraymlp.data.files import csv_arrow
from arraymlp.data.files.cells import MISSING, MISSING_TEXTS
from arraymlp.data.files.table_files import open_table
from arraymlp.data.frames.frame import Column, Frame, Texts
from fuzzing import AS_READ, Format
from mutations import damage

# IDX


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)  # a seed's files are the same ones at any time


def _idx_files() -> list[bytes]:
    image = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + bytes(range(24))
    numbers = b"\0\0\x0d\x01\0\0\0\x05" + np.arange(5, dtype=">f4").tobytes()
    scalar = b"\0\0\x0c\0" + (7).to_bytes(4, "big")
    return [image, numbers, scalar, _gzip(image), _gzip(numbers)]


def _change_idx(content: bytes, others: list[bytes], random: Random) -> bytes:
    if content[:2] == b"\x1f\x8b" and random.random() < 0.7:
        return _gzip(damage(gzip.decompress(content), others, random))
    return damage(content, others, random)


def _judge_idx(array: Any, file: Path) -> str:
    content = file.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    code = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[content[2]]
    n = content[3]
    shape = np.frombuffer(content, ">u4", n, 4)
    assert array.shape == tuple(shape.tolist())
    assert array.astype(code).tobytes() == content[4 + 4 * n :]
    return AS_READ


# Tables

CSV = [
    "a,b,species\n1,2.5,ant\n3,-4e1,bee\n0.5,.5,ant\n6,7,bee\n",
    "1,2,3\n4,5,6\n7,8,9\n10,11,12\n",
    '"x; y";"z";y\r\n1;2;0\r\n\r\n3;4;1\r\n5;6;0\r\n',
    "x\ty\n1\t0.5\n2\t0.25\n3\t1e3\n",
    "0,1,price\n1,2,5\n3,4,6\n",
    'zip,day,gap,kind\n007,2024-05-31,NA,"a, b"\n12,2024-06-01,1.5,none\n3,?,,"say ""c"""\n',
]


def _read(file: Path) -> Frame:
    with open_table(file) as table:
        return table.read()


def _read_by_csv(file: Path) -> Frame:
    with mock.patch.object(csv_arrow, "is_installed", return_value=False):
        return _read(file)


def _judge_csv(table: Frame, file: Path) -> str:
    import pandas

    # Without the empty lines before the first: after such a "\r" pandas loses an empty cell.
    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    for delimiter in ",;\t":
        try:
            frame = pandas.read_csv(
                io.BytesIO(content),
                sep=delimiter,
                header=None,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8",
            )
        except (ValueError, pandas.errors.ParserError):
            continue
        cells = frame.to_numpy()[len(frame) - len(table) :]
        if cells.shape == table.shape and all(map(_are_cells, table.columns, cells.T)):
            return AS_READ
    raise AssertionError("a table that is not pandas'")


def _are_cells(column: Column, cells: Any) -> bool:
    """Whether a column is of these cells; white space around one is whatever Python strips."""
    cells = [cell.strip() for cell in cells]
    if isinstance(column, Texts):
        known = [None if cell in MISSING_TEXTS else cell for cell in cells]
        return known == column.to_numpy().tolist()
    known = ["nan" if cell.lower() in MISSING else cell for cell in cells]
    try:
        return np.array_equal(column, [float(cell) for cell in known], equal_nan=True)
    except ValueError:
        return False


def _npz_files() -> list[bytes]:
    files = []
    y = np.array(["a", "bb", "a", "c"])
    x = np.arange(12, dtype="float32").reshape(4, 3)
    for save, arrays in (
        (np.savez, {"X": x, "y": np.arange(4) % 2}),
        (np.savez_compressed, {"X": np.asfortranarray(x), "y": y}),
        (np.savez, {"X": x.astype("i2"), "y": x[:, :2]}),
    ):
        buffer = io.BytesIO()
        save(buffer, **arrays)  # type: ignore[arg-type]
        files.append(buffer.getvalue())
    return files


def _change_npz(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Bytes of the archive; or bytes of an array in it, with a checksum that is right."""
    if random.random() < 0.4:
        return damage(content, others, random)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            member = old.read(entry)
            if random.random() < 0.6:
                member = damage(member, [member], random)
            new.writestr(entry, member)
    return buffer.getvalue()


def _judge_npz(table: Frame, file: Path) -> str:
    with np.load(file, allow_pickle=False) as arrays:
        columns = []
        for name in sorted(arrays, key=lambda name: name == "y"):
            columns += [arrays[name]] if arrays[name].ndim == 1 else list(arrays[name].T)
    assert len(columns) == len(table.columns)
    for ours, column in zip(table.columns, columns, strict=True):
        assert _is_column(ours, column)
    return AS_READ


def _is_column(ours: Column, values: Any) -> bool:
    if isinstance(ours, Texts):
        values = values.astype(str) if values.dtype.kind == "S" else values
        return [str(v) if v is not None else None for v in values] == ours.to_numpy().tolist()
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "D")
    return np.array_equal(ours, values, equal_nan=values.dtype.kind in "fmM")


@cache
def _parquet_files() -> list[bytes]:
    import pandas
    import pyarrow
    import pyarrow.parquet

    frame = pandas.DataFrame({"a": [1.5, 2, 3, 4], "b": [1, 2, 3, 4], "y": ["u", "v", "u", "w"]})
    files = []
    for table, how in (
        (frame, {"compression": "none"}),
        (frame.set_index("b").rename_axis("b"), {}),
        (frame[["a", "b"]], {"compression": "zstd", "use_dictionary": False}),
    ):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pandas(table), buffer, **how)
        files.append(buffer.getvalue())
    return files


def _judge_parquet(table: Frame, file: Path) -> str:
    import pyarrow.parquet

    read = pyarrow.parquet.read_table(file)
    for name, ours in zip(table.names, table.columns, strict=True):
        assert _is_column(ours, np.asarray(read[name].to_numpy()))
    return AS_READ


def _table(suffix: str, originals: Any, change: Any, judge: Any, read: Any = _read) -> Format:
    return Format(suffix, originals, change, read, ValueError, judge)


def _csv(read: Any) -> Format:
    return _table(".csv", [text.encode() for text in CSV], damage, _judge_csv, read)


TABLES: dict[str, Callable[[], Format]] = {
    "IDX": lambda: Format(".idx", _idx_files(), _change_idx, read_idx, IDXError, _judge_idx),
    "CSV": lambda: _csv(_read),
    "CSV (no pyarrow)": lambda: _csv(_read_by_csv),
    "NPZ": lambda: _table(".npz", _npz_files(), _change_npz, _judge_npz),
    "Parquet": lambda: _table(".parquet", _parquet_files(), damage, _judge_parquet),
}
