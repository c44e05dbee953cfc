"""Which networks the fused kernels train, and the step that does whole epochs by them."""

import logging
from collections.abc import Callable
from typing import Any

from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cuda.fused import (
    LOSS_NUMBERS,
    MOST_LAYERS,
    ROWS,
    SOFTMAX,
    FusedSteps,
    shared_bytes,
)
from arraymlp.engines.cuda.source import ACTIVATION_NUMBERS, Launches, loss_name, rule_number
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import EpochStep, Step
from arraymlp.steps.update import States, arrays_of

log = logging.getLogger("arraymlp")

WIDEST, MOST_ROWS = 512, 1024  # beyond these cuBLAS is better at the products


def uncovered(network: Network, optimizer: Optimizer, shared_memory: int) -> str:
    """Why the fused kernels cannot train this network; "" where they can."""
    widths = network.sizes[1:]
    if network.dtype != "float32":
        return f"the kernels compute in float32, not in {network.dtype}"
    if len(widths) > MOST_LAYERS:
        return f"the kernels have room for {MOST_LAYERS} layers, not for {len(widths)}"
    if max(widths) > WIDEST:
        return f"the kernels are for layers of up to {WIDEST} units, not of {max(widths)}"
    if rule_number(optimizer) is None:
        return f"the kernels know no {type(optimizer).__name__}"
    for layer in network.layers:
        if layer.activation not in ACTIVATION_NUMBERS:
            return f"the kernels know no activation {layer.activation.name!r}"
    if loss_name(network.loss) not in LOSS_NUMBERS:
        return f"the kernels do not know the loss {network.loss.name!r}"
    if shared_bytes(network, min(ROWS)) > shared_memory:
        return f"a block's {shared_memory} bytes of shared memory are too few for these layers"
    return ""


def uncovered_epoch(network: Network, rows: EpochRows, table: HyperTable) -> str:
    """Why the fused kernels cannot train an epoch of these rows by this table, or ""."""
    if table.hyper.gradient_clip is not None:
        return "the kernels have no gradient_clip"
    if rows.batch_size > MOST_ROWS:
        return f"the kernels are for batch_size up to {MOST_ROWS}, not {rows.batch_size}"
    if rows.y.ndim == 1 and LOSS_NUMBERS[network.loss.name][0] != SOFTMAX:
        return f"the kernels do not know {network.loss.name} of labels"
    return ""


class FusedEpochs(EpochStep):
    """A step that, besides, does whole epochs by the fused kernels, where these cover them.

    Args:
        step: the one to do single steps with.
        network: what will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum".
        device: that launches the kernels of ``fused.cu``.
        record: makes one function of many launches, a graph.
    """

    def __init__(
        self,
        step: Step,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        device: Launches,
        record: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._step, self._optimizer, self._reduction = step, optimizer, reduction
        self._device, self._record = device, record
        self._why, self._said = uncovered(network, optimizer, device.shared_memory), ""
        self._fused: FusedSteps | None = None
        self._key: tuple[Any, ...] = ()

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """One minibatch."""
        return self._step(network, states, batch, hyper)

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
    ) -> tuple[int, LossSums] | None:
        """Steps over all these rows, until interrupted: how many were done, and their sums.

        None, and a line in the log, where the fused kernels cannot do it: step by step, then.
        """
        pointed = [a for layer in network.layers for a in (layer.weights, layer.bias)]
        pointed += [a for of_layer in states for of_one in of_layer for a in arrays_of(of_one)]
        pointed += [rows.x, rows.y, *([] if rows.weight is None else [rows.weight])]
        why = self._why or uncovered_epoch(network, rows, table)
        if not why and not all(a.flags.c_contiguous for a in pointed):
            why = "the rows of an array do not stand one after the other"
        if why:
            if why != self._said:
                log.info("training step by step, not an epoch at a time: %s", why)
                self._said = why
            return None
        # What a graph was recorded for. It holds its arrays, so that no other has their addresses.
        masked = tuple(drop is not None for drop in table.hyper.dropout or ())
        sizes = rows.batch_size, table.members, masked
        key = (*map(self._device.address, pointed), *sizes)
        if key != self._key:
            make = (network, self._optimizer, states, rows, self._reduction, table)
            self._fused = FusedSteps(*make, self._device, self._record)
            self._key = key
        assert self._fused is not None
        return self._fused(rows, table, interrupted)
