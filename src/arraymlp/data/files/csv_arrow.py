"""Plain pieces of a CSV file read by pyarrow, in C: to what the csv module's cells would become."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.files.cells import (
    EXACT,
    MISSING,
    MISSING_TEXTS,
    NOTHING,
    Evidence,
    are_numbers,
    column_of_cells,
)
from arraymlp.data.files.csv_chunks import Chunk
from arraymlp.data.files.csv_layout import Layout
from arraymlp.data.frames.frame import Column, Texts

Parsed = list[tuple[Evidence, Column]]


def is_installed() -> bool:
    """Whether pyarrow is there."""
    try:
        import_module("pyarrow.csv")
    except ImportError:
        return False
    return True


def read_chunk(chunk: Chunk, layout: Layout, before: Mapping[int, Evidence]) -> Parsed | None:
    """What is seen in each column, and its values, as `column_of_cells` gives them.

    Args:
        chunk: a plain one.
        layout: of the file.
        before: what has been seen in the columns that are read, by their numbers.

    Returns:
        Both for each of these columns; None where the lines are not all rows of this many
        cells, or else not as pyarrow wants them.
    """
    reader = _Reader(chunk, layout)
    types = {i: _type(seen) for i, seen in before.items()}
    try:
        return _typed(reader, chunk, layout, before, types)
    except reader.pa.ArrowInvalid:
        pass
    try:
        typed = {i: kind for i, kind in types.items() if _is_readable(reader, i, kind)}
        return _typed(reader, chunk, layout, before, {i: typed.get(i, "cells") for i in types})
    except reader.pa.ArrowInvalid:
        return None


def _type(seen: Evidence) -> str:
    if not are_numbers(seen):
        return "texts"
    return "float64" if Evidence.DECIMAL in seen else "int64"


class _Reader:
    """One chunk, of which columns are read as types of pyarrow."""

    def __init__(self, chunk: Chunk, layout: Layout) -> None:
        self.pa: Any = import_module("pyarrow")
        self.csv: Any = import_module("pyarrow.csv")
        self._chunk, self._layout = chunk, layout
        self._names = [str(i) for i in range(len(layout.names))]

    def columns(self, types: dict[int, str]) -> dict[int, Any]:
        pa, csv = self.pa, self.csv
        known = {"texts": pa.dictionary(pa.int32(), pa.string()), "cells": pa.string()}
        table = csv.read_csv(
            pa.BufferReader(self._chunk.data),
            read_options=csv.ReadOptions(column_names=self._names),
            parse_options=csv.ParseOptions(
                delimiter=self._layout.delimiter, newlines_in_values=self._chunk.broken
            ),
            convert_options=csv.ConvertOptions(
                column_types={
                    str(i): known.get(kind) or getattr(pa, kind)() for i, kind in types.items()
                },
                include_columns=[str(i) for i in types],
                null_values=_missing(),
                strings_can_be_null=False,
            ),
        )
        return dict(zip(types, table.columns, strict=True))


@cache
def _missing() -> list[str]:
    """What stands for a missing number, in every mixture of cases."""
    found = []
    for word in sorted(MISSING):
        cases = [sorted({letter.lower(), letter.upper()}) for letter in word]
        found += ["".join(letters) for letters in product(*cases)]
    return found


def _is_readable(reader: _Reader, i: int, kind: str) -> bool:
    """Whether pyarrow can read a column so."""
    try:
        reader.columns({i: kind})
    except reader.pa.ArrowInvalid:
        return False
    return True


def _typed(
    reader: _Reader,
    chunk: Chunk,
    layout: Layout,
    before: Mapping[int, Evidence],
    types: dict[int, str],
) -> Parsed:
    columns = reader.columns(types)
    numbers = [i for i, kind in types.items() if kind in ("int64", "float64")]
    doubtful = _with_codes(reader, chunk, layout, numbers)
    parsed: Parsed = []
    for i, kind in types.items():
        seen, column = before[i], columns[i]
        if kind == "texts":
            parsed.append((seen, _stripped(column)))
            continue
        values = None if kind == "cells" or i in doubtful else _numbers(column)
        if values is None:
            cells = column if kind == "cells" else reader.columns({i: "cells"})[i]
            parsed.append(column_of_cells([c.strip() for c in cells.to_pylist()], seen))
        else:
            parsed.append((seen | _evidence(values, column.null_count, kind), values))
    return parsed


def _numbers(column: Any) -> HostArray | None:
    """The values, NaN where one is missing; None where one is written like ``nan(1)``."""
    values: HostArray = column.to_numpy()
    if values.dtype.kind == "f" and int(np.isnan(values).sum()) != column.null_count:
        return None
    return values


def _evidence(values: HostArray, missing: int, kind: str) -> Evidence:
    seen = Evidence.MISSING if missing else NOTHING
    if missing == len(values) or kind == "float64":
        return seen
    with np.errstate(invalid="ignore"):
        beyond = np.nanmax(values) >= EXACT or np.nanmin(values) <= -EXACT
    return seen | Evidence.WHOLE | (Evidence.INEXACT if beyond else NOTHING)


def _stripped(column: Any) -> Texts:
    """A column of pyarrow's dictionaries as texts, without white space around them."""
    if column.num_chunks == 0:
        return Texts(np.empty(0, np.int32), ())
    parts = column.unify_dictionaries().chunks
    codes = np.concatenate([part.indices.to_numpy() for part in parts])
    values = parts[0].dictionary.to_pylist()  # all different, and none is None
    stripped = [value.strip() for value in values]
    if stripped == values and MISSING_TEXTS.isdisjoint(values):
        return Texts(codes, tuple(values))
    positions: dict[str, int] = {}
    new = [
        -1 if value in MISSING_TEXTS else positions.setdefault(value, len(positions))
        for value in stripped
    ]
    return Texts(np.asarray(new, dtype=np.int32)[codes], tuple(positions))


