"""Figures of predictions in a notebook: their tables, and the confusions in shades."""

from collections.abc import Sequence
from html import escape
from typing import Protocol

from arraymlp.html.table import table
from arraymlp.html.view import in_a_row, view

Cells = Sequence[Sequence[str]]


class Scored(Protocol):
    """What the view reads of an object with scores."""

    @property
    def n(self) -> int:
        """The number of rows."""


def scores_view(
    scores: Scored, tables: Sequence[Cells], matrix: Cells | None = None, words: str = ""
) -> str:
    """The tables of scores, side by side.

    Args:
        scores: whose they are.
        tables: rows of cells; where the first cell is empty or there are over two columns, the
            first row is the header.
        matrix: of confusions, with a header; None for none.
        words: confusions in lines of text.
    """
    parts = [_table(cells) for cells in tables]
    if matrix is not None:
        parts.append(_shaded(matrix))
    if words:
        parts.append(f'<div style="white-space:pre-line">{escape(words)}</div>')
    note = f"on {scores.n:,} row{'s' * (scores.n != 1)}"
    return view(type(scores).__name__, in_a_row(parts), note=note)


def _table(cells: Cells) -> str:
    width = len(cells[0])
    header, rows = (
        (cells[0], cells[1:]) if width > 2 or not cells[0][0] else (["figure", "value"], cells)
    )
    return table(header, rows, numeric=range(1, width))


def _shaded(cells: Cells) -> str:
    """The matrix of confusions, each cell as dark as its part of the true class is great."""
    head = "".join(
        f'<th scope="col" style="text-align:right">{escape(name)}</th>' for name in cells[0][1:]
    )
    rows = []
    for name, *counts in cells[1:]:
        numbers = [int(count.replace(",", "")) for count in counts]
        total = max(sum(numbers), 1)
        shaded = "".join(
            f'<td style="text-align:right;padding:.15em .5em;'
            f'background:rgba(47,126,216,{0.6 * n / total:.2f})">{n:,}</td>'
            for n in numbers
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{shaded}</tr>')
    corner = f'<th scope="col">{escape(cells[0][0])}</th>'
    return f"<table><thead><tr>{corner}{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
