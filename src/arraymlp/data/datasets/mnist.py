"""MNIST from the bundled copy, checked, and the curves that the lab published."""

import csv
import gzip
import hashlib
import io
import zlib
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arraymlp.data.datasets.idx import read_idx

DATA = files(__package__) / "data"

# Of the uncompressed files, as published in many places.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DatasetError(RuntimeError):
    """A bundled file is missing, damaged or not the one that was published."""


class MNIST(NamedTuple):
    """The MNIST digits: images of 28 x 28 grey levels, and their labels.

    Attributes:
        X_train: (60000, 784), grey levels from 0 to 1, row by row from the top left.
        y_train: (60000,) int64, the digits 0 to 9.
        X_test: (10000, 784), as X_train.
        y_test: (10000,), as y_train.
    """

    X_train: npt.NDArray[np.floating[Any]]
    y_train: npt.NDArray[np.int64]
    X_test: npt.NDArray[np.floating[Any]]
    y_test: npt.NDArray[np.int64]


class PublishedEpoch(NamedTuple):
    """The errors that the lab printed after one epoch: fractions of the images misclassified.

    Attributes:
        epoch: its number, from 0.
        training_error: on the training images.
        test_error: on the test images.
    """

    epoch: int
    training_error: float
    test_error: float


def load_mnist(*, dtype: str = "float32") -> MNIST:
    """The bundled MNIST in file order: 60,000 training and 10,000 test images, and their labels.

    Images are grey levels divided by 255. Every call returns new, writable arrays.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.

    Args:
        dtype: of the images, "float32" (220 MB, as in the lab) or "float64" (440 MB).

    Raises:
        ValueError: another dtype.
        DatasetError: a bundled file cannot be read, or its uncompressed content has not the
            published SHA-256.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f'dtype is {dtype!r}, expected "float32" or "float64"')
    return MNIST(
        _images("train-images-idx3-ubyte", dtype),
        _read("train-labels-idx1-ubyte").astype(np.int64),
        _images("t10k-images-idx3-ubyte", dtype),
        _read("t10k-labels-idx1-ubyte").astype(np.int64),
    )


def published_curves() -> dict[str, list[PublishedEpoch]]:
    """The errors the lab report printed, by run, in order of epoch (0 to 69).

    The runs are "sigmoid-0.05" (epoch 39 is missing), "relu-0.05" and "relu-0.005", after the
    activation and the learning rate; of its other two runs the report has final accuracies only.

    Source: "Artificial Neural Network and Backpropagation", course D7041E, lab 5.
    """
    curves: dict[str, list[PublishedEpoch]] = {}
    text = (DATA / "published-curves.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        epoch = PublishedEpoch(
            int(row["epoch"]), float(row["training_error"]), float(row["test_error"])
        )
        curves.setdefault(row["run"], []).append(epoch)
    return curves


def _images(name: str, dtype: str) -> npt.NDArray[np.floating[Any]]:
    raw = _read(name)
    scaled: npt.NDArray[np.floating[Any]] = np.empty((len(raw), raw[0].size), dtype)
    for some in range(0, len(raw), 500):  # which the cache holds
        rows = slice(some, some + 500)
        scaled[rows] = raw[rows].reshape(-1, scaled.shape[1])
        scaled[rows] /= 255
    return scaled


def _read(name: str) -> npt.NDArray[Any]:
    file = DATA / f"{name}.gz"
    try:
        content = gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file}: cannot read the bundled file: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DatasetError(
            f"{file}: not the published {name}: SHA-256 of the uncompressed content is {digest}, "
            f"expected {SHA256[name]}"
        )
    return read_idx(io.BytesIO(content))
