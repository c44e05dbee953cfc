"""A run that outlives its process: Ctrl-C, SIGTERM, a kill; the same command goes on with it."""

import sys

import numpy as np

import arraymlp

rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, (4000, 2))
y = X[:, 1] * np.sin(X[:, 0]) + rng.normal(0, 0.1, 4000)


def train() -> arraymlp.Run:
    """The call: it begins, goes on, or returns what is finished, by what the file says."""
    checkpoint = arraymlp.Checkpoint("long_run.ckpt", every="1 epoch")  # by default every 5 min
    return arraymlp.train(
        X,
        y,
        epochs=60,
        validation=0.2,
        metrics=["r2"],
        checkpoint=checkpoint,
    )


run = train()
if run.ended == "interrupted":  # the state is in the file
    sys.exit(143)  # so that a scheduler knows: not done yet
print(f"{run.ended}: R2 {run.history[-1]['validation_r2']:.3f} after {len(run.history)} epochs")
arraymlp.save(run.network, "long_run.safetensors")

again = train()  # nothing is left to do
assert again.history.records == run.history.records
assert (again.network.predict(X[:5]) == run.network.predict(X[:5])).all()
assert run.history[-1]["validation_r2"] > 0.9
