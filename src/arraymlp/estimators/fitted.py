"""An estimator after its fit: its network, moved, pickled, saved and shown.

The network lives where it was trained; what the user sees is of the namespace of X, the estimator's
home.
"""

from collections.abc import Sequence
from copy import copy
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from arraymlp._checks import Rule
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.diagnosis.findings import Finding
from arraymlp.estimators.files import load_estimator, save_estimator
from arraymlp.estimators.inputs import Rows, RowsLike, checked_input, home_of
from arraymlp.estimators.labels import FIELDS, Labels
from arraymlp.estimators.parameters import Parameters
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run
from arraymlp.training.schema import (
    ANY,
    COUNT,
    POSITIVE,
    REAL,
    TEXT,
    Form,
    ModelFileError,
    optional,
    require,
)
from arraymlp.training.tensor_file import naming

CURVE = Rule("numbers", lambda v: isinstance(v, list) and all(map(REAL.allows, v)))
FITTED: dict[str, Form] = {  # what a model file has, besides the network and the labels
    "n_features_in_": POSITIVE,
    "feature_names_in_?": Rule("names", lambda v: isinstance(v, np.ndarray) and v.dtype == object),
    "n_outputs_": POSITIVE,
    "n_layers_": POSITIVE,
    "out_activation_": TEXT,
    "n_iter_": COUNT,
    "t_": COUNT,
    "loss_": REAL,
    "loss_curve_?": CURVE,
    "best_loss_?": optional(REAL),
    "validation_scores_?": optional(CURVE),
    "validation_loss_curve_?": optional(CURVE),
    "best_validation_score_?": optional(REAL),
    "best_validation_loss_?": optional(REAL),
    "_no_improvement_count?": COUNT,
}


class AtHome(BaseEstimator):
    """An estimator that stays with the namespace and device of the X in ``fit``."""

    _home: Backend

    def _require_home(self, X: RowsLike, method: str) -> None:
        """A ValueError where X is of another namespace or device than in fit."""
        there = home_of(X)
        if there != self._home:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace "
                f"and the same device as those passed to fit(). Those were of {self._home}, these "
                f"are of {there}: to({there.name!r}, {there.device_name!r}) gives an estimator for "
                "them."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    def to(self, backend: str | Backend, device: object = None) -> Self:
        """A copy that takes arrays of another backend, and computes there.

        Parameters
        ----------
        backend : str
            "numpy", "cupy", "torch", "jax".
        device : object, default=None
            The backend's device; None for its default.

        Returns
        -------
        moved : estimator
            The copy; this one stays as it is.

        Raises
        ------
        BackendUnavailableError
            The backend cannot run here.
        """
        check_is_fitted(self)
        return self._moved(resolve(backend, device, fallback=False))

    def _moved(self, there: Backend) -> Self:
        """A copy on that backend."""
        raise NotImplementedError


