"""Optimisers: how a gradient becomes a change of the weights.

An optimiser holds its own constants only. The learning rate comes with every call, in ``hyper``,
and so do the constants, each a number or (K, 1, 1): one value for each member of a population.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from arraymlp._checks import is_number, lookup, plain
from arraymlp.backend import Array

Hyper = Mapping[str, Any]


@runtime_checkable
class Optimizer(Protocol):
    """What `train` needs of an optimiser."""

    @property
    def constants(self) -> Mapping[str, float | Sequence[float]]:
        """The constants that go into ``hyper``, by name."""
        ...

    def initial_state(self, parameter: Array, xp: Any) -> Any:
        """The state to keep beside a parameter: an array, or None."""
        ...

    def update(
        self, parameter: Array, gradient: Array, state: Any, hyper: Hyper
    ) -> tuple[Array, Any]:
        """Return the parameter and its state after one step; the gradient may be overwritten."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, plain or with momentum.

    With gradient g, learning rate eta, momentum mu and velocity v (which starts at 0):

        v <- mu v - eta g
        w <- w + v                  (momentum: Polyak 1964)
        w <- w + mu v - eta g       (Nesterov, as in Sutskever et al. 2013)

    The velocity holds the last change of the weights, as in scikit-learn. PyTorch keeps v / -eta
    instead: the same as long as the learning rate is constant.

    Attributes:
        momentum: mu, from 0 up to but not 1; or K values, one a member.
        nesterov: look ahead along the velocity.
    """

    momentum: float | Sequence[float] = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        given, momentum = self.momentum, plain(self.momentum)
        each = momentum if isinstance(momentum, tuple) else (momentum,)
        if not each or not all(is_number(m) and 0 <= m < 1 for m in each):
            raise ValueError(f"momentum must be from 0 up to but not 1, not {given!r}")
        object.__setattr__(self, "momentum", momentum)
        if self.nesterov and not any(each):
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")

    @property
    def constants(self) -> Mapping[str, float | Sequence[float]]:
        """Momentum."""
        return {"momentum": self.momentum}

    def initial_state(self, parameter: Array, xp: Any) -> Array | None:
        """Zero velocity, or None where there is no momentum."""
        return None if self.momentum == 0 else xp.zeros_like(parameter)

    def update(
        self, parameter: Array, gradient: Array, state: Array | None, hyper: Hyper
    ) -> tuple[Array, Array | None]:
        """Return the parameter and its velocity after one step (in place where arrays allow)."""
        change = gradient
        change *= hyper["learning_rate"]
        if state is None:
            parameter -= change
            return parameter, None
        state *= hyper["momentum"]
        state -= change
        if self.nesterov:
            parameter += hyper["momentum"] * state
            parameter -= change
        else:
            parameter += state
        return parameter, state


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
}


def optimizer(name: str | Optimizer) -> Optimizer:
    """The optimiser of that name: "sgd", "momentum" (0.9) or "nesterov" (0.9)."""
    if isinstance(name, Optimizer) and not isinstance(name, type):
        return name
    return lookup(OPTIMIZERS, name, "optimizer")
