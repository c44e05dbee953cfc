"""The training step: the definition, and what an engine offers in its place.

`array_step` is the definition. It is what ``engine="array"`` runs, on any array namespace, and what
every engine is tested against. An engine (`arraymlp.engines`) does the same steps faster;
`arraymlp.training.engine` chooses between them, and nothing else does.

A step has the signature ``step(network, states, batch, hyper) -> states, sums``. It reads the
parameters from the network's layers and updates them there, in place where the namespace allows
and by rebinding where it does not. It never looks at a value on the device. The fields of
`Hyper` switch its optional features on: dropout, decay, clipping and so on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeAlias

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, EpochRows, LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile, TimedNamespace
from arraymlp.steps.update import States, penalty, updated

Step: TypeAlias = Callable[[Network, States, Minibatch, Hyper], tuple[States, LossSums]]
# From rows x (B, n_in) and labels y (B,): each row's loss (..., B), 1 where its decision is wrong
# (..., B), and the number of rows that each class is chosen for (..., n); None for rows in a form
# that it does not read.
Evaluator: TypeAlias = Callable[[Array, Array], tuple[Array, Array, Array] | None]


# From rows x (B, n_in) to logits (..., B, n).
Forward: TypeAlias = Callable[[Array], Array]


class EpochStep(ABC):
    """A step that can also do the steps of a whole epoch at once.

    Attributes:
        averages: whether it can update an average of the weights, too; then `averaging` is there.
        row_plans: whether its epochs may be of members with rows of their own.
        streams: whether an epoch may come in parts, where its rows are larger than memory.
    """

    averages = row_plans = streams = False

    def averaging(self, average: Network) -> "EpochStep":
        """Return the same step, which also updates a network of the weights' averages."""
        raise NotImplementedError

    def way(self, network: Network, rows: EpochRows, table: HyperTable) -> str:
        """Return the name of the code that does such an epoch, where there are several; else ""."""
        return ""

    @abstractmethod
    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step."""

    @abstractmethod
    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
        sums: LossSums = NO_SUMS,
    ) -> tuple[int, LossSums] | None:
        """Do the steps over all these rows as single steps would do them, in place.

        Returns:
            The number of steps done, fewer than the table's after ``interrupted()``, and ``sums``
            with theirs added; None, with nothing done, where this epoch has to be trained step by
            step.
        """


class Engine(Protocol):
    """Faster steps and evaluations for one backend."""

    @property
    def name(self) -> str:
        """The name in ``run.engine``, such as "cuda"."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that its products can have; see `arraymlp.backends.precision`."""

    @property
    def profiles(self) -> bool:
        """Whether its steps can be timed part by part; else the definition does a profiled run."""

    def uncovered(self, network: Network, optimizer: Optimizer | None = None) -> str:
        """Return the reason why it cannot train this network by this optimiser, or ""."""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        profile: Profile | None,
        precision: str,
    ) -> Step:
        """Return the step for this network; an `EpochStep` where it can train whole epochs.

        Args:
            network: the network that will be trained.
            optimizer: the update rule.
            reduction: as for `array_step`.
            profile: counts the time of products and of the rest.
            precision: of the products, one of ``precisions``.
        """

    def evaluator(self, network: Network) -> Evaluator | None:
        """Return its evaluation of this network on rows with labels; None for the definition's."""

    def forward(self, network: Network) -> Forward | None:
        """Return its way from rows to this network's logits; None for the definition's."""


def array_step(
    network: Network,
    optimizer: Optimizer,
    reduction: str,
    profile: Profile | None = None,
) -> Step:
    """Return the step on any array namespace: forward, loss, backward, update.

    Args:
        network: the network that will be trained.
        optimizer: the update rule.
        reduction: "mean" divides the gradient by the minibatch's size (by the sum of its weights,
            where samples have some), "sum" does not.
        profile: counts the time of products and of the rest.
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
        states = updated(network, states, gradients, batch, hyper, optimizer.update, reduction, xp)
        return states, sums

    return step


def averaging(step: Step, average: Network) -> Step:
    """Return a step that also updates the weights' average: a <- d a + (1 - d) w.

    It is an exponential moving average of weights and biases (Polyak, Juditsky 1992, weighed all
    steps alike; with d near 1 as in Tarvainen, Valpola 2017). ``hyper.average_rate`` is 1 - d.

    Args:
        step: updates the weights w.
        average: the network with the parameters a.
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
