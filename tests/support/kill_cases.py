"""Trainings that are killed, by name: what each trains, and all that it comes to.

An outcome is bytes by name. The same training, unbroken, must come to the same bytes.
"""

import csv
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arraymlp import sweep, train
from arraymlp.callbacks import CSVLog
from arraymlp.schedules import Adaptive
from arraymlp.training.checkpoint import Checkpoint

ROWS, FEATURES = 600, 12
TIMES = ("seconds", "samples_per_s")  # of a record, which no other training repeats
INTERRUPTED = "interrupted"


class Outcome(NamedTuple):
    """What a training came to.

    Attributes:
        ended: "interrupted" where it is to go on; else "finished".
        parts: all that must be the same, by name.
    """

    ended: str
    parts: dict[str, bytes]


# Trains in a folder of its own, with a checkpoint or without one.
Work = Callable[[Checkpoint | None, Path], Outcome]


def problem() -> tuple[Any, Any]:
    """Rows of three classes."""
    X = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("f")
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)


class Chunks:
    """The problem, part by part."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        X, y = problem()
        for start in range(0, ROWS, 150):
            yield X[start : start + 150], y[start : start + 150]


def of_memory() -> dict[str, Any]:
    """Rows in memory, a fifth of them for validation."""
    X, y = problem()
    return {"X": X, "y": y, "validation": 0.2}


def of_map(folder: Path) -> dict[str, Any]:
    """Rows in a file, which is mapped."""
    X, y = problem()
    if not (file := folder / "X.npy").exists():
        np.save(folder / "new.npy", X)
        (folder / "new.npy").replace(file)
    return {"X": np.load(file, mmap_mode="r"), "y": y, "window": 120, "validation": 0.2}


def of_sparse() -> dict[str, Any]:
    """Rows of SciPy's."""
    from scipy.sparse import csr_array

    X, y = problem()
    return {"X": csr_array(np.where(X > 0.5, X, 0)), "y": y, "validation": 0.2}


def records(history: Any) -> list[dict[str, Any]]:
    """Records without what no other training repeats."""
    return [{k: v for k, v in record.items() if k not in TIMES} for record in history]


def parameters(*networks: Any) -> bytes:
    """The bytes of networks' parameters."""
    layers = [layer for network in networks for layer in network.layers]
    return b"".join(np.asarray(a).tobytes() for x in layers for a in (x.weights, x.bias))


def outcome_of_run(run: Any) -> Outcome:
    """What a run came to."""
    features = run.network.sizes[0]
    rows = np.random.default_rng(1).normal(size=(50, features)).astype(run.settings.dtype)
    about = [run.ended, run.cause, run.best_epoch, np.asarray(run.updates).tolist(), run.dead_units]
    about += [[m.to_dict() for m in run.measurements], run.engine, run.steps_done]
    return Outcome(
        INTERRUPTED if run.interrupted else "finished",
        {
            "weights": parameters(*run.networks),
            "history": repr(records(run.history)).encode(),
            "predictions": np.asarray(run.network.predict(rows)).tobytes(),
            "state": repr(about).encode(),
        },
    )


def outcome_of_sweep(result: Any) -> Outcome:
    """What a sweep came to."""
    if result.interrupted:
        return Outcome(INTERRUPTED, {})
    rows = np.random.default_rng(1).normal(size=(50, result.networks[0].sizes[0])).astype("f")
    about = [(m.status, m.cause, m.best_epoch, m.score) for m in result]
    predictions = [np.asarray(network.predict(rows)).tobytes() for network in result.networks]
    return Outcome(
        "finished",
        {
            "weights": parameters(*result.networks),
            "history": repr([records(m.records) for m in result]).encode(),
            "predictions": b"".join(predictions),
            "state": repr(about).encode(),
        },
    )


def training(
    data: Callable[..., dict[str, Any]],
    checkpoint: Checkpoint | None,
    folder: Path,
    **settings: Any,
) -> Outcome:
    """A call of `train`."""
    rows = data(folder) if data is of_map else data()
    how = {"hidden": (24, 16), "batch_size": 40, "epochs": 10, **settings}
    return outcome_of_run(train(**rows, **how, backend="numpy", checkpoint=checkpoint))


def of_train(data: Callable[..., dict[str, Any]] = of_memory, **settings: Any) -> Work:
    """The work of a call of `train`."""
    return partial(training, data, **settings)


def chunks() -> dict[str, Any]:
    """Rows in chunks."""
    return {"X": Chunks(), "y": None, "window": 120}


def logged(checkpoint: Checkpoint | None, folder: Path) -> Outcome:
    """A call of `train` with a log, whose rows are part of the outcome."""
    name = "unbroken.csv" if checkpoint is None else "log.csv"
    outcome = training(of_memory, checkpoint, folder, callbacks=[CSVLog(folder / name)])
    with (folder / name).open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return outcome._replace(parts={**outcome.parts, "file": json.dumps(rows).encode()})


