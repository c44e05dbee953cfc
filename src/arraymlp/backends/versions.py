"""The versions that results hang on, of this process: for comparison with other processes'."""

import platform
from importlib import import_module

import numpy as np

from arraymlp.backends.backend import Backend


def versions(backend: Backend) -> dict[str, str]:
    """By name the versions of Python, this package, NumPy and the backend's library."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "arraymlp": import_module("arraymlp").__version__,
        "NumPy": np.__version__,
        backend.name.replace("numpy", "NumPy"): backend.version,
    }
