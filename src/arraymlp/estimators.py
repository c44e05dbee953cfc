"""MLPClassifier and MLPRegressor: scikit-learn's interface over this package's training.

The parameters, attributes, warnings and numbers are those of scikit-learn's classes of the same
names: with the same ``random_state`` the initial weights, the split for early stopping and the
orders of the rows are drawn alike, so that both train the same network but for rounding. Here are
names and contract alone; what trains is `arraymlp.train`.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from math import inf, sqrt
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the estimators need scikit-learn: pip install 'arraymlp[sklearn]'"
    ) from error
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from arraymlp.activations import ACTIVATIONS, Activation
from arraymlp.activations import activation as find_activation
from arraymlp.backend import (
    Array,
    Backend,
    HostArray,
    array_namespace,
    backend_of,
    is_device_array,
    resolve,
)
from arraymlp.callback_tasks import CallbackSupportMixin, Tasks, with_callbacks
from arraymlp.convergence import Convergence
from arraymlp.data import load_data, with_class_weights
from arraymlp.dropout import Dropout
from arraymlp.estimator_file import load_estimator, save_estimator
from arraymlp.initializers import Initializer
from arraymlp.lbfgs import minimize
from arraymlp.losses import Loss, Quantile
from arraymlp.losses import loss as find_loss
from arraymlp.metrics import METRICS, OUTPUTS, Metric, Predictions
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import SGD, Adam, AdamW, Optimizer
from arraymlp.patience import EarlyStopping
from arraymlp.persistence import ModelFileError
from arraymlp.run import EpochEnd, NonFiniteLossError, Run
from arraymlp.settings import Settings
from arraymlp.stream import is_sparse
from arraymlp.training import train

NEVER = 2**31  # epochs: the core keeps the best weights, `Convergence` says when to stop
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
_FITTED = (
    "classes_",
    "_multilabel",
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
)
_ACTIVATIONS = {"logistic", *ACTIVATIONS}


def _on_host(values: Any) -> Any:
    """A device array's values on the host; anything else as it is."""
    return backend_of(values).to_numpy(values) if is_device_array(values) else values


def _home(X: Any) -> Backend:
    """The backend whose arrays X is of."""
    return backend_of(X) if is_device_array(X) else resolve("numpy")


