"""What the diagnosis measures on a finished network: each thing once, and only when it is asked."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.data.data import class_positions, row_blocks
from arraymlp.data.inputs import Targets
from arraymlp.nn.losses import one_hot
from arraymlp.training.evaluation import evaluate
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run

ENOUGH_ROWS = 10  # of a class, to say how many of it are found


class Recalls(NamedTuple):
    """Of how many rows of each class the class was found.

    Attributes:
        part: which rows were asked, "training" or "validation".
        rows: of each class.
        found: of these, the rows that were given their class; a list a member.
    """

    part: str
    rows: list[float]
    found: list[Any]


class ModelChecks:
    """Figures of ``run.network`` as it is when the run is over; K of them for a population."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def part(self) -> str:
        """The rows a loss is best asked of: "validation" where there are any, else "training"."""
        return "training" if self.run.data.X_val is None else "validation"

    @property
    def weighted(self) -> bool:
        """Whether some training rows weigh more in the loss than others."""
        return self.run.data.y.loss_weight is not None

    def _rows(self, part: str) -> tuple[Any, Targets]:
        data = self.run.data
        if part == "training" or data.y_val is None:
            return data.X, data.y
        return data.X_val, data.y_val

    def _classes(self, part: str) -> HostArray:
        """The class of each row (N,), as its position."""
        found = class_positions(self._rows(part)[1], self.run.backend)
        assert found is not None  # asked of classifiers alone
        return found

    @cached_property
    def one_class_validation(self) -> bool:
        """Whether there are validation rows, and all of one class."""
        if self.run.network.classes is None or self.run.data.y_val is None:
            return False
        return bool(np.ptp(self._classes("validation")) == 0)

    @cached_property
    def frequencies(self) -> list[Any]:
        """The part of the training rows, by weight in the loss, that is of each class."""
        assert self.run.network.classes is not None
        n, members, y = len(self.run.network.classes), self.run.network.members, self.run.data.y
        classes = self._classes("training")
        weight = np.ones(len(classes))
        if y.loss_weight is not None:
            weight = self.run.backend.to_numpy(y.loss_weight).T
        each = weight if weight.ndim == 2 else weight[None]
        counts = np.stack([np.bincount(classes, w, n) for w in each])
        shares = counts / counts.sum(axis=1, keepdims=True)
        found: list[Any] = np.broadcast_to(shares, (members or 1, n)).tolist()
        return list(found[0]) if members is None else found

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
                each = one_hot(true, n, s.dtype, xp)  # (B, n)
                right = xp.astype(network.choices(s, xp) == true, s.dtype)  # (..., B)
                counts = [xp.sum(each, axis=-2), xp.sum(right[..., None] * each, axis=-2)]
                sums = [a + b for a, b in zip(sums, counts, strict=True)] if sums else counts
            rows, found = backend.fetch(sums)
        return Recalls(part, rows.tolist(), found.tolist())

    @cached_property
    def losses_if_larger(self) -> tuple[Any, Any]:
        """The loss as it is, and as it would be with all weights, not biases, a tenth larger."""
        (X, y), backend, window = self._rows(self.part), self.run.backend, self.run.settings.window
        with backend.active(), np.errstate(all="ignore"):
            larger = self.run.network.copy()
            for layer in larger.layers:
                layer.weights *= 1.1
            found = [evaluate(a, X, y, backend, (), window) for a in (self.run.network, larger)]
            now, then = backend.fetch([f.loss for f in found])
        return now.tolist(), then.tolist()

    @cached_property
    def weight_norms(self) -> list[tuple[Any, Any]]:
        """Each layer's Euclidean norm of W, as drawn and now; none of a network that was given."""
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
            (_norm(layer.weights, np).tolist(), now.tolist())
            for layer, now in zip(drawn.layers, norms, strict=True)
        ]


def _norm(w: Array, xp: Any) -> Any:
    return xp.sqrt(xp.sum(w * w, axis=(-2, -1)))
