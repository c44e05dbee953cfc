"""One fully connected layer: what goes forward through it and what comes back.

With weights W, bias b and activation f, a minibatch X of B rows goes forward as

    S = X W + b,  Z = f(S)

and, given dL/dZ, the chain rule goes back as (Rumelhart, Hinton, Williams 1986)

    dL/dS = dL/dZ * f'(S),  dL/dW = X^T dL/dS,  dL/db = column sums of dL/dS,  dL/dX = dL/dS W^T.

Leading axes are members: W of shape (K, n_in, n_out) is K layers at once, by the same lines.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from arraymlp.activations import Activation
from arraymlp.backend import Array, array_namespace


class Gradients(NamedTuple):
    """dL/dW and dL/db, of the shapes of W and b."""

    weights: Array
    bias: Array


@dataclass
class Layer:
    """Weights (..., n_in, n_out), bias (..., 1, n_out) and an activation.

    Its methods take the namespace ``xp`` of their arrays from whoever has it at hand.
    """

    weights: Array
    bias: Array
    activation: Activation

    def __repr__(self) -> str:
        return f"Layer({self.n_in} -> {self.n_out}, {self.activation.name})"

    @property
    def n_in(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[-2])

    @property
    def n_out(self) -> int:
        """Number of units."""
        return int(self.weights.shape[-1])

    def forward(self, x: Array, xp: Any = None) -> tuple[Array, Array]:
        """Return S and Z, both (..., B, n_out), for inputs x (..., B, n_in)."""
        xp = xp or array_namespace(x)
        s = xp.matmul(x, self.weights)
        s += self.bias
        return s, self.activation.function(s, xp)

    def backward_activation(self, s: Array, z: Array, dz: Array, xp: Any = None) -> Array:
        """Return dL/dS from dL/dZ, both (..., B, n_out)."""
        xp = xp or array_namespace(dz)
        return dz * self.activation.derivative(s, z, xp)

    def backward_parameters(self, x: Array, ds: Array, xp: Any = None) -> Gradients:
        """Return dL/dW and dL/db from the inputs x (..., B, n_in) and dL/dS."""
        xp = xp or array_namespace(ds)
        return Gradients(xp.matmul(x.mT, ds), xp.sum(ds, axis=-2, keepdims=True))

    def backward_input(self, ds: Array, xp: Any = None) -> Array:
        """Return dL/dX (..., B, n_in) from dL/dS."""
        xp = xp or array_namespace(ds)
        return xp.matmul(ds, self.weights.mT)
