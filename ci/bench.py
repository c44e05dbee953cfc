"""Time arraymlp beside its peers on this machine's processor: ci/bench sets up and calls this."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    checkpoints,
    estimators,
    inference,
    lab,
    machine,
    population,
    process,
    training,
)
from benchmarks.rounds import Plan, Result
from benchmarks.tables import as_json, text

CASES: dict[str, Callable[[Plan], list[Result]]] = {
    "a": training.case_a,
    "b": training.case_b,
    "c": training.case_c,
    "d": population.case_d,
    "e": population.case_e,
    "f": population.case_f,
    "g": training.case_g,
    "h": inference.case_h,
    "lab": lab.case_lab,
    "fits": estimators.case_fits,
    "checkpoint": checkpoints.case_checkpoint,
}
METHOD = """\
float32 unless said, relu, softmax cross-entropy, mean reduction, data in memory. Candidates take
turns in every round, on 1 thread and on all, and their better number counts (one that short runs
showed to be much worse is not tried again); "own": it chooses threads itself, as JAX does, whose
threads are fixed once it has started. "/ bare" is the time over that of the bare matrix products,
"/ ours" over arraymlp's: medians of the rounds' ratios. Times of scikit-learn, of both
MLPClassifiers and of sweep include their set-up, spread over the epochs."""


def main() -> None:
    """Measure the chosen cases and print their tables."""
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
    where = machine.cpu()
    print(", ".join(f"{k} {v or 'absent'}" for k, v in where.items()), METHOD, sep="\n\n")
    figures = process.figures() if "process" in chosen else []
    for figure in figures:
        print(f"\nprocess  {figure}", end="", flush=True)
    results: list[Result] = []
    for name in chosen:
        if name in CASES:
            of_case = CASES[name](plan)
            results += of_case
            print("", *map(text, of_case), sep="\n\n", flush=True)
    print(f"\n\nmeasured in {time.perf_counter() - started:.0f} s")
    if options.json:
        content = {
            "machine": where,
            "results": [as_json(result) for result in results],
            "process": [figure._asdict() for figure in figures],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
