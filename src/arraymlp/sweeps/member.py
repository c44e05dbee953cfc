"""One network of a sweep: its settings, how its training went, its score."""

from dataclasses import dataclass, field
from math import isfinite, nan

from arraymlp.html.view import shown as shown_view
from arraymlp.sweeps.population import CONSTANT, DIVERGED, LOST, MemberResult
from arraymlp.sweeps.rows import Row
from arraymlp.sweeps.space import REPEATS, Point, shown
from arraymlp.training.history import History, Record
from arraymlp.training.model import MultilayerPerceptron

NOT_TRAINED = "not trained"


def score_of(result: MemberResult | None, column: str) -> float | None:
    """A network's figure in the epoch whose weights it has; None without one, or for NaN."""
    if result is None or not len(result.history):
        return None
    records = [r for r in result.history if result.best_epoch in (None, r["epoch"])]
    value = float(records[-1].get(column, nan))
    return value if isfinite(value) else None


@dataclass(eq=False)
class Member:
    """One network of a sweep.

    Attributes:
        number: its place in the sweep, from 0.
        point: number of its combination of settings, from 0.
        swept: its values of the settings that were swept, by name; of a fold its own seeds.
        fold: number of the fold of cross-validation, from 0; None without.
        settings: all its settings by name, in plain types.
        result: network, history, status and more; None where Ctrl-C or SIGTERM came first.
        score: its figure in the column that ranks; None where it has none, or it is not finite.
    """

    number: int
    point: int
    swept: Point
    fold: int | None
    settings: Row = field(repr=False)
    result: MemberResult | None = field(repr=False)
    score: float | None

    def _repr_html_(self) -> str | None:
        """Its settings, score and curves, as notebooks show them."""
        from arraymlp.sweeps.views import member_view

        return shown_view(lambda: member_view(self))

    @property
    def network(self) -> MultilayerPerceptron:
        """The trained network.

        Raises:
            ValueError: Ctrl-C or SIGTERM came before its training began.
        """
        return self._trained.network

    @property
    def history(self) -> History:
        """A record for each epoch; ``seconds`` are its share of its population's.

        Raises:
            ValueError: Ctrl-C or SIGTERM came before its training began.
        """
        return self._trained.history

    @property
    def records(self) -> list[Record]:
        """The records of its history; none where it was not trained."""
        return [] if self.result is None else self.result.history.records

    @property
    def status(self) -> str:
        """How it ended.

        "finished", "stopped" (early), "diverged", "constant" (it gives every row the same output),
        "lost" (with the workers of an executor), "interrupted" or "not trained".
        """
        return NOT_TRAINED if self.result is None else self.result.status

    @property
    def counts(self) -> bool:
        """True where it is ranked: it has a score, did not diverge, is not constant nor lost."""
        return self.score is not None and not self.failed

    @property
    def failed(self) -> bool:
        """True where it diverged, gives every row the same output, or was lost."""
        return self.status in (DIVERGED, CONSTANT, LOST)

    @property
    def cause(self) -> str:
        """Why it diverged, is constant or was lost, in words; "" where none of these."""
        return "" if self.result is None else self.result.cause

    @property
    def best_epoch(self) -> int | None:
        """With early stopping, the epoch whose weights the network has; else None."""
        return None if self.result is None else self.result.best_epoch

    @property
    def _trained(self) -> MemberResult:
        if self.result is None:
            raise ValueError(f"member {self.number} was not trained: the sweep was interrupted")
        return self.result

    def row(self) -> Row:
        """The member as a row of plain numbers and strings, by name of the column.

        The columns are ``member``, the swept settings, ``fold`` and its own ``seed`` and
        ``order_seed`` (with ``cv``), ``status``, ``score``, the losses, errors and metrics of the
        epoch whose weights it has, ``epochs``, ``best_epoch``, ``seconds`` and ``cause``.
        """
        records = self.records
        kept = [r for r in records if self.best_epoch in (None, r["epoch"])][-1:]
        others = ("learning_rate", "seconds", "samples_per_s")
        figures = {
            name: value
            for record in kept
            for name, value in record.items()
            if isinstance(value, float) and name not in others
        }
        swept = {name: shown(value) for name, value in self.swept.items()}
        seeds = {name: self.settings[name] for name in REPEATS}
        return {
            "member": self.number,
            **swept,
            **({} if self.fold is None else {"fold": self.fold, **seeds}),
            "status": self.status,
            "score": self.score,
            **figures,
            "epochs": len({r["epoch"] for r in records}),
            "best_epoch": self.best_epoch,
            "seconds": sum(r["seconds"] for r in records),
            "cause": self.cause,
            **swept,  # where the loss or epochs are swept, not the figures of that name
        }
