"""One network's run as plain columns of numbers, which the diagnosis reads."""

from math import isfinite, log
from typing import Any

import numpy as np

from arraymlp.backend import HostArray
from arraymlp.losses import Loss
from arraymlp.probes import SAMPLE_ROWS
from arraymlp.run import Run

SERIES = (
    "gradient_norm",
    "bias_gradient",
    "update_norm",
    "bias_update",
    "weight_norm",
    "spread",
    "live",
)


class Trace:
    """One member's view of the epochs and measurements since data or validation last changed."""

    def __init__(self, run: Run, k: int | None, guess: float) -> None:
        def own(value: Any) -> Any:
            return value if k is None or value is None else value[k]

        records = run.history[run.comparable_from :]
        first = records[0]["epoch"]
        m = [a for a in run.measurements if a.epoch >= first]
        self.k = k
        self.guess = guess
        self.activations = [layer.activation.name for layer in run.network.layers[:-1]]
        self.widths = [layer.n_out for layer in run.network.layers[:-1]]
        self.n_layers = len(run.network.layers)
        self.rows = int(run.data.X.shape[0])
        self.sample = min(SAMPLE_ROWS, self.rows)
        self.classes = None if run.network.classes is None else run.network.classes.tolist()
        y_val = run.data.y_val
        self.one_class_validation = (
            y_val is not None
            and self.classes is not None
            and bool((np.ptp(run.backend.to_numpy(y_val.values), axis=0) == 0).all())
        )
        self.shut = [own(count) for count in run.shut_units]
        self.epochs = [record["epoch"] for record in records]
        self.columns = {
            name: [own(v) if isinstance(v, list) else v for v in (r.get(name) for r in records)]
            for name in run.history.columns
        }
        self.steps = [a.step for a in m]
        self.step_epochs = [a.epoch for a in m]
        self.loss = [own(a.loss) for a in m]
        self.series: dict[str, list[list[float]]] = {
            name: [[own(v) for v in getattr(a, name)] for a in m] for name in SERIES
        }

    @property
    def first_loss(self) -> float:
        """The first loss known: the first probe's, or else the first epoch's."""
        return float((self.loss or self.columns["loss"])[0])

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

    def at_epoch_end(self, epoch: int) -> int | None:
        """Position of the last measurement in an epoch."""
        found = [i for i, e in enumerate(self.step_epochs) if e == epoch]
        return found[-1] if found else None


def cost_of_guessing(run: Run, weight: HostArray | None = None, k: int | None = None) -> float:
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
