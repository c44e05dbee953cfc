"""MLPEnsembleClassifier and MLPEnsembleRegressor: deep ensembles with scikit-learn's interface.

Their members are `MLPClassifier` or `MLPRegressor`; they train as one population, and predict as
one stack (`arraymlp.training.ensemble`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from arraymlp.backends.array import Array, HostArray, Namespace, array_namespace
from arraymlp.backends.backend import Backend
from arraymlp.estimators.base import BaseMLP
from arraymlp.estimators.classifier import MLPClassifier
from arraymlp.estimators.executor import EXECUTOR, WithExecutor
from arraymlp.estimators.fitted import AtHome
from arraymlp.estimators.inputs import Rows, RowsLike, checked_input
from arraymlp.estimators.parameters import CHECKPOINT, Checkpoints, Constraints, require_number
from arraymlp.estimators.population import fit_together
from arraymlp.estimators.regressor import MLPRegressor
from arraymlp.training.checkpoint import as_checkpoint
from arraymlp.training.ensemble import Ensemble


class DeepEnsemble(WithExecutor, AtHome, ABC):
    """What both ensembles share; each says what its members are."""

    _parameter_constraints: ClassVar[Constraints] = {
        "estimator": [BaseMLP, None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "checkpoint": CHECKPOINT,
        "executor": EXECUTOR,
    }

    estimators_: Sequence[BaseMLP]
    ensemble_: Ensemble
    n_outputs_: int
    classes_: Array | HostArray

    def __init__(
        self,
        estimator: BaseMLP | None = None,
        n_estimators: int = 5,
        *,
        random_state: int | np.random.RandomState | None = None,
        checkpoint: Checkpoints = None,
        executor: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.executor = executor

    @abstractmethod
    def _prototype(self) -> BaseMLP:
        """The estimator that each member is a clone of."""

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: RowsLike, y: RowsLike, sample_weight: RowsLike | None = None) -> Self:
        """Train all members on X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples. Never written.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets, as for a member.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As of a member's ``fit``; with a checkpoint a random state that is no number.
        CheckpointError
            The checkpoint is of another fit, or damaged, or another process has it.
        OSError
            The checkpoint cannot be read or written.
        ExecutorError
            The executor has been shut down, or a worker of it cannot train.
        """
        prototype, folder = self._prototype(), None
        if prototype.checkpoint is not None:
            raise ValueError(
                "a member's checkpoint is of one fit, and an ensemble has several: give the "
                "ensemble one"
            )
        if self.checkpoint is not None:
            require_number(self.random_state, "random_state")
            folder = as_checkpoint(self.checkpoint)
        random = check_random_state(self.random_state)
        seeds = random.randint(np.iinfo(np.int32).max, size=self.n_estimators)
        members = [clone(prototype).set_params(random_state=int(seed)) for seed in seeds]
        failures = fit_together(
            members, X, y, sample_weight, checkpoint=folder, executor=self.executor
        )
        for failure in failures:
            if failure is not None:
                raise failure
        self.estimators_ = members
        validate_data(self, X, reset=True, skip_check_array=True)  # number and names of features
        self.n_outputs_ = members[0].n_outputs_
        self._stack()
        return self

    def _stack(self) -> None:
        """Set the attributes that follow from the members."""
        self._home = self.estimators_[0]._home
        self.ensemble_ = Ensemble([member.network_ for member in self.estimators_])
        if hasattr(self.estimators_[0], "classes_"):
            self.classes_ = self.estimators_[0].classes_

    def _input(self, X: RowsLike, method: str) -> Rows:
        """X checked, for the networks to predict on."""
        check_is_fitted(self)
        self._require_home(X, method)
        return checked_input(self, X, self.estimators_[0]._dtypes(self.ensemble_.backend))

    def _moved(self, there: Backend) -> Self:
        """See `AtHome.to`."""
        moved = copy(self)
        moved.estimators_ = [member.to(there) for member in self.estimators_]
        moved._stack()
        return moved

    def __getstate__(self) -> dict[str, Any]:
        # The stack is the members' networks once more; and they open where their home is.
        state = dict(super().__getstate__())
        state.pop("ensemble_", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "estimators_"):
            self._stack()


class MLPEnsembleClassifier(ClassifierMixin, DeepEnsemble):
    """A deep ensemble of classifiers: the mean of several networks' probabilities.

    Its members differ in their initial weights, minibatches and, with early stopping, in the rows
    they hold out. Together they are more accurate than each alone, and better calibrated; how far
    they disagree tells how sure they are (Lakshminarayanan, Pritzel, Blundell 2017). All of them
    train as one population.

    Parameters
    ----------
    estimator : `MLPClassifier` or None, default=None
        The estimator that each member is a clone of; None is ``MLPClassifier()``.
    n_estimators : int, default=5
        Number of members.
    random_state : int, RandomState or None, default=None
        Draws the members' random states by ``randint(2**31 - 1)``, ``n_estimators`` times: a larger
        ensemble has all members of a smaller one. That of ``estimator`` is not used.
    checkpoint : str, path-like, `Checkpoint` or None, default=None
        A folder that keeps the state of the training, or a `Checkpoint` of one that also says how
        often: the same ``fit`` on the same data goes on from it, to the same bits. ``random_state``
        must be a number. Members with solver 'lbfgs', callbacks or warm starts are fitted again.
    executor : executor or None, default=None
        One of ``concurrent.futures`` (processes, threads, MPI) or a client of dask, whose workers
        train the networks to the same bits, as for `arraymlp.sweep`. It stays open. A clone has the
        same one; a pickle has none. Members with solver 'lbfgs', callbacks or warm starts are
        fitted here.

    Attributes
    ----------
    estimators_ : list of `MLPClassifier`
        The members, fitted.
    ensemble_ : `Ensemble`
        Their networks, stacked, on the backend that trained them.
    classes_ : array of shape (n_classes,)
        The labels, ascending, in the namespace of X; strings in NumPy's.
    n_outputs_ : int
        Number of outputs of a network.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of str
        Their names, where X had some.

    References
    ----------
    B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", NeurIPS 2017.

    Examples
    --------
    >>> from arraymlp import MLPClassifier, MLPEnsembleClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> model = MLPClassifier((20,), learning_rate_init=0.01, max_iter=300)
    >>> ensemble = MLPEnsembleClassifier(model, n_estimators=3, random_state=1).fit(X, y)
    >>> ensemble.predict(X[:5])
    array([1, 1, 1, 0, 0])
    >>> p, spread = ensemble.predict_proba(X, return_std=True)
    >>> p.shape, spread.shape
    ((100, 2), (100, 2))
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **DeepEnsemble._parameter_constraints,
        "estimator": [MLPClassifier, None],
    }

    estimators_: Sequence[MLPClassifier]

    def _prototype(self) -> BaseMLP:
        return MLPClassifier() if self.estimator is None else self.estimator

    def predict(self, X: RowsLike) -> Rows:
        """The class of the highest mean probability, or 0 and 1 for each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples, of the namespace and on the device of those in `fit`.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_classes)
            In the namespace of X, but strings are always a NumPy array.
        """
        rows = self._input(X, "predict")
        return self.estimators_[0]._named(self.ensemble_.predict(rows))

    def predict_proba(self, X: RowsLike, return_std: bool = False) -> Array | tuple[Array, Array]:
        """The mean probability of each class, in the order of ``classes_``; or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.
        return_std : bool, default=False
            Whether to return the standard deviation over the members, too.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            In the namespace of X.
        std : array of shape (n_samples, n_classes)
            Only with ``return_std``.
        """
        rows = self._input(X, "predict_proba")
        p: Array | tuple[Array, Array] = self.ensemble_.predict_proba(rows, return_std=return_std)
        return p

    def predict_log_proba(self, X: RowsLike) -> Array:
        """The logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        log_p : array of shape (n_samples, n_classes)
            In the namespace of X.
        """
        rows = self._input(X, "predict_log_proba")
        p: Array = self.ensemble_.predict_proba(rows)
        xp: Namespace = array_namespace(p)
        return xp.log(p)

    score = MLPClassifier.score

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPEnsembleRegressor(RegressorMixin, DeepEnsemble):
    """A deep ensemble of regressors: the mean of several networks' predictions.

    Its members differ in their initial weights, minibatches and, with early stopping, in the rows
    they hold out. Together they are more accurate than each alone; how far they disagree tells how
    sure they are (Lakshminarayanan, Pritzel, Blundell 2017). All of them train as one population.

    Parameters
    ----------
    estimator : `MLPRegressor` or None, default=None
        The estimator that each member is a clone of; None is ``MLPRegressor()``.
    n_estimators : int, default=5
        Number of members.
    random_state : int, RandomState or None, default=None
        Draws the members' random states by ``randint(2**31 - 1)``, ``n_estimators`` times: a larger
        ensemble has all members of a smaller one. That of ``estimator`` is not used.
    checkpoint : str, path-like, `Checkpoint` or None, default=None
        A folder that keeps the state of the training, or a `Checkpoint` of one that also says how
        often: the same ``fit`` on the same data goes on from it, to the same bits. ``random_state``
        must be a number. Members with solver 'lbfgs', callbacks or warm starts are fitted again.
    executor : executor or None, default=None
        One of ``concurrent.futures`` (processes, threads, MPI) or a client of dask, whose workers
        train the networks to the same bits, as for `arraymlp.sweep`. It stays open. A clone has the
        same one; a pickle has none. Members with solver 'lbfgs', callbacks or warm starts are
        fitted here.

    Attributes
    ----------
    estimators_ : list of `MLPRegressor`
        The members, fitted.
    ensemble_ : `Ensemble`
        Their networks, stacked, on the backend that trained them.
    n_outputs_ : int
        Number of outputs of a network.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of str
        Their names, where X had some.

    References
    ----------
    B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from arraymlp import MLPEnsembleRegressor, MLPRegressor
    >>> X = np.linspace(-2, 2, 100)[:, None]
    >>> model = MLPRegressor(learning_rate_init=0.01, max_iter=500)
    >>> ensemble = MLPEnsembleRegressor(model, random_state=0).fit(X, np.sin(X[:, 0]))
    >>> y, spread = ensemble.predict([[0.0], [9.0]], return_std=True)
    >>> bool(spread[1] > 10 * spread[0])  # they were never shown what is there
    True
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **DeepEnsemble._parameter_constraints,
        "estimator": [MLPRegressor, None],
    }

    estimators_: Sequence[MLPRegressor]

    def _prototype(self) -> BaseMLP:
        return MLPRegressor() if self.estimator is None else self.estimator

    def predict(self, X: RowsLike, return_std: bool = False) -> Array | tuple[Array, Array]:
        """The mean prediction; with a quantile loss, of the level nearest to the median.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples, of the namespace and on the device of those in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation over the members, too: of the mean that the
            model predicts, and not of the noise in y.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            In the namespace of X.
        std : array of that shape
            Only with ``return_std``.
        """
        rows = self._input(X, "predict")
        central = self.estimators_[0]._central
        if not return_std:
            return central(self.ensemble_.predict(rows))
        mean, std = self.ensemble_.predict(rows, return_std=True)
        return central(mean), central(std)

    score = MLPRegressor.score
