"""Populations: many networks trained as one stacked computation, each as if it trained alone.

The members share the loop, the step and the layers of `arraymlp.train`; what differs from member to
member is a number in the settings, a course through the data, or a schedule. A member that is done
(stopped early, or diverged) is taken out of the stack between epochs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np

from arraymlp._checks import of_member
from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt
from arraymlp.data.data import Data
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.weights import with_class_weights
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.probes import Measurement, count_dead_units
from arraymlp.steps.update import initial_states, tree_map
from arraymlp.sweeps.stacking import SchedulesOfMembers, record_of, stack_settings
from arraymlp.training.callbacks import Callback, EpochEnd, StepEnd
from arraymlp.training.history import History, Record
from arraymlp.training.loop import not_finite_layers, train_epochs
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import PartialEpoch, Run
from arraymlp.training.settings import Settings
from arraymlp.training.setup import new_run

FINISHED, STOPPED, DIVERGED, INTERRUPTED = "finished", "stopped", "diverged", "interrupted"
LEAVE = 8  # members are taken out of the stack once a part of it, one in so many, is done


@dataclass(frozen=True, eq=False)
class MemberSpec:
    """A network to train: what `train` would be told if it trained alone.

    Attributes:
        settings: resolved (`arraymlp.sweeps.stacking.with_own_decay`); those of a population are of one kind.
        row_plan: the rows it trains on, and in what order; None for all, in one order for all.
        network: to begin with; None for a new one by the settings.
        watch: called with each of its records, and with its minibatches' mean loss where these are
            asked for; the answer True ends its training.
    """

    settings: Settings
    row_plan: RowPlan | None = None
    network: MultilayerPerceptron | None = None
    watch: Callable[[Record, float | None], bool] | None = None


@dataclass(eq=False)
class MemberResult:
    """What became of a network.

    Attributes:
        network: as it is to be kept: with early stopping of its best epoch.
        history: its own records. A member's ``seconds`` are its share of its population's.
        status: "finished", "stopped" (early), "diverged" or "interrupted".
        cause: of a divergence, in words.
        best_epoch: with early stopping, the epoch whose weights the network has.
        measurements: its own, with probes.
        dead_units: likewise.
        partial_epoch: what is done of an epoch that Ctrl-C broke off.
    """

    network: MultilayerPerceptron
    history: History = field(repr=False)
    status: str = FINISHED
    cause: str = ""
    best_epoch: int | None = None
    measurements: list[Measurement] = field(default_factory=list, repr=False)
    dead_units: list[Any] = field(default_factory=list, repr=False)
    partial_epoch: PartialEpoch = field(default=PartialEpoch(), repr=False)


def run_of(outcome: MemberResult, spec: MemberSpec, data: Data, backend: Backend) -> Run:
    """A member's training as the run of one network, for `diagnose` and to go on with.

    Of a course its rows are copied. The optimiser's state is not kept: it starts afresh.
    """
    if spec.row_plan is not None:
        ((_, _, own),) = replace(data, row_plans=(spec.row_plan,)).by_row_plan(
            replace(spec.settings, training_error=True), backend
        )
    else:
        own = data
    own = with_class_weights(own, spec.settings, backend)
    factor = spec.settings.schedule.begin()
    for record in outcome.history[: len(outcome.history) - (outcome.partial_epoch.steps > 0)]:
        factor.observe(record)
    return Run(
        outcome.network,
        outcome.history,
        backend,
        spec.settings,
        own,
        initial_states(outcome.network, spec.settings.optimizer),
        measurements=outcome.measurements,
        dead_units=outcome.dead_units,
        interrupted=outcome.status == INTERRUPTED,
        best_epoch=outcome.best_epoch,
        partial_epoch=outcome.partial_epoch,
        schedule=factor,
    )


class StepLosses(Callback):
    """Adds up losses step by step, for those that report more than an epoch's mean."""

    def on_step(self, event: StepEnd) -> None:
        """Take note of a step."""
        raise NotImplementedError

    def take(self) -> list[float]:
        """Each member's figure of the epoch that ended; from then on of the next."""
        raise NotImplementedError


