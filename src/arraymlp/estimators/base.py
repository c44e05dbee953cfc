"""Fitting: what both estimators share, around one call of `arraymlp.train`.

With the same ``random_state`` the initial weights, the split for early stopping and the orders of
the rows are drawn as scikit-learn draws them, and every minibatch, penalty and rate is its own, so
that both train the same network but for rounding.
"""

from abc import abstractmethod
from math import sqrt
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import ClassWeight
from arraymlp.data.loading import load_data
from arraymlp.data.weights import with_class_weights
from arraymlp.estimators.fitting.convergence import CURVES
from arraymlp.estimators.fitting.lbfgs import minimize
from arraymlp.estimators.fitting.tasks import CallbackSupportMixin, Tasks, with_callbacks
from arraymlp.estimators.inputs import (
    Dtypes,
    Rows,
    RowsLike,
    Samples,
    backend_for,
    checked_pair,
    checked_weight,
    home_of,
)
from arraymlp.estimators.stochastic import StochasticFit, warn_not_converged
from arraymlp.nn.activations import Activation
from arraymlp.nn.initializers import Initializer
from arraymlp.nn.losses import Loss
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.settings import Settings


class BaseMLP(StochasticFit, CallbackSupportMixin):
    """What both estimators share; each says what its targets are."""

    # What depends on the targets

    _numeric: ClassVar[bool]  # whether they are numbers, and no labels

    @abstractmethod
    def _encode(self, y: Any, method: str, first: bool) -> HostArray:
        """The targets as `arraymlp.train` takes them: positions of classes, or numbers.

        Args:
            y: as `checked_pair` gives it.
            method: "fit", "partial_fit" or "fit(X_val=)".
            first: whether the network will be a new one.
        """

    @abstractmethod
    def _outputs(self, y: HostArray) -> tuple[Loss, int, HostArray | None]:
        """For encoded y the loss, the number of outputs, and what the network calls its classes."""

    def _class_weight(self, incremental: bool) -> ClassWeight:
        """Weights by positions of classes, as `arraymlp.train` has them."""
        return None

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(
        self,
        X: RowsLike,
        y: RowsLike,
        sample_weight: RowsLike | None = None,
        *,
        X_val: RowsLike | None = None,
        y_val: RowsLike | None = None,
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
        X_val : as X, default=None
            Samples to validate with, instead of a fraction of X: scores and losses on them are
            recorded, and early stopping watches the score.
        y_val : as y, default=None
            Their targets.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Parameters or data that cannot be trained with, or weights that are no longer finite.
        CheckpointError
            The checkpoint is of another fit, or damaged, or another process has it.
        OSError
            The checkpoint cannot be read, or not be written at the beginning.
        """
        return self._fit(X, y, sample_weight, X_val=X_val, y_val=y_val)

    def _fit(
        self,
        X: RowsLike,
        y: RowsLike,
        sample_weight: RowsLike | None,
        *,
        X_val: RowsLike | None = None,
        y_val: RowsLike | None = None,
        incremental: bool = False,
    ) -> Self:
        """The fit of `fit`, or where ``incremental`` of partial_fit."""
        hidden = self._hidden_sizes()
        activations = self._activations(len(hidden))
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.checkpoint is not None and incremental:
            raise ValueError("partial_fit does not support a checkpoint: it is one pass, and ends")
        self._require_repeatable()
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        backend = backend_for(X, self.backend, self.device)
        dtypes = self._dtypes(backend)
        method = "partial_fit" if incremental else "fit"
        rows, encoded = self._checked_pair(X, y, dtypes, method, first=first)
        weight = checked_weight(sample_weight, rows.shape[0], dtypes)
        validation = self._checked_validation(X_val, y_val, dtypes)
        self._require_solver(validation is not None)
        class_weight = self._class_weight(incremental)
        random = self._random()
        if first:
            self._begin(rows, encoded, backend, hidden, activations, random)
        else:
            self._require_same(rows, encoded, hidden, activations)
        metadata: dict[str, object] | None = (
            None if weight is None else {"sample_weight": sample_weight}
        )
        tasks = Tasks(self, X, y, metadata, 1 if incremental else int(self.max_iter))
        samples = Samples(rows, encoded, weight)
        if self.solver == "lbfgs":
            self._fit_lbfgs(samples, class_weight, backend, tasks)
        else:
            job = self._job(
                encoded,
                class_weight,
                weighted=weight is not None,
                validates=validation is not None,
                random=random,
                incremental=incremental,
            )
            self._fit_stochastic(job, samples, validation, backend, tasks)
        tasks.finish()
        self._require_finite()
        return self

    def _begin(
        self,
        X: Rows,
        y: HostArray,
        backend: Backend,
        hidden: list[int],
        activations: list[Activation],
        random: np.random.RandomState,
    ) -> None:
        """Make a new network for X and encoded y, with scikit-learn's initial weights."""
        loss, n_outputs, classes = self._outputs(y)
        sizes = [int(X.shape[1]), *hidden, n_outputs]
        # Glorot, Bengio 2010, with scikit-learn's smaller bound for logistic units. The last layer
        # is drawn like the hidden one before it, and where there is none, for the activation given.
        last = activations[-1:] or self._activations(1)
        drawn_for = iter([*activations, *last])

        def draw(_: np.random.Generator, n_in: int, n_out: int) -> tuple[HostArray, HostArray]:
            factor = 2.0 if next(drawn_for).name == "sigmoid" else 6.0
            bound = sqrt(factor / (n_in + n_out))
            weights = random.uniform(-bound, bound, (n_in, n_out))
            return weights, random.uniform(-bound, bound, (1, n_out))

        self.network_ = MultilayerPerceptron.create(
            sizes,
            activation=activations,
            loss=loss,
            initializer=Initializer("scikit-learn's", draw),
            classes=classes,
            backend=backend,
            dtype=self._network_dtype(X, backend),
        )
        self._run = None
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.n_outputs_ = n_outputs
        activation = {"one": "softmax", "each": "logistic", "no": "identity"}[loss.classifies]
        self.out_activation_ = "exp" if loss.name == "poisson" else activation
        for name in CURVES:
            self.__dict__.pop(name, None)  # `Convergence` begins them anew

    def _fit_lbfgs(
        self, samples: Samples, class_weight: ClassWeight, backend: Backend, tasks: Tasks
    ) -> None:
        """Train on all rows by L-BFGS."""
        network = self.network_.to(backend)
        dtype: Any = network.dtype
        settings = Settings(dtype=dtype, class_weight=class_weight)
        data = load_data(samples.X, samples.y, samples.weight, settings, network, backend)
        data = with_class_weights(data, settings, backend)
        columns = self._columns()

        def iterated(number: int, loss: float, penalty: float) -> bool:
            if self.verbose:
                print(f"Iteration {number}, loss = {loss / columns + penalty:.8f}")
            return tasks.end(network, last=number == self.max_iter)

        minimum = minimize(
            network,
            data,
            alpha=self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            callback=iterated,
        )
        self.network_, self._run, self._interrupted = network, None, False
        self.n_iter_ = min(minimum.n_iter, self.max_iter)
        self.loss_ = minimum.loss / columns + minimum.penalty
        if not minimum.ended:
            advice = (
                "\nIncrease the number of iterations to improve the convergence "
                f"(max_iter={self.max_iter})."
            )
            warn_not_converged(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status="
                f"{minimum.status}):\n{minimum.message}\n"
                f"{advice if self.n_iter_ == self.max_iter else ''}"
                "\nYou might also want to scale the data as shown in:\n"
                "    https://scikit-learn.org/stable/modules/preprocessing.html"
            )

    # Checks

    def _checked_pair(
        self, X: RowsLike, y: RowsLike, dtypes: Dtypes, method: str, *, first: bool = False
    ) -> tuple[Rows, HostArray]:
        """X, and y on the host, encoded; the first pair decides what the next ones must be like."""
        rows, targets = checked_pair(self, X, y, dtypes, numeric=self._numeric, reset=first)
        if first:
            self._home = home_of(rows)
        else:
            self._require_home(rows, method)
        return rows, self._encode(targets, method, first)

    def _checked_validation(
        self, X: RowsLike | None, y: RowsLike | None, dtypes: Dtypes
    ) -> Samples | None:
        """The samples given to validate with; None where there are none."""
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
        return Samples(*self._checked_pair(X, y, dtypes, "fit(X_val=)"))

    def _require_same(
        self, X: Rows, y: HostArray, hidden: list[int], activations: list[Activation]
    ) -> None:
        """A ValueError where parameters and y mean another network than the one that goes on."""
        network = self.network_
        loss, n_outputs, _ = self._outputs(y)
        if network.sizes[-1] != n_outputs:
            raise ValueError(
                f"y needs {n_outputs} outputs, but the network that goes on has {network.sizes[-1]}"
            )
        for name, now, then in (
            ("hidden_layer_sizes", hidden, list(network.sizes[1:-1])),
            (
                "activation",
                [activation.name for activation in activations],
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


def is_stochastic(estimator: BaseMLP) -> bool:
    """Return True where the solver has partial_fit; else an AttributeError that says so."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True
