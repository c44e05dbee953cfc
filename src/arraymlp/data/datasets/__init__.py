"""The lab's data, bundled: MNIST, the curves it published, and a reader of IDX files."""

from arraymlp.data.datasets.idx import IDXError, read_idx
from arraymlp.data.datasets.mnist import (
    MNIST,
    DatasetError,
    PublishedEpoch,
    load_mnist,
    published_curves,
)

__all__ = [
    "MNIST",
    "DatasetError",
    "IDXError",
    "PublishedEpoch",
    "load_mnist",
    "published_curves",
    "read_idx",
]
