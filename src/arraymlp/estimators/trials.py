"""The trials of a search: each candidate on each fold, fitted together where they are alike."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _is_arraylike, _num_samples

from arraymlp.backends.array import HostArray
from arraymlp.data.sources import is_sparse
from arraymlp.estimators.base import BaseMLP
from arraymlp.estimators.fitting.rows import take_rows
from arraymlp.estimators.inputs import RowsLike
from arraymlp.estimators.population import fit_together, part_of
from arraymlp.training.checkpoint import Checkpoint

Params: TypeAlias = Mapping[str, Any]  # of a candidate, or of a method such as fit


@dataclass(eq=False)
class Trial:
    """One candidate on one fold.

    Attributes:
        number: of the trial, candidate by candidate.
        fold: its number, from 0.
        train: the rows to train on.
        test: the rows to score on.
        candidate: the parameters that are tried.
        estimator: with these parameters; fitted in the end, or not where ``failure`` is not None.
        failure: what its fit raised.
        seconds: that its fit took: its share of those it was fitted with.
    """

    number: int
    fold: int
    train: HostArray
    test: HostArray
    candidate: Params
    estimator: BaseMLP | Pipeline
    failure: Exception | None = None
    seconds: float = 0.0

    @property
    def network(self) -> BaseMLP:
        """The estimator, or the last step of a pipeline."""
        estimator = self.estimator
        return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator

    def steps_before(self) -> Hashable:
        """A key that is the same where pipelines give their networks the same input."""
        if not isinstance(self.estimator, Pipeline):
            return None
        network_step = self.estimator.steps[-1][0]
        params = (
            (name, _token(value))
            for name, value in self.candidate.items()
            if name.partition("__")[0] != network_step
        )
        return self.fold, frozenset(params)


def fit_trials(
    trials: Sequence[Trial],
    X: RowsLike,
    y: RowsLike,
    params: Params,
    memory: int | str | None,
    checkpoint: Checkpoint | None = None,
    executor: Any = None,
) -> Iterator[list[Trial]]:
    """Fit all trials; yields them group by group of those that train together.

    Args:
        trials: whose estimators are all networks, or all pipelines.
        X: all rows.
        y: their targets.
        params: of ``fit``; those with a value for each sample are split with X.
        memory: as for `arraymlp.sweep`.
        checkpoint: a folder, as for `fit_together`.
        executor: as for `fit_together`.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM: what is half trained is not to be compared.
    """
    groups: dict[Hashable, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.steps_before(), []).append(trial)
    for position, group in enumerate(groups.values(), 1):
        start = time.perf_counter()
        folder = part_of(checkpoint, f"inputs-{position}", len(groups))
        if isinstance(group[0].estimator, Pipeline):
            _fit_pipelines(group, X, y, params, memory, folder, executor)
        else:
            rows = [trial.train for trial in group]
            _fit_networks(group, X, y, params, rows, memory, folder, executor)
        seconds = (time.perf_counter() - start) / len(group)
        for trial in group:
            trial.seconds = seconds
        yield group


def _fit_pipelines(
    trials: Sequence[Trial],
    X: RowsLike,
    y: RowsLike,
    params: Params,
    memory: int | str | None,
    checkpoint: Checkpoint | None,
    executor: Any,
) -> None:
    """Fit pipelines that differ in their last steps alone, on one fold."""
    networks = [trial.network for trial in trials]
    rows, first = trials[0].train, trials[0].estimator
    recorder = _FitRecorder(networks[0])
    first.steps[-1] = (first.steps[-1][0], recorder)
    failure = _failure(
        first.fit, take_rows(X, rows), take_rows(y, rows), **params_of_rows(params, X, rows)
    )
    for trial, network in zip(trials, networks, strict=True):
        trial.failure = failure
        name = trial.estimator.steps[-1][0]
        trial.estimator.steps = [*first.steps[:-1], (name, network)]
    if failure is None:
        X, y, params = recorder.fitted_to_
        _fit_networks(trials, X, y, params, None, memory, checkpoint, executor)


def _fit_networks(
    trials: Sequence[Trial],
    X: RowsLike,
    y: RowsLike,
    params: Params,
    rows: Sequence[HostArray] | None,
    memory: int | str | None,
    checkpoint: Checkpoint | None,
    executor: Any,
) -> None:
    """Fit the networks, each on its rows; on all rows where ``rows`` is None."""
    networks = [trial.network for trial in trials]
    weight = params.get("sample_weight")
    if params.keys() <= {"sample_weight"} and not isinstance(weight, Real):
        where = {"memory": memory, "checkpoint": checkpoint, "executor": executor}
        failures = fit_together(networks, X, y, weight, rows, **where)
    else:
        all_rows = np.arange(_num_samples(X))
        failures = []
        for network, its_rows in zip(networks, rows or [all_rows] * len(networks), strict=True):
            x, t = take_rows(X, its_rows), take_rows(y, its_rows)
            failures.append(_failure(network.fit, x, t, **params_of_rows(params, X, its_rows)))
            _require_whole(network)
    for trial, failure in zip(trials, failures, strict=True):
        trial.failure = failure
        _require_whole(trial.network)


def _require_whole(network: BaseMLP) -> None:
    """Raise KeyboardInterrupt where a signal ended a network's training, which only warned."""
    if network._interrupted:
        raise KeyboardInterrupt


class _FitRecorder(BaseEstimator):
    """Stands for the network in a pipeline; its fit records what the network is to be fitted to."""

    fitted_to_: tuple[RowsLike, RowsLike, Params]

    def __init__(self, network: BaseMLP) -> None:
        self.network = network

    def fit(self, X: RowsLike, y: RowsLike, **params: Any) -> Self:
        self.fitted_to_ = X, y, params
        return self

    def get_metadata_routing(self) -> object:
        return self.network.get_metadata_routing()


def _failure(fit: Callable[..., object], *args: object, **params: object) -> Exception | None:
    """What a fit raises, or None."""
    try:
        fit(*args, **params)
    except Exception as error:
        return error
    return None


def params_of_rows(params: Params, X: RowsLike, rows: HostArray) -> dict[str, Any]:
    """Parameters of a method for some rows of X: of those with a value a row, these values."""
    n = _num_samples(X)
    return {
        name: take_rows(value, rows)
        if (_is_arraylike(value) or is_sparse(value)) and _num_samples(value) == n
        else value
        for name, value in params.items()
    }


def _token(value: object) -> Hashable:
    """The same for equal values, as far as that can be told."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value
