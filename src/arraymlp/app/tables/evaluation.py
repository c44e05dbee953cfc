"""How good a model is on rows of a table, which are predicted some at a time."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.scores.scores import Scores, scores_of

Item = TypeVar("Item")
AT_ONCE = 64_000  # rows that are predicted together


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items in order; another thread makes the next one meanwhile."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "arraymlp-reader") as reader:
        coming = reader.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, iterator, None)
            yield item


def windows(X: Any) -> Iterator[Any]:
    """Rows X, some at a time."""
    for start in range(0, len(X), AT_ONCE):
        yield X[start : start + AT_ONCE]


def mean_outputs(ensemble: Ensemble, X: Any) -> HostArray:
    """The mean over the members: probabilities (N, C), or numbers (N, ...) of regression."""
    numbers = ensemble.networks[0].loss.classifies == "no"
    predict = ensemble.predict if numbers else ensemble.predict_proba
    return np.concatenate([np.asarray(predict(rows)) for rows in windows(X)])


def scores_on(
    parts: Iterable[tuple[Ensemble, Any, HostArray]],
    classes: HostArray | None,
    targets: Sequence[str],
) -> tuple[Scores, bool]:
    """The figures of a model, and whether it gives every row the same output.

    Args:
        parts: what predicts, rows, and their targets, some at a time.
        classes: what the classes stand for; None for numbers and several labels.
        targets: names of what is predicted.

    Raises:
        ValueError: rows or targets that are not the model's.
    """
    outputs, true, losses = [], [], []
    for ensemble, X, y in parts:
        outputs.append(mean_outputs(ensemble, X))
        true.append(y)
        losses.append(ensemble.networks[0].loss)
    output = np.concatenate(outputs)
    spread = np.ptp(output, axis=0)
    constant = len(output) > 1 and bool((spread <= 1e-6 * np.abs(output).max(axis=0)).all())
    return scores_of(np.concatenate(true), output, losses[0], classes, targets), constant
