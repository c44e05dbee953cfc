"""Class labels, as the user writes them, and their positions, as a network knows them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.sources import is_sparse
from arraymlp.training.model import MultilayerPerceptron

FIELDS = {"classes": "classes", "several": "multilabel", "sparse": "sparse"}  # in a model file


@dataclass(frozen=True)
class Labels:
    """What y may be: one of the classes a sample, or 0 and 1 in a column for each label.

    Attributes:
        classes: (n_classes,) ascending, on the host; multilabel, the numbers of the columns.
        multilabel: whether a sample can have several labels.
        sparse: whether these came as a sparse matrix, and are predicted as one.
    """

    classes: HostArray
    multilabel: bool
    sparse: bool = False

    @classmethod
    def of(cls, y: Any, classes: HostArray | None = None) -> Self:
        """The labels that occur in y (n_samples,) or (n_samples, n_labels), or the classes given.

        Raises:
            ValueError: y is no classification target that a network can learn.
        """
        check_classification_targets(y)
        target_type = type_of_target(y, input_name="y")
        if target_type == "multiclass-multioutput":
            raise ValueError("Multioutput target data is not supported with label binarization")
        labels = unique_labels(y if classes is None else classes)
        return cls(labels, target_type == "multilabel-indicator", is_sparse(y))

    @classmethod
    def from_file(cls, entries: Mapping[str, Any]) -> Self:
        """The labels that a model file's entries say; see `to_file`.

        Raises:
            TypeError: an entry is missing.
        """
        return cls(**{FIELDS[name]: value for name, value in entries.items()})

    def to_file(self) -> dict[str, Any]:
        """The entries of a model file."""
        return {name: getattr(self, attribute) for name, attribute in FIELDS.items()}

    def __len__(self) -> int:
        return len(self.classes)

    def encode(self, y: Any, *, require_all: bool = False) -> HostArray:
        """The position of each label (n_samples,), or y as columns of 0 and 1.

        Args:
            y: of these labels.
            require_all: whether each class must occur, as in a warm start.

        Raises:
            ValueError: y has other classes.
        """
        if (y.ndim == 2) != self.multilabel:
            now, then = ("several labels", "one class")[:: 1 if y.ndim == 2 else -1]
            raise ValueError(f"y has {now} a sample, but there was {then} a sample before")
        present = unique_labels(y)
        if require_all and set(present) != set(self.classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes}, `y` has {present}"
            )
        if len(np.setdiff1d(present, self.classes)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes}. 'y' has {present}."
            )
        if self.multilabel:
            return np.asarray((y.toarray() if is_sparse(y) else y) != 0, dtype=np.int64)
        return np.asarray(np.searchsorted(self.classes, y))

    def positions(self, y: Any) -> HostArray:
        """As `encode`, but a label that is none of these has the position of any of them."""
        if self.multilabel:
            return self.encode(y)
        return np.asarray(np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1))

    def weights(self, by_label: Mapping[Hashable, float]) -> dict[int, float]:
        """Weights by label as weights by position.

        A label that is no class here, as in a fold that lacks it, is passed over where all classes
        are named; else it may be a class misspelt, and is refused. That is scikit-learn's rule.
        """
        labels = self.classes.tolist()
        unknown = [label for label in by_label if label not in labels]
        if unknown and len(by_label) - len(unknown) < len(labels):
            raise ValueError(f"class_weight names {unknown}, but the classes are {labels[:20]}")
        return {i: by_label[label] for i, label in enumerate(labels) if label in by_label}

    def require_fit(self, network: MultilayerPerceptron) -> None:
        """A ValueError unless a network can have been trained on these labels."""
        classes, loss, n = self.classes, network.loss, network.sizes[-1]
        fits = isinstance(classes, np.ndarray) and classes.ndim == 1 and len(classes) > 0
        fits = fits and bool((classes[1:] > classes[:-1]).all())
        for flag in (self.multilabel, self.sparse):
            fits = fits and isinstance(flag, bool)
        if fits and self.multilabel:
            fits = loss.classifies == "each" and len(classes) == n and network.classes is None
        elif fits:
            positions = network.classes
            fits = positions is not None and len(positions) == max(2, len(classes))
        if not fits:
            raise ValueError(f"the labels {classes} for {n} outputs of {loss.name}")

    def on(self, backend: Backend) -> Array | HostArray:
        """The classes as an array there; those that only NumPy can hold, on the host.

        These are strings, and numbers of 64 bits where the device has 32.
        """
        if backend.name == "numpy" or self.classes.dtype.kind not in "biuf":
            return self.classes
        there = backend.asarray(self.classes)
        same = np.array_equal(backend.to_numpy(there), self.classes)
        return there if same else self.classes
