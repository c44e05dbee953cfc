"""Line charts as SVG, for reports, notebooks and pages: a dozen elements, and no library to draw.

Texts and axes are in ``currentColor``, so that a chart is readable wherever it stands, in light and
in dark.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

# Each has a contrast of at least 3 to 1 with white and with #161616.
PALETTE = ("#2f7ed8", "#d1495b", "#1b8a6b", "#b8691d", "#9a5cc0", "#808080")
MOST_POINTS = 400  # of a line; more do not show at this size
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 8, 36  # margins, in pixels
TITLE, LEGEND, GAP = 20, 18, 6  # heights of what stands above the chart
ALIKE = 1e-3  # numbers that differ by less of themselves are drawn as one
LARGEST, SMALLEST = 1e290, 1e-290  # further numbers are gaps: their differences overflow
CHARACTER = 6.3  # width of one at 11 pixels, on average


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: for the legend; "" leaves it out of that.
        x: of the points.
        y: likewise; None, NaN and infinity are gaps, and so are numbers that a logarithmic axis
            cannot show.
        colour: its position in ``PALETTE``.
        dashed: draws it dashed.
        width: in pixels.
        opacity: 1 for a full colour.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0
    dashed: bool = False
    width: float = 1.8
    opacity: float = 1.0


@dataclass(frozen=True)
class Mark:
    """A vertical line at x, with a short text."""

    x: float
    label: str


@dataclass(frozen=True)
class _Axis:
    """Numbers from low to high, drawn between two pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = log10(low), log10(high), log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Some round numbers on it."""
        if self.log:
            decades = range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1)
            step = max(1, ceil(len(decades) / about))
            if len(decades) > 1:
                return [10.0**d for d in decades[::step]]
        return _round_ticks(self.low, self.high, about)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str = "",
    x_label: str = "epoch",
    y_label: str = "",
    width: int = 420,
    height: int = 240,
    log: bool = False,
    log_x: bool = False,
    percent: bool = False,
    marks: Iterable[Mark] = (),
    y_range: tuple[float, float] | None = None,
) -> str:
    """One ``<svg>`` with lines over axes; it says what it shows to a screen reader, too.

    Args:
        lines: what is drawn; the first is on top.
        title: above it, and its name.
        x_label: below the horizontal axis.
        y_label: above the vertical one.
        width: in pixels; a narrower place makes it smaller.
        height: in pixels.
        log: the vertical axis is logarithmic, where any number is above 0.
        log_x: likewise the horizontal one.
        percent: the numbers are fractions, and the ticks of the axis are in per cent.
        marks: vertical lines.
        y_range: of the vertical axis; by default that of the numbers.
    """
    points = [list(_points(line, log, log_x)) for line in lines]
    xs = [x for of_line in points for x, y in of_line]
    ys = [y for of_line in points for x, y in of_line if y is not None]
    labelled = [line for line in lines if line.label]
    rows = _legend_rows(labelled, width)
    top = TOP + (TITLE if title else 0) + LEGEND * len(rows) + (LEGEND if y_label else 0)
    top += GAP if rows else 0
    x_axis = _axis(xs, LEFT, width - RIGHT, log_x, None, tight=True)
    y_axis = _axis(ys, height - BOTTOM, top, log, y_range)
    parts = [
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="'
        f'{escape(_spoken(title, lines, percent))}" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" style="max-width:100%;height:auto;overflow:visible" fill="none"'
        ' font-family="system-ui,sans-serif" font-size="11">'
    ]
    if title:
        parts.append(_text(LEFT - 46, TOP + 8, title, "start", 'font-weight="600" font-size="13"'))
    for r, row in enumerate(rows):
        parts += _legend(row, TOP + (TITLE if title else 0) + LEGEND * r + 7)
    if y_label:
        parts.append(_text(LEFT - 46, top - 8, y_label, "start"))
    parts += _grid(x_axis, y_axis, percent, width)
    if x_label:
        parts.append(_text((LEFT + width - RIGHT) / 2, height - 4, x_label))
    for mark in marks:
        parts += _mark(mark, x_axis, y_axis)
    for line, of_line in reversed(list(zip(lines, points, strict=True))):
        parts += _path(line, of_line, x_axis, y_axis)
    if not ys:
        parts.append(_text((LEFT + width) / 2, (top + height - BOTTOM) / 2, "no numbers to draw"))
    return "".join(parts) + "</svg>"


def _points(line: Line, log: bool, log_x: bool) -> Iterator[tuple[float, float | None]]:
    """The points of a line, at most some hundred: of each stretch its lowest and highest."""
    pairs = [
        (float(x), float(y) if y is not None and _drawable(y, log) else None)
        for x, y in zip(line.x, line.y, strict=True)
        if _drawable(x, log_x)
    ]
    if len(pairs) <= MOST_POINTS:
        yield from pairs
        return
    stretch = ceil(2 * len(pairs) / MOST_POINTS)
    for i in range(0, len(pairs), stretch):
        part = range(i, min(i + stretch, len(pairs)))
        known = [(y, j) for j in part if (y := pairs[j][1]) is not None]
        kept = {min(known)[1], max(known)[1]} if known else {i}
        kept |= {j for j in (0, len(pairs) - 1) if j in part}
        yield from (pairs[j] for j in sorted(kept))


def _drawable(value: float, log: bool) -> bool:
    if not isfinite(value) or abs(value) > LARGEST:
        return False
    return value > SMALLEST or not log


def _axis(
    values: Sequence[float],
    start: float,
    end: float,
    log: bool,
    given: tuple[float, float] | None,
    tight: bool = False,
) -> _Axis:
    if given is not None:
        return _Axis(*given, start, end, log)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if log and values:
        room = 1.0 if tight else 1.15
        if high < 2 * low:
            room = 1.5
        return _Axis(low / room, high * room, start, end, log=True)
    if high - low <= max((1e-9 if tight else ALIKE) * max(abs(low), abs(high)), SMALLEST):
        room = 0.5 if tight or abs(high) <= SMALLEST else abs(high) / 10
        return _Axis(low - room, high + room, start, end)
    if tight:
        return _Axis(low, high, start, end)
    if 0 <= low < 0.4 * high:
        low = 0.0
    room = 0.05 * (high - low)
    return _Axis(low if low == 0 else low - room, high + room, start, end)


def _round_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about so many, from low to high."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** floor(log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= 0.8 * raw)
    first = ceil(low / step - 1e-9)
    return [i * step for i in range(first, floor(high / step + 1e-9) + 1)]


def tick_text(value: float, percent: bool = False) -> str:
    """A tick's number in words: 0.05, 60,000, 1e-05; with per cent 12.5 %."""
    if percent:
        return f"{100 * value:.6g} %"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{round(value, 9):,g}" if abs(value) < 1e5 else f"{value:,.0f}"


