"""Populations: many networks trained as one stacked computation, each as if it trained alone.

The members share the loop, the step and the layers of `arraymlp.train`; they differ in numbers
among the settings, in the rows they train on, and in their schedules. A member that is finished
(stopped early, or diverged) is taken out of the stack between epochs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import Any, Protocol

import numpy as np

from arraymlp._checks import of_member
from arraymlp.backends.array import Array
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt
from arraymlp.data.data import Data
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.targets import scaled_loss
from arraymlp.data.weights import with_class_weights
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.probes import Measurement, count_dead_units
from arraymlp.steps.update import initial_states, tree_map
from arraymlp.sweeps.stacking import SchedulesOfMembers, record_of, stack_settings
from arraymlp.training.callbacks import AnyCallback, Callback, EpochEnd, StepEnd
from arraymlp.training.early_stopping import Stopper
from arraymlp.training.history import History, Record
from arraymlp.training.loop import not_finite_layers, train_epochs
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import STOPPED_EARLY, PartialEpoch, Run
from arraymlp.training.saver import Saver
from arraymlp.training.settings import Settings
from arraymlp.training.setup import new_run
from arraymlp.training.snapshots import Snapshot

FINISHED, STOPPED, DIVERGED, INTERRUPTED = "finished", "stopped", "diverged", "interrupted"
CONSTANT = "constant"  # what `arraymlp.sweeps.constant` makes of finished and stopped
LOST = "lost"  # with the workers that trained it: see `arraymlp.sweeps.workers`
ENDED = {  # where ``run.ended`` says it otherwise
    STOPPED: STOPPED_EARLY,
    CONSTANT: FINISHED,
    LOST: INTERRUPTED,
}
LEAVE = 8  # finished members are taken out once they are one in so many of the stack


@dataclass(frozen=True, eq=False)
class MemberSpec:
    """A network to train: what `train` would be given if it trained alone.

    Attributes:
        settings: the members of a population have one stacking key.
        row_plan: the rows it trains on, and in what order; None for all, in one order for all.
        network: to begin with; None for a new one by the settings.
        watch: called with each of its records, and with the sum that `StepLosses` made of its
            steps, or None. Return True to stop its training. One that remembers what it saw has
            ``state`` and ``restore`` as `Callback` has, for checkpoints.
    """

    settings: Settings
    row_plan: RowPlan | None = None
    network: MultilayerPerceptron | None = None
    watch: Callable[[Record, float | None], bool] | None = None


@dataclass(eq=False)
class MemberResult:
    """A trained network, and how its training went.

    Attributes:
        network: as it is to be kept: with early stopping of its best epoch.
        history: its own records. A member's ``seconds`` are its share of its population's.
        status: "finished", "stopped" (early), "diverged" or "interrupted"; in a sweep "constant"
            for a finished or stopped one that gives every row the same output; with an executor
            "lost" where its workers were.
        cause: why it diverged, is constant or was lost, in words; else "".
        best_epoch: with early stopping, the epoch whose weights the network has.
        measurements: its own, with probes.
        dead_units: likewise, of each hidden layer.
        snapshots: its weights after some epochs, where the settings ask for them.
        partial_epoch: the part that is done of an epoch that Ctrl-C or SIGTERM broke off.
        engine: the engine that did the steps, or "array", as ``run.engine``.
        engine_reason: why it was the array code; "" where an engine did them.
    """

    network: MultilayerPerceptron
    history: History = field(repr=False)
    status: str = FINISHED
    cause: str = ""
    best_epoch: int | None = None
    measurements: list[Measurement] = field(default_factory=list, repr=False)
    dead_units: list[float] = field(default_factory=list, repr=False)
    snapshots: list[Snapshot] = field(default_factory=list, repr=False)
    partial_epoch: PartialEpoch = field(default=PartialEpoch(), repr=False)
    engine: str = "array"
    engine_reason: str = ""


def run_of(result: MemberResult, spec: MemberSpec, data: Data, backend: Backend) -> Run:
    """A member's training as the run of one network, for `diagnose` and to go on with.

    The rows of a row plan are copied. The optimiser's state is not kept: it starts afresh.
    """
    if spec.row_plan is not None:
        ((_, _, member_data),) = replace(data, row_plans=(spec.row_plan,)).by_row_plan(
            replace(spec.settings, training_error=True), backend
        )
    else:
        member_data = data
    loss = result.network.loss  # the member's own, where it was swept
    member_data = replace(member_data, y=replace(member_data.y, loss=loss))
    member_data = with_class_weights(member_data, spec.settings, backend)
    schedule = spec.settings.schedule.begin()
    for record in result.history[: len(result.history) - (result.partial_epoch.steps > 0)]:
        schedule.observe(record)
    return Run(
        network=result.network,
        history=result.history,
        backend=backend,
        settings=spec.settings,
        data=member_data,
        states=initial_states(result.network, spec.settings.optimizer),
        raw_network=result.network,
        schedule=schedule,
        measurements=result.measurements,
        dead_units=result.dead_units,
        snapshots=result.snapshots,
        ended=ENDED.get(result.status, result.status),
        best_epoch=result.best_epoch,
        partial_epoch=result.partial_epoch,
        engine=result.engine,
        engine_reason=result.engine_reason,
    )


class StepLosses(Callback):
    """Adds up losses step by step, for those that report more than an epoch's mean."""

    def on_step(self, event: StepEnd) -> None:
        """Take note of a step."""
        raise NotImplementedError

    def take(self) -> list[float]:
        """Return each member's figure of the epoch that ended, and begin the next epoch's."""
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
    file: "PopulationFile | None" = None,
    callbacks: "MemberCallbacks | None" = None,
) -> list[MemberResult]:
    """Train several networks together, each as if alone.

    Args:
        specs: the members; all have one stacking key, and all have a row plan, or none has.
        data: all rows, which the members share.
        backend: where the data is.
        interrupt: Ctrl-C or SIGTERM; the results are then those of the members as they are.
        compact: take members that are finished out of the stack. What is left of it may then round
            differently on some backends; it does not on NumPy with one thread.
        on_epoch: called with the positions and the records of the members that trained an epoch;
            and at first with those of all epochs that the file has, member by member.
        step_losses: see `MemberSpec.watch`.
        file: of checkpoints, from which it goes on; None without them.
        callbacks: told of each member's epochs, by its position.
    """
    population = Population(specs, data, backend, compact, on_epoch, step_losses, callbacks)
    if file is not None:
        file.restore(population)
        population.report()
    if not population.is_finished:
        population.train(interrupt, file)
    return [population.results[k] for k in range(len(specs))]


