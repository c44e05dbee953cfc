"""Predictions as columns of a table, with names, window by window."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from arraymlp.app.tables.evaluation import windows
from arraymlp.app.tables.models import Model
from arraymlp.data.frames.frame import Column, Frame, Texts

SPREAD = "spread"  # of the members' predictions


def column_names(model: Model, *, proba: bool, spread: bool) -> tuple[str, ...]:
    """The names of the columns of predictions.

    The target's name; of probabilities the classes'; of quantiles the target's and their levels.

    Raises:
        ValueError: probabilities of numbers, or the spread of classes without their probabilities.
    """
    numbers = model.network.loss.classifies == "no"
    if proba and numbers:
        raise ValueError(f"--proba: {model.path} predicts numbers, not classes")
    if spread and not (proba or numbers):
        raise ValueError("--spread is of probabilities or numbers: give --proba, too")
    if spread and len(model.ensemble) == 1:
        raise ValueError(f"--spread is over members, and {model.path} has one network")
    names = model.targets
    if proba and model.labels is not None:
        names = tuple(map(str, model.labels.tolist()))
    levels = model.network.loss.outputs_per_target
    if numbers and levels > 1:
        each = getattr(model.network.loss, "levels", range(levels))
        names = tuple(f"{name} {level:g}" for name in names for level in each)
    return (*names, *(f"{name} {SPREAD}" for name in names)) if spread else names


def predictions(model: Model, X: Any, *, proba: bool, spread: bool) -> Iterator[Frame]:
    """The predictions for rows X, some at a time, with the columns of `column_names`."""
    names = column_names(model, proba=proba, spread=spread)
    for rows in windows(X):
        yield Frame(names, tuple(_columns(model, rows, proba=proba, spread=spread)))


def _columns(model: Model, X: Any, *, proba: bool, spread: bool) -> list[Column]:
    numbers = model.network.loss.classifies == "no"
    predict = model.ensemble.predict if numbers else model.ensemble.predict_proba
    given = predict(X, return_std=True) if spread else (predict(X),)
    if numbers or proba:
        both = [np.asarray(a).reshape(len(a), -1) for a in given]
        return [column for part in both for column in part.T]
    (p,) = map(np.asarray, given)
    if model.labels is None:
        return list((p > 0.5).astype(np.int8).T)
    chosen = p.argmax(axis=1)
    if model.has_texts:
        return [Texts(chosen.astype(np.int32), tuple(model.labels.tolist()))]
    return [model.labels[chosen]]
