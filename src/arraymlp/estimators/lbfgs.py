"""L-BFGS through SciPy: one network at a time, all rows in every step, for small data.

Byrd, Lu, Nocedal, Zhu 1995. The vector of all parameters lives on the host, in double precision;
loss and gradient are computed where the network is, and come back in one transfer each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.host import blas_threads
from arraymlp.data.data import Data, row_blocks
from arraymlp.data.minibatches import Minibatch
from arraymlp.steps.gradient import backpropagation
from arraymlp.training.model import MultilayerPerceptron


@dataclass(frozen=True)
class Minimum:
    """Where L-BFGS ended.

    Attributes:
        loss: mean loss of a sample, weighted where samples are.
        penalty: alpha / 2 |W|^2 over the sum of the samples' weights.
        n_iter: iterations made.
        ended: whether it found no way down, or was told to end.
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

    What is minimal there is (sum_i w_i L_i + alpha / 2 |W|^2) / sum_i w_i.

    Args:
        network: what to train, in place.
        data: on the network's device.
        alpha: of the penalty on the weights, not on the biases.
        max_iter: bound on the iterations.
        max_fun: bound on the passes over the data.
        tol: it ends where the largest entry of the (projected) gradient is at most that.
        callback: told after each iteration its number, from 1, the loss and the penalty; the answer
            True ends the run.
    """
    from scipy.optimize import minimize as scipy_minimize

    backend = network.backend
    objective = _Objective(network, data, alpha)
    done, told = 0, False

    def iterated(packed: HostArray) -> None:
        nonlocal done, told
        done += 1
        if callback is not None:
            # SciPy calls this for the last point it evaluated, with rare exceptions.
            if objective.at is None or not np.array_equal(packed, objective.at):
                objective(packed)
            told = bool(callback(done, objective.loss, objective.penalty))
            if told:
                raise StopIteration

    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    largest = data.X.shape[0] * max(layer.n_in * layer.n_out for layer in network.layers)
    with (
        backend.within_memory(
            "Narrower hidden layers, or a solver that has minibatches, need less."
        ),
        blas_threads(backend.name, largest),
        np.errstate(all="ignore"),
    ):
        found = scipy_minimize(
            objective,
            objective.packed(),
            method="L-BFGS-B",
            jac=True,
            callback=iterated,
            options=options,
        )
        objective(found.x)
    return Minimum(
        objective.loss,
        objective.penalty,
        int(found.nit),
        bool(found.success) or told,
        int(found.status),
        str(found.message),
    )


class _Objective:
    """The function to minimise: parameters in a vector -> its value and gradient."""

    def __init__(self, network: MultilayerPerceptron, data: Data, alpha: float) -> None:
        self._network, self._data, self._alpha = network, data, alpha
        self._backpropagate = backpropagation(network, "sum")
        weight, backend = data.y.loss_weight, network.backend
        self._total = float(data.X.shape[0] if weight is None else backend.to_numpy(weight).sum())
        self._sizes = [shape for a in network.layers for shape in (a.weights.shape, a.bias.shape)]
        self.at: HostArray | None = None
        self.loss = self.penalty = 0.0

    def packed(self) -> HostArray:
        """The parameters as they are: weights and bias of one layer after the other."""
        backend = self._network.backend
        arrays = [b for a in self._network.layers for b in (a.weights, a.bias)]
        return np.concatenate([a.ravel() for a in backend.fetch(arrays)]).astype(np.float64)

    def _unpack(self, packed: HostArray) -> list[HostArray]:
        """The same as arrays of their shapes."""
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self._sizes])
        parts = np.split(packed, ends[:-1])
        return [p.reshape(shape) for p, shape in zip(parts, self._sizes, strict=True)]

    def __call__(self, packed: HostArray) -> tuple[float, HostArray]:
        network, data = self._network, self._data
        backend = network.backend
        parts = self._unpack(packed)
        for layer, w, b in zip(network.layers, parts[::2], parts[1::2], strict=True):
            layer.weights = backend.asarray(w, network.dtype, copy=True)
            layer.bias = backend.asarray(b, network.dtype, copy=True)
        sums: list[Any] = []
        for rows, x in row_blocks(data.X, network):
            weight = None if data.y.loss_weight is None else data.y.loss_weight[rows, ...]
            batch = Minibatch(x, data.y.values[rows, ...], weight)
            loss, gradients = self._backpropagate(network, batch, {})
            some = [loss, *(g for both in gradients for g in both)]
            sums = [a + b for a, b in zip(sums, some, strict=True)] if sums else some
        value, *gradient = backend.fetch(sums)
        self.at = packed.copy()
        self.loss = float(value) / self._total
        squares = sum(float((w**2).sum()) for w in parts[::2])
        self.penalty = self._alpha / 2 * squares / self._total
        pulls = [self._alpha * w if i % 2 == 0 else 0.0 for i, w in enumerate(parts)]
        slopes = [(g + p).ravel() for g, p in zip(gradient, pulls, strict=True)]
        return self.loss + self.penalty, np.concatenate(slopes).astype(np.float64) / self._total
