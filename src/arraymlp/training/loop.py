"""The training loop: epochs of steps, a record and callbacks after each."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from arraymlp._checks import as_floats
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt, keep_freed_memory
from arraymlp.data.data import Data
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.orders import Orders, epoch_batches
from arraymlp.data.sharding import Sharding
from arraymlp.data.stream import Streamed
from arraymlp.data.stripes import owned
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums, epoch_parts
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
from arraymlp.training.epoch_figures import evaluations
from arraymlp.training.evaluation import units
from arraymlp.training.history import Record
from arraymlp.training.progress import Progress
from arraymlp.training.ranks.ranks import Ranks
from arraymlp.training.run import STOPPED_EARLY, PartialEpoch, Run, Unrecorded
from arraymlp.training.saver import Saver
from arraymlp.training.setup import stopper_for
from arraymlp.training.snapshots import AS_DRAWN, snapshot_of, spread
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
        total_steps: of the run, when this call is done, or its ``total_epochs`` are.
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
        left = epochs if settings.total_epochs is None else settings.total_epochs - first
        total = before + left * steps_per_epoch
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
    def is_over(self) -> bool:
        """True past the last epoch of this call."""
        return self.epoch >= self.end_epoch

    @property
    def is_last_epoch(self) -> bool:
        """True in the last epoch of this call."""
        return self.epoch + 1 == self.end_epoch

    def at(self, run: Run) -> "Position":
        """The same call's position where its run has got to by a checkpoint."""
        done = run.partial_epoch.steps
        return replace(self, epoch=run.next_epoch, step=done, steps_before=run.steps_done - done)

    def next_epoch(self) -> None:
        """Go on to the next epoch, at the end of one."""
        self.epoch, self.step = self.epoch + 1, 0
        self.steps_before += self.steps_per_epoch


class Ledger:
    """Keeps the account of what is done of a run's epoch, and has it saved where that is due.

    Args:
        run: whose partial epoch it keeps up to date.
        position: likewise.
        interrupt: Ctrl-C or SIGTERM.
        saver: of checkpoints; None without them.
    """

    def __init__(
        self, run: Run, position: Position, interrupt: Interrupt, saver: Saver | None
    ) -> None:
        self.run, self.position = run, position
        self.interrupt, self.saver = interrupt, saver
        self._since = perf_counter()

    def begin(self) -> None:
        """An epoch, or the rest of one, begins now."""
        self._since = perf_counter()

    def pauses(self) -> bool:
        """True where a step that does many together is to come back after the present ones."""
        return self.interrupt.requested or (self.saver is not None and self.saver.is_late())

    def ahead(self, steps: int) -> int:
        """How many of the next steps can be done before a checkpoint may be due."""
        if self.saver is None:
            return steps
        return self.saver.steps_ahead(self.position.run_step, steps)

    def is_due(self, steps: int) -> bool:
        """True where a checkpoint is due after so many steps that are not in the account yet."""
        if self.saver is None or self.position.steps_left <= steps:  # or at the epoch's end
            return False
        return self.saver.is_due(self.position.run_step + steps)

    def note(self, steps: int, rows: int, sums: LossSums) -> None:
        """Enter steps, the rows of their minibatches, and the epoch's sums with theirs."""
        run, now = self.run, perf_counter()
        done, its_rows, seconds = run.partial_epoch.unrecorded
        since = Unrecorded(done + steps, its_rows + rows, seconds + now - self._since)
        self._since = now
        self.position.step += steps
        run.partial_epoch = PartialEpoch(self.position.step, sums, since)
        run.updates = run.updates + steps

    def save(self) -> None:
        """Have a checkpoint taken, within an epoch."""
        assert self.saver is not None
        self.saver.take(self.position.run_step)

    def close(self) -> Unrecorded:
        """The epoch, or a part of it, has its record: return what that is of."""
        run = self.run
        self.note(0, 0, run.partial_epoch.sums)
        since = run.partial_epoch.unrecorded
        run.partial_epoch = run.partial_epoch._replace(unrecorded=Unrecorded())
        return since


