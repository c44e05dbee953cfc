"""Losses: their base class, the built-in ones, and the look-up by name."""

from arraymlp.nn.losses import (
    LOSSES,
    AbsoluteError,
    BinaryCrossEntropy,
    CappedBinaryCrossEntropy,
    CappedSoftmaxCrossEntropy,
    Huber,
    Loss,
    Poisson,
    Quantile,
    SoftmaxCrossEntropy,
    SquaredError,
    get_loss,
)

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CappedBinaryCrossEntropy",
    "CappedSoftmaxCrossEntropy",
    "Huber",
    "Loss",
    "Poisson",
    "Quantile",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "get_loss",
]
