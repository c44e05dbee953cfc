"""A CSV file in pieces of whole rows, each known to be plain or left to Python's csv module.

Plain is a piece where every quote begins or ends a cell, or is one of two that stand for one. There
any reader finds the same cells; elsewhere readers differ, and the csv module, in its strict mode,
says what the cells are, or that the file is damaged.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.files.csv_layout import Layout, is_blank

CHUNK = 2**23  # bytes that are read at once
FEED, RETURN, QUOTE = b'\n\r"'


class Chunk(NamedTuple):
    """A piece of a file.

    Attributes:
        data: whole rows, in UTF-8.
        line: the number of lines before it.
        plain: see above.
        broken: some rows of it, which is plain, have more than one line.
    """

    data: bytes
    line: int
    plain: bool
    broken: bool = False

    def rows(self, layout: Layout) -> Iterator[tuple[int, list[str]]]:
        """Its rows' cells as the csv module reads them, each with the number of its last line.

        Raises:
            ValueError: quotes that do not end, or a row of another length.
        """
        last = ""

        def lines() -> Iterator[str]:
            nonlocal last
            for line in io.StringIO(self.data.decode(), newline=""):
                last = line
                yield line

        reader = csv.reader(lines(), delimiter=layout.delimiter, strict=True)
        width = len(layout.names)
        try:
            for row in reader:
                if last.endswith("\n" if layout.returns else "\r"):
                    line = self.line + reader.line_num
                    how = "a line feed" if layout.returns else "a carriage return alone"
                    raise ValueError(f"line {line} ends in {how}, but the first one does not")
                if len(row) == width and not (width == 1 and is_blank(row)):
                    yield self.line + reader.line_num, row
                elif not is_blank(row):
                    line = self.line + reader.line_num
                    raise ValueError(
                        f"line {line} has {len(row)} cells, but there are {width} columns"
                    )
        except csv.Error as error:
            line = self.line + reader.line_num
            raise ValueError(f"not readable as CSV (line {line}: {error})") from error


def chunks(path: Path, layout: Layout) -> Iterator[Chunk]:
    """The rows of a file, in order, some at a time.

    Raises:
        ValueError: bytes that are no UTF-8, null characters, quotes that do not end.
        OSError: the file cannot be read.
    """
    line, rest = layout.header_lines, b""
    with path.open("rb") as file:
        file.seek(layout.start)
        while data := rest + file.read(CHUNK):
            end, plain, broken = _end(data, layout, file)
            while end == 0:  # a row that goes on
                data += file.read(CHUNK)
                end, plain, broken = _end(data, layout, file)
            if end < 0:
                data, end = _strict_end(data, line, layout, file)
            whole = data[:end]
            _require_text(whole, line)
            yield Chunk(whole, line, plain, broken)
            rest = data[end:]
            line += _lines(whole)


def _lines(data: bytes) -> int:
    """How many lines end in it: by a line feed, a carriage return, or both together."""
    feeds = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == FEED))
    return feeds + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else feeds


def _is_last(file: BinaryIO) -> bool:
    at = file.tell()
    more = file.read(1)
    file.seek(at)
    return not more


def _end(data: bytes, layout: Layout, file: BinaryIO) -> tuple[int, bool, bool]:
    """Where the last whole row ends, whether the rows are plain, and have several lines.

    The end is 0 where no row ends in the data, and negative where the csv module has to find it.
    """
    last = _is_last(file)
    if not last and data.endswith(b"\r"):
        data = data[:-1]
    lone = b"\r" in data and data.count(b"\r") != data.count(b"\r\n")
    if lone or layout.returns or data.startswith(codecs.BOM_UTF8):  # which pyarrow would skip
        return -1, False, False
    if b'"' not in data:
        return (len(data) if last else data.rfind(b"\n") + 1), True, False
    codes = np.frombuffer(data, dtype=np.uint8)
    quotes = np.flatnonzero(codes == QUOTE)
    end = _last_row(data, quotes, last)
    if end < 0:
        return end, False, False
    quotes = quotes[: np.searchsorted(quotes, end)]
    if not _are_plain(codes, quotes, ord(layout.delimiter)):
        return -1, False, False
    feeds = np.flatnonzero(codes[:end] == FEED)
    inside = np.searchsorted(quotes, feeds) % 2
    return end, True, bool(inside.any())


def _last_row(data: bytes, quotes: HostArray, last: bool) -> int:
    """Where the last row ends, if quotes only begin and end cells; -1 where they do not pair."""
    if last:
        return len(data) if len(quotes) % 2 == 0 else -1
    outside = len(data)  # cells without quotes lie between a quote that ends one and this
    for k in range(len(quotes) // 2 * 2, -1, -2):
        begin = int(quotes[k - 1]) + 1 if k else 0
        outside = int(quotes[k]) if k < len(quotes) else len(data)
        if (feed := data.rfind(b"\n", begin, outside)) >= 0:
            return feed + 1
    return -1 if len(data) > CHUNK else 0


def _are_plain(codes: HostArray, quotes: HostArray, delimiter: int) -> bool:
    """Whether quotes, in turns, begin cells and end them, or are two that stand for one."""
    begins, ends = quotes[0::2], quotes[1::2]
    before = codes[np.maximum(begins - 1, 0)]
    after = codes[np.minimum(ends + 1, len(codes) - 1)]
    pairs = begins[1:] == ends[: len(begins) - 1] + 1  # an end and a beginning side by side
    begin_fine = (begins == 0) | (before == delimiter) | (before == FEED)
    end_fine = (ends == len(codes) - 1) | (after == delimiter) | (after == FEED) | (after == RETURN)
    begin_fine[1:] |= pairs
    end_fine[:-1] |= pairs
    return len(begins) == len(ends) and bool(begin_fine.all() and end_fine.all())


def _strict_end(data: bytes, line: int, layout: Layout, file: BinaryIO) -> tuple[bytes, int]:
    """The data, with more of the file if a row needs it, and where a row ends, by csv's reader."""
    data += file.readline()
    least, taken = len(data), 0

    def lines() -> Iterator[str]:
        nonlocal data, taken
        while taken < len(data):
            _require_text(data[taken:], line + _lines(data[:taken]))
            for text in data[taken:].splitlines(keepends=True):
                taken += len(text)
                yield text.decode()
            data += file.read(CHUNK) + file.readline()

    reader = csv.reader(lines(), delimiter=layout.delimiter, strict=True)
    try:
        for _ in reader:
            if taken >= least:
                break
    except csv.Error as error:
        at = line + reader.line_num
        raise ValueError(f"not readable as CSV (line {at}: {error})") from error
    return data, taken


def _require_text(data: bytes, line: int) -> None:
    """Raise a ValueError for what is no text in UTF-8, or has null characters."""
    if b"\0" in data:
        at = line + _lines(data[: data.index(b"\0")]) + 1
        raise ValueError(f"line {at} has a null character")
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            at = line + _lines(data[: error.start]) + 1
            raise ValueError(f"line {at} is no text in UTF-8 ({error.reason})") from error
