"""Who computes in a process: what parent and workers compare of each other."""

import os
import platform
from functools import cache
from typing import Any

from arraymlp.backends.registry import BackendUnavailableError
from arraymlp.backends.versions import versions


def version_list() -> list[str]:
    """The versions that parent and workers must share, each with its name."""
    return [f"{name} {number}" for name, number in versions().items()]


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
    return {"worker": worker, "versions": version_list(), "kernels": kernels()}
