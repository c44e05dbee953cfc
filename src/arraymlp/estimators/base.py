"""What the estimators share: scikit-learn's parameters turned into `arraymlp.train`'s settings.

With the same ``random_state`` the initial weights, the split for early stopping and the orders of
the rows are drawn as scikit-learn draws them, and every minibatch, penalty and rate is its own, so
that both train the same network but for rounding.
"""

import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from math import inf, sqrt
from numbers import Integral, Real
from typing import Any, ClassVar, Self, cast

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.loading import load_data
from arraymlp.data.weights import with_class_weights
from arraymlp.estimators.convergence import CURVES, Convergence
from arraymlp.estimators.fitted import Fitted
from arraymlp.estimators.inputs import (
    Dtypes,
    backend_for,
    checked_pair,
    checked_weight,
    home_of,
    split,
    taken,
)
from arraymlp.estimators.lbfgs import minimize
from arraymlp.estimators.tasks import CallbackSupportMixin, Tasks, with_callbacks
from arraymlp.nn.activations import ACTIVATIONS, Activation, get_activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.initializers import Initializer
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.steps.optimizers import SGD, Adam, AdamW, Optimizer
from arraymlp.training.callbacks import EpochEnd
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import NonFiniteLossError, Run
from arraymlp.training.settings import Settings
from arraymlp.training.train_function import train

