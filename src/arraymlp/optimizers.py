"""Optimisers: how a gradient becomes a change of the weights.

An optimiser holds its own constants only. What a step needs of them comes with every call, in
``hyper``, each entry a number or (K, 1, 1): one value for each member of a population. It is worked
out on the host, in double precision, from the learning rate and the number of the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from arraymlp._checks import NOT_NEGATIVE, POSITIVE, PROBABILITY, each, keep_numbers, lookup, values
from arraymlp.backend import Array

Hyper = Mapping[str, Any]
Values = float | Sequence[float]  # one for all, or one a member


@runtime_checkable
class Optimizer(Protocol):
    """What `train` needs of an optimiser."""

    def hyper(self, learning_rate: Any, t: Any) -> Hyper:
        """What `update` needs to know, by name, for the steps t of an epoch.

        Args:
            learning_rate: host array (S, 1) or (S, K), one row a step.
            t: how many steps the state will have seen with each, from 1; (S, 1) or (S, K).

        Returns:
            Numbers, (K,), or as the arguments are.
        """
        ...

    def initial_state(self, parameter: Array, xp: Any) -> Any:
        """The state to keep beside a parameter: an array, a tuple of arrays, or None."""
        ...

    def update(
        self, parameter: Array, gradient: Array, state: Any, hyper: Hyper, xp: Any
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

    There are two conventions. Here the learning rate is inside the velocity (which without Nesterov
    is the last change of the weights), as in scikit-learn and Sutskever; PyTorch keeps v / -eta
    instead. They are the same as long as the learning rate is constant; when it falls, the velocity
    gathered here is not scaled down with it.

    Attributes:
        momentum: mu, from 0 up to but not 1; or K values, one a member.
        nesterov: look ahead along the velocity.
    """

    momentum: Values = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, momentum=PROBABILITY)
        if self.nesterov and not any(values("momentum", self.momentum)):
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")

    def hyper(self, learning_rate: Any, t: Any) -> Hyper:
        """Learning rate and momentum."""
        return {"learning_rate": learning_rate, "momentum": each(self.momentum)}

    def initial_state(self, parameter: Array, xp: Any) -> Array | None:
        """Zero velocity, or None where there is no momentum."""
        return None if self.momentum == 0 else xp.zeros_like(parameter)

    def update(
        self, parameter: Array, gradient: Array, state: Array | None, hyper: Hyper, xp: Any
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


@dataclass(frozen=True)
class Adam:
    """Adam: each weight's step is scaled by running means of its gradient (Kingma, Ba 2015).

    In step t, with gradient g, learning rate eta, and m and v that start at 0:

        m <- beta1 m + (1 - beta1) g,    v <- beta2 v + (1 - beta2) g^2
        m_hat = m / (1 - beta1^t),       v_hat = v / (1 - beta2^t)
        w <- w - eta m_hat / (sqrt(v_hat) + epsilon)

    That is algorithm 1 of the paper, and PyTorch. scikit-learn and TensorFlow follow the faster
    form at the end of the paper's section 2, in which epsilon is added to sqrt(v) and not to
    sqrt(v_hat): ``epsilon_hat=True``. In the first steps its epsilon weighs 1 / sqrt(1 - beta2^t)
    times more, 32 times in the first.

    Attributes:
        beta1: from 0 up to but not 1; or K values, one a member. So are the others.
        beta2: from 0 up to but not 1.
        epsilon: above 0.
        epsilon_hat: add epsilon to sqrt(v) instead, as scikit-learn and TensorFlow do.
    """

    beta1: Values = 0.9
    beta2: Values = 0.999
    epsilon: Values = 1e-8
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, beta1=PROBABILITY, beta2=PROBABILITY, epsilon=POSITIVE)

    def hyper(self, learning_rate: Any, t: Any) -> Hyper:
        """The paper's constants, with both bias corrections folded into rate and epsilon."""
        beta1, beta2, epsilon = each(self.beta1), each(self.beta2), each(self.epsilon)
        root = (1 - beta2**t) ** 0.5
        return {
            "rate": learning_rate * root / (1 - beta1**t),
            "beta1": beta1,
            "beta2": beta2,
            "1 - beta1": 1 - beta1,  # in double precision: in single, 1 - 0.999 has four digits
            "1 - beta2": 1 - beta2,
            "epsilon": epsilon if self.epsilon_hat else epsilon * root,
        }

    def initial_state(self, parameter: Array, xp: Any) -> tuple[Array, Array]:
        """Zero m and v."""
        return xp.zeros_like(parameter), xp.zeros_like(parameter)

    def update(
        self, parameter: Array, gradient: Array, state: tuple[Array, Array], hyper: Hyper, xp: Any
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return the parameter and its (m, v) after one step (in place where arrays allow)."""
        m, v = state
        m *= hyper["beta1"]
        m += hyper["1 - beta1"] * gradient
        v *= hyper["beta2"]
        gradient *= gradient
        gradient *= hyper["1 - beta2"]
        v += gradient
        change = xp.sqrt(v)
        change += hyper["epsilon"]
        change = m / change
        change *= hyper["rate"]
        parameter -= change
        return parameter, (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): w <- w - eta lambda w first.

    Every optimiser can have that decay, by `train`'s ``weight_decay``. This one has it unasked.

    Attributes:
        weight_decay: lambda where `train` is given none.
    """

    weight_decay: Values = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        keep_numbers(self, weight_decay=NOT_NEGATIVE)


@dataclass(frozen=True)
class RMSProp:
    """RMSProp: the gradient over its own running root mean square (Tieleman, Hinton 2012).

        v <- rho v + (1 - rho) g^2,    w <- w - eta g / (sqrt(v) + epsilon)

    with v starting at 0, uncorrected, and epsilon outside the root, as in PyTorch.

    Attributes:
        rho: from 0 up to but not 1; or K values, one a member.
        epsilon: above 0; or K values.
    """

    rho: Values = 0.99
    epsilon: Values = 1e-8

    def __post_init__(self) -> None:
        keep_numbers(self, rho=PROBABILITY, epsilon=POSITIVE)

    def hyper(self, learning_rate: Any, t: Any) -> Hyper:
        """Learning rate, rho and epsilon."""
        rho = each(self.rho)
        return {
            "learning_rate": learning_rate,
            "rho": rho,
            "1 - rho": 1 - rho,
            "epsilon": each(self.epsilon),
        }

    def initial_state(self, parameter: Array, xp: Any) -> Array:
        """Zero v."""
        return xp.zeros_like(parameter)

    def update(
        self, parameter: Array, gradient: Array, state: Array, hyper: Hyper, xp: Any
    ) -> tuple[Array, Array]:
        """Return the parameter and its v after one step (in place where arrays allow)."""
        state *= hyper["rho"]
        state += hyper["1 - rho"] * gradient * gradient
        scale = xp.sqrt(state)
        scale += hyper["epsilon"]
        change = gradient
        change *= hyper["learning_rate"]
        change /= scale
        parameter -= change
        return parameter, state


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSProp(),
}


def default_rate(rule: Optimizer) -> float:
    """The learning rate where none is given: 0.05 for SGD; 0.001, Adam's own, for the others."""
    return 0.05 if isinstance(rule, SGD) else 0.001


def optimizer(name: str | Optimizer) -> Optimizer:
    """The optimiser of that name, with its default constants: one of ``OPTIMIZERS``.

    "sgd", "momentum" (0.9), "nesterov" (0.9), "adam", "adamw" (decay 0.01) or "rmsprop".
    """
    if isinstance(name, Optimizer) and not isinstance(name, type):
        return name
    return lookup(OPTIMIZERS, name, "optimizer")
