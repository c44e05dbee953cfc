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
from arraymlp.data.encoder import TableEncoder
from arraymlp.data.splits import split
from arraymlp.training.checkpoint import Checkpoint
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.progress import Progress
from arraymlp.training.run import FINISHED, INTERRUPTED, Run
from arraymlp.training.scores.scores import Scores
from arraymlp.training.train_function import train

DATES = "dates"  # kind of an encoded column
EXPLAINS = ("constant_predictions", "plateau")  # findings on what has not learned


@dataclass(frozen=True, eq=False)
class Plan:
    """A training on a table.

    Attributes:
        source: the rows.
        encoder: what makes features of their columns.
        validation: fraction of the rows that is held out; 0 for none.
        settings: of `train`, by name, that were given.
        preset: the name of the others.
    """

    source: Source
    encoder: TableEncoder
    validation: float
    settings: Mapping[str, Any]
    preset: str

    @cached_property
    def held_out(self) -> HostArray | None:
        """The rows that `train` will hold out, ascending; None for none."""
        if not self.validation:
            return None
        target = self.source.target
        order_seed = self.settings.get("order_seed", 0)
        _, rows = split(len(self.source), self.validation, order_seed, target.positions)
        return rows

    @cached_property
    def learnt(self) -> Learnt:
        """What the encoder learns of the rows that are trained on."""
        trained_on = np.ones(len(self.source), bool)
        if self.held_out is not None:
            trained_on[self.held_out] = False
        learnt = learn(self.encoder, self.source.sample(np.flatnonzero(trained_on)))
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
        target = self.source.target
        lines = [
            ("table", f"{self.source.name}: {self.source.describe()}"),
            ("target", target.describe()),
            ("columns", self.learnt.describe()),
            *(("left out", line) for line in self.learnt.reasons()),
        ]
        if self.held_out is not None:
            lines.append(("held out", f"{len(self.held_out):,} of the rows"))
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
        settings = {"loss": target.loss, **self.settings}
        run = train(
            *self.source.data(self.learnt.encoding.names),
            encode=self.learnt.encoding,
            validation=self.validation or None,
            preset=self.preset,
            backend=backend.name,
            device=backend.device,
            checkpoint=checkpoint,
            progress=progress,
            **settings,
        )
        seconds = perf_counter() - began
        run.network.targets = target.names
        held_out = self.source.rows(self.held_out)
        classes = run.network.classes
        scores, constant = scores_on(Ensemble([run.network]), held_out, classes, target.names)
        return Trained(self, run, scores, constant, seconds)


@dataclass(frozen=True, eq=False)
class Trained:
    """A run on a table, and how good it is.

    Attributes:
        plan: what was to be done.
        run: the run.
        scores: on the rows held out; where none were, on all.
        constant: whether every one of those rows has the same prediction.
        seconds: that the training took.
    """

    plan: Plan
    run: Run
    scores: Scores
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

    @property
    def heading(self) -> str:
        """What the figures are of."""
        if self.plan.held_out is None:
            return "on the rows that it was trained on, since none were held out:"
        watched = self.run.settings.early_stopping is not None
        also = ", by which early stopping chose the epochs" * watched
        return f"on the rows held out{also}:"

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
            "held_out": 0 if plan.held_out is None else len(plan.held_out),
            "backend": str(self.run.backend),
            "members": self.members,
            "epochs": len(self.run.history),
            "best_epochs": None if best is None else np.ravel(best).tolist(),
            "ended": self.run.ended,
            "seconds": self.seconds,
            "settings": self.run.settings.to_dict(),
            "evaluation": self.scores.to_dict(),
        }
