"""The frame of what notebooks show."""

import pytest

from arraymlp.html.view import bar, folded, in_a_row, paragraph, shown, view
from notebook_cells import words


def test_texts_are_escaped_and_what_is_empty_is_left_out() -> None:
    html = view("<a>", paragraph("b & c", quiet=True), folded("<d>", "<p>e</p>"), note="<n>")
    assert words(html) == "<a> <n> b & c <d> e"
    assert (paragraph(""), folded("d", ""), in_a_row([])) == ("", "", "")


@pytest.mark.parametrize(
    ("done", "total", "width"),
    [(0, 4, "0.0%"), (1, 4, "25.0%"), (5, 4, "100.0%"), (0, 0, "100.0%")],
)
def test_a_bar_is_full_as_far_as_it_is_done(done: int, total: int, width: str) -> None:
    html = bar(done, total, '"<x>"')
    assert f"width:{width}" in html
    assert words(html) == '"<x>"'


def test_nothing_is_fixed_to_light_or_dark() -> None:
    html = view("a", paragraph("b"), bar(1, 2, "c"))
    for fixed in ("#fff", "#000", "white", "black", "color:#"):
        assert fixed not in html.replace("background:#2f7ed8", "")


def test_a_view_that_cannot_be_made_is_none() -> None:
    assert shown(lambda: str(1 / 0)) is None
    assert shown(lambda: "a") == "a"
