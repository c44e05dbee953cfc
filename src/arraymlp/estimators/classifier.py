"""MLPClassifier: scikit-learn's interface to this package's training, for classes."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the estimators need scikit-learn: pip install 'arraymlp[sklearn]'"
    ) from error

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from arraymlp.backends.array import Array, HostArray, array_namespace
from arraymlp.backends.backend import Backend
from arraymlp.estimators.base import BaseMLP, stochastic
from arraymlp.estimators.inputs import on_host
from arraymlp.estimators.labels import Labels
from arraymlp.estimators.tasks import with_callbacks
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Loss, get_loss
from arraymlp.nn.metrics import METRICS, Metric


class MLPClassifier(ClassifierMixin, BaseMLP):
    r"""A multilayer perceptron for classes, or for several labels a sample.

    It trains on the softmax (of two classes or several labels, sigmoid) cross-entropy.

    Parameters
    ----------
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
    class_weight : dict, 'balanced' or None, default=None
        {label: weight} in the loss, 1 where not named; 'balanced' weighs by 1 / frequency.
    loss : 'log_loss' or `Loss`, default='log_loss'
        Or a loss of `arraymlp.nn.losses` that is for classes.
    callbacks : callable or list of callables, default=None
        Each is called after each epoch with an `EpochEnd`; the answer True stops. See
        `arraymlp.train`. Those of scikit-learn go to ``set_callbacks`` (1.9 and newer).

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels, ascending, in the namespace of X; strings in NumPy's.
    coefs_, intercepts_ : lists of arrays
        Weights (n_in, n_out) and bias (n_out,) of each layer, in the namespace of X.
    loss_ : float
        Loss of the last epoch, with the penalty.
    loss_curve_ : list of float
        That of each epoch. Not for 'lbfgs'.
    best_loss_ : float or None
        The lowest; None with early stopping.
    validation_scores_, validation_loss_curve_ : lists of float, or None
        Accuracy and loss on the validation rows after each epoch.
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
    >>> from arraymlp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> clf.predict(X[:5])
    array([1, 1, 1, 0, 0])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "loss": [StrOptions({"log_loss"}), Loss],
    }
    _numeric = False

    class_weight: Mapping[Any, float] | str | None
    loss: str | Loss
    _labels: Labels

    def __init__(
        self,
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
        class_weight: Mapping[Any, float] | str | None = None,
        loss: str | Loss = "log_loss",
        callbacks: Any = None,
    ) -> None:
        self._store(locals())

    def _encode(self, y: Any, method: str, first: bool) -> HostArray:
        if first and method == "fit":  # partial_fit was told them
            self._labels = Labels.found_in(y)
        self.classes_ = self._labels.on(self._home)
        return self._labels.encode(y, all_of_them=method == "fit" and not first)

    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        n, several = len(self._labels), self._labels.several
        many = n > 2 and not several
        if isinstance(self.loss, str):
            name = "softmax" if many else "binary"
            loss = get_loss(f"capped_{name}_cross_entropy")  # as scikit-learn has it
        else:
            loss = self.loss
        if not {"each": not many, "one": not several, "no": False}[loss.classifies]:
            what = "several labels" if several else f"{n} classes"
            raise ValueError(f"the loss {loss.name} cannot tell {what}")
        if several:
            return loss, n, None
        classes = np.arange(max(n, 2))
        return loss, 1 if loss.classifies == "each" else len(classes), classes

    def _metric(self) -> Metric:
        return METRICS["accuracy"]

    def _strata(self, y: HostArray) -> HostArray | None:
        return self._labels.classes[y] if self.n_outputs_ == 1 else None

    def _class_weight(self, incremental: bool) -> Any:
        given = self.class_weight
        if given is None:
            return None
        if self._labels.several:
            raise ValueError("class_weight is for one class a sample: use sample_weight instead")
        if not isinstance(given, str):
            return self._labels.weights(given)
        if incremental:
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not know how "
                "often each class occurs: give {label: weight}, such as sklearn.utils."
                "class_weight.compute_class_weight computes from all of y"
            )
        return given

    @available_if(stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one pass over X and y, going on where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        classes : array of shape (n_classes,), default=None
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        known = None if classes is None else np.unique(on_host(classes))
        if not hasattr(self, "_labels"):
            if known is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._labels = Labels.found_in(on_host(y), known)
        elif known is not None and not np.array_equal(self._labels.classes, known):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self._labels.classes!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """The most probable class of each sample, or 0 and 1 for each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples, of the namespace and on the device of those in `fit`.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_classes)
            In the namespace of X, but strings are always a NumPy array.
        """
        X = self._input(X, "predict")
        return self._named(self.network_.predict(X))

    def _named(self, chosen: Array) -> Any:
        """Positions of classes, or 0 and 1 for each label, as `predict` answers."""
        if self._labels.several:
            xp = array_namespace(chosen)
            chosen = xp.astype(chosen, xp.__array_namespace_info__().default_dtypes()["integral"])
            return csr_matrix(chosen) if self._labels.sparse else chosen
        if self.classes_ is self._labels.classes:  # on the host
            chosen = on_host(chosen)
        xp = array_namespace(chosen)
        with self._home.active():  # of one class alone, the network knows two
            return xp.take(self.classes_, xp.minimum(chosen, len(self._labels) - 1), axis=0)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, in the order of `classes_`; or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            In the namespace of X.
        """
        X = self._input(X, "predict_proba")
        return self.network_.predict_proba(X)

    def predict_log_proba(self, X: Any) -> Any:
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
        X = self._input(X, "predict_log_proba")
        p = self.network_.predict_proba(X)
        return array_namespace(p).log(p)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on X and y (of all labels of a sample together).

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
        """
        found = on_host(self.predict(X))
        return float(accuracy_score(on_host(y), found, sample_weight=on_host(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
