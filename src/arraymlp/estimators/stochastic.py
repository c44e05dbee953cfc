"""Stochastic solvers: one call of `arraymlp.train`, and what an estimator keeps of it."""

import warnings
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import ClassWeight
from arraymlp.data.inputs import all_finite
from arraymlp.estimators.fitted import Fitted
from arraymlp.estimators.fitting.convergence import WATCHED, Convergence
from arraymlp.estimators.fitting.rows import SklearnOrders, early_stopping_split, take_rows
from arraymlp.estimators.fitting.tasks import Tasks
from arraymlp.estimators.inputs import Samples
from arraymlp.nn.metrics import Metric
from arraymlp.training.callbacks import EpochEnd
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import NonFiniteLossError, Run
from arraymlp.training.train_function import train

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


@dataclass(eq=False)
class FitJob:
    """One call of ``fit`` or ``partial_fit`` with a stochastic solver: what there is to train.

    Attributes:
        settings: of `arraymlp.train`.
        rules: when to stop, and what is reported.
        rows: the rows to train on; None for all.
        held_out: the rows to validate on, for early stopping; None for none.
        before: the run to go on with.
        best: the best figure of those that early stopping watches, before.
        weighted: whether samples or classes have weights.
        incremental: whether the call is of partial_fit.
    """

    settings: dict[str, Any]
    rules: Convergence
    rows: HostArray | None
    held_out: HostArray | None
    before: Run | None
    best: float | None
    weighted: bool
    incremental: bool = False


