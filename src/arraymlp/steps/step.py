"""The training step: the definition, and what an engine offers in its place.

`array_step` is the definition. It is what ``engine="array"`` runs, on any array namespace, and what
every engine is tested against. An engine (`arraymlp.engines`) does the same steps in compiled code;
`arraymlp.training.engine` chooses between them, and nothing else does.

A step has the signature ``step(network, states, batch, hyper) -> states, sums``. It reads the
parameters from the network's layers and updates them there, in place where the namespace allows
and by rebinding where it does not. It never looks at a value on the device. `Hyper` says what it
does besides.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeAlias

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile, TimedNamespace
from arraymlp.steps.update import States, penalty, updated

Step: TypeAlias = Callable[[Network, States, Minibatch, Hyper], tuple[States, LossSums]]
# Evaluates rows x with labels y: each row's loss and whether its decision is wrong, (..., B), and
# how often each class is chosen, (..., n); None for rows that it cannot read.
Evaluator: TypeAlias = Callable[[Array, Array], tuple[Array, Array, Array] | None]


class EpochStep(ABC):
    """A step that can also do those of a whole epoch at once."""

    @abstractmethod
    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """One minibatch."""

    @abstractmethod
    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
    ) -> tuple[int, LossSums] | None:
        """Steps over all these rows, as single ones would do them, in place.

        Returns:
            How many were done until ``interrupted()``, and their sums; None where this epoch has
            to be done step by step.
        """


class Engine(Protocol):
    """The steps and evaluations of one backend, compiled."""

    @property
    def name(self) -> str:
        """Such as "cuda"."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those it computes products in; see `arraymlp.backends.precision`."""

    @property
    def shares_threads(self) -> bool:
        """Whether it shares its products out among the host's threads itself."""

    def uncovered(self, network: Network) -> str:
        """Why it cannot train this network; "" where it can."""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        threads: int,
        profile: Profile | None,
        precision: str,
    ) -> Step:
        """The step to train this network with.

        Args:
            network: what will be trained: its backend, sizes and members decide.
            optimizer: the update rule.
            reduction: as of `array_step`.
            threads: of the host's processor that it may use.
            profile: counts the time of products and the rest.
            precision: of the products, one of ``precisions``.
        """

    def evaluator(self, network: Network) -> Evaluator | None:
        """Its own way to evaluate a network on rows with labels; None for the definition's."""


def array_step(
    network: Network,
    optimizer: Optimizer,
    reduction: str,
    profile: Profile | None = None,
) -> Step:
    """The step on any array namespace: forward, loss, backward, update.

    Args:
        network: what will be trained.
        optimizer: the update rule.
        reduction: "mean" divides the gradient by the minibatch's size (by the sum of its weights,
            where samples have some), "sum" does not.
        profile: counts the time of products and the rest.
    """
    xp: Namespace = network.backend.xp
    if profile is not None:
        xp = TimedNamespace(profile, xp)
    backpropagate = backpropagation(network, reduction, xp)

    def step(
        network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        loss, gradients = backpropagate(network, batch, hyper)
        sums = LossSums(loss, batch.total, penalty(network, hyper, xp))
        args = (batch, hyper, optimizer.update, reduction, xp)
        return updated(network, states, gradients, *args), sums

    return step


def averaging(step: Step, average: Network) -> Step:
    """The same step, after which ``average`` follows the weights: a <- d a + (1 - d) w.

    An exponential moving average of weights and biases (Polyak, Juditsky 1992, averaged all alike;
    with d near 1 as in Tarvainen, Valpola 2017). ``hyper.average_rate`` is 1 - d.
    """

    def averaging_step(
        network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        states, sums = step(network, states, batch, hyper)
        rate = hyper.average_rate
        for a, w in zip(average.layers, network.layers, strict=True):
            a.weights += rate * (w.weights - a.weights)
            a.bias += rate * (w.bias - a.bias)
        return states, sums

    return averaging_step
