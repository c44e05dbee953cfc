"""Sweeps by worker processes: killed at random, to the same bits; and their speed.

``--runs 20`` kills a worker at a random time in each of so many sweeps, by turns of forked and
spawned processes, and compares all bits with those of the sweep in this process. ``--speed`` times
64 networks of the lab on two processes beside the sweep in this process, by turns, and what one
slice of a stack costs besides its training. Status 1 after a difference or a run that is too slow.
"""

import argparse
import logging
import os
import random
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import numpy as np
from benchmarks import machine

import arraymlp
from arraymlp.sweeps.workers import part

LONGEST_RUN = 60.0  # seconds, beside a slice
LAB: dict[str, Any] = {
    "hidden": (100, 100),
    "batch_size": 100,
    "epochs": 2,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "standardize": False,
    "backend": "numpy",
}


def weights(member: Any) -> list[Any]:
    """All weights and biases of a network."""
    return [a for layer in member.network.layers for a in (layer.weights, layer.bias)]


def differences(actual: arraymlp.SweepResult, expected: arraymlp.SweepResult) -> int:
    """How many networks differ in a bit of weights, losses or status."""
    return sum(
        a.status != b.status
        or a.history["loss"] != b.history["loss"]
        or a.history["validation_loss"] != b.history["validation_loss"]
        or any(not np.array_equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))
        for a, b in zip(actual, expected, strict=True)
    )


def killed(runs: int, seed: int) -> bool:
    """Kill a worker in each run; True where all came out alike, in time."""
    draw = random.Random(seed)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, 20)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
    given: dict[str, Any] = {
        "hidden": [(32,), (48, 16)],
        "learning_rate": [0.001, 0.01, 0.1],
        "seed": range(4),
        "dropout": [0, 0.1],
        "early_stopping": True,
        "epochs": 30,
        "validation": 0.2,
        "backend": "numpy",
    }
    start = time.perf_counter()
    expected = arraymlp.sweep(X, y, **given)
    alone = time.perf_counter() - start
    part.SHORTEST = part.LONGEST = 0.1  # so that a kill meets a slice at any place
    good = True
    print(f"the sweep of {len(expected)} networks in this process: {alone:.1f} s")
    print(f"{'run':>4} {'started by':<11}{'killed at':>10}{'seconds':>9}{'differ':>8}{'lost':>6}")
    for run in range(runs):
        method = ("fork", "spawn")[run % 2]
        with ProcessPoolExecutor(2, get_context(method)) as pool:
            list(pool.map(abs, range(2)))
            moment = draw.uniform(0.0, alone)
            victim = draw.choice(list(pool._processes))

            def kill(victim: int = victim) -> None:
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)

            timer = threading.Timer(moment, kill)
            timer.start()
            start = time.perf_counter()
            actual = arraymlp.sweep(X, y, executor=pool, **given)
            seconds = time.perf_counter() - start
            timer.cancel()
        differ = differences(actual, expected)
        lost = sum(m.status == "lost" for m in actual)
        good = good and not differ and not lost and seconds < LONGEST_RUN + part.LONGEST
        print(
            f"{run:>4} {method:<11}{moment:>9.2f}s{seconds:>9.2f}{differ:>8}{lost:>6}", flush=True
        )
    return good


def speed(rounds: int) -> None:
    """Time the lab's networks on two processes beside this process, and what a slice costs."""
    X, y, *_ = arraymlp.datasets.load_mnist()
    given: dict[str, Any] = {**LAB, "seed": range(64)}
    times: dict[str, list[float]] = {"in this process": [], "on two processes": []}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        arraymlp.sweep(X[:1000], y[:1000], executor=pool, **{**given, "epochs": 1})  # start-up
        for _ in range(rounds):
            for name, executor in (("in this process", None), ("on two processes", pool)):
                start = time.perf_counter()
                arraymlp.sweep(X, y, executor=executor, **given)
                times[name].append(time.perf_counter() - start)
        slices = small_slices(pool)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        listed = " ".join(f"{s:.1f}" for s in seconds)
        print(
            f"64 networks of the lab, 2 epochs, {name:<17} median {medians[name]:6.2f} s ({listed})"
        )
    print(f"speed of two processes: {medians['in this process'] / medians['on two processes']:.2f}")
    print(f"a slice, beside its training: {slices:.2f} ms")


def small_slices(pool: ProcessPoolExecutor) -> float:
    """What a slice of next to no training costs in all, in milliseconds of one worker."""
    X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    part.SHORTEST = part.LONGEST = 0.0
    epochs, seeds = 50, 4  # two stacks a worker, a slice an epoch
    start = time.perf_counter()
    arraymlp.sweep(
        X, X[:, 0], executor=pool, hidden=(4,), epochs=epochs, seed=range(seeds), backend="numpy"
    )
    return (time.perf_counter() - start) / (epochs * seeds) * 1000 * 2


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="ci/workers", description=__doc__)
    parser.add_argument("--runs", type=int, default=0, help="sweeps in which a worker is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the kills' times (0)")
    parser.add_argument("--speed", action="store_true", help="time it")
    parser.add_argument("--rounds", type=int, default=3, help="of the timing (3)")
    options = parser.parse_args()
    logging.getLogger("arraymlp").setLevel(logging.ERROR)  # the workers that it kills itself
    print(machine.headline("ci/workers"), end="\n\n")
    good = killed(options.runs, options.seed) if options.runs else True
    if options.speed:
        speed(options.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
