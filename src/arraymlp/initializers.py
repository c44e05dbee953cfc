"""Initialisers: their type, the built-in ones by name, and the look-up."""

from arraymlp.nn.initializers import INITIALIZERS, Initializer, get_initializer, normal

__all__ = [
    "INITIALIZERS",
    "Initializer",
    "get_initializer",
    "normal",
]
