"""MLPSearchCV: scikit-learn's searches, with all folds and candidates trained as populations.

What a search is, its results and its refit are scikit-learn's; here is how its fits come about.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from numbers import Integral
from pathlib import Path
from traceback import format_exception
from typing import Any, ClassVar, NoReturn, Self, TypeAlias

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import BaseCrossValidator, ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params, _num_samples

from arraymlp.backends.array import HostArray
from arraymlp.estimators.base import BaseMLP
from arraymlp.estimators.executor import EXECUTOR, WithExecutor
from arraymlp.estimators.fitting.rows import take_rows
from arraymlp.estimators.inputs import RowsLike, on_host
from arraymlp.estimators.parameters import CHECKPOINT, Checkpoints, Constraints, require_number
from arraymlp.estimators.trials import Params, Trial, fit_trials, params_of_rows
from arraymlp.training.checkpoint import Checkpoint, as_checkpoint

Grid: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]  # values by parameter
Fold: TypeAlias = tuple[HostArray, HostArray]  # numbers of the rows to train on, and to score on
Splitter: TypeAlias = int | BaseCrossValidator | Iterable[Fold] | None
Scoring: TypeAlias = str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None


class MLPSearchCV(WithExecutor, BaseSearchCV):
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
        Without effect, so that code for `GridSearchCV` runs: all fits share one process, or the
        workers of ``executor``.
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
        Whether to score on the training rows, too.
    random_state : int, RandomState or None, default=None
        Draws from ``param_distributions``. The networks have their own.
    memory : int, str or None, default=None
        Bytes that one population may take, or an amount such as '2 GiB', as for
        `arraymlp.sweep`.
    checkpoint : str, path-like, `Checkpoint` or None, default=None
        A folder that keeps the networks of the search, those in training and that of the refit, or
        a `Checkpoint` of one that also says how often: the same search on the same data goes on
        from it, to the same scores and the same network. Random states must be numbers.
    executor : executor or None, default=None
        One of ``concurrent.futures`` (processes, threads, MPI) or a client of dask, whose workers
        train the networks to the same bits, as for `arraymlp.sweep`. It stays open. A clone has the
        same one; a pickle has none. The refit is done here, and so are fits that are served one
        after the other (see the notes).

    Attributes
    ----------
    cv_results_ : dict of arrays
        The results of `GridSearchCV`, by the same keys. A population's time is divided evenly among
        its fits: ``mean_fit_time`` is the share of a candidate, and hardly differs between them.
    best_estimator_ : estimator
        The best candidate, fitted to all of the data. Not with ``refit=False``.
    best_score_ : float
        Its mean score on the held-out rows. Not where ``refit`` is a callable.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its number in ``cv_results_``.
    scorer_ : callable or dict
        The scorer or scorers.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds that the refit took.
    multimetric_ : bool
        Whether there are several metrics.
    classes_ : array
        The labels, of a classifier.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of str
        Their names, where X had some.

    See Also
    --------
    arraymlp.sweep : a search without scikit-learn, on the device from end to end.

    Notes
    -----
    ``predict``, ``predict_proba``, ``score`` and the like are those of `GridSearchCV`: they call
    ``best_estimator_``.

    Solver 'lbfgs', warm starts, callbacks, and parameters of ``fit`` other than ``sample_weight``
    are served by one fit after the other, which a checkpoint does not keep: a search that goes on
    does them again, and scores all networks again. scikit-learn's callbacks are set on the network,
    not on the search.

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

    _parameter_constraints: ClassVar[Constraints] = {
        **{k: v for k, v in BaseSearchCV._parameter_constraints.items() if k != "pre_dispatch"},
        "param_grid": [dict, list, None],
        "param_distributions": [dict, list, None],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "memory": [Interval(Integral, 1, None, closed="left"), str, None],
        "checkpoint": CHECKPOINT,
        "executor": EXECUTOR,
    }

    def __init__(
        self,
        estimator: BaseMLP | Pipeline,
        param_grid: Grid | None = None,
        *,
        param_distributions: Grid | None = None,
        n_iter: int = 10,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[[Mapping[str, Any]], int] = True,
        cv: Splitter = None,
        verbose: int = 0,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        random_state: int | np.random.RandomState | None = None,
        memory: int | str | None = None,
        checkpoint: Checkpoints = None,
        executor: Any = None,
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
        self.checkpoint = checkpoint
        self.executor = executor

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: RowsLike, y: RowsLike | None = None, **params: Any) -> Self:
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

        Raises
        ------
        ValueError
            No y, folds that cannot be made, both or none of the two kinds of parameters; all fits
            failed; or with a checkpoint a random state that is no number.
        CheckpointError
            The checkpoint is of another search, or damaged, or another process has it.
        OSError
            The checkpoint cannot be read or written.
        ExecutorError
            The executor has been shut down, or a worker of it cannot train.
        TypeError
            The estimator is, or ends in, no network of this package.
        KeyboardInterrupt
            After Ctrl-C or SIGTERM, but in the fit of the best candidate, which then ends as any
            fit does.
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
        trials = self._trials(candidates, splits)
        folder = self._folder(trials)
        fitted = fit_trials(trials, X, y, routed.estimator.fit, self.memory, folder, self.executor)
        for group in fitted:
            for trial in group:
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
            self._refit(folder, X, y, routed.estimator.fit)
            self.refit_time_ = time.perf_counter() - start
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        self.cv_results_ = results
        return self

    @property
    def set_callbacks(self) -> NoReturn:
        """An AttributeError, since populations have no tasks of scikit-learn's; networks have."""
        raise AttributeError(
            f"{type(self).__name__} has no callbacks: set them on its estimator, whose fits they "
            "are told of"
        )

    def _candidates(self) -> Iterable[Params]:
        """The parameters to try."""
        if (self.param_grid is None) == (self.param_distributions is None):
            raise ValueError("give param_grid or param_distributions, and not both")
        if self.param_grid is not None:
            return ParameterGrid(self.param_grid)  # type: ignore[no-any-return]
        return ParameterSampler(  # type: ignore[no-any-return]
            self.param_distributions, self.n_iter, random_state=self.random_state
        )

    def _candidate(self, params: Params) -> BaseMLP | Pipeline:
        """A new estimator with these parameters."""
        return clone(self.estimator).set_params(**clone(params, safe=False))

    def _splits(self, X: RowsLike, y: RowsLike, params: Params) -> list[Fold]:
        """The numbers of the rows of each fold."""
        labels, numbers = on_host(y), np.arange(_num_samples(X))
        cv = check_cv(self.cv, labels, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, labels, **params))
        if not splits or len(splits) != cv.get_n_splits(X, labels, **params):
            raise ValueError(
                "No fits were performed, or cv.split and cv.get_n_splits are inconsistent: cv "
                f"gives {len(splits)} splits"
            )
        return [(numbers[train], numbers[test]) for train, test in splits]

    def _trials(self, candidates: Sequence[Params], splits: Sequence[Fold]) -> list[Trial]:
        """Every candidate on every fold.

        Raises:
            TypeError: a candidate is, or ends in, no network of this package.
        """
        trials = []
        for number, (params, (fold, rows)) in enumerate(product(candidates, enumerate(splits))):
            trial = Trial(number, fold, *rows, params, self._candidate(params))
            if not isinstance(trial.network, BaseMLP):
                raise TypeError(
                    f"{type(self).__name__} is for MLPClassifier, MLPRegressor and pipelines that "
                    f"end in one of them, not for {trial.estimator!r}: GridSearchCV is for any "
                    "estimator"
                )
            trials.append(trial)
        return trials

    def _folder(self, trials: Sequence[Trial]) -> Checkpoint | None:
        """The checkpoint's folder.

        Raises:
            ValueError: the same search would draw something else, or a network has a checkpoint of
                its own, which would be one for many fits.
        """
        if any(trial.network.checkpoint is not None for trial in trials):
            raise ValueError(
                "a network's checkpoint is of one fit, and a search has many: give the search one"
            )
        if self.checkpoint is None:
            return None
        if self.param_distributions is not None:
            require_number(self.random_state, f"random_state of {type(self).__name__}")
        for trial in trials:
            network = trial.network
            require_number(network.random_state, f"random_state of {type(network).__name__}")
        return as_checkpoint(self.checkpoint)

    def _refit(self, folder: Checkpoint | None, X: RowsLike, y: RowsLike, params: Params) -> None:
        """Fit the best candidate to all of the data, or go on with that."""
        best = self.best_estimator_
        network = best.steps[-1][1] if isinstance(best, Pipeline) else best
        if folder is None or network.solver == "lbfgs":
            best.fit(X, y, **params)
            return
        Path(folder.path).mkdir(parents=True, exist_ok=True)
        # Other scores may choose another candidate, whose fit is another one.
        network.checkpoint = folder.within(f"refit-{self.best_index_}.safetensors")
        try:
            best.fit(X, y, **params)
        finally:
            network.checkpoint = None

    def _scored(
        self,
        trial: Trial,
        X: RowsLike,
        y: RowsLike,
        scorer: Callable[..., Any],
        params: Params,
    ) -> dict[str, Any]:
        """The entries that scikit-learn makes its results of."""
        failure = trial.failure
        if failure is not None and self.error_score == "raise":
            raise failure

        def score(rows: HostArray) -> object:
            if failure is not None:  # where a callable scores, _insert_error_scores knows more
                names = getattr(scorer, "_scorers", None)
                return self.error_score if names is None else dict.fromkeys(names, self.error_score)
            rows_params = params_of_rows(params, X, rows)
            x, t = take_rows(X, rows), take_rows(y, rows)
            return _score(trial.estimator, x, t, scorer, rows_params, self.error_score)

        start = time.perf_counter()
        scored = {
            "fit_error": None if failure is None else "".join(format_exception(failure)),
            "n_test_samples": len(trial.test),
            "fit_time": trial.seconds,
            "test_scores": score(trial.test),
            "score_time": time.perf_counter() - start,
        }
        if self.return_train_score:
            scored["train_scores"] = score(trial.train)
        if self.verbose > 1:
            params_text = ", ".join(f"{k}={trial.candidate[k]}" for k in sorted(trial.candidate))
            print(f"[CV {trial.fold + 1}] END {params_text}; score={scored['test_scores']}")
        return scored