class _Multilayer(CallbackSupportMixin, BaseEstimator, ABC):
    """What both estimators share; each says what its targets are."""

    _parameter_constraints: dict[str, list[Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(_ACTIVATIONS), tuple, list, Activation],
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [str, Backend, None],
        "device": "no_validation",
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "dropout": [Interval(Real, 0, 1, closed="left"), Dropout],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "callbacks": "no_validation",
    }

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: Any
    max_fun: int
    backend: str | Backend | None
    device: Any
    dtype: str
    dropout: float | Dropout
    gradient_clip: float | None
    callbacks: Any

    def _store(self, arguments: dict[str, Any]) -> None:
        """Keep the constructor's arguments, its ``locals()``, as they are."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What depends on the targets

    @abstractmethod
    def _encode(self, y: Any, *, first: bool, incremental: bool = False) -> HostArray:
        """Y, checked, as `arraymlp.train` takes it: positions of classes, or numbers."""

    @abstractmethod
    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        """For encoded y the loss, the number of outputs and what the network calls its classes."""

    @abstractmethod
    def _out_activation(self, loss: Loss) -> str:
        """What makes predictions of the last layer's sums, by scikit-learn's name."""

    @abstractmethod
    def _metric(self) -> Metric:
        """The figure that ``score`` gives, for early stopping."""

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Train on X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples. Never written.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, 0 and 1 in a column for each label, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.
        X_val, y_val : as X and y, default=None
            Samples to validate with, instead of a fraction of X: scores and losses on them are
            recorded, and early stopping watches the score.

        Returns:
        -------
        self
        """
        return self._fit(X, y, sample_weight, X_val=X_val, y_val=y_val)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        X_val: Any = None,
        y_val: Any = None,
        incremental: bool = False,
    ) -> Self:
        sizes, given = self._hidden_sizes(), (X, y)
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        place, X, y = self._checked(X, y, first=first, incremental=incremental)
        weight = self._checked_weight(sample_weight, X.shape[0])
        validation = self._checked_validation(X_val, y_val, incremental)
        random = self._random()
        loss, n_outputs, classes = self._outputs(y)
        if first:
            self._begin(place, X, [X.shape[1], *sizes, n_outputs], loss, classes, random)
        elif self.network_.sizes[1:-1] != tuple(sizes):
            raise ValueError(
                f"hidden_layer_sizes is {sizes} now, but the network that goes on has "
                f"{list(self.network_.sizes[1:-1])}: fit anew with warm_start=False"
            )
        self.n_outputs_ = n_outputs
        metadata = None if weight is None else {"sample_weight": sample_weight}
        tasks = Tasks(self, *given, metadata, 1 if incremental else int(self.max_iter))
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, y, weight, validation, place, tasks)
        else:
            self._fit_stochastic(X, y, weight, validation, place, random, tasks, incremental)
        tasks.finish()
        network, xp = self.network_, self.network_.backend.xp
        arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
        if not all(bool(xp.all(xp.isfinite(a))) for a in arrays):
            raise ValueError(NOT_FINITE)
        return self

    def _begin(
        self,
        place: Backend,
        X: Any,
        sizes: list[int],
        loss: Loss,
        classes: HostArray | None,
        random: np.random.RandomState,
    ) -> None:
        """A new network, with the initial weights that scikit-learn would draw."""
        n_hidden = len(sizes) - 2
        given = self.activation
        several = isinstance(given, list | tuple)
        names = list(given) if several else [given] * n_hidden
        functions = [find_activation("sigmoid" if f == "logistic" else f) for f in names]
        # Glorot, Bengio 2010, with scikit-learn's smaller bound for logistic units; the last layer
        # is drawn like the hidden one before it.
        drawn_for = iter([*functions, *functions[-1:]] if functions else [find_activation("relu")])

        def draw(_: np.random.Generator, n_in: int, n_out: int) -> tuple[HostArray, HostArray]:
            factor = 2.0 if next(drawn_for).name == "sigmoid" else 6.0
            bound = sqrt(factor / (n_in + n_out))
            weights = random.uniform(-bound, bound, (n_in, n_out))
            return weights, random.uniform(-bound, bound, (1, n_out))

        self.network_ = MultilayerPerceptron.create(
            sizes,
            activation=functions,
            loss=loss,
            initializer=Initializer("scikit-learn's", draw),
            classes=classes,
            backend=place,
            dtype=self._network_dtype(X, place),
        )
        self._run: Run | None = None
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._out_activation(loss)
        if self.solver != "lbfgs":
            scored = self.early_stopping
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.best_loss_ = None if scored else inf
            self.best_validation_score_ = -inf if scored else None
            self.validation_scores_: list[float] | None = [] if scored else None
            self.validation_loss_curve_: list[float] | None = [] if scored else None

    def _fit_stochastic(
        self,
        X: Any,
        y: HostArray,
        weight: HostArray | None,
        validation: tuple[Any, ...] | None,
        place: Backend,
        random: np.random.RandomState,
        tasks: Tasks,
        incremental: bool,
    ) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        before = self._run if incremental else None
        network = self.network_ if before is None else before
        if before is None:
            self._rate = float(self.learning_rate_init)
        # Drawn only where it is used: what scikit-learn draws next must not change.
        seed = None
        if before is None and self.dropout not in (0, Dropout()):
            seed = int(random.randint(2**31 - 1))
        if self.early_stopping and validation is None:
            X, y, weight, validation = self._split(X, y, weight, random)
        if validation is not None and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        n = int(X.shape[0])
        size = self._batch_size(n)
        class_weight = self._class_weight(incremental)
        epochs, metric = 1 if incremental else int(self.max_iter), self._metric()
        rules = Convergence(
            self,
            n,
            -(-n // size),
            0 if before is None else before.steps_done,
            self._columns(),
            None if validation is None else f"validation_{metric.name}",
            weight is not None or class_weight is not None,
        )

        def epoch_ended(event: EpochEnd) -> bool:
            return tasks.end(event.network, last=rules.stopped or event.number == epochs)

        best = self.best_validation_score_
        self.n_iter_ = 0
        try:
            run = train(
                X,
                y,
                network=network,
                sample_weight=weight,
                class_weight=class_weight,
                optimizer=self._optimizer(),
                learning_rate=self.learning_rate_init,
                schedule=rules,
                alpha=0.0 if self.solver == "adamw" else self.alpha,
                dropout=self.dropout,
                gradient_clip=inf if self.gradient_clip is None else self.gradient_clip,
                epochs=epochs,
                batch_size=size,
                validation=validation,
                early_stopping=self._keeping_best(metric),
                metrics=[] if validation is None else [metric],
                shuffle=_Orders(random) if self.shuffle else False,
                seed=seed,
                backend=place,
                callbacks=[rules, epoch_ended, *self._callbacks()],
            )
        except NonFiniteLossError as error:
            run = error.run
            if not (self.early_stopping and self.best_validation_score_ > -inf):
                raise ValueError(NOT_FINITE) from error
        if run.interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=2)
            if self.early_stopping and run.stopper is not None:
                run.stopper.restore(run)
        elif not incremental and not rules.stopped and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.history_, self.findings_ = run.history, run.findings
        if self.early_stopping and self.best_validation_score_ == best:
            return  # a warm start in which no epoch was as good as what it began with
        self._run, self.network_ = run.without_data(), run.network

    def _fit_lbfgs(
        self,
        X: Any,
        y: HostArray,
        weight: HostArray | None,
        validation: tuple[Any, ...] | None,
        place: Backend,
        tasks: Tasks,
    ) -> None:
        for name, given in (
            ("dropout", self.dropout not in (0, Dropout())),
            ("gradient_clip", self.gradient_clip is not None),
            ("X_val", validation is not None),
            ("callbacks", bool(self._callbacks())),
        ):
            if given:
                raise ValueError(f"{name} is for the stochastic solvers; solver='lbfgs' has none")
        network = self.network_.to(place)
        settings = Settings(dtype=network.dtype, class_weight=self._class_weight(False))
        data = load_data(X, y, weight, settings, network, place)
        data = with_class_weights(data, settings, place)

        def iterated(number: int, loss: float) -> bool:
            if self.verbose:
                print(f"Iteration {number}, loss = {loss:.8f}")
            return tasks.end(network, last=number == self.max_iter)

        found = minimize(
            network,
            data,
            alpha=self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            callback=iterated,
        )
        self.network_, self._run = network, None
        self.n_iter_ = min(found.n_iter, self.max_iter)
        self.loss_ = found.loss / self._columns() + found.penalty
        if found.status == 1:  # out of iterations or of passes
            warnings.warn(
                f"lbfgs failed to converge after {found.n_iter} iteration(s) (status="
                f"{found.status}):\n{found.message}\n\nIncrease the number of iterations to improve "
                f"the convergence (max_iter={self.max_iter}).\nYou might also want to scale the "
                "data as shown in:\n    https://scikit-learn.org/stable/modules/preprocessing.html",
                ConvergenceWarning,
                stacklevel=2,
            )

    # What is asked of the parameters

    def _hidden_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if isinstance(given, Iterable) else [given]
        if any(n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(n) for n in sizes]

    def _random(self) -> np.random.RandomState:
        if isinstance(self.random_state, np.random.Generator):
            return np.random.RandomState(self.random_state.bit_generator)
        return check_random_state(self.random_state)

    def _network_dtype(self, X: Any, place: Backend) -> str:
        if self.dtype != "auto":
            return str(self.dtype)
        if str(X.dtype).endswith("float32"):
            return "float32"
        try:
            place.dtype("float64")
        except ValueError:
            if str(X.dtype).endswith("float64"):
                raise
            return "float32"  # whole numbers, on a device without float64
        return "float64"

    def _batch_size(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=2,
            )
        return min(int(self.batch_size), n)

    def _optimizer(self) -> Optimizer:
        if self.solver == "sgd":
            return SGD(self.momentum, nesterov=self.nesterovs_momentum and self.momentum > 0)
        constants = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        if self.solver == "adamw":
            return AdamW(**constants, weight_decay=self.alpha)
        return Adam(**constants, epsilon_hat=True)

    def _keeping_best(self, metric: Metric) -> EarlyStopping | bool:
        if not self.early_stopping:
            return False
        return EarlyStopping(f"validation_{metric.name}", patience=NEVER, greater_is_better=True)

    def _class_weight(self, incremental: bool) -> Any:
        """By positions of classes, as `arraymlp.train` has it."""
        return None

    def _callbacks(self) -> list[Any]:
        given = self.callbacks
        return list(given) if isinstance(given, list | tuple) else [given] * (given is not None)

    def _columns(self) -> int:
        """What scikit-learn divides its loss by: it averages squared errors over the columns."""
        return self.n_outputs_ if self.network_.loss.name == "squared_error" else 1

    # Data

    def _checked(
        self, X: Any, y: Any, *, first: bool, incremental: bool = False
    ) -> tuple[Backend, Any, HostArray]:
        """Where to train, X there or on the host, and y on the host, encoded."""
        y = _on_host(y)
        if is_device_array(X):
            validate_data(self, X, reset=first, skip_check_array=True)
            if len(X.shape) != 2:
                raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead.")
            y = self._checked_y(y)
            check_consistent_length(np.empty(X.shape[0]), y)
        else:
            X, y = validate_data(
                self,
                X,
                y,
                reset=first,
                accept_sparse=["csr", "csc"],
                dtype=self._dtypes(),
                multi_output=True,
                y_numeric=isinstance(self, RegressorMixin),
            )
        if first:
            self._home = _home(X)
        else:
            self._require_home(X, "partial_fit" if incremental else "fit")
        place = self._place(X)
        if is_sparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return place, X, self._encode(y, first=first, incremental=incremental)

    def _checked_y(self, y: Any) -> HostArray:
        """Y beside an X that scikit-learn does not check, by scikit-learn's checks."""
        y = check_array(
            y, accept_sparse="csr", ensure_2d=False, dtype=None, input_name="y", estimator=self
        )
        return y.astype(np.float64) if isinstance(self, RegressorMixin) and y.dtype == object else y

    def _dtypes(self) -> Any:
        """The dtypes X may have on the host; another becomes the first."""
        return [np.float64, np.float32] if self.dtype == "auto" else np.dtype(self.dtype)

    def _place(self, X: Any) -> Backend:
        """Where to train: where X is, unless a backend is named."""
        if self.backend is None or self.backend == "auto":
            if is_device_array(X):
                return resolve("auto", self.device, like=X)
            return resolve("numpy" if self.backend is None else "auto", self.device)
        place = resolve(self.backend, self.device)
        if is_device_array(X):
            place.require(X, "X")
        return place

    def _checked_weight(self, sample_weight: Any, n: int) -> HostArray | None:
        if sample_weight is None:
            return None
        weight = _on_host(sample_weight)
        if isinstance(weight, Real):
            weight = np.full(n, float(weight))
        weight = check_array(
            weight, ensure_2d=False, dtype=self._dtypes(), input_name="sample_weight"
        )
        if weight.ndim != 1:
            raise ValueError("Sample weights must be 1D array or scalar")
        if weight.shape != (n,):
            raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n,)}!")
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return np.asarray(weight)

    def _checked_validation(self, X: Any, y: Any, incremental: bool) -> tuple[Any, ...] | None:
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError(
                f"{'X_val' if X is None else 'y_val'} is missing: give both or neither"
            )
        if self.validation_fraction != 0.1:
            raise ValueError(
                "X_val and validation_fraction both say what to validate with: give one of them "
                "(0.1 is the fraction's default)"
            )
        _, X, y = self._checked(X, y, first=False)
        return X, y

    def _split(
        self, X: Any, y: HostArray, weight: HostArray | None, random: np.random.RandomState
    ) -> tuple[Any, HostArray, HostArray | None, tuple[Any, ...]]:
        """Hold out a fraction of the rows, as scikit-learn does."""
        rows, held_out = train_test_split(
            np.arange(X.shape[0]),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=self._strata(y),
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )

        def taken(some: HostArray) -> tuple[Any, ...]:
            if is_device_array(X):
                place = backend_of(X)
                with place.active():
                    x = place.xp.take(X, place.asarray(some), axis=0)
            else:
                x = X[some]
            return (x, y[some]) if weight is None else (x, y[some], weight[some])

        kept = (*taken(rows), None)
        return kept[0], kept[1], kept[2], taken(held_out)

    def _strata(self, y: HostArray) -> HostArray | None:
        """What the split keeps the proportions of."""
        return None

    # Predicting

    def _input(self, X: Any, method: str) -> Any:
        """X checked, for the network."""
        check_is_fitted(self)
        if not is_device_array(X):
            self._require_home(X, method)
            return validate_data(
                self, X, reset=False, accept_sparse=["csr", "csc"], dtype=self._dtypes()
            )
        validate_data(self, X, reset=False, skip_check_array=True)
        self._require_home(X, method)
        return X

    def _require_home(self, X: Any, method: str) -> None:
        """A ValueError where X is of another namespace or device than in fit."""
        there = _home(X)
        if there != self._home:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and "
                f"the same device as those passed to fit(). Those were of {self._home}, these are "
                f"of {there}. to({there.name!r}, {there.device_name!r}) makes an estimator for them."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    @property
    def coefs_(self) -> list[Array]:
        """Weights (n_in, n_out) of each layer, of the namespace of X.

        Where the network is of that namespace, these are its arrays and no copies.
        """
        return [self._shown(layer.weights) for layer in self._fitted("coefs_").layers]

    @coefs_.setter
    def coefs_(self, arrays: list[Any]) -> None:
        for layer, weights in zip(self._fitted("coefs_").layers, arrays, strict=True):
            layer.weights = self._taken(weights, layer.weights)

    @property
    def intercepts_(self) -> list[Array]:
        """Bias (n_out,) of each layer, as `coefs_`."""
        return [self._shown(layer.bias)[0, :] for layer in self._fitted("intercepts_").layers]

    @intercepts_.setter
    def intercepts_(self, arrays: list[Any]) -> None:
        for layer, bias in zip(self._fitted("intercepts_").layers, arrays, strict=True):
            layer.bias = self._taken(bias, layer.bias)

    def _fitted(self, attribute: str) -> MultilayerPerceptron:
        if not hasattr(self, "network_"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {attribute!r} before it is fitted"
            )
        return self.network_

    def _shown(self, array: Array) -> Array:
        here = self.network_.backend
        return array if here == self._home else here.to_numpy(array)

    def _taken(self, values: Any, old: Array) -> Array:
        place = self.network_.backend
        array = place.asarray(values, self.network_.dtype, copy=True)
        return place.xp.reshape(array, old.shape)

    @property
    def backend_(self) -> Backend:
        """Where it was trained."""
        return self._fitted("backend_").backend

    def to(self, backend: str | Backend, device: Any = None) -> Self:
        """A copy that takes arrays of another backend, and computes there.

        Parameters
        ----------
        backend : str
            "numpy", "cupy", "torch", "jax".
        device : default=None
            The backend's device; None for its default.
        """
        check_is_fitted(self)
        there = resolve(backend, device, fallback=False)
        moved = self._twin()
        moved._home = there
        moved._move(there)
        return moved

    def _twin(self) -> Self:
        """Another estimator with the same attributes, none of them copied."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _move(self, there: Backend) -> None:
        """Bring the network and what is kept for going on to another backend."""
        if self._run is None:
            self.network_ = self.network_.to(there)
        else:
            self._run = self._run.to(there)
            self.network_ = self._run.network

    def __getstate__(self) -> dict[str, Any]:
        # Trained elsewhere on NumPy data, it opens where that backend is not.
        if hasattr(self, "network_") and self.network_.backend != self._home:
            twin = self._twin()
            twin._move(self._home)
            return twin.__getstate__()
        return dict(super().__getstate__())

    def save(self, path: Any) -> None:
        """Write the estimator to a model file: parameters, network, classes and feature names.

        It is a file that `arraymlp.load` opens too, as a network. What cannot be written (callbacks,
        a random state that is no number) is None in the loaded estimator, and its optimiser starts
        afresh.

        Parameters
        ----------
        path : str or path-like
            The file; one that exists is replaced.
        """
        check_is_fitted(self)
        fitted = {name: getattr(self, name) for name in _FITTED if hasattr(self, name)}
        parameters = {
            name: None if name in ("callbacks", "device") else value
            for name, value in self.get_params(deep=False).items()
        }
        save_estimator(path, type(self).__name__, self.network_, parameters, fitted)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read an estimator that `save` wrote, for NumPy data; `to` moves it on.

        Raises:
        ------
        ModelFileError
            The file is damaged, or not of such an estimator.
        """
        home = resolve("numpy")
        network, parameters, fitted = load_estimator(path, cls.__name__, home)
        unknown = (parameters.keys() - set(cls._get_param_names())) | (fitted.keys() - set(_FITTED))
        if unknown:
            raise ModelFileError(f"{path}: this version knows nothing of {sorted(unknown)}")
        loaded = cls(**parameters)
        loaded.__dict__.update(fitted, network_=network, _run=None, _home=home)
        return loaded

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


