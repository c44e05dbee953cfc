"""What the cells of a CSV column say that it is: numbers, or texts; and the column made of them.

A cell is taken as it is written, without the white space around it. What could be a name is none
of the numbers: 007, 1_0, 0x1F.
"""

import re
from collections.abc import Iterable, Sequence
from enum import IntFlag
from typing import Literal, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames.frame import Column, Texts

# What a column is: whole numbers, numbers (float64), booleans, texts, or times (datetime64).
Kind: TypeAlias = Literal["integer", "number", "boolean", "text", "time"]

# What stands for a number that is not there, in any case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "?"})
# ... and for a text: as programs write it, so that "none" and "na" may be words.
MISSING_TEXTS = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "?"}
)
# As one writes an integer that is read back the same: no +1, 007, 1_0, which may be names.
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
DECIMAL = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.I
)
CODE = re.compile(r"[+-]?0[0-9]+")
SIGNED = re.compile(r"\+[0-9]+")
# Numbers with commas for the decimal point or between thousands, which are no numbers here.
WITH_COMMAS = re.compile(r"[+-]?[0-9][0-9.]*(,[0-9]+)+(\.[0-9]+)?")
LONGEST = 20  # letters of an int64
EXACT = 2**53  # from here on float64 has no longer every integer

# Many cells at once, each ended by a line feed: the usual ones, which Python reads as written.
_INTEGERS = re.compile(r"(?:-?(?:0|[1-9][0-9]{0,14})\n)*")
_DECIMALS = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\n)*")


class Evidence(IntFlag):
    """What has been seen in a column."""

    MISSING = 1
    WHOLE = 2  # integers as one writes them
    SIGNED = 4  # integers with a plus sign
    INEXACT = 8  # integers that float64 may not hold
    BEYOND = 16  # integers beyond int64
    DECIMAL = 32  # numbers that are no integers, or not written as such
    CODE = 64  # integers with leading zeros, such as 007
    TEXT = 128  # anything else


NOTHING = Evidence(0)


def kind_of(seen: Evidence) -> Kind:
    """What a column is in the end.

    Integers that no number here can hold, and signed ones among nothing but integers, are names.
    """
    if seen & (Evidence.TEXT | Evidence.CODE):
        return "text"
    if seen & Evidence.DECIMAL:
        return "number"
    lost = Evidence.MISSING in seen and Evidence.INEXACT in seen
    if lost or seen & (Evidence.SIGNED | Evidence.BEYOND):
        return "text"
    return "integer" if seen == seen & (Evidence.WHOLE | Evidence.INEXACT) and seen else "number"


def are_numbers(seen: Evidence) -> bool:
    """Whether what has been seen so far can be kept as numbers."""
    return not seen & (Evidence.TEXT | Evidence.CODE)


def evidence_of(cell: str) -> Evidence:
    """What one cell, without white space around it, says of its column."""
    if cell.lower() in MISSING:
        return Evidence.MISSING
    if INTEGER.fullmatch(cell):
        if len(cell) < 16:
            return Evidence.WHOLE
        if not fits_int64(cell):
            return Evidence.BEYOND
        return Evidence.WHOLE | (Evidence.INEXACT if abs(int(cell)) >= EXACT else NOTHING)
    if CODE.fullmatch(cell):
        return Evidence.CODE
    if SIGNED.fullmatch(cell):
        return Evidence.SIGNED
    return Evidence.DECIMAL if DECIMAL.fullmatch(cell) else Evidence.TEXT


def fits_int64(cell: str) -> bool:
    """Whether an integer as one writes it is an int64; Python reads no very long ones."""
    return len(cell) <= LONGEST and -(2**63) <= int(cell) < 2**63


def survey(cells: Sequence[str]) -> Evidence:
    """What many cells, without white space around them, say of their column."""
    known = [cell for cell in cells if cell not in MISSING_TEXTS]
    seen = Evidence.MISSING if len(known) < len(cells) else NOTHING
    joined = "\n".join([*known, ""])
    if joined.count("\n") == len(known):
        if _INTEGERS.fullmatch(joined):
            return seen | Evidence.WHOLE if known else seen
        if _DECIMALS.fullmatch(joined) and any(mark in joined for mark in ".eE"):
            return seen | Evidence.DECIMAL
    for cell in set(known):
        seen |= evidence_of(cell)
        if Evidence.TEXT in seen:
            break
    return seen


def numbers(cells: Sequence[str]) -> HostArray:
    """Cells (N,) that `survey` found to be numbers: int64 where all are integers, else float64."""
    if all(map(INTEGER.fullmatch, cells)) and all(map(fits_int64, cells)):
        return np.asarray(list(map(int, cells)), dtype=np.int64)
    try:
        values = list(map(float, cells))
    except ValueError:  # some are missing
        values = [float("nan" if cell.lower() in MISSING else cell) for cell in cells]
    return np.asarray(values, dtype=np.float64)


def texts(cells: Iterable[str]) -> Texts:
    """Cells as texts."""
    positions: dict[str, int] = {}
    missing = MISSING_TEXTS
    codes = [
        -1 if cell in missing else positions.setdefault(cell, len(positions)) for cell in cells
    ]
    return Texts(np.asarray(codes, dtype=np.int32), tuple(positions))


def column_of_cells(cells: Sequence[str], before: Evidence) -> tuple[Evidence, Column]:
    """What has been seen in a column with these cells, and the cells as far as that says."""
    if not are_numbers(before):
        return before, texts(cells)
    seen = before | survey(cells)
    return seen, (numbers(cells) if are_numbers(seen) else texts(cells))


def is_number(cell: str) -> bool:
    """Whether a cell is a number, however it is written."""
    return DECIMAL.fullmatch(cell.strip()) is not None
