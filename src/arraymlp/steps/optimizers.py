"""Optimisers: how a gradient becomes a change of the weights.

An optimiser holds its own settings only. What a step needs comes with every call, as a NamedTuple
of constants, each a number or (K, 1, 1): one value for each member of a population. They are
computed on the host, in double precision, from the learning rate and the number of the step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from arraymlp._checks import (
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    as_floats,
    as_tuple,
    keep_numbers,
    lookup,
    require_methods,
    to_python,
)
from arraymlp.backends.array import Array, Namespace

PerMember: TypeAlias = float | Sequence[float]  # one for all, or one a member
Constant: TypeAlias = Any  # a number or an array of some shape, on the host or on the device
State: TypeAlias = Any  # kept beside a parameter: an array, a tuple of arrays, or None


class Constants(Protocol):
    """A NamedTuple of the constants that an optimiser's ``update`` reads."""

    def _asdict(self) -> dict[str, Constant]: ...
    def __iter__(self) -> Iterator[Constant]: ...


METHODS = {  # of an optimiser, with their arguments
    "constants": ("learning_rate", "t"),
    "initial_state": ("parameter", "xp"),
    "update": ("parameter", "gradient", "state", "constants", "xp"),
}


@runtime_checkable
class Optimizer(Protocol):
    """The methods that `train` calls of an optimiser; any object that has them is one.

    The optimiser itself holds constants only; what it remembers of a parameter is that parameter's
    state. A parameter has the shape (..., n_in, n_out) or (..., 1, n_out), and K members a leading
    axis.
    """

    def constants(self, learning_rate: Constant, t: Constant) -> Constants:
        """Return the constants of `update` for the steps t of an epoch.

        Args:
            learning_rate: host array (S, 1) or (S, K), one row a step.
            t: the number of each step, which the state has then seen, from 1; (S, 1) or (S, K).

        Returns:
            A NamedTuple of numbers, (K,), or arrays shaped as the arguments. ``update`` gets the
            same NamedTuple with the values of its step.
        """
        ...

    def initial_state(self, parameter: Array, xp: Namespace) -> State:
        """Return the state to keep beside a parameter: an array, a tuple of arrays, or None."""
        ...

    def update(
        self, parameter: Array, gradient: Array, state: State, constants: Any, xp: Namespace
    ) -> tuple[Array, State]:
        """Return the parameter and its state after one step; the gradient may be overwritten.

        Args:
            parameter: weights or bias.
            gradient: of the parameter's shape, with penalty and clipping in it.
            state: what the step before returned, or `initial_state`.
            constants: as `constants` returned them, with the values of this step, each a number or
                (K, 1, 1) on the device.
            xp: the namespace of the arrays.
        """
        ...


class SGDConstants(NamedTuple):
    """The constants of a step of `SGD`."""

    learning_rate: Constant
    momentum: Constant


class AdamConstants(NamedTuple):
    """The constants of a step of `Adam`, both bias corrections folded into rate and epsilon."""

    rate: Constant
    beta1: Constant
    beta2: Constant
    one_minus_beta1: Constant  # in double precision: in single, 1 - 0.999 has four digits
    one_minus_beta2: Constant
    epsilon: Constant


class RMSPropConstants(NamedTuple):
    """The constants of a step of `RMSProp`."""

    learning_rate: Constant
    rho: Constant
    one_minus_rho: Constant
    epsilon: Constant


