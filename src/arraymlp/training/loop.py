"""The training loop: epochs of steps, a record and callbacks after each."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from arraymlp._checks import as_floats
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt, keep_freed_memory
from arraymlp.data.data import Data
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.orders import Orders, epoch_batches
from arraymlp.data.stream import Streamed
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import epoch_parts
from arraymlp.steps.hyper import Hyper, HyperTable, hyper_table, learning_rates
from arraymlp.steps.step import EpochStep, Step
from arraymlp.training.callbacks import (
    AnyCallback,
    EpochEnd,
    StepEnd,
    says_stop,
    step_watchers,
)
from arraymlp.training.engine import EngineChoice, choose_engine
from arraymlp.training.evaluation import evaluate, units
from arraymlp.training.history import Record
from arraymlp.training.progress import Progress
from arraymlp.training.run import PartialEpoch, Run
from arraymlp.training.setup import stopper_for
from arraymlp.training.stepping import Steps, choose_steps


@dataclass
class Position:
    """Where in its run the next step is; all numbers count from 0.

    Attributes:
        epoch: the epoch that it belongs to.
        step: its number in that epoch.
        steps_before: steps of the run before that epoch.
        steps_per_epoch: of this epoch and those to come.
        first_epoch: the first epoch of this call.
        end_epoch: the one past its last.
        total_steps: of the run, when this call is done.
    """

    epoch: int
    step: int
    steps_before: int
    steps_per_epoch: int
    first_epoch: int
    end_epoch: int
    total_steps: int

    @classmethod
    def of(cls, run: Run, rows: int) -> "Position":
        """Where a run is that trains on so many rows an epoch."""
        settings, done = run.settings, run.partial_epoch.steps
        size = settings.batch_size
        steps_per_epoch = rows // size if settings.drop_last else -(-rows // size)
        before = run.steps_done - done  # steps of whole epochs
        first, epochs = run.next_epoch, settings.epochs
        total = before + epochs * steps_per_epoch
        return cls(first, done, before, steps_per_epoch, first, first + epochs, total)

    @property
    def run_step(self) -> int:
        """The next step's number in the run."""
        return self.steps_before + self.step

    @property
    def steps_left(self) -> int:
        """Steps of the epoch that are not done."""
        return self.steps_per_epoch - self.step

    @property
    def is_last_epoch(self) -> bool:
        """True in the last epoch of this call."""
        return self.epoch + 1 == self.end_epoch

    def advance(self, steps: int) -> bool:
        """Go on by so many steps of the epoch; True where that ends it."""
        self.step += steps
        if self.step < self.steps_per_epoch:
            return False
        self.epoch, self.step = self.epoch + 1, 0
        self.steps_before += self.steps_per_epoch
        return True


class Done(NamedTuple):
    """The part of an epoch that was done.

    Attributes:
        steps: how many.
        rows: of their minibatches.
        stopped: whether a callback, or Ctrl-C, asked to stop.
    """

    steps: int
    rows: int
    stopped: bool


def train_epochs(
    run: Run,
    callbacks: Sequence[AnyCallback],
    interrupt: Interrupt,
    progress: Progress | None = None,
) -> int:
    """Train a run for as many epochs as its settings say.

    Args:
        run: what is trained; early stopping has restored nothing yet when this returns.
        callbacks: as of `arraymlp.train`.
        interrupt: Ctrl-C.
        progress: shows each epoch before the callbacks see it.

    Returns:
        0, or where it ended since no loss is finite any more, the steps of that epoch.
    """
    choice = choose_engine(run.raw_network, run.settings.engine, run.settings.optimizer)
    if run.profile is not None and choice.engine is not None and not choice.engine.profiles:
        choice.leave("profile=True times the definition's steps")
    run.engine, run.engine_reason = choice.name, choice.reason
    run.stopper = stopper_for(run)
    if run.backend.name == "numpy":
        keep_freed_memory()
    # A diverging network overflows; that is found and reported at the epoch's end, in our words.
    with run.backend.active(), np.errstate(all="ignore"):
        epochs = _Epochs(run, callbacks, interrupt, progress, choice)
        while epochs.more():
            if epochs.train_one():
                break
        return epochs.failed_steps


