"""What a sweep says to a person: its ranking as a table, and lines that one can act on."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from arraymlp._checks import is_number
from arraymlp.sweeps.population import DIVERGED
from arraymlp.sweeps.result import NOT_TRAINED, Member, SweepResult
from arraymlp.sweeps.space import REPEATS, shown

LISTED = 3  # networks that failed, of which the cause is told
LEAST = {"batch_size": 1, "epochs": 1}  # no smaller value can be tried; of other settings 0


def words(name: str) -> str:
    """A setting's or column's name as text."""
    return name.replace("_", " ")


def text(value: Any) -> str:
    """A setting's value, or a figure, as text."""
    value = shown(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def count(networks: int) -> str:
    """So many networks, in words."""
    return f"{networks} network{'s' * (networks != 1)}"


def ranking(result: SweepResult, top: int | None = None) -> tuple[list[str], list[list[str]]]:
    """The best settings as a table: its header and its rows, as text."""
    names = [name for name in result.swept if name not in REPEATS]
    trained = {m.number: len({r["epoch"] for r in m.records}) for m in result.members}
    rows = []
    for row in result.rank()[:top]:
        score = "-" if row["mean"] is None else f"{row['mean']:.4g}"
        if row["std"] is not None:
            score += f" ± {row['std']:.2g}"
        epochs = [trained[k] for k in row["members"]]
        low, high = min(epochs), max(epochs)
        rows.append(
            [
                str(row["rank"]),
                *(text(row[name]) for name in names),
                score,
                str(row["n"]),
                str(row["failed"] or ""),
                str(low) if low == high else f"{low} to {high}",
            ]
        )
    header = ["rank", *map(words, names), words(result.score), "networks", "failed", "epochs"]
    return header, rows


def of_member(m: Member) -> str:
    """A network by its number and by what was swept."""
    own = [f"{words(name)} {text(value)}" for name, value in m.swept.items()]
    own += [] if m.fold is None else [f"fold {m.fold}"]
    return f"network {m.number}" + (f" ({', '.join(own)})" if own else "")


def lines(result: SweepResult) -> list[str]:
    """The best network, what became of those that failed, and what to try next."""
    found = []
    if any(m.counts for m in result.members):
        best = result.best
        found.append(f"best: {of_member(best)}, {words(result.score)} {best.score:.5g}")
    else:
        found.append("no network has a score")
    failed = [m for m in result.members if m.status == DIVERGED]
    if failed:
        found.append(f"{len(failed)} of {len(result)} networks diverged:")
        found += [f"  {of_member(m)}: {m.cause}" for m in failed[:LISTED]]
        if len(failed) > LISTED:
            found.append(f"  and {len(failed) - LISTED} more")
    untrained = sum(m.status == NOT_TRAINED for m in result.members)
    if result.interrupted:
        rest = f"; {untrained} of {len(result)} networks were not begun" if untrained else ""
        found.append(f"interrupted: this is what there is{rest}")
    return [*found, *edges(result)]


def edges(result: SweepResult) -> list[str]:
    """A line for each number whose best value is the smallest or the largest that was tried."""
    top = next((row for row in result.rank() if row["mean"] is not None), None)
    if top is None:
        return []
    best = result.members[top["members"][0]].swept
    found = []
    for name, value in best.items():
        tried = [m.swept[name] for m in result.members]
        if name in REPEATS or not all(map(is_number, tried)) or len(set(tried)) < 2:
            continue
        if value == max(tried):
            found.append(f"best {name} {text(value)} is the largest tried: try larger ones")
        elif value == min(tried) > LEAST.get(name, 0):
            found.append(f"best {name} {text(value)} is the smallest tried: try smaller ones")
    return found


def call(result: SweepResult, given: Mapping[str, Any], data: str) -> str:
    """The best settings as a call of `arraymlp.train`, with the seed of their best network.

    Args:
        result: the sweep.
        given: the settings that were not swept, and other arguments, as they are to be written.
        data: the first arguments.
    """
    top = result.rank()[0]
    members = [result.members[k] for k in top["members"]]
    better = max if result.greater_is_better else min
    counting = [m for m in members if m.counts] or members[:1]
    best = better(counting, key=lambda m: m.score or 0.0)
    arguments = {**given, **best.swept}
    own = "".join(f"    {name}={_written(value)},\n" for name, value in arguments.items())
    return f"arraymlp.train(\n    {data},\n{own})" if data else f"arraymlp.train(\n{own})"


def _written(value: Any) -> str:
    """A value as Python's source; an object of this package's by its name there."""
    if not is_dataclass(value) or not type(value).__module__.startswith("arraymlp."):
        return repr(value)
    own = [(f, getattr(value, f.name)) for f in fields(value) if f.init]
    given = [f"{f.name}={v!r}" for f, v in own if v != f.default]
    return f"arraymlp.{type(value).__name__}({', '.join(given)})"