def _grid(x_axis: _Axis, y_axis: _Axis, percent: bool, width: int) -> list[str]:
    """The frame, its grid and the numbers beside it."""
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    grid = []
    for value in y_axis.ticks(max(2, round((bottom - top) / 36))):
        y = y_axis(value)
        grid.append(_stroke(f"M{left:.1f} {y:.1f}H{right:.1f}", 0.16))
        grid.append(_text(left - 5, y + 4, tick_text(value, percent), "end"))
    for value in x_axis.ticks(max(2, round(width / 90))):
        x = x_axis(value)
        grid.append(_stroke(f"M{x:.1f} {bottom:.1f}v4", 0.6))
        grid.append(_text(x, bottom + 16, tick_text(value)))
    grid.append(_stroke(f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}", 0.6))
    return grid


def _mark(mark: Mark, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    if not x_axis.low <= mark.x <= x_axis.high:
        return []
    x = x_axis(mark.x)
    line = _stroke(f"M{x:.1f} {y_axis.start:.1f}V{y_axis.end:.1f}", 0.7, 'stroke-dasharray="2 3"')
    left = x > (x_axis.start + x_axis.end) / 2
    text = _text(x + (-4 if left else 4), y_axis.end + 10, mark.label, "end" if left else "start")
    return [line, text]


def _path(
    line: Line, points: Sequence[tuple[float, float | None]], x_axis: _Axis, y_axis: _Axis
) -> list[str]:
    """The line, and a dot for each point that stands alone between gaps."""
    strokes: list[list[str]] = [[]]
    low, high = sorted((y_axis.start, y_axis.end))
    for x, y in points:
        if y is None:
            strokes.append([])
        elif y > 0 or not y_axis.log:
            strokes[-1].append(f"{x_axis(x):.1f} {min(max(y_axis(y), low), high):.1f}")
    colour = PALETTE[line.colour % len(PALETTE)]
    d = "".join("M" + "L".join(stroke) for stroke in strokes if len(stroke) > 1)
    dots = [stroke[0].split() for stroke in strokes if len(stroke) == 1]
    parts = [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in dots]
    if d:
        dashes = ' stroke-dasharray="5 4"' * line.dashed
        faint = f' opacity="{line.opacity:g}"' * (line.opacity < 1)
        parts.append(
            f'<path d="{d}" stroke="{colour}" stroke-width="{line.width:g}"'
            f' stroke-linejoin="round"{dashes}{faint}/>'
        )
    return parts


def _legend_rows(lines: Sequence[Line], width: int) -> list[list[Line]]:
    """The lines of the legend, as many in a row as there is room for; none for a single line."""
    rows: list[list[Line]] = []
    if len(lines) < 2:
        return rows
    used = float(width)
    for line in lines:
        wide = 30 + CHARACTER * len(line.label)
        if used + wide > width - 12 and (not rows or rows[-1]):
            rows.append([])
            used = 0
        rows[-1].append(line)
        used += wide
    return rows


def _legend(row: Sequence[Line], y: float) -> list[str]:
    parts, x = [], LEFT - 46.0
    for line in row:
        colour = PALETTE[line.colour % len(PALETTE)]
        dashes = ' stroke-dasharray="5 4"' * line.dashed
        parts.append(
            f'<path d="M{x:.0f} {y}h18" stroke="{colour}" stroke-width="{max(line.width, 1.5):g}"'
            f"{dashes}/>"
        )
        parts.append(_text(x + 22, y + 4, line.label, "start"))
        x += 30 + CHARACTER * len(line.label)
    return parts


def _stroke(d: str, opacity: float, more: str = "") -> str:
    return f'<path d="{d}" stroke="currentColor" stroke-opacity="{opacity:g}" {more}/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" {more}>'
        f"{escape(text)}</text>"
    )


def _spoken(title: str, lines: Sequence[Line], percent: bool) -> str:
    """What the chart shows, in words: each line's first and last number."""
    said = []
    for line in lines:
        known = [y for y in line.y if y is not None and isfinite(y)]
        if known:
            first, last = (
                f"{100 * y:.3g} %" if percent else f"{y:.3g}" for y in (known[0], known[-1])
            )
            said.append(f"{line.label or 'a line'} from {first} to {last}")
    return ": ".join(filter(None, [title, "; ".join(said)])) or "an empty chart"