def train_epochs(
    run: Run,
    callbacks: Sequence[AnyCallback],
    interrupt: Interrupt,
    progress: Progress | None = None,
    start: Position | None = None,
    saver: Saver | None = None,
    ranks: Ranks | None = None,
) -> bool:
    """Train a run for as many epochs as its settings say.

    Args:
        run: what is trained; early stopping has restored nothing yet when this returns.
        callbacks: as of `arraymlp.train`.
        interrupt: Ctrl-C.
        progress: shows each epoch before the callbacks see it.
        start: where the call began; None for here.
        saver: of checkpoints.
        ranks: the processes that train it together; None for this one.

    Returns:
        True where it ended since no loss is finite any more.
    """
    choice = choose_engine(run.raw_network, run.settings.engine, run.settings.optimizer)
    if run.profile is not None and choice.engine is not None and not choice.engine.profiles:
        choice.leave("profile=True times the definition's steps")
    if run.settings.shards is not None:
        choice.leave(f"the gradient is added up of {run.settings.shards} shards")
    run.engine, run.engine_reason = choice.name, choice.reason
    run.stopper = stopper_for(run)
    if run.backend.name == "numpy":
        keep_freed_memory()
    # A diverging network overflows; that is found and reported at the epoch's end, in our words.
    with run.backend.active(), np.errstate(all="ignore"):
        position = start or Position.of(run, run.required_data().rows)
        ledger = Ledger(run, position.at(run), interrupt, saver)
        epochs = _Epochs(run, callbacks, ledger, progress, choice, ranks or Ranks())
        while epochs.more():
            if epochs.train_one():
                break
        return epochs.failed


class _Epochs:
    """The epochs of one call: what they share."""

    def __init__(
        self,
        run: Run,
        callbacks: Sequence[AnyCallback],
        ledger: Ledger,
        progress: Progress | None,
        choice: EngineChoice,
        ranks: Ranks,
    ) -> None:
        self.run, self.ledger, self.choice, self.ranks = run, ledger, choice, ranks
        self.data: Data = run.required_data()
        self.position, self.interrupt = ledger.position, ledger.interrupt
        self.watchers = step_watchers(callbacks)
        self.callbacks = [*([] if progress is None else [progress.update]), *callbacks]
        steps_per_epoch = self.position.steps_per_epoch
        self.steps: Steps = choose_steps(run, choice, self.watchers, steps_per_epoch, ranks)
        self.orders = Orders(self.data, ranks.order_of_first(run.settings), run.backend)
        self.sharding: Sharding | None = None
        if (shards := run.settings.shards) is not None:
            mine = owned(shards, ranks.rank, ranks.size)
            self.sharding = Sharding(self.data, run.settings, run.backend, self.orders, mine)
        self.failed = False
        if run.settings.snapshots and not len(run.history) and not run.snapshots:
            run.snapshots = [snapshot_of(run.network, AS_DRAWN, 0)]
        if ledger.saver is not None:
            ledger.saver.before = self._file_probes

    def more(self) -> bool:
        """True while there is an epoch to train, or the rest of one."""
        stopper = self.run.stopper
        # All members can have stopped in the step that Ctrl-C ended.
        all_stopped = stopper is not None and bool(stopper.stopped.all())
        return not self.position.is_over and not all_stopped

    def train_one(self) -> bool:
        """Train an epoch, or the rest of one, record it and call back; True to end the run."""
        run, settings, position, profile = (
            self.run,
            self.run.settings,
            self.position,
            self.run.profile,
        )
        epoch, begun = position.epoch, position.step
        self.ledger.begin()
        profiled = 0.0 if profile is None else profile.total
        rate = learning_rates(
            settings, run.schedule, position.run_step, position.steps_left, position.total_steps
        )
        table = hyper_table(settings, run.raw_network, rate, run.updates, epoch, position.step)
        stopped = self._do_steps(table)
        ends = stopped or self.interrupt.requested
        done = position.step - begun
        if done == 0:
            return True
        whole = position.steps_left == 0
        if not ends and not position.is_last_epoch:
            self.orders.prepare(epoch + 1)  # while the device is still at work on this one
        if ends and not stopped and not whole and self.ledger.saver is not None:
            self.ledger.saver.keep()  # what goes on then has one record of this epoch, not two
        record = self._record(epoch, position.run_step, rate[done - 1])
        since = self.ledger.close()
        record["seconds"] = since.seconds
        if profile is not None:
            profile.ended(record["seconds"], profiled)
        record["samples_per_s"] = since.rows / record["seconds"]
        run.history.records.append(record)
        converged = self._epoch_is_whole(record) if whole else False
        stopped = self._call_back(record, epoch) or stopped
        if whole:
            position.next_epoch()
        if whole and not np.isfinite(record["loss"]).any():
            self.failed = True
            return True
        if stopped:  # which Ctrl-C in the same epoch does not change
            run.ended = STOPPED_EARLY
        if stopped or converged or self.interrupt.requested:
            return True
        if self.ledger.saver is not None and not position.is_over:
            self.ledger.saver.epoch_ended(position.run_step, position.epoch)
        return False

    def _do_steps(self, table: HyperTable) -> bool:
        """Do the steps of the epoch, together or one by one; True where a callback says stop."""
        run, position, profile = self.run, self.position, self.run.profile
        if self.steps.epoch is not None and run_epoch_together(
            self.steps.epoch, run, self.orders, table, self.ledger
        ):
            return False
        batches: Generator[Minibatch, None, None] = (
            epoch_batches(
                self.data, run.settings, run.backend, position.epoch, position.step, self.orders
            )
            if self.sharding is None
            else self.sharding.batches(position.epoch, position.step)
        )
        with closing(batches):
            timed = batches if profile is None else profile.gathered(batches)
            return run_epoch(self.steps.step, run, timed, table, self.ledger, self.watchers)

    def _file_probes(self) -> None:
        """Read what the probes measured, before a checkpoint in the middle of an epoch."""
        run, probes = self.run, self.steps.probes
        if probes and (pending := probes.take_pending()):
            values = run.backend.fetch(pending)
            run.measurements += probes.filed([value.tolist() for value in values])

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
        figures |= evaluations(run, self.choice, self.ranks)
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
        """Keep a snapshot, and tell schedule and early stopping of a whole epoch; True to stop."""
        run, stopper = self.run, self.run.stopper
        run.partial_epoch = PartialEpoch()
        if run.settings.snapshots:
            latest = snapshot_of(run.network, record["epoch"], record["step"])
            run.snapshots = spread(run.snapshots, latest, run.settings.snapshots)
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
    step: EpochStep, run: Run, orders: Orders, table: HyperTable, ledger: Ledger
) -> bool:
    """As `run_epoch`, by a step that does many steps together.

    Args:
        step: such a step.
        run: as of `run_epoch`.
        orders: in what order its rows come.
        table: what the steps are told.
        ledger: as of `run_epoch`.

    Returns:
        False, with nothing done, where the steps have to be done one by one.
    """
    data, settings, backend, position = (
        run.required_data(),
        run.settings,
        run.backend,
        ledger.position,
    )
    begun, streamed = position.step, isinstance(data.X, Streamed)
    parts = epoch_parts(data, settings, backend, position.epoch, begun, orders)
    with closing(parts):
        for part in parts:
            rest = part
            while rest.steps > 0 and not ledger.interrupt.requested:
                done = position.step - begun
                rows = rest.part(0, ledger.ahead(rest.steps))
                hypers = table.part(done, done + rows.steps)
                args = run.raw_network, run.states, rows, hypers
                result = step.epoch(*args, ledger.pauses, run.partial_epoch.sums)
                if result is not None:
                    n = result[0]
                    of_rows = min(rows.stop - rows.first, n * settings.batch_size)
                    ledger.note(n, of_rows, result[1])
                elif rows.plans is None and (streamed or done):
                    one_by_one = (rows.minibatch(i, backend) for i in range(rows.steps))
                    run_epoch(step, run, one_by_one, hypers, ledger)
                    n = position.step - begun - done
                else:
                    return False
                rest = rest.part(n, rest.steps)
                if ledger.is_due(0):
                    ledger.save()
            if ledger.interrupt.requested:
                break
    return True


