"""One network's run as plain columns of numbers, which the diagnosis reads."""

from collections.abc import Sequence
from math import isfinite, log
from typing import Any

import numpy as np

from arraymlp._checks import of_member
from arraymlp.backends.array import HostArray
from arraymlp.diagnosis.findings import Finding
from arraymlp.diagnosis.model_checks import ModelChecks
from arraymlp.nn.losses import Loss
from arraymlp.steps.probes import SAMPLE_ROWS
from arraymlp.training.run import Run

FEWEST_EPOCHS = 5  # shorter stretches are ordinary slow going
BETTER = 0.9  # a loss above this part of what ignoring the input costs is no better than that
DIVERGED = 3  # times what ignoring the input costs
MEDIANS = ("absolute_error", "huber", "quantile")  # losses whose best constant is not the mean
SERIES = (
    "gradient_norm",
    "bias_gradient",
    "update_norm",
    "bias_update",
    "weight_norm",
    "spread",
    "active_units",
)


class RunColumns:
    """One member's view of the epochs and measurements since data or validation last changed.

    Of a member that early stopping stopped, up to there. ``kept`` is the position of the epoch
    whose weights the network has: the last, or the best where that was restored. ``guessing`` says
    what ``guess`` is the cost of.
    """

    def __init__(self, run: Run, k: int | None, guess: float, checks: ModelChecks) -> None:
        self.k = k
        self.guess = guess
        known = "" if run.data.y.loss.name in MEDIANS else " and know only the targets' mean"
        self.guessing = f"to ignore the input{known}"
        self.checks = checks
        self.settings = run.settings
        # An epoch that was broken off has records of its parts; the last is of the whole.
        records = list({r["epoch"]: r for r in run.history[run.comparable_from :]}.values())
        earlier = run.history[: run.comparable_from]
        self.steps_before = int(earlier[-1]["step"]) if earlier else 0
        best, stopping = self.own(run.best_epoch), run.settings.early_stopping
        if best is not None and stopping is not None:
            waited = self.own(stopping.patience) if stopping.restore_best else 0
            records = [r for r in records if r["epoch"] <= best + waited]
        self.epochs = [record["epoch"] for record in records]
        self.kept = self.epochs.index(best) if best in self.epochs else len(records) - 1
        self.columns = {
            name: [self.own(r.get(name)) for r in records] for name in run.history.columns
        }
        m = [a for a in run.measurements if self.epochs[0] <= a.epoch <= self.epochs[-1]]
        self.steps = [a.step for a in m]
        self.step_epochs = [a.epoch for a in m]
        self.loss = [self.own(a.loss) for a in m]
        self.series: dict[str, list[list[float]]] = {
            name: [[self.own(v) for v in getattr(a, name)] for a in m] for name in SERIES
        }
        self.activations = [layer.activation.name for layer in run.network.layers[:-1]]
        self.widths = [layer.n_out for layer in run.network.layers[:-1]]
        self.n_layers = len(run.network.layers)
        self.rows = int(run.data.X.shape[0])
        self.sample = min(SAMPLE_ROWS, self.rows)
        self.classes = None if run.network.classes is None else run.network.classes.tolist()
        self.dead = [self.own(count) for count in run.dead_units]

    def own(self, value: Any) -> Any:
        """Of what has a value for each member, this one's; anything else as it is."""
        return of_member(value, self.k)

    @property
    def first_loss(self) -> float:
        """The first loss known: the first probe's, or else the first epoch's."""
        return float((self.loss or self.columns["loss"])[0])

    @property
    def no_better(self) -> float:
        """A loss above this is no better than to ignore the input."""
        return BETTER * self.guess

    @property
    def diverged(self) -> float:
        """A loss above this has diverged: far above guessing, and above where it started."""
        return max(DIVERGED * self.guess, self.first_loss)

    @property
    def dropout(self) -> float:
        """The largest probability with which anything was dropped."""
        given = self.settings.dropout
        return float(max(self.own(given.input), self.own(given.hidden) if self.widths else 0))

    @property
    def probed_to_end(self) -> bool:
        """Whether the last epoch was probed, and everything in it was finite."""
        if not self.steps or self.step_epochs[-1] != self.epochs[-1]:
            return False
        return all(isfinite(v) for v in (self.loss[-1], *self.series["weight_norm"][-1]))

    def measured(self, name: str) -> list[float] | None:
        """A column that has a finite number in every epoch; None for one that has not."""
        column = self.columns.get(name)
        if column is None or not all(v is not None and isfinite(v) for v in column):
            return None
        return column

    def final(self, *names: str) -> float | None:
        """The first of these columns that has a finite figure for the epoch kept; that figure."""
        figures = [self.columns[name][self.kept] for name in names if name in self.columns]
        return next((v for v in figures if v is not None and isfinite(v)), None)

    def at_epoch_end(self, epoch: int) -> int | None:
        """Position of the last measurement in an epoch."""
        found = [i for i, e in enumerate(self.step_epochs) if e == epoch]
        return found[-1] if found else None

    def finding(
        self,
        kind: str,
        template: str,
        figures: dict[str, Any],
        *,
        layer: int | None = None,
        steps: tuple[int, int] | None = None,
        epochs: tuple[int, int] | None = None,
    ) -> Finding:
        """A finding about this member, its sentence the template with the figures filled in.

        Args:
            kind: see `Finding`.
            template: of the sentence, which names figures in braces.
            figures: by name.
            layer: index of the layer it is about.
            steps: the first and the last it was measured at.
            epochs: the first and the last of them; None for all.
        """
        from_step, to_step = steps or (None, None)
        epochs = epochs or (self.epochs[0], self.epochs[-1])
        sentence = template.format(**figures)
        return Finding(kind, sentence, figures, layer, self.k, from_step, to_step, *epochs)


