"""Who computes in a process: what parent and workers compare of each other."""

import os
import platform
import sys
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from arraymlp.backends.registry import BackendUnavailableError


def versions() -> list[str]:
    """The versions that parent and workers must share: of Python, of this package, of NumPy."""
    return [
        f"Python {sys.version_info.major}.{sys.version_info.minor}",
        f"arraymlp {import_module('arraymlp').__version__}",
        f"NumPy {np.__version__}",
    ]


@cache
def kernels() -> str:
    """What computes products here: kernels of BLAS, and the CPU engine's instructions."""
    from threadpoolctl import threadpool_info

    blas = {str(i.get("architecture")) for i in threadpool_info() if i["user_api"] == "blas"}
    try:
        from arraymlp.engines.cpu import library

        native = library.load()
    except (ModuleNotFoundError, ValueError, BackendUnavailableError):
        native = None
    return f"BLAS {', '.join(sorted(blas)) or 'unknown'}, engine {native.isa if native else 'none'}"


def identity() -> dict[str, Any]:
    """Who computes here."""
    worker = f"{platform.node()}:{os.getpid()}"
    return {"worker": worker, "versions": versions(), "kernels": kernels()}
