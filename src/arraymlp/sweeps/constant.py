"""Which networks give every row the same output: whatever their score, they have learned nothing.

Two of them have one score, and a ranking of them would be one of nothing.
"""

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, take_rows
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import sample_rows
from arraymlp.nn.network import Network

SAMPLE_ROWS = 256
# Between rows, of logits (a thousandth of a probability's odds), or of predicted numbers, relative
# to the targets' standard deviation.
SAME = 1e-3


class ConstantOutputs:
    """Tells networks that give every row the same output, by a sample of their training rows."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._samples: dict[tuple[int, int], tuple[Array, HostArray]] = {}

    def found_in(self, network: Network, data: Data, row_plan: RowPlan | None) -> bool:
        """Return True where the network's outputs are alike, and the targets are not.

        Args:
            network: a single one, on the backend of the data.
            data: all rows.
            row_plan: which of them the network trained on; None for all.
        """
        key = id(data), id(row_plan)
        if key not in self._samples:
            n = int(data.X.shape[0])
            numbers = np.arange(n, dtype=np.int32) if row_plan is None else np.sort(row_plan.rows)
            rows = numbers[sample_rows(len(numbers), SAMPLE_ROWS)]
            x, y = take_rows(data.X, rows, self._backend), data.y.values
            self._samples[key] = x, self._backend.to_numpy(y)[rows]
        x, y = self._samples[key]
        xp = self._backend.xp
        if (y == y[0]).all() or bool(xp.all(x == x[:1, :])):  # one output is then right
            return False
        numeric = network.loss.classifies == "no"
        with np.errstate(all="ignore"):
            s = network.forward(x, xp)[-1].z
            values = self._backend.to_numpy(network.numbers(s, xp) if numeric else s).astype(float)
        if network.loss.classifies == "one":  # what all logits of a row share changes nothing
            values -= values.mean(axis=1, keepdims=True)
        scale = y.astype(float).std(axis=0).min() if numeric else 1.0
        return bool((np.ptp(values, axis=0) <= SAME * scale).all())
