"""A sweep as text: its ranking as a table, what became of its networks, and what to try next."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import ismodule

import arraymlp
from arraymlp._checks import is_number
from arraymlp.sweeps.member import NOT_TRAINED, Member
from arraymlp.sweeps.population import CONSTANT, DIVERGED, LOST
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.space import REPEATS, shown

LISTED = 3  # settings whose failed networks are explained
FAILURES = {
    DIVERGED: "diverged",
    CONSTANT: "give every row the same output",
    LOST: "were lost with their workers",
}
STUCK = ("plateau", "constant_predictions")  # findings: it has not learned, if up to the end
UNSCALED = ("features_scale", "targets_scale")  # findings that come before other settings
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
                "-" if row["rank"] is None else str(row["rank"]),
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
    """The best network, the networks that failed or were not trained, and what to try next."""
    best = result.best if any(m.counts for m in result.members) else None
    notes = ["no network has a score"]
    if best is not None:
        score = f"{words(result.score)} {best.score:.5g}"
        notes = [f"best single network: {member_text(best)}, {score}"]
    for status, what in FAILURES.items():
        failed = [m for m in result.members if m.status == status]
        if failed:
            notes.append(f"{len(failed)} of {len(result)} networks {what}:")
            notes += [f"  {member_text(m)}: {_why(result, m)}" for m in failed[:LISTED]]
        if len(failed) > LISTED:
            notes.append(f"  and {len(failed) - LISTED} more")
    untrained = sum(m.status == NOT_TRAINED for m in result.members)
    if result.interrupted:
        rest = f"; {untrained} of {len(result)} networks were not started" if untrained else ""
        notes.append(f"interrupted: these are the results so far{rest}")
    stuck = None if best is None else _stuck(result, best)
    if stuck is not None:
        return [*notes, f"even the best network did not learn: {stuck}"]
    unscaled = None if best is None else _unscaled(result, best)
    return [*notes, *(edges(result) if unscaled is None else [f"first of all: {unscaled}"])]


def _why(result: SweepResult, m: Member) -> str:
    """Why a network failed: for one that is constant, its first finding."""
    findings = result.findings(m.number) if m.status == CONSTANT else []
    return findings[0].sentence if findings else m.cause


def _stuck(result: SweepResult, m: Member) -> str | None:
    """The finding that a network stood still up to its end; None where it did not."""
    last = m.records[-1]["epoch"] if m.records else None
    found = (f for f in result.findings(m.number) if f.kind in STUCK and f.to_epoch == last)
    return next((f.sentence for f in found), None)


def _unscaled(result: SweepResult, m: Member) -> str | None:
    """A network's first finding, where that is about the scale of the data, else None."""
    first = next(iter(result.findings(m.number)), None)
    return first.sentence if first is not None and first.kind in UNSCALED else None


def edges(result: SweepResult) -> list[str]:
    """A line for each number whose best value is the smallest or the largest that was tried.

    There is none where another value has the same mean.
    """
    ranked = [row for row in result.rank() if row["mean"] is not None]
    if not ranked:
        return []
    best = result.members[ranked[0]["members"][0]].swept
    tied = [row for row in ranked[1:] if row["mean"] == ranked[0]["mean"]]
    notes = []
    for name, value in best.items():
        tried = [m.swept[name] for m in result.members]
        if name in REPEATS or not all(map(is_number, tried)) or len(set(tried)) < 2:
            continue
        if any(row[name] != value for row in tied):
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
