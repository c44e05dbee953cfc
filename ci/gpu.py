"""The suite and the lab on CuPy, summed up as JSON: commit, device, driver, versions, tests, times.

Called by ci/gpu. Exit status 0 only if no test failed, CuPy tests ran and none of them was skipped,
and every run of the lab was in its band.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numpy",
    "array-api-compat",
    "scikit-learn",
    "torch",
    "jax",
    "pytest",
)


def versions() -> dict[str, str]:
    """Those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device() -> dict[str, Any]:
    """The GPU and its driver, as CuPy sees them."""
    import cupy

    runtime = cupy.cuda.runtime
    return {
        "name": runtime.getDeviceProperties(0)["name"].decode(),
        "devices": runtime.getDeviceCount(),
        "driver_cuda": runtime.driverGetVersion(),
        "runtime_cuda": runtime.runtimeGetVersion(),
    }


def commit() -> str:
    """The commit this tree is at; ARRAYMLP_COMMIT says it where git or its folder is missing."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return os.environ.get("ARRAYMLP_COMMIT", "unknown")
    return done.stdout.strip() or os.environ.get("ARRAYMLP_COMMIT", "unknown")


def tests() -> tuple[dict[str, Any], bool]:
    """Run the suite; count outcomes in all, and of the tests whose backend fixture is CuPy."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        started = perf_counter()
        status = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                f"--junitxml={report}",
            ],
            cwd=ROOT,
            env={**os.environ, "ARRAYMLP_REQUIRE_BACKENDS": "cupy"},
        ).returncode
        seconds = perf_counter() - started
        if not report.exists():
            return {"exit_status": status, "seconds": round(seconds, 1)}, False
        cases = list(ElementTree.parse(report).iter("testcase"))
    everything: Counter[str] = Counter()
    on_cupy: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for case in cases:
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcome = bad[0] if bad else "passed"
        everything[outcome] += 1
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        if properties.get("backend") == "cupy":
            on_cupy[outcome] += 1
        reasons.update(s.get("message", "") for s in case.iter("skipped"))
    good = status == 0 and on_cupy["passed"] > 0 and not on_cupy["skipped"]
    return {
        "exit_status": status,
        "seconds": round(seconds, 1),
        "all": dict(everything),
        "cupy": dict(on_cupy),
        "skips": dict(reasons),
    }, good


def lab() -> tuple[dict[str, Any], bool]:
    """The lab's five runs on CuPy."""
    from arraymlp.lab import run_lab

    result = run_lab(backend="cupy")
    rows = result.rows()
    good = result.in_band and all(row["judged"] for row in rows)
    return {"seconds": round(result.seconds, 1), "in_band": good, "table": rows}, good


def main() -> int:
    """Do everything, write the summary, say whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, help="default: ci/results/gpu-DEVICE.json")
    parser.add_argument("--no-lab", action="store_true")
    options = parser.parse_args()
    from arraymlp import BackendUnavailableError, resolve

    try:
        place = resolve("cupy", fallback=False)
    except BackendUnavailableError as error:
        print(f"ci/gpu: {error}", file=sys.stderr)
        return 2
    summary: dict[str, Any] = {
        "commit": commit(),
        "backend": str(place),
        "device": device(),
        "versions": versions(),
    }
    print(json.dumps(summary, indent=1), flush=True)
    summary["tests"], good = tests()
    if not options.no_lab:
        summary["lab"], reproduced = lab()
        good = good and reproduced
    summary["passed"] = good
    name = str(summary["device"]["name"]).replace(" ", "-")
    out = options.out or ROOT / "ci" / "results" / f"gpu-{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