def since(holds: Sequence[bool]) -> int | None:
    """Position from which something holds to the end; None where it does not hold at the end."""
    position = None
    for i in reversed(range(len(holds))):
        if not holds[i]:
            break
        position = i
    return position


def baseline_loss(run: Run, weight: HostArray | None = None, k: int | None = None) -> float:
    """Mean loss of the best answer that ignores the input: the same outputs for every row.

    For classes that is the entropy of their frequencies, -sum_j p_j log p_j; for columns of 0 and
    1 the sum of each column's; for numbers the loss of the one that costs least, such as the mean
    for squared_error and poisson and the median for absolute_error.

    Args:
        run: whose training targets and loss.
        weight: of each sample (N,), for a weighted mean; None where all are alike.
        k: the member, where the loss has parameters for each; None for the first.
    """
    targets = run.data.y
    loss = targets.loss.member(k or 0)
    y = run.backend.to_numpy(targets.values)
    if y.ndim == 1:
        counts = np.bincount(y, weight, targets.n_outputs)
        mean = counts / counts.sum()
    else:
        y = y.astype(float)
        mean = np.average(y, axis=0, weights=weight)
    if loss.classifies == "no":
        value, _ = loss(_best_constant(y, mean, loss, weight), y)
        return float(np.average(value, weights=weight))
    p = [*mean, *(1 - mean)] if loss.classifies == "each" else mean
    return float(-sum(q * log(q) for q in p if q > 0))


def _best_constant(
    y: HostArray, mean: HostArray, loss: Loss, weight: HostArray | None
) -> HostArray:
    """The logits (N, n), alike in all rows, whose mean loss on the targets y (N, T) is least."""
    shape = (len(y), y.shape[1] * loss.outputs_per_target)
    if loss.name == "squared_error":
        return np.broadcast_to(mean, shape)
    if loss.name == "poisson":
        return np.broadcast_to(np.log(np.maximum(mean, np.finfo(float).tiny)), shape)
    # Each column's loss is convex: halve the interval in which its mean slope changes sign.
    low, high = (np.repeat(end(axis=0), loss.outputs_per_target) for end in (y.min, y.max))
    for _ in range(40):
        middle = (low + high) / 2
        _, delta = loss(np.broadcast_to(middle, shape), y)
        falls = np.average(delta, axis=0, weights=weight) < 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return np.broadcast_to(high, shape)
