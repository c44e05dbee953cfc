"""Evaluation of a network on CUDA: its products by cuBLAS, and two kernels of our own.

An evaluation by array code is some 35 launches, of 25 kernels that CuPy has to compile before the
first. This one is two or three launches a layer.
"""

from math import log, log1p

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.arrays import is_contiguous
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.dense_kernels import DenseKernels
from arraymlp.engines.cuda.source import Launches
from arraymlp.engines.numbers import ACTIVATION_NUMBERS, loss_name
from arraymlp.nn.network import Network

COVERED = ("softmax_cross_entropy", "capped_softmax_cross_entropy")


def covers(network: Network) -> bool:
    """Return True where the kernels can evaluate this network."""
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return (
        loss_name(network.loss) in COVERED
        and all(layer.activation in ACTIVATION_NUMBERS for layer in network.layers)
        and all(is_contiguous(a) for a in arrays)
    )


class LabelEvaluator:
    """Evaluates rows with labels; see `arraymlp.steps.step.Evaluator`.

    Args:
        network: one that the kernels cover.
        device: launches the kernels of ``dense_float32.cu`` or ``dense_float64.cu``.
        product: multiplies matrices, in full precision.
    """

    def __init__(self, network: Network, device: Launches, product: Multiplies) -> None:
        self._network, self._product = network, product
        self._members = network.members or 1
        self._kernels = DenseKernels(device, self._members, network.dtype)

    def __call__(self, x: Array, labels: Array) -> tuple[Array, Array, Array] | None:
        """Return each row's loss and wrong decision (..., B), and the classes' counts (..., n).

        None where x (B, n_in) or labels (B,) are not contiguous, or of another dtype than the
        network's and int32.
        """
        network, members = self._network, self._members
        readable = x.dtype == network.layers[0].weights.dtype and labels.dtype == np.int32
        if not (readable and labels.ndim == 1 and is_contiguous(x) and is_contiguous(labels)):
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
                self._kernels.activate(s, layer.bias, s, ACTIVATION_NUMBERS[layer.activation])
            z = s
        n = network.sizes[-1]
        loss, wrong = (xp.empty((*leading, rows), dtype=x.dtype) for _ in range(2))
        counts = xp.zeros((*leading, n), dtype=x.dtype)
        eps = float(np.finfo(network.dtype).eps)
        caps = (-log1p(-eps), -log(eps)) if network.loss.name.startswith("capped") else None
        self._kernels.evaluate(z, network.layers[-1].bias, labels, (loss, wrong, counts), caps)
        return loss, wrong, counts
