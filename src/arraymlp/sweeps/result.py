"""What a sweep found: a row for each network, a ranking of the settings, and the networks."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite, nan
from numbers import Integral
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Self

from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.diagnosis.detectors import diagnose
from arraymlp.diagnosis.findings import Finding
from arraymlp.sweeps.ensemble import Ensemble
from arraymlp.sweeps.files import load_sweep, save_sweep
from arraymlp.sweeps.plots import draw_sweep
from arraymlp.sweeps.population import DIVERGED, MemberResult
from arraymlp.sweeps.space import REPEATS, shown
from arraymlp.training.history import History, Record, finite
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run

NOT_TRAINED = "not trained"


def scored(outcome: MemberResult | None, column: str) -> float | None:
    """A network's figure in the epoch whose weights it has; None without one, or for NaN."""
    if outcome is None or not len(outcome.history):
        return None
    records = [r for r in outcome.history if outcome.best_epoch in (None, r["epoch"])]
    value = float(records[-1].get(column, nan))
    return value if isfinite(value) else None


@dataclass(eq=False)
class Member:
    """One network of a sweep.

    Attributes:
        number: its place in the sweep.
        point: which combination of settings it is of, counted from 0.
        swept: its values of the settings that were swept.
        fold: of cross-validation, from 0; else None.
        settings: all its settings, in plain types.
        outcome: network, history, status and more; None where Ctrl-C came first.
        score: its figure in the column that ranks; None where it has none.
    """

    number: int
    point: int
    swept: dict[str, Any]
    fold: int | None
    settings: dict[str, Any] = field(repr=False)
    outcome: MemberResult | None = field(repr=False)
    score: float | None

    @property
    def network(self) -> MultilayerPerceptron:
        """What was trained.

        Raises:
            ValueError: Ctrl-C came before its training began.
        """
        return self._outcome.network

    @property
    def history(self) -> History:
        """Its epochs; a member's ``seconds`` are its share of its population's."""
        return self._outcome.history

    @property
    def records(self) -> list[Record]:
        """Those of its epochs; none where it was not trained."""
        return [] if self.outcome is None else self.outcome.history.records

    @property
    def status(self) -> str:
        """What became of it: finished, stopped (early), diverged, interrupted or not trained."""
        return NOT_TRAINED if self.outcome is None else self.outcome.status

    @property
    def counts(self) -> bool:
        """Whether it is ranked: it has a score, and did not diverge."""
        return self.score is not None and self.status != DIVERGED

    @property
    def cause(self) -> str:
        """Of a divergence, in words; else ""."""
        return "" if self.outcome is None else self.outcome.cause

    @property
    def best_epoch(self) -> int | None:
        """With early stopping, the epoch whose weights the network has."""
        return None if self.outcome is None else self.outcome.best_epoch

    @property
    def _outcome(self) -> MemberResult:
        if self.outcome is None:
            raise ValueError(f"member {self.number} was not trained: the sweep was interrupted")
        return self.outcome

    def row(self, score: str) -> dict[str, Any]:
        """The member in plain numbers and strings."""
        records = self.records
        kept = [r for r in records if self.best_epoch in (None, r["epoch"])][-1:]
        rest = ("learning_rate", "seconds", "samples_per_s")
        figures = {
            name: value
            for record in kept
            for name, value in record.items()
            if isinstance(value, float) and name not in rest
        }
        swept = {name: shown(value) for name, value in self.swept.items()}
        return {
            "member": self.number,
            **swept,
            **({} if self.fold is None else {"fold": self.fold}),
            "status": self.status,
            "score": self.score,
            **figures,
            "epochs": len({r["epoch"] for r in records}),
            "best_epoch": self.best_epoch,
            "seconds": sum(r["seconds"] for r in records),
            "cause": self.cause,
            **swept,  # where the loss or epochs are swept, not the figures of that name
        }


