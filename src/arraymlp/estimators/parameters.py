"""The parameters that both estimators have: their rules, and the settings that they stand for.

Names, rules and messages are those of scikit-learn's MLPClassifier and MLPRegressor, as far as
these have them.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from math import inf
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.estimators.inputs import Dtypes, Rows
from arraymlp.nn.activations import ACTIVATIONS, Activation, get_activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.steps.optimizers import SGD, Adam, AdamW, Optimizer
from arraymlp.training.callbacks import AnyCallback
from arraymlp.training.checkpoint import Checkpoint, as_checkpoint
from arraymlp.training.early_stopping import EarlyStopping

NEVER = 2**31  # epochs: the core keeps the best weights, `Convergence` says when to stop

Constraints: TypeAlias = dict[str, list[object] | str]  # of each parameter, as scikit-learn has it
HiddenSizes: TypeAlias = int | Sequence[int] | HostArray
Activations: TypeAlias = str | Activation | Sequence[str | Activation]
RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
Callbacks: TypeAlias = AnyCallback | Sequence[AnyCallback] | None
Checkpoints: TypeAlias = str | PathLike[str] | Checkpoint | None

CHECKPOINT: list[object] = [str, PathLike, Checkpoint, None]  # the rule for a ``checkpoint``


class Parameters:
    """What the constructors of both estimators are given, documented there."""

    _parameter_constraints: ClassVar[Constraints] = {
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
        "early_stopping": ["boolean", StrOptions({"loss"})],
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
        "checkpoint": CHECKPOINT,
    }

    hidden_layer_sizes: HiddenSizes
    activation: Activations
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: RandomState
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool | str
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    backend: str | Backend | None
    device: object
    dtype: str
    dropout: float | Dropout
    gradient_clip: float | None
    loss: str | Loss
    callbacks: Callbacks
    checkpoint: Checkpoints

    def _hidden_sizes(self) -> list[int]:
        """The widths of the hidden layers."""
        given = self.hidden_layer_sizes
        if isinstance(given, Mapping | Set):  # in no order, or no numbers
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {given!r}.")
        sizes = list(given) if isinstance(given, Iterable) else [given]
        if not all(isinstance(n, Integral) for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
        if any(n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(n) for n in sizes]

    def _activations(self, n: int) -> list[Activation]:
        """The activation of each of n hidden layers."""
        given: Any = self.activation
        names = list(given) if isinstance(given, list | tuple) else [given] * n
        if len(names) != n:
            raise ValueError(f"activation has {len(names)} names for {n} hidden layers")
        return [get_activation("sigmoid" if name == "logistic" else name) for name in names]

    def _random(self) -> np.random.RandomState:
        """What draws initial weights, split, orders and the seed of dropout."""
        if isinstance(self.random_state, np.random.Generator):
            return np.random.RandomState(self.random_state.bit_generator)
        random: np.random.RandomState = check_random_state(self.random_state)
        return random

    def _dtypes(self, backend: Backend) -> Dtypes:
        """The dtypes that X may have on the host; another becomes the first."""
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        return [np.float64, np.float32] if backend.has("float64") else [np.float32, np.float64]

    def _network_dtype(self, X: Rows, backend: Backend) -> str:
        """The dtype of the weights: for "auto" X's, but float64 for L-BFGS where there is one."""
        if self.dtype != "auto":
            return str(self.dtype)
        given = str(X.dtype).rpartition(".")[2]
        if self.solver != "lbfgs" and given in ("float32", "float64"):
            return given  # where the device has no float64, the core says so
        return "float64" if backend.has("float64") else "float32"

    def _batch_size(self, n: int) -> int:
        """The rows of a minibatch, of n rows to train on."""
        if isinstance(self.batch_size, str):  # "auto"
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=2,
            )
        return min(int(self.batch_size), n)

    def _optimizer(self) -> Optimizer:
        """The update rule of a stochastic solver."""
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

    @property
    def _drops(self) -> bool:
        """Whether there is dropout."""
        return self.dropout not in (0, Dropout())

    def _training_settings(self, metric: Metric) -> dict[str, Any]:
        """The settings of `arraymlp.train` that depend on the parameters alone.

        Args:
            metric: the score that early stopping watches, unless it watches the loss.
        """
        watched = "loss" if self.early_stopping == "loss" else metric.name
        stopping = EarlyStopping(
            f"validation_{watched}", patience=NEVER, greater_is_better=watched != "loss"
        )
        return {
            "optimizer": self._optimizer(),
            "learning_rate": self.learning_rate_init,
            "alpha": 0.0 if self.solver == "adamw" else self.alpha,
            "dropout": self.dropout,
            "gradient_clip": inf if self.gradient_clip is None else self.gradient_clip,
            "early_stopping": stopping if self.early_stopping else False,
        }

    def _callback_list(self) -> list[AnyCallback]:
        """The callbacks, in a list."""
        given: Any = self.callbacks
        if given is None:
            return []
        return list(given) if isinstance(given, list | tuple) else [given]

    def _require_solver(self, validates: bool) -> None:
        """A ValueError where something is given that L-BFGS has no use for.

        Args:
            validates: whether ``fit`` was given X_val.
        """
        for name, given in (
            ("dropout", self._drops),
            ("gradient_clip", self.gradient_clip is not None),
            ("X_val", validates),
            ("callbacks", bool(self._callback_list())),
            ("checkpoint", self.checkpoint is not None),
        ):
            if given and self.solver == "lbfgs":
                raise ValueError(f"{name} is for the stochastic solvers; solver='lbfgs' has none")

    def _require_repeatable(self) -> None:
        """A ValueError where there is a checkpoint, but no fit that would go on from it."""
        if self.checkpoint is not None:
            as_checkpoint(self.checkpoint)
            require_number(self.random_state, "random_state")


def require_number(random_state: object, name: str) -> None:
    """A ValueError where a random state draws something else in each call."""
    if not isinstance(random_state, Integral):
        raise ValueError(
            f"with a checkpoint {name} must be a number, not {random_state!r}: the call that goes "
            "on has to draw what the first one drew"
        )
