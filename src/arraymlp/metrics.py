"""Metrics: their type, the built-in ones by name, and the look-up."""

from arraymlp.nn.metrics import METRICS, Metric, Predictions, get_metric

__all__ = [
    "METRICS",
    "Metric",
    "Predictions",
    "get_metric",
]