class _Epochs:
    """The epochs of one call: what they share."""

    def __init__(
        self,
        run: Run,
        callbacks: Sequence[AnyCallback],
        interrupt: Interrupt,
        progress: Progress | None,
        choice: EngineChoice,
    ) -> None:
        self.run, self.interrupt, self.choice = run, interrupt, choice
        self.data: Data = run.required_data()
        self.position = Position.of(run, self.data.rows)
        self.watchers = step_watchers(callbacks)
        self.callbacks = [*([] if progress is None else [progress.update]), *callbacks]
        self.steps: Steps = choose_steps(run, choice, self.watchers, self.position.steps_per_epoch)
        self.orders = Orders(self.data, run.settings, run.backend)
        self.failed_steps = 0

    def more(self) -> bool:
        """True while there is an epoch to train, or the rest of one."""
        stopper = self.run.stopper
        # All members can have stopped in the step that Ctrl-C ended.
        all_stopped = stopper is not None and bool(stopper.stopped.all())
        return self.position.epoch < self.position.end_epoch and not all_stopped

    def train_one(self) -> bool:
        """Train an epoch, or the rest of one, record it and call back; True to end the run."""
        run, settings, position, profile = (
            self.run,
            self.run.settings,
            self.position,
            self.run.profile,
        )
        started, epoch = perf_counter(), position.epoch
        profiled = 0.0 if profile is None else profile.total
        rate = learning_rates(
            settings, run.schedule, position.run_step, position.steps_left, position.total_steps
        )
        table = hyper_table(settings, run.raw_network, rate, run.updates, epoch, position.step)
        done = self._do_steps(table)
        run.interrupted = self.interrupt.requested
        if done.steps == 0:
            return True
        if not done.stopped and not position.is_last_epoch:
            self.orders.prepare(epoch + 1)  # while the device is still at work on this one
        last_step = position.run_step + done.steps
        whole = position.advance(done.steps)
        run.partial_epoch = run.partial_epoch._replace(steps=position.step)
        run.updates = run.updates + done.steps
        record = self._record(epoch, last_step, rate[done.steps - 1])
        record["seconds"] = perf_counter() - started
        if profile is not None:
            profile.ended(record["seconds"], profiled)
        record["samples_per_s"] = done.rows / record["seconds"]
        run.history.records.append(record)
        stopped = self._epoch_is_whole(record) if whole else False
        stopped = self._call_back(record, epoch) or stopped or done.stopped
        if whole and not np.isfinite(record["loss"]).any():
            self.failed_steps = done.steps
            return True
        return stopped or self.interrupt.requested

    def _do_steps(self, table: HyperTable) -> Done:
        """The steps of the epoch: together, where that can be done, or one by one."""
        run, position, profile = self.run, self.position, self.run.profile
        if self.steps.epoch is not None:
            done = run_epoch_together(self.steps.epoch, run, self.orders, table, self.interrupt)
            if done is not None:
                return done
        batches = epoch_batches(
            self.data, run.settings, run.backend, position.epoch, position.step, self.orders
        )
        with closing(batches):
            timed = batches if profile is None else profile.gathered(batches)
            return run_epoch(self.steps.step, run, timed, table, self.interrupt, self.watchers)

    def _record(self, epoch: int, last_step: int, rate: HostArray) -> Record:
        """The epoch's record, and with it the epoch's one transfer from the device."""
        run, profile = self.run, self.run.profile
        read = self._figures if profile is None else profile.timed("evaluation", self._figures)
        rates = np.resize(rate, run.shape).tolist()
        return {"epoch": epoch, "step": last_step, "learning_rate": rates, **read()}

    def _figures(self) -> Record:
        """The epoch's figures, read from the device together with what the probes measured."""
        run, probes = self.run, self.steps.probes
        sums = run.partial_epoch.sums
        figures: dict[str, Any] = {"loss": sums.loss / sums.weight}
        if np.any(as_floats(run.settings.alpha)):
            figures["penalty"] = sums.penalty / sums.weight
        figures |= evaluations(run, self.choice)
        pending = probes.take_pending() if probes else []
        values = run.backend.fetch([*figures.values(), *pending])
        if probes:
            run.measurements += probes.filed([value.tolist() for value in values[len(figures) :]])
        of_targets = units(self.data, run.settings.metrics)
        record = {}
        for column, value in zip(figures, values, strict=False):
            figure = column.removeprefix("training_").removeprefix("validation_")
            record[column] = (value.astype(float) * of_targets.get(figure, 1.0)).tolist()
        return record

    def _epoch_is_whole(self, record: Record) -> bool:
        """Tell schedule and early stopping of an epoch that is whole; True to stop."""
        run, stopper = self.run, self.run.stopper
        run.partial_epoch = PartialEpoch()
        run.schedule.observe(record)
        if stopper is None:
            return False
        return stopper.observe(record, run.networks, run.states, run.updates)

    def _call_back(self, record: Record, epoch: int) -> bool:
        """Call each callback with the epoch's end; True where one says stop."""
        run, first = self.run, self.position.first_epoch
        event = EpochEnd(record, epoch - first + 1, run.settings.epochs, run.network, run.history)
        return says_stop([callback(event) for callback in self.callbacks])


