"""The lab, the tests and the benchmarks on CuPy, summed up as JSON; ci/gpu calls this.

Each part is a process of its own, which writes what it has done as it goes. From that the summary
is written again every few seconds, so that it tells what was done whenever, and however, it ends.
Exit status 0 only if every part that was asked for ran to its end and all was well in it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.machine import ROOT
from plugins import outcomes

from arraymlp.app.lab.experiments import EXPERIMENTS
from arraymlp.backends.threads import processors

PERIOD = 5.0  # seconds between two summaries
GRACE = 10.0  # seconds that a part has to end by itself
REHEARSED = 300  # rows of the lab's data in a rehearsal
MOST_PROCESSES = 8  # of the tests: each has a context of its own on the GPU

Summary = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One part of the work.

    Attributes:
        command: does it.
        file: where the command writes what it has done.
        read: from that file the figures of the summary, and whether all was well so far.
        environment: what the command finds there besides.
    """

    command: list[str]
    file: Path
    read: Callable[[Path], tuple[Summary, bool]]
    environment: dict[str, str] = field(default_factory=dict)


def lab(options: argparse.Namespace, engine: str, lines: Path) -> Part:
    """The lab's five runs, by the array code or the engine."""

    command = [sys.executable, "ci/gpu_lab.py", "--backend", options.backend, "--engine", engine]
    command += ["--lines", str(lines)]
    epochs = options.epochs or (1 if options.dry_run else None)
    if epochs is not None:
        command += ["--epochs", str(epochs)]
    if options.dry_run:
        command += ["--rows", str(REHEARSED)]
    return Part(command, lines, partial(judged, options.dry_run))


def judged(rehearsed: bool, lines: Path) -> tuple[Summary, bool]:
    """The runs so far; all is well where all five were judged, and in their bands.

    In a rehearsal they are too short for that.
    """
    rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    good = rehearsed or all(row["judged"] and row["judged"] == row["in_band"] for row in rows)
    return {"runs": rows}, good and len(rows) == len(EXPERIMENTS)


def tests(options: argparse.Namespace, lines: Path) -> Part:
    """The tests: those on the backend, or all. Those that are done already are left out."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "outcomes"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--outcomes", str(lines)]
    environment = {"ARRAYMLP_REQUIRE_BACKENDS": options.backend}
    environment["PYTHONPATH"] = f"{ROOT / 'ci' / 'plugins'}:{os.environ.get('PYTHONPATH', '')}"
    if not options.all_tests:
        environment["ARRAYMLP_TEST_BACKENDS"] = options.backend
        command += ["-k", f"{options.backend} or test_on_gpu.py"]
    if options.processes > 1:
        command += ["-n", str(options.processes), "--dist", "loadgroup"]
    # Those of the engines come first: should time run out, they are what a GPU is needed for.
    command += options.pytest or ["tests/engines", "tests"]
    return Part(command, lines, partial(tested, options.backend), environment)


def tested(backend: str, lines: Path) -> tuple[Summary, bool]:
    """How many tests had which outcome: in all, on the backend, on the backend by file."""
    ran = outcomes.read(lines)
    on_backend = {name: test for name, test in ran.items() if test.get("backend") == backend}
    files: dict[str, Summary] = {}
    for name, test in on_backend.items():
        of_file = files.setdefault(name.partition("::")[0], {"seconds": 0.0})
        of_file[test["outcome"]] = of_file.get(test["outcome"], 0) + 1
        of_file["seconds"] = round(of_file["seconds"] + test["seconds"], 3)
    counted = Counter(test["outcome"] for test in on_backend.values())
    bad = {name: test for name, test in ran.items() if test["outcome"] not in outcomes.DONE}
    skips = Counter(test["why"] for test in ran.values() if test["outcome"] == "skipped")
    return {
        "all": Counter(test["outcome"] for test in ran.values()),
        "on_backend": counted,
        "on_backend_by_file": {name: files[name] for name in sorted(files)},
        "not_passed": {name: test.get("why", test["outcome"]) for name, test in bad.items()},
        "skips": skips,
    }, not bad and set(counted) == {"passed"}


def bench(options: argparse.Namespace, figures: Path) -> Part:
    """The benchmarks."""
    command = ["ci/bench", "--gpu", "--json", str(figures)]
    command += ["--dry-run", "--quick"] if options.dry_run else []
    return Part(command, figures, lambda file: (json.loads(file.read_text("utf-8")), True))


def parts(options: argparse.Namespace, out: Path) -> dict[str, Part]:
    """Every part, in order: first what shows in seconds whether anything works."""

    def beside(end: str) -> Path:
        return out.with_name(f"{out.stem}-{end}")

    return {
        "lab": lab(options, "auto", beside("lab.jsonl")),
        "tests": tests(options, beside("tests.jsonl")),
        "generic-lab": lab(options, "array", beside("generic-lab.jsonl")),
        "bench": bench(options, beside("bench.json")),
    }


def do(part: Part, minutes: float, write: Callable[[Summary], None]) -> bool:
    """Do a part, for so many minutes at most; True if it ran to its end and all was well."""
    started, end = perf_counter(), monotonic() + 60 * minutes
    environment = {**os.environ, **part.environment}
    process = subprocess.Popen(part.command, cwd=ROOT, env=environment, process_group=0)
    stopped = False
    try:
        write(summed(part, started, None)[0])
        while process.poll() is None and not stopped:
            try:
                process.wait(max(0.0, min(PERIOD, end - monotonic())))
            except subprocess.TimeoutExpired:
                stopped = monotonic() >= end
                write(summed(part, started, None)[0])
    finally:
        stop(process)
    summary, good = summed(part, started, None if stopped else process.returncode)
    write(summary)
    return good


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, and what it has started, if it has not ended."""
    for kind, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
        if process.poll() is None:
            os.killpg(process.pid, kind)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def summed(part: Part, started: float, status: int | None) -> tuple[Summary, bool]:
    """What a part has done so far; its exit status is None while it runs, and where it was stopped.

    Pytest ends with status 5 where all tests were done before.
    """
    try:
        done, good = part.read(part.file)
    except (FileNotFoundError, ValueError):
        done, good = {}, False
    good = good and status in (0, 5)
    about = {"complete": status is not None, "passed": good, "exit_status": status}
    return {**about, "seconds": round(perf_counter() - started, 1), **done}, good


