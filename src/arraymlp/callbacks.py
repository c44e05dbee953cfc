"""Callbacks: the base class, what they are given, progress, and some that are ready to use."""

from arraymlp.training.callbacks import Callback, CSVLog, EpochEnd, StepEnd, StopAt, TensorBoardLog
from arraymlp.training.progress import Progress, SweepProgress

__all__ = [
    "CSVLog",
    "Callback",
    "EpochEnd",
    "Progress",
    "StepEnd",
    "StopAt",
    "SweepProgress",
    "TensorBoardLog",
]