DECAY_A_STEP = 5e-4  # of each weight, where AdamW is to choose; see arraymlp.training.defaults


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, plain or with momentum.

    With gradient g, learning rate eta, momentum mu and velocity v (which starts at 0)::

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

    Raises:
        ValueError: a momentum outside these bounds, or nesterov without any.
    """

    momentum: PerMember = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, momentum=PROBABILITY)
        if self.nesterov and not any(as_tuple("momentum", self.momentum)):
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")

    def constants(self, learning_rate: Constant, t: Constant) -> SGDConstants:
        """Learning rate and momentum."""
        return SGDConstants(learning_rate, as_floats(self.momentum))

    def initial_state(self, parameter: Array, xp: Namespace) -> Array | None:
        """Zero velocity, or None where there is no momentum."""
        return None if self.momentum == 0 else xp.zeros_like(parameter)

    def update(
        self,
        parameter: Array,
        gradient: Array,
        state: Array | None,
        constants: SGDConstants,
        xp: Namespace,
    ) -> tuple[Array, Array | None]:
        """Return the parameter and its velocity after one step (in place where arrays allow)."""
        change = gradient
        change *= constants.learning_rate
        if state is None:
            parameter -= change
            return parameter, None
        state *= constants.momentum
        state -= change
        if self.nesterov:
            parameter += constants.momentum * state
            parameter -= change
        else:
            parameter += state
        return parameter, state


@dataclass(frozen=True)
class Adam:
    """Adam: each weight's step is scaled by running means of its gradient (Kingma, Ba 2015).

    In step t, with gradient g, learning rate eta, and m and v that start at 0::

        m <- beta1 m + (1 - beta1) g,    v <- beta2 v + (1 - beta2) g^2
        m_hat = m / (1 - beta1^t),       v_hat = v / (1 - beta2^t)
        w <- w - eta m_hat / (sqrt(v_hat) + epsilon)

    That is algorithm 1 of the paper, and PyTorch. scikit-learn and TensorFlow follow the faster
    form at the end of the paper's section 2, in which epsilon is added to ``sqrt(v)`` and not to
    ``sqrt(v_hat)``: ``epsilon_hat=True``. In the first steps its epsilon weighs
    ``1 / sqrt(1 - beta2^t)`` times more, 32 times in the first.

    Attributes:
        beta1: from 0 up to but not 1; or K values, one a member. So are the others.
        beta2: from 0 up to but not 1.
        epsilon: above 0.
        epsilon_hat: add epsilon to ``sqrt(v)`` instead, as scikit-learn and TensorFlow do.

    Raises:
        ValueError: a constant outside these bounds.
    """

    beta1: PerMember = 0.9
    beta2: PerMember = 0.999
    epsilon: PerMember = 1e-8
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, beta1=PROBABILITY, beta2=PROBABILITY, epsilon=POSITIVE)

    def constants(self, learning_rate: Constant, t: Constant) -> AdamConstants:
        """The paper's constants, with both bias corrections folded into rate and epsilon."""
        beta1, beta2 = as_floats(self.beta1), as_floats(self.beta2)
        epsilon = as_floats(self.epsilon)
        root = (1 - beta2**t) ** 0.5
        return AdamConstants(
            rate=learning_rate * root / (1 - beta1**t),
            beta1=beta1,
            beta2=beta2,
            one_minus_beta1=1 - beta1,
            one_minus_beta2=1 - beta2,
            epsilon=epsilon if self.epsilon_hat else epsilon * root,
        )

    def initial_state(self, parameter: Array, xp: Namespace) -> tuple[Array, Array]:
        """Zero m and v."""
        return xp.zeros_like(parameter), xp.zeros_like(parameter)

    def update(
        self,
        parameter: Array,
        gradient: Array,
        state: tuple[Array, Array],
        constants: AdamConstants,
        xp: Namespace,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return the parameter and its (m, v) after one step (in place where arrays allow)."""
        m, v = state
        m *= constants.beta1
        m += constants.one_minus_beta1 * gradient
        v *= constants.beta2
        gradient *= gradient
        gradient *= constants.one_minus_beta2
        v += gradient
        change = xp.sqrt(v)
        change += constants.epsilon
        change = m / change
        change *= constants.rate
        parameter -= change
        return parameter, (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019).

    Before Adam's own step, with learning rate eta, of weights and not of biases::

        w <- w - eta lambda w

    Any optimiser has that decay by `train`'s ``weight_decay``; AdamW applies it by default.

    Attributes:
        weight_decay: lambda where `train` is given none, from 0; or K values, one a member; None
            for lambda = 0.0005 / eta: the same share of each weight a step, at any learning rate.
            The other constants are those of `Adam`.

    Raises:
        ValueError: a constant outside these bounds.
    """

    weight_decay: PerMember | None = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay is not None:
            keep_numbers(self, weight_decay=NOT_NEGATIVE)

    def decay(self, learning_rate: PerMember) -> PerMember:
        """Lambda, or K of them, at a learning rate, or at K of these."""
        if self.weight_decay is not None:
            return self.weight_decay
        lambdas: PerMember = to_python(DECAY_A_STEP / as_floats(learning_rate))
        return lambdas


@dataclass(frozen=True)
class RMSProp:
    """RMSProp: the gradient over its own running root mean square (Tieleman, Hinton 2012).

    With gradient g and learning rate eta::

        v <- rho v + (1 - rho) g^2,    w <- w - eta g / (sqrt(v) + epsilon)

    Here v starts at 0, uncorrected, and epsilon is outside the root, as in PyTorch.

    Attributes:
        rho: from 0 up to but not 1; or K values, one a member.
        epsilon: above 0; or K values.

    Raises:
        ValueError: a constant outside these bounds.
    """

    rho: PerMember = 0.99
    epsilon: PerMember = 1e-8

    def __post_init__(self) -> None:
        keep_numbers(self, rho=PROBABILITY, epsilon=POSITIVE)

    def constants(self, learning_rate: Constant, t: Constant) -> RMSPropConstants:
        """Learning rate, rho and epsilon."""
        rho = as_floats(self.rho)
        return RMSPropConstants(learning_rate, rho, 1 - rho, as_floats(self.epsilon))

    def initial_state(self, parameter: Array, xp: Namespace) -> Array:
        """Zero v."""
        return xp.zeros_like(parameter)

    def update(
        self,
        parameter: Array,
        gradient: Array,
        state: Array,
        constants: RMSPropConstants,
        xp: Namespace,
    ) -> tuple[Array, Array]:
        """Return the parameter and its v after one step (in place where arrays allow)."""
        state *= constants.rho
        state += constants.one_minus_rho * gradient * gradient
        scale = xp.sqrt(state)
        scale += constants.epsilon
        change = gradient
        change *= constants.learning_rate
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


def default_rate(optimizer: Optimizer) -> float:
    """The learning rate where none is given: 0.05 for SGD; 0.001, Adam's own, for the others."""
    return 0.05 if isinstance(optimizer, SGD) else 0.001


def get_optimizer(name: str | Optimizer) -> Optimizer:
    """Return the optimiser of that name, with its default constants; an optimiser is itself.

    Args:
        name: "sgd", "momentum" (0.9), "nesterov" (0.9), "adam", "adamw" (decay 0.01) or "rmsprop".

    Raises:
        ValueError: an unknown name; the message offers the nearest.
    """
    given: Any = name
    if isinstance(given, type) or not any(hasattr(given, method) for method in METHODS):
        methods = ", ".join(f"{m}({', '.join(arguments)})" for m, arguments in METHODS.items())
        own = f"an object of your own with {methods}: see arraymlp.optimizers.Optimizer"
        return lookup(OPTIMIZERS, given, "optimizer", own)
    require_methods(given, METHODS, "an optimizer")
    optimizer: Optimizer = given
    return optimizer
