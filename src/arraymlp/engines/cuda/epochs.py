"""Whole epochs by the fused kernels: the networks and epochs that they cover, and the step.

Three functions say why an epoch is trained step by step after all, each what it can know:
`uncovered` once for a training, from the network and the optimiser; `uncovered_epoch` for each
epoch, from its rows and constants; and before both `arraymlp.training.engine`, from the run: where
something has to happen between steps (callbacks, averages, a profile), or the rows of all members
are not the same, or not all on the device.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from arraymlp.backends.array import Array
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cuda.arrays import contiguous, is_contiguous
from arraymlp.engines.cuda.fused import LOSS_NUMBERS, MOST_LAYERS, SOFTMAX, FusedSteps, Way
from arraymlp.engines.cuda.source import Launches, RefusedError
from arraymlp.engines.cuda.three_kernels import ROWS, shared_bytes
from arraymlp.engines.numbers import ACTIVATION_NUMBERS, loss_name, rule_number
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, EpochRows, LossSums
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import EpochStep, Step
from arraymlp.steps.update import States, arrays_of

log = logging.getLogger("arraymlp")

WIDEST, MOST_ROWS = 512, 1024  # beyond these cuBLAS is better at the products


def uncovered(network: Network, optimizer: Optimizer, shared_memory: int) -> str:
    """Return the reason why the fused kernels never train this network, or ""."""
    widths = network.sizes[1:]
    if network.dtype != "float32":
        return f"the kernels compute in float32, not in {network.dtype}"
    if len(widths) > MOST_LAYERS:
        return f"the kernels have room for {MOST_LAYERS} layers, not for {len(widths)}"
    if max(widths) > WIDEST:
        return f"the kernels are for layers of up to {WIDEST} units, not of {max(widths)}"
    if rule_number(optimizer) is None:
        return f"the kernels have no {type(optimizer).__name__}"
    for layer in network.layers:
        if layer.activation not in ACTIVATION_NUMBERS:
            return f"the kernels have no activation {layer.activation.name!r}"
    if loss_name(network.loss) not in LOSS_NUMBERS:
        return f"the kernels have no loss {network.loss.name!r}"
    if shared_bytes(network, min(ROWS)) > shared_memory:
        return f"a block's {shared_memory} bytes of shared memory are too few for these layers"
    return ""


def uncovered_epoch(network: Network, rows: EpochRows, table: HyperTable) -> str:
    """Return the reason why they train no epoch of these rows by this table, or ""."""
    if table.hyper.gradient_clip is not None:
        return "the kernels have no gradient_clip"
    if rows.batch_size > MOST_ROWS:
        return f"the kernels are for batch_size up to {MOST_ROWS}, not {rows.batch_size}"
    if rows.y.ndim == 1 and LOSS_NUMBERS[network.loss.name][0] != SOFTMAX:
        return f"the kernels have no {network.loss.name} of labels"
    return ""


class Chooses(Protocol):
    """Chooses a way; see `arraymlp.engines.cuda.ways.Ways`."""

    def usual(self) -> tuple[Way, Launches]:
        """The way that covers all that one of them does, and the device with its kernels."""
        ...

    def chosen(self, network: Network, optimizer: Optimizer, batch: int) -> tuple[Way, Launches]:
        """The way for this network in minibatches of so many rows, and the device likewise."""
        ...


class FusedEpochs(EpochStep):
    """A step that can also train whole epochs by the fused kernels, where these cover them.

    Args:
        step: does single steps.
        network: the network that will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum".
        ways: chooses the way by which an epoch's steps are launched.
    """

    def __init__(
        self,
        step: Step,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        ways: Chooses,
    ) -> None:
        self._step, self._optimizer, self._reduction = step, optimizer, reduction
        self._ways, (_, self._device) = ways, ways.usual()
        self._choices: dict[int, tuple[Way, Launches]] = {}  # by the rows of a minibatch
        self._reason, self._logged = uncovered(network, optimizer, self._device.shared_memory), ""
        self._fused: FusedSteps | None = None
        self._key: tuple[object, ...] = ()
        self._copies: dict[str, tuple[Array, Array]] = {}  # of rows: the caller's array and ours

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step."""
        return self._step(network, states, batch, hyper)

    def way(self, network: Network, rows: EpochRows, table: HyperTable) -> str:
        """Return the name of the way that such an epoch goes; "" where it goes step by step."""
        if self._reason or uncovered_epoch(network, rows, table):
            return ""
        return self._chosen(network, rows)[0].name

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
        sums: LossSums = NO_SUMS,
    ) -> tuple[int, LossSums] | None:
        """Do the steps over all these rows; return their number and sums, as `EpochStep` says.

        Where the fused kernels do not cover them, the result is None and the log has a line.
        """
        arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
        arrays += [a for of_layer in states for state in of_layer for a in arrays_of(state)]
        reason = self._reason or uncovered_epoch(network, rows, table)
        if not reason and not all(is_contiguous(a) for a in arrays):
            reason = "the rows of a parameter do not stand one after the other"
        if reason:
            self._log_once(f"training step by step, not an epoch at a time: {reason}")
            return None
        rows = self._contiguous(rows)
        arrays += [a for a in (rows.x, rows.y, rows.weight) if a is not None]
        # A graph serves these arrays and sizes. It keeps its arrays, so that no others can have
        # their addresses.
        masked = tuple(key is not None for key in table.hyper.dropout or ())
        sizes = rows.batch_size, table.members, masked
        graph_key = (*map(self._device.address, arrays), *sizes)
        if self._fused is None or graph_key != self._key:
            self._fused = self._steps(network, states, rows, table)
            self._key = graph_key
        steps, of_steps = self._fused(rows, table, interrupted)
        return steps, sums.plus(of_steps)

    def _steps(
        self, network: Network, states: States, rows: EpochRows, table: HyperTable
    ) -> FusedSteps:
        """The steps over such rows, by the way that is chosen for them."""
        optimizer = self._optimizer

        def made(way: Way, device: Launches) -> FusedSteps:
            return FusedSteps(network, optimizer, states, rows, self._reduction, table, device, way)

        way, device = self._chosen(network, rows)
        try:
            steps = made(way, device)
        except RefusedError as error:
            usual, device = self._ways.usual()
            self._log_once(f"an epoch at a time by {usual.name}, not by {way.name}: {error}")
            return made(usual, device)
        self._log_once(f"an epoch at a time by {way.name}")
        return steps

    def _chosen(self, network: Network, rows: EpochRows) -> tuple[Way, Launches]:
        """The way for minibatches of so many rows, and the device; chosen, and logged, once."""
        batch = rows.batch_size
        if batch not in self._choices:
            self._choices[batch] = self._ways.chosen(network, self._optimizer, batch)
        return self._choices[batch]

    def _log_once(self, text: str) -> None:
        """Log what the last line did not say."""
        if text != self._logged:
            log.info(text)
            self._logged = text

    def _contiguous(self, rows: EpochRows) -> EpochRows:
        """The rows; arrays in another order as copies, made once for all epochs."""
        copies: dict[str, Any] = {}
        for name in ("x", "y", "weight"):
            array = getattr(rows, name)
            if array is not None and not is_contiguous(array):
                if name not in self._copies or self._copies[name][0] is not array:
                    self._copies[name] = array, contiguous(array)
                copies[name] = self._copies[name][1]
        return rows._replace(**copies)
