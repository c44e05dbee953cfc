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
from arraymlp.sums import over_rows


class Gradients(NamedTuple):
    """dL/dW and dL/db, of the shapes of W and b."""

    weights: Array
    bias: Array


def of_each_member(x: Array, members: int, xp: Any) -> Array:
    """(G, ...) as (K, ...): what each group of K / G neighbouring members shares, once a member."""
    groups = int(x.shape[0])
    if groups == members:
        return x
    shape = (groups, members // groups, *x.shape[1:])
    return xp.reshape(xp.broadcast_to(x[:, None, ...], shape), (members, *x.shape[1:]))


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
        """Return S and Z, both (..., B, n_out), for inputs x (..., B, n_in).

        Of K layers, x may also be (G, B, n_in), each for K / G neighbouring ones.
        """
        xp = xp or array_namespace(x)
        s = self._product(x, self.weights, xp)
        s += self.bias
        return s, self.activation.function(s, xp)

    def backward_activation(self, s: Array, z: Array, dz: Array, xp: Any = None) -> Array:
        """Return dL/dS from dL/dZ, both (..., B, n_out)."""
        xp = xp or array_namespace(dz)
        return dz * self.activation.derivative(s, z, xp)

    def backward_parameters(self, x: Array, ds: Array, xp: Any = None) -> Gradients:
        """Return dL/dW and dL/db from the inputs x (..., B, n_in) and dL/dS."""
        xp = xp or array_namespace(ds)
        return Gradients(self._product(x.mT, ds, xp), over_rows(ds, xp))

    def _product(self, x: Array, a: Array, xp: Any) -> Array:
        """X A; where X is (G, m, n) and A (K, n, p), each X with K / G neighbouring A."""
        if x.ndim == 2 or x.shape[0] in (1, a.shape[0]):
            return xp.matmul(x, a)
        groups, members = int(x.shape[0]), int(a.shape[0])
        grouped = xp.reshape(a, (groups, members // groups, *a.shape[1:]))
        product = xp.matmul(x[:, None, ...], grouped)
        return xp.reshape(product, (members, *product.shape[2:]))

    def backward_input(self, ds: Array, xp: Any = None) -> Array:
        """Return dL/dX (..., B, n_in) from dL/dS."""
        xp = xp or array_namespace(ds)
        return xp.matmul(ds, self.weights.mT)
