"""Results as a table each for the terminal, and as a few in Markdown for the README."""

from collections.abc import Sequence

from bench_rounds import BARE, OURS, Goal, Result

HEADINGS = ("", "seconds", "threads", "rows/s", "/ bare", "/ ours", "goal")


def text(result: Result) -> str:
    """One result: a line for each candidate."""
    table = [HEADINGS, *(_line(result, name) for name in result.names)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:]), row[-1]])
        for row in table
    ]
    rounds = f"{result.rounds} round{'s' * (result.rounds > 1)}"
    title = f"{result.case}  {result.title} (medians of {rounds})"
    return "\n".join([title, *(f"   {line}".rstrip() for line in [*lines, *result.notes])])


def _line(result: Result, name: str) -> tuple[str, ...]:
    if name in result.absent:
        return (name, "", "", "", "", "", result.absent[name])
    reached = result.reached(name)
    goal = "" if reached is None else f"{result.goals[name]}: {'reached' if reached else 'missed'}"
    return (
        name,
        _seconds(result.median(name)),
        str(result.threads[name] or "own"),
        f"{result.rows / result.median(name):,.0f}" if result.rows else "",
        _ratio(result.ratio(name, BARE)),
        _ratio(result.ratio(name, OURS)),
        goal,
    )


def markdown(results: Sequence[Result]) -> str:
    """All of them, those with the same candidates in one table."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(result.names, []).append(result)
    return "\n\n".join(_table(names, group) for names, group in groups.items())


def _table(names: tuple[str, ...], results: Sequence[Result]) -> str:
    """One table in Markdown, with a line for each result."""
    bare = BARE in names
    lines = [["", *names, *(["ours / bare"] if bare else []), "goals"]]
    lines.append(["---"] * len(lines[0]))
    for result in results:
        cells = [result.title, *(_cell(result, name) for name in names)]
        if bare:
            cells.append(_ratio(result.ratio(OURS, BARE)))
        lines.append([*cells, _goals(result)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(result: Result, name: str) -> str:
    if name in result.absent:
        return result.absent[name]
    seconds = f"{_seconds(result.median(name))} s"
    return seconds if name in (BARE, OURS) else f"{seconds} ({_ratio(result.ratio(name, OURS))})"


def _goals(result: Result) -> str:
    """All goals of a result, and for whom they are missed."""
    names: dict[Goal, list[str]] = {}
    for name, goal in result.goals.items():
        if name in result.times:
            names.setdefault(goal, []).append(name)
    found = []
    for goal, some in names.items():
        missed = [name for name in some if not result.reached(name)]
        by = "" if missed == some else f" by {', '.join(missed)}"
        found.append(f"{', '.join(some)} {goal}: {f'missed{by}' if missed else 'reached'}")
    return "; ".join(found)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 10 else f"{seconds:.1f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
