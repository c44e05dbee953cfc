"""What a notebook shows of an object: a frame without a background, that fits light and dark."""

from collections.abc import Callable, Iterable
from html import escape
from typing import Self, SupportsIndex, TypeVar, overload

T = TypeVar("T")

# Notebooks align cells to the right and centre tables; a class of our own says otherwise, and is
# the same each time, so that a page may hold it often.
STYLE = (
    "<style>.arraymlp-view{font-size:13px;line-height:1.45;overflow-x:auto}"
    ".arraymlp-view p,.arraymlp-view li{max-width:62em}"
    ".arraymlp-view p{margin:.3em 0}"
    ".arraymlp-view table{border-collapse:collapse;margin:.4em 0;font-size:12px;"
    "table-layout:auto;width:max-content}"
    ".arraymlp-view.arraymlp-view table :is(th,td){text-align:left;padding:.15em .9em .15em 0;"
    "background:none;vertical-align:top;max-width:34em}"
    ".arraymlp-view summary{cursor:pointer}"
    ".arraymlp-view ul{margin:.3em 0;padding-left:1.3em}"
    ".arraymlp-view li b{background:rgba(128,128,128,.18);border-radius:4px;padding:0 .4em;"
    "margin-right:.2em}"
    ".arraymlp-quiet{opacity:.75}"
    ".arraymlp-row{display:flex;flex-wrap:wrap;gap:8px 20px;align-items:flex-end;margin:.4em 0}"
    "</style>"
)


def view(title: str, *parts: str, note: str = "") -> str:
    """A title, a quiet note beside it, and what stands below.

    Args:
        title: text.
        parts: HTML; empty ones are left out.
        note: text.
    """
    beside = f' <span class="arraymlp-quiet">{escape(note)}</span>' if note else ""
    head = f"<div><b>{escape(title)}</b>{beside}</div>"
    return f'<div class="arraymlp-view">{STYLE}{head}{"".join(parts)}</div>'


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A paragraph of text; "" of none."""
    if not text:
        return ""
    of_class = ' class="arraymlp-quiet"' if quiet else ""
    return f"<p{of_class}>{escape(text)}</p>"


def in_a_row(parts: Iterable[str]) -> str:
    """Parts side by side, as many as there is room for; "" of none."""
    inside = "".join(parts)
    return f'<div class="arraymlp-row">{inside}</div>' if inside else ""


def folded(summary: str, inside: str) -> str:
    """What is shown once its summary is clicked; "" where there is nothing inside."""
    if not inside:
        return ""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def bar(done: float, total: float, text: str) -> str:
    """A bar that is full as far as the work is done, and a text below."""
    percent = 100 * min(max(done / total, 0), 1) if total > 0 else 100
    return (
        f'<div role="progressbar" aria-valuenow="{percent:.0f}" aria-valuemin="0"'
        f' aria-valuemax="100" aria-label="{escape(text)}" style="height:7px;margin:.35em 0;'
        'max-width:420px;border-radius:4px;overflow:hidden;background:rgba(128,128,128,.3)">'
        f'<div style="width:{percent:.1f}%;height:100%;background:#2f7ed8"></div></div>'
        f'<p style="font-variant-numeric:tabular-nums">{escape(text)}</p>'
    )


def shown(make: Callable[[], str]) -> str | None:
    """The view that a function makes; None where it fails, for which notebooks show the text.

    A figure that a user's callback put into the history, or an object that is half built, must not
    keep a notebook from showing what it can.
    """
    try:
        return make()
    except Exception:
        return None


class ShownList(list[T]):
    """A list whose parts are of its class: the base of those that a notebook shows as a view."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> Self: ...
    def __getitem__(self, key: SupportsIndex | slice) -> T | Self:
        if isinstance(key, slice):
            return type(self)(super().__getitem__(key))
        return super().__getitem__(key)
