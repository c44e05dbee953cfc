"""A sweep's figure: its learning curves, and its score over every setting that was swept."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, log10, nan
from statistics import mean, median
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from arraymlp._checks import is_number
from arraymlp.sweeps.member import Member
from arraymlp.sweeps.population import DIVERGED
from arraymlp.sweeps.rows import Row
from arraymlp.sweeps.space import REPEATS, Shown, shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style: TypeAlias = dict[str, Any]  # keyword arguments of Matplotlib

NAMED = 5  # settings that the legend names, and values of another setting that have a colour
COLOURS = ("#2a6fbb", "#e08e45", "#1b7f79", "#7a4988", "#6b6b00")
OTHERS, FAILED = "#8a8a8a", "#b00020"
WIDE = 20  # figures whose largest is so many times the smallest get a logarithmic axis
DECADE = 10  # and so do a setting's values
FAR = 1000  # figures so many times the median are off the axis
MEAN = "mean"
BESIDE: Style = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
MANY = 12  # more values than this have too few networks each for means


class Sweep(Protocol):
    """The attributes of a `SweepResult` that are drawn."""

    members: list[Member]
    swept: list[str]
    score: str
    greater_is_better: bool

    def rank(self) -> list[Row]:
        """The settings, best first."""


class Group(NamedTuple):
    """Networks that a panel draws in one colour."""

    label: str
    colour: str
    members: list[Member]


def settings_of(result: Sweep) -> list[str]:
    """Names of the swept settings that have a panel: all but those that repeat a training."""
    return [name for name in result.swept if name not in REPEATS]


def size(result: Sweep) -> tuple[float, float]:
    """Width and height that suit the figure, in inches."""
    return 11, 4 + 3.4 * (len(_layout(settings_of(result))) - 1)


def _layout(names: list[str]) -> list[list[str]]:
    """The figure's mosaic: curves beside one setting's panel, or above several."""
    if len(names) < 2:
        return [["curves", "curves", *names]]
    columns = 2 if len(names) in (2, 4) else 3
    cells = names + ["."] * (-len(names) % columns)
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return [["curves"] * columns, *rows]


def draw_sweep(result: Sweep, figure: "Figure | None" = None) -> "dict[str, Axes]":
    """Draw the learning curves, and a panel a setting; return the axes, "curves" and by setting.

    Args:
        result: the sweep.
        figure: a Matplotlib figure to draw into; None for a new one of pyplot's.
    """
    if not any(m.records for m in result.members):
        raise ValueError("there are no epochs to plot")
    if figure is None:
        try:
            import matplotlib.pyplot as plt
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("a plot needs Matplotlib: pip install matplotlib") from error
        figure = plt.figure(figsize=size(result), layout="constrained")
    names = settings_of(result)
    axes = figure.subplot_mosaic(_layout(names))  # type: ignore[arg-type]  # list is invariant
    _curves(axes["curves"], result, names)
    marks: dict[str, Artist] = {}
    for name in names:
        marks |= _panel(axes[name], result, name, names)
    if len(names) == 1:
        axes[names[0]].legend(handles=list(marks.values()), fontsize=8)
    elif names:  # one legend for all panels, where that of the curves leaves room
        last = axes[_layout(names)[1][-1]]
        if (colours := last.get_legend()) is not None:
            last.add_artist(colours)  # a second legend would replace the panel's own
        last.legend(handles=list(marks.values()), fontsize=9, **BESIDE)
    return {name: axes[name] for name in ("curves", *names)}


# Learning curves


def _curves(ax: "Axes", result: Sweep, names: list[str]) -> None:
    """The score of each network over the epochs, the best one of each top setting strong."""
    top = [row for row in result.rank() if row["mean"] is not None][:NAMED]
    places = {k: i for i, row in enumerate(top) for k in row["members"]}
    best = [_best(result, [result.members[k] for k in row["members"]]) for row in top]
    scores: list[float] = []
    labelled: dict[int, Artist] = {}
    for m in result.members:
        if not m.records:
            continue
        place = places.get(m.number)
        strong = place is not None and m is best[place]
        points = _points(m, result.score)
        line = _curve(ax, m, result.score, points, place, strong)
        if strong and place is not None:
            line.set_label(_settings_text(top[place], names))
            labelled[place] = line
        if m.status != DIVERGED:
            scores += [v for _, v in points]
    lines = [line for _, line in sorted(labelled.items())]
    diverged = sum(m.status == DIVERGED for m in result.members if m.records)
    if diverged:
        lines += ax.plot([], [], "x", color=FAILED, ms=7, mew=2, label=f"{diverged} diverged")
    _score_axis(ax, result, scores)
    ax.set(xlabel="epoch", title="learning curves (strong: the best of each top setting)")
    ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # MaxNLocator
    if lines:
        beside = BESIDE if len(names) > 1 else {}
        title = ", ".join(n.replace("_", " ") for n in names)
        ax.legend(handles=lines, title=fill(title, 34), fontsize=9, title_fontsize=9, **beside)


def _points(m: Member, score: str) -> list[tuple[int, float]]:
    """The epochs of a network in which the score is finite, and the score."""
    column = zip(m.history["epoch"], m.history[score], strict=True)
    return [(epoch, float(v)) for epoch, v in column if v is not None and isfinite(v)]


def _curve(
    ax: "Axes",
    m: Member,
    score: str,
    points: list[tuple[int, float]],
    place: int | None,
    strong: bool,
) -> "Artist":
    """Draw a network's score over the epochs, its best epoch and its divergence; return the line.

    Args:
        ax: to draw into.
        m: the network.
        score: name of the column.
        points: where the score is finite.
        place: of its setting among the top ones; None for others.
        strong: whether it is the best of these.
    """
    colour = OTHERS if place is None else COLOURS[place]
    (line,) = ax.plot(
        m.history["epoch"],
        [nan if v is None else float(v) for v in m.history[score]],
        color=colour,
        marker="o" if len(points) == 1 else None,
        ms=4,
        lw=2.2 if strong else 0.8,
        alpha=1 if strong else 0.5,
        zorder=4 - place / NAMED if strong and place is not None else 2 - (place is None),
    )
    kept = [point for point in points if point[0] == m.best_epoch][-1:]
    if strong and kept:
        ax.plot(*kept[0], "o", color=colour, ms=6, zorder=5)
    if m.status == DIVERGED and points:
        ax.plot(*points[-1], "x", color=FAILED, ms=7, mew=2, zorder=5)
    return line


def _settings_text(row: Row, names: list[str]) -> str:
    spread = "" if row["std"] is None else f" ± {row['std']:.2g}"
    values = ", ".join(_text(row[name]) for name in names)
    return (f"{values}: " if values else "") + f"{row['mean']:.4g}{spread}"


def _text(value: object) -> str:
    value = shown(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


# The score over a setting


def _panel(ax: "Axes", result: Sweep, name: str, names: list[str]) -> dict[str, "Artist"]:
    """Each network's score over a setting; means by value, for each value of one other setting.

    Returns:
        The marks to explain in a legend beside its colours, by label.
    """
    where, numeric = _axis(ax, name, [m.swept[name] for m in result.members])
    groups = _groups(result, name, names)
    few = len(where) <= MANY
    width = 0.7 / len(groups)  # of a category, what a group has
    aside = [0.0 if numeric else width * (i - (len(groups) - 1) / 2) for i in range(len(groups))]
    for group, step in zip(groups, aside, strict=True):
        _draw_group(ax, group, name, where, step, None if numeric else width, few)
    if len(groups) == 1 and len(names) > 1 and few:
        _best_of_each(ax, result, name, where, numeric)
    scored = [(m, m.score) for m in result.members if m.counts and m.score is not None]
    low, high = _score_axis(ax, result, [score for _, score in scored])
    off = [m for m, score in scored if not low <= score <= high]
    failed = [m for m in result.members if m.failed]
    what = "diverged" if all(m.status == DIVERGED for m in failed) else "failed"
    _edge(ax, result, name, where, failed + off, f"{what}, or far worse" if off else what)
    if scored:
        best = _best(result, [m for m, _ in scored])
        at = where[shown(best.swept[name])]
        at += next(d for d, group in zip(aside, groups, strict=True) if best in group.members)
        style: Style = {"color": "#222222", "ms": 11, "mew": 0, "zorder": 5}
        height = next(score for m, score in scored if m is best)
        ax.plot([at], [height], "*", label="best network", **style)
    ax.set_title(name.replace("_", " "))
    handles, labels = ax.get_legend_handles_labels()
    marks = dict(zip(labels, handles, strict=True))
    if len(groups) > 1:
        (other,) = [n for n in names if n != name]
        colours = [marks.pop(group.label) for group in groups if group.label in marks]
        ax.legend(handles=colours, title=other.replace("_", " "), fontsize=8, title_fontsize=8)
    return marks


def _draw_group(
    ax: "Axes",
    group: Group,
    name: str,
    where: dict[Shown, float],
    aside: float,
    width: float | None,
    means: bool,
) -> None:
    """The scores of some networks, and their means by value: dashes as wide as a category."""
    by_value: dict[float, list[float]] = {}
    for m in group.members:
        if m.counts and m.score is not None:
            by_value.setdefault(where[shown(m.swept[name])] + aside, []).append(m.score)
    for at, scores in by_value.items():
        n = len(scores)
        steps = [(width or 0.0) * (k + 0.5 - n / 2) / (2 * n) for k in range(n)]
        (dots,) = ax.plot([at + d for d in steps], scores, "o", color=group.colour, ms=4)
        dots.set(alpha=0.45, markeredgewidth=0)
    x = sorted(by_value)
    y = [mean(by_value[at]) for at in x]
    if width is not None:
        ends = [at - 0.4 * width for at in x], [at + 0.4 * width for at in x]
        ax.hlines(y, *ends, color=group.colour, lw=2.5, label=group.label)
    elif means:
        ax.plot(x, y, "o-", color=group.colour, ms=6, label=group.label)
    elif group.label != MEAN:
        ax.plot([], [], "o", color=group.colour, ms=4, label=group.label)


def _axis(ax: "Axes", name: str, given: Sequence[object]) -> tuple[dict[Shown, float], bool]:
    """Where each value stands, by its text, and whether that is on an axis of numbers.

    A number that is 0 beside others decades apart stands on no axis: those are categories, in
    order.
    """
    values = list(dict.fromkeys(map(shown, given)))
    numbers = sorted(v for v in values if isinstance(v, int | float) and is_number(v))
    if len(values) > 1 and len(numbers) == len(values) and all(map(isfinite, numbers)):
        values = list(numbers)
        positive = [v for v in numbers if v > 0]
        decades = len(positive) > 1 and positive[-1] >= DECADE * positive[0]
        if not decades or len(positive) == len(numbers):
            if decades:
                ax.set_xscale("log")
            ax.margins(x=0.1)
            if _apart(numbers, decades):
                ax.set_xticks(numbers, list(map(_text, numbers)))
                ax.set_xticks([], minor=True)
            return {v: float(v) for v in numbers}, True
    labels = [text if len(text) < 30 else text[:28] + "..." for text in map(_text, values)]
    turned: Style = {"rotation": 30, "ha": "right"} if sum(map(len, labels)) > 45 else {}
    ax.set_xticks(range(len(values)), labels, **turned)
    ax.set_xlim(-0.6, len(values) - 0.4)
    return {v: float(i) for i, v in enumerate(values)}, False


def _apart(numbers: Sequence[float], decades: bool) -> bool:
    """Return True where there is room for each number's own tick."""
    at = [log10(v) for v in numbers] if decades else numbers
    return min(b - a for a, b in pairwise(at)) > (at[-1] - at[0]) / 7


