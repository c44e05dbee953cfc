"""Figures of a finished network, each measured once, when the diagnosis first asks for it."""

from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from arraymlp.backends.array import Array, HostArray, Namespace
from arraymlp.data.data import class_positions, row_blocks
from arraymlp.data.magnitudes import Magnitudes, feature_magnitudes, target_magnitudes
from arraymlp.data.stream import Streamed
from arraymlp.data.targets import Targets
from arraymlp.nn.losses import one_hot
from arraymlp.training.evaluation import evaluate
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run

ENOUGH_ROWS = 10  # of a class, to judge how many of them are recalled

Figure: TypeAlias = float | list[float]  # of one network; of a population a list of K


class Recalls(NamedTuple):
    """How many rows of each class were given their class.

    Attributes:
        part: which rows were predicted, "training" or "validation".
        rows: rows of each class, (n_classes,).
        recalled: those of them that were given their class, (n_classes,); a list a member.
    """

    part: str
    rows: list[float]
    recalled: list[Any]


class ModelChecks:
    """Figures of ``run.network`` after the run's end; K of them for a population."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.data = run.required_data()

    @property
    def part(self) -> str:
        """The rows on which a loss says most: "validation" where there are any, else "training"."""
        return "training" if self.data.X_val is None else "validation"

    @property
    def weighted(self) -> bool:
        """True where some training rows weigh more in the loss than others."""
        return self.data.y.loss_weight is not None

    def _rows(self, part: str) -> tuple[Array | Streamed, Targets]:
        X_val, y_val = self.data.X_val, self.data.y_val
        if part == "training" or X_val is None or y_val is None:
            return self.data.X, self.data.y
        return X_val, y_val

    def _classes(self, part: str) -> HostArray:
        """The class of each row (N,), as its position; only for classifiers."""
        positions = class_positions(self._rows(part)[1], self.run.backend)
        assert positions is not None
        return positions

    @cached_property
    def one_class_validation(self) -> bool:
        """True where there are validation rows, and all are of one class."""
        if self.run.network.classes is None or self.data.y_val is None:
            return False
        return bool(np.ptp(self._classes("validation")) == 0)

    @cached_property
    def features(self) -> Magnitudes:
        """How large the training rows' features are, as the network is given them."""
        network = self.run.network  # with an encoding it has names of columns, not of features
        names = network.features if network.encoding is None else self.data.features
        return feature_magnitudes(self.data.X, self.run.backend, names)

    @cached_property
    def targets(self) -> Magnitudes | None:
        """How large the training targets are, as the loss is given them; None for classes."""
        return target_magnitudes(self.data.y, self.run.backend)

    @cached_property
    def frequencies(self) -> list[Any]:
        """Each class's fraction of the training rows, weighted as in the loss; a list a member."""
        assert self.run.network.classes is not None
        n, members, y = len(self.run.network.classes), self.run.network.members, self.data.y
        classes = self._classes("training")
        weight = np.ones(len(classes))
        if y.loss_weight is not None:
            weight = self.run.backend.to_numpy(y.loss_weight).T
        member_weights = weight if weight.ndim == 2 else weight[None]
        counts = np.stack([np.bincount(classes, w, n) for w in member_weights])
        fractions = counts / counts.sum(axis=1, keepdims=True)
        by_member: list[list[float]] = np.broadcast_to(fractions, (members or 1, n)).tolist()
        return list(by_member[0]) if members is None else by_member

    @cached_property
    def recalls(self) -> Recalls:
        """Of the validation rows if there are enough of each class, else of the training rows."""
        assert self.run.network.classes is not None
        n, part = len(self.run.network.classes), self.part
        if np.bincount(self._classes(part), minlength=n).min() < ENOUGH_ROWS:
            part = "training"
        (X, _), network, backend = self._rows(part), self.run.network, self.run.backend
        xp, window = backend.xp, self.run.settings.window
        positions = backend.asarray(self._classes(part), "int32")
        sums: list[Array] = []
        with backend.active(), np.errstate(all="ignore"):
            for block, x in row_blocks(X, network, window):
                s = network.forward(x, xp)[-1].z
                true = positions[block]
                indicator = one_hot(true, n, s.dtype, xp)  # (B, n)
                right = xp.astype(network.choices(s, xp) == true, s.dtype)  # (..., B)
                counts = [
                    xp.sum(indicator, axis=-2),
                    xp.sum(right[..., None] * indicator, axis=-2),
                ]
                sums = [a + b for a, b in zip(sums, counts, strict=True)] if sums else counts
            rows, recalled = backend.fetch(sums)
        return Recalls(part, rows.tolist(), recalled.tolist())

    @cached_property
    def losses_if_larger(self) -> tuple[Figure, Figure]:
        """The loss as it is, and as it would be with all weights, not biases, a tenth larger."""
        (X, y), backend, window = self._rows(self.part), self.run.backend, self.run.settings.window
        with backend.active(), np.errstate(all="ignore"):
            larger = self.run.network.copy()
            for layer in larger.layers:
                layer.weights *= 1.1
            networks = self.run.network, larger
            losses = [evaluate(network, X, y, backend, (), window).loss for network in networks]
            now, then = backend.fetch(losses)
        return now.tolist(), then.tolist()

    @cached_property
    def weight_norms(self) -> list[tuple[Figure, Figure]]:
        """Each layer's Euclidean norm of W, as drawn and now; [] for a network that was given."""
        network, settings = self.run.network, self.run.settings
        if settings.initializer is None or settings.seed is None:
            return []
        drawn = MultilayerPerceptron.create(
            network.sizes,
            activation=[layer.activation for layer in network.layers[:-1]],
            loss=network.loss,
            initializer=settings.initializer,
            seed=settings.seed,
        )
        backend = self.run.backend
        with backend.active(), np.errstate(all="ignore"):
            norms = backend.fetch([_norm(layer.weights, backend.xp) for layer in network.layers])
        return [
            (drawn.backend.to_numpy(_norm(layer.weights, drawn.backend.xp)).tolist(), now.tolist())
            for layer, now in zip(drawn.layers, norms, strict=True)
        ]


def _norm(w: Array, xp: Namespace) -> Array:
    return xp.sqrt(xp.sum(w * w, axis=(-2, -1)))
