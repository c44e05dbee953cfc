"""How a CSV file is laid out: what parts its cells, and whether its first line has names."""

import codecs
import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from arraymlp.data.files.cells import MISSING, is_number
from arraymlp.data.files.table_file import require_different

DOUBTFUL = "its first line may be names or a row: begin with a line of names that are no numbers"
BYTES = "surrogateescape"
INDEX = "Unnamed: 0"  # the name that pandas reads for its own index, which it writes without one


class Layout(NamedTuple):
    """What a file's lines are made of.

    Attributes:
        delimiter: between cells.
        names: of the columns; their numbers where the file has no names.
        header_lines: how many lines the names take, with blank ones before them; 0 for no names.
        start: the byte at which the rows begin.
        returns: whether lines end in carriage returns alone, as the first one does.
    """

    delimiter: str
    names: tuple[str, ...]
    header_lines: int
    start: int
    returns: bool


def layout_of(path: Path, known: Sequence[str] = ()) -> Layout:
    """Delimiter and names, from the first two lines.

    Args:
        path: of a file with one line a row, in UTF-8; commas, semicolons or tabs between its
            cells, only tabs in a ``.tsv``; a first line of names, or none. The first of several
            columns may have an empty name, as pandas writes an index: it is ``Unnamed: 0``.
        known: names that the columns must have, which leave no doubt where they are found.

    Raises:
        ValueError: they may be understood in two ways, or not at all.
        OSError: the file cannot be read.
    """
    found: dict[str, tuple[list[str], list[str], int]] = {}
    damage = None
    for delimiter in "\t" if path.suffix.lower() == ".tsv" else ",;\t":
        try:
            found[delimiter] = _first_two(path, delimiter)
        except csv.Error as error:  # a quote does not end where this delimiter would have it
            damage = error
    if not found:
        raise ValueError(f"not readable as CSV ({damage})")
    alike = [d for d, (first, second, _) in found.items() if len(first) == len(second) >= 2]
    best = sorted(alike or found, key=lambda d: -len(found[d][0]))
    if len(alike) > 1 and len(found[best[0]][0]) == len(found[best[1]][0]):
        raise ValueError(f"its cells may be parted by {best[0]!r} or by {best[1]!r}")
    first, second, lines = found[best[0]]
    if len(first) < 2 and damage is not None:
        raise ValueError(f"not readable as CSV ({damage})")
    if not first:
        raise ValueError("it is empty")
    for name in first:
        if "\0" in name or not _is_unicode(name):
            raise ValueError(f"its first line is no text in UTF-8: {name[:80]!r}")
    given = [name.strip() for name in first]
    if len(given) > 1 and not given[0]:
        given[0] = INDEX
    if known and all(name in given for name in known):
        header = True
    elif known and all(name in map(str, range(len(first))) for name in known):
        header = False
    else:
        header = _is_header(first, second)
    names = given if header else [str(i) for i in range(len(first))]
    if "" in names:
        raise ValueError("a column other than the first has no name")
    if header and not second:
        raise ValueError("it has no rows")
    if second and len(second) != len(first):
        raise ValueError(f"its first line has {len(first)} columns, its second {len(second)}")
    require_different(names)
    header_lines = lines if header else 0
    start = _start(path, header_lines)
    return Layout(best[0], tuple(names), header_lines, start, _ends_in_return(path, lines))


def is_blank(row: list[str]) -> bool:
    """Whether a line has no row: nothing but spaces and tabs, no quotes, no delimiter."""
    return not row or (len(row) == 1 and row[0] != "" and not row[0].strip(" \t"))


def _first_two(path: Path, delimiter: str) -> tuple[list[str], list[str], int]:
    """The first two rows that are not blank, and the number of the line that ends the first."""
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        rows = ((reader.line_num, row) for row in reader if not is_blank(row))
        lines, first = next(rows, (0, []))
        _, second = next(rows, (0, []))
        return first, second, lines


def _start(path: Path, lines: int) -> int:
    """The byte after so many lines, and after a byte-order mark."""
    with path.open("rb") as binary:
        mark = len(codecs.BOM_UTF8) if binary.read(3) == codecs.BOM_UTF8 else 0
    with _opened(path) as file:
        return mark + sum(len(line.encode(errors=BYTES)) for line in islice(file, lines))


def _ends_in_return(path: Path, line: int) -> bool:
    """Whether the line of that number, from 1, ends in a carriage return alone."""
    with _opened(path) as file:
        return next(islice(file, line - 1, None), "").endswith("\r")


def _opened(path: Path) -> TextIO:
    """The file as text, where what is no UTF-8 stands for itself; it is found when it is read."""
    return path.open(newline="", encoding="utf-8-sig", errors=BYTES)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_header(first: list[str], second: list[str]) -> bool:
    """True where the first line has names: no numbers; or columns' own numbers, as pandas writes.

    Raises:
        ValueError: it may as well be a row.
    """
    numbers = [is_number(v) for v in first]
    own = all(v.strip() == str(i) for i, v in enumerate(first) if numbers[i])
    if any(v.strip() and v.strip().lower() in MISSING for v in first):
        raise ValueError(DOUBTFUL)
    if all(numbers):
        if own and len(first) <= 2:
            raise ValueError(DOUBTFUL)
        return own
    if not any(numbers) or own:
        return True
    if any(is_number(b) and not a for a, b in zip(numbers, second, strict=False)):
        raise ValueError(DOUBTFUL)  # numbers that may be names, and a name above a number
    return False
