"""Time arraymlp beside its peers on this machine's processor: ci/bench sets up and calls this."""

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bench_inference
import bench_population
import bench_process
import bench_sklearn
import bench_train
from bench_rounds import Plan, Result
from bench_tables import as_json, markdown, text
from threadpoolctl import threadpool_info

from arraymlp.backends.host import cores

CASES: dict[str, Callable[[Plan], list[Result]]] = {
    "a": bench_train.case_a,
    "b": bench_train.case_b,
    "c": bench_train.case_c,
    "d": bench_population.case_d,
    "e": bench_population.case_e,
    "f": bench_population.case_f,
    "g": bench_train.case_g,
    "h": bench_inference.case_h,
    "fits": bench_sklearn.case_fits,
}
LIBRARIES = ("arraymlp", "numpy", "array-api-compat", "scipy", "scikit-learn", "torch", "jax")
METHOD = """\
float32 unless said, relu, softmax cross-entropy, mean reduction, data in memory. Candidates take
turns in every round, on 1 thread and on all, and their better number counts (one that short runs
showed to be much worse is not tried again); "own": it chooses threads itself, as JAX does, whose
threads are fixed once it has started. "/ bare" is the time over that of the bare matrix products,
"/ ours" over arraymlp's: medians of the rounds' ratios. Times of scikit-learn, of both
MLPClassifiers and of sweep have their set-up in them, spread over the epochs."""


def machine() -> dict[str, Any]:
    """What was measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if "model name" in x), cpu)
    found: dict[str, Any] = {"cpu": cpu, "cores": cores(), "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    blas = {
        f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"
    }
    return found | {"blas": ", ".join(sorted(blas))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="ci/bench", description=__doc__)
    names = [*CASES, "process"]
    parser.add_argument("--only", help=f"cases, as in a,b; of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=60, help="that a case may take (60)")
    parser.add_argument("--without-peers", action="store_true", help="no PyTorch and JAX")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    chosen = names if options.only is None else options.only.split(",")
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(names)}")
    plan = Plan(options.seconds, peers=not options.without_peers)
    if options.quick:
        plan = Plan(0, 1, 0.1, plan.peers)
    started = time.perf_counter()
    where = machine()
    print(", ".join(f"{k} {v or 'absent'}" for k, v in where.items()), METHOD, sep="\n\n")
    figures = bench_process.figures() if "process" in chosen else []
    for figure in figures:
        print(f"\nprocess  {figure}", end="", flush=True)
    results: list[Result] = []
    for name in chosen:
        if name in CASES:
            results += (found := CASES[name](plan))
            print("", *map(text, found), sep="\n\n", flush=True)
    print("\n\nIn Markdown: seconds, and in brackets how many times ours that is\n")
    print(markdown(results), *(f"- {figure}" for figure in figures), sep="\n")
    print(f"\nmeasured in {time.perf_counter() - started:.0f} s")
    if options.json:
        everything = {
            "machine": where,
            "results": [as_json(result) for result in results],
            "process": [figure._asdict() for figure in figures],
        }
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
