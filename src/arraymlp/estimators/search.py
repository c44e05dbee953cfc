"""MLPSearchCV: scikit-learn's searches, with all folds and candidates trained as populations.

What a search is, its results and its refit are scikit-learn's; here is how its fits come about.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from traceback import format_exception
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context, clone, is_classifier
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params, _is_arraylike, _num_samples

from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.registry import backend_of
from arraymlp.data.stream import is_sparse
from arraymlp.estimators.base import BaseMLP
from arraymlp.estimators.inputs import on_host
from arraymlp.estimators.population import fit_together


class MLPSearchCV(BaseSearchCV):
    """Cross-validated search for parameters, with many networks in one training run.

    It is scikit-learn's `GridSearchCV`, or with ``param_distributions`` its `RandomizedSearchCV`,
    for `MLPClassifier` and `MLPRegressor`: the same candidates, folds, scores and results. But the
    networks of all candidates and folds that are alike in widths, activations, solver and batch
    size train side by side, as in `arraymlp.sweep`, and so in much less time.

    The estimator may also be a pipeline that ends in such a network. Its other steps are then
    fitted once for each fold and setting of *their* parameters, and the networks of one fold and
    setting train together.

    Parameters
    ----------
    estimator : `MLPClassifier`, `MLPRegressor` or Pipeline that ends in one
        What to search the parameters of. Cloned, and so not changed.
    param_grid : dict or list of dicts, default=None
        Lists of values by parameter, every combination of which is a candidate; or several such
        grids. In a pipeline the names are like ``mlpclassifier__alpha``.
    param_distributions : dict or list of dicts, default=None
        Instead of ``param_grid``: lists, or distributions with a method ``rvs``, of which
        ``n_iter`` candidates are drawn.
    n_iter : int, default=10
        Candidates to draw from ``param_distributions``.
    scoring : str, callable, list, tuple, dict or None, default=None
        One metric or several, as for `GridSearchCV`; None is the estimator's ``score``.
    n_jobs : int or None, default=None
        Without effect, so that code for `GridSearchCV` runs: all fits share one process.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all of the data. With several metrics the name of the
        one that decides; a callable gets ``cv_results_`` and returns the number of the best.
    cv : int, splitter, iterable of (train, test) or None, default=None
        How to split into folds; None is 5 of them.
    verbose : int, default=0
        From 1 the number of fits is printed, from 2 a line for each of them.
    error_score : 'raise' or float, default=np.nan
        The score where a fit fails; 'raise' raises its error.
    return_train_score : bool, default=False
        Whether to score on the rows trained on, too.
    random_state : int, RandomState or None, default=None
        Of the draws from ``param_distributions``; not of the networks, which have their own.
    memory : int, str or None, default=None
        Bytes that one population may take, as for `arraymlp.sweep`.

    Attributes
    ----------
    cv_results_ : dict of arrays
        What `GridSearchCV` has, by the same keys. A population's time is divided evenly among its
        fits: `mean_fit_time` is the share of a candidate, and hardly differs between them.
    best_estimator_ : estimator
        The best candidate, fitted to all of the data. Not with ``refit=False``.
    best_score_ : float
        Its mean score on the held-out rows. Not where ``refit`` is a callable.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its number in ``cv_results_``.
    scorer_ : callable or dict
        What scored.
    n_splits_ : int
        Folds.
    refit_time_ : float
        Seconds that the last fit took.
    multimetric_ : bool
        Whether there are several metrics.
    classes_ : array
        The labels, of a classifier.
    n_features_in_ : int
        Features.
    feature_names_in_ : array of str
        Their names, where X had some.

    See Also
    --------
    arraymlp.sweep : a search without scikit-learn, on the device from end to end.

    Notes
    -----
    Solver 'lbfgs', warm starts, callbacks, and parameters of ``fit`` other than ``sample_weight``
    are served by one fit after the other. scikit-learn's callbacks are set on the network, not on
    the search.

    Examples
    --------
    >>> from arraymlp import MLPClassifier, MLPSearchCV
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> model = MLPClassifier((10,), learning_rate_init=0.02, random_state=1)
    >>> search = MLPSearchCV(model, {"alpha": [0.0001, 100.0]}, cv=3)
    >>> search.fit(X, y).best_params_
    {'alpha': 0.0001}
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in BaseSearchCV._parameter_constraints.items() if k != "pre_dispatch"},
        "param_grid": [dict, list, None],
        "param_distributions": [dict, list, None],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "memory": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any = None,
        *,
        param_distributions: Any = None,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        random_state: Any = None,
        memory: int | str | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.random_state = random_state
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Try all candidates on all folds, and fit the best one to all of the data.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        **params : dict
            For the estimator's ``fit``, the scorers and the splitter (``groups``), as for
            `GridSearchCV`; what has a value for each sample is split with X.

        Returns
        -------
        self
        """
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but y is None")
        candidates = list(self._candidates())
        scorer, deciding = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        splits = self._splits(X, y, routed.splitter.split)
        if self.verbose > 0:
            print(
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, totalling "
                f"{len(splits) * len(candidates)} fits"
            )
        out: list[dict[str, Any]] = [{} for _ in range(len(candidates) * len(splits))]
        for trials in self._trials(candidates, splits, X, y, routed.estimator.fit):
            for trial in trials:
                out[trial.number] = self._scored(trial, X, y, scorer, routed.scorer.score)
        _warn_or_raise_about_fit_failures(out, self.error_score)
        if callable(self.scoring):
            _insert_error_scores(out, self.error_score)
        results = self._format_results(candidates, len(splits), out)

        scores = out[0]["test_scores"]
        self.n_splits_ = len(splits)
        self.multimetric_ = isinstance(scores, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores)
            deciding = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, deciding, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{deciding}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        if self.refit:
            start = time.perf_counter()
            self.best_estimator_ = self._candidate(self.best_params_)
            self.best_estimator_.fit(X, y, **routed.estimator.fit)
            self.refit_time_ = time.perf_counter() - start
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        self.cv_results_ = results
        return self

    @property
    def set_callbacks(self) -> NoReturn:
        """There is none: populations have no tasks of scikit-learn's; the networks can have."""
        raise AttributeError(
            f"{type(self).__name__} has no callbacks: set them on its estimator, whose fits they "
            "are told of"
        )

    # What there is to try

    def _candidates(self) -> Iterable[dict[str, Any]]:
        """The settings to try."""
        if (self.param_grid is None) == (self.param_distributions is None):
            raise ValueError("give param_grid or param_distributions, and not both")
        if self.param_grid is not None:
            return ParameterGrid(self.param_grid)  # type: ignore[no-any-return]
        return ParameterSampler(  # type: ignore[no-any-return]
            self.param_distributions, self.n_iter, random_state=self.random_state
        )

    def _candidate(self, params: Mapping[str, Any]) -> Any:
        """A new estimator with these parameters."""
        return clone(self.estimator).set_params(**clone(params, safe=False))

    def _splits(self, X: Any, y: Any, params: Mapping[str, Any]) -> list[tuple[HostArray, ...]]:
        """The numbers of the rows of each fold, to train on and to score on."""
        labels, every = on_host(y), np.arange(_num_samples(X))
        cv = check_cv(self.cv, labels, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, labels, **params))
        if not splits or len(splits) != cv.get_n_splits(X, labels, **params):
            raise ValueError(
                "No fits were performed, or cv.split and cv.get_n_splits are inconsistent: cv "
                f"gives {len(splits)} splits"
            )
        return [(every[train], every[test]) for train, test in splits]

    # Fitting

    def _trials(
        self,
        candidates: Sequence[Mapping[str, Any]],
        splits: Sequence[tuple[HostArray, ...]],
        X: Any,
        y: Any,
        params: dict[str, Any],
    ) -> Iterator[list["_Trial"]]:
        """Every candidate fitted on every fold, group by group of those trained together."""
        groups: dict[Any, list[_Trial]] = {}
        for number, (settings, (fold, rows)) in enumerate(product(candidates, enumerate(splits))):
            estimator = self._candidate(settings)
            trial = _Trial(number, fold, rows[0], rows[1], settings, estimator)
            if not isinstance(trial.network, BaseMLP):
                raise TypeError(
                    f"{type(self).__name__} is for MLPClassifier, MLPRegressor and pipelines that "
                    f"end in one of them, not for {estimator!r}: GridSearchCV is for any estimator"
                )
            groups.setdefault(trial.steps_before(), []).append(trial)
        for trials in groups.values():
            start = time.perf_counter()
            if isinstance(self.estimator, Pipeline):
                self._fit_pipelines(trials, X, y, params)
            else:
                self._fit_networks(trials, X, y, params, [trial.train for trial in trials])
            seconds = (time.perf_counter() - start) / len(trials)
            for trial in trials:
                trial.seconds = seconds
            yield trials

    def _fit_pipelines(
        self, trials: Sequence["_Trial"], X: Any, y: Any, params: dict[str, Any]
    ) -> None:
        """Fit pipelines that differ in their last steps alone, on one fold."""
        networks = [trial.network for trial in trials]
        rows, first = trials[0].train, trials[0].estimator
        waiting = _Waiting(networks[0])
        first.steps[-1] = (first.steps[-1][0], waiting)
        failure = _failure(
            first.fit, _taken(X, rows), _taken(y, rows), **_params_at(params, X, rows)
        )
        for trial, network in zip(trials, networks, strict=True):
            trial.failure = failure
            name = trial.estimator.steps[-1][0]
            trial.estimator.steps = [*first.steps[:-1], (name, network)]
        if failure is None:
            self._fit_networks(trials, *waiting.given_)

    def _fit_networks(
        self,
        trials: Sequence["_Trial"],
        X: Any,
        y: Any,
        params: dict[str, Any],
        rows: Sequence[HostArray] | None = None,
    ) -> None:
        """Fit the networks, each on its rows; on all rows where none are named."""
        networks = [trial.network for trial in trials]
        weight = params.get("sample_weight")
        if params.keys() <= {"sample_weight"} and not isinstance(weight, Real):
            failures = fit_together(networks, X, y, weight, rows, memory=self.memory)
        else:
            every = np.arange(_num_samples(X))
            failures = [
                _failure(
                    network.fit, _taken(X, some), _taken(y, some), **_params_at(params, X, some)
                )
                for network, some in zip(networks, rows or [every] * len(networks), strict=True)
            ]
        for trial, failure in zip(trials, failures, strict=True):
            trial.failure = failure

    # Scoring

    def _scored(
        self, trial: "_Trial", X: Any, y: Any, scorer: Any, params: dict[str, Any]
    ) -> dict[str, Any]:
        """What scikit-learn makes its results of."""
        failure = trial.failure
        if failure is not None and self.error_score == "raise":
            raise failure

        def score(rows: HostArray) -> Any:
            if failure is not None:  # where a callable scores, _insert_error_scores knows more
                names = getattr(scorer, "_scorers", None)
                return self.error_score if names is None else dict.fromkeys(names, self.error_score)
            own = _params_at(params, X, rows)
            x, t = _taken(X, rows), _taken(y, rows)
            return _score(trial.estimator, x, t, scorer, own, self.error_score)

        start = time.perf_counter()
        found = {
            "fit_error": None
            if trial.failure is None
            else "".join(format_exception(trial.failure)),
            "n_test_samples": len(trial.test),
            "fit_time": trial.seconds,
            "test_scores": score(trial.test),
            "score_time": time.perf_counter() - start,
        }
        if self.return_train_score:
            found["train_scores"] = score(trial.train)
        if self.verbose > 1:
            settings = ", ".join(f"{k}={trial.settings[k]}" for k in sorted(trial.settings))
            print(f"[CV {trial.fold + 1}] END {settings}; score={found['test_scores']}")
        return found


