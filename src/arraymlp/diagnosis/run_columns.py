"""One network's run as plain columns of numbers, which the rules of the diagnosis read."""

from collections.abc import Sequence
from math import isfinite, log
from typing import Any

import numpy as np

from arraymlp._checks import of_member
from arraymlp.backends.array import HostArray
from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.model_checks import ModelChecks
from arraymlp.nn.losses import Loss
from arraymlp.steps.probes import SAMPLE_ROWS, Measurement
from arraymlp.training.history import Record
from arraymlp.training.run import Run

FEWEST_EPOCHS = 5  # shorter stretches are ordinary slow going
BETTER = 0.9  # a loss above this fraction of the baseline is no better than ignoring the input
DIVERGED = 3  # a loss above this multiple of the baseline has diverged
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

    The columns of a member that stopped early end where it stopped.

    Attributes:
        member: its index in the population; None for one network.
        guess: the baseline loss, that of the best answer that ignores the input.
        guessing: what that answer does, in words.
        checks: figures of the finished network.
        settings: those of the run.
        steps_before: steps before the first epoch looked at.
        epochs: numbers of the epochs.
        kept: position in them of the epoch whose weights the network has: the last one, or the best
            one where that was restored.
        columns: the history's columns, a value an epoch.
        steps: numbers of the probed steps, from 1.
        step_epochs: the epoch of each.
        loss: the loss on the probes' sample after each.
        series: the other figures of the probes, by name: a list over layers for each probed step.
        activations: names of those of the hidden layers.
        widths: units of each hidden layer.
        n_layers: how many layers, the output layer included.
        rows: number of training rows.
        sample: number of rows that the probes look at.
        classes: the class labels; None for other targets.
        dead: dead or saturated units of each hidden layer; empty without probes.
    """

    def __init__(self, run: Run, member: int | None, guess: float, checks: ModelChecks) -> None:
        data = run.required_data()
        self.member = member
        self.guess = guess
        known = data.y.loss.best_constant
        knowing = f" and know only the targets' {known}" if known else ""
        self.guessing = f"to ignore the input{knowing}"
        self.checks = checks
        self.settings = run.settings
        records, earlier = self._records(run), run.history[: run.comparable_from]
        best = self.member_value(run.best_epoch)
        self.steps_before = int(earlier[-1]["step"]) if earlier else 0
        self.epochs: list[int] = [record["epoch"] for record in records]
        self.kept = self.epochs.index(best) if best in self.epochs else len(records) - 1
        self.columns = {
            name: [self.member_value(r.get(name)) for r in records] for name in run.history.columns
        }
        self._read_probes(run.measurements)
        self.activations = [layer.activation.name for layer in run.network.layers[:-1]]
        self.widths = [layer.n_out for layer in run.network.layers[:-1]]
        self.n_layers = len(run.network.layers)
        self.rows = int(data.X.shape[0])
        self.sample = min(SAMPLE_ROWS, self.rows)
        self.classes = None if run.network.classes is None else run.network.classes.tolist()
        self.dead: list[float] = [self.member_value(count) for count in run.dead_units]

    def _records(self, run: Run) -> list[Record]:
        """The comparable epochs' records, up to where early stopping stopped the member."""
        # An epoch that was broken off has a record of each part; the last is of the whole.
        records = list({r["epoch"]: r for r in run.history[run.comparable_from :]}.values())
        best, stopping = self.member_value(run.best_epoch), run.settings.early_stopping
        if best is not None and stopping is not None:
            waited = self.member_value(stopping.patience) if stopping.restore_best else 0
            records = [r for r in records if r["epoch"] <= best + waited]
        return records

    def _read_probes(self, measurements: Sequence[Measurement]) -> None:
        first, last = self.epochs[0], self.epochs[-1]
        inside = [m for m in measurements if first <= m.epoch <= last]
        self.steps = [m.step for m in inside]
        self.step_epochs = [m.epoch for m in inside]
        self.loss: list[float] = [self.member_value(m.loss) for m in inside]
        self.series: dict[str, list[list[float]]] = {
            name: [[self.member_value(v) for v in getattr(m, name)] for m in inside]
            for name in SERIES
        }

    def member_value(self, value: Any) -> Any:
        """This member's value of what has one for each member; anything else as it is."""
        return of_member(value, self.member)

    @property
    def first_loss(self) -> float:
        """The first loss known: the first probe's, or else the first epoch's."""
        return float((self.loss or self.columns["loss"])[0])

    @property
    def no_better(self) -> float:
        """A loss above this is no better than ignoring the input."""
        return BETTER * self.guess

    @property
    def diverged(self) -> float:
        """A loss above this has diverged: far above guessing, and above where it started."""
        return max(DIVERGED * self.guess, self.first_loss)

    @property
    def dropout(self) -> float:
        """The largest probability with which anything was dropped."""
        dropout = self.settings.dropout
        hidden = self.member_value(dropout.hidden) if self.widths else 0
        return float(max(self.member_value(dropout.input), hidden))

    @property
    def probed_to_end(self) -> bool:
        """True where the last epoch was probed, and everything in it was finite."""
        if not self.steps or self.step_epochs[-1] != self.epochs[-1]:
            return False
        return all(isfinite(v) for v in (self.loss[-1], *self.series["weight_norm"][-1]))

    def measured(self, name: str) -> list[float] | None:
        """A column that has a finite number in every epoch; None for any other."""
        column = self.columns.get(name)
        if column is None or not all(v is not None and isfinite(v) for v in column):
            return None
        return column

    def final(self, *names: str) -> float | None:
        """The figure of the epoch kept, of the first of these columns where that is finite."""
        figures = [self.columns[name][self.kept] for name in names if name in self.columns]
        return next((v for v in figures if v is not None and isfinite(v)), None)

    def at_epoch_end(self, epoch: int) -> int | None:
        """Position of the last measurement in an epoch; None without one."""
        positions = [i for i, e in enumerate(self.step_epochs) if e == epoch]
        return positions[-1] if positions else None

    def finding(
        self,
        kind: str,
        template: str,
        figures: Figures,
        *,
        layer: int | None = None,
        steps: tuple[int, int] | None = None,
        epochs: tuple[int, int] | None = None,
    ) -> Finding:
        """A finding about this member, its sentence the template with the figures filled in.

        Args:
            kind: see `Finding`.
            template: of the sentence, with names of figures in braces.
            figures: by name.
            layer: index of the layer it is about.
            steps: the first and the last step at which it was measured.
            epochs: the first and the last epoch of it; None for all epochs.
        """
        from_step, to_step = steps or (None, None)
        epochs = epochs or (self.epochs[0], self.epochs[-1])
        sentence = template.format(**figures)
        return Finding(kind, sentence, figures, layer, self.member, from_step, to_step, *epochs)


