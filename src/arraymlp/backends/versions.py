"""The versions that results hang on, of this process: for comparison with other processes'."""

import sys
from importlib import import_module

import numpy as np


def versions() -> dict[str, str]:
    """By name the versions that processes must share: of Python, of this package, of NumPy."""
    return {
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "arraymlp": import_module("arraymlp").__version__,
        "NumPy": np.__version__,
    }
