"""`Run`: the result of training, and all that is needed to go on with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from arraymlp.backends.backend import Backend
from arraymlp.backends.precision import FULL
from arraymlp.backends.registry import resolve
from arraymlp.data.data import Data
from arraymlp.data.fingerprint import Fingerprint
from arraymlp.html.view import shown
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.probes import Measurement
from arraymlp.steps.profile import Profile
from arraymlp.steps.schedules import Constant, Schedule
from arraymlp.steps.update import States, tree_map
from arraymlp.training.early_stopping import Stopper
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.scores.scores import Scores
from arraymlp.training.settings import Settings
from arraymlp.training.snapshots import Snapshot
from arraymlp.training.with_page import WithPage

if TYPE_CHECKING:
    from arraymlp.diagnosis.findings import Findings


FINISHED, STOPPED_EARLY = "finished", "stopped early"
INTERRUPTED, DIVERGED = "interrupted", "diverged"
ENDS = (FINISHED, STOPPED_EARLY, INTERRUPTED, DIVERGED)


class Unrecorded(NamedTuple):
    """What was done of an epoch since its last record, or since its beginning.

    Attributes:
        steps: how many of its minibatches.
        rows: of these.
        seconds: that they took.
    """

    steps: int = 0
    rows: int = 0
    seconds: float = 0.0


class PartialEpoch(NamedTuple):
    """The part that is done of an epoch that is not at its end.

    Attributes:
        steps: how many of its minibatches; 0 between epochs.
        sums: their losses, weights and penalties, each summed; numbers, or (K,) on the device.
        unrecorded: what of it has no record yet: all of it in a checkpoint; nothing where Ctrl-C or
            a callback's ``on_step`` broke the epoch off, which then has a record.
    """

    steps: int = 0
    sums: LossSums = LossSums()
    unrecorded: Unrecorded = Unrecorded()


@dataclass
class Run(WithPage):
    """The result of `train`; ``network, history = run`` unpacks it.

    Attributes:
        network: the trained network or population, on the backend that trained it.
        history: a record for each epoch, those before this call included.
        backend: where it was trained.
        settings: what it was trained with, every default filled in.
        data: the data it was trained on, which going on uses again; None where it was left out.
        states: the optimiser's state of each layer, of weights and of bias, with which
            ``train(network=run)`` goes on.
        raw_network: the network whose weights the steps change: ``network`` itself, unless that one
            holds their moving average.
        schedule: the learning rate's, as it stands.
        measurements: what the probes measured, in the order of their steps; empty without probes.
        dead_units: with probes, for each hidden layer how many units have ``|f'(s)| <= 0.001`` for
            every training row (K numbers for a population); else empty.
        snapshots: with ``snapshots=``, the weights of ``network`` after some epochs, in order.
        ended: how it ended: "finished", "stopped early" (by early stopping or a callback),
            "interrupted" (by Ctrl-C or SIGTERM) or "diverged" (no loss is finite any more).
        cause: why it diverged, in words; else "".
        comparable_from: position in the history of the first epoch with this data, validation and
            meaning of the loss; the diagnosis looks at no earlier one.
        partial_epoch: what is done of an epoch that was broken off. The epoch's rest is the first
            thing that ``train(network=run)`` does, with a record of its own, whose loss is the
            whole epoch's.
        updates: how many steps the optimiser's state has seen; (K,) where members stopped early.
        best_epoch: with early stopping, the epoch whose weights the network has, or a list of K;
            else None.
        stopper: what early stopping has seen and keeps; None without it.
        profile: where the time of the call of `train` went, where that was asked for; else None.
        engine: what did the steps: "cpu", "cuda", or "array" for the array code.
        engine_reason: why it was the array code; "" where an engine did them. An engine whose first
            step was wrong is left, see `arraymlp.EngineMismatchWarning`.
        fingerprint: of the data, where the run was read from a file: `train` then knows it again.
    """

    network: MultilayerPerceptron
    history: History
    backend: Backend
    settings: Settings
    data: Data | None = field(repr=False)
    states: States = field(repr=False)
    raw_network: MultilayerPerceptron = field(repr=False)
    schedule: Schedule = field(default_factory=Constant, repr=False)
    measurements: list[Measurement] = field(default_factory=list, repr=False)
    dead_units: list[Any] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list, repr=False)
    ended: str = FINISHED
    cause: str = ""
    comparable_from: int = 0
    partial_epoch: PartialEpoch = field(default=PartialEpoch(), repr=False)
    updates: Any = 0
    best_epoch: Any = None
    stopper: Stopper | None = field(default=None, repr=False)
    profile: Profile | None = None
    engine: str = "array"
    engine_reason: str = ""
    fingerprint: Fingerprint | None = field(default=None, repr=False)
    _findings: "Findings | None" = field(default=None, init=False, repr=False, compare=False)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.history))

    @property
    def findings(self) -> "Findings":
        """The findings of the diagnosis (see `arraymlp.diagnose`), computed when first read.

        They are of network and data as these are then; none of a run without its data.
        """
        from arraymlp.diagnosis.detectors import diagnose
        from arraymlp.diagnosis.findings import Findings

        if self.data is None:
            return Findings()
        if self._findings is None:
            self._findings = diagnose(self)
        return self._findings

    @property
    def predictor(self) -> MultilayerPerceptron | Ensemble:
        """What predicts: the network, or of a population the mean of its members."""
        return self.network if self.network.members is None else Ensemble([self.network])

    def predict(self, X: Any) -> Any:
        """The predictions for X, (N,) or (N, T): of a population by the mean of its members.

        See `MultilayerPerceptron.predict` and `Ensemble.predict`, which also say what is refused.
        """
        return self.predictor.predict(X)

    def predict_proba(self, X: Any) -> Any:
        """The probabilities of the classes, (N, n_classes), likewise."""
        return self.predictor.predict_proba(X)

    def evaluate(self, X: Any, y: Any = None) -> Scores:
        """How good the predictions for X are, likewise; see `MultilayerPerceptron.evaluate`."""
        return self.predictor.evaluate(X, y)

    @property
    def interrupted(self) -> bool:
        """True where Ctrl-C or SIGTERM ended the run early."""
        return self.ended == INTERRUPTED

    @property
    def averages(self) -> bool:
        """True where ``network`` holds the moving average of the weights that steps change."""
        return self.raw_network is not self.network

    @property
    def networks(self) -> Sequence[Network]:
        """The networks whose weights a step updates, which may be the averaged and the raw one."""
        return [self.network, self.raw_network] if self.averages else [self.network]

    def required_data(self) -> Data:
        """Return the data.

        Raises:
            ValueError: it was left out.
        """
        if self.data is None:
            raise ValueError("the run was kept without its data: give X and y to go on")
        return self.data

    def restore_best(self) -> None:
        """With early stopping, give each member the weights that were kept of it."""
        if self.stopper is not None:
            last = self.history[-1]["epoch"]
            self.states, self.updates, self.best_epoch = self.stopper.restore(
                self.networks, self.states, self.updates, last
            )

    def without_data(self) -> "Run":
        """The run without its data, to go on with other data: ``train(X, y, network=run)``.

        It is small: it has no data, of the history only the last epoch, and nothing of the user's
        that was called in the run.
        """
        return replace(
            self,
            data=None,
            stopper=None,
            profile=None,
            measurements=[],
            snapshots=[],
            comparable_from=0,
            history=History(self.history.records[-1:]),
            schedule=Constant(),
            settings=replace(self.settings, schedule=Constant(), shuffle=True),
        )

    def to(self, backend: str | Backend, device: Any = None) -> "Run":
        """A copy on another backend, named as for `resolve`, as `without_data` leaves it.

        Raises:
            ValueError: that backend lacks the parameters' dtype.
        """
        there = resolve(backend, device)
        moved = self.mover(there)
        network = self.network.to(there)
        return replace(
            self.without_data(),
            network=network,
            raw_network=self.raw_network.to(there) if self.averages else network,
            backend=there,
            states=tree_map(moved, self.states),
            partial_epoch=tree_map(moved, self.partial_epoch),
        )

    def mover(self, there: Backend) -> Callable[[Any], Any]:
        """A function that copies an array of this run to another backend; numbers stay."""
        here = self.backend

        def moved(array: Any) -> Any:
            if isinstance(array, int | float) and not isinstance(array, np.generic):
                return array  # NumPy's float64 is a float, too
            return there.asarray(array if here == there else here.to_numpy(array), copy=True)

        return moved

    @property
    def device(self) -> Any:
        """The device it was trained on."""
        return self.backend.device

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a figure that each member has, (K,), or () for one network."""
        return () if self.network.members is None else (self.network.members,)

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that comes next; one broken off comes again, for its rest."""
        if not len(self.history):
            return 0
        partial = self.partial_epoch
        return int(self.history[-1]["epoch"]) + (partial.steps == partial.unrecorded.steps)

    @property
    def steps_done(self) -> int:
        """Number of steps trained so far, in all calls of `train`."""
        recorded = int(self.history[-1]["step"]) if len(self.history) else 0
        return recorded + self.partial_epoch.unrecorded.steps

    def __repr__(self) -> str:
        interrupted = " (interrupted)" if self.interrupted else ""
        precision = "" if self.settings.precision == FULL else f", {self.settings.precision}"
        engine = f", engine {self.engine}"
        return f"<Run{interrupted} of {self.network!r}{precision}{engine}, {self.history!r}>"

    def _repr_html_(self) -> str | None:
        """What was trained, how it ended, its figures, curves and findings, for notebooks."""
        from arraymlp.training.views.run import run_view

        return shown(lambda: run_view(self, diagnosed=self._findings is not None))


class NonFiniteLossError(ArithmeticError):
    """The loss of every member became NaN or infinite.

    Attributes:
        run: the `Run`, with network and history as they are. With early stopping the network has
            the best weights again, where they are to be restored.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.run)