def since(holds: Sequence[bool]) -> int | None:
    """Position from which something holds to the end; None where it does not hold at the end."""
    position = None
    for i in reversed(range(len(holds))):
        if not holds[i]:
            break
        position = i
    return position


def baseline_loss(run: Run, weight: HostArray | None = None, member: int | None = None) -> float:
    """Mean loss of the best answer that ignores the input: the same outputs for every row.

    For classes that is the entropy of their frequencies, -sum_j p_j log p_j; for columns of 0 and 1
    the sum of each column's entropy; for numbers the loss of the constant that costs least, such as
    the mean for squared_error and poisson and the median for absolute_error.

    Args:
        run: has the training targets and the loss.
        weight: of each sample (N,), for a weighted mean; None where all are alike.
        member: its index, where the loss has parameters for each; None for the first.
    """
    targets = run.required_data().y
    loss = targets.loss.member(member or 0)
    y = run.backend.to_numpy(targets.values)
    if y.ndim == 1:
        counts = np.bincount(y, weight, targets.n_outputs)
        mean = counts / counts.sum()
    else:
        y = y.astype(float)
        mean = np.average(y, axis=0, weights=weight)
    if loss.classifies == "no":
        losses, _ = loss(_best_constant(y, mean, loss, weight), y)
        return float(np.average(np.asarray(losses), weights=weight)) * targets.unit
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

    def falls(s: HostArray) -> HostArray:
        _, delta = loss(np.broadcast_to(s, shape), y)
        return np.asarray(np.average(np.asarray(delta), axis=0, weights=weight) < 0)

    # Each column's loss is convex: double an interval of logits until its mean slope changes sign
    # in it, and halve that.
    low, high = -np.ones(shape[1]), np.ones(shape[1])
    for _ in range(60):
        low, high = np.where(falls(low), low, 2 * low), np.where(falls(high), 2 * high, high)
        if falls(low).all() and not falls(high).any():
            break
    for _ in range(60):
        middle = (low + high) / 2
        fallen = falls(middle)
        low, high = np.where(fallen, middle, low), np.where(fallen, high, middle)
    return np.broadcast_to(high, shape)
