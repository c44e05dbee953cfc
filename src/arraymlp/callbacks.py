"""Callbacks: the base class, what they are given, progress, and some that are ready to use."""

from arraymlp.training.callbacks import Callback, EpochEnd, MemberEpochEnd, StepEnd, StopAt
from arraymlp.training.logs import CSVLog, TensorBoardLog
from arraymlp.training.progress import Progress, SweepProgress

__all__ = [
    "CSVLog",
    "Callback",
    "EpochEnd",
    "MemberEpochEnd",
    "Progress",
    "StepEnd",
    "StopAt",
    "SweepProgress",
    "TensorBoardLog",
]