NEVER = 2**31  # epochs: the core keeps the best weights, `Convergence` says when to stop
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class BaseMLP(Fitted, CallbackSupportMixin, ABC):
    """What both estimators share; each says what its targets are."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *ACTIVATIONS}), tuple, list, Activation],
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

    _rate_of: tuple[str, float]  # the solver and first learning rate that `_rate` goes back to
    _numeric: ClassVar[bool]  # whether they are numbers, and no labels

    @abstractmethod
    def _encode(self, y: Any, method: str, first: bool) -> HostArray:
        """The targets as `arraymlp.train` takes them, positions of classes or numbers."""

    @abstractmethod
    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        """For encoded y the loss, the number of outputs, and what the network calls its classes."""

    @abstractmethod
    def _metric(self) -> Metric:
        """The figure that ``score`` gives, for early stopping."""

    def _strata(self, y: HostArray) -> HostArray | None:
        """What a split for early stopping keeps the proportions of."""
        return None

    def _class_weight(self, incremental: bool) -> Any:
        """Weights by positions of classes, as `arraymlp.train` has them."""
        return None

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

        Returns
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
        hidden, given = self._hidden_sizes(), (X, y)
        functions = self._functions(len(hidden))
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        backend = backend_for(X, self.backend, self.device)
        dtypes = self._dtypes(backend)
        method = "partial_fit" if incremental else "fit"
        X, y = self._checked_pair(X, y, dtypes, method, first=first)
        weight = checked_weight(sample_weight, X.shape[0], dtypes)
        validation = self._checked_validation(X_val, y_val, dtypes)
        self._require_solver(validation)
        class_weight = self._class_weight(incremental)
        random = self._random()
        loss, n_outputs, classes = self._outputs(y)
        sizes = [int(X.shape[1]), *hidden, n_outputs]
        if first:
            dtype = self._network_dtype(X, backend)
            self._begin(backend, dtype, sizes, functions, loss, classes, random)
        else:
            self._require_same(sizes, functions, loss)
        self.n_outputs_ = n_outputs
        metadata = None if weight is None else {"sample_weight": sample_weight}
        tasks = Tasks(self, *given, metadata, 1 if incremental else int(self.max_iter))
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, y, weight, class_weight, backend, tasks)
        else:
            rows = X, y, weight
            self._fit_stochastic(
                rows, class_weight, validation, backend, random, tasks, incremental
            )
        tasks.finish()
        require_finite(self.network_)
        return self

    def _begin(
        self,
        backend: Backend,
        dtype: str,
        sizes: list[int],
        functions: list[Activation],
        loss: Loss,
        classes: HostArray | None,
        random: np.random.RandomState,
    ) -> None:
        """A new network, with the initial weights that scikit-learn would draw."""
        # Glorot, Bengio 2010, with scikit-learn's smaller bound for logistic units. The last layer
        # is drawn like the hidden one before it, and where there is none, for the activation given.
        last = functions[-1:] or self._functions(1)
        drawn_for = iter([*functions, *last])

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
            backend=backend,
            dtype=dtype,
        )
        self._run: Run | None = None
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        outputs = {"one": "softmax", "each": "logistic", "no": "identity"}
        self.out_activation_ = "exp" if loss.name == "poisson" else outputs[loss.classifies]
        for name in CURVES:
            self.__dict__.pop(name, None)  # `Convergence` begins them anew

    def _prepared(
        self,
        n: int,
        y: HostArray,
        class_weight: Any,
        weighted: bool,
        external: bool,
        random: np.random.RandomState,
        incremental: bool,
    ) -> "Job":
        """What a stochastic solver is to do, for n rows with targets y.

        Args:
            n: how many rows.
            y: their encoded targets.
            class_weight: weights by position.
            weighted: whether samples have weights.
            external: whether there are rows to validate on besides.
            random: draws the split for early stopping and the orders.
            incremental: of partial_fit.
        """
        before = self._run if incremental else None
        asked_for = (self.solver, self.learning_rate_init)
        if before is None or asked_for != self._rate_of:
            self._rate, self._rate_of = float(self.learning_rate_init), asked_for
        seed = None
        if self.dropout not in (0, Dropout()) and (before is None or before.settings.seed is None):
            seed = int(random.randint(2**31 - 1))  # scikit-learn draws nothing here
        rows = held_out = None
        if self.early_stopping and not external:
            rows, held_out = split(n, self.validation_fraction, self._strata(y), random)
            n = len(rows)
        size, metric = self._batch_size(n), self._metric()
        validates = external or held_out is not None
        epochs = 1 if incremental else int(self.max_iter)
        weighted = weighted or class_weight is not None
        rules = Convergence(
            self,
            rows=n,
            steps=-(-n // size),
            done=0 if before is None else before.steps_done,
            columns=self._columns(),
            monitor=f"validation_{metric.name}" if validates else None,
            weighted=weighted,
        )
        settings = {
            "class_weight": class_weight,
            "optimizer": self._update_rule(),
            "learning_rate": self.learning_rate_init,
            "schedule": rules,
            "alpha": 0.0 if self.solver == "adamw" else self.alpha,
            "dropout": self.dropout,
            "gradient_clip": inf if self.gradient_clip is None else self.gradient_clip,
            "epochs": epochs,
            "batch_size": size,
            "early_stopping": self._keeping_best(metric),
            "metrics": [metric] if validates else [],
            "shuffle": Orders(random) if self.shuffle else False,
            "seed": seed,
        }
        best, self.n_iter_ = self.best_validation_score_, 0
        return Job(settings, rules, rows, held_out, before, best, weighted, incremental)

    def _concluded(
        self,
        job: "Job",
        network: MultilayerPerceptron,
        history: History,
        *,
        failure: str = "",
        interrupted: bool = False,
        run: Run | None = None,
    ) -> None:
        """Take over what the training of a job gave.

        Args:
            job: as prepared.
            network: with the weights of the best epoch, under early stopping.
            history: of the run, earlier calls included.
            failure: why there is no finite loss any more.
            interrupted: by Ctrl-C.
            run: to go on with; None to begin the optimiser's state afresh.

        Raises:
            ValueError: the training failed, and there is no earlier best epoch.
        """
        none_better = self.best_validation_score_ == job.best
        if failure and (not self.early_stopping or none_better):
            raise ValueError(failure if _is_finite(network) else NOT_FINITE)
        epochs = job.settings["epochs"]
        if failure:
            self._warn_not_converged(f"{failure} The weights of the best epoch were kept.")
        elif interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        elif not job.incremental and not job.rules.stopped and self.n_iter_ == epochs:
            self._warn_not_converged(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet."
            )
        if job.before is None:
            self.history_ = copy(history)
        else:
            self.history_.records += history.records[len(job.before.history) :]
        if self.early_stopping and none_better:
            return  # a warm start in which no epoch was as good as what it began with
        self._run, self.network_ = None if run is None else run.without_data(), network

    def _fit_stochastic(
        self,
        rows: tuple[Any, ...],
        class_weight: Any,
        validation: tuple[Any, ...] | None,
        backend: Backend,
        random: np.random.RandomState,
        tasks: Tasks,
        incremental: bool,
    ) -> None:
        X, y, weight = rows
        job = self._prepared(
            int(X.shape[0]),
            y,
            class_weight,
            weight is not None,
            validation is not None,
            random,
            incremental,
        )
        if job.rows is not None:
            validation = taken(X, y, weight, job.held_out)
            X, y, weight = taken(X, y, weight, job.rows)
        epochs = job.settings["epochs"]

        def epoch_ended(event: EpochEnd) -> bool:
            return tasks.end(event.network, last=job.rules.stopped or event.number == epochs)

        failure = ""
        try:
            run = train(
                X,
                y,
                network=self.network_ if job.before is None else job.before,
                sample_weight=weight,
                validation=validation,
                backend=backend,
                callbacks=[job.rules, epoch_ended, *self._callbacks()],
                **job.settings,
            )
        except NonFiniteLossError as error:
            run, failure = error.run, str(error)
        if run.interrupted:
            run.restore_best()
        self.findings_ = run.findings
        self._concluded(
            job,
            run.network,
            run.history,
            failure=failure,
            interrupted=run.interrupted,
            run=run,
        )

    def _fit_lbfgs(
        self,
        X: Any,
        y: HostArray,
        weight: HostArray | None,
        class_weight: Any,
        backend: Backend,
        tasks: Tasks,
    ) -> None:
        network = self.network_.to(backend)
        settings = Settings(dtype=cast(Any, network.dtype), class_weight=class_weight)
        data = load_data(X, y, weight, settings, network, backend)
        data = with_class_weights(data, settings, backend)
        columns = self._columns()

        def iterated(number: int, loss: float, penalty: float) -> bool:
            if self.verbose:
                print(f"Iteration {number}, loss = {loss / columns + penalty:.8f}")
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
        self.loss_ = found.loss / columns + found.penalty
        if not found.ended:
            advice = (
                "\nIncrease the number of iterations to improve the convergence "
                f"(max_iter={self.max_iter})."
            )
            self._warn_not_converged(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status="
                f"{found.status}):\n{found.message}\n"
                f"{advice if self.n_iter_ == self.max_iter else ''}"
                "\nYou might also want to scale the data as shown in:\n"
                "    https://scikit-learn.org/stable/modules/preprocessing.html"
            )

    def _warn_not_converged(self, message: str) -> None:
        warnings.warn(message, ConvergenceWarning, stacklevel=2)

    # What is asked of the parameters

    def _require_solver(self, validation: tuple[Any, ...] | None) -> None:
        """A ValueError where a parameter is set that lbfgs has no use for."""
        for name, given in (
            ("dropout", self.dropout not in (0, Dropout())),
            ("gradient_clip", self.gradient_clip is not None),
            ("X_val", validation is not None),
            ("callbacks", bool(self._callbacks())),
        ):
            if given and self.solver == "lbfgs":
                raise ValueError(f"{name} is for the stochastic solvers; solver='lbfgs' has none")

    def _require_same(self, sizes: list[int], functions: list[Activation], loss: Loss) -> None:
        """A ValueError where what goes on is another network than the parameters and y mean."""
        network = self.network_
        if network.sizes[-1] != sizes[-1]:
            raise ValueError(
                f"y needs {sizes[-1]} outputs, but the network that goes on has {network.sizes[-1]}"
            )
        for name, now, then in (
            ("hidden_layer_sizes", sizes[1:-1], list(network.sizes[1:-1])),
            (
                "activation",
                [f.name for f in functions],
                [layer.activation.name for layer in network.layers[:-1]],
            ),
            ("loss", loss, network.loss),
            ("dtype", network.dtype if self.dtype == "auto" else self.dtype, network.dtype),
        ):
            if now != then:
                raise ValueError(
                    f"{name} is {now} now, but that of the network that goes on is {then}: fit "
                    "anew, without warm_start"
                )

    def _functions(self, n: int) -> list[Activation]:
        """The activation of each of n hidden layers."""
        given = self.activation
        several = list(given) if isinstance(given, list | tuple) else [given] * n
        if len(several) != n:
            raise ValueError(f"activation has {len(several)} names for {n} hidden layers")
        return [get_activation("sigmoid" if f == "logistic" else f) for f in several]

    def _hidden_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if isinstance(given, Iterable) else [given]
        if not all(isinstance(n, Integral) for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
        if any(n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(n) for n in sizes]

    def _random(self) -> np.random.RandomState:
        if isinstance(self.random_state, np.random.Generator):
            return np.random.RandomState(self.random_state.bit_generator)
        random: np.random.RandomState = check_random_state(self.random_state)
        return random

    def _network_dtype(self, X: Any, backend: Backend) -> str:
        """That of the weights: "auto" is X's, but for L-BFGS float64 where the device has it."""
        if self.dtype != "auto":
            return str(self.dtype)
        given = str(X.dtype).rpartition(".")[2]
        if self.solver != "lbfgs" and given in ("float32", "float64"):
            return given  # where the device has no float64, the core says so
        return "float64" if backend.has("float64") else "float32"

    def _batch_size(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=2,
            )
        return min(int(self.batch_size), n)

    def _update_rule(self) -> Optimizer:
        if self.solver == "sgd":
            momentum = min(self.momentum, 1 - 2**-53)  # scikit-learn allows 1, SGD does not
            return SGD(momentum, nesterov=self.nesterovs_momentum and momentum > 0)
        constants: dict[str, Any] = {
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "epsilon": self.epsilon,
        }
        if self.solver == "adamw":
            return AdamW(**constants, weight_decay=self.alpha)
        return Adam(**constants, epsilon_hat=True)

    def _keeping_best(self, metric: Metric) -> EarlyStopping | bool:
        if not self.early_stopping:
            return False
        return EarlyStopping(f"validation_{metric.name}", patience=NEVER, greater_is_better=True)

    def _callbacks(self) -> list[Any]:
        given = self.callbacks
        return list(given) if isinstance(given, list | tuple) else [given] * (given is not None)

    def _columns(self) -> int:
        """What scikit-learn divides its loss by: it averages squared errors over the columns."""
        return self.n_outputs_ if self.network_.loss.name == "squared_error" else 1

    # Data

    def _checked_pair(
        self, X: Any, y: Any, dtypes: Dtypes, method: str, *, first: bool = False
    ) -> tuple[Any, HostArray]:
        """X, and y on the host, encoded; the first pair decides what the next ones must be like."""
        X, y = checked_pair(self, X, y, dtypes, numeric=self._numeric, reset=first)
        if first:
            self._home = home_of(X)
        else:
            self._require_home(X, method)
        return X, self._encode(y, method, first)

    def _checked_validation(self, X: Any, y: Any, dtypes: Dtypes) -> tuple[Any, ...] | None:
        if X is None and y is None:
            return None
        if X is None or y is None:
            missing = "X_val" if X is None else "y_val"
            raise ValueError(f"{missing} is missing: give X_val and y_val, or neither")
        if self.validation_fraction != 0.1:
            raise ValueError(
                "X_val and validation_fraction both say what to validate with: give one of them "
                "(0.1 is the fraction's default)"
            )
        return self._checked_pair(X, y, dtypes, "fit(X_val=)")


