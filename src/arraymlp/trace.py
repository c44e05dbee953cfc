"""One network's run as plain columns of numbers, which the diagnosis reads."""

from math import isfinite, log
from typing import Any

from arraymlp.run import Run


class Trace:
    """One member's view of a run: histories and measurements as plain columns of numbers."""

    def __init__(self, run: Run, k: int | None, guess: float) -> None:
        def own(value: Any) -> Any:
            return value if k is None or value is None else value[k]

        self.k = k
        self.guess = guess
        self.regression = run.network.loss.classifies == "no"
        self.activations = [layer.activation.name for layer in run.network.layers[:-1]]
        self.widths = [layer.n_out for layer in run.network.layers[:-1]]
        self.n_layers = len(run.network.layers)
        self.rows = int(run.data.X.shape[0])
        self.classes = None if run.network.classes is None else run.network.classes.tolist()
        self.shut = [own(count) for count in run.shut_units]
        self.epochs = [record["epoch"] for record in run.history]
        self.columns = {
            name: [own(v) if isinstance(v, list) else v for v in run.history[name]]
            for name in run.history.columns
        }
        m = run.measurements
        self.steps = [a.step for a in m]
        self.step_epochs = [a.epoch for a in m]
        self.loss = [own(a.loss) for a in m]
        self.series: dict[str, list[list[float]]] = {
            name: [[own(v) for v in getattr(a, name)] for a in m]
            for name in (
                "gradient_norm",
                "update_norm",
                "bias_update",
                "weight_norm",
                "spread",
                "live",
                "mean",
            )
        }

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


def cost_of_guessing(run: Run) -> float:
    """Mean loss of the best answer that ignores the input: to know only the targets' mean.

    For classes that is the entropy of their frequencies, -sum_j p_j log p_j; for columns of 0 and
    1 the sum of each column's; for numbers half the sum of the columns' variances.
    """
    targets = run.data.y
    y = run.backend.to_numpy(targets.values)
    if targets.loss.classifies == "no":
        return float(y.var(axis=0, dtype=float).sum()) / 2
    if y.ndim == 1:
        p = [float((y == j).mean()) for j in range(targets.n_outputs)]
    else:
        p = y.mean(axis=0, dtype=float).tolist()
    if targets.loss.classifies == "each":
        p += [1 - q for q in p]
    return -sum(q * log(q) for q in p if q > 0)