class Fitted(Parameters, AtHome):
    """The fitted half of an estimator: its attributes, documented in the estimators."""

    classes_: Array | HostArray
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_validation_score_: float | None
    best_validation_loss_: float | None
    n_iter_: int
    t_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    network_: MultilayerPerceptron
    history_: History
    findings_: list[Finding]

    _labels: Labels  # of a classifier
    _run: Run | None  # what the solver goes on with; None after L-BFGS
    _rate: float  # the current learning rate
    _rate_of: tuple[str, float]  # the solver and first learning rate that `_rate` belongs to
    _interrupted: bool = False  # whether Ctrl-C or SIGTERM ended the last call
    _no_improvement_count: int  # epochs in a row, as in scikit-learn

    def _input(self, X: RowsLike, method: str) -> Rows:
        """X checked, for the network to predict on."""
        check_is_fitted(self)
        self._require_home(X, method)
        return checked_input(self, X, self._dtypes(self.network_.backend))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    @property
    def coefs_(self) -> list[Array]:
        """Weights (n_in, n_out) of each layer, of the namespace of X.

        Where the network is of that namespace, these are its arrays and no copies.
        """
        return [self._shown(layer.weights) for layer in self._fitted("coefs_").layers]

    @coefs_.setter
    def coefs_(self, arrays: Sequence[ArrayLike | Array]) -> None:
        for layer, weights in zip(self._fitted("coefs_").layers, arrays, strict=True):
            layer.weights = self._parameter(weights, layer.weights)

    @property
    def intercepts_(self) -> list[Array]:
        """Bias (n_out,) of each layer, as `coefs_`."""
        return [self._shown(layer.bias)[0, :] for layer in self._fitted("intercepts_").layers]

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[ArrayLike | Array]) -> None:
        for layer, bias in zip(self._fitted("intercepts_").layers, arrays, strict=True):
            layer.bias = self._parameter(bias, layer.bias)

    def _fitted(self, attribute: str) -> MultilayerPerceptron:
        """The network; an AttributeError before there is one."""
        if not hasattr(self, "network_"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {attribute!r} before it is fitted"
            )
        return self.network_

    def _shown(self, array: Array) -> Array | HostArray:
        """An array of the network, in the namespace of X."""
        here = self.network_.backend
        return array if here == self._home else here.to_numpy(array)

    def _parameter(self, values: ArrayLike | Array, old: Array) -> Array:
        """A copy of the values in the network's dtype and the shape of what they replace."""
        backend = self.network_.backend
        array = backend.asarray(values, self.network_.dtype, copy=True)
        return backend.xp.reshape(array, old.shape)

    @property
    def backend_(self) -> Backend:
        """The backend that it was trained on."""
        return self._fitted("backend_").backend

    def _moved(self, there: Backend) -> Self:
        """See `AtHome.to`."""
        moved = self._twin()
        moved._home = there
        moved._move(there)
        for name, value in vars(self).items():  # records of its own, which it may add to
            if isinstance(value, list | History):
                setattr(moved, name, copy(value))
        if hasattr(self, "_labels"):
            moved.classes_ = self._labels.on(there)
        return moved

    def _twin(self) -> Self:
        """Another estimator with the same attributes, none of them copied."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _move(self, there: Backend) -> None:
        """Bring the network, and what is kept for going on, to another backend."""
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

    def _require_parameters(self) -> None:
        """A ValueError where a parameter is none that ``fit`` would take."""
        self._validate_params()
        self._activations(len(self._hidden_sizes()))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the estimator to a model file: parameters, network, classes and feature names.

        It is a file that `arraymlp.load` opens too, as a network. In the estimator that is loaded,
        callbacks, checkpoint, device and a random state that is no number are None, and the
        optimiser starts afresh.

        Parameters
        ----------
        path : str or path-like
            The file; one that exists is replaced.

        Raises
        ------
        ValueError
            A parameter has no form in a file, such as a loss of your own, or is none that ``fit``
            would take.
        OSError
            The file cannot be written; nothing is left behind.
        """
        check_is_fitted(self)
        self._require_parameters()
        names = (name.removesuffix("?") for name in FITTED)
        fitted = {name: getattr(self, name) for name in names if hasattr(self, name)}
        if hasattr(self, "_labels"):
            fitted |= self._labels.to_file()
        # Of a session, and of a machine
        left_out = dict.fromkeys(("callbacks", "checkpoint", "device"))
        parameters = self.get_params(deep=False) | left_out
        save_estimator(path, type(self).__name__, self.network_, parameters, fitted)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read an estimator that ``save`` wrote, for NumPy data; `to` moves it on.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        loaded : estimator
            Fitted, on NumPy.

        Raises
        ------
        ModelFileError
            The file is damaged, or not of such an estimator.
        """
        home = resolve("numpy")
        network, parameters, fitted = load_estimator(path, cls.__name__, home)
        labels = {name: fitted.pop(name) for name in FIELDS if name in fitted}
        with naming(path):
            require(fitted, FITTED, "its estimator")
            known = {
                f"{name}?": ANY for name in cls._get_param_names()
            }  # a new one has its default
            require(parameters, known, "its estimator")
            loaded = cls(**parameters)
            try:
                loaded._require_parameters()
                _require_fit(network, fitted)
                if network.loss.classifies != "no" or labels:
                    fitted["_labels"] = Labels.from_file(labels)
                    fitted["_labels"].require_fit(network)
                    fitted["classes_"] = labels["classes"]
            except (TypeError, ValueError) as error:
                raise ModelFileError(f"its estimator does not fit its network: {error}") from error
        loaded.__dict__.update(fitted, network_=network, _run=None, _home=home)
        return loaded


def _require_fit(network: MultilayerPerceptron, fitted: dict[str, Any]) -> None:
    """A ValueError where the attributes of a file are of another network."""
    n, names = fitted["n_features_in_"], fitted.get("feature_names_in_")
    if n != network.sizes[0] or (names is not None and len(names) != n):
        raise ValueError(f"{n} features, named {names}, for {network.sizes[0]} inputs")
    layers, outputs = fitted["n_layers_"], fitted["n_outputs_"]
    if (layers, outputs) != (len(network.sizes), network.sizes[-1]):
        raise ValueError(f"{layers} layers and {outputs} outputs for {network}")
