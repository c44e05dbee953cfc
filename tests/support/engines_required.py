"""Engines of other libraries that tests start: those that ARRAYMLP_REQUIRE_ENGINES names must run.

It is a comma-separated list, such as ``dask,mpi``.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

MODULES = {"dask": "distributed", "mpi": "mpi4py", "s3": "moto", "zarr": "zarr", "loky": "loky"}


def _lack(engine: str) -> str:
    if find_spec(MODULES[engine]) is None:
        return f"{MODULES[engine]} is not installed"
    beside = Path(sys.executable).with_name("mpiexec")
    if engine == "mpi" and not beside.exists() and shutil.which("mpiexec") is None:
        return "there is no mpiexec"
    return ""


def require_engine(engine: str) -> None:
    """Skip the test where an engine is not there; fail it where it is required."""
    lack = _lack(engine)
    if lack and engine in os.environ.get("ARRAYMLP_REQUIRE_ENGINES", "").split(","):
        pytest.fail(f"{engine} is required, but {lack}")
    if lack:
        pytest.skip(lack)