def in_units(unit: Any, backend: Backend) -> Callable[[Any], Any]:
    """A function that brings a loss (...,) of standardised targets to their units, on the device.

    It is float64 then, where the device has that: units may be tiny or huge.
    """
    if np.all(np.asarray(unit) == 1):
        return lambda loss: loss
    dtype = backend.widest
    factor = backend.asarray(unit, dtype)
    return lambda loss: backend.asarray(loss, dtype) * factor


def run_epoch_together(
    step: EpochStep, run: Run, orders: Orders, table: HyperTable, interrupt: Interrupt
) -> Done | None:
    """As `run_epoch`, by a step that does many steps together.

    Args:
        step: such a step.
        run: as of `run_epoch`.
        orders: in what order its rows come.
        table: what the steps are told.
        interrupt: Ctrl-C.

    Returns:
        None where the steps have to be done one by one.
    """
    data, settings, backend = run.required_data(), run.settings, run.backend
    steps = rows = 0
    parts = epoch_parts(data, settings, backend, run.next_epoch, run.partial_epoch.steps, orders)
    with closing(parts):
        for part in parts:
            hypers = table.part(steps, steps + part.steps)
            partial = run.partial_epoch
            args = run.raw_network, run.states, part, hypers
            done = step.epoch(*args, lambda: interrupt.requested, partial.sums)
            if done is None and part.plans is None and isinstance(data.X, Streamed):
                batches = (part.minibatch(i, backend) for i in range(part.steps))
                one_by_one = run_epoch(step, run, batches, hypers, interrupt)
                steps, rows = steps + one_by_one.steps, rows + one_by_one.rows
            elif done is None:
                return None
            else:
                run.partial_epoch = partial._replace(sums=done[1])
                steps += done[0]
                rows += min(part.stop - part.first, done[0] * settings.batch_size)
            if interrupt.requested:
                break
    return Done(steps, rows, interrupt.requested)


def run_epoch(
    step: Step,
    run: Run,
    batches: Iterable[Minibatch],
    hypers: Iterable[Hyper],
    interrupt: Interrupt,
    watchers: Sequence[Callable[[StepEnd], bool | None]] = (),
) -> Done:
    """Step through the minibatches, looking at nothing on the device.

    Args:
        step: does one.
        run: whose raw network and states it updates; the losses add up in its partial epoch.
        batches: the minibatches.
        hypers: for each, what the step is told.
        interrupt: Ctrl-C.
        watchers: called after each step; the answer True stops.
    """
    sums = run.partial_epoch.sums
    scale = in_units(run.required_data().loss_unit, run.backend)
    steps = rows = 0
    stopped = False
    for batch, hyper in zip(batches, hypers, strict=False):
        if stopped or interrupt.requested:
            break
        run.states, loss = step(run.raw_network, run.states, batch, hyper)
        sums = sums.plus(loss)
        steps += 1
        counts = batch.samples_per_member
        rows += batch.rows if counts is None else int(counts.max())
        if watchers:
            event = StepEnd(
                run.steps_done + steps,
                run.next_epoch,
                batch.samples,
                scale(loss.loss / batch.divisor),
                scale(loss.penalty / batch.divisor),
                run.raw_network,
            )
            stopped = says_stop([watcher(event) for watcher in watchers])
    run.partial_epoch = run.partial_epoch._replace(sums=sums)
    return Done(steps, rows, stopped or interrupt.requested)


def evaluations(run: Run, choice: EngineChoice) -> dict[str, Array]:
    """The figures asked for at an epoch's end, on the device."""
    data, settings, backend = run.required_data(), run.settings, run.backend
    if data.row_plans is None:
        return _evaluated(run.network, data, run, choice)
    if not data.part_names(settings):
        return {}
    parts = [
        _evaluated(run.network.slice_members(start, stop), own, run, choice)
        for start, stop, own in data.by_row_plan(settings, backend)
    ]
    return {name: backend.xp.concat([part[name] for part in parts]) for name in parts[0]}


def _evaluated(network: Network, data: Data, run: Run, choice: EngineChoice) -> dict[str, Array]:
    settings, figures = run.settings, dict[str, Array | None]()
    for part, X, y in data.parts(settings):
        own_ways = choice.evaluator(network), choice.forward(network)
        how = (settings.metrics, settings.window, *own_ways)
        result = evaluate(network, X, y, run.backend, *how)
        figures[f"{part}_loss"], figures[f"{part}_error"] = result.loss, result.error
        figures |= {f"{part}_{name}": value for name, value in result.metrics.items()}
        if part == "validation" and settings.probes:
            figures["predicted"] = result.predicted
    return {name: value for name, value in figures.items() if value is not None}


def not_finite_layers(network: Network) -> list[str]:
    """The numbers, from 1, of the layers whose weights are not all finite."""
    to_numpy = network.backend.to_numpy
    return [
        str(i)
        for i, layer in enumerate(network.layers, 1)
        if not np.isfinite(to_numpy(layer.weights)).all()
    ]
