"""MLPRegressor: scikit-learn's interface to this package's training, for numbers."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from arraymlp.backends.array import Array, HostArray, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.data.sources import is_sparse
from arraymlp.estimators.base import BaseMLP, is_stochastic
from arraymlp.estimators.fitting.tasks import with_callbacks
from arraymlp.estimators.inputs import RowsLike, on_host
from arraymlp.estimators.parameters import (
    Activations,
    Callbacks,
    Checkpoints,
    Constraints,
    HiddenSizes,
    RandomState,
)
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import LOSSES, Loss, Quantile, get_loss
from arraymlp.nn.metrics import METRICS, OUTPUTS, Metric, Predictions


def _has_quantiles(estimator: "MLPRegressor") -> bool:
    """Return True where the loss is a quantile loss; else an AttributeError."""
    if not isinstance(get_loss(estimator.loss), Quantile):
        raise AttributeError("predict_quantiles is for loss='quantile' or a Quantile")
    return True


def middle_level(loss: Loss) -> int:
    """The position of the level of a quantile loss that is the nearest to the median."""
    assert isinstance(loss, Quantile)
    return int(np.argmin(abs(np.asarray(loss.levels) - 0.5)))


def _r2_of_the_middle(p: Predictions, xp: Namespace) -> Array:
    """R2 of the level nearest to the median."""
    q, n = p.loss.output(p.s, xp), p.loss.outputs_per_target
    middle = xp.reshape(q, (*q.shape[:-1], -1, n))[..., middle_level(p.loss)]
    squared = get_loss("squared_error")
    return METRICS["r2"].function(Predictions(p.y, middle, p.weight, squared), xp)


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron for numbers: means, medians, counts, quantiles.

    Parameters
    ----------
    loss : str or `Loss`, default='squared_error'
        'squared_error', 'poisson', 'absolute_error', 'huber', 'quantile'; or with constants of your
        own ``Huber(threshold)``, ``Quantile((0.05, 0.5, 0.95))``. Several targets add up; only the
        reported squared error is their mean, as in scikit-learn.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers; () for none.
    activation : str or sequence of str, default='relu'
        Activation of the hidden layers, or one for each of them: 'identity', 'logistic', 'tanh',
        'relu', and 'elu', 'gelu', 'leaky_relu', 'silu', 'softplus'.
    solver : {'adam', 'sgd', 'lbfgs', 'adamw'}, default='adam'
        The optimiser. 'lbfgs' goes through SciPy on the host, with all rows in every step: for
        small data.
    alpha : float, default=0.0001
        L2 penalty ``alpha / 2 |W|^2`` on the weights, divided like the loss by the weight of the
        minibatch. For 'adamw' the decoupled decay: ``w <- w - learning_rate * alpha * w``.
    batch_size : int or 'auto', default='auto'
        Rows of a minibatch; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        For 'sgd'. 'invscaling' divides by ``(samples seen + 1) ** power_t``; 'adaptive' divides by
        5 instead of stopping, until the rate is 1e-6.
    learning_rate_init : float, default=0.001
        The learning rate, or the first.
    power_t : float, default=0.5
        The exponent of 'invscaling': see ``learning_rate``.
    max_iter : int, default=200
        Epochs, or iterations of 'lbfgs', at most.
    shuffle : bool, default=True
        Whether to draw a new order of the rows for each epoch.
    random_state : int, RandomState, Generator or None, default=None
        Draws initial weights, split, orders and dropout. The same number gives the network that
        scikit-learn trains with it, to rounding.
    tol : float, default=1e-4
        The least change of loss or score that counts as an improvement.
    verbose : bool, default=False
        Whether to print a line an epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on with the weights of the last ``fit``.
    momentum : float, default=0.9
        For 'sgd': the share of the last change of the weights in the next, from 0 to 1.
    nesterovs_momentum : bool, default=True
        For 'sgd' with momentum: whether it is Nesterov's.
    early_stopping : bool or 'loss', default=False
        Whether to stop by the R2 of validation rows, as scikit-learn does, and keep the weights of
        the best epoch. 'loss' watches their loss.
    validation_fraction : float, default=0.1
        Fraction of the rows to hold out for early stopping, where ``fit`` is given no X_val.
    beta_1 : float, default=0.9
        For 'adam' and 'adamw': decay of the running mean of gradients.
    beta_2 : float, default=0.999
        The same, of the squared gradients.
    epsilon : float, default=1e-8
        For 'adam' and 'adamw': added to the root of the mean of squared gradients.
    n_iter_no_change : int, default=10
        Epochs without an improvement after which to stop.
    max_fun : int, default=15000
        For 'lbfgs': passes over the data at most.
    backend : {'numpy', 'cupy', 'torch', 'jax', 'auto'} or None, default=None
        Where to train. None: where X is, so NumPy data trains on NumPy. 'auto': CuPy for NumPy data
        where a CUDA device works. Results are always of the namespace of X.
    device : object, default=None
        The backend's device; None for its default.
    dtype : {'auto', 'float32', 'float64'}, default='auto'
        The dtype of weights and data; 'auto' is that of X, and float64 for whole numbers.
    dropout : float or `Dropout`, default=0.0
        Probability that a hidden unit's output is dropped in training.
    gradient_clip : float or None, default=None
        Bound on the Euclidean norm of a minibatch's gradient.
    callbacks : callable or list of callables, default=None
        Each is called after each epoch with an `EpochEnd`, and stops the training by returning
        True. See `arraymlp.train`. scikit-learn's own go to ``set_callbacks`` (1.9 and newer).
    checkpoint : str, path-like, `Checkpoint` or None, default=None
        A file that keeps the state of the training, or a `Checkpoint` that also says how often: the
        same ``fit`` on the same data goes on from it, to the same bits, whatever ended it, and one
        that is finished trains no more. ``random_state`` must be a number. It is of one fit, so a
        warm start needs a file of its own. Not for 'lbfgs', nor for ``partial_fit``.

    Attributes
    ----------
    coefs_ : list of arrays of shape (n_in, n_out)
        Weights of each layer, in the namespace of X.
    intercepts_ : list of arrays of shape (n_out,)
        Bias of each layer, in the namespace of X.
    loss_ : float
        Loss of the last epoch, with the penalty.
    loss_curve_ : list of float
        The loss of each epoch. Not for 'lbfgs'.
    best_loss_ : float or None
        The lowest loss; None with early stopping.
    validation_scores_ : list of float, or None
        R2 on the validation rows after each epoch.
    validation_loss_curve_ : list of float, or None
        Loss on the validation rows after each epoch.
    best_validation_score_ : float or None
        With early stopping by the score, the highest of the validation scores.
    best_validation_loss_ : float or None
        With early stopping by the loss, the lowest of the validation losses.
    n_iter_ : int
        Epochs (iterations of 'lbfgs') of the last call.
    t_ : int
        Samples trained on, in all epochs.
    n_layers_ : int
        Number of layers, inputs and outputs included.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        The function that makes predictions of the last layer's sums.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of str
        Their names, where X had some.
    network_ : `MultilayerPerceptron`
        The trained network, on the backend that trained it.
    history_ : `History`
        Its epochs, with times. Not for 'lbfgs'.
    findings_ : list of `Finding`
        Diagnosis of the last call (see `arraymlp.diagnose`). Not for 'lbfgs'.
    backend_ : `Backend`
        The backend that it was trained on.

    See Also
    --------
    arraymlp.train : training without scikit-learn.

    Examples
    --------
    >>> from arraymlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> reg = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> round(reg.score(X, y), 2)
    1.0
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **BaseMLP._parameter_constraints,
        "loss": [
            StrOptions({name for name, loss in LOSSES.items() if loss.classifies == "no"}),
            Loss,
        ],
    }
    _numeric = True

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: HiddenSizes = (100,),
        activation: Activations = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: str | Backend | None = None,
        device: object = None,
        dtype: str = "auto",
        dropout: float | Dropout = 0.0,
        gradient_clip: float | None = None,
        callbacks: Callbacks = None,
        checkpoint: Checkpoints = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.dropout = dropout
        self.gradient_clip = gradient_clip
        self.callbacks = callbacks
        self.checkpoint = checkpoint

    def _encode(self, y: Any, method: str, first: bool) -> HostArray:
        return np.asarray(y.toarray() if is_sparse(y) else y, dtype=np.float64)

    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        loss = get_loss(self.loss)
        if loss.classifies != "no":
            raise ValueError(f"the loss {loss.name} is for classes, and not for MLPRegressor")
        return loss, (y.shape[1] if y.ndim == 2 else 1) * loss.outputs_per_target, None

    def _metric(self) -> Metric:
        if get_loss(self.loss).outputs_per_target == 1:
            return METRICS["r2"]
        return Metric("r2", _r2_of_the_middle, True, (OUTPUTS,))

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def partial_fit(self, X: RowsLike, y: RowsLike, sample_weight: RowsLike | None = None) -> Self:
        """Train for one pass over X and y, going on where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As of `fit`; with ``early_stopping`` or a checkpoint.
        AttributeError
            The solver is 'lbfgs', which has no partial_fit.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: RowsLike) -> Array:
        """The predicted targets; with a quantile loss, the level nearest to the median.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples, of the namespace and on the device of those in `fit`.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            In the namespace of X.
        """
        rows = self._input(X, "predict")
        return self._central(self.network_.predict(rows))

    def _central(self, predicted: Array) -> Array:
        """The return value of `predict`, of the network's, (..., n_levels) with quantiles."""
        loss = self.network_.loss
        return predicted if loss.outputs_per_target == 1 else predicted[..., middle_level(loss)]

    @available_if(_has_quantiles)
    def predict_quantiles(self, X: RowsLike) -> Array:
        """The quantiles of each target, ascending.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        q : array of shape (n_samples, n_levels) or (n_samples, n_targets, n_levels)
            In the order of the levels of the loss, in the namespace of X.
        """
        rows = self._input(X, "predict_quantiles")
        predicted: Array = self.network_.predict(rows)
        return predicted if self.network_.loss.outputs_per_target > 1 else predicted[..., None]

    def score(self, X: RowsLike, y: RowsLike, sample_weight: RowsLike | None = None) -> float:
        """R2 on X and y, the mean over targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The true targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            1 at best, 0 for the mean of y, and less for worse.
        """
        predicted = on_host(self.predict(X))
        return float(r2_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))
