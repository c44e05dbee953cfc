"""What `train` gives back, and what it tells those who watch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from arraymlp.backend import Array, Backend, resolve
from arraymlp.data import Data
from arraymlp.findings import Finding
from arraymlp.history import History, Record
from arraymlp.network import MultilayerPerceptron
from arraymlp.precision import FULL
from arraymlp.probes import Measurement
from arraymlp.profile import Profile
from arraymlp.schedules import Schedule
from arraymlp.settings import Settings
from arraymlp.update import State, mapped


@dataclass
class Run:
    """What `train` returns; ``network, history = run`` unpacks it.

    Attributes:
        network: the trained network, on the backend that trained it.
        history: a record for each epoch.
        backend: where it was trained.
        settings: what it was trained with, every default filled in.
        data: the data it was trained on, which going on uses again.
        state: the optimiser's state, with which ``train(network=run)`` goes on.
        findings: what the diagnosis found (see `diagnose`).
        measurements: what the probes measured, where they were on.
        shut_units: with probes, for each hidden layer how many units no training row opens.
        interrupted: True where Ctrl-C ended the run early.
        learner: the network whose weights the steps change: ``network`` itself, unless that one
            holds their moving average.
        updates: how many steps the optimiser's state has seen; (K,) where members stopped early.
        best_epoch: with early stopping, the epoch whose weights the network has (one a member).
        schedule: the learning rate's, as it stands.
        stopper: what early stopping has seen and keeps.
        comparable_from: position in the history of the first epoch with this data, validation and
            meaning of the loss; the diagnosis looks at no earlier one.
        position: minibatches done of an epoch that Ctrl-C, or the ``on_step`` of a callback, broke
            off; 0 between epochs. The epoch's rest is the first thing that ``train(network=run)``
            does, with a record of its own, whose loss is the whole epoch's.
        met: of the minibatches done of an epoch, summed loss, weight (rows, where all alike) and
            penalty.
        profile: where the time of the call of `train` went, where that was asked for.
    """

    network: MultilayerPerceptron
    history: History
    backend: Backend
    settings: Settings
    data: Data = field(repr=False)
    state: State = field(repr=False)
    findings: list[Finding] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list, repr=False)
    shut_units: list[Any] = field(default_factory=list)
    interrupted: bool = False
    comparable_from: int = 0
    position: int = 0
    met: tuple[Array, Array, Array] = field(default=(0.0, 0.0, 0.0), repr=False)
    learner: MultilayerPerceptron = field(default=None, repr=False)  # type: ignore[assignment]
    updates: Any = 0
    best_epoch: Any = None
    schedule: Schedule = field(default_factory=Schedule, repr=False)
    stopper: Any = field(default=None, repr=False)  # a Stopper
    profile: Profile | None = None

    def __post_init__(self) -> None:
        if self.learner is None:
            self.learner = self.network

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.history))

    def to_go_on(self) -> "Run":
        """What ``train(X, y, network=run)`` needs of a run to go on with other data.

        It is small: it has no data, of the history only the last epoch, and nothing of the user's
        that was called in the run.
        """
        return replace(
            self,
            data=None,  # type: ignore[arg-type]
            stopper=None,
            profile=None,
            measurements=[],
            findings=[],
            comparable_from=0,
            history=History(self.history.records[-1:]),
            schedule=Schedule(),
            settings=replace(self.settings, schedule="constant", shuffle=True),
        )

    def to(self, backend: str | Backend, device: Any = None) -> "Run":
        """A copy on another backend, named as for `resolve`, as `to_go_on` leaves it."""
        there = resolve(backend, device)
        moved = self.mover(there)
        network = self.network.to(there)
        return replace(
            self.to_go_on(),
            network=network,
            learner=network if self.learner is self.network else self.learner.to(there),
            backend=there,
            state=mapped(moved, self.state),
            met=mapped(moved, self.met),
        )

    def mover(self, there: Backend) -> Callable[[Any], Any]:
        """A function that copies an array of this run to another backend; numbers stay."""
        here = self.backend

        def moved(array: Any) -> Any:
            if type(array) in (int, float):
                return array
            return there.asarray(array if here == there else here.to_numpy(array), copy=True)

        return moved

    @property
    def device(self) -> Any:
        """The device it was trained on."""
        return self.backend.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a figure that each member has one of: (K,), or () for one network."""
        return () if self.network.members is None else (self.network.members,)

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that comes next; one broken off comes again, for its rest."""
        return int(self.history[-1]["epoch"]) + (self.position == 0) if len(self.history) else 0

    @property
    def steps_done(self) -> int:
        """Steps trained so far."""
        return int(self.history[-1]["step"]) if len(self.history) else 0

    def __repr__(self) -> str:
        interrupted = " (interrupted)" if self.interrupted else ""
        precision = "" if self.settings.precision == FULL else f", {self.settings.precision}"
        return f"<Run{interrupted} of {self.network!r}{precision}, {self.history!r}>"


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite. ``run`` holds the network and history as they are.

    With early stopping the network has the best weights again, where they are to be restored.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.run)


@dataclass(frozen=True)
class EpochEnd:
    """What a callback is told after each epoch.

    Attributes:
        record: the epoch's record, as it stands in the history.
        number: how many epochs of this call of `train` are done.
        epochs: how many it is to make.
        network: as it is now. A callback must not change it.
        history: all epochs so far, those of a continued run included.
    """

    record: Record
    number: int
    epochs: int
    network: MultilayerPerceptron
    history: History


@dataclass(frozen=True)
class StepEnd:
    """What a callback's ``on_step`` is told after each step.

    The answer True ends the run there: the epoch so far gets a record, early stopping restores
    nothing yet, and ``train(network=run)`` goes on with the epoch's rest.

    Attributes:
        step: how many steps of the run are done, from 1.
        epoch: the number of its epoch, from 0.
        rows: how many samples it saw; (K,) on the host where members saw different numbers.
        loss: mean over the minibatch, () or (K,), on the device: to read it is to wait for it.
        penalty: alpha / 2 |W|^2 over the weight of the minibatch, likewise; 0 without ``alpha``.
        network: whose weights the step changed, not their average. A callback must not change it.
    """

    step: int
    epoch: int
    rows: Any
    loss: Array
    penalty: Array | float
    network: MultilayerPerceptron


# Called after each epoch; True stops. One that also has a method on_step(StepEnd) is called by that
# after each step, too, and may stop there.
Callback: TypeAlias = Callable[[EpochEnd], bool | None]
