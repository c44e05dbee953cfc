"""A sweep as text: its ranking as a table, what became of its networks, and what to try next."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import ismodule

import arraymlp
from arraymlp._checks import is_number
from arraymlp.sweeps.member import NOT_TRAINED, Member
from arraymlp.sweeps.population import DIVERGED
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.space import REPEATS, shown

LISTED = 3  # networks that diverged, whose cause is listed
SMALLEST = {"batch_size": 1, "epochs": 1}  # that can be tried; of other settings 0


def words(name: str) -> str:
    """A setting's or column's name as text."""
    return name.replace("_", " ")


def text(value: object) -> str:
    """A setting's value, or a figure, as text."""
    value = shown(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def networks_text(n: int) -> str:
    """``1 network`` or ``2 networks``."""
    return f"{n} network{'s' * (n != 1)}"


def ranking(result: SweepResult, top: int | None = None) -> tuple[list[str], list[list[str]]]:
    """The ranked settings as text: the table's header and its rows, by default all."""
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


def member_text(m: Member) -> str:
    """A network as text: its number and its values of the swept settings."""
    values = [f"{words(name)} {text(value)}" for name, value in m.swept.items()]
    values += [] if m.fold is None else [f"fold {m.fold}"]
    return f"network {m.number}" + (f" ({', '.join(values)})" if values else "")


def lines(result: SweepResult) -> list[str]:
    """The best network, the networks that diverged or were not trained, and what to try next."""
    if any(m.counts for m in result.members):
        best = result.best
        score = f"{words(result.score)} {best.score:.5g}"
        notes = [f"best single network: {member_text(best)}, {score}"]
    else:
        notes = ["no network has a score"]
    diverged = [m for m in result.members if m.status == DIVERGED]
    if diverged:
        notes.append(f"{len(diverged)} of {len(result)} networks diverged:")
        notes += [f"  {member_text(m)}: {m.cause}" for m in diverged[:LISTED]]
        if len(diverged) > LISTED:
            notes.append(f"  and {len(diverged) - LISTED} more")
    untrained = sum(m.status == NOT_TRAINED for m in result.members)
    if result.interrupted:
        rest = f"; {untrained} of {len(result)} networks were not started" if untrained else ""
        notes.append(f"interrupted: these are the results so far{rest}")
    return [*notes, *edges(result)]


def edges(result: SweepResult) -> list[str]:
    """A line for each number whose best value is the smallest or the largest that was tried."""
    first = next((row for row in result.rank() if row["mean"] is not None), None)
    if first is None:
        return []
    best = result.members[first["members"][0]].swept
    notes = []
    for name, value in best.items():
        tried = [m.swept[name] for m in result.members]
        if name in REPEATS or not all(map(is_number, tried)) or len(set(tried)) < 2:
            continue
        if value == max(tried):
            notes.append(f"best {name} {text(value)} is the largest tried: try larger ones")
        elif value == min(tried) > SMALLEST.get(name, 0):
            notes.append(f"best {name} {text(value)} is the smallest tried: try smaller ones")
    return notes


def call(result: SweepResult, given: Mapping[str, object], data: str) -> str:
    """A call of `arraymlp.train` with the best settings and the seed of their best network.

    Args:
        result: the sweep.
        given: the settings that were not swept, and other keyword arguments.
        data: the positional arguments, as Python source.
    """
    members = [result.members[k] for k in result.rank()[0]["members"]]
    scored = [m for m in members if m.counts] or members[:1]
    better = max if result.greater_is_better else min
    best = better(scored, key=lambda m: m.score or 0.0)
    arguments = {**given, **best.swept}
    lines = [data, *(f"{name}={_source(value)}" for name, value in arguments.items())]
    return "arraymlp.train(\n" + "".join(f"    {line},\n" for line in lines if line) + ")"


def _source(value: object) -> str:
    """A value as Python source; an object of this package by its public name."""
    if not is_dataclass(value) or not type(value).__module__.startswith("arraymlp."):
        return repr(value)
    values = [(f, getattr(value, f.name)) for f in fields(value) if f.init]
    given = [f"{f.name}={v!r}" for f, v in values if v != f.default]
    return f"{_public_name(type(value))}({', '.join(given)})"


def _public_name(cls: type) -> str:
    """``arraymlp.Dropout``, or with its namespace, ``arraymlp.optimizers.Adam``."""
    public = vars(arraymlp).items()
    namespaces = [value for name, value in public if name in arraymlp.__all__ and ismodule(value)]
    for module in (arraymlp, *namespaces):
        if vars(module).get(cls.__name__) is cls:
            return f"{module.__name__}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"
