"""Tables as HTML."""

from collections.abc import Collection, Iterable, Sequence
from html import escape


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Collection[int] = (),
    caption: str = "",
) -> str:
    """A ``<table>`` of texts, each escaped.

    Args:
        header: names of the columns.
        rows: the cells of each; what is no text is shown by ``str``.
        numeric: positions of the columns that are aligned to the right.
        caption: above it; "" for none.
    """
    head = "".join(
        f'<th scope="col"{_right(i in numeric)}>{escape(name)}</th>'
        for i, name in enumerate(header)
    )
    body = "".join(f"<tr>{_cells(row, numeric)}</tr>" for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def scrolling(content: str) -> str:
    """A wide table, or several, in a box that scrolls by itself where the page is narrow."""
    return f'<div class="wide" tabindex="0">{content}</div>'


def _cells(row: Sequence[object], numeric: Collection[int]) -> str:
    return "".join(
        f"<td{_right(i in numeric)}>{escape(str(cell))}</td>" for i, cell in enumerate(row)
    )


def _right(yes: bool) -> str:
    return ' style="text-align:right"' if yes else ""
