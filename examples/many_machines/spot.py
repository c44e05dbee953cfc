"""A training on a machine that may be taken away: python spot.py FOLDER, again and again.

It keeps its state in FOLDER, which must outlive the machine, and goes on from it to the same bits.
When it is told to stop (SIGTERM) it writes the last state and ends with status 143: start it again.
It ends with 0 when the training is done.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import arraymlp


def main() -> int:
    """Train, or go on; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with X.npy and y.npy")
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()

    X, y = np.load(options.folder / "X.npy"), np.load(options.folder / "y.npy")
    run = arraymlp.train(
        X,
        y,
        epochs=options.epochs,
        validation=0.2,
        checkpoint=arraymlp.Checkpoint(options.folder / "run.ckpt", every="1 min"),
        progress=True,
    )
    if run.ended == "interrupted":
        return 143
    arraymlp.save(run.network, options.folder / "network.safetensors")
    print(f"{run.ended} after {len(run.history)} epochs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
