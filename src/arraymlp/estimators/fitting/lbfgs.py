"""L-BFGS through SciPy: one network at a time, all rows in every step, for small data.

Byrd, Lu, Nocedal, Zhu 1995. The vector of all parameters lives on the host, in double precision;
loss and gradient are computed where the network is, and come back in one transfer each time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.data.data import Data, row_blocks
from arraymlp.data.minibatches import Minibatch
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import SGD
from arraymlp.training.model import MultilayerPerceptron

# A gradient step without dropout and the like. No optimiser reads it: SciPy is the optimiser.
PLAIN = Hyper(SGD().constants(0.0, 1))


@dataclass(frozen=True)
class Minimum:
    """Where L-BFGS ended.

    Attributes:
        loss: mean loss of a sample, weighted where samples are.
        penalty: alpha / 2 |W|^2 over the sum of the samples' weights.
        n_iter: iterations made.
        ended: whether it found no way down, or the callback stopped it.
        status: SciPy's.
        message: SciPy's, why it ended.
    """

    loss: float
    penalty: float
    n_iter: int
    ended: bool
    status: int
    message: str


def minimize(
    network: MultilayerPerceptron,
    data: Data,
    *,
    alpha: float,
    max_iter: int,
    max_fun: int,
    tol: float,
    callback: Callable[[int, float, float], bool | None] | None = None,
) -> Minimum:
    """Change the network's weights and biases to a minimum over the rows of the data.

    The function minimised is (sum_i w_i L_i + alpha / 2 |W|^2) / sum_i w_i.

    Args:
        network: what to train, in place.
        data: on the network's device.
        alpha: of the penalty on the weights, not on the biases.
        max_iter: bound on the iterations.
        max_fun: bound on the passes over the data.
        tol: it ends where the largest entry of the (projected) gradient is at most that.
        callback: called after each iteration with its number, from 1, the loss and the penalty.
            Return True to stop.

    Raises:
        DeviceMemoryError: a step does not fit the device's memory.
    """
    from scipy.optimize import minimize as scipy_minimize

    backend = network.backend
    objective = Objective(network, data, alpha)
    done, stopped = 0, False

    def iterated(packed: HostArray) -> None:
        nonlocal done, stopped
        done += 1
        if callback is not None:
            # SciPy calls this for the last point it evaluated, with rare exceptions.
            if objective.at is None or not np.array_equal(packed, objective.at):
                objective(packed)
            stopped = bool(callback(done, objective.loss, objective.penalty))
            if stopped:
                raise StopIteration

    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    with (
        backend.within_memory(
            "Narrower hidden layers, or a solver that has minibatches, need less."
        ),
        np.errstate(all="ignore"),
    ):
        result = scipy_minimize(
            objective,
            objective.packed(),
            method="L-BFGS-B",
            jac=True,
            callback=iterated,
            options=options,
        )
        objective(result.x)
    return Minimum(
        objective.loss,
        objective.penalty,
        int(result.nit),
        bool(result.success) or stopped,
        int(result.status),
        str(result.message),
    )


class Objective:
    """The function to minimise: all parameters in a vector -> its value and gradient.

    Attributes:
        at: the vector of the last call, whose parameters the network has.
        loss: its mean loss.
        penalty: its penalty; the value is their sum.

    Args:
        network: whose parameters each call sets.
        data: the rows, on the network's device.
        alpha: of the penalty.
    """

    def __init__(self, network: MultilayerPerceptron, data: Data, alpha: float) -> None:
        self._network, self._data, self._alpha = network, data, alpha
        self._backpropagate = backpropagation(network, "sum")
        weight, backend = data.y.loss_weight, network.backend
        self._total = float(data.X.shape[0] if weight is None else backend.to_numpy(weight).sum())
        self._shapes = [shape for a in network.layers for shape in (a.weights.shape, a.bias.shape)]
        self.at: HostArray | None = None
        self.loss = self.penalty = 0.0

    def packed(self) -> HostArray:
        """The network's parameters: weights and bias of one layer after the other."""
        backend = self._network.backend
        arrays = [b for a in self._network.layers for b in (a.weights, a.bias)]
        return np.concatenate([a.ravel() for a in backend.fetch(arrays)]).astype(np.float64)

    def _unpacked(self, packed: HostArray) -> list[HostArray]:
        """A vector of parameters as arrays of their shapes."""
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self._shapes])
        pieces = np.split(packed, ends[:-1])
        return [p.reshape(shape) for p, shape in zip(pieces, self._shapes, strict=True)]

    def __call__(self, packed: HostArray) -> tuple[float, HostArray]:
        """Set the network's parameters; return the value there, and its gradient as a vector."""
        network, data = self._network, self._data
        backend = network.backend
        parameters = self._unpacked(packed)
        for layer, w, b in zip(network.layers, parameters[::2], parameters[1::2], strict=True):
            layer.weights = backend.asarray(w, network.dtype, copy=True)
            layer.bias = backend.asarray(b, network.dtype, copy=True)
        sums: list[Array] = []  # the loss, and its gradient for each of the arrays
        for rows, x in row_blocks(data.X, network):
            weight = None if data.y.loss_weight is None else data.y.loss_weight[rows, ...]
            batch = Minibatch(x, data.y.values[rows, ...], weight)
            loss, gradients = self._backpropagate(network, batch, PLAIN)
            block_sums = [loss, *(g for layer in gradients for g in layer)]
            sums = [a + b for a, b in zip(sums, block_sums, strict=True)] if sums else block_sums
        value, *gradient = backend.fetch(sums)
        self.at = packed.copy()
        self.loss = float(value) / self._total
        squares = sum(float((w**2).sum()) for w in parameters[::2])
        self.penalty = self._alpha / 2 * squares / self._total
        l2 = [self._alpha * w if i % 2 == 0 else 0.0 for i, w in enumerate(parameters)]
        slopes = [(g + p).ravel() for g, p in zip(gradient, l2, strict=True)]
        return self.loss + self.penalty, np.concatenate(slopes).astype(np.float64) / self._total