@dataclass(eq=False)
class _Trial:
    """One candidate on one fold."""

    number: int
    fold: int
    train: HostArray
    test: HostArray
    settings: Mapping[str, Any]
    estimator: Any
    failure: Exception | None = None
    seconds: float = 0.0

    @property
    def network(self) -> Any:
        """The estimator, or the last step of a pipeline."""
        whole = self.estimator
        return whole.steps[-1][1] if isinstance(whole, Pipeline) else whole

    def steps_before(self) -> Any:
        """What is the same where a pipeline comes to the same input of the network."""
        if not isinstance(self.estimator, Pipeline):
            return None
        last = self.estimator.steps[-1][0]
        own = (
            (name, _token(value))
            for name, value in self.settings.items()
            if name.partition("__")[0] != last
        )
        return self.fold, frozenset(own)


class _Waiting(BaseEstimator):
    """In a pipeline in place of the network, it is fitted by taking note of what to fit to."""

    given_: tuple[Any, Any, dict[str, Any]]

    def __init__(self, network: BaseMLP) -> None:
        self.network = network

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        self.given_ = X, y, params
        return self

    def get_metadata_routing(self) -> Any:
        return self.network.get_metadata_routing()


def _failure(fit: Callable[..., Any], *args: Any, **params: Any) -> Exception | None:
    """What a fit raises."""
    try:
        fit(*args, **params)
    except Exception as error:
        return error
    return None


def _taken(values: Any, rows: HostArray) -> Array:
    """Some rows of whatever holds samples."""
    if is_device_array(values):
        backend = backend_of(values)
        with backend.active():
            return backend.xp.take(values, backend.asarray(rows), axis=0)
    return _safe_indexing(values, rows)


def _params_at(params: Mapping[str, Any], X: Any, rows: HostArray) -> dict[str, Any]:
    """Parameters of a method for some rows: of those with a value a row, these values."""
    n = _num_samples(X)
    return {
        name: _taken(value, rows)
        if (_is_arraylike(value) or is_sparse(value)) and _num_samples(value) == n
        else value
        for name, value in params.items()
    }


def _token(value: Any) -> Any:
    """The same for equal values, as far as that can be told."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value
