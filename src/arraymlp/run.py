"""What `train` gives back, and what it tells those who watch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from arraymlp.backend import Backend
from arraymlp.data import Data
from arraymlp.findings import Finding
from arraymlp.history import History, Record
from arraymlp.network import MultilayerPerceptron
from arraymlp.probes import Measurement
from arraymlp.settings import Settings
from arraymlp.step import State


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
        comparable_from: position in the history of the first epoch with this data and validation;
            the diagnosis looks at no earlier one.
        position: minibatches done of an epoch that Ctrl-C broke off; 0 between epochs. The epoch's
            rest is the first thing that ``train(network=run)`` does, with a record of its own.
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

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.history))

    @property
    def device(self) -> Any:
        """The device it was trained on."""
        return self.backend.device

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
        return f"<Run{interrupted} of {self.network!r}, {self.history!r}>"


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite. ``run`` holds the network and history as they are."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


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


Callback: TypeAlias = Callable[[EpochEnd], bool | None]
