"""One training by several processes: how fast they are, and how fast a model says many would be.

usage: python ci/ranks.py [--rounds N] [--json FILE]     (needs mpi4py and mpiexec)

Every candidate is timed in every round, and medians are given. The processes share this machine's
cores. The model of W ranks has two measured times of a network (a step's whatever its rows, and
that of each row, by steps of a quarter of the rows and of twice as many), the bytes of its
gradient, and two numbers of what links the machines (latency, bandwidth):

    step(W) = fixed + rows / W * per_row
            + (W - 1 + log2 W) * latency + 2 (W - 1) / W * bytes / bandwidth
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import pairwise, product
from math import log2
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine

STEPS, SHARDS = 12, 8
NETWORKS: dict[str, tuple[tuple[int, ...], int]] = {
    "784-100-100-10": ((100, 100), 100),
    "784-1024-1024-10": ((1024, 1024), 512),
}
BATCHES = {"784-100-100-10": (100,), "784-1024-1024-10": (512, 4096)}
MEASURED = "784-1024-1024-10"
CANDIDATES: dict[str, tuple[int, int, str]] = {  # ranks, cores of each, how
    "one process, CPU engine, 2 cores": (0, 2, "plain"),
    "one process, array code, 2 cores": (0, 2, "array"),
    "one rank, 8 shards, 2 cores": (1, 2, "group"),
    "one rank, 8 shards, 1 core": (1, 1, "group"),
    "two ranks, 8 shards, 1 core each": (2, 1, "group"),
}
LINKS = {  # latency in seconds, bytes a second
    "one machine": (1e-6, 6e9),
    "100 Gb/s InfiniBand": (2e-6, 11e9),
    "10 Gb/s Ethernet": (3e-5, 1.1e9),
}
RANKS = (1, 2, 4, 8, 16, 64, 256, 1024)


def work(how: str, hidden: list[int], batch: int) -> None:
    """What each process does: train, and print the seconds of a step, of rank 0."""
    import numpy as np

    from arraymlp import train

    rng = np.random.default_rng(0)
    X = rng.random((batch * STEPS, 784), dtype=np.float32)
    y = rng.integers(0, 10, batch * STEPS)
    in_shards = {"group": "mpi", "shards": int(how.partition(" ")[2] or SHARDS)}
    settings: dict[str, Any] = in_shards if how.startswith("group") else {}
    if how == "array":
        settings["engine"] = "array"
    run = train(X, y, hidden=tuple(hidden), epochs=4, batch_size=batch, **settings)
    first = True
    if how.startswith("group"):
        from mpi4py import MPI

        first = MPI.COMM_WORLD.rank == 0
    if first:
        print(min(record["seconds"] for record in run.history.records[1:]) / STEPS)


def seconds(candidate: tuple[int, int, str], network: str, batch: int | None = None) -> float:
    """The seconds of a step of a candidate."""
    ranks, cores, how = candidate
    hidden, own = NETWORKS[network]
    command = [sys.executable, __file__, "--work", how, str(batch or own), *map(str, hidden)]
    if ranks:
        beside = Path(sys.executable).with_name("mpiexec")
        command = [str(beside) if beside.exists() else "mpiexec", "-n", str(ranks), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": str(cores)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def parameters(network: str) -> int:
    """The numbers of a network's gradient."""
    sizes = [784, *NETWORKS[network][0], 10]
    return sum((a + 1) * b for a, b in pairwise(sizes))


def modelled(parts: tuple[float, float], network: str, batch: int, ranks: int, link: str) -> float:
    """Seconds of a step by so many ranks, of its fixed part and a row's."""
    fixed, per_row = parts
    latency, bandwidth = LINKS[link]
    said = (ranks - 1 + log2(ranks)) * latency
    sent = 2 * (ranks - 1) / ranks * 4 * parameters(network) / bandwidth
    return fixed + batch / ranks * per_row + said + sent


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        how, batch, *hidden = options.work
        work(how, [int(width) for width in hidden], int(batch))
        return
    where = machine.cpu()
    print(machine.headline("ci/ranks.py"), end="\n\n", flush=True)
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(options.rounds):
        for name, candidate in CANDIDATES.items():
            times[name].append(seconds(candidate, MEASURED))
    middle = {name: median(of) for name, of in times.items()}
    two = times["two ranks, 8 shards, 1 core each"]
    print(f"A step of {MEASURED}, batch 512, medians of {options.rounds} rounds; two ranks are so")
    print("many times as fast as each candidate (median of the rounds' ratios):\n")
    ratios = {}
    for name, of in times.items():
        ratios[name] = median(a / b for a, b in zip(of, two, strict=True))
        print(f"  {name:34} {middle[name] * 1e3:8.1f} ms  {ratios[name]:5.2f}")
    print("\nModel: steps a second, times those of one rank (1 core each), by ranks:\n")
    print(" " * 52 + "".join(f"{w:>7}" for w in RANKS))
    model: dict[str, Any] = {}
    for network, (_, own) in NETWORKS.items():
        one, few, many = CANDIDATES["one rank, 8 shards, 1 core"], own // 4, 2 * own
        each = [[seconds(one, network, b) for b in (few, many)] for _ in range(options.rounds)]
        small, large = (median(column) for column in zip(*each, strict=True))
        per_row = (large - small) / (many - few)
        parts = max(0.0, small - few * per_row), per_row
        model[network] = {"parts": parts, "speedup": {}}
        print(f"{network}: {parts[0] * 1e3:.2f} ms, and {per_row * 1e6:.1f} us a row")
        for batch, link in product(BATCHES[network], LINKS):
            alone = modelled(parts, network, batch, 1, link)
            gains = [alone / modelled(parts, network, batch, w, link) for w in RANKS]
            where_to = f"batch {batch}, {link}"
            model[network]["speedup"][where_to] = gains
            print(f"  {where_to:50}" + "".join(f"{gain:7.1f}" for gain in gains))
    if options.json:
        content = {"machine": where, "seconds": times, "ratios": ratios, "model": model}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
