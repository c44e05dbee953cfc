"""Sphinx: a page to play with among the built pages, ``play.html``, of networks trained for it.

A page of the documentation shows it with ``<iframe src="play.html">``.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp import Run, train
from arraymlp.backends.array import HostArray
from arraymlp.datasets import load_mnist
from arraymlp.html.document import document
from arraymlp.pages.playground import playground

TRAINED, VALIDATED = 12_000, 2_000  # images
HALF = 14  # pixels across, so that the page is small


def halved(X: HostArray) -> HostArray:
    """Images (N, 784) at half of their size, (N, 196), in 255 greys: means of four pixels."""
    fours = X.reshape(-1, HALF, 2, HALF, 2).mean(axis=(2, 4))
    return np.asarray(np.round(255 * fours).reshape(len(X), -1) / 255)


def runs() -> dict[str, Run]:
    """A network that learns, and one with the lab's settings, whose second layer dies."""
    mnist = load_mnist()
    X, y = halved(mnist.X_train[:TRAINED]), mnist.y_train[:TRAINED]
    data: dict[str, Any] = {
        "validation": (halved(mnist.X_test[:VALIDATED]), mnist.y_test[:VALIDATED]),
        "snapshots": 12,
        "probes": True,
        "backend": "numpy",
    }
    return {
        "it learns: 16 units, the default settings": train(X, y, hidden=(16,), epochs=10, **data),
        "it dies: the lab's settings, rate 0.05": train(
            X, y, hidden=(16, 16), preset="lab", activation="relu", learning_rate=0.05, epochs=10,
            **data,
        ),
    }  # fmt: skip


def write(app: Any, exception: Exception | None) -> None:
    """Write the page beside the others, once they are built."""
    if exception is None and app.builder.format == "html":
        logging.getLogger("arraymlp").setLevel(logging.WARNING)  # it would tell of its backend
        title = "Networks to play with"
        page = document(title, f"<h1>{title}</h1>{playground(runs(), heading=2)}")
        Path(app.outdir, "play.html").write_text(page, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
