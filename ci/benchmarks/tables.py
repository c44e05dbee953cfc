"""Results as text, a table each for the terminal, and as JSON."""

from dataclasses import asdict
from typing import Any

from benchmarks.page import seconds_text
from benchmarks.rounds import BARE, OURS, Result


def as_json(result: Result) -> dict[str, Any]:
    """A result with its medians and ratios."""
    figures = {
        name: {
            "seconds": result.median(name),
            "figure": result.figure(name),
            "threads": result.threads[name],
            "over_bare": result.ratio(name, BARE),
            "over_ours": result.ratio(name, OURS),
            "reached": result.reached(name),
        }
        for name in result.times
    }
    goals = {name: str(goal) for name, goal in result.goals.items()}
    return {**asdict(result), "unit": result.unit, "goals": goals, "figures": figures}


def text(result: Result) -> str:
    """One result: a line for each candidate."""
    unit, rate = (result.unit, f"{result.per}s/s") if result.per else ("seconds", "rows/s")
    headings = ("", unit, "threads", rate, "/ bare", "/ ours", "goal")
    table = [headings, *(_line(result, name) for name in result.names)]
    if not any(result.threads.values()):
        table = [(*row[:2], *row[3:]) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:]), row[-1]])
        for row in table
    ]
    rounds = f"{result.rounds} round{'s' * (result.rounds != 1)}"
    title = f"{result.case}  {result.title} (medians of {rounds})"
    return "\n".join([title, *(f"   {line}".rstrip() for line in [*lines, *result.notes])])


def _line(result: Result, name: str) -> tuple[str, ...]:
    if name in result.absent:
        return (name, "", "", "", "", "", result.absent[name])
    reached = result.reached(name)
    n = result.steps if result.per else result.rows
    goal = "" if reached is None else f"{result.goals[name]}: {'reached' if reached else 'missed'}"
    return (
        name,
        seconds_text(result.figure(name)),
        str(result.threads[name] or "own"),
        f"{n / result.median(name):,.0f}" if n else "",
        _ratio(result.ratio(name, BARE)),
        _ratio(result.ratio(name, OURS)),
        goal,
    )


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
