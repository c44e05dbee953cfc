"""Figures as lines of text, in columns."""

from collections.abc import Iterable, Sequence


def figure(value: float | None) -> str:
    """A figure with four digits or more; "-" where there is none (None or NaN)."""
    if value is None or value != value:
        return "-"
    return f"{value:.4f}" if 0.1 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as lines, the first column to the left and the others to the right."""
    rows = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def rows_text(n: int) -> str:
    """``1 row``, or ``1,234 rows``."""
    return f"{n:,} row{'s' * (n != 1)}"
