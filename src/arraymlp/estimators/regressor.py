"""MLPRegressor: scikit-learn's interface to this package's training, for numbers."""

from typing import Any, ClassVar, Self

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the estimators need scikit-learn: pip install 'arraymlp[sklearn]'"
    ) from error

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.stream import is_sparse
from arraymlp.estimators.base import BaseMLP, stochastic
from arraymlp.estimators.inputs import on_host
from arraymlp.estimators.tasks import with_callbacks
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Loss, Quantile, get_loss
from arraymlp.nn.metrics import METRICS, OUTPUTS, Metric, Predictions


def _has_quantiles(estimator: "MLPRegressor") -> bool:
    if not isinstance(get_loss(estimator.loss), Quantile):
        raise AttributeError("predict_quantiles is for loss='quantile' or a Quantile")
    return True


def _middle(loss: Loss) -> int:
    """Which of a quantile loss's levels is the nearest to the median."""
    assert isinstance(loss, Quantile)
    return min(range(len(loss.levels)), key=lambda i: abs(loss.levels[i] - 0.5))


def _r2_of_the_middle(p: Predictions, xp: Any) -> Array:
    """R2 of the level nearest to the median."""
    q, n = p.loss.output(p.s, xp), p.loss.outputs_per_target
    middle = xp.reshape(q, (*q.shape[:-1], -1, n))[..., _middle(p.loss)]
    squared = get_loss("squared_error")
    return METRICS["r2"].function(Predictions(p.y, middle, p.weight, squared), xp)