class MemberCallbacks(Protocol):
    """What is told of each member by itself, as `arraymlp.sweeps.callbacks` does."""

    def epoch_ended(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron], /
    ) -> bool:
        """Called with a member's last epoch; return True to stop its training."""

    def finished_before(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron], /
    ) -> None:
        """Called for a member that a checkpoint's file has finished."""


class PopulationFile(Protocol):
    """What keeps the state of a population, as `arraymlp.sweeps.checkpoint` does."""

    def restore(self, population: "Population") -> None:
        """Bring a population to where its file has it, where there is one."""

    def saver(self, population: "Population") -> Saver:
        """What takes its state when that is due."""


class Population:
    """The training of a population.

    Attributes:
        members: the numbers of the members in the stack; a member's position in it is its place.
        results: of the members that are finished, by number.
        run: the stack's.
        histories: of all members, by number.
        is_finished: whether there is nothing left to train.
        pauses: asked after each epoch whether to go on another time, from the state as it is then.
        holds: True where somebody else tells callbacks: the training pauses after each epoch, which
            `settle` then ends.
        is_paused: whether `train` has returned for either.
        held: what the steps of the epoch that `settle` is to end added up their losses to.
    """

    def __init__(
        self,
        specs: Sequence[MemberSpec],
        data: Data,
        backend: Backend,
        compact: bool,
        on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None,
        step_losses: StepLosses | None,
        callbacks: MemberCallbacks | None,
    ) -> None:
        self.specs, self.all_data, self.backend = specs, data, backend
        self.epochs, self.is_finished = specs[0].settings.epochs, False
        self.pauses: Callable[[], bool] | None = None
        self.holds = self.is_paused = False
        self.held: list[float] | None = None
        self.compact = compact and not specs[0].settings.probes
        self.on_epoch, self.step_losses, self.callbacks = on_epoch, step_losses, callbacks
        self.members = list(range(len(specs)))
        self.histories = [History() for _ in specs]
        self.results: dict[int, MemberResult] = {}
        networks = [spec.network for spec in specs if spec.network is not None]
        settings, stack_data = self._stacked()
        network = MultilayerPerceptron.stacked(networks) if networks else None
        self.run = new_run(stack_data, settings, backend, network)

    def _stacked(self) -> tuple[Settings, Data]:
        """Settings and data of the members in the stack."""
        specs = [self.specs[k] for k in self.members]
        settings = stack_settings([spec.settings for spec in specs])
        row_plans = [spec.row_plan for spec in specs if spec.row_plan is not None]
        data = replace(self.all_data, row_plans=tuple(row_plans) or None)
        if settings.loss != "auto":  # it has the parameters of each member's own
            loss, scaling = settings.loss, data.y.scaling
            loss = loss if scaling is None else scaled_loss(loss, scaling)[0]
            y_val = None if data.y_val is None else replace(data.y_val, loss=loss)
            data = replace(data, y=replace(data.y, loss=loss), y_val=y_val)
        return settings, with_class_weights(data, settings, self.backend)

    @property
    def watchers(self) -> list[Any]:
        """What remembers the epochs so far: of each member, and the losses of the steps."""
        return [*(spec.watch for spec in self.specs), self.step_losses]

    @property
    def unfinished(self) -> list[int]:
        """Places in the stack of the members that are not finished."""
        return [i for i, k in enumerate(self.members) if k not in self.results]

    def train(self, interrupt: Interrupt, file: PopulationFile | None = None) -> None:
        """Train all epochs, with fewer members from time to time."""
        callbacks: list[AnyCallback] = [self._epoch_ended]
        if self.step_losses is not None:
            callbacks.append(self.step_losses)
        saver = None if file is None else file.saver(self)
        try:
            while not (self._has_trained and self._is_over):
                train_epochs(self.run, callbacks, interrupt, saver=saver)
                if self.is_paused:
                    if self._is_to_shrink and not interrupt.requested:
                        self._shrink()
                    if saver is not None:
                        saver.finish()
                    return
                if interrupt.requested or self._is_over:
                    break
                self._shrink()
            self.end(saver)
        finally:
            if saver is not None:
                saver.close()

    @property
    def _has_trained(self) -> bool:
        return bool(self.results) or len(self.run.history) > 0

    @property
    def _is_over(self) -> bool:
        """Whether all members are finished, or all epochs done."""
        return not self.unfinished or self.run.next_epoch == self.epochs

    @property
    def _is_to_shrink(self) -> bool:
        """Whether enough members are finished to be taken out of the stack."""
        finished = len(self.members) - len(self.unfinished)
        return finished > 0 and self.compact and finished * LEAVE >= len(self.members)

    def _shrink(self) -> None:
        """Go on with the members that are not finished."""
        self.keep_members(self.unfinished, self.epochs - self.run.next_epoch)

    def settle(self, stops: Sequence[int], losses: Sequence[float] | None) -> None:
        """End an epoch after which `holds` had the training pause, as of the state then.

        Args:
            stops: the members that callbacks have said to stop, by number.
            losses: ``held`` then.
        """
        places = self.unfinished
        records = [self.histories[self.members[i]].records[-1] for i in places]
        self._finish_those_due(places, records, losses, [self.members[i] in stops for i in places])
        if self.unfinished and self._is_to_shrink and not self._is_over:
            self._shrink()

    def report(self) -> None:
        """Tell of the epochs and of the finished members that a file has."""
        if self.on_epoch is not None:
            told = [(k, record) for k, history in enumerate(self.histories) for record in history]
            if told:
                self.on_epoch([k for k, _ in told], [record for _, record in told])
        if self.callbacks is not None:
            for k, result in sorted(self.results.items()):
                if len(result.history):
                    make = partial(getattr, result, "network")
                    self.callbacks.finished_before(k, result.history, make)

    def end(self, saver: Saver | None = None, status: str = INTERRUPTED, cause: str = "") -> None:
        """Finish the members that are left, or those that are not trained to the end as they are.

        Args:
            saver: of checkpoints, to which the last state goes.
            status: of members that are not trained to the end.
            cause: likewise.
        """
        unfinished = self.unfinished
        whole = self.run.next_epoch == self.epochs and self.run.partial_epoch.steps == 0
        if unfinished and not whole and saver is not None:
            saver.finish()  # the members as they are to go on
        for i in unfinished:
            self._finish(i, FINISHED if whole else status)
            if not whole:
                self.results[self.members[i]].cause = cause
        if self.run.settings.probes:
            self._share_probes()
        self.is_finished = whole or not unfinished
        if self.is_finished and saver is not None:
            saver.finish()

    def _share_probes(self) -> None:
        """Give each member its measurements; with probes no member leaves the stack."""
        run, window = self.run, self.run.settings.window
        with self.backend.active(), np.errstate(all="ignore"):
            dead = count_dead_units(run.network, run.required_data().X, self.backend, window)
        for k, result in self.results.items():
            result.measurements = [m.member(k) for m in run.measurements]
            result.dead_units = [of_member(count, k) for count in dead]

    def _epoch_ended(self, event: EpochEnd) -> bool:
        """Share an epoch's record out; True to go on with fewer members, or not at all."""
        shared = event.record | {"seconds": event.record["seconds"] / len(self.members)}
        losses = None if self.step_losses is None else self.step_losses.take()
        trained: list[int] = []
        records: list[Record] = []
        for i in self.unfinished:
            k = self.members[i]
            record = record_of(shared, i)
            if not self.specs[k].settings.alpha:  # alone it would have no such column
                record.pop("penalty", None)
            self.histories[k].records.append(record)
            trained.append(k)
            records.append(record)
        if self.on_epoch is not None:
            self.on_epoch(trained, records)
        if self.holds:
            self.held, self.is_paused = losses, True
            return True
        places = self.unfinished
        stopped = [self._callbacks_say_stop(i) for i in places]
        self._finish_those_due(places, records, losses, stopped)
        if not self._is_over and self.pauses is not None and self.pauses():
            self.is_paused = True
        return self.is_paused or not self.unfinished or self._is_to_shrink

    def _finish_those_due(
        self,
        places: Sequence[int],
        records: Sequence[Record],
        losses: Sequence[float] | None,
        stopped: Sequence[bool],
    ) -> None:
        """Finish the members at some places where they are to go no further."""
        for i, record, stop in zip(places, records, stopped, strict=True):
            self._finish_if_due(i, record, None if losses is None else losses[i], stop)

    def _callbacks_say_stop(self, i: int) -> bool:
        """Tell the callbacks of the epoch of the member at place i; True where one says stop."""
        if self.callbacks is None:
            return False
        k, make = self.members[i], partial(self.run.network.member, i)
        return self.callbacks.epoch_ended(k, self.histories[k], make)

    def _finish_if_due(self, i: int, record: Record, step_loss: float | None, stop: bool) -> None:
        """Finish the member at place i where it diverged or is to stop after a whole epoch."""
        if self.run.partial_epoch.steps > 0:
            return
        watch, stopper = self.specs[self.members[i]].watch, self.run.stopper
        says_stop = watch is not None and watch(record, step_loss)
        if not isfinite(record["loss"]):
            self._finish(i, DIVERGED)
        elif stop or says_stop or (stopper is not None and stopper.stopped[i]):
            self._finish(i, STOPPED)

    def _finish(self, i: int, status: str) -> None:
        """Make the result of the member at place i in the stack, as it is now."""
        k = self.members[i]
        history, stopper, partial = self.histories[k], self.run.stopper, self.run.partial_epoch
        result = MemberResult(
            self.run.network.member(i),
            history,
            status,
            snapshots=[snapshot.members(i) for snapshot in self.run.snapshots],
            engine=self.run.engine,
            engine_reason=self.run.engine_reason,
        )
        if status == DIVERGED:
            result.cause = _divergence_cause(history[-1], self.run.raw_network.member(i))
        if stopper is not None:
            result.best_epoch = history[-1]["epoch"] if len(history) else None
            if stopper.has_kept[i]:
                result.best_epoch, partial = int(stopper.epoch[i]), PartialEpoch()
                _restore(result.network, stopper, i, self.backend)
        if status in (INTERRUPTED, LOST) and partial.steps:
            sums = [a if isinstance(a, int | float) or a.ndim == 0 else a[i] for a in partial.sums]
            result.partial_epoch = PartialEpoch(partial.steps, LossSums(*sums))
        self.results[k] = result

    def keep_members(self, places: Sequence[int], epochs: int) -> None:
        """Go on with the members at these places of the stack, for so many epochs."""
        run = self.run
        indices = self.backend.asarray(np.asarray(places))

        def take(a: Array) -> Array:
            return self.backend.xp.take(a, indices, axis=0)

        self.members = [self.members[i] for i in places]
        settings, data = self._stacked()
        assert isinstance(run.schedule, SchedulesOfMembers)
        network = run.network.select_members(places)
        self.run = replace(
            run,
            network=network,
            raw_network=run.raw_network.select_members(places) if run.averages else network,
            states=tree_map(take, run.states),
            settings=replace(settings, epochs=epochs),
            data=data,
            history=History(run.history.records[-1:]),
            snapshots=[snapshot.members(list(places)) for snapshot in run.snapshots],
            schedule=run.schedule.select_members(places),
            stopper=None if run.stopper is None else run.stopper.some(places, take),
        )


def _restore(network: MultilayerPerceptron, stopper: Stopper, i: int, backend: Backend) -> None:
    """Give a network the parameters that early stopping kept of the member at place i."""
    (parameters, *_), _ = stopper.kept  # of the evaluated network, and of the raw one
    network.layers = [
        layer.with_parameters(
            backend.asarray(weights[i, ...], copy=True), backend.asarray(bias[i, ...], copy=True)
        )
        for layer, (weights, bias) in zip(network.layers, parameters, strict=True)
    ]


def _divergence_cause(record: Record, network: MultilayerPerceptron) -> str:
    """Why a member counts as diverged, in words."""
    layers = not_finite_layers(network)
    weights = f"weights of layers {', '.join(layers)} not finite" if layers else "weights finite"
    return f"loss {record['loss']} in epoch {record['epoch']}, {weights}"