def of_sweep(**settings: Any) -> Work:
    """The work of a call of `sweep`."""

    def work(checkpoint: Checkpoint | None, folder: Path) -> Outcome:
        X, y = problem()
        how = {"hidden": (16,), "batch_size": 40, "epochs": 8, "backend": "numpy", **settings}
        return outcome_of_sweep(sweep(X, y, **how, checkpoint=checkpoint))

    return work


def fitted(checkpoint: Checkpoint | None, folder: Path) -> Outcome:
    """An estimator's fit."""
    from arraymlp import MLPClassifier

    X, y = problem()
    given = {} if checkpoint is None else {"checkpoint": checkpoint}
    model = MLPClassifier((24,), max_iter=10, random_state=0, tol=0.0, **given)
    model.fit(X, y)
    curve = getattr(model, "loss_curve_", [])
    if len(curve) < 10:
        return Outcome(INTERRUPTED, {})
    parts = {"weights": parameters(model.network_), "history": repr(curve).encode()}
    return Outcome("finished", {**parts, "predictions": model.predict_proba(X).tobytes()})


def commanded(checkpoint: Checkpoint | None, folder: Path) -> Outcome:
    """The command line, in this process."""
    from arraymlp import SweepResult
    from arraymlp.app.main import main

    if not (table := folder / "table.csv").exists():
        X, y = problem()
        content = np.column_stack([X, y])
        names = ",".join([*(f"x{i}" for i in range(FEATURES)), "y"])
        np.savetxt(folder / "new.csv", content, delimiter=",", header=names, comments="")
        (folder / "new.csv").replace(table)
    saved = folder / ("unbroken" if checkpoint is None else "saved")
    options = ["--learning-rate", "0.01,0.1", "--seed", "0:2", "--epochs", "8", "--save", saved]
    options += [] if checkpoint is None else ["--checkpoint", checkpoint.path]
    sys.argv = ["arraymlp", "sweep", *map(str, [table, *options])]
    try:
        main()
    except SystemExit as error:
        if error.code in (130, 143):
            return Outcome(INTERRUPTED, {})
        if error.code:
            raise
    return outcome_of_sweep(SweepResult.load(saved))


def has_checkpoint(what: Any) -> bool:
    """Whether a function or class takes a checkpoint."""
    return "checkpoint" in inspect.signature(what).parameters


def available() -> dict[str, Work]:
    """The cases, without those whose libraries are not installed."""
    cases = dict(CASES)
    with suppress(ModuleNotFoundError):
        import scipy.sparse  # noqa: F401

        cases["sparse"] = of_train(of_sparse)
    with suppress(ModuleNotFoundError):
        from arraymlp import MLPClassifier

        if has_checkpoint(MLPClassifier):
            cases["estimator"] = fitted
    with suppress(ModuleNotFoundError):
        from arraymlp.app.sweeps.command import sweep_command

        if has_checkpoint(sweep_command):
            cases["command line"] = commanded
    return cases


POPULATION: dict[str, Any] = {"seed": [0, 1, 2], "learning_rate": [0.01, 0.02, 0.03]}
CASES: dict[str, Work] = {
    "SGD": of_train(optimizer="sgd", learning_rate=0.05, epochs=15),
    "SGD by array code": of_train(optimizer="sgd", learning_rate=0.05, engine="array"),
    "Adam": of_train(optimizer="adam", dropout=0.2, schedule="cosine"),
    "Adam by array code": of_train(
        optimizer="adam", dropout=0.2, schedule="cosine", engine="array"
    ),
    "early stopping": of_train(
        early_stopping=True, optimizer="adam", learning_rate=0.02, epochs=60
    ),
    "weight average": of_train(optimizer="adamw", weight_average=0.99, alpha=1e-3),
    "adaptive schedule": of_train(
        optimizer="sgd", learning_rate=0.5, schedule=Adaptive(patience=2), epochs=20
    ),
    "population": of_train(**POPULATION, early_stopping=True, dropout=0.1, epochs=30),
    "probes": of_train(probes=True, training_error=True),
    "float64": of_train(dtype="float64", optimizer="rmsprop", metrics=["f1"]),
    "memory map": of_train(of_map, epochs=8),
    "chunks": of_train(chunks, epochs=8),
    "CSV log": logged,
    "sweep": of_sweep(
        learning_rate=[0.001, 0.01, 0.1],
        seed=range(3),
        early_stopping=True,
        epochs=30,
        validation=0.2,
    ),
    "sweep of folds": of_sweep(learning_rate=[0.001, 0.01], cv=3, dropout=[0, 0.2], seed=range(2)),
    "sweep of shapes": of_sweep(
        hidden=[(8,), (16, 8)],
        optimizer=["sgd", "adam"],
        schedule=["cosine", Adaptive(patience=1)],
        weight_average=[0, 0.9],
        validation=0.2,
    ),
}