class MLPRegressor(RegressorMixin, BaseMLP):
    r"""A multilayer perceptron for numbers: means, medians, counts, quantiles.

    Parameters
    ----------
    loss : str or `Loss`, default='squared_error'
        'squared_error', 'poisson', 'absolute_error', 'huber', 'quantile'; or with constants of your
        own ``Huber(threshold)``, ``Quantile((0.05, 0.5, 0.95))``. Several targets add up; only the
        reported squared error is their mean, as in scikit-learn.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers; () for none.
    activation : str or sequence of str, default='relu'
        Of the hidden layers, or one for each of them: 'identity', 'logistic', 'tanh', 'relu', and
        'elu', 'gelu', 'leaky_relu', 'silu', 'softplus'.
    solver : {'adam', 'sgd', 'lbfgs', 'adamw'}, default='adam'
        'lbfgs' goes through SciPy on the host, with all rows in every step: for small data.
    alpha : float, default=0.0001
        L2 penalty alpha / 2 \|W\|^2 on the weights, divided like the loss by the weight of the
        minibatch. For 'adamw' the decoupled decay: w <- w - learning_rate * alpha * w.
    batch_size : int or 'auto', default='auto'
        Rows of a minibatch; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        For 'sgd'. 'invscaling' divides by (samples seen + 1) ** power_t; 'adaptive' divides by 5
        instead of stopping, until the rate is 1e-6.
    learning_rate_init : float, default=0.001
        The learning rate, or the first.
    power_t : float, default=0.5
        See ``learning_rate``.
    max_iter : int, default=200
        Epochs, or iterations of 'lbfgs', at most.
    shuffle : bool, default=True
        Whether to draw a new order of the rows for each epoch.
    random_state : int, RandomState, Generator or None, default=None
        Of initial weights, split, orders and dropout. The same number gives the network that
        scikit-learn trains with it, to rounding.
    tol : float, default=1e-4
        What an improvement is at least.
    verbose : bool, default=False
        Whether to print a line an epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on with the weights of the last one.
    momentum : float, default=0.9
        For 'sgd'.
    nesterovs_momentum : bool, default=True
        For 'sgd' with momentum.
    early_stopping : bool, default=False
        Whether to stop by the score on validation rows, and keep the weights of the best epoch.
    validation_fraction : float, default=0.1
        Of the rows, to hold out for early stopping where ``fit`` is given no X_val.
    beta_1 : float, default=0.9
        For 'adam' and 'adamw': decay of the running mean of gradients.
    beta_2 : float, default=0.999
        The same, of squared gradients.
    epsilon : float, default=1e-8
        The same: added to the root of that mean.
    n_iter_no_change : int, default=10
        Epochs without an improvement after which to stop.
    max_fun : int, default=15000
        For 'lbfgs': passes over the data at most.
    backend : {'numpy', 'cupy', 'torch', 'jax', 'auto'} or None, default=None
        Where to train. None: where X is, so NumPy data trains on NumPy. 'auto': CuPy for NumPy data
        where a CUDA device works. Results are of the namespace of X wherever that is.
    device : default=None
        The backend's device; None for its default.
    dtype : {'auto', 'float32', 'float64'}, default='auto'
        'auto' is that of X; float64 for whole numbers.
    dropout : float or `Dropout`, default=0.0
        Probability that a hidden unit's output is dropped in training.
    gradient_clip : float or None, default=None
        Bound on the Euclidean norm of a minibatch's gradient.
    callbacks : callable or list of callables, default=None
        Each is called after each epoch with an `EpochEnd`; the answer True stops. See
        `arraymlp.train`. Those of scikit-learn go to ``set_callbacks`` (1.9 and newer).

    Attributes
    ----------
    coefs_, intercepts_ : lists of arrays
        Weights (n_in, n_out) and bias (n_out,) of each layer, in the namespace of X.
    loss_ : float
        Loss of the last epoch, with the penalty.
    loss_curve_ : list of float
        That of each epoch. Not for 'lbfgs'.
    best_loss_ : float or None
        The lowest; None with early stopping.
    validation_scores_, validation_loss_curve_ : lists of float, or None
        R2 and loss on the validation rows after each epoch.
    best_validation_score_ : float or None
        With early stopping, the highest of these.
    n_iter_ : int
        Epochs (iterations of 'lbfgs') of the last call.
    t_ : int
        Samples trained on, in all epochs.
    n_layers_, n_outputs_ : int
        Layers, inputs and outputs included; outputs.
    out_activation_ : str
        What makes predictions of the last layer's sums.
    n_features_in_ : int
        Features.
    feature_names_in_ : array of str
        Their names, where X had some.
    network_ : `MultilayerPerceptron`
        What was trained, on the backend that trained it.
    history_ : `History`
        Its epochs, with times. Not for 'lbfgs'.
    findings_ : list of `Finding`
        What a diagnosis of the run says. Not for 'lbfgs'.
    backend_ : `Backend`
        Where it was trained.

    See Also
    --------
    arraymlp.train : what trains.

    Examples
    --------
    >>> from arraymlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> reg = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> round(reg.score(X, y), 2)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [
            StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile"}),
            Loss,
        ],
    }
    _numeric = True

    loss: str | Loss

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        backend: str | Backend | None = None,
        device: Any = None,
        dtype: str = "auto",
        dropout: float | Dropout = 0.0,
        gradient_clip: float | None = None,
        callbacks: Any = None,
    ) -> None:
        self._store(locals())

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

    @available_if(stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
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
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
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
        X = self._input(X, "predict")
        return self._central(self.network_.predict(X))

    def _central(self, found: Array) -> Array:
        """What the network predicts, (..., n_levels) with quantiles, as `predict` answers."""
        loss = self.network_.loss
        return found if loss.outputs_per_target == 1 else found[..., _middle(loss)]

    @available_if(_has_quantiles)
    def predict_quantiles(self, X: Any) -> Any:
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
        X = self._input(X, "predict_quantiles")
        found = self.network_.predict(X)
        return found if self.network_.loss.outputs_per_target > 1 else found[..., None]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
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
        """
        found = on_host(self.predict(X))
        return float(r2_score(on_host(y), found, sample_weight=on_host(sample_weight)))
