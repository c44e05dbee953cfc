"""The training step, and the one place that chooses between its implementations.

A step has the signature ``step(network, state, batch, hyper) -> state, met``. It reads the
parameters from the network's layers and updates them there, in place where the namespace allows
and by rebinding where it does not. It never looks at a value on the device.

``hyper`` says what to do besides: an entry that is not there is a feature that is off.

    ================ ===============================================================================
    the optimiser's  see its ``hyper``
    dropout          for each layer a `Drop` for the mask of its inputs, or None
    label_smoothing  see `smoothed`
    gradient_clip    c: all gradients of a member are multiplied by min(1, c / norm), with norm the
                     Euclidean norm of all of them together (Pascanu, Mikolov, Bengio 2013)
    l2               lambda: the penalty lambda / 2 |W|^2 on the weights, never on biases, adds
                     lambda W to their gradient, after the clipping
    alpha            the same, but of the minibatch's *summed* loss: alpha W / (sum of the weights
                     of its samples) with the reduction "mean", as in scikit-learn
    shrink           1 - eta lambda: decoupled weight decay multiplies the weights, never biases,
                     by it before the update (Loshchilov, Hutter 2019)
    follow           1 - d: see `averaging`
    ================ ===============================================================================

Each is a number, or (K, 1, 1): one value for each member of a population.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from arraymlp.backend import Array
from arraymlp.batching import Minibatch
from arraymlp.epoch import EpochRows, EpochSums, EpochTable
from arraymlp.gradient import backpropagation
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer
from arraymlp.precision import FULL, in_precision, require_precision
from arraymlp.profile import Profile, TimedNamespace
from arraymlp.update import Met, State, penalty, updated

SWITCHES = {"dropout", "label_smoothing", "gradient_clip", "l2", "alpha", "shrink", "follow"}

Step: TypeAlias = Callable[[MultilayerPerceptron, State, Minibatch, Hyper], tuple[State, Met]]
Judge: TypeAlias = Callable[[Array, Array], tuple[Array, Array, Array] | None]


@runtime_checkable
class StepsTogether(Protocol):
    """A step that can also do those of a whole epoch at once."""

    def epoch(
        self,
        network: MultilayerPerceptron,
        state: State,
        rows: EpochRows,
        table: EpochTable,
        interrupted: Callable[[], bool],
    ) -> tuple[int, EpochSums] | None:
        """Steps over all these rows, as single ones would do them, in place.

        Returns:
            How many were done until ``interrupted()``, and what they add up to; None where this
            epoch has to be done step by step.
        """
        ...


def choose_step(
    network: MultilayerPerceptron,
    optimizer: Optimizer,
    reduction: str,
    fast: bool = True,
    threads: int = 1,
    profile: Profile | None = None,
    precision: str = FULL,
) -> Step:
    """The step to train with: the backend's own fast one where there is one, or the generic one.

    Args:
        network: what will be trained: its backend, sizes and members decide.
        optimizer: the update rule.
        reduction: "mean" divides the gradient by the minibatch's size (by the sum of its weights,
            where samples have some), "sum" does not.
        fast: False for the generic step everywhere.
        threads: of the host's processor that a fast step may use.
        profile: counts the time of products and the rest.
        precision: of the products; see `arraymlp.precision`.
    """
    require_precision(network.backend, precision, fast)
    kernels = _kernels(network, fast)
    step: Step
    if kernels is None:
        step = generic_step(network, optimizer, reduction, profile)
        step = in_precision(step, network.backend, precision)
    else:
        step = kernels.fast_step(network, optimizer, reduction, threads, profile, precision)
    return step if profile is None else profile.stepping(step)


def shares_threads(network: MultilayerPerceptron, fast: bool) -> bool:
    """Whether the step that `choose_step` gives shares its products out among threads itself."""
    kernels = _kernels(network, fast)
    return kernels is not None and bool(kernels.shares_threads())


def choose_judge(network: MultilayerPerceptron, fast: bool) -> Judge | None:
    """The backend's own way to evaluate a network on rows with labels, where there is one.

    It gives each row's loss and whether its decision is wrong, (..., B), and how often each class
    is chosen, (..., n); or None for rows that it cannot read.
    """
    kernels = _kernels(network, fast)
    return None if kernels is None else kernels.judge(network)


_KERNELS: dict[str, Callable[[], ModuleType]] = {
    "numpy": lambda: import_module("arraymlp.kernels.numpy"),
    "cupy": lambda: import_module("arraymlp.kernels.cupy"),
}


def _kernels(network: MultilayerPerceptron, fast: bool) -> ModuleType | None:
    """The module with the fast step of the network's backend, if it can train this network."""
    name = network.backend.name
    if not fast or name not in _KERNELS:
        return None
    try:
        kernels = _KERNELS[name]()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("arraymlp.kernels"):
            raise
        return None
    return kernels if kernels.trains(network) else None


def generic_step(
    network: MultilayerPerceptron,
    optimizer: Optimizer,
    reduction: str,
    profile: Profile | None = None,
) -> Step:
    """The step for every backend: the mathematics in plain sight. Arguments as of `choose_step`."""
    xp: Any = network.backend.xp
    if profile is not None:
        xp = TimedNamespace(profile, xp)
    backpropagate = backpropagation(network, reduction, xp)

    def step(
        network: MultilayerPerceptron, state: State, batch: Minibatch, hyper: Hyper
    ) -> tuple[State, Met]:
        """One minibatch: forward, loss, backward, update."""
        loss, gradients = backpropagate(network, batch, hyper)
        met = Met(loss, penalty(network, hyper, xp))
        update = optimizer.update
        return updated(network, state, gradients, batch, hyper, update, reduction, xp), met

    return step


def averaging(step: Step, average: MultilayerPerceptron) -> Step:
    """The same step, after which ``average`` follows the weights: a <- d a + (1 - d) w.

    An exponential moving average of weights and biases (Polyak, Juditsky 1992, averaged all alike;
    with d near 1 as in Tarvainen, Valpola 2017). ``hyper["follow"]`` is 1 - d.
    """

    def averaging_step(
        network: MultilayerPerceptron, state: State, batch: Minibatch, hyper: Hyper
    ) -> tuple[State, Met]:
        state, met = step(network, state, batch, hyper)
        for a, w in zip(average.layers, network.layers, strict=True):
            a.weights += hyper["follow"] * (w.weights - a.weights)
            a.bias += hyper["follow"] * (w.bias - a.bias)
        return state, met

    return averaging_step
