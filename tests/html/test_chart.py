"""Charts are well-formed, say what they show, and draw what they are given where it belongs."""

import re
from math import inf, nan
from xml.etree import ElementTree

import pytest

from arraymlp.html.chart import PALETTE, Line, Mark, line_chart, tick_text

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def texts(chart: str) -> list[str]:
    return ["".join(t.itertext()) for t in drawn(chart).iter(f"{SVG}text")]


def strokes(chart: str, colour: int = 0) -> list[list[tuple[float, float]]]:
    """The points of each stroke of the lines with this colour."""
    d = [
        p.get("d", "")
        for p in drawn(chart).iter(f"{SVG}path")
        if p.get("stroke") == PALETTE[colour] and "h18" not in p.get("d", "")
    ]
    return [
        [tuple(map(float, point.split())) for point in stroke.split("L")]
        for path in d
        for stroke in path.split("M")[1:]
    ]


def test_points_stand_where_their_numbers_are() -> None:
    (stroke,) = strokes(line_chart([Line("a", [0, 5, 10], [0, 1, 2])], y_range=(0, 2)))
    (x0, y0), (x1, y1), (x2, y2) = stroke
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y2, "larger numbers stand higher"


def test_a_gap_parts_a_line_and_a_lonely_point_is_a_dot() -> None:
    chart = line_chart([Line("a", range(8), [1, 2, None, 3, nan, 4, 5, inf])])
    assert [len(stroke) for stroke in strokes(chart)] == [2, 2]
    assert len(list(drawn(chart).iter(f"{SVG}circle"))) == 1


def test_a_logarithmic_axis_has_decades_and_no_zeros() -> None:
    chart = line_chart([Line("a", [1, 10, 100], [1e-6, 0, 1.0])], log=True, log_x=True)
    assert {"1e-6", "1", "10", "100"} <= set(texts(chart))
    assert strokes(chart) == [], "two points with a gap between are two dots"
    assert len(list(drawn(chart).iter(f"{SVG}circle"))) == 2


def test_a_long_line_keeps_its_highest_and_lowest_points() -> None:
    y = [0.5] * 10_000
    y[1234], y[4321] = 9.0, -3.0
    (stroke,) = strokes(line_chart([Line("a", range(10_000), y)], y_range=(-3, 9)))
    heights = [height for _, height in stroke]
    assert len(stroke) <= 402
    assert min(heights) < min(h for h in heights if h != min(heights)) - 100
    assert max(heights) > max(h for h in heights if h != max(heights)) + 50


@pytest.mark.parametrize(
    "y", [[], [None], [0.0], [0.9013] * 5, [1e-300, 1e300], [-1e9, 1e9], [5e-324, 0.0]]
)
@pytest.mark.parametrize("log", [False, True])
def test_whatever_the_numbers_there_is_a_chart(y: list[float | None], log: bool) -> None:
    chart = line_chart([Line("a", range(len(y)), y)], log=log, marks=[Mark(0, "here")])
    assert not re.search(r"nan|inf|None", chart)
    known = [v for v in y if v is not None and abs(v) < 1e290 and (v > 1e-290 or not log)]
    assert ("no numbers to draw" in texts(chart)) == (not known)


def test_texts_are_escaped_and_a_reader_hears_the_ends_of_each_line() -> None:
    chart = line_chart(
        [Line("<b>&", [0, 1], [0.5, 0.25]), Line("b", [0, 1], [1, 1], 1)],
        title='a "title"',
        percent=True,
    )
    assert drawn(chart).get("aria-label") == (
        'a "title": <b>& from 50 % to 25 %; b from 100 % to 100 %'
    )
    assert "<b>&" in texts(chart)


def test_a_single_line_has_no_legend() -> None:
    assert "alone" not in texts(line_chart([Line("alone", [0, 1], [1, 2])]))


def test_the_numbers_of_ticks() -> None:
    shown = [tick_text(v) for v in (0, 0.05, 60_000, 1e-5, 2.5e7, 0.30000000000000004)]
    assert shown == ["0", "0.05", "60,000", "1e-5", "2.5e7", "0.3"]
    assert tick_text(0.125, percent=True) == "12.5 %"
