"""Time one training epoch of 784-100-100-10 against the bare matrix products it contains.

Both run in this one process, in turn, so that a busy machine slows both; medians and their ratio
are printed and, with --json, written with the machine's name. Each is timed with every number of
BLAS threads and keeps its better one.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import array_api_compat
import numpy as np
import sklearn
from bench_population import compare_populations, report_populations
from bench_sklearn import compare, report
from products import bare_epoch
from threadpoolctl import threadpool_info, threadpool_limits

import arraymlp
from arraymlp.batching import minibatches
from arraymlp.interrupt import Interrupt
from arraymlp.optimizers import optimizer
from arraymlp.step import choose_step
from arraymlp.training import run_epoch

SIZES, BATCH, ROWS = (784, 100, 100, 10), 100, 60_000
GOAL = 1.6
IMPORT_GOAL = 1.5
MEMORY_GOAL = 1.0


def candidates() -> dict[str, Callable[[], None]]:
    """Name -> a function that does one epoch, each on data of the same size."""
    rng = np.random.default_rng(0)
    X = rng.random((ROWS, SIZES[0]), dtype=np.float32)
    y = rng.integers(0, SIZES[-1], ROWS, dtype=np.int32)
    run = arraymlp.train(X, y, optimizer="sgd", epochs=0, backend="numpy")
    step = choose_step(run.network, optimizer("sgd"), "mean")

    def ours() -> None:
        batches = minibatches(run.data.X, run.data.y.values, BATCH, None, False, run.backend)
        run.met = 0.0, 0.0, 0.0
        hyper = repeat({"learning_rate": 0.01})
        steps, _, _ = run_epoch(step, run, batches, hyper, Interrupt())
        assert steps == ROWS // BATCH
        assert np.isfinite(run.met[0])

    return {"bare products": bare_epoch(X, SIZES, BATCH), "arraymlp": ours}


Times = dict[tuple[str, int], list[float]]  # (candidate, threads) -> seconds, round by round


def measure(repeats: int, threads: list[int]) -> Times:
    """Seconds of each candidate at each number of threads, all of them in turn in each round."""
    work = candidates()
    times: Times = {(name, t): [] for name in work for t in threads}
    for round_ in range(repeats + 1):
        for t in threads:
            with threadpool_limits(t, user_api="blas"):
                for name, epoch in work.items():
                    started = perf_counter()
                    epoch()
                    if round_:  # the first round warms up
                        times[name, t].append(perf_counter() - started)
    return times


def import_seconds(code: str, repeats: int = 7) -> float:
    """Median seconds a fresh interpreter takes for the imports alone."""
    clock = f"from time import perf_counter as c; t = c(); {code}; print(c() - t)"
    found = [
        float(subprocess.run([sys.executable, "-c", clock], capture_output=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return statistics.median(found)


def lab_memory() -> float | None:
    """Peak memory, in GB, of a process that runs the lab for an epoch a run and reports it."""
    code = """
import resource, sys, tempfile
from pathlib import Path
from arraymlp.lab import run_lab
from arraymlp.report import write_report
write_report(run_lab(backend="numpy", epochs=1), Path(tempfile.mkdtemp()))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (1e9 if sys.platform == "darwin" else 1e6))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None  # Windows has no such count


def machine() -> dict[str, Any]:
    """What was measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            li.split(":")[1].strip() for li in info.read_text().splitlines() if "model name" in li
        ]
        cpu = names[0] if names else cpu
    blas = [
        f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"
    ]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "array_api_compat": array_api_compat.__version__,
        "arraymlp": arraymlp.__version__,
        "scikit-learn": sklearn.__version__,
        "blas": ", ".join(blas),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--fits", type=int, default=3, help="rounds against scikit-learn; 0: none")
    parser.add_argument("--populations", type=int, default=5, help="rounds of these; 0: none")
    options = parser.parse_args()
    threads = sorted({1, os.cpu_count() or 1})
    times = measure(options.repeats, threads)
    medians = {key: statistics.median(values) for key, values in times.items()}
    where = machine()
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(
        f"\none epoch, {'-'.join(map(str, SIZES))}, batch {BATCH}, float32, unshuffled, plain SGD"
    )
    best = {}
    for name in dict.fromkeys(name for name, _ in times):
        row = {t: medians[name, t] for t in threads}
        best[name] = min(row, key=row.__getitem__)
        cells = "  ".join(
            f"{seconds:.3f} s ({t} thread{'s' * (t > 1)})" for t, seconds in row.items()
        )
        print(f"  {name:15} {cells}")
    pairs = zip(
        times["arraymlp", best["arraymlp"]],
        times["bare products", best["bare products"]],
        strict=True,
    )
    ratios = sorted(ours / bare for ours, bare in pairs)
    ratio = statistics.median(ratios)
    print(
        f"  each at its better number of threads, round by round: {ratio:.2f} times as long (middle"
        f" half {ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}; goal: at"
        f" most {GOAL})"
    )
    base = import_seconds("import numpy, array_api_compat.numpy")
    ours = import_seconds("import arraymlp")
    print(
        f"\nimport arraymlp {ours:.3f} s, numpy and array_api_compat.numpy {base:.3f} s: "
        f"ratio {ours / base:.2f} (goal: at most {IMPORT_GOAL})"
    )
    memory = lab_memory()
    if memory is not None:
        print(f"peak memory of the lab: {memory:.2f} GB (goal: at most {MEMORY_GOAL})")
    fits = compare(options.fits, threads) if options.fits else []
    if fits:
        report(fits)
    populations = {}
    if options.populations:
        populations = compare_populations(options.populations, threads)
        report_populations(populations)
    if options.json:
        figures = {
            "machine": where,
            "repeats": options.repeats,
            "lab_peak_gigabytes": memory,
            "epoch_seconds": {f"{name}, {t} threads": s for (name, t), s in medians.items()},
            "epoch_ratio": ratio,
            "epoch_ratios": ratios,
            "fits": fits,
            "populations": populations,
            "import_seconds": {"arraymlp": ours, "numpy and array_api_compat": base},
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