def _groups(result: Sweep, name: str, names: list[str]) -> list[Group]:
    """All networks; or, with one other setting of few values, those of each of its values."""
    others = [other for other in names if other != name]
    if len(others) == 1:
        of = {m.number: shown(m.swept[others[0]]) for m in result.members}
        values = list(dict.fromkeys(of.values()))
        if 1 < len(values) <= NAMED:
            return [
                Group(_text(v), colour, [m for m in result.members if of[m.number] == v])
                for v, colour in zip(values, COLOURS, strict=False)
            ]
    return [Group(MEAN, COLOURS[0], result.members)]


def _best_of_each(
    ax: "Axes", result: Sweep, name: str, where: dict[Shown, float], numeric: bool
) -> None:
    """The mean score of the best combination with each value."""
    means: dict[float, float] = {}
    for row in result.rank():
        if row["mean"] is not None and not row["failed"]:
            means.setdefault(where[row[name]], row["mean"])
    if means:
        x, y = zip(*sorted(means.items()), strict=True)
        style: Style = {"marker": "D", "ms": 5, "color": COLOURS[1], "zorder": 3}
        ax.plot(x, y, ls="--" if numeric else "none", label="best combination", **style)


def _edge(
    ax: "Axes",
    result: Sweep,
    name: str,
    where: dict[Shown, float],
    members: list[Member],
    label: str,
) -> None:
    """A cross for each value with networks that are off the axis, on its bad end; and how many."""
    counts = Counter(where[shown(m.swept[name])] for m in members)
    if not counts:
        return
    edge = 0.06 if result.greater_is_better else 0.94
    across = ax.get_xaxis_transform()
    style: Style = {"color": FAILED, "ms": 7, "mew": 2, "transform": across}
    ax.plot(list(counts), [edge] * len(counts), "x", label=label, **style)
    for x, n in counts.items():
        if n > 1 and len(where) <= MANY:
            aside: Style = {
                "xytext": (6, 0),
                "textcoords": "offset points",
                "va": "center",
            }
            ax.annotate(str(n), (x, edge), xycoords=across, color=FAILED, fontsize=8, **aside)


# Shared


def _score_axis(ax: "Axes", result: Sweep, scores: Sequence[float]) -> tuple[float, float]:
    """The axis of the score: logarithmic where it helps, and wide enough for those that count.

    Returns:
        Its ends. Figures that are far beyond the others' would leave nothing of these to see.
    """
    ax.set_ylabel(result.score.replace("_", " "))
    ax.grid(True, which="major", alpha=0.25)
    far = FAR * median(map(abs, scores)) if scores else 0.0
    kept = [v for v in scores if abs(v) <= far] or [0.0, 1.0]
    low, high = min(kept), max(kept)
    if not result.greater_is_better and 0 < low < high / WIDE:
        ax.set_yscale("log")
        low, high = low * (low / high) ** 0.06, high * (high / low) ** 0.12
    else:
        margin = (high - low) or abs(high) or 1.0
        low, high = low - 0.1 * margin, high + 0.12 * margin
    ax.set_ylim(low, high)
    return low, high


def _best(result: Sweep, members: Sequence[Member]) -> Member:
    """The member with the best score; of equal ones the first."""
    better = max if result.greater_is_better else min
    scored = [(m.score, m) for m in members if m.counts and m.score is not None]
    return better(scored, key=lambda pair: pair[0])[1]
