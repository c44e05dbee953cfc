"""Data that comes with the package: MNIST, the published lab's curves; a reader for IDX files."""

from arraymlp.data.datasets import MNIST, DatasetError, load_mnist, published_curves, read_idx

__all__ = [
    "MNIST",
    "DatasetError",
    "load_mnist",
    "published_curves",
    "read_idx",
]
