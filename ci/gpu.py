"""The suite and the lab on CuPy, summed up as JSON: commit, device, driver, versions, tests, times.

Called by ci/gpu. Exit status 0 only if no test failed, CuPy tests ran and each of them passed, and
every run of the lab, trained by the array code, was in its band. Trained by the engine, the lab is
judged too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.machine import ROOT

# By option: the backends to test ("" for all), and arguments of pytest.
SELECTIONS: dict[str, tuple[str, list[str]]] = {
    "default": ("numpy,cupy", []),
    "only-cupy": ("cupy", ["-k", "cupy or test_on_gpu.py"]),
    "all": ("", []),
}


def tests(selection: str) -> tuple[dict[str, Any], bool]:
    """Run the suite; count outcomes in all, and of the tests whose backend is CuPy, by file."""
    backends, arguments = SELECTIONS[selection]
    environment = {**os.environ, "ARRAYMLP_REQUIRE_BACKENDS": "cupy"}
    if backends:
        environment["ARRAYMLP_TEST_BACKENDS"] = backends
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        started = perf_counter()
        status = subprocess.run(
            [*command, f"--junitxml={report}"], cwd=ROOT, env=environment
        ).returncode
        summary = {
            "selection": selection,
            "exit_status": status,
            "seconds": round(perf_counter() - started, 1),
        }
        if not report.exists():
            return summary, False
        cases = list(ElementTree.parse(report).iter("testcase"))
    counted = outcomes(cases)
    on_cupy = counted["cupy"]
    good = status == 0 and on_cupy.get("passed", 0) > 0 and set(on_cupy) == {"passed"}
    return {**summary, **counted}, good


def outcomes(cases: Iterable[ElementTree.Element]) -> dict[str, Any]:
    """How many of a report's cases passed, failed and so on: in all, on CuPy, on CuPy by file."""
    everything: Counter[str] = Counter()
    on_cupy: Counter[str] = Counter()
    by_file: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    reasons: Counter[str] = Counter()
    not_passed: list[str] = []
    for case in cases:
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcome = bad[0] if bad else "passed"
        everything[outcome] += 1
        reasons.update(s.get("message", "") for s in case.iter("skipped"))
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        if properties.get("backend") != "cupy":
            continue
        module = str(case.get("classname")).partition("tests.")[2].split(".")
        depth = next(i for i, part in enumerate(module, 1) if part.startswith("test_"))
        file = "/".join(module[:depth]) + ".py"  # such as steps/test_step.py
        on_cupy[outcome] += 1
        by_file.setdefault(file, Counter())[outcome] += 1
        seconds[file] = seconds.get(file, 0.0) + float(case.get("time", 0))
        if bad:
            not_passed.append(f"{file}::{case.get('name')}: {outcome}")
    return {
        "all": dict(everything),
        "cupy": dict(on_cupy),
        "cupy_by_file": {
            file: {**counts, "seconds": round(seconds[file], 1)}
            for file, counts in sorted(by_file.items())
        },
        "cupy_not_passed": not_passed,
        "skips": dict(reasons),
    }


def lab(engine: str) -> tuple[dict[str, Any], bool]:
    """The lab's five runs on CuPy, by the array code or the engine, with their times."""
    from arraymlp.app.lab.training import run_lab

    result = run_lab(backend="cupy", engine=engine)
    rows = result.rows()
    good = result.in_band and all(row["judged"] for row in rows)
    return {
        "seconds": round(result.seconds, 1),
        "seconds_a_run": {row["run"]: round(row["seconds"], 2) for row in rows},
        "in_band": good,
        "table": rows,
    }, good


def main() -> int:
    """Do everything, write the summary, say whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, help="default: ci/results/gpu-DEVICE.json")
    parser.add_argument("--no-lab", action="store_true")
    parser.add_argument(
        "--bench", type=Path, help="figures of ci/bench --gpu, to put in as they are"
    )
    which = parser.add_mutually_exclusive_group()
    for name, help in (
        ("only-cupy", "the tests on CuPy alone"),
        ("all", "the tests on all backends, not on NumPy and CuPy alone"),
    ):
        which.add_argument(
            f"--{name}",
            dest="tests",
            action="store_const",
            const=name,
            default="default",
            help=help,
        )
    options = parser.parse_args()
    bench = None if options.bench is None else json.loads(options.bench.read_text("utf-8"))
    from arraymlp import BackendUnavailableError, resolve

    try:
        backend = resolve("cupy", fallback=False)
    except BackendUnavailableError as error:
        print(f"ci/gpu: {error}", file=sys.stderr)
        return 2
    summary: dict[str, Any] = {
        "commit": machine.commit(),
        "backend": str(backend),
        "device": machine.gpu(),
        "versions": machine.gpu_versions(),
    }
    print(json.dumps(summary, indent=1), flush=True)
    if bench is not None:
        summary["bench"] = bench
    name = str(summary["device"]["name"]).replace(" ", "-")
    out = options.out or ROOT / "ci" / "results" / f"gpu-{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], tuple[dict[str, Any], bool]]] = {
        "tests": lambda: tests(options.tests)
    }
    if not options.no_lab:
        parts |= {"lab_engine": lambda: lab("auto"), "lab": lambda: lab("array")}
    good: dict[str, bool] = {}
    for part, do in parts.items():  # the file is written after each, should the rest be broken off
        try:
            summary[part], good[part] = do()
        except Exception as error:
            summary[part], good[part] = {"error": repr(error)}, False
        summary["passed"] = len(good) == len(parts) and all(good.values())
        out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
