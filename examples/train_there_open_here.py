"""Train on a GPU where there is one, save, and open the network with NumPy alone."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import arraymlp

mnist = arraymlp.datasets.load_mnist()
with warnings.catch_warnings():
    # Without a GPU this falls back to NumPy and says so, once.
    warnings.simplefilter("ignore", arraymlp.BackendFallbackWarning)
    run = arraymlp.train(backend="cupy", epochs=2)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mnist.safetensors"
    arraymlp.save(run.network, path)
    network = arraymlp.load(path, backend="numpy")

here, there = network.predict(mnist.X_test), run.network.predict(mnist.X_test)
print(f"trained on {run.backend}, opened on {network.backend}: {np.mean(here == there):.2%} agree")
assert np.mean(here == there) > 0.999
assert np.mean(here == mnist.y_test) > 0.94
