"""How large the features and targets are that a network is given: layers expect values around 1.

Initial weights are drawn for inputs of variance 1 (LeCun et al. 1998, "Efficient BackProp",
sections 4.3 and 4.6), and default learning rates are chosen on such. Inputs c times as large give
the first layer gradients c times as large, while its biases stay as slow as they were; a column far
larger than the others hides them; and rows that hardly differ are alike to every unit.

The bounds were chosen on small problems, trained by AdamW, Adam, SGD and momentum, with features
and targets from 0.0001 to 1,000 times as large as standardised ones or as far from 0. At them SGD
or momentum fails, and AdamW does worse with such features, and with targets so far from 0 or so
small. Pixels from 0 to 1, one-hot columns and all that is standardised are well within them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, take_rows
from arraymlp.data.splits import sample_rows
from arraymlp.data.standardize import moments
from arraymlp.data.stream import Streamed, window_rows
from arraymlp.data.targets import Targets

ROWS = 2_000  # that are measured, evenly spread; or as many as fill 64 MiB
LARGE = 10.0  # root mean square of a column
LARGE_UNSCALED = 100.0  # of targets of a loss that takes them as they are, such as counts
ALIKE = 0.03  # root mean square distance of rows of features from their mean; one-hot rows have 1
ALIKE_TARGETS = 0.1


@dataclass(frozen=True)
class Magnitudes:
    """Each column's mean and standard deviation, as the network is given it.

    Attributes:
        mean: (n,) float64, on the host.
        deviation: likewise; 0 for columns that do not vary.
        what: "X" or "y".
        names: the columns' names; None where they have none.
    """

    mean: HostArray
    deviation: HostArray
    what: str
    names: Sequence[str] | None = None

    @property
    def largest(self) -> int:
        """The column of the largest root mean square."""
        return int(self._size.argmax())

    @property
    def size(self) -> float:
        """The largest root mean square of a column."""
        return float(self._size.max())

    @property
    def _size(self) -> HostArray:
        return np.hypot(self.mean, self.deviation)

    @property
    def distance(self) -> float:
        """The root mean square distance of rows from their mean; 0 where none differs."""
        return float(np.linalg.norm(self.deviation))

    @property
    def least_varying(self) -> int:
        """The column of the smallest standard deviation that is not 0."""
        return int(np.where(self.deviation > 0, self.deviation, np.inf).argmin())

    @property
    def most_varying(self) -> int:
        """The column of the largest standard deviation."""
        return int(self.deviation.argmax())

    def column(self, j: int) -> str:
        """A column as text: ``X[:, 3]``, with its name where it has one; ``y`` where it is all."""
        if self.what == "y" and len(self.mean) == 1:
            return "y"
        name = "" if self.names is None else f" ({self.names[j]!r})"
        return f"{self.what}[:, {j}]{name}"


def feature_magnitudes(
    X: Array | Streamed, backend: Backend, names: Sequence[str] | None = None
) -> Magnitudes:
    """Those of rows (N, n_features), standardised or not, as the network is given them."""
    return Magnitudes(*moments(_sample(X, backend), backend), "X", names)


def target_magnitudes(y: Targets, backend: Backend) -> Magnitudes | None:
    """Those of targets that are numbers, as the loss is given them; None for classes."""
    if y.loss.classifies != "no":
        return None
    return Magnitudes(*moments(_sample(y.values, backend), backend), "y")


def _sample(rows: Array | Streamed, backend: Backend) -> HostArray:
    """Some of the rows, evenly spread, on the host."""
    n, width = (int(size) for size in rows.shape)
    at_most = min(ROWS, window_rows(width, 1, "float64", None))
    with backend.active():
        return backend.to_numpy(take_rows(rows, sample_rows(n, at_most), backend))


def features_far(magnitudes: Magnitudes) -> bool:
    """True where features are far from what layers expect: too large, or rows too much alike."""
    return magnitudes.size > LARGE or 0 < magnitudes.distance < ALIKE


def targets_far(magnitudes: Magnitudes | None, y: Targets) -> bool:
    """True where targets are far from the outputs that a network begins with."""
    if magnitudes is None:
        return False
    if not y.loss.scales:
        return magnitudes.size > LARGE_UNSCALED
    return magnitudes.size > LARGE or 0 < magnitudes.distance < ALIKE_TARGETS


def far_in_words(data: Data, backend: Backend, names: Sequence[str] | None) -> str:
    """What of the data is far from values around 1, and what mends it; "" where nothing is."""
    X, y = feature_magnitudes(data.X, backend, names), target_magnitudes(data.y, backend)
    words = []
    if features_far(X):
        words.append(f"{_words(X)} (standardize=True, or a StandardScaler, scales it)")
    if y is not None and targets_far(y, data.y):
        mends = 'standardize="targets" scales it' if data.y.loss.scales else "divide it"
        words.append(f"{_words(y)} ({mends})")
    return " and ".join(words)


def _words(magnitudes: Magnitudes) -> str:
    j = magnitudes.largest
    mean, deviation = magnitudes.mean[j], magnitudes.deviation[j]
    return f"{magnitudes.column(j)} has mean {mean:.3g} and standard deviation {deviation:.3g}"