def brief(name: str, summary: Summary) -> str:
    """A part in a line, and a line more for each test that did not pass."""
    figures = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
    lines = [f"{name}: {figures} {summary.get('all', '')}"]
    for test, why in summary.get("not_passed", {}).items():
        said = why.strip().splitlines()
        error = next((line for line in said if line.startswith("E ")), said[-1])
        lines.append(f"  {test}: {error.removeprefix('E').strip()}")
    return "\n".join(lines)


def written(summary: Summary, out: Path) -> None:
    """Write the summary, whole at any moment."""
    beside = out.with_name(f".{out.name}.part")
    beside.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    beside.replace(out)


def before(out: Path, about: Summary) -> Summary:
    """The parts that an earlier call has done with the same code, versions and device, as written.

    Without a commit, or with changes since, the code may be another each time.
    """
    try:
        earlier: Summary = json.loads(out.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    known = about["commit"] != "unknown" and not about["commit"].endswith("-dirty")
    same = all(earlier.get(name) == about[name] for name in about if name != "date")
    done: Summary = earlier["parts"] if known and same else {}
    return done


def main() -> int:
    """Do the parts, write the summary, say whether all was well."""
    parser = argparse.ArgumentParser(prog="ci/gpu", description=__doc__)
    parser.add_argument("--part", action="append", help="lab, tests, generic-lab or bench (all)")
    parser.add_argument("--minutes", type=float, default=9, help="that a part may take (9)")
    parser.add_argument("--out", type=Path, help="default: ci/results/gpu-DEVICE.json")
    parser.add_argument("--all-tests", action="store_true", help="not those on the backend alone")
    parser.add_argument("--processes", type=int, help="that share the tests")
    parser.add_argument("--dry-run", action="store_true", help="rehearse on a fake of CuPy, small")
    parser.add_argument("--backend", default="cupy", help="another, for the lab and the tests")
    parser.add_argument("--epochs", type=int, help="of the lab's runs, which are not judged then")
    parser.add_argument("pytest", nargs="*", help="after --: arguments of pytest")
    options = parser.parse_args()
    if options.processes is None:
        options.processes = min(MOST_PROCESSES, processors()) if find_spec("xdist") else 1
    from arraymlp import BackendUnavailableError, resolve

    try:
        backend = resolve(options.backend, fallback=False)
    except BackendUnavailableError as error:
        print(f"ci/gpu: {error}", file=sys.stderr)
        return 2
    on_gpu = options.backend == "cupy"
    about: Summary = {
        "date": date.today().isoformat(),
        "commit": machine.commit(),
        "backend": str(backend),
        "device": machine.gpu() if on_gpu else {"name": machine.processor()},
        "versions": machine.gpu_versions(),
    }
    print(json.dumps(about, indent=1), flush=True)
    if machine.is_fake(backend) != options.dry_run:
        parser.error(f"--dry-run is for a fake of CuPy, and only that: there is {backend}")
    if options.dry_run and options.out is None:
        parser.error("--dry-run needs --out: its file is no result")
    name = backend.device_model.replace(" ", "-") or options.backend
    out: Path = (options.out or ROOT / "ci" / "results" / f"gpu-{name}.json").absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    every = parts(options, out)
    chosen = options.part or [*every]
    if unknown := [name for name in chosen if name not in every]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(every)}")
    done = before(out, about)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what runs ends, too
    good = []
    for name in chosen:

        def write(summary: Summary, name: str = name) -> None:
            done[name] = summary
            passed = all(done.get(part, {}).get("passed") for part in every)
            written({**about, "passed": passed, "parts": done}, out)

        print(f"\n== {name}", flush=True)
        if name != "tests" or "tests" not in done:  # which go on
            every[name].file.unlink(missing_ok=True)
        good.append(do(every[name], options.minutes, write))
    print(f"\n== {out}", *(brief(name, done[name]) for name in chosen), sep="\n")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
