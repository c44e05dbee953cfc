"""How good a network is, on CUDA: its products by cuBLAS, and two kernels of our own.

In the generic way an evaluation is some 35 launches, of 25 kernels that CuPy has to compile before
the first. This way it is two or three for each layer.
"""

from math import log, log1p

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.dense import THREADS, elementwise, mask_of
from arraymlp.engines.cuda.source import ACTIVATION_NUMBERS, Launches, blocks_of, loss_name
from arraymlp.nn.network import Network

COVERED = ("softmax_cross_entropy", "capped_softmax_cross_entropy")


def covers(network: Network) -> bool:
    """Whether the kernels can evaluate this network."""
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return (
        loss_name(network.loss) in COVERED
        and all(layer.activation in ACTIVATION_NUMBERS for layer in network.layers)
        and all(a.flags.c_contiguous for a in arrays)
    )


class LabelEvaluator:
    """Evaluates rows with labels.

    Args:
        network: one that ``covers`` says yes to.
        device: launches the kernels of ``dense_float32.cu`` or ``dense_float64.cu``.
        product: multiplies matrices, in full precision.
    """

    def __init__(self, network: Network, device: Launches, product: Multiplies) -> None:
        self._network, self._device, self._product = network, device, product
        self._members = network.members or 1
        self._number = np.dtype(network.dtype).type

    def __call__(self, x: Array, labels: Array) -> tuple[Array, Array, Array] | None:
        """Each row's loss and wrong decision (..., B), and how often each class is chosen (..., n).

        None where x (B, n_in), or labels (B,), is not what the kernels read.
        """
        network, members = self._network, self._members
        known = x.dtype == network.layers[0].weights.dtype and labels.dtype == np.int32
        if not (known and labels.ndim == 1 and x.flags.c_contiguous and labels.flags.c_contiguous):
            return None
        leading = () if network.members is None else (members,)
        xp, rows = network.backend.xp, int(x.shape[0])
        if members * rows * max(network.sizes) >= 2**31:
            return None
        z = x
        for layer in network.layers:
            s = xp.empty((*leading, rows, layer.n_out), dtype=x.dtype)
            self._product(z, layer.weights, s)
            if layer is not network.layers[-1]:
                self._activate(s, layer.bias, layer.n_out, ACTIVATION_NUMBERS[layer.activation])
            z = s
        n = network.sizes[-1]
        loss, wrong = (xp.empty((*leading, rows), dtype=x.dtype) for _ in range(2))
        counts = xp.zeros((*leading, n), dtype=x.dtype)
        eps = float(np.finfo(network.dtype).eps)
        capped = np.int32(network.loss.name.startswith("capped"))
        bounds = self._number(-log1p(-eps)), self._number(-log(eps))
        sizes = np.uint32(rows), np.uint32(n), np.uint32(members)
        arrays = (z, network.layers[-1].bias, labels, loss, wrong, counts)
        grid = (blocks_of(rows, THREADS // 32), members, 1)
        self._device.launch("evaluate", grid, THREADS, (*arrays, *sizes, capped, *bounds))
        return loss, wrong, counts

    def _activate(self, s: Array, bias: Array, n: int, kind: int) -> None:
        """From products to outputs, in place."""
        size = s.size // self._members
        numbers = np.uint32(size), np.uint32(n), np.int32(kind), np.int32(0)  # without slopes
        args = (s, bias, s, None, *numbers, *mask_of(None, self._number))
        elementwise(self._device, "activate", size, self._members, args)