def run_epoch(
    step: Step,
    run: Run,
    batches: Iterable[Minibatch],
    hypers: Iterable[Hyper],
    ledger: Ledger,
    watchers: Sequence[Callable[[StepEnd], bool | None]] = (),
) -> bool:
    """Step through the minibatches, looking at nothing on the device.

    Args:
        step: does one.
        run: whose raw network and states it updates; the losses add up in its partial epoch.
        batches: the minibatches.
        hypers: for each, what the step is told.
        ledger: keeps the account of it.
        watchers: called after each step; the answer True stops.

    Returns:
        Whether a watcher says stop.
    """
    sums = run.partial_epoch.sums
    scale = in_units(run.required_data().loss_unit, run.backend)
    steps = rows = 0
    stopped = False
    for batch, hyper in zip(batches, hypers, strict=False):
        if stopped or ledger.interrupt.requested:
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
        if ledger.is_due(steps):
            ledger.note(steps, rows, sums)
            ledger.save()
            steps = rows = 0
    ledger.note(steps, rows, sums)
    return stopped


def not_finite_layers(network: Network) -> list[str]:
    """The numbers, from 1, of the layers whose weights are not all finite."""
    to_numpy = network.backend.to_numpy
    return [
        str(i)
        for i, layer in enumerate(network.layers, 1)
        if not np.isfinite(to_numpy(layer.weights)).all()
    ]
