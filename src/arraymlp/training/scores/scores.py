"""The figures of a model's predictions: those that suit what it predicts."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.registry import backend_of
from arraymlp.data.frames.values import is_missing
from arraymlp.nn.losses import Loss
from arraymlp.training.scores.classes import class_scores
from arraymlp.training.scores.labels import label_scores
from arraymlp.training.scores.numbers import number_scores, quantile_scores

NAMED = 10  # labels that a message lists


class Scores(Protocol):
    """The figures of predictions on N rows; ``print(scores)`` shows them.

    It is a `ClassScores`, `LabelScores`, `NumberScores` or `QuantileScores` of the modules here,
    with an attribute for each figure.
    """

    @property
    def n(self) -> int:
        """The number of rows."""

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; None for a figure that there is not."""


def scores_of(
    y: Any,
    output: HostArray,
    loss: Loss,
    classes: HostArray | None = None,
    targets: Sequence[str] | None = None,
) -> Scores:
    """The figures of one network's predictions, or of the mean of several.

    Args:
        y: the true labels (N,), 0 or 1 of each label (N, L), or numbers (N,) or (N, T).
        output: on the host: probabilities (N, C) or (N, L), or numbers as ``predict`` gives them.
        loss: of the network, which says what it predicts.
        classes: its classes; None for numbers and for several labels.
        targets: names of the labels or of the numbers; None for their positions.

    Raises:
        ValueError: other numbers of rows or columns, a value that is missing or not finite, or a
            label that the network does not know.
    """
    if classes is not None:
        return class_scores(_positions(y, len(output), classes), output, classes.tolist())
    several = loss.outputs_per_target > 1
    if loss.classifies == "no":  # axes of length 1 were dropped
        last = (loss.outputs_per_target,) if several else ()
        output = output.reshape(len(output), -1, *last)
    true = _numbers(y, output.shape[:2])
    names = tuple(targets or map(str, range(true.shape[1])))
    if loss.classifies == "each":
        if not np.isin(true, (0, 1)).all():
            raise ValueError("y must be 0 or 1 for each label")
        return label_scores(true, output, names)
    if several:
        return quantile_scores(true, output, _levels(loss, output.shape[2]), names)
    return number_scores(true, output, names, counts=loss.least_target == 0)


def _levels(loss: Loss, n: int) -> Sequence[float]:
    """The levels of a loss of quantiles, or positions of another's outputs."""
    levels: Sequence[float] = getattr(loss, "levels", range(n))
    return levels


def _positions(y: Any, n: int, classes: HostArray) -> HostArray:
    """Labels (N,) as positions in the classes, which are ascending integers or texts."""
    labels = _on_host(y)
    if labels.shape == (n, 1):
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise ValueError(f"y must be the labels of {n} rows, not of shape {labels.shape}")
    if labels.dtype.kind in "OfUTS":
        _require_present(labels)
    if classes.dtype.kind == "U":
        labels = np.asarray([*map(str, labels.tolist())])
    elif labels.dtype.kind not in "biuf":
        raise ValueError(f"y must be integers, as the classes are, not of dtype {labels.dtype}")
    values, positions = np.unique(labels, return_inverse=True)
    places = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
    unknown = classes[places] != values
    if unknown.any():
        row = int(np.argmax(unknown[positions]))
        shown = ", ".join(map(repr, classes.tolist()[:NAMED])) + ", ..." * (len(classes) > NAMED)
        raise ValueError(
            f"y has labels that the network does not know: row {row} has {labels[row].item()!r}; "
            f"it knows {shown}"
        )
    return np.asarray(places[positions])


def _numbers(y: Any, shape: tuple[int, ...]) -> HostArray:
    """Numbers (N, T), finite."""
    values = _on_host(y)
    if values.dtype.kind == "O":
        _require_present(values)
    if values.dtype.kind not in "biufO":
        raise ValueError(f"y must be numbers, not of dtype {values.dtype}")
    columns = values.astype(np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.shape != shape:
        raise ValueError(f"y must be of shape {shape}, not {columns.shape}")
    _require_present(columns)
    return columns


def _require_present(values: HostArray) -> None:
    """A ValueError where a value is missing, that is None or NaN, or infinite."""
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
    else:
        flat = values.ravel().tolist()
        bad = np.asarray([*map(is_missing, flat)], bool).reshape(values.shape)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"y has no value in {int(bad.sum())} of {len(bad)} rows, the first of them row {row}"
        )


def _on_host(y: Any) -> HostArray:
    return np.asarray(backend_of(y).to_numpy(y) if is_device_array(y) else y)


def evaluation_of(model: Any, X: Any, y: Any) -> Scores:
    """The figures of a network, a population (the mean of its members) or an ensemble.

    Args:
        model: with ``predict_proba`` or ``predict``.
        X: rows, as these take them.
        y: as for `scores_of`.

    Raises:
        ValueError: as of `scores_of`, or of ``model.predict``.
    """
    network = getattr(model, "networks", [model])[0]
    given = model.predict(X) if network.loss.classifies == "no" else model.predict_proba(X)
    output = _on_host(given)
    if network is model and network.members is not None:
        output = output.mean(axis=0)
    targets = getattr(network, "targets", None)
    return scores_of(y, output, network.loss, network.classes, targets)
