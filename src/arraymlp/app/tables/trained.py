"""A training on a table: what is about to be done, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np

from arraymlp.app.tables.encoder_options import Learnt, learn
from arraymlp.app.tables.evaluation import scores_on
from arraymlp.app.tables.source import Source
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.splits import split
from arraymlp.training.checkpoint import Checkpoint
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.progress import Progress
from arraymlp.training.run import FINISHED, INTERRUPTED, Run
from arraymlp.training.scores.scores import Scores
from arraymlp.training.settings import get_preset
from arraymlp.training.train_function import train

# What the figures are of.
HELD_OUT = "on the rows held out:"
WATCHED = "on the rows held out, by which early stopping chose the epochs:"
IN_TURN = "on each row by the networks that had it held out (together all are better):"
TRAINED = "on the rows that it was trained on:"

DATES = "dates"  # kind of an encoded column
EXPLAINS = ("constant_predictions", "plateau")  # findings on what has not learned


@dataclass(frozen=True, eq=False)
class Plan:
    """A training on a table.

    Attributes:
        source: the rows.
        encoder: what makes features of their columns.
        validation: fraction of the rows that is held out, to tell how good the model is; 0 for
            none.
        settings: of `train`, by name, that were given.
        preset: the name of the others.
    """

    source: Source
    encoder: TableEncoder
    validation: float
    settings: Mapping[str, Any]
    preset: str

    @cached_property
    def rows(self) -> tuple[HostArray, HostArray]:
        """The rows to train on, and those that are held out, each ascending."""
        n = len(self.source)
        if not self.validation:
            return np.arange(n), np.arange(0)
        return split(n, self.validation, self._order_seed, self.source.target.positions)

    @property
    def _order_seed(self) -> int:
        return int(self.settings.get("order_seed", 0))

    @property
    def _stops_early(self) -> bool:
        return get_preset(self.preset, self.settings).early_stopping is not None

    @cached_property
    def learnt(self) -> Learnt:
        """What the encoder learns of the rows that are trained on."""
        learnt = learn(self.encoder, self.source.sample(self.rows[0]))
        if not self.source.in_memory and any(c.kind == DATES for c in learnt.encoding.columns):
            raise ValueError(
                f"{self.source.name}: --dates: dates of a table that is larger than memory are not "
                "read: leave them out"
            )
        return learnt

    @property
    def n_bytes(self) -> int:
        """The size of all rows' features."""
        return 4 * self.learnt.encoding.width * len(self.source)

    def lines(self, backend: Backend) -> list[tuple[str, str]]:
        """What will be trained on what, as names and what is said of them."""
        target, held_out = self.source.target, len(self.rows[1])
        lines = [
            ("table", f"{self.source.name}: {self.source.describe()}"),
            ("target", target.describe()),
            ("columns", self.learnt.describe()),
            *(("left out", line) for line in self.learnt.reasons()),
        ]
        if held_out:
            lines.append(("held out", f"{held_out:,} of the rows"))
        return [*lines, ("backend", str(backend))]

    def train(
        self, backend: Backend, checkpoint: Checkpoint | None, progress: Progress
    ) -> "Trained":
        """Train, and see how good it is on the rows held out, or else on all.

        Raises:
            ValueError: as of `train`.
            NonFiniteLossError: every network diverged.
        """
        target, began = self.source.target, perf_counter()
        names, (rows, held_out) = self.learnt.encoding.names, self.rows
        validation: Any = None
        if not self.source.in_memory:
            X, y = self.source.data(names)
            validation = self.validation or None  # the same rows
        else:
            X, y = self.source.data(names, rows)
            if len(held_out) and not self._stops_early:  # for the history alone
                validation = self.source.data(names, held_out)
        run = train(
            X,
            y,
            encode=self.learnt.encoding,
            validation=validation,
            preset=self.preset,
            backend=backend.name,
            device=backend.device,
            checkpoint=checkpoint,
            progress=progress,
            **{"loss": target.loss, **self.settings},
        )
        seconds = perf_counter() - began
        run.network.targets = target.names
        parts = held_out_in_turn(run)
        on = HELD_OUT
        if not len(held_out):
            on = IN_TURN if parts else TRAINED
        elif not self.source.in_memory and self._stops_early:
            on = WATCHED
        if on != IN_TURN:
            parts = [(Ensemble([run.network]), held_out if len(held_out) else rows)]
        scored = ((ensemble, *part) for ensemble, n in parts for part in self.source.rows(n))
        scores, constant = scores_on(scored, run.network.classes, target.names)
        return Trained(self, run, scores, on, constant, seconds)


def held_out_in_turn(run: Run) -> list[tuple[Ensemble, HostArray]]:
    """Rows and the networks that had them held out, where each network had some of its own."""
    by_rows: dict[bytes, tuple[list[MultilayerPerceptron], HostArray]] = {}
    for k, plan in enumerate(run.required_data().row_plans or ()):
        if plan.held_out is not None:
            networks, _ = by_rows.setdefault(plan.held_out.tobytes(), ([], plan.held_out))
            networks.append(run.network.member(k))
    return [(Ensemble(networks), rows) for networks, rows in by_rows.values()]


@dataclass(frozen=True, eq=False)
class Trained:
    """A run on a table, and how good it is.

    Attributes:
        plan: what was to be done.
        run: the run.
        scores: on the rows held out, or else on all.
        on: what they are of.
        constant: whether every one of those rows has the same prediction.
        seconds: that the training took.
    """

    plan: Plan
    run: Run
    scores: Scores
    on: str
    constant: bool
    seconds: float

    @property
    def members(self) -> int:
        """The number of networks."""
        return self.run.network.members or 1

    def failure(self) -> str | None:
        """Why it has not learned, as a sentence; None where it has."""
        if not self.constant:
            return None
        why = next((f.sentence for f in self.run.findings if f.kind in EXPLAINS), None)
        return "it gives every row the same output" + ("" if why is None else f". {why}")

    def describe(self) -> str:
        """How the training went."""
        networks = f"{self.members} network{'s' * (self.members != 1)}"
        n = len(self.run.history)
        epochs = f"{n} epoch{'s' * (n != 1)}"
        text = f"{networks}, {epochs} in {self.seconds:.1f} s"
        if self.run.ended != FINISHED:
            text += f", {self.run.ended}"
        if self.run.best_epoch is not None:
            best = np.ravel(self.run.best_epoch) + 1
            low, high = int(best.min()), int(best.max())
            text += f"; the best after {low}" + f" to {high}" * (low < high)
        return text + ": the model is that so far" * (self.run.ended == INTERRUPTED)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        plan, target = self.plan, self.plan.source.target
        best = self.run.best_epoch
        return {
            "file": plan.source.name,
            "rows": len(plan.source),
            "target": list(target.names),
            "classes": None if target.classes is None else target.classes.tolist(),
            "columns": {c.name: c.kind for c in plan.learnt.encoding.columns},
            "left_out": plan.learnt.left_out,
            "features": plan.learnt.encoding.width,
            "held_out": len(plan.rows[1]),
            "backend": str(self.run.backend),
            "members": self.members,
            "epochs": len(self.run.history),
            "best_epochs": None if best is None else np.ravel(best).tolist(),
            "ended": self.run.ended,
            "seconds": self.seconds,
            "settings": self.run.settings.to_dict(),
            "evaluated": self.on.rstrip(":"),
            "evaluation": self.scores.to_dict(),
        }
