"""MLPClassifier: scikit-learn's interface to this package's training, for classes."""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from arraymlp.backends.array import Array, HostArray, Namespace, array_namespace
from arraymlp.backends.backend import Backend
from arraymlp.data.data import ClassWeight
from arraymlp.estimators.base import BaseMLP, is_stochastic
from arraymlp.estimators.fitting.tasks import with_callbacks
from arraymlp.estimators.inputs import Rows, RowsLike, on_host
from arraymlp.estimators.labels import Labels
from arraymlp.estimators.parameters import (
    Activations,
    Callbacks,
    Checkpoints,
    Constraints,
    HiddenSizes,
    RandomState,
)
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Loss, get_loss
from arraymlp.nn.metrics import METRICS, Metric


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron for classes, or for several labels a sample.

    It trains on the softmax (of two classes or several labels, sigmoid) cross-entropy.

    Parameters
    ----------
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
        Whether to stop by the accuracy on validation rows, as scikit-learn does, and keep the
        weights of the best epoch. 'loss' watches their loss: for probabilities that are right.
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
    class_weight : dict, 'balanced' or None, default=None
        {label: weight} in the loss, 1 where not named; 'balanced' weighs by 1 / frequency. Labels
        that y lacks, as a fold may, are passed over where all that it has are named.
    loss : 'log_loss' or `Loss`, default='log_loss'
        The loss; or one of ``arraymlp.losses`` that is for classes.
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
    classes_ : array of shape (n_classes,)
        The labels, ascending, in the namespace of X; strings in NumPy's.
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
        Accuracy on the validation rows after each epoch.
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
    >>> from arraymlp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> clf.predict(X[:5])
    array([1, 1, 1, 0, 0])
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "loss": [StrOptions({"log_loss"}), Loss],
    }
    _numeric = False

    class_weight: Mapping[Hashable, float] | str | None

    def __init__(
        self,
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
        class_weight: Mapping[Hashable, float] | str | None = None,
        loss: str | Loss = "log_loss",
        callbacks: Callbacks = None,
        checkpoint: Checkpoints = None,
    ) -> None:
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
        self.class_weight = class_weight
        self.loss = loss
        self.callbacks = callbacks
        self.checkpoint = checkpoint

    def _encode(self, y: Any, method: str, first: bool) -> HostArray:
        if first and method == "fit":  # partial_fit has them from its caller
            self._labels = Labels.of(y)
        self.classes_ = self._labels.on(self._home)
        return self._labels.encode(y, require_all=method == "fit" and not first)

    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        n, multilabel = len(self._labels), self._labels.multilabel
        multiclass = n > 2 and not multilabel
        if isinstance(self.loss, str):
            name = "softmax" if multiclass else "binary"
            loss = get_loss(f"capped_{name}_cross_entropy")  # as scikit-learn has it
        else:
            loss = self.loss
        if not {"each": not multiclass, "one": not multilabel, "no": False}[loss.classifies]:
            targets = "several labels" if multilabel else f"{n} classes"
            raise ValueError(f"the loss {loss.name} cannot tell {targets}")
        if multilabel:
            return loss, n, None
        classes = np.arange(max(n, 2))
        return loss, 1 if loss.classifies == "each" else len(classes), classes

    def _metric(self) -> Metric:
        return METRICS["accuracy"]

    def _strata(self, y: HostArray) -> HostArray | None:
        return self._labels.classes[y] if self.n_outputs_ == 1 else None

    def _class_weight(self, incremental: bool) -> ClassWeight:
        if self.class_weight is None:
            return None
        if self._labels.multilabel:
            raise ValueError("class_weight is for one class a sample: use sample_weight instead")
        if not isinstance(self.class_weight, str):
            return self._labels.weights(self.class_weight)
        if incremental:
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not know how "
                "often each class occurs: give {label: weight}, such as sklearn.utils."
                "class_weight.compute_class_weight computes from all of y"
            )
        return "balanced"

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def partial_fit(
        self,
        X: RowsLike,
        y: RowsLike,
        sample_weight: RowsLike | None = None,
        classes: RowsLike | None = None,
    ) -> Self:
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

        Raises
        ------
        ValueError
            As of `fit`; with ``early_stopping`` or a checkpoint; a first call without ``classes``,
            or a later one with others.
        AttributeError
            The solver is 'lbfgs', which has no partial_fit.
        """
        labels = None if classes is None else np.unique(on_host(classes))
        if not hasattr(self, "_labels"):
            if labels is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._labels = Labels.of(on_host(y), labels)
        elif labels is not None and not np.array_equal(self._labels.classes, labels):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self._labels.classes!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: RowsLike) -> Rows:
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
        rows = self._input(X, "predict")
        return self._named(self.network_.predict(rows))

    def _named(self, chosen: Array) -> Rows:
        """The return value of `predict`, of positions of classes, or 0 and 1 for each label."""
        xp = array_namespace(chosen)
        if self._labels.multilabel:
            chosen = xp.astype(chosen, xp.__array_namespace_info__().default_dtypes()["integral"])
            return csr_matrix(chosen) if self._labels.sparse else chosen
        if self.classes_ is self._labels.classes:  # on the host
            chosen = on_host(chosen)
            xp = array_namespace(chosen)
        with self._home.active():  # of one class alone, the network knows two
            last = len(self._labels) - 1
            names: Array = xp.take(self.classes_, xp.minimum(chosen, last), axis=0)
        return names

    def predict_proba(self, X: RowsLike) -> Array:
        """The probability of each class, in the order of ``classes_``; or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            In the namespace of X.
        """
        rows = self._input(X, "predict_proba")
        p: Array = self.network_.predict_proba(rows)
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
        p = self.network_.predict_proba(rows)
        xp: Namespace = array_namespace(p)
        return xp.log(p)

    def score(self, X: RowsLike, y: RowsLike, sample_weight: RowsLike | None = None) -> float:
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
            The fraction of samples that are right, from 0 to 1.
        """
        predicted = on_host(self.predict(X))
        return float(accuracy_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
