"""One fully connected layer, forward and backward: the definition of backpropagation here.

The formulas stand at `Layer`. Its lines run with ``engine="array"``, and wherever no engine covers
a network. An engine (`arraymlp.engines`) computes the same faster, and is tested against them.
"""

from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, Self

from arraymlp.backends.array import Array, Namespace, array_namespace
from arraymlp.nn.activations import Activation, get_activation
from arraymlp.nn.linalg import matmul, sum_rows


class Gradients(NamedTuple):
    """A layer's gradients, of the shapes of W and b.

    Attributes:
        weights: dL/dW.
        bias: dL/db.
    """

    weights: Array
    bias: Array


@dataclass
class Layer:
    """One fully connected layer: weights W, bias b and activation f.

    A minibatch X of B rows goes forward, and dL/dZ goes back by the chain rule (Rumelhart, Hinton,
    Williams 1986), as::

        S = X W + b,  Z = f(S)

        dL/dS = dL/dZ * f'(S)
        dL/dW = X^T dL/dS,  dL/db = column sums of dL/dS
        dL/dX = dL/dS W^T

    (Nielsen and the CS231n notes write z for the weighted sums, here s, and a for the outputs, here
    z.) Leading axes are members: W of shape (K, n_in, n_out) is K layers at once, by the same
    lines.

    A subclass is trained by its own methods; what they return may be overwritten in the step, and
    so must be new arrays. In ``forward`` and ``backward_*``, ``xp`` is the namespace of the arrays;
    where it is None, it is found from them.

    Attributes:
        weights: W, (..., n_in, n_out).
        bias: b, (..., 1, n_out).
        activation: f and its derivative.
    """

    weights: Array
    bias: Array
    activation: Activation

    def __post_init__(self) -> None:
        self.activation = get_activation(self.activation)  # its name will do

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_in} -> {self.n_out}, {self.activation.name})"

    @property
    def n_in(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[-2])

    @property
    def n_out(self) -> int:
        """Number of units."""
        return int(self.weights.shape[-1])

    def forward(self, x: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
        """Return S and Z, both (..., B, n_out), for inputs x (..., B, n_in).

        Where groups of members see different rows, x is (G, B, n_in); see `arraymlp.nn.linalg`.
        """
        xp = xp or array_namespace(x)
        s = matmul(x, self.weights, xp)
        s += self.bias
        return s, self.activation.function(s, xp)

    def backward_activation(
        self, s: Array, z: Array, dz: Array, xp: Namespace | None = None
    ) -> Array:
        """Return dL/dS from dL/dZ, both (..., B, n_out)."""
        xp = xp or array_namespace(dz)
        return dz * self.activation.derivative(s, z, xp)

    def backward_parameters(self, x: Array, ds: Array, xp: Namespace | None = None) -> Gradients:
        """Return dL/dW and dL/db from the inputs x (..., B, n_in) and dL/dS (..., B, n_out)."""
        xp = xp or array_namespace(ds)
        return Gradients(matmul(x.mT, ds, xp), sum_rows(ds, xp))

    def backward_input(self, ds: Array, xp: Namespace | None = None) -> Array:
        """Return dL/dX (..., B, n_in) from dL/dS."""
        xp = xp or array_namespace(ds)
        return matmul(ds, self.weights.mT, xp)

    def with_parameters(self, weights: Array, bias: Array) -> Self:
        """A layer of the same class and activation, with other parameters."""
        layer = copy(self)
        layer.weights, layer.bias = weights, bias
        return layer
