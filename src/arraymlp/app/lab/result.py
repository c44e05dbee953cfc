"""The result of the lab: its runs, the table of them, and how many left the plateau."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TypedDict

from arraymlp.app.lab.experiments import LabRun, Verdict, published_escape
from arraymlp.backends.backend import Backend
from arraymlp.data.datasets import MNIST


class LabRow(TypedDict):
    """One experiment with all its seeds: a row of the table.

    Keys:
        run: the experiment's name.
        published: its published test accuracy, in percent.
        accuracy: ours, in percent, the mean over the seeds.
        spread: its standard deviation; None for one seed.
        band: what counts as reproduced, as text.
        judged: how many of the seeds' runs were judged.
        in_band: how many of them agree with the report.
        what: what happened, as text.
        seeds: of the initial weights.
        seconds: of training, all seeds together.
    """

    run: str
    published: float
    accuracy: float
    spread: float | None
    band: str
    judged: int
    in_band: int
    what: str
    seeds: list[int]
    seconds: float


@dataclass
class LabResult:
    """All runs of a lab, in the order in which they were asked for.

    Attributes:
        runs: one for each experiment and seed.
        backend: that trained them.
        dtype: of the computation.
        seconds: duration of everything.
        mnist: the data.
        interrupted: True where Ctrl-C or SIGTERM ended it early.
    """

    runs: list[LabRun]
    backend: Backend
    dtype: str
    seconds: float
    mnist: MNIST
    interrupted: bool = False

    @property
    def in_band(self) -> bool:
        """True unless a judged run fell outside its band."""
        return not any(lab_run.verdict.in_band is False for lab_run in self.runs)

    @property
    def names(self) -> list[str]:
        """The experiments, in order."""
        return list(dict.fromkeys(lab_run.experiment.name for lab_run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """The seeds of the initial weights, sorted."""
        return sorted({lab_run.seed for lab_run in self.runs})

    def of(self, name: str) -> list[LabRun]:
        """The runs of one experiment, seed by seed."""
        return [lab_run for lab_run in self.runs if lab_run.experiment.name == name]

    def title(self) -> str:
        """Backend, engines, dtype, seeds and duration, as text."""
        engines = sorted({lab_run.run.engine for lab_run in self.runs})
        together = sum(lab_run.seconds for lab_run in self.runs) > self.seconds
        parts = [
            f"{self.backend} (engine: {', '.join(engines)})",
            self.dtype,
            seeds_text(self.seeds),
            f"{self.seconds:.0f} s in all" + (", side by side" if together else ""),
        ]
        return ", ".join(parts)

    def rows(self) -> list[LabRow]:
        """The table, with a row for each experiment."""
        return [_row(name, self.of(name)) for name in self.names]

    def escapes(self) -> str | None:
        """A sentence on how many seeds of relu-0.005 left the plateau; None if none was judged."""
        judged = [r for r in self.of("relu-0.005") if r.verdict.escaped is not None]
        if not judged:
            return None
        escaped = [r.accuracy for r in judged if r.verdict.escaped]
        epochs = [e for r in judged if (e := r.verdict.escape_epoch) is not None]
        text = f"relu-0.005: {len(escaped)} of {len(judged)} seeds escaped the plateau"
        if escaped:
            when = f"{min(epochs)}" if len(set(epochs)) == 1 else f"{min(epochs)} to {max(epochs)}"
            text += (
                f" (epoch {when}; published: {published_escape()}) and ended at "
                f"{mean(escaped):.2f} %"
            )
        if len(escaped) > 1:
            low, high = min(escaped), max(escaped)
            text += f" (standard deviation {stdev(escaped):.2f}, {low:.2f} to {high:.2f})"
        stuck = sorted({f"{r.accuracy:.2f} %" for r in judged if not r.verdict.escaped})
        if stuck:
            text += f"; {len(judged) - len(escaped)} never did and stayed at {', '.join(stuck)}"
        return text + "."


def seeds_text(seeds: Sequence[int]) -> str:
    """``seed 0`` or ``seeds 0, 1``."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def verdict_text(row: LabRow) -> str:
    """Whether a row's runs are in their band, or how many are."""
    if not row["judged"]:
        return "not judged"
    if len(row["seeds"]) == 1:
        return "yes" if row["in_band"] else "NO"
    return f"{row['in_band']} of {row['judged']}"


def _row(name: str, lab_runs: Sequence[LabRun]) -> LabRow:
    accuracies = [lab_run.accuracy for lab_run in lab_runs]
    verdicts = [lab_run.verdict for lab_run in lab_runs]
    judged = [verdict.in_band for verdict in verdicts if verdict.in_band is not None]
    experiment = lab_runs[0].experiment
    return {
        "run": name,
        "published": experiment.published,
        "accuracy": mean(accuracies),
        "spread": stdev(accuracies) if len(accuracies) > 1 else None,
        "band": experiment.band,
        "judged": len(judged),
        "in_band": sum(judged),
        "what": _what_happened(verdicts),
        "seeds": [lab_run.seed for lab_run in lab_runs],
        "seconds": sum(lab_run.seconds for lab_run in lab_runs),
    }


def _what_happened(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as one text, each with its count where they differ."""
    if len(verdicts) > 1 and all(v.escaped is not None for v in verdicts):
        escaped = sum(v.escaped is True for v in verdicts)
        return f"{escaped} of {len(verdicts)} escaped the plateau"
    counts = Counter(v.what for v in verdicts)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{n} x {what}" for what, n in counts.most_common())
