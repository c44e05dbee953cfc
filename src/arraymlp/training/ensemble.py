"""Ensembles: the mean prediction of several networks, and how far they disagree.

The networks of a deep ensemble (Lakshminarayanan, Pritzel, Blundell 2017) differ in their initial
weights and minibatches. Its prediction is their mean; the spread over them tells how sure it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, Namespace, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of
from arraymlp.data.elsewhere.given import opened
from arraymlp.data.table_input import table_of, true_targets
from arraymlp.html.view import shown
from arraymlp.nn.losses import Loss
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.scores.scores import Scores, evaluation_of
from arraymlp.training.with_page import WithPage


class Ensemble(WithPage):
    """The mean of several networks' predictions, each of equal weight.

    Its members differ in initial weights and minibatches; the spread over them tells how sure the
    mean is (Lakshminarayanan, Pritzel, Blundell 2017). Networks alike in sizes, activations, kind
    of loss and dtype are stacked, and run as one. ``len(ensemble)`` is the number K of members.

    Attributes:
        networks: the stacks, each a population.

    Args:
        networks: each a network or a population, trained for the same targets, on one device.

    Raises:
        ValueError: there are none, or they predict different things.
    """

    def __init__(self, networks: Sequence[MultilayerPerceptron]) -> None:
        alone: list[MultilayerPerceptron] = []
        for network in networks:
            k = network.members
            alone += [network] if k is None else [network.member(i) for i in range(k)]
        if not alone:
            raise ValueError("an ensemble needs networks")
        first = alone[0]
        plain = [network for network in alone if network.encoding is None]
        features = next((network.features for network in plain if network.features), None)
        targets = next((network.targets for network in alone if network.targets), None)
        for network in alone[1:]:
            for what, a, b in (
                ("classes", first.classes, network.classes),
                ("kind of loss", first.loss.classifies, network.loss.classifies),
                ("outputs a target", *_per_target(first.loss, network.loss)),
                ("encoding", first.encoding is None, network.encoding is None),
                ("number of inputs", *_inputs(first, network)),
                ("number of outputs", first.sizes[-1], network.sizes[-1]),
                ("device", first.backend, network.backend),
                ("names of features", *_features(network, features)),
            ):
                if not np.array_equal(a, b) if what == "classes" else a != b:  # type: ignore[arg-type]
                    raise ValueError(f"the networks of an ensemble differ in {what}: {a}, {b}")
        self._classifies, self._classes = first.loss.classifies, first.classes
        alike: dict[tuple[object, ...], list[MultilayerPerceptron]] = {}
        encodings: list[object] = []
        for network in alone:
            activations = tuple(layer.activation for layer in network.layers)
            if network.encoding not in encodings:
                encodings.append(network.encoding)
            key = network.sizes, activations, type(network.loss), network.dtype
            alike.setdefault((*key, encodings.index(network.encoding)), []).append(network)
        stacks = [MultilayerPerceptron.stacked(stack) for stack in alike.values()]
        self.networks = [
            replace(stack, features=stack.features or features, targets=targets) for stack in stacks
        ]

    def __len__(self) -> int:
        return sum(network.members or 1 for network in self.networks)

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)} in {len(self.networks)} stacks: {self.networks}>"

    def _repr_html_(self) -> str | None:
        """The stacks, as notebooks show them."""
        from arraymlp.training.views.ensemble import ensemble_view

        return shown(lambda: ensemble_view(self))

    @property
    def backend(self) -> Backend:
        """The backend of all networks."""
        return self.networks[0].backend

    def member_probabilities(self, X: Any) -> Array:
        """Every member's `predict_proba`, (K, N, n_classes), stack by stack.

        Raises:
            ValueError: as of `predict_proba`.
        """
        X = self._table(X)
        return _joined([network.predict_proba(X) for network in self.networks])

    def member_predictions(self, X: Any) -> Array:
        """Every member's `predict`, stack by stack: (K, N), or (K, N, ...) with several targets."""
        X = self._table(X)
        return _joined([network.predict(X) for network in self.networks])

    def _table(self, X: Any) -> Any:
        """A table that each stack encodes; in memory it is read once."""
        return opened(X) if self.networks[0].encoding is None else table_of(X)

    def predict_proba(self, X: Any, *, return_std: bool = False) -> Any:
        """Mean probability of each class over the members, (N, n_classes).

        Args:
            X: (N, n_features), on the host or on the networks' device.
            return_std: also return the standard deviation over the members, of the same shape.

        Returns:
            The mean, or mean and standard deviation; arrays of X's own library.

        Raises:
            ValueError: the networks were trained for regression, or as in `predict` of a network.
        """
        return _mean_and_std(self.member_probabilities(X), return_std)

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Labels of the largest mean probability, (N,) (columns of 0 and 1 for multi-label).

        For regression the mean over the members, (N,) or (N, n_targets).

        Args:
            X: (N, n_features), on the host or on the networks' device.
            return_std: for regression, also return the standard deviation over the members.

        Returns:
            The prediction, or mean and standard deviation; arrays of X's own library.

        Raises:
            ValueError: as of `predict` of a network; ``return_std`` of a classifier.
        """
        if self._classifies == "no":
            return _mean_and_std(self.member_predictions(X), return_std)
        if return_std:
            raise ValueError("labels have no spread: predict_proba(X, return_std=True) has one")
        p = self.predict_proba(X)
        xp = np if not is_device_array(p) else self.backend.xp
        if self._classes is None:
            return xp.astype(p > 0.5, xp.int32)
        chosen = xp.argmax(p, axis=-1)
        if xp is np:
            return self._classes[np.asarray(chosen)]
        with self.backend.active():
            return xp.take(self.networks[0].device_classes(), chosen, axis=0)

    def evaluate(self, X: Any, y: Any = None) -> Scores:
        """How good the mean predictions for X are; see `MultilayerPerceptron.evaluate`."""
        return evaluation_of(self, X, true_targets(X, y, self.networks[0].targets))


def _joined(stacks: list[Array]) -> Array:
    """The members of all stacks, (K, ...)."""
    return stacks[0] if len(stacks) == 1 else _namespace(stacks[0]).concat(stacks, axis=0)


def _namespace(array: Array) -> Namespace:
    return backend_of(array).xp


def _mean_and_std(members: Array, return_std: bool) -> Any:
    """The mean over the members, (K, ...) to (...), and where asked for the deviation."""
    xp = _namespace(members)
    mean = xp.mean(members, axis=0)
    return (mean, xp.std(members, axis=0)) if return_std else mean


def _inputs(a: MultilayerPerceptron, b: MultilayerPerceptron) -> tuple[int, int]:
    """The numbers of inputs, which hang on the encoding where there is one."""
    return (0, 0) if a.encoding is not None else (a.sizes[0], b.sizes[0])


def _features(
    network: MultilayerPerceptron, names: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    return names, names if network.encoding is not None else network.features or names


def _per_target(*losses: Loss) -> list[int]:
    return [loss.outputs_per_target for loss in losses]
