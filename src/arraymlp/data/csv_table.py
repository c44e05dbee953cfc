"""CSV files, read strictly: what another reader would guess, mend or cut off is an error here.

Cells are what Python's csv module says; features become numbers by NumPy's reader, in C.
"""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arraymlp._checks import nearest
from arraymlp.backends.array import HostArray

NAMED = 20  # columns or cells that a message lists
# As one writes an integer that is read back the same: no +1, 007, 1_0, which may be names.
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
DECIMAL = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.I
)
# What stands for a value that is not there.
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "?"})
# Numbers with commas for the decimal point or between thousands, which are no numbers here.
WITH_COMMAS = re.compile(r"[+-]?[0-9][0-9.]*(,[0-9]+)+(\.[0-9]+)?")
DOUBTFUL = "its first line may be names or a row: begin with a line of names that are no numbers"


class Columns(NamedTuple):
    """What a file's lines are made of.

    Attributes:
        delimiter: between cells.
        names: of the columns; their numbers where the file has no names.
        header_lines: how many lines the names take, with blank ones before them; 0 for no names.
    """

    delimiter: str
    names: list[str]
    header_lines: int


def read_csv(path: Path, target: str | None) -> tuple[HostArray, HostArray, str]:
    """The features (N, n), the target (N,) and its name.

    Args:
        path: of a file with one line per row, in UTF-8; commas, semicolons or tabs between its
            cells, only tabs in a ``.tsv``; a first line of names, or none.
        target: the name of a column, without a first line of names its number; by default the last.

    Raises:
        ValueError: rows of different lengths, quotes that do not end, a first line that may be
            names or a row, two columns with the target's name, features that are no numbers,
            targets that are missing.
    """
    try:
        columns = _columns(path)
        chosen = column_of(columns.names, None if target is None else target.strip())
        name = columns.names[chosen]
        if columns.names.count(name) > 1:
            raise ValueError(
                f"{columns.names.count(name)} columns have the target's name, {name!r}"
            )
        cells = _target_cells(path, columns, chosen)
    except csv.Error as error:
        raise ValueError(f"not readable as CSV ({error})") from error
    if _is_doubtful(columns, chosen, cells):
        raise ValueError(DOUBTFUL)
    others = [i for i in range(len(columns.names)) if i != chosen]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = islice(file, columns.header_lines, None)
            X = np.loadtxt(
                (line for line in lines if line.strip(" \r\n")),
                usecols=others,
                delimiter=columns.delimiter,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
    except ValueError as error:
        raise ValueError(f"features must be numbers in every row ({error})") from error
    if len(X) != len(cells):
        raise ValueError(f"it has {len(cells)} rows, but {len(X)} of features")
    return X, _numbers_or_names(cells, name), name


def column_of(columns: list[str], name: str | None) -> int:
    """The position of the column of that name; of the last one for None."""
    if name is None:
        return len(columns) - 1
    if name not in columns:
        shown = ", ".join(columns[:NAMED]) + (", ..." if len(columns) > NAMED else "")
        hint = nearest(columns, name) or "."
        raise ValueError(f"there is no column {name!r}{hint} There is {shown}")
    return columns.index(name)


def _columns(path: Path) -> Columns:
    """Delimiter and names, from the first two lines."""
    found: dict[str, tuple[list[str], list[str], int]] = {}
    damage = None
    for delimiter in "\t" if path.suffix.lower() == ".tsv" else ",;\t":
        try:
            found[delimiter] = _first_two(path, delimiter)
        except csv.Error as error:  # a quote does not end where this delimiter would have it
            damage = error
    alike = [d for d, (first, second, _) in found.items() if len(first) == len(second) >= 2]
    best = sorted(alike or found, key=lambda d: -len(found[d][0]))
    if len(alike) > 1 and len(found[best[0]][0]) == len(found[best[1]][0]):
        raise ValueError(f"its cells may be parted by {best[0]!r} or by {best[1]!r}")
    first, second, lines = found[best[0]] if best else ([], [], 0)
    if len(first) < 2:
        if damage is not None:
            raise damage
        raise ValueError("it needs columns: features, and a target")
    header = _is_header(first, second)
    names = [v.strip() for v in first] if header else [str(i) for i in range(len(first))]
    if "" in names:
        raise ValueError("a column has no name: if it numbers the rows, leave it out")
    if header and not second:
        raise ValueError("it has no rows")
    if second and len(second) != len(first):
        raise ValueError(f"its first line has {len(first)} columns, its second {len(second)}")
    return Columns(best[0], names, lines if header else 0)


def _first_two(path: Path, delimiter: str) -> tuple[list[str], list[str], int]:
    """The first two rows that are not blank, and the number of the line that ends the first."""
    rows = _rows(path, delimiter)
    lines, first = next(rows, (0, []))
    _, second = next(rows, (0, []))
    return first, second, lines


def _is_header(first: list[str], second: list[str]) -> bool:
    """True where the first line has names: no numbers; or columns' own numbers, as pandas writes.

    Raises:
        ValueError: it may as well be a row.
    """
    numbers = [_is_number(v) for v in first]
    own = all(v.strip() == str(i) for i, v in enumerate(first) if numbers[i])
    if any(v.strip() and v.strip().lower() in MISSING for v in first):
        raise ValueError(DOUBTFUL)
    if all(numbers):
        if own and len(first) == 2:
            raise ValueError(DOUBTFUL)
        return own
    if not any(numbers) or own:
        return True
    if any(_is_number(b) and not a for a, b in zip(numbers, second, strict=False)):
        raise ValueError(DOUBTFUL)  # numbers that may be names, and a name above a number
    return False


def _is_doubtful(columns: Columns, chosen: int, cells: list[str]) -> bool:
    """True where a first line with numbers and a name may have been taken wrongly.

    As a header like ``0,1,red``, where red is a class, too; or as a row like ``2019,2020,species``,
    where no other row is of that class.
    """
    if columns.header_lines:
        return any(map(_is_number, columns.names)) and columns.names[chosen] in set(cells)
    return not _is_number(cells[0]) and len(cells) > 2 and cells.count(cells[0]) == 1


def _target_cells(path: Path, columns: Columns, chosen: int) -> list[str]:
    """The target's cells, without the spaces around them; every line is checked."""
    cells = []
    for line, row in _rows(path, columns.delimiter):
        if line <= columns.header_lines:
            continue
        if len(row) != len(columns.names):
            raise ValueError(
                f"line {line} has {len(row)} cells, but there are {len(columns.names)} columns"
            )
        if "\0" in row[chosen]:
            raise ValueError(f"line {line} has a null character in its target")
        cells.append(row[chosen].strip())
    return cells


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row that is not blank, with the number of the line that ends it."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for row in reader:
            if len(row) > 1 or any(cell.strip() for cell in row):
                yield reader.line_num, row


def _numbers_or_names(cells: list[str], name: str) -> HostArray:
    """Integers where all cells are, as one writes them; else numbers; else the cells as written."""
    known = [cell for cell in cells if cell.lower() not in MISSING]
    if known and len(known) < len(cells) and all(map(_is_number, known)):
        row = next(i for i, cell in enumerate(cells) if cell.lower() in MISSING)
        raise ValueError(f"the target {name!r} has no value in row {row}: {cells[row]!r}")
    if any(map(WITH_COMMAS.fullmatch, cells)) and all(
        _is_number(cell) or WITH_COMMAS.fullmatch(cell) for cell in cells
    ):
        raise ValueError(f"the target {name!r} has numbers with commas, which are not read")
    if all(INTEGER.fullmatch(cell) for cell in cells):
        for cell in cells:
            if len(cell) > 20 or not -(2**63) <= int(cell) < 2**63:
                raise ValueError(f"the target {name!r} has an integer beyond int64, {cell[:30]}")
        return np.asarray([int(cell) for cell in cells], np.int64)
    codes = all(re.fullmatch(r"[+-]?[0-9]+", cell) for cell in cells)  # such as 007
    if all(map(_is_number, cells)) and not codes:
        return np.asarray([float(cell) for cell in cells])
    return np.asarray(cells)


def _is_number(text: str) -> bool:
    return DECIMAL.fullmatch(text.strip()) is not None
