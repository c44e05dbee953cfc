"""The lab's runs on a backend, each a line of JSON as it ends: ci/gpu.py calls this."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arraymlp.app.lab import training
from arraymlp.app.lab.experiments import LAB, chains, experiments
from arraymlp.app.lab.training import run_lab
from arraymlp.datasets import MNIST, load_mnist


def first(rows: int) -> Callable[..., MNIST]:
    """A function that loads so many of MNIST's rows, of those to train on and those to test on."""

    def load(**given: Any) -> MNIST:
        X, y, X_test, y_test = load_mnist(**given)
        return MNIST(X[:rows], y[:rows], X_test[:rows], y_test[:rows])

    return load


def main() -> None:
    """Train the runs, one with those that continue it at a time, and write their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--epochs", type=int, default=LAB["epochs"])
    parser.add_argument("--rows", type=int, help="of the data, to rehearse")
    parser.add_argument("--lines", type=Path, required=True)
    options = parser.parse_args()
    if options.rows is not None:
        vars(training)["load_mnist"] = first(options.rows)
    given = {"backend": options.backend, "engine": options.engine, "epochs": options.epochs}
    with options.lines.open("w", encoding="utf-8", buffering=1) as lines:
        for chain in chains(experiments()):
            for row in run_lab([experiment.name for experiment in chain], **given).rows():
                lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
