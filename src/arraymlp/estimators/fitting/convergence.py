"""scikit-learn's rules at an epoch's end: what is reported, when to stop, which rate comes next.

They are those of its MLPClassifier and MLPRegressor, message by message. They differ from
`arraymlp.steps.patience` in that a figure that only equals the best is an improvement where tol is
0, and NaN always is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.steps.schedules import Schedule
from arraymlp.sweeps.population import StepLosses
from arraymlp.training.callbacks import EpochEnd, StepEnd
from arraymlp.training.history import Record
from arraymlp.training.state import plain

if TYPE_CHECKING:
    from arraymlp.estimators.base import BaseMLP

CURVES = (  # kept over all calls of one network, besides n_iter_, t_ and loss_
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "best_validation_loss_",
    "_no_improvement_count",
)
REMEMBERED = (*CURVES, "n_iter_", "t_", "loss_", "_rate")  # for a checkpoint
RULES = (  # the parameters that decide here, but for max_iter, which is the run's
    "solver",
    "learning_rate",
    "learning_rate_init",
    "power_t",
    "tol",
    "n_iter_no_change",
    "early_stopping",
)


@dataclass(frozen=True)
class Watched:
    """The figure that must improve: its attributes of an estimator, its sense, its name."""

    figures: str
    best: str
    sign: int
    name: str


WATCHED: Mapping[bool | str, Watched] = {  # by ``early_stopping``
    False: Watched("loss_curve_", "best_loss_", -1, "Training loss"),
    True: Watched("validation_scores_", "best_validation_score_", 1, "Validation score"),
    "loss": Watched("validation_loss_curve_", "best_validation_loss_", -1, "Validation loss"),
}


class Convergence(Schedule):
    """The schedule of an estimator's training, and a callback of it; it reports to the estimator.

    The loss of an epoch, as scikit-learn has it, is the mean over its minibatches, each counted by
    its rows, of

        sum_i w_i L_i / sum_i w_i  +  alpha / 2 |W|^2 / sum_i w_i

    with the squared error of several columns averaged over them.

    Attributes:
        stopped: whether the training has converged.

    Args:
        estimator: whose attributes are kept up to date.
        rows: how many an epoch trains on.
        steps: of an epoch.
        done: steps done before.
        columns: what the loss is divided by.
        monitor: the validation score's column in the history; None where there is no validation.
        weighted: whether samples have weights.
    """

    def __init__(
        self,
        estimator: "BaseMLP",
        rows: int,
        steps: int,
        done: int,
        columns: int,
        monitor: str | None,
        weighted: bool,
    ) -> None:
        self._watched = WATCHED[estimator.early_stopping]
        self._estimator, self._rows, self._steps, self._done = estimator, rows, steps, done
        self._columns, self._monitor = columns, monitor
        self._losses = WeightedLosses(columns) if weighted else None
        self.on_step = None if self._losses is None else self._losses.on_step
        self.stopped = False
        self._begin()

    def _begin(self) -> None:
        """Begin the records that earlier fits, with other parameters, have not begun."""
        est = self._estimator
        if getattr(est, "loss_curve_", None) is None:
            est.loss_curve_, est._no_improvement_count = [], 0
            est.best_loss_ = est.best_validation_score_ = est.best_validation_loss_ = None
            est.validation_scores_ = est.validation_loss_curve_ = None
        if getattr(est, self._watched.best) is None:
            setattr(est, self._watched.best, -self._watched.sign * inf)
        if self._monitor is not None and est.validation_scores_ is None:
            est.validation_scores_, est.validation_loss_curve_ = [], []

    def __repr__(self) -> str:
        """All that decides: a checkpoint is gone on with where it is the same."""
        parameters = {name: plain(getattr(self._estimator, name)) for name in RULES}
        parameters |= {"columns": self._columns, "weighted": self._losses is not None}
        return f"Convergence({', '.join(f'{k}={v!r}' for k, v in parameters.items())})"

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        """The current learning rate over the first one."""
        return np.full(steps.shape, self._estimator._rate / self._estimator.learning_rate_init)

    def state(self) -> dict[str, Any]:
        """What the estimator has been told so far, and what is counted here, in JSON's types."""
        est = self._estimator
        return {
            "estimator": {n: plain(getattr(est, n)) for n in REMEMBERED if hasattr(est, n)},
            "done": self._done,
            "stopped": self.stopped,
            "losses": None if self._losses is None else self._losses.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` returned; a run does it twice, for schedule and callback."""
        for name, value in state["estimator"].items():
            setattr(self._estimator, name, list(value) if isinstance(value, list) else value)
        self._done, self.stopped = state["done"], state["stopped"]
        if self._losses is not None:
            self._losses.restore(state["losses"])

    def __getstate__(self) -> dict[str, Any]:
        # In another process a stand-in is told: with the parameters that decide, and no network.
        est, names = self._estimator, (*RULES, *REMEMBERED, "verbose")
        told = SimpleNamespace(**{n: getattr(est, n) for n in names if hasattr(est, n)})
        return {**vars(self), "_estimator": told}

    def __call__(self, event: EpochEnd) -> bool:
        """Record an epoch. Return True to stop the training."""
        record = event.record
        steps, self._done = record["step"] - self._done, record["step"]
        if steps < self._steps:  # broken off, and so no iteration of scikit-learn's
            return False
        return self.epoch(record, None if self._losses is None else self._losses.take()[0])

    def epoch(self, record: Record, loss: float | None = None) -> bool:
        """Record a whole epoch. Return True to stop the training.

        Args:
            record: of one network.
            loss: the mean over its minibatches, where samples have weights.
        """
        est = self._estimator
        if loss is None:
            loss = record["loss"] / self._columns + record.get("penalty", 0.0)
        est.n_iter_ += 1
        est.t_ += self._rows
        est.loss_ = loss
        est.loss_curve_.append(loss)
        self._print(f"Iteration {est.n_iter_}, loss = {loss:.8f}")
        if self._monitor is not None:
            scores, losses = est.validation_scores_, est.validation_loss_curve_
            assert scores is not None
            assert losses is not None
            scores.append(record[self._monitor])
            losses.append(record["validation_loss"] / self._columns)
            self._print(f"Validation score: {record[self._monitor]:f}")
        self._compare_with_best()
        if est.solver == "sgd" and est.learning_rate == "invscaling":
            est._rate = est.learning_rate_init / (est.t_ + 1) ** est.power_t
        if est._no_improvement_count > est.n_iter_no_change:
            self._lower_or_stop()
        return self.stopped

    def _compare_with_best(self) -> None:
        """Count the epochs in a row without an improvement by tol, and keep the best figure."""
        est, watched = self._estimator, self._watched
        now, best = getattr(est, watched.figures)[-1], getattr(est, watched.best)
        worse = watched.sign * now < watched.sign * best + est.tol
        if watched.sign * now > watched.sign * best:
            setattr(est, watched.best, now)
        est._no_improvement_count = est._no_improvement_count + 1 if worse else 0

    def _lower_or_stop(self) -> None:
        """Lower the learning rate where it is adaptive and not too small yet, or else stop."""
        est = self._estimator
        message = (
            f"{self._watched.name} did not improve more than tol={est.tol:f} for "
            f"{est.n_iter_no_change} consecutive epochs."
        )
        if est.solver != "sgd" or est.learning_rate != "adaptive":
            self.stopped, after = True, "Stopping."
        elif est._rate <= 1e-6:
            self.stopped, after = True, "Learning rate too small. Stopping."
        else:
            est._rate /= 5.0
            est._no_improvement_count = 0
            after = f"Setting learning rate to {est._rate:f}"
        self._print(f"{message} {after}")

    def _print(self, line: str) -> None:
        if self._estimator.verbose:
            print(line)


class WeightedLosses(StepLosses):
    """The loss of an epoch as scikit-learn has it where samples have weights: see `Convergence`.

    Args:
        columns: what the loss is divided by.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._sum: Array | None = None  # of the losses times the rows, on the device, () or (K,)
        self._restored: HostArray | None = None  # that sum, of a checkpoint, on the host
        self._rows: HostArray | int = 0  # so far in the epoch, () or (K,)
        self._backend: Backend | None = None

    def on_step(self, event: StepEnd) -> None:
        """Add a minibatch's mean loss and penalty, times its rows."""
        rows = event.rows
        self._backend = event.network.backend
        if isinstance(rows, np.ndarray):
            rows = self._backend.asarray(rows.astype(event.network.dtype))
        if self._restored is not None:
            self._sum, self._restored = self._backend.asarray(self._restored), None
        more = rows * (event.loss / self._columns + event.penalty)
        self._sum = more if self._sum is None else self._sum + more
        self._rows = self._rows + event.rows

    def take(self) -> list[float]:
        """The mean loss since the last call, of each network."""
        sums = self._on_host()
        assert sums is not None
        means = np.ravel(sums) / self._rows
        self._sum, self._restored, self._rows = None, None, 0
        return [float(mean) for mean in means]

    def _on_host(self) -> HostArray | None:
        """The sum so far, on the host; None at an epoch's beginning."""
        if self._sum is None or self._backend is None:
            return self._restored
        with self._backend.active():
            return self._backend.to_numpy(self._sum)

    def state(self) -> dict[str, Any] | None:
        """The sums so far in the epoch, to the bit, in JSON's types; None at its beginning."""
        sums = self._on_host()
        if sums is None:
            return None
        return {"sum": sums.tolist(), "dtype": sums.dtype.name, "rows": plain(self._rows)}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Take over what ``state`` returned."""
        self._sum = self._restored = None
        self._rows = 0
        if state is not None:
            self._restored = np.asarray(state["sum"], np.dtype(state["dtype"]))
            rows = state["rows"]
            self._rows = np.asarray(rows) if isinstance(rows, list) else rows
