"""Which networks give every row the same output: whatever their score, they have learned nothing.

Two of them have one score, and a ranking of them would be one of nothing.
"""

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, take_rows
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import sample_rows
from arraymlp.data.stream import Streamed
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling

SAMPLE_ROWS = 256
# Between rows, of logits (a thousandth of a probability's odds), or of predicted numbers, relative
# to the targets' standard deviation. Both are as the loss has them, standardised or not.
SAME = 1e-3


class ConstantOutputs:
    """Tells networks that give every row the same output, by a sample of their training rows."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._samples: dict[tuple[int, int], tuple[Array, HostArray, bool]] = {}

    def found_in(self, network: Network, data: Data, row_plan: RowPlan | None) -> bool:
        """Return True where the network's outputs are alike, and the targets are not.

        Args:
            network: a single one, on the backend of the data.
            data: all rows.
            row_plan: which of them the network trained on; None for all.
        """
        key = id(data), id(row_plan)
        if key not in self._samples:
            plan = row_plan or RowPlan(np.arange(int(data.X.shape[0]), dtype=np.int32))
            rows = np.sort(plan.rows)[sample_rows(len(plan.rows), SAMPLE_ROWS)]
            x = self._taken(data.X, rows, plan.inputs)
            y = self._taken(data.y.values, rows, plan.outputs)
            x_here, y_here = self._backend.to_numpy(x), self._backend.to_numpy(y)
            one_is_right = bool((y_here == y_here[0]).all() or (x_here == x_here[0]).all())
            self._samples[key] = x, y_here, one_is_right
        x, y, one_is_right = self._samples[key]
        if one_is_right:
            return False
        xp = self._backend.xp
        numeric = network.loss.classifies == "no"
        with np.errstate(all="ignore"):
            s = network.forward(x, xp)[-1].z
            values = network.loss.output(s, xp) if numeric else s
            values = self._backend.to_numpy(values).astype(float)
            if network.loss.classifies == "one":  # what all logits of a row share changes nothing
                values -= values.mean(axis=1, keepdims=True)
        scale = y.astype(float).std(axis=0) if numeric else np.ones(1)
        of_outputs = np.repeat(scale, values.shape[1] // len(scale))
        alike = np.ptp(values, axis=0) <= SAME * of_outputs
        return bool((alike | (of_outputs == 0)).all())

    def _taken(self, values: Array | Streamed, rows: HostArray, scaling: Scaling | None) -> Array:
        """These rows, standardised as the members of a row plan have them."""
        taken = take_rows(values, rows, self._backend)
        return taken if scaling is None else scaling.apply(taken)
