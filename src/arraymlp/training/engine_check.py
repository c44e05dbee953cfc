"""An engine's first step, done again by the definition: the code that is read judges every run.

Compiled code can be wrong where no test of ours has run: another processor, driver or compiler. So
in each process, for each kind of network, the first step of an engine is done on copies, and the
same step by the definition on NumPy, from the same weights, rows and rates. Where a number is
further from the definition's than rounding can explain (`arraymlp.training.rounding`) the run is
trained by the definition, with one `EngineMismatchWarning`, and ``run.engine`` and
``run.engine_reason`` say so. As nothing of the run has happened yet, nothing has to be undone.

What is compared: every weight and bias, every number of the optimiser's state, and the sums of
losses. The state is not the initial one, whose zeros would hide what multiplies it, but what one
step of the definition makes of it.

What is not: rows beyond the first of a minibatch, where the network is large; evaluations; sizes
other than those of the step (a kind is one of size, too: each width to a power of 2, and whether it
is a multiple of 16, as kernels have remainders); a step of a network that is so large, in a
training so short, that the check would take more than 5 ms and 1 % of it; and where a loss, an
activation or an optimiser is the user's own, which might remember its calls. An error is not seen
either where it is lost in the rounding of the weights, as a share of 0.1 % of a gradient may be
with SGD without momentum and a small rate.

``ARRAYMLP_ENGINE_CHECK=0`` in the environment leaves all of it out.
"""

import logging
import os
import warnings
from collections.abc import Callable, Hashable
from typing import Any, cast

import numpy as np

from arraymlp._checks import caller_level
from arraymlp.backends.array import Array, HostArray, dtype_name
from arraymlp.backends.backend import Backend
from arraymlp.backends.memory import is_memory_error
from arraymlp.backends.registry import backend_of, resolve
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, EpochRows, LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.steps.step import EpochStep, Step, averaging
from arraymlp.steps.update import States, tree_map, updated
from arraymlp.training.rounding import StepBounds, named_arrays, step_bounds
from arraymlp.training.run import Run

log = logging.getLogger("arraymlp")

OFF = "0"
LEAST_ROWS, PRODUCTS = 16, 1_000_000  # rows of the check, or as many as cost so many multiply-adds
SECONDS, SHARE = 5e-3, 0.01  # of the training
# What the check takes for each parameter, twice that where they are more than a cache holds,
# and what training takes for each multiply-add: measured on a core of 2020, guessed for a GPU. Only
# long checks of short trainings are left out by them.
PER_PARAMETER, IN_CACHE = 50e-9, 500_000
PER_MULTIPLY_ADD, ON_ACCELERATOR = 2e-11, 2e-13

# By kind, of this process: what was wrong, or "". Entries are never changed; setdefault, which no
# other thread can come between, decides whose verdict stands where two threads check at once.
_verdicts: dict[Hashable, str] = {}


class EngineMismatchWarning(UserWarning):
    """An engine's step was not the definition's: the run is trained by the definition instead."""


def checked(step: Step, bare: Step, run: Run, steps: int, leave: Callable[[str], Step]) -> Step:
    """Return the step with its first call checked; itself where the check is off.

    Args:
        step: an engine's.
        bare: the same without a profile's clock, for the check.
        run: what will be trained.
        steps: of the training.
        leave: takes the engine out of the run, for a reason, and returns the definition's step.
    """
    value = os.environ.get("ARRAYMLP_ENGINE_CHECK", "")
    if value not in ("", OFF, "1"):
        raise ValueError(f"ARRAYMLP_ENGINE_CHECK={value}: give {OFF}, 1, or leave it out")
    if value == OFF or not _is_known(run):
        return step
    check = EngineCheck(bare, run, steps)
    if isinstance(step, EpochStep):
        return CheckedEpochStep(step, check, leave)
    return CheckedStep(step, check, leave)


