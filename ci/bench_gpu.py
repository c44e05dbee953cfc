"""Time arraymlp on a CUDA GPU beside the best that its peers can do: ci/bench --gpu calls this.

Each case has a process of its own, whose figures so far are kept when it breaks off or takes too
long: a candidate that fails is recorded with its error, and costs at most its own case.
"""

import argparse
import json
import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.gpu_cases import CASES, PRECISIONS, GpuPlan, measure
from benchmarks.rounds import Result
from benchmarks.tables import as_json, text

import arraymlp

METHOD = """\
float32 unless said, relu, softmax cross-entropy, mean reduction, rows shuffled each epoch, data on
the device before. Candidates take turns in every round, after a first run that compiles; figures
are medians. The clock is read when the device has done its work. Of ours the epochs after the first
of a call of `train` are timed, from end to end. Every candidate's mean loss of an epoch in file
order, from equal weights, was held against that of `train` by the array code (with NumPy; in case
d on the device). "/ bare" is the time over that of the bare products by cuBLAS, "/ ours" over
arraymlp's: medians of the rounds' ratios."""
LIMIT, QUICK_LIMIT, DRY_LIMIT = 470.0, 90.0, 3600.0  # seconds for everything
CASE_LIMIT = 150.0  # for one case, but in a dry run
LEAST = 15.0  # kept for each case still to come
NOT_TRIED = """\
Tried with small sizes on a fake of CuPy, whose kernels run on the host: the figures say nothing.
Not tried: a GPU, NVRTC, cuBLAS, the capture of PyTorch's CUDA graphs (steps were called one by
one), and what torch.compile and JAX make for a GPU."""


def in_a_process(name: str, plan: GpuPlan, limit: float) -> list[Result]:
    """The results of a case; those so far, if it breaks off or ``limit`` seconds are over."""
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_case, args=(name, plan, there))
    end = perf_counter() + limit
    process.start()
    there.close()
    results: list[Result] = []
    why = ""
    try:
        while here.poll(max(0.0, end - perf_counter())):
            results = here.recv()
        why = f"stopped after {limit:.0f} s"
    except EOFError:
        process.join()
        if process.exitcode:
            why = f"its process ended with status {process.exitcode}"
    finally:
        if process.pid and process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            except ProcessLookupError:  # it leads no group yet
                process.kill()
            process.join()
    if why and not results:
        results = [Result(name, "nothing measured")]
    for result in results:
        if not result.times:
            result.notes.append("each candidate was timed only once")
            result.times = {name: {None: [*t.values()]} for name, t in result.trials.items()}
            result.threads = dict.fromkeys(result.times)
    if why:
        results[-1].notes.append(f"the case was broken off: {why}")
    return results


def _case(name: str, plan: GpuPlan, there: Connection) -> None:
    """Measure a case and send its results; runs in a process of its own."""
    os.setsid()  # what it starts ends with it
    results: list[Result] = []
    share = plan.share(len(PRECISIONS)) if name == "d" else plan
    for result, candidates in CASES[name](plan):
        results.append(result)
        measure(result, candidates, share, lambda: there.send(results))
    there.send(results)


def where_measured() -> dict[str, Any]:
    """Commit, versions and GPU."""
    return {
        "commit": machine.commit(),
        "versions": machine.gpu_versions(),
        "device": machine.gpu(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
    }


def main() -> int:
    """Measure the chosen cases and print their tables."""
    parser = argparse.ArgumentParser(prog="ci/bench --gpu", description=__doc__)
    parser.add_argument("--only", help=f"cases, as in a,b; of {', '.join(sorted(CASES))}")
    parser.add_argument("--seconds", type=float, default=60, help="that a case may take (60)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    parser.add_argument(
        "--dry-run", action="store_true", help="on a fake of CuPy, to see that it works"
    )
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    chosen = [*CASES] if options.only is None else options.only.split(",")
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(sorted(CASES))}")
    plan = GpuPlan(options.seconds, 5)
    if options.quick:
        plan = GpuPlan(0, 1, 0.1, peers=False)
    if options.dry_run:
        plan = GpuPlan(0, 1, 0.01, not options.quick, "cpu")
    try:
        backend = arraymlp.resolve("cupy", fallback=False)
    except arraymlp.BackendUnavailableError as error:
        print(f"ci/bench: {error}", file=sys.stderr)
        return 2
    if machine.is_fake(backend) != options.dry_run:
        parser.error(f"--dry-run is for a fake of CuPy, and only that: there is {backend}")
    started = perf_counter()
    limit = DRY_LIMIT if options.dry_run else QUICK_LIMIT if options.quick else LIMIT
    where = where_measured()
    print(json.dumps(where, indent=1), METHOD, sep="\n\n", flush=True)
    results: list[Result] = []
    for i, name in enumerate(chosen):
        left = started + limit - perf_counter() - LEAST * (len(chosen) - 1 - i)
        if left < LEAST:
            results.append(Result(name, "left out: no time was left"))
        else:
            most = left if options.dry_run else min(left, CASE_LIMIT)
            results += in_a_process(name, plan, most)
        if options.json:
            content = {"machine": where, "results": [as_json(result) for result in results]}
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(content, indent=1) + "\n")
        print("", *(text(r) for r in results if r.case == name), sep="\n\n", flush=True)
    print(f"\n\nmeasured in {perf_counter() - started:.0f} s")
    if options.dry_run:
        absent = [f"- {r.case}, {name}: {why}" for r in results for name, why in r.absent.items()]
        print("", NOT_TRIED, "Could not run here:", *(absent or ["- nothing"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
