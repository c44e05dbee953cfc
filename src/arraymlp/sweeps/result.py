"""The result of a sweep: a row for each network, a ranking of the settings, and the networks."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Self

from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.diagnosis.detectors import diagnose
from arraymlp.diagnosis.findings import Findings
from arraymlp.html.view import shown as shown_view
from arraymlp.sweeps.files import load_sweep, save_sweep
from arraymlp.sweeps.member import Member
from arraymlp.sweeps.plots import draw_sweep
from arraymlp.sweeps.population import LOST
from arraymlp.sweeps.rows import Row, Rows
from arraymlp.sweeps.space import REPEATS, shown
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.history import finite
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(eq=False)
class SweepResult:
    """The members of a sweep in the order of the settings, their ranking, and more.

    ``result[k]`` is a `Member`, ``result.networks[k]`` its network, ``len(result)`` their number.

    Attributes:
        members: every network, with its settings, history and score.
        swept: names of the settings that were swept.
        score: the column of the history that ranks.
        greater_is_better: True where a greater score is the better one.
        backend: where it ran, as text.
        seconds: time for all of it.
        interrupted: True where Ctrl-C or SIGTERM ended it.
        plan: what was trained together, as text of several lines.
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
    _findings: dict[int, Findings] = field(default_factory=dict, repr=False)

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

    def _repr_html_(self) -> str | None:
        """The best settings and the curves, as notebooks show them."""
        from arraymlp.sweeps.views import sweep_view

        return shown_view(lambda: sweep_view(self))

    @property
    def networks(self) -> list[MultilayerPerceptron | None]:
        """The networks, one for each member; None for those that Ctrl-C or SIGTERM came before."""
        return [None if m.result is None else m.result.network for m in self.members]

    @property
    def rows(self) -> Rows:
        """A row for each network, in plain numbers and strings, as ``Member.row`` makes it."""
        return Rows(member.row() for member in self.members)

    def _ordered(self) -> list[Member]:
        """Members that count, best first; of equal ones the earlier."""
        sign = -1 if self.greater_is_better else 1
        scored = [(sign * m.score, m) for m in self.members if m.counts and m.score is not None]
        return [m for _, m in sorted(scored, key=lambda pair: pair[0])]

    def _best(self) -> Member | None:
        return next(iter(self._ordered()), None)

    @property
    def best(self) -> Member:
        """The network with the best score.

        Of several seeds or folds it may have been the luckiest: `rank` compares means.

        Raises:
            ValueError: no network has a score.
        """
        best = self._best()
        if best is None:
            raise ValueError(
                "no network has a score: all diverged, give every row the same output, were lost "
                "or were not trained"
            )
        return best

    def rank(self) -> Rows:
        """The settings, best first, each over its seeds, order_seeds and folds.

        Returns:
            A row each, with ``rank`` from 1, the swept settings, ``mean`` and ``std`` of the score
            over the networks that did not fail (std, with n - 1, is None for a single one), ``n``,
            how many networks, ``failed``, how many of them diverged, give every row the same output
            or have no score, and ``members``, their numbers. Settings of which no network failed
            come first; of which all failed, last, and their rank is None.
        """
        names = [name for name in self.swept if name not in REPEATS]
        groups: dict[str, list[Member]] = {}
        for m in self.members:
            groups.setdefault(repr([m.swept[name] for name in names]), []).append(m)
        rows: list[Row] = []
        for group in groups.values():
            scores = [m.score for m in group if m.score is not None and m.counts]
            rows.append(
                {
                    **{name: shown(group[0].swept[name]) for name in names},
                    "mean": mean(scores) if scores else None,
                    "std": stdev(scores) if len(scores) > 1 else None,
                    "n": len(group),
                    "failed": len(group) - len(scores),
                    "members": [m.number for m in group],
                }
            )
        sign = -1 if self.greater_is_better else 1
        rows.sort(
            key=lambda r: (
                r["mean"] is None,
                r["failed"] > 0,
                0 if r["mean"] is None else sign * r["mean"],
            )
        )
        return Rows(
            {"rank": None if row["mean"] is None else i, **row} for i, row in enumerate(rows, 1)
        )

    def curves(self, column: str | None = None) -> list[list[Any]]:
        """A column of every member's history, epoch by epoch; the score's by default.

        Returns:
            A list for each member, empty where it was not trained.

        Raises:
            KeyError: a history has no such column.
        """
        name = column or self.score
        return [[] if m.result is None else m.history[name] for m in self.members]

    def findings(self, k: int) -> Findings:
        """Why a network learned, stalled or died: its findings, as of `arraymlp.diagnose`.

        They are computed when first asked for.

        Args:
            k: number of the network; a negative one counts from the end.

        Raises:
            IndexError: there is no such network.
            ValueError: the network was not trained; or the sweep was read from a file, before whose
                saving they were not asked for.
        """
        k = range(len(self))[k]
        if k not in self._findings:
            self._findings[k] = diagnose(self.run(k))
        return self._findings[k]

    def failures(self, at_most: int | None = None) -> Rows:
        """Why networks failed: a row for each setting of which some did.

        Args:
            at_most: settings to explain; None for all. Each takes a diagnosis of one network.

        Returns:
            A row each, in the order of `rank`: the swept settings, ``n`` and ``failed`` as there,
            ``member``, the number of the first network that failed, ``status`` and ``cause``, its
            own, and ``kind`` and ``why``, those of its first finding; None where there is none, or
            the sweep was read from a file, before whose saving it was not asked for.
        """
        rows = Rows()
        for row in self.rank():
            failed = [k for k in row["members"] if self.members[k].failed]
            if not failed or (at_most is not None and len(rows) >= at_most):
                continue
            m = self.members[failed[0]]
            known = m.number in self._findings or self._run is not None
            known = known and m.status != LOST  # what it learned until then is not why
            finding = next(iter(self.findings(m.number)), None) if known else None
            rows.append(
                {
                    **{name: row[name] for name in self.swept if name not in REPEATS},
                    "n": row["n"],
                    "failed": len(failed),
                    "member": m.number,
                    "status": m.status,
                    "cause": m.cause,
                    "kind": None if finding is None else finding.kind,
                    "why": None if finding is None else finding.sentence,
                }
            )
        return rows

    def run(self, k: int) -> Run:
        """A network's training as a `Run`: to diagnose, or to go on with by `train`.

        Going on, the optimiser starts afresh.

        Args:
            k: number of the network.

        Raises:
            ValueError: the network was not trained; or the sweep was read from a file, which has
                no data.
        """
        if self._run is None:
            raise ValueError("a sweep that was read from a file has networks, but not the data")
        return self._run(k)

    def ensemble(self, top: int = 5) -> Ensemble:
        """The best networks as one predictor.

        Args:
            top: how many of them.

        Raises:
            ValueError: there are not so many networks with a score.
        """
        ordered = self._ordered()
        if not ordered:
            raise ValueError("no network has a score")
        whole = isinstance(top, Integral) and not isinstance(top, bool)
        if not whole or not 1 <= top <= len(ordered):
            raise ValueError(
                f"top must be from 1 to {len(ordered)}, the networks with a score: {top}"
            )
        return Ensemble([m.network for m in ordered[:top]])

    def to_frame(self) -> "DataFrame":
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
        members = [
            {
                "point": m.point,
                "swept": {name: shown(value) for name, value in m.swept.items()},
                "settings": m.settings,
                "findings": [f.to_dict() for f in self._findings.get(m.number, ())],
                "diagnosed": m.number in self._findings,
                "history": {} if m.result is None else m.history.to_dict(),
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
            "members": members,
        }
        return dict(finite(content))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """`to_dict` as JSON, also written to ``path`` where one is given.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plot(self, figure: "Figure | None" = None) -> "list[Axes]":
        """Draw the score over the epochs, and over each setting that was swept.

        Args:
            figure: a Matplotlib figure to draw into; None for a new one.

        Returns:
            The axes, as of `History.plot`: of the curves, then of each setting. (A notebook would
            show a figure that is returned a second time.)

        Raises:
            ModuleNotFoundError: Matplotlib is not installed; the message has the install line.
            ValueError: there are no epochs to draw.
        """
        axes = draw_sweep(self, figure)
        return list(axes.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the networks and everything in `to_dict` to one file, whole or not at all.

        Raises:
            ValueError: there is an activation or loss of your own, as for `arraymlp.save`.
            OSError: the file cannot be written.
        """
        networks = [None if m.result is None else m.network for m in self.members]
        save_sweep(path, self.to_dict(), networks)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        backend: str | Backend = "numpy",
        device: Any = None,
    ) -> Self:
        """Read what ``save`` wrote; no code in the file is run.

        The result has networks and histories, and the findings that had been asked for; settings
        that were objects are their names. It has no data, so that `run` and new findings are
        errors.

        Args:
            path: the file's.
            backend: where the networks go, as for `arraymlp.resolve`.
            device: the backend's device.

        Raises:
            ModelFileError: the file is damaged, or does not hold a sweep.
            OSError: it cannot be read.
        """
        about, members, findings = load_sweep(path, resolve(backend, device))
        return cls([Member(**m) for m in members], **about, _findings=findings)