def _is_known(run: Run) -> bool:
    """True where all that a step calls is of this package."""
    network = run.raw_network
    losses, optimizers = ({type(a) for a in known.values()} for known in (LOSSES, OPTIMIZERS))
    return (
        type(network.loss) in losses
        and type(run.settings.optimizer) in optimizers
        and all(layer.activation in ACTIVATIONS.values() for layer in network.layers)
    )


class CheckedStep:
    """An engine's step, the first call of which is checked; the definition's, if that fails."""

    def __init__(self, step: Step, check: "EngineCheck", leave: Callable[[str], Step]) -> None:
        self._step, self._check, self._leave = step, check, leave
        self._first = True

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step."""
        if self._first:
            self._first = False
            self._judge(self._check.of_step(network, states, batch, hyper))
        return self._step(network, states, batch, hyper)

    def _judge(self, wrong: str) -> None:
        if wrong:
            self._step, self._first = self._leave(wrong), False


class CheckedEpochStep(CheckedStep, EpochStep):
    """The same for a step that can do the steps of a whole epoch at once."""

    _first_epoch = True

    def __init__(self, step: EpochStep, check: "EngineCheck", leave: Callable[[str], Step]) -> None:
        super().__init__(step, check, leave)
        self.averages, self.row_plans, self.streams = step.averages, step.row_plans, step.streams

    def averaging(self, average: Network) -> "CheckedEpochStep":
        """Return the same step, which also updates the average, where it is not the check's."""
        assert isinstance(self._step, EpochStep)
        leave = self._leave
        self._step = self._step.averaging(average)
        self._leave = lambda reason: averaging(leave(reason), average)
        return self

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
        sums: LossSums = NO_SUMS,
    ) -> tuple[int, LossSums] | None:
        """Do the steps over all these rows; see `EpochStep`."""
        if self._first_epoch and isinstance(self._step, EpochStep):
            self._first_epoch = False
            self._judge(self._check.of_epoch(network, states, rows, table))
        if not isinstance(self._step, EpochStep):
            return None
        return self._step.epoch(network, states, rows, table, interrupted, sums)


