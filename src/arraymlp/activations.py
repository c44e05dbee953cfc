"""Activation functions: their type, the built-in ones by name, and the look-up."""

from arraymlp.nn.activations import ACTIVATIONS, Activation, get_activation

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "get_activation",
]
