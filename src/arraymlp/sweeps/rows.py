"""Rows of a sweep: a list, which a notebook shows as a table."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from arraymlp.html.table import table
from arraymlp.html.view import ShownList, paragraph, shown, view

Row: TypeAlias = dict[str, Any]  # of a table, by column: numbers, strings, lists of these, None

SHOWN = 50  # rows of a table
NUMBERS = 4  # of a list in a cell


class Rows(ShownList[Row]):
    """Rows as dicts by name of the column, in their order: a list, which a notebook shows."""

    def _repr_html_(self) -> str | None:
        """The rows as a table, as notebooks show it."""
        note = f"{len(self):,}" if len(self) <= SHOWN else f"the first {SHOWN} of {len(self):,}"
        return shown(lambda: view("Rows", rows_table(self[:SHOWN]), note=note))


def rows_table(rows: Sequence[Row]) -> str:
    """Rows as a table; columns of numbers are aligned to the right, empty ones left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    kept = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
    if not kept:
        return paragraph("none", quiet=True)
    numeric = [
        i
        for i, name in enumerate(kept)
        if all(isinstance(row.get(name), int | float | None) for row in rows)
    ]
    cells = [[cell_text(row.get(name)) for name in kept] for row in rows]
    return table([name.replace("_", " ") for name in kept], cells, numeric=numeric)


def cell_text(value: object) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        more = ", ..." if len(value) > NUMBERS else ""
        return ", ".join(map(cell_text, value[:NUMBERS])) + more
    return str(value)
