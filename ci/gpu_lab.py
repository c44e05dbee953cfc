"""The lab's runs on a backend, each a line of JSON as it ends: ci/gpu.py calls this."""

import argparse
import json
from pathlib import Path

from arraymlp.app.lab.experiments import LAB, chains, experiments
from arraymlp.app.lab.training import run_lab


def main() -> None:
    """Train the runs, one with those that continue it at a time, and write their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--epochs", type=int, default=LAB["epochs"])
    parser.add_argument("--lines", type=Path, required=True)
    options = parser.parse_args()
    given = {"backend": options.backend, "engine": options.engine, "epochs": options.epochs}
    with options.lines.open("w", encoding="utf-8", buffering=1) as lines:
        for chain in chains(experiments()):
            for row in run_lab([experiment.name for experiment in chain], **given).rows():
                lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
