"""What an estimator is once it is fitted: its network, moved, pickled, saved and shown.

The network lives where it was trained; what the user sees is of the namespace of X, the estimator's
home.
"""

from copy import copy
from dataclasses import fields
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.estimators.convergence import CURVES
from arraymlp.estimators.files import load_estimator, save_estimator
from arraymlp.estimators.inputs import Dtypes, checked_input, home_of
from arraymlp.estimators.labels import Labels
from arraymlp.training.files import ModelFileError
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run

FITTED = (  # what a model file has, besides the network
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
    *CURVES,
)


class AtHome(BaseEstimator):
    """What stays with the namespace and device of the X in ``fit``."""

    _home: Backend

    def _require_home(self, X: Any, method: str) -> None:
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


class Fitted(AtHome):
    """The fitted half of an estimator."""

    dtype: str
    network_: MultilayerPerceptron
    _run: Run | None  # what the solver goes on with; None after L-BFGS

    def _dtypes(self, backend: Backend) -> Dtypes:
        """The dtypes X may have on the host; another becomes the first."""
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        kinds = [np.float64, np.float32]
        return kinds if backend.has("float64") else kinds[::-1]

    def _input(self, X: Any, method: str) -> Any:
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
        backend = self.network_.backend
        array = backend.asarray(values, self.network_.dtype, copy=True)
        return backend.xp.reshape(array, old.shape)

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

    def save(self, path: Any) -> None:
        """Write the estimator to a model file: parameters, network, classes and feature names.

        It is a file that `arraymlp.load` opens too, as a network. In the estimator that is loaded,
        callbacks, device and a random state that is no number are None, and the optimiser starts
        afresh.

        Parameters
        ----------
        path : str or path-like
            The file; one that exists is replaced.
        """
        check_is_fitted(self)
        fitted = {name: getattr(self, name) for name in FITTED if hasattr(self, name)}
        labels: Labels | None = getattr(self, "_labels", None)
        if labels is not None:
            fitted |= vars(labels)
        left_out = dict.fromkeys(("callbacks", "device"))  # of a session, and of a machine
        parameters = self.get_params(deep=False) | left_out
        save_estimator(path, type(self).__name__, self.network_, parameters, fitted)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read an estimator that `save` wrote, for NumPy data; `to` moves it on.

        Raises
        ------
        ModelFileError
            The file is damaged, or not of such an estimator.
        """
        home = resolve("numpy")
        network, parameters, fitted = load_estimator(path, cls.__name__, home)
        names = [field.name for field in fields(Labels)]
        labels = {name: fitted.pop(name) for name in names if name in fitted}
        unknown = parameters.keys() - set(cls._get_param_names()) | fitted.keys() - set(FITTED)
        if unknown:
            raise ModelFileError(f"{path}: this version knows nothing of {sorted(unknown)}")
        try:
            _require_width(network, fitted)
            if network.loss.classifies != "no" or labels:
                fitted["_labels"] = Labels(**labels)
                fitted["_labels"].require_fit(network)
                fitted["classes_"] = labels["classes"]
        except (TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: its estimator does not fit its network: {error}"
            ) from error
        loaded = cls(**parameters)
        loaded.__dict__.update(fitted, network_=network, _run=None, _home=home)
        return loaded


def _require_width(network: MultilayerPerceptron, fitted: dict[str, Any]) -> None:
    """A ValueError where the features that a file speaks of are not as many as the inputs."""
    n, names = fitted.get("n_features_in_"), fitted.get("feature_names_in_")
    if n != network.sizes[0] or (names is not None and len(names) != n):
        raise ValueError(f"{n} features, named {names}, for {network.sizes[0]} inputs")