class EngineCheck:
    """Compares an engine's steps with the definition's, on copies.

    Args:
        step: the engine's.
        run: what will be trained.
        steps: of the training.
    """

    def __init__(self, step: Step, run: Run, steps: int) -> None:
        self._step, self._run, self._steps = step, run, steps

    def of_step(self, network: Network, states: States, batch: Minibatch, hyper: Hyper) -> str:
        """What is wrong with the engine's single steps, in words; "" for nothing."""
        rows = min(batch.rows, self._rows(network))

        def do(network: Network, states: States) -> tuple[States, LossSums]:
            few = _moved(_first_rows(batch, rows), network.backend)
            return self._step(network, states, few, hyper)

        return self._verdict("step", network, states, _first_rows(batch, rows), hyper, do)

    def of_epoch(self, network: Network, states: States, rows: EpochRows, table: HyperTable) -> str:
        """What is wrong with the engine's steps of an epoch, in words; "" for nothing."""
        few = _few_rows(rows, min(rows.batch_size, self._rows(network)), network.backend)
        first = table.part(0, 1)
        (hyper,) = first
        step = self._step
        assert isinstance(step, EpochStep)

        def do(network: Network, states: States) -> tuple[States, LossSums] | None:
            done = step.epoch(network, states, few, first, lambda: False)
            return None if done is None else (states, done[1])

        batch = few.minibatch(0, network.backend)
        order = " in order" if rows.order is None else ""
        way = f"epoch{order} {step.way(network, few, first)}"
        return self._verdict(way, network, states, batch, hyper, do)

    def _rows(self, network: Network) -> int:
        return max(LEAST_ROWS, PRODUCTS // _size(network))

    def _verdict(
        self,
        way: str,
        network: Network,
        states: States,
        batch: Minibatch,
        hyper: Hyper,
        do: Callable[[Network, States], tuple[States, LossSums] | None],
    ) -> str:
        run = self._run
        kind = _kind(run, way, network, states, batch, hyper)
        if (known := _verdicts.get(kind)) is not None:
            return known
        if not self._is_affordable(network):
            log.info("the engine's first step is not checked: that would take long, for so short")
            return ""
        with np.errstate(all="ignore"):
            try:
                wrong = self._compare(network, states, batch, hyper, do)
            except Exception as error:
                if not is_memory_error(error):
                    raise
                wrong = None
        if wrong is None:
            return ""
        verdict = wrong and f"the engine {run.engine} differs from the definition: {wrong}"
        if verdict and _verdicts.setdefault(kind, verdict) is verdict:
            warnings.warn(
                f"{verdict}, in one step of {network!r}. This run, and others of its kind in this "
                'process, are trained by the definition (engine="array"), which is slower. Please '
                "report it, with this processor's or GPU's name",
                EngineMismatchWarning,
                stacklevel=caller_level(),
            )
        return _verdicts.setdefault(kind, verdict)

    def _is_affordable(self, network: Network) -> bool:
        """True where the check takes at most 5 ms or 1 % of the training, by rough figures."""
        size, rows = _size(network), self._run.settings.batch_size
        rate = ON_ACCELERATOR if network.backend.is_accelerator else PER_MULTIPLY_ADD
        training = self._steps * 3 * rows * size * rate
        check = PER_PARAMETER * size * (1 if size < IN_CACHE else 2)
        return check <= max(SECONDS, SHARE * training)

    def _compare(
        self,
        network: Network,
        states: States,
        batch: Minibatch,
        hyper: Hyper,
        do: Callable[[Network, States], tuple[States, LossSums] | None],
    ) -> str | None:
        """What the engine's step has wrong; "" for nothing, None where that cannot be said."""
        run, here, host = self._run, network.backend, resolve("numpy")
        optimizer, reduction = run.settings.optimizer, run.settings.reduction

        def on_host(value: Any) -> Any:
            return value if isinstance(value, int | float) else np.array(here.to_numpy(value))

        judge = network.to(host)
        judged_batch, judged_hyper = _moved(batch, host), tree_map(on_host, hyper)
        before = tree_map(on_host, states)
        arguments = judged_batch, judged_hyper
        before = _in_motion(judge, before, arguments, optimizer, reduction)
        twin = network.copy()
        copies = tree_map(lambda a: here.asarray(a, copy=True), before)
        done = do(twin, copies)
        if done is None:
            return None
        bounds = step_bounds(
            judge, before, *arguments, optimizer, reduction, run.settings.precision
        )
        arrays = [on_host(array) for _, array in named_arrays(twin, done[0])]
        sums = [np.asarray(on_host(a), dtype="float64") for a in done[1]]
        start = [cast(HostArray, array) for _, array in named_arrays(judge, before)]
        return _difference(bounds, arrays, sums, [*start, cast(HostArray, judged_batch.x)])


def _difference(
    bounds: StepBounds, arrays: list[HostArray], sums: list[HostArray], inputs: list[HostArray]
) -> str | None:
    """The first array that is beyond its bounds, in words; "" for none, None for no saying."""
    if bounds.overflows:
        return None
    every = [*zip([*bounds.parameters, *bounds.sums], [*arrays, *sums], strict=True)]
    if not all(bound.is_finite for bound, _ in every):
        if all(np.isfinite(a).all() for a in inputs):
            return None  # it overflowed
        hidden = [b.name for b, a in every if not b.is_finite and np.isfinite(a).all()]
        return f"{hidden[0]} came out finite where the definition's is not" if hidden else None
    for bound, array in every:
        if (misses := bound.misses(array)).any():
            at = tuple(int(i) for i in np.argwhere(misses)[0])
            where = f" at {list(at)}" if at else ""
            return (
                f"{bound.name}{where} came out as {array[at]:.9g} and by the definition as "
                f"{bound.value[at]:.9g} ({int(misses.sum())} of {misses.size} numbers are off)"
            )
    return ""


def _in_motion(
    network: Network,
    states: States,
    step: tuple[Minibatch, Hyper],
    optimizer: Any,
    reduction: str,
) -> States:
    """The states after a step of the definition's: in zeros nobody sees what multiplies them."""
    if all(state is None for of_layer in states for state in of_layer):
        return states
    gradients = backpropagation(network, reduction)(network, *step)[1]
    moved = tree_map(np.copy, states)
    how = (*step, optimizer.update, reduction, network.backend.xp)
    return updated(network.copy(), moved, gradients, *how)


def _first_rows(batch: Minibatch, rows: int) -> Minibatch:
    """The first rows of a minibatch."""
    labels = dtype_name(batch.y).startswith(("int", "uint"))
    counts = batch.samples_per_member
    return Minibatch(
        batch.x[..., :rows, :],
        batch.y[..., :rows] if labels else batch.y[..., :rows, :],
        None if batch.weight is None else batch.weight[..., :rows],
        None if counts is None else np.minimum(counts, rows),
    )


def _few_rows(rows: EpochRows, n: int, backend: Backend) -> EpochRows:
    """An epoch of one step of n of these rows; where they have an order, in an order.

    Members with rows of their own all have the first one's.
    """
    if rows.plans is not None:
        order, first, stop, *_ = rows.plans[0]
        rows = rows._replace(order=order, first=first, stop=stop, plans=None)
    if rows.order is None:
        taken = slice(rows.first, rows.first + n)
        return rows._replace(
            x=rows.x[taken, ...],
            y=rows.y[taken, ...],
            weight=None if rows.weight is None else rows.weight[taken, ...],
            batch_size=min(n, rows.stop - rows.first),
            first=0,
            stop=min(n, rows.stop - rows.first),
        )
    # Twice as many rows, of which the order takes every other one: whoever passes it over sees
    # others.
    ahead = rows.order[rows.first : min(rows.first + 2 * n, rows.stop)]
    there = int(ahead.shape[0])
    order = np.concatenate([np.arange(0, there, 2), np.arange(1, there, 2)]).astype(np.int32)
    n = min(n, there)

    def take(a: Array) -> Array:
        return backend.xp.take(a, ahead, axis=0)

    return EpochRows(
        take(rows.x),
        take(rows.y),
        None if rows.weight is None else take(rows.weight),
        backend.asarray(order),
        batch_size=n,
        first=0,
        stop=n,
    )


def _moved(batch: Minibatch, there: Backend) -> Minibatch:
    """A copy of a minibatch on a backend."""
    here = backend_of(batch.x)

    def moved(a: Array) -> Array:
        return there.asarray(np.ascontiguousarray(here.to_numpy(a)), copy=True)

    weight = None if batch.weight is None else moved(batch.weight)
    return Minibatch(moved(batch.x), moved(batch.y), weight, batch.samples_per_member)


def _size(network: Network) -> int:
    return network.n_parameters * (network.members or 1)


def _kind(
    run: Run, way: str, network: Network, states: States, batch: Minibatch, hyper: Hyper
) -> Hashable:
    """What may lead an engine to other code: a key of all checks that need be done once."""
    settings, optimizer = run.settings, run.settings.optimizer

    def form(value: Any) -> Any:
        """Off, one for all, or one for each member."""
        return None if value is None else "one" if np.ndim(value) == 0 else "each"

    def grain(n: int) -> tuple[int, bool]:
        return n.bit_length(), n % 16 == 0

    y, weight, loss = batch.y, batch.weight, network.loss
    features = *map(form, hyper.optimizer), *map(form, hyper[2:])
    return (
        (run.engine, network.backend.name, network.backend.device_name, way),
        (network.dtype, settings.precision, settings.reduction),
        tuple(layer.activation.name for layer in network.layers),
        (type(loss), loss.members is None, dtype_name(y), y.ndim, batch.x.ndim),
        None if weight is None else weight.ndim,
        (type(optimizer), states[0][0] is None),
        tuple(name for name, value in vars(optimizer).items() if value is True),
        (*features, *(key and form(key.key) for key in hyper.dropout or ())),
        tuple(map(grain, (*network.sizes, network.members or 0, batch.rows))),
    )