class StochasticFit(Fitted, ABC):
    """The fit of an estimator whose solver takes minibatches."""

    @abstractmethod
    def _metric(self) -> Metric:
        """The figure that ``score`` gives, for early stopping."""

    def _strata(self, y: HostArray) -> HostArray | None:
        """Labels (n_samples,) whose proportions the split for early stopping keeps, or None."""
        return None

    def _job(
        self,
        y: HostArray,
        class_weight: ClassWeight,
        *,
        weighted: bool,
        validates: bool,
        random: np.random.RandomState,
        incremental: bool = False,
    ) -> FitJob:
        """Draw the split and the seed, and settle what a stochastic solver is to do.

        Args:
            y: the encoded targets of all rows.
            class_weight: weights by position.
            weighted: whether samples have weights.
            validates: whether X_val was given.
            random: draws the split for early stopping and the orders.
            incremental: whether the call is of partial_fit.
        """
        before = self._run if incremental else None
        solver_and_rate = (self.solver, self.learning_rate_init)
        if before is None or solver_and_rate != self._rate_of:
            self._rate, self._rate_of = float(self.learning_rate_init), solver_and_rate
        seed = None
        if self._drops and (before is None or before.settings.seed is None):
            seed = int(random.randint(2**31 - 1))  # only then: scikit-learn has no such draw
        rows = held_out = None
        n = len(y)
        if self.early_stopping and not validates:
            rows, held_out = early_stopping_split(
                n, self.validation_fraction, self._strata(y), random
            )
            n = len(rows)
        validates = validates or held_out is not None
        batch_size, metric = self._batch_size(n), self._metric()
        weighted = weighted or class_weight is not None
        rules = Convergence(
            self,
            rows=n,
            steps=-(-n // batch_size),
            done=0 if before is None else before.steps_done,
            columns=self._columns(),
            monitor=f"validation_{metric.name}" if validates else None,
            weighted=weighted,
        )
        first_epoch = 0 if before is None else before.next_epoch
        settings = self._training_settings(metric) | {
            "class_weight": class_weight,
            "schedule": rules,
            "epochs": 1 if incremental else int(self.max_iter),
            "batch_size": batch_size,
            "metrics": [metric] if validates else [],
            "shuffle": SklearnOrders(random, first_epoch) if self.shuffle else False,
            "seed": seed,
        }
        best, self.n_iter_ = self._best_watched, 0
        return FitJob(settings, rules, rows, held_out, before, best, weighted, incremental)

    def _fit_stochastic(
        self,
        job: FitJob,
        samples: Samples,
        validation: Samples | None,
        backend: Backend,
        tasks: Tasks,
    ) -> None:
        """Do a job.

        Args:
            job: what to train.
            samples: all rows.
            validation: the samples given to validate with, or None.
            backend: to train on.
            tasks: of which scikit-learn's callbacks are told.
        """
        if job.rows is not None and job.held_out is not None:
            validation = _some(samples, job.held_out)
            samples = _some(samples, job.rows)
        epochs = job.settings["epochs"]

        def epoch_ended(event: EpochEnd) -> bool:
            return tasks.end(event.network, last=job.rules.stopped or event.number == epochs)

        failure = ""
        try:
            run = train(
                samples.X,
                samples.y,
                network=self.network_ if job.before is None else job.before,
                sample_weight=samples.weight,
                validation=validation,
                backend=backend,
                callbacks=[job.rules, epoch_ended, *self._callback_list()],
                checkpoint=self.checkpoint,
                **job.settings,
            )
        except NonFiniteLossError as error:
            run, failure = error.run, str(error)
        if run.interrupted:
            run.restore_best()
        # A run's are computed when first read. An estimator would have to keep its training data
        # until then, on a GPU a copy of X for each of many bagged ones. They cost 1 % of a fit.
        self.findings_ = run.findings
        self._conclude(
            job, run.network, run.history, failure=failure, interrupted=run.interrupted, run=run
        )

    def _conclude(
        self,
        job: FitJob,
        network: MultilayerPerceptron,
        history: History,
        *,
        failure: str = "",
        interrupted: bool = False,
        run: Run | None = None,
    ) -> None:
        """Take over the result of a job.

        Args:
            job: as `_job` made it.
            network: with the weights of the best epoch, under early stopping.
            history: of the run, earlier calls included.
            failure: why there is no finite loss any more.
            interrupted: by Ctrl-C or SIGTERM.
            run: to go on with; None to begin the optimiser's state afresh.

        Raises:
            ValueError: the training failed, and there is no earlier best epoch.
        """
        self._interrupted = interrupted
        none_better = self._best_watched == job.best
        if failure and (not self.early_stopping or none_better):
            raise ValueError(failure if _is_finite(network) else NOT_FINITE)
        epochs = job.settings["epochs"]
        if failure:
            warn_not_converged(f"{failure} The weights of the best epoch were kept.")
        elif interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        elif not job.incremental and not job.rules.stopped and self.n_iter_ == epochs:
            warn_not_converged(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet."
            )
        if job.before is None:
            self.history_ = copy(history)
        else:
            self.history_.records += history.records[len(job.before.history) :]
        if self.early_stopping and none_better:
            return  # a warm start in which no epoch was as good as what it began with
        self._run, self.network_ = None if run is None else run.without_data(), network

    @property
    def _best_watched(self) -> float | None:
        """The best figure so far of those that must improve."""
        best: float | None = getattr(self, WATCHED[self.early_stopping].best)
        return best

    def _columns(self) -> int:
        """The divisor of reported losses: scikit-learn averages squared errors over the columns."""
        return self.n_outputs_ if self.network_.loss.name == "squared_error" else 1

    def _require_finite(self) -> None:
        """A ValueError, scikit-learn's, where a weight is NaN or infinite."""
        if not _is_finite(self.network_):
            raise ValueError(NOT_FINITE)


def _some(samples: Samples, rows: HostArray) -> Samples:
    """These rows of the samples."""
    X, y, weight = samples
    return Samples(take_rows(X, rows), y[rows], None if weight is None else weight[rows])


def _is_finite(network: MultilayerPerceptron) -> bool:
    """Return True where all weights and biases are finite numbers."""
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return all(all_finite(a, network.backend) for a in arrays)


def warn_not_converged(message: str) -> None:
    """Warn as scikit-learn does where the training has not converged."""
    warnings.warn(message, ConvergenceWarning, stacklevel=2)