def _is_finite(network: MultilayerPerceptron) -> bool:
    """Whether all weights and biases are finite numbers."""
    xp = network.backend.xp
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return bool(xp.all(xp.stack([xp.all(xp.isfinite(a)) for a in arrays])))


def require_finite(network: MultilayerPerceptron) -> None:
    """A ValueError, scikit-learn's, where a weight is NaN or infinite."""
    if not _is_finite(network):
        raise ValueError(NOT_FINITE)


class Orders:
    """The orders of the rows that scikit-learn draws: each shuffles the one before."""

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random
        self._order: HostArray | None = None

    def state(self) -> bytes:
        """What says which orders will come."""
        return pickle.dumps((self._random, self._order))

    def __call__(self, n: int, epoch: int) -> HostArray:
        """The next order of n rows; epochs are to be asked for one after another."""
        drawn = np.arange(n)
        self._random.shuffle(drawn)
        self._order = drawn if self._order is None else self._order[drawn]
        return self._order


@dataclass(eq=False)
class Job:
    """What a stochastic solver is to do.

    Attributes:
        settings: of `arraymlp.train`.
        rules: when to stop, and what is reported.
        rows: the rows to train on; None for all.
        held_out: the rows to validate on, for early stopping.
        before: the run to go on with.
        best: the best validation score before.
        weighted: whether samples or classes have weights.
        incremental: whether it is one of several calls of partial_fit.
    """

    settings: dict[str, Any]
    rules: Convergence
    rows: HostArray | None
    held_out: HostArray | None
    before: Run | None
    best: float | None
    weighted: bool
    incremental: bool = False


def stochastic(estimator: BaseMLP) -> bool:
    """Whether the solver has partial_fit; else an AttributeError that says so."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True