def train_population(
    specs: Sequence[MemberSpec],
    data: Data,
    backend: Backend,
    interrupt: Interrupt,
    *,
    compact: bool = True,
    on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None = None,
    step_losses: StepLosses | None = None,
) -> list[MemberResult]:
    """Train several networks together, each as if alone.

    Args:
        specs: what each is told; all of one kind, and all with a course, or none.
        data: the rows that all know of.
        backend: where.
        interrupt: Ctrl-C; then what there is comes back.
        compact: take members that are done out of the stack. What is left of it may then round
            differently on some backends; it does not on NumPy with one thread.
        on_epoch: called with the positions and the records of the members that trained an epoch.
        step_losses: see `MemberSpec.watch`.
    """
    training = _Training(specs, data, backend, compact, on_epoch, step_losses)
    training.train(interrupt)
    return [training.outcomes[k] for k in range(len(specs))]


class _Training:
    """A population on its way; ``members`` has the positions of those in the stack."""

    def __init__(
        self,
        specs: Sequence[MemberSpec],
        data: Data,
        backend: Backend,
        compact: bool,
        on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None,
        step_losses: StepLosses | None,
    ) -> None:
        self.specs, self.all_data, self.backend = specs, data, backend
        self.compact = compact and not specs[0].settings.probes
        self.on_epoch, self.step_losses = on_epoch, step_losses
        self.members = list(range(len(specs)))
        self.histories = [History() for _ in specs]
        self.outcomes: dict[int, MemberResult] = {}
        given = [spec.network for spec in specs if spec.network is not None]
        settings, own = self._shared()
        network = MultilayerPerceptron.stacked(given) if given else None
        self.run = new_run(own, settings, backend, network)

    def _shared(self) -> tuple[Settings, Data]:
        """Settings and data of the members in the stack."""
        specs = [self.specs[k] for k in self.members]
        settings = stack_settings([spec.settings for spec in specs])
        row_plans = [spec.row_plan for spec in specs if spec.row_plan is not None]
        data = replace(self.all_data, row_plans=tuple(row_plans) or None)
        if settings.loss != "auto":  # each member's own parameters of it
            loss: Any = settings.loss
            y_val = None if data.y_val is None else replace(data.y_val, loss=loss)
            data = replace(data, y=replace(data.y, loss=loss), y_val=y_val)
        return settings, with_class_weights(data, settings, self.backend)

    @property
    def waiting(self) -> list[int]:
        """Places in the stack of the members that are not done."""
        return [i for i, k in enumerate(self.members) if k not in self.outcomes]

    def train(self, interrupt: Interrupt) -> None:
        """All epochs, with fewer members from time to time."""
        epochs = self.run.settings.epochs
        watching: list[Any] = [self._epoch_ended]
        if self.step_losses is not None:
            watching.append(self.step_losses)
        while True:
            train_epochs(self.run, watching, interrupt)
            left = epochs - self.run.next_epoch
            if interrupt.requested or not self.waiting or not left:
                break
            self._leave(left)
        for i in self.waiting:
            history = self.histories[self.members[i]]
            whole = len(history) == epochs and self.run.partial_epoch.steps == 0
            self._done(i, FINISHED if whole else INTERRUPTED)
        if self.run.settings.probes:
            self._share_probes()

    def _share_probes(self) -> None:
        """Give each member what was measured of it; with probes none leaves the stack."""
        run, window = self.run, self.run.settings.window
        with self.backend.active(), np.errstate(all="ignore"):
            dead = count_dead_units(run.network, run.required_data().X, self.backend, window)
        for k, outcome in self.outcomes.items():
            outcome.measurements = [m.member(k) for m in run.measurements]
            outcome.dead_units = [of_member(count, k) for count in dead]

    def _epoch_ended(self, event: EpochEnd) -> bool:
        """Share an epoch's record out; True to go on with fewer members, or not at all."""
        shared = event.record | {"seconds": event.record["seconds"] / len(self.members)}
        losses = None if self.step_losses is None else self.step_losses.take()
        whole, stopper = self.run.partial_epoch.steps == 0, self.run.stopper
        told: list[tuple[int, Record]] = []
        for i in self.waiting:
            k = self.members[i]
            record = record_of(shared, i)
            if not self.specs[k].settings.alpha:  # alone it would have no such column
                record.pop("penalty", None)
            self.histories[k].records.append(record)
            told.append((k, record))
            if not whole:
                continue
            watch = self.specs[k].watch
            ends = watch is not None and watch(record, None if losses is None else losses[i])
            if not isfinite(record["loss"]):
                self._done(i, DIVERGED)
            elif ends or (stopper is not None and stopper.stopped[i]):
                self._done(i, STOPPED)
        if self.on_epoch is not None:
            self.on_epoch([k for k, _ in told], [record for _, record in told])
        done = len(self.members) - len(self.waiting)
        due = self.compact and done * LEAVE >= len(self.members)
        return not self.waiting or (done > 0 and due)

    def _done(self, i: int, status: str) -> None:
        """Keep what is to be kept of the member at a place in the stack, as it is now."""
        k = self.members[i]
        history, stopper = self.histories[k], self.run.stopper
        network, cause, best = self.run.network.member(i), "", None
        partial = self.run.partial_epoch
        if status == DIVERGED:
            cause = _cause(history[-1], self.run.raw_network.member(i))
        if stopper is not None:
            best = history[-1]["epoch"] if len(history) else None
            if stopper.has_kept[i]:
                best, partial = int(stopper.epoch[i]), PartialEpoch()
                _put(network, stopper.kept[0][0], i, self.backend)
        outcome = self.outcomes[k] = MemberResult(network, history, status, cause, best)
        if status == INTERRUPTED and partial.steps:
            own = [a if isinstance(a, int | float) or a.ndim == 0 else a[i] for a in partial.sums]
            outcome.partial_epoch = PartialEpoch(partial.steps, LossSums(*own))

    def _leave(self, epochs: int) -> None:
        """Go on with the members that are not done, for so many epochs."""
        staying, run = self.waiting, self.run
        numbers = self.backend.asarray(np.asarray(staying))

        def taken(a: Array) -> Array:
            return self.backend.xp.take(a, numbers, axis=0)

        self.members = [self.members[i] for i in staying]
        settings, data = self._shared()
        assert isinstance(run.schedule, SchedulesOfMembers)
        network = run.network.some(staying)
        stopper = None if run.stopper is None else run.stopper.some(staying, taken)
        self.run = replace(
            run,
            network=network,
            raw_network=network
            if run.raw_network is run.network
            else run.raw_network.some(staying),
            states=tree_map(taken, run.states),
            settings=replace(settings, epochs=epochs),
            data=data,
            history=History(run.history.records[-1:]),
            schedule=run.schedule.some(staying),
            stopper=stopper,
        )


def _put(network: MultilayerPerceptron, kept: Any, i: int, backend: Backend) -> None:
    """Give a network the parameters that were kept of the member i."""
    network.layers = [
        layer.with_parameters(
            backend.asarray(weights[i, ...], copy=True), backend.asarray(bias[i, ...], copy=True)
        )
        for layer, (weights, bias) in zip(network.layers, kept, strict=True)
    ]


def _cause(record: Record, network: MultilayerPerceptron) -> str:
    """Why a member counts as diverged."""
    layers = not_finite_layers(network)
    weights = f"weights of layers {', '.join(layers)} not finite" if layers else "weights finite"
    return f"loss {record['loss']} in epoch {record['epoch']}, {weights}"
