"""What was measured on: the commit, the versions, the processor, the GPU."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from arraymlp.backends.backend import Backend
from arraymlp.backends.threads import processors

ROOT = Path(__file__).resolve().parent.parent.parent
CPU_PACKAGES = ("arraymlp", "numpy", "array-api-compat", "scipy", "scikit-learn", "torch", "jax")
GPU_PACKAGES = (
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numpy",
    "array-api-compat",
    "scikit-learn",
    "torch",
    "jax",
    "pytest",
)


def commit() -> str:
    """The commit of this tree; ARRAYMLP_COMMIT says it where git or its folder is missing."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return os.environ.get("ARRAYMLP_COMMIT", "unknown")
    return done.stdout.strip() or os.environ.get("ARRAYMLP_COMMIT", "unknown")


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Those of Python and of the packages; None for one that is not installed."""
    table: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            table[name] = version(name)
        except PackageNotFoundError:
            table[name] = None
    return table


def gpu_versions() -> dict[str, str]:
    """Those of Python and of the installed ones among GPU_PACKAGES."""
    return {name: number for name, number in versions(GPU_PACKAGES).items() if number is not None}


def processor() -> str:
    """The processor's name."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if "model name" in x), model)
    return model


def headline(command: str) -> str:
    """The first line of a file of results: the command, the day, the machine, the versions."""
    numbers = versions(("numpy", "scikit-learn"))
    known = ", ".join(f"{name} {number}" for name, number in numbers.items() if number)
    where = f"{processors()} cores of an {processor()}"
    return f"{command}, {date.today()}, {where}, commit {commit()}, {known}"


def cpu() -> dict[str, Any]:
    """The day, the commit, the processor, its cores, NumPy's BLAS and the versions."""
    blas = {
        f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"
    }
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "cpu": processor(),
        "cores": processors(),
        **versions(CPU_PACKAGES),
        "blas": ", ".join(sorted(blas)),
    }


def is_fake(backend: Backend) -> bool:
    """True for the CuPy of tests/support/fake_cupy, which has no GPU."""
    return backend.version.endswith("+fake")


def gpu() -> dict[str, Any]:
    """The GPU as CuPy sees it, and its driver's version, where nvidia-smi tells it."""
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True).stdout.split()
    except OSError:
        driver = []
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "devices": runtime.getDeviceCount(),
        "memory": int(runtime.memGetInfo()[1]),
        "driver": driver[0] if driver else None,
        "driver_cuda": runtime.driverGetVersion(),
        "runtime_cuda": runtime.runtimeGetVersion(),
    }
