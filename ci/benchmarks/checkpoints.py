"""Checkpoints: what an epoch takes with one after each epoch, and with one after each step."""

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import arraymlp
from arraymlp.training.checkpoint import Checkpoint
from benchmarks.peers import Task
from benchmarks.rounds import OURS, Candidate, Goal, Plan, Result, blas_threads, measure
from benchmarks.training import make_task, mnist

EPOCHS = 3  # of which the first is not counted: the set-up and the file's first writing are in it
EVERY_EPOCH, EVERY_STEP = "a checkpoint every epoch", "a checkpoint every step"
GOALS = {EVERY_EPOCH: Goal(OURS, 1.02, most=True), EVERY_STEP: Goal(OURS, 2.0, most=True)}


def case_checkpoint(plan: Plan) -> list[Result]:
    """The lab's network on MNIST, with and without checkpoints."""
    task = make_task(mnist(), (100, 100), 100, plan)
    n = len(task.X)
    short = max(1, n // 10 // task.batch) * task.batch
    work: dict[str, Candidate | str] = {
        name: Candidate(
            partial(an_epoch, task, n, every), blas_threads, partial(an_epoch, task, short, every)
        )
        for name, every in ((OURS, None), (EVERY_EPOCH, "1 epoch"), (EVERY_STEP, "1 step"))
    }
    sizes = "-".join(map(str, task.network.sizes))
    title = f"{sizes}, batch {task.batch}, SGD, {n:,} rows, with checkpoints: an epoch"
    return [measure(Result("checkpoint", title, n, goals=GOALS), work, plan.share(1))]


def an_epoch(task: Task, rows: int, every: str | None) -> float:
    """The seconds of an epoch, from the end of the one before: what follows its record counts."""
    ends: list[float] = []

    def note(event: Any) -> None:
        ends.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        arraymlp.train(
            task.X[:rows],
            task.y[:rows],
            network=task.network,
            epochs=EPOCHS,
            callbacks=[note],
            checkpoint=None if every is None else Checkpoint(Path(folder) / "run", every),
            **task.settings,
        )
    return (ends[-1] - ends[0]) / (EPOCHS - 1)
