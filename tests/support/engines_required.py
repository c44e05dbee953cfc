"""Libraries of others that tests start or read: those that a variable names must be there.

ARRAYMLP_REQUIRE_ENGINES is a comma-separated list of the names below, such as ``dask,mpi``. What it
does not name is skipped where it is absent.
"""

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

MODULES = {
    "dask": ("distributed", "dask.array"),
    "dask frames": ("dask.dataframe",),
    "loky": ("joblib",),
    "mpi": ("mpi4py",),
    "parquet": ("pyarrow.parquet", "pandas"),
    "s3": ("moto.server", "s3fs", "zarr", "pyarrow.parquet", "pandas"),
    "zarr": ("zarr",),
}
REQUIRED = os.environ.get("ARRAYMLP_REQUIRE_ENGINES", "").split(",")


def _lack(name: str) -> str:
    for module in MODULES[name]:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            return str(error)
    beside = Path(sys.executable).with_name("mpiexec")
    if name == "mpi" and not beside.exists() and shutil.which("mpiexec") is None:
        return "there is no mpiexec"
    return ""


def require_engine(name: str) -> Any:
    """The first library of that name; without them the test is skipped, or fails if required."""
    lack = _lack(name)
    if lack and name.partition(" ")[0] in REQUIRED:
        pytest.fail(f"{name} is required, but {lack}")
    if lack:
        pytest.skip(lack, allow_module_level=True)
    return import_module(MODULES[name][0])