@dataclass(eq=False)
class SweepResult:
    """What `sweep` returns: its members, in the order of the settings.

    ``result[k]`` is a member, ``result.networks[k]`` its network, ``len(result)`` their number.

    Attributes:
        members: every network, with its settings, history and score.
        swept: names of the settings that were swept.
        score: the column of the history that ranks.
        greater_is_better: of the score.
        backend: where it ran, in words.
        seconds: time for all of it.
        interrupted: whether Ctrl-C ended it.
        plan: what was trained together, in words.
    """

    members: list[Member]
    swept: list[str]
    score: str
    greater_is_better: bool
    backend: str
    seconds: float
    interrupted: bool = False
    plan: str = ""
    _run: Callable[[int], Run] | None = field(default=None, repr=False)
    _findings: dict[int, list[Finding]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, k: int) -> Member:
        return self.members[k]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __repr__(self) -> str:
        swept = ", ".join(self.swept) or "nothing"
        note = " (interrupted)" if self.interrupted else ""
        best = "" if self._best() is None else f", best {self.score} {self.best.score:.5g}"
        return f"<SweepResult{note} of {len(self)} networks over {swept}{best}>"

    @property
    def networks(self) -> list[MultilayerPerceptron | None]:
        """The networks, one for each member; None for those that Ctrl-C came before."""
        return [None if m.outcome is None else m.outcome.network for m in self.members]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each network, in plain numbers and strings."""
        return [member.row(self.score) for member in self.members]

    def _ordered(self) -> list[Member]:
        """Members with a score, best first; of equal ones the earlier."""
        sign = -1 if self.greater_is_better else 1
        known = [m for m in self.members if m.counts]
        return sorted(known, key=lambda m: sign * m.score)  # type: ignore[operator]

    def _best(self) -> Member | None:
        return next(iter(self._ordered()), None)

    @property
    def best(self) -> Member:
        """The network with the best score.

        Of several seeds or folds it may have been the luckiest: `rank` compares means.

        Raises:
            ValueError: no network has a score.
        """
        found = self._best()
        if found is None:
            raise ValueError("no network has a score: all diverged, or none was trained")
        return found

    def rank(self) -> list[dict[str, Any]]:
        """The settings, best first, each over its seeds, order_seeds and folds.

        A dict each: rank; the swept settings; mean and std of the score over those networks that
        have one (std, with n - 1, is None for one); n, how many networks; failed, how many of them
        diverged or have no score; members, their numbers. Settings of which no network failed come
        first.
        """
        names = [name for name in self.swept if name not in REPEATS]
        groups: dict[str, list[Member]] = {}
        for m in self.members:
            groups.setdefault(repr([m.swept[name] for name in names]), []).append(m)
        found = []
        for several in groups.values():
            known = [m.score for m in several if m.score is not None and m.counts]
            found.append(
                {
                    **{name: shown(several[0].swept[name]) for name in names},
                    "mean": mean(known) if known else None,
                    "std": stdev(known) if len(known) > 1 else None,
                    "n": len(several),
                    "failed": len(several) - len(known),
                    "members": [m.number for m in several],
                }
            )
        sign = -1 if self.greater_is_better else 1
        found.sort(
            key=lambda r: (
                r["mean"] is None,
                r["failed"] > 0,
                0 if r["mean"] is None else sign * r["mean"],
            )
        )
        return [{"rank": i, **row} for i, row in enumerate(found, 1)]

    def curves(self, column: str | None = None) -> list[list[Any]]:
        """A column of the history of every member, epoch by epoch; the score's by default."""
        name = column or self.score
        return [[] if m.outcome is None else m.history[name] for m in self.members]

    def findings(self, k: int) -> list[Finding]:
        """Why a network learned, stalled or died: what `diagnose` measures of it.

        Raises:
            ValueError: of a sweep read from a file, it was not asked for before saving.
        """
        k = range(len(self))[k]
        if k not in self._findings:
            self._findings[k] = diagnose(self.run(k))
        return self._findings[k]

    def run(self, k: int) -> Run:
        """A network's training as a `Run`: to diagnose, or to go on with by `train`.

        Going on, the optimiser starts afresh.

        Raises:
            ValueError: the sweep was read from a file, which has no data.
        """
        if self._run is None:
            raise ValueError("a sweep that was read from a file has networks, but not the data")
        return self._run(k)

    def ensemble(self, top: int = 5) -> Ensemble:
        """The best networks as one predictor.

        Raises:
            ValueError: there are not so many networks with a score.
        """
        known = self._ordered()
        whole = isinstance(top, Integral) and not isinstance(top, bool)
        if not whole or not 1 <= top <= len(known):
            raise ValueError(
                f"top must be from 1 to {len(known)}, the networks with a score: {top}"
            )
        return Ensemble([m.network for m in known[:top]])

    def to_frame(self) -> Any:
        """The rows as a pandas data frame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("a data frame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the networks, in plain types; numbers that are not finite as None."""
        own = [
            {
                "point": m.point,
                "swept": {name: shown(value) for name, value in m.swept.items()},
                "settings": m.settings,
                "findings": [f.to_dict() for f in self._findings.get(m.number, [])],
                "diagnosed": m.number in self._findings,
                "history": {} if m.outcome is None else m.history.to_dict(),
            }
            for m in self.members
        ]
        content: dict[str, Any] = {
            "swept": self.swept,
            "score": self.score,
            "greater_is_better": self.greater_is_better,
            "backend": self.backend,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "plan": self.plan,
            "rank": self.rank(),
            "rows": self.rows,
            "members": own,
        }
        return dict(finite(content))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """`to_dict` as JSON, also written to ``path`` where one is given."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plot(self, figure: Any = None) -> Any:
        """Draw the score over the epochs, and over each setting that was swept.

        Args:
            figure: a Matplotlib figure to draw into; None for a new one.

        Returns:
            The figure.

        Raises:
            ModuleNotFoundError: Matplotlib is not installed; the message has the install line.
            ValueError: there are no epochs to draw.
        """
        return draw_sweep(self, figure)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write networks, histories and what `to_dict` has to one file, whole or not at all.

        Raises:
            ValueError: an activation or loss of your own, as of `arraymlp.save`.
            OSError: the file cannot be written.
        """
        networks = [None if m.outcome is None else m.network for m in self.members]
        save_sweep(path, self.to_dict(), networks)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        backend: str | Backend = "numpy",
        device: Any = None,
    ) -> Self:
        """Read what `save` wrote, running nothing.

        It has networks and histories, and the findings that had been asked for; settings that were
        objects are their names. It has no data, so that `run` and new findings are errors.

        Args:
            path: of the file.
            backend: where the networks go, as for `arraymlp.resolve`.
            device: the backend's device.

        Raises:
            ModelFileError: the file is damaged, or does not hold a sweep.
            OSError: it cannot be read.
        """
        about, members, findings = load_sweep(path, resolve(backend, device))
        return cls([Member(**m) for m in members], **about, _findings=findings)
