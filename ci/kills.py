"""Kill trainings at random and have them go on: ci/kills sets up and calls this.

Cases and comparison are those of tests/support (kill_cases.py, killing.py). Each case is trained in
processes of its own, which are killed, most of them while they train or write a checkpoint.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).resolve().parents[1] / "tests" / "support"
FIGURES = ("kills", "interrupted", "restarts", "trainings", "bits")


def killed(case: str, seed: int, kills: int) -> Any:
    """The tally of a case, in a process that trains nothing itself."""
    sys.path.insert(0, str(SUPPORT))
    import killing

    return killing.killed(case, seed, kills)


def table(tallies: dict[str, Any]) -> str:
    """Cases by what became of them."""
    rows = [f"{'case':<20}" + "".join(f"{name:>13}" for name in FIGURES) + f"{'faults':>8}"]
    for case, tally in tallies.items():
        figures = "".join(f"{getattr(tally, name):>13}" for name in FIGURES)
        rows.append(f"{case:<20}{figures}{len(tally.faults):>8}")
    totals = [sum(getattr(tally, name) for tally in tallies.values()) for name in FIGURES]
    faults = sum(len(tally.faults) for tally in tallies.values())
    rows.append(f"{'all':<20}" + "".join(f"{total:>13}" for total in totals) + f"{faults:>8}")
    return "\n".join(rows)


def main() -> int:
    """Kill, print the table, and return 1 where there was a fault."""
    parser = argparse.ArgumentParser(prog="ci/kills", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200, help="in all (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills' times (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at once")
    parser.add_argument("--only", help="cases, as in SGD,sweep")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before NumPy is loaded
    sys.path.insert(0, str(SUPPORT))
    import kill_cases

    cases = list(kill_cases.available())
    if options.only:
        wanted = options.only.split(",")
        if unknown := set(wanted) - set(cases):
            parser.error(f"unknown cases {sorted(unknown)}; there is {', '.join(cases)}")
        cases = wanted
    shares = [
        options.kills // len(cases) + (i < options.kills % len(cases)) for i in range(len(cases))
    ]
    started = time.perf_counter()
    # Their processes have one thread each when they fork.
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        results = pool.map(killed, cases, [options.seed] * len(cases), shares)
        tallies = dict(zip(cases, results, strict=True))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    print(*faults, sep="\n", end="\n" if faults else "")
    print(table(tallies))
    print(f"in {time.perf_counter() - started:.0f} s")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
