"""fit_together: many estimators fitted as populations, each as its own fit would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.data.data import Data
from arraymlp.data.loading import load_data
from arraymlp.data.row_plans import RowPlan
from arraymlp.estimators.base import BaseMLP, Job, Orders, require_finite
from arraymlp.estimators.convergence import WeightedLosses
from arraymlp.estimators.inputs import backend_for, checked_pair, checked_weight, home_of
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import DIVERGED, INTERRUPTED, MemberResult, MemberSpec
from arraymlp.sweeps.stacking import with_own_decay
from arraymlp.training.settings import TABLE, Settings
from arraymlp.training.setup import merge_settings


@dataclass(eq=False)
class _Fit:
    """One estimator on its way: what it is to do, and on which of the data."""

    estimator: BaseMLP
    job: Job
    spec: MemberSpec
    data: Data
    backend: Backend


def fit_together(
    estimators: Sequence[BaseMLP],
    X: Any,
    y: Any,
    sample_weight: Any = None,
    rows: Sequence[HostArray | None] | None = None,
    *,
    memory: int | str | None = None,
) -> list[Exception | None]:
    """Fit each estimator on its rows, as ``fit(X[rows], y[rows], sample_weight[rows])`` would.

    Those alike train as one population (see `arraymlp.sweep`). The optimiser's state is not kept:
    ``partial_fit`` begins it afresh. Estimators with solver "lbfgs", callbacks or warm starts are
    fitted one by one.

    Args:
        estimators: none fitted yet.
        X: as ``fit`` takes it, with all rows.
        y: likewise.
        sample_weight: likewise, or None.
        rows: for each estimator the numbers of its rows; None for all.
        memory: as for `arraymlp.sweep`.

    Returns:
        For each estimator the exception that its ``fit`` would have raised, or None.

    Raises:
        KeyboardInterrupt: Ctrl-C came before all of them had begun.
    """
    own_rows = [None] * len(estimators) if rows is None else list(rows)
    failures: list[Exception | None] = [None] * len(estimators)
    prepared = _Prepared(X, y, sample_weight)
    groups: dict[tuple[str, int], list[int]] = {}
    fits: dict[int, _Fit] = {}
    for i, (estimator, some) in enumerate(zip(estimators, own_rows, strict=True)):
        try:
            if _alone(estimator):
                estimator.fit(*prepared.raw(some))
            else:
                fits[i] = prepared.fit_of(estimator, some)
                key = str(fits[i].backend), estimator._columns()
                groups.setdefault(key, []).append(i)
        except Exception as error:
            failures[i] = error
    for numbers in groups.values():
        for i, end in zip(numbers, _trained([fits[i] for i in numbers], memory), strict=True):
            failures[i] = end
    return failures


def _alone(estimator: BaseMLP) -> bool:
    """Whether an estimator has to be fitted by its own `fit`."""
    callbacks = estimator._callbacks() or getattr(estimator, "_skl_callbacks", None)
    return bool(estimator.solver == "lbfgs" or callbacks or estimator.warm_start)


def _trained(fits: Sequence[_Fit], memory: int | str | None) -> list[Exception | None]:
    """Train what is prepared, and give each estimator what became of it.

    All of it is on one device, and reports losses over equally many columns.
    """
    specs, datas, backend = [f.spec for f in fits], [f.data for f in fits], fits[0].backend
    weighted = any(f.job.weighted for f in fits)
    columns = fits[0].estimator._columns()
    with backend.active():
        parts, _ = plan_stacks(specs, datas, memory, backend)
        with interruptible() as interrupt:
            outcomes = train_stacks(
                specs,
                datas,
                parts,
                backend,
                interrupt,
                step_losses=(lambda: WeightedLosses(columns)) if weighted else None,
            )
    if any(outcome is None for outcome in outcomes):
        raise KeyboardInterrupt
    return [_concluded(f, o) for f, o in zip(fits, outcomes, strict=True) if o is not None]


def _concluded(fit: _Fit, outcome: MemberResult) -> Exception | None:
    estimator = fit.estimator
    estimator.findings_ = []
    try:
        estimator._concluded(
            fit.job,
            outcome.network,
            outcome.history,
            failure=f"{outcome.cause}." if outcome.status == DIVERGED else "",
            interrupted=outcome.status == INTERRUPTED,
        )
        require_finite(estimator.network_)
    except ValueError as error:
        return error
    return None


class _Prepared:
    """The data, checked and brought to the device once for estimators that see it alike."""

    def __init__(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._given = X, y, sample_weight
        self._checked: dict[Any, tuple[Any, Any, dict[str, Any]]] = {}
        self._loaded: dict[Any, Data] = {}
        self._row_plans: dict[Any, list[RowPlan]] = {}

    def raw(self, rows: HostArray | None) -> tuple[Any, ...]:
        """The data of these rows, as given."""
        X, y, weight = self._given
        if rows is None:
            return self._given
        from sklearn.utils import _safe_indexing

        own = None if weight is None else _safe_indexing(weight, rows)
        return _safe_indexing(X, rows), _safe_indexing(y, rows), own

    def fit_of(self, estimator: BaseMLP, rows: HostArray | None) -> _Fit:
        """What `BaseMLP._fit` does before it trains, on some of the rows."""
        estimator._validate_params()
        hidden = estimator._hidden_sizes()
        functions = estimator._functions(len(hidden))
        backend = backend_for(self._given[0], estimator.backend, estimator.device)
        X, y, known = self._pair(estimator, backend)
        estimator.__dict__.update(known)
        n = int(X.shape[0])
        some = np.arange(n) if rows is None else np.asarray(rows)
        weight = checked_weight(self._given[2], n, estimator._dtypes(backend))
        own_weight = (
            None if weight is None else checked_weight(weight[some], len(some), weight.dtype)
        )
        encoded = estimator._encode(y[some], "fit", True)
        random = estimator._random()
        class_weight = estimator._class_weight(False)
        loss, n_outputs, classes = estimator._outputs(encoded)
        sizes = [int(X.shape[1]), *hidden, n_outputs]
        dtype = estimator._network_dtype(X, backend)
        estimator._begin(backend, dtype, sizes, functions, loss, classes, random)
        estimator.n_outputs_ = n_outputs
        job = estimator._prepared(
            len(some), encoded, class_weight, own_weight is not None, False, random, False
        )
        network = estimator.network_
        given = dict.fromkeys(TABLE) | job.settings | {"shuffle": None}  # the course's
        settings = with_own_decay(merge_settings(given, "default", network, None))
        data = self._data(estimator, X, y, weight, settings, backend)
        rule = job.rules

        def watch(record: Any, step_loss: float | None) -> bool:
            return rule.epoch(record, step_loss if job.weighted else None)

        trained = some if job.rows is None else some[job.rows]
        held_out = None if job.held_out is None else some[job.held_out]
        row_plan = self._row_plan(trained, held_out, job.settings["shuffle"] or None)
        return _Fit(estimator, job, MemberSpec(settings, row_plan, network, watch), data, backend)

    def _pair(self, estimator: BaseMLP, backend: Backend) -> tuple[Any, Any, dict[str, Any]]:
        """X and y checked as scikit-learn does, and what that told the estimator."""
        X, y, _ = self._given
        key = type(estimator), estimator.dtype, str(backend)
        if key not in self._checked:
            before = dict(vars(estimator))
            dtypes = estimator._dtypes(backend)
            x, t = checked_pair(estimator, X, y, dtypes, numeric=estimator._numeric, reset=True)
            estimator._home = home_of(X)
            known = {k: v for k, v in vars(estimator).items() if k not in before}
            self._checked[key] = x, t, known
        return self._checked[key]

    def _data(
        self,
        estimator: BaseMLP,
        X: Any,
        y: Any,
        weight: HostArray | None,
        settings: Settings,
        backend: Backend,
    ) -> Data:
        """All rows on the device, with targets for the estimator's network."""
        labels = getattr(estimator, "_labels", None)
        network = estimator.network_
        names = () if labels is None else (labels.several, *labels.classes.tolist())
        loss = type(network.loss), network.loss.outputs_per_target
        key = type(estimator), str(backend), settings.dtype, loss, network.sizes[-1], names
        if key not in self._loaded:
            known = [data for k, data in self._loaded.items() if k[1:3] == key[1:3]]
            rows = known[0].X if known else X  # one copy on the device for all
            encoded = estimator._encode(y, "fit", True) if labels is None else labels.positions(y)
            with backend.active():
                self._loaded[key] = load_data(rows, encoded, weight, settings, network, backend)
        return self._loaded[key]

    def _row_plan(self, rows: HostArray, held_out: HostArray | None, order: Any) -> RowPlan:
        """The course with these rows and order; one object where it is the same."""
        rows = rows.astype(np.int32)
        held_out = None if held_out is None else held_out.astype(np.int32)
        state = order.state() if isinstance(order, Orders) else None
        key = rows.tobytes(), None if held_out is None else held_out.tobytes(), state
        for row_plan in self._row_plans.setdefault(key, []):
            return row_plan
        self._row_plans[key].append(RowPlan(rows, held_out, order))
        return self._row_plans[key][0]
