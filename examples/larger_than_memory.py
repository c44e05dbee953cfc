"""Train on a file of 1.0 GB in a process that may have 0.5 GB of memory for its data."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import arraymlp

ROWS, FEATURES, LIMIT = 1_250_000, 200, 500_000_000
PART = 50_000

rng = np.random.default_rng(3)
truth = rng.normal(size=FEATURES).astype(np.float32) / FEATURES**0.5

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "X.f32"
    y = np.empty(ROWS, dtype=np.int64)
    with path.open("wb") as file:
        for start in range(0, ROWS, PART):
            part = rng.standard_normal((PART, FEATURES), dtype=np.float32)
            y[start : start + PART] = part @ truth > 0
            part.tofile(file)

    if sys.platform == "linux":
        import resource

        # Everything the process allocates counts; pages of a file it merely reads do not.
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    X = np.memmap(path, dtype=np.float32, mode="r", shape=(ROWS, FEATURES))
    if sys.platform == "linux":
        try:
            np.array(X)
        except MemoryError:
            print(f"{X.nbytes / 1e9:.1f} GB do not fit into {LIMIT / 1e9:.1f} GB")
        else:
            raise AssertionError("the limit limits nothing")

    run = arraymlp.train(
        X,
        y,
        hidden=(32,),
        batch_size=500,
        epochs=1,
        validation=0.02,
        window=20_000,
        backend="numpy",
    )
    error = run.history[-1]["validation_error"]
    print(f"one epoch of {ROWS:,} rows, 20,000 at a time: {1 - error:.1%} right on held-out rows")
    del X, run  # Windows removes no file that is mapped

assert error < 0.05