class _Orders:
    """The orders of the rows that scikit-learn draws: each shuffles the one before."""

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random
        self._order: HostArray | None = None

    def __call__(self, n: int, epoch: int) -> HostArray:
        drawn = np.arange(n)
        self._random.shuffle(drawn)
        self._order = drawn if self._order is None else self._order[drawn]
        return self._order


def _stochastic(estimator: _Multilayer) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


class MLPClassifier(ClassifierMixin, _Multilayer):
    """DOC"""

    _parameter_constraints = {
        **_Multilayer._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "loss": [StrOptions({"log_loss"}), Loss],
    }

    class_weight: Mapping[Any, float] | str | None
    loss: str | Loss

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

    def _encode(self, y: Any, *, first: bool, incremental: bool = False) -> HostArray:
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError("Multioutput target data is not supported with label binarization")
        if first and not incremental:
            self.classes_ = unique_labels(y)
            self._multilabel = kind == "multilabel-indicator"
        else:
            self._require_known(unique_labels(y), incremental)
        if self._multilabel:
            return np.asarray(y).astype(np.int64)
        return np.searchsorted(self.classes_, y)

    def _require_known(self, found: HostArray, incremental: bool) -> None:
        if self.warm_start and not incremental and set(found) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        if len(np.setdiff1d(found, self.classes_)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {found}."
            )

    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        n = len(self.classes_)
        many = n > 2 and not self._multilabel
        if isinstance(self.loss, str):
            loss = find_loss("softmax_cross_entropy" if many else "binary_cross_entropy")
        else:
            loss = self.loss
            fits = {"each": not many, "one": not self._multilabel, "no": False}
            if not fits[loss.classifies]:
                what = "several labels" if self._multilabel else f"{n} classes"
                raise ValueError(f"the loss {loss.name} cannot tell {what}")
        if self._multilabel:
            return loss, n, None
        classes = np.arange(max(n, 2))
        return loss, 1 if loss.classifies == "each" else len(classes), classes

    def _out_activation(self, loss: Loss) -> str:
        return "softmax" if loss.classifies == "one" else "logistic"

    def _metric(self) -> Metric:
        return METRICS["accuracy"]

    def _strata(self, y: HostArray) -> HostArray | None:
        return y if self.n_outputs_ == 1 else None

    def _class_weight(self, incremental: bool) -> Any:
        given = self.class_weight
        if given is None:
            return None
        if self._multilabel:
            raise ValueError("class_weight is for one class a sample: use sample_weight instead")
        if isinstance(given, str):
            if incremental:
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit: the counts of the "
                    "classes are not known. Pass the weights that sklearn.utils.class_weight."
                    "compute_class_weight gives, as a dictionary."
                )
            return given
        labels = self.classes_.tolist()
        unknown = [label for label in given if label not in labels]
        if unknown:
            raise ValueError(f"class_weight names {unknown}, but the classes are {labels[:20]}")
        return {labels.index(label): weight for label, weight in given.items()}

    @available_if(_stochastic)
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

        Returns:
        -------
        self
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            known = unique_labels(_on_host(classes))
            if not hasattr(self, "classes_"):
                self.classes_ = known
                self._multilabel = type_of_target(_on_host(y)) == "multilabel-indicator"
            elif not np.array_equal(self.classes_, known):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{self.classes_!r}"
                )
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """The most probable class of each sample, or 0 and 1 for each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            The samples, of the namespace and on the device of those in `fit`.

        Returns:
        -------
        y : array of shape (n_samples,) or (n_samples, n_classes)
            In the namespace of X, but strings are always a NumPy array.
        """
        X = self._input(X, "predict")
        chosen = self.network_.predict(X)
        if self._multilabel:
            xp = array_namespace(chosen)
            return xp.astype(chosen, self._integers(chosen))
        if is_device_array(chosen) and self.classes_.dtype.kind in "biuf":
            place = self._home
            with place.active():
                classes = place.asarray(self.classes_)
                last = len(self.classes_) - 1
                return place.xp.take(classes, place.xp.minimum(chosen, last), axis=0)
        return self.classes_[np.minimum(_on_host(chosen), len(self.classes_) - 1)]

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, in the order of `classes_`; or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns:
        -------
        p : array of shape (n_samples, n_classes)
            In the namespace of X.
        """
        return self.network_.predict_proba(self._input(X, "predict_proba"))

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`, which here never rounds to minus infinity.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns:
        -------
        log_p : array of shape (n_samples, n_classes)
            In the namespace of X.
        """
        s = self.network_.logits(self._input(X, "predict_log_proba"))
        xp, softplus = array_namespace(s), ACTIVATIONS["softplus"].function
        if self.network_.loss.classifies == "one":
            t = s - xp.max(s, axis=1, keepdims=True)
            return t - xp.log(xp.sum(xp.exp(t), axis=1, keepdims=True))
        log_p = -softplus(-s, xp)
        return log_p if self._multilabel else xp.concat([-softplus(s, xp), log_p], axis=1)

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

        Returns:
        -------
        score : float
        """
        found = _on_host(self.predict(X))
        return float(accuracy_score(_on_host(y), found, sample_weight=_on_host(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _has_quantiles(estimator: "MLPRegressor") -> bool:
    if not isinstance(find_loss(estimator.loss), Quantile):
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
    squared = find_loss("squared_error")
    return METRICS["r2"].function(Predictions(p.y, middle, p.weight, squared), xp)


class MLPRegressor(RegressorMixin, _Multilayer):
    """DOC"""

    _parameter_constraints = {
        **_Multilayer._parameter_constraints,
        "loss": [
            StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile"}),
            Loss,
        ],
    }

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

    def _encode(self, y: Any, *, first: bool, incremental: bool = False) -> HostArray:
        return np.asarray(y, dtype=np.float64)

    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        loss = find_loss(self.loss)
        if loss.classifies != "no":
            raise ValueError(f"the loss {loss.name} is for classes, and not for MLPRegressor")
        columns = y.shape[1] if y.ndim == 2 else 1
        return loss, columns * loss.outputs_per_target, None

    def _out_activation(self, loss: Loss) -> str:
        return "exp" if loss.name == "poisson" else "identity"

    def _metric(self) -> Metric:
        if find_loss(self.loss).outputs_per_target == 1:
            return METRICS["r2"]
        return Metric("r2", _r2_of_the_middle, True, (OUTPUTS,))

    @available_if(_stochastic)
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

        Returns:
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

        Returns:
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            In the namespace of X.
        """
        found = self.network_.predict(self._input(X, "predict"))
        loss = self.network_.loss
        return found if loss.outputs_per_target == 1 else found[..., _middle(loss)]

    @available_if(_has_quantiles)
    def predict_quantiles(self, X: Any) -> Any:
        """The quantiles of each target, ascending.

        Parameters
        ----------
        X : {array-like, sparse matrix, device array} of shape (n_samples, n_features)
            As for `predict`.

        Returns:
        -------
        q : array of shape (n_samples, n_levels) or (n_samples, n_targets, n_levels)
            In the order of the levels of the loss, in the namespace of X.
        """
        found = self.network_.predict(self._input(X, "predict_quantiles"))
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

        Returns:
        -------
        score : float
        """
        found = _on_host(self.predict(X))
        return float(r2_score(_on_host(y), found, sample_weight=_on_host(sample_weight)))
