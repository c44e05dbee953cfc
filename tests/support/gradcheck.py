"""Gradients by finite differences, to hold against those of backpropagation.

The central difference (L(w + h) - L(w - h)) / 2h is off by h^2 L'''/6 from the Taylor series and
by about eps |L| / h from rounding. The sum is smallest near h = eps^(1/3), which is 6e-6 in
float64, and then about eps^(2/3) = 4e-11: far below the 1e-6 that tests ask for, so that a wrong
formula cannot pass for rounding. In float32 the same would leave three digits: too few to check by.
"""

from typing import Any

import numpy as np

from arraymlp import MultilayerPerceptron
from arraymlp.backends.array import Array

HostArray = np.ndarray[Any, Any]
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)


def summed_loss(network: MultilayerPerceptron, x: Array, y: Array) -> float:
    """Sum of the loss over samples and members."""
    value, _ = network.loss(network.forward(x)[-1].z, y)
    return float(network.backend.to_numpy(value).sum())


def backward_gradients(network: MultilayerPerceptron, x: Array, y: Array) -> list[HostArray]:
    """dL/dW and dL/db of each layer by backpropagation, on the host."""
    passes = network.forward(x)
    _, delta = network.loss(passes[-1].z, y)
    to_numpy = network.backend.to_numpy
    return [to_numpy(a) for layer in network.backward(passes, delta) for a in layer]


def numeric_gradients(network: MultilayerPerceptron, x: Array, y: Array) -> list[HostArray]:
    """The same by central differences, one parameter after another."""
    network = network.copy()
    return [
        _differences(network, layer, name, x, y)
        for layer in network.layers
        for name in ("weights", "bias")
    ]


def _differences(
    network: MultilayerPerceptron, layer: Any, name: str, x: Array, y: Array
) -> HostArray:
    backend = network.backend
    values = np.array(backend.to_numpy(getattr(layer, name)))
    found = np.empty_like(values)

    def loss_at(index: tuple[int, ...], value: float) -> float:
        moved = values.copy()
        moved[index] = value
        setattr(layer, name, backend.asarray(moved, copy=True))
        return summed_loss(network, x, y)

    for index in np.ndindex(*values.shape):
        up, down = values[index] + STEP, values[index] - STEP
        found[index] = (loss_at(index, up) - loss_at(index, down)) / (up - down)
    setattr(layer, name, backend.asarray(values, copy=True))
    return found


def max_relative_error(network: MultilayerPerceptron, x: Array, y: Array) -> float:
    """The largest difference of any gradient, relative to the largest entry of its array.

    Not relative to the entry itself: where that is 0 but for rounding, the quotient says nothing.
    """
    assert network.dtype == "float64"
    errors = []
    for ours, numeric in zip(
        backward_gradients(network, x, y), numeric_gradients(network, x, y), strict=True
    ):
        assert ours.shape == numeric.shape
        largest = np.abs(numeric).max()
        assert largest > 0, "a gradient that is all zero checks nothing"
        errors.append(np.abs(ours - numeric).max() / largest)
    return float(max(errors))
