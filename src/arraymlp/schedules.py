"""Schedules of the learning rate: their base class, the built-in ones, the look-up by name."""

from arraymlp.steps.schedules import (
    SCHEDULES,
    Adaptive,
    Constant,
    Cosine,
    ExponentialDecay,
    InverseScaling,
    Schedule,
    StepDecay,
    get_schedule,
)

__all__ = [
    "SCHEDULES",
    "Adaptive",
    "Constant",
    "Cosine",
    "ExponentialDecay",
    "InverseScaling",
    "Schedule",
    "StepDecay",
    "get_schedule",
]
