"""fit_together: many estimators fitted as populations, each as its own fit would."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.data.data import Data
from arraymlp.data.loading import load_data
from arraymlp.data.row_plans import RowPlan
from arraymlp.diagnosis.findings import Findings
from arraymlp.estimators.base import BaseMLP
from arraymlp.estimators.fitting.convergence import WeightedLosses
from arraymlp.estimators.fitting.rows import SklearnOrders, take_rows
from arraymlp.estimators.inputs import (
    Rows,
    RowsLike,
    backend_for,
    checked_pair,
    checked_weight,
    home_of,
)
from arraymlp.estimators.stochastic import FitJob
from arraymlp.sweeps.checkpoint import sweep_folder
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import DIVERGED, INTERRUPTED, LOST, MemberResult, MemberSpec
from arraymlp.sweeps.workers.pools import Pool, pool_of
from arraymlp.sweeps.workers.training import Workers
from arraymlp.training.checkpoint import Checkpoint
from arraymlp.training.history import Record
from arraymlp.training.settings import TABLE, Settings
from arraymlp.training.setup import merge_settings


def fit_together(
    estimators: Sequence[BaseMLP],
    X: RowsLike,
    y: RowsLike,
    sample_weight: RowsLike | None = None,
    rows: Sequence[HostArray | None] | None = None,
    *,
    memory: int | str | None = None,
    checkpoint: Checkpoint | None = None,
    executor: Any = None,
) -> list[Exception | None]:
    """Fit each estimator on its rows, as ``fit(X[rows], y[rows], sample_weight[rows])`` would.

    Those alike train as one population (see `arraymlp.sweep`). The optimiser's state is not kept:
    ``partial_fit`` begins it afresh, and there is no diagnosis: ``findings_`` is empty. Estimators
    with solver "lbfgs", callbacks or warm starts are fitted one by one.

    Args:
        estimators: none fitted yet, and none with a checkpoint of its own.
        X: as ``fit`` takes it, with all rows.
        y: likewise.
        sample_weight: likewise, or None.
        rows: for each estimator the numbers of its rows; None for all.
        memory: as for `arraymlp.sweep`.
        checkpoint: a folder, from which the populations go on; those fitted one by one begin anew.
        executor: whose workers train the populations, as for `arraymlp.sweep`; None for none. Those
            fitted one by one are fitted here.

    Returns:
        For each estimator the exception that its ``fit`` would have raised, or None.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all of them had begun. Else those that it
            ended are as their own fits leave them then: half trained, with a warning.
        CheckpointError: the folder is of other fits, or damaged, or another process has it.
        OSError: the folder cannot be read or written.
        ExecutorError: the executor has been shut down, or a worker of it cannot train.
    """
    pool = None if executor is None else pool_of(executor)
    rows_of = [None] * len(estimators) if rows is None else list(rows)
    failures: list[Exception | None] = [None] * len(estimators)
    shared = _SharedData(X, y, sample_weight)
    groups: dict[tuple[str, int], list[int]] = {}
    members: dict[int, _Member] = {}
    for i, (estimator, its_rows) in enumerate(zip(estimators, rows_of, strict=True)):
        try:
            if _fits_alone(estimator):
                estimator.fit(*shared.as_given(its_rows))
                if estimator._interrupted and len(estimators) > 1:
                    raise KeyboardInterrupt
            else:
                members[i] = shared.member(estimator, its_rows)
                key = str(members[i].backend), estimator._columns()
                groups.setdefault(key, []).append(i)
        except Exception as error:
            failures[i] = error
    for position, numbers in enumerate(groups.values(), 1):
        folder = part_of(checkpoint, f"group-{position}", len(groups))
        ends = _train([members[i] for i in numbers], memory, folder, pool)
        for i, failure in zip(numbers, ends, strict=True):
            failures[i] = failure
        if position < len(groups) and any(estimators[i]._interrupted for i in numbers):
            raise KeyboardInterrupt
    return failures


def part_of(checkpoint: Checkpoint | None, name: str, parts: int) -> Checkpoint | None:
    """The folder of one of several parts of a training; of a single one it is the whole folder."""
    if checkpoint is None or parts == 1:
        return checkpoint
    return checkpoint.within(name)


def _fits_alone(estimator: BaseMLP) -> bool:
    """Return True where an estimator has to be fitted by its own `fit`."""
    callbacks = estimator._callback_list() or getattr(estimator, "_skl_callbacks", None)
    return bool(estimator.solver == "lbfgs" or callbacks or estimator.warm_start)


@dataclass(eq=False)
class _Member:
    """One estimator of a population: what it has to train, and on which of the data."""

    estimator: BaseMLP
    job: FitJob
    spec: MemberSpec
    data: Data
    backend: Backend


class _Watch:
    """Tells an estimator's rules of its network's epochs; for `MemberSpec`."""

    def __init__(self, job: FitJob) -> None:
        self._rules, self._weighted = job.rules, job.weighted

    def __call__(self, record: Record, step_loss: float | None) -> bool:
        """Record an epoch. Return True to stop the training."""
        return self._rules.epoch(record, step_loss if self._weighted else None)

    def state(self) -> dict[str, Any]:
        """What the rules remember."""
        return self._rules.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self._rules.restore(state)


def _train(
    members: Sequence[_Member],
    memory: int | str | None,
    checkpoint: Checkpoint | None,
    pool: Pool | None,
) -> list[Exception | None]:
    """Train the members, and give each estimator its result; return what each one's fit raises.

    All of them are on one device, and report losses over equally many columns.
    """
    specs, datas = [m.spec for m in members], [m.data for m in members]
    backend = members[0].backend
    weighted = any(m.job.weighted for m in members)
    columns = members[0].estimator._columns()
    with backend.active(), sweep_folder(checkpoint, specs, datas, backend) as folder:
        workers = None if pool is None else Workers(pool, (backend.name, backend.device_name))
        n_workers = 0 if pool is None else pool.workers
        stacks, _ = plan_stacks(specs, datas, memory, backend, folder.held, n_workers)
        with interruptible() as interrupt:
            results = train_stacks(
                specs,
                datas,
                stacks,
                backend,
                interrupt,
                step_losses=(lambda: WeightedLosses(columns)) if weighted else None,
                file=folder.file,
                workers=workers,
            )
    if any(result is None for result in results):
        raise KeyboardInterrupt
    return [_conclude(m, r) for m, r in zip(members, results, strict=True) if r is not None]


def _conclude(member: _Member, result: MemberResult) -> Exception | None:
    """Give an estimator its result; return what its fit raises."""
    estimator = member.estimator
    estimator.findings_ = Findings()
    try:
        estimator._conclude(
            member.job,
            result.network,
            result.history,
            failure=f"{result.cause}." if result.status in (DIVERGED, LOST) else "",
            interrupted=result.status == INTERRUPTED,
        )
        estimator._require_finite()
    except ValueError as error:
        return error
    return None


class _SharedData:
    """The data, checked and brought to the device once for all estimators that see it alike."""

    def __init__(self, X: RowsLike, y: RowsLike, sample_weight: RowsLike | None) -> None:
        self._given = X, y, sample_weight
        self._checked: dict[Hashable, tuple[Rows, HostArray, dict[str, object]]] = {}
        self._loaded: dict[tuple[Hashable, ...], Data] = {}
        self._row_plans: dict[Hashable, RowPlan] = {}

    def as_given(self, rows: HostArray | None) -> tuple[RowsLike, RowsLike, RowsLike | None]:
        """The data of these rows, not checked."""
        X, y, weight = self._given
        if rows is None:
            return X, y, weight
        its_weight = None if weight is None else take_rows(weight, rows)
        return take_rows(X, rows), take_rows(y, rows), its_weight

    def member(self, estimator: BaseMLP, rows: HostArray | None) -> _Member:
        """Do what `BaseMLP._fit` does before it trains, for some of the rows.

        Raises:
            ValueError: parameters or data that the estimator refuses.
        """
        estimator._validate_params()
        hidden = estimator._hidden_sizes()
        activations = estimator._activations(len(hidden))
        backend = backend_for(self._given[0], estimator.backend, estimator.device)
        X, y = self._checked_pair(estimator, backend)
        n = int(X.shape[0])
        numbers = np.arange(n) if rows is None else np.asarray(rows)
        weight = checked_weight(self._given[2], n, estimator._dtypes(backend))
        if weight is not None:
            checked_weight(weight[numbers], len(numbers), weight.dtype)
        encoded = estimator._encode(y[numbers], "fit", True)
        random = estimator._random()
        class_weight = estimator._class_weight(False)
        estimator._begin(X, encoded, backend, hidden, activations, random)
        job = estimator._job(
            encoded,
            class_weight,
            weighted=weight is not None,
            validates=False,
            random=random,
        )
        network, order = estimator.network_, job.settings["shuffle"] or None
        given = dict.fromkeys(TABLE) | job.settings | {"shuffle": None}  # the row plan has it
        settings = merge_settings(given, "default", network, None)
        data = self._data(estimator, X, y, weight, settings, backend)

        trained = numbers if job.rows is None else numbers[job.rows]
        held_out = None if job.held_out is None else numbers[job.held_out]
        plan = self._row_plan(trained, held_out, order)
        spec = MemberSpec(settings, plan, network, _Watch(job))
        return _Member(estimator, job, spec, data, backend)

    def _checked_pair(self, estimator: BaseMLP, backend: Backend) -> tuple[Rows, HostArray]:
        """X and y as scikit-learn checks them; the estimator is told what that finds out."""
        X, y, _ = self._given
        key = type(estimator), estimator.dtype, str(backend)
        if key not in self._checked:
            before = dict(vars(estimator))
            dtypes = estimator._dtypes(backend)
            pair = checked_pair(estimator, X, y, dtypes, numeric=estimator._numeric, reset=True)
            estimator._home = home_of(X)
            learned = {k: v for k, v in vars(estimator).items() if k not in before}
            self._checked[key] = *pair, learned
        rows, targets, learned = self._checked[key]
        estimator.__dict__.update(learned)
        return rows, targets

    def _data(
        self,
        estimator: BaseMLP,
        X: Rows,
        y: HostArray,
        weight: HostArray | None,
        settings: Settings,
        backend: Backend,
    ) -> Data:
        """All rows on the device, with targets for the estimator's network."""
        labels = getattr(estimator, "_labels", None)
        network = estimator.network_
        names = () if labels is None else (labels.multilabel, *labels.classes.tolist())
        loss = type(network.loss), network.loss.outputs_per_target
        key = type(estimator), str(backend), settings.dtype, loss, network.sizes[-1], names
        if key not in self._loaded:
            same_rows = [data for k, data in self._loaded.items() if k[1:3] == key[1:3]]
            rows = same_rows[0].X if same_rows else X  # one copy on the device for all
            encoded = estimator._encode(y, "fit", True) if labels is None else labels.positions(y)
            with backend.active():
                self._loaded[key] = load_data(rows, encoded, weight, settings, network, backend)
        return self._loaded[key]

    def _row_plan(
        self, rows: HostArray, held_out: HostArray | None, order: SklearnOrders | None
    ) -> RowPlan:
        """The plan with these rows and order; one object where it is the same."""
        rows = rows.astype(np.int32)
        held_out = None if held_out is None else held_out.astype(np.int32)
        state = None if order is None else order.state()
        key = rows.tobytes(), None if held_out is None else held_out.tobytes(), state
        return self._row_plans.setdefault(key, RowPlan(rows, held_out, order))