# Numbers that may be names

DIGITS = 64  # of a code that are looked at; the next is taken for one that goes on
BLOCK = 2**17  # bytes looked at together, which stay in the processor's cache
CODES = r"^[ \t]*[+-]?0([0-9]+|[xX].*)[ \t]*$"


def _with_codes(reader: _Reader, chunk: Chunk, layout: Layout, numbers: Sequence[int]) -> set[int]:
    """The columns of numbers with a cell like 007 or 0x1F, which pyarrow reads as 7 and 31."""
    compute: Any = import_module("pyarrow.compute")
    doubtful = [i for i in _may_have_codes(chunk, layout) if i in numbers]
    if not doubtful:
        return set()
    cells = reader.columns(dict.fromkeys(doubtful, "cells"))
    return {
        i for i in doubtful if compute.any(compute.match_substring_regex(cells[i], CODES)).as_py()
    }


def _may_have_codes(chunk: Chunk, layout: Layout) -> set[int]:
    """The columns where a cell may be such a code, and maybe one more."""
    codes = np.frombuffer(b"\n\n" + chunk.data + b"\n", dtype=np.uint8)
    delimiter, width = ord(layout.delimiter), len(layout.names)
    found = [
        a + _begin_codes(codes[a : a + BLOCK + 3], delimiter)
        for a in range(0, len(codes) - 3, BLOCK)
    ]
    starts = np.concatenate(found) if found else np.empty(0, np.int64)
    starts = starts[_end_codes(codes, starts + 1, delimiter)]
    if len(starts) == 0:
        return set()
    outside = codes == delimiter
    if b'"' in chunk.data:
        outside &= np.cumsum(codes == ord('"'), dtype=np.uint8) % 2 == 0
    column = np.unique(np.searchsorted(np.flatnonzero(outside), starts) % (width - 1)).tolist()
    return {*column, width - 1} if 0 in column else set(column)  # both have a multiple before them


def _end_codes(codes: HostArray, at: HostArray, delimiter: int) -> HostArray:
    """Where digits, from these positions on, go on to the end of a cell; or there is an x."""
    hexadecimal = codes[at] | 32 == ord("x")
    for _ in range(DIGITS):
        digits = codes[at] - np.uint8(ord("0")) < 10
        if not digits.any():
            break
        at = at + digits
    ends = (codes[at] <= ord('"')) | (codes[at] == delimiter)
    found: HostArray = hexadecimal | digits | ends
    return found


def _begin_codes(codes: HostArray, delimiter: int) -> HostArray:
    """Positions where a cell begins with such a zero; of those with two bytes before and one after.

    Before a cell are a delimiter, white space, a quote or the end of a line, and of these bytes all
    but a semicolon are below the minus sign.
    """
    zero, after = codes[2:-1] == ord("0"), codes[3:]
    begins = (codes[:-2] < ord("-")) | (codes[:-2] == delimiter)
    signed = begins[:-1] & (codes[1:-2] == ord("-"))
    zero &= begins[1:] | signed
    zero &= (after - np.uint8(ord("0")) < 10) | (after | 32 == ord("x"))
    return np.flatnonzero(zero) + 2
