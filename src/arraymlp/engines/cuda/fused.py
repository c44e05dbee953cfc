"""Whole epochs of small and medium perceptrons on CUDA, launched at once.

A step of the lab's network is some 40 million operations, which a GPU does in a microsecond; to
start one kernel takes it about as long, and the host longer. So a step is a few kernels of our own,
and the host launches the steps of an epoch with one call. Whatever differs between steps (row
numbers, rates, keys of dropout) stands in tables on the device, which are filled before the epoch
starts. Which kernels these are is a `Way`'s to say: `arraymlp.engines.cuda.three_kernels`.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias, cast

import numpy as np

from arraymlp.backends.array import Array, DType, HostArray, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.engines.cuda.arrays import DeviceArray
from arraymlp.engines.cuda.source import Launches, blocks_of, rounded_up
from arraymlp.engines.numbers import (
    ACTIVATION_NUMBERS,
    ADAM,
    CONSTANTS,
    PLAIN_SGD,
    kernel_constants,
    rule_number,
)
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.hyper import HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.update import States, arrays_of

# As in fused.cuh.
MOST_LAYERS = 8
LAYER = np.dtype(
    [(name, "u8") for name in ("weights", "bias", "weights_1", "weights_2", "bias_1", "bias_2")]
    + [(name, "u8") for name in ("z", "ds")]
    + [(name, "i4") for name in ("n_in", "n_out", "activation", "tile", "unit", "dropped")],
    align=True,
)
FUSED = np.dtype(
    [("layers", LAYER, (MOST_LAYERS,))]
    + [(name, "u8") for name in ("x", "labels", "targets", "weight", "order", "rows", "scale")]
    + [(name, "u8") for name in ("constants", "drop_scale", "drops", "parts", "loss", "squares")]
    + [(name, "i4") for name in ("n_layers", "members", "batch", "parts_of", "part")]
    + [(name, "i4") for name in ("weights_of", "constants_of", "loss_kind", "capped", "rule")]
    + [(name, "i4") for name in ("tiles", "units")],
    align=True,
)
SOFTMAX, BINARY, SQUARED = range(3)
LOSS_NUMBERS = {
    "softmax_cross_entropy": (SOFTMAX, False),
    "capped_softmax_cross_entropy": (SOFTMAX, True),
    "binary_cross_entropy": (BINARY, False),
    "capped_binary_cross_entropy": (BINARY, True),
    "squared_error": (SQUARED, False),
}
MOST_STEPS = 1024  # that are launched together

# Kernel, grid, threads of a block, and bytes of its shared memory.
Launch: TypeAlias = tuple[str, tuple[int, int, int], int, int]


def units_of(network: Network) -> int:
    """The units that a block keeps in shared memory for each of its rows.

    They are the outputs and deltas of each hidden layer, and the last layer's logits.
    """
    *hidden, last = network.sizes[1:]
    return 2 * sum(hidden) + last


def states_of(optimizer: Optimizer) -> int:
    """The numbers that the rule keeps for each weight."""
    rule = rule_number(optimizer)
    return 0 if rule == PLAIN_SGD else 2 if rule == ADAM else 1


class Way(Protocol):
    """One way to launch the steps of a `FusedSteps`.

    Attributes:
        name: completes "by ..." in the log.
        file: the kernels' source.
    """

    name: str
    file: str

    def reason(self, network: Network, optimizer: Optimizer, batch: int, device: Launches) -> str:
        """Why it does not train this network in minibatches of up to so many rows; "" if it does.

        The network is one that whole epochs can be trained of, see `arraymlp.engines.cuda.epochs`.
        """
        ...

    def __call__(self, steps: "FusedSteps", network: Network) -> Callable[[], None]:
        """Prepare them, and return what launches ``steps.steps`` steps, one after the other.

        The plan's layers and tables are filled; what else the way's kernels read in it is for the
        way to fill, and ``steps.loss`` and ``steps.squares`` are for it to make.

        Raises:
            RefusedError: the device cannot run them this way now.
        """
        ...


class FusedSteps:
    """The steps of one network, with its optimiser, on the rows that it is trained on.

    Args:
        network: one that the kernels cover, see `arraymlp.engines.cuda.epochs`; they write its
            parameters.
        optimizer: the update rule.
        states: the optimiser's, which the kernels write, too.
        rows: the rows; later calls may differ in order, first and stop.
        reduction: "mean" or "sum".
        table: the rates and constants of the steps; later calls may differ in their values.
        device: the kernels' device.
        way: prepares the launches.

    Attributes:
        plan: the struct that the kernels are given.
        steps: the number of steps that are launched together.
        loss: (K, n) float64; the kernels add each member's loss to its n numbers.
        squares: (K, n) float64; likewise its penalty.
    """

    loss: DeviceArray
    squares: DeviceArray

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        states: States,
        rows: EpochRows,
        reduction: str,
        table: HyperTable,
        device: Launches,
        way: Way,
    ) -> None:
        self.backend: Backend = network.backend
        self.device, self.optimizer, self.reduction = device, optimizer, reduction
        self.members, self.alone = network.members or 1, network.members is None
        self.layers, self.batch = len(network.layers), rows.batch_size
        steps = blocks_of(rows.x.shape[0], rows.batch_size)
        self.steps = blocks_of(steps, blocks_of(steps, MOST_STEPS))  # of graphs of one length
        self.in_tables: dict[str, HostArray] = {}  # the values that were uploaded last
        self.held: list[Array] = []  # the arrays that the graph points to
        self.in_file_order: Array | None = None
        self.plan = np.zeros(1, FUSED)[0]  # a scalar, which CuPy takes 20 times as fast as an array
        self._layers(network, optimizer, states, table)
        self._tables(rows, table)
        self.replay = way(self, network)

    # The struct that the kernels get, filled once

    def new(self, shape: tuple[int, ...], dtype: str = "float32") -> DeviceArray:
        """Zeros on the device, kept as long as the steps are."""
        array = self._zeros(shape, self.backend.dtype(dtype))
        self.held.append(array)
        return array

    def _zeros(self, shape: tuple[int, ...], dtype: DType) -> DeviceArray:
        xp: Namespace = self.backend.xp
        return cast(DeviceArray, xp.zeros(shape, dtype=dtype, device=self.backend.device))

    def at(self, array: Array | None) -> int:
        """The address of an array, which is kept as long as the steps are; 0 for None."""
        if array is None:
            return 0
        self.held.append(array)
        return self.device.address(array)

    def _layers(
        self, network: Network, optimizer: Optimizer, states: States, table: HyperTable
    ) -> None:
        plan = self.plan
        unit = 0
        for i, (layer, state) in enumerate(zip(network.layers, states, strict=True)):
            struct = plan["layers"][i]
            n_in, n_out = layer.n_in, layer.n_out
            struct["weights"], struct["bias"] = self.at(layer.weights), self.at(layer.bias)
            for name, of_parameter in zip(("weights", "bias"), state, strict=True):
                for number, array in enumerate(arrays_of(of_parameter), 1):
                    struct[f"{name}_{number}"] = self.at(array)
            struct["ds"] = self.at(self.new((self.members, self.batch, n_out)))
            if i + 1 < len(network.layers):
                struct["z"] = self.at(self.new((self.members, self.batch, n_out)))
            struct["n_in"], struct["n_out"] = n_in, n_out
            struct["activation"] = ACTIVATION_NUMBERS[layer.activation]
            struct["unit"] = unit
            dropout = table.hyper.dropout
            struct["dropped"] = dropout is not None and dropout[i] is not None
            unit += 2 * n_out
        plan["units"] = units_of(network)
        plan["n_layers"], plan["members"] = len(network.layers), self.members
        plan["batch"], plan["rule"] = self.batch, rule_number(optimizer)
        plan["loss_kind"], plan["capped"] = LOSS_NUMBERS[network.loss.name]

    def _tables(self, rows: EpochRows, table: HyperTable) -> None:
        plan, layers = self.plan, self.layers
        plan["x"] = self.at(rows.x)
        plan["labels" if rows.y.ndim == 1 else "targets"] = self.at(rows.y)
        plan["weight"] = self.at(rows.weight)
        self.weights_differ = rows.weight is not None and rows.weight.ndim == 2
        plan["weights_of"] = self.weights_of = self.members if self.weights_differ else 1
        of = table.members
        plan["constants_of"] = of
        self.tables = {
            "order": self.new((self.steps * self.batch,), "int32"),
            "rows": self.new((self.steps,), "int32"),
            "scale": self.new((self.steps, self.weights_of)),
            "constants": self.new((self.steps, of, len(CONSTANTS))),
        }
        if table.hyper.dropout is not None:
            self.tables["drop_scale"] = self.new((self.steps, of, layers))
            self.tables["drops"] = self.new((self.steps, of, layers, 2), "int32")
        for name, array in self.tables.items():
            plan[name] = self.at(array)

    # The tables, filled for each epoch

    def __call__(
        self, rows: EpochRows, table: HyperTable, interrupted: Callable[[], bool] = lambda: False
    ) -> tuple[int, LossSums]:
        """Do the steps of the table, or those until interrupted; return their number and sums."""
        xp, batch = self.backend.xp, self.batch
        n = rows.stop - rows.first
        steps = blocks_of(n, batch)
        whole = rounded_up(steps, self.steps)  # of the graph's runs
        order = self._all_rows(rows) if rows.order is None else rows.order
        sizes = np.zeros(whole, np.int32)
        sizes[:steps] = batch
        sizes[steps - 1] = n - (steps - 1) * batch
        tables = {"rows": sizes, **self._constants(table, whole)}
        totals = None if rows.weight is None else self._weights(rows, rows.weight, order, whole)
        scale = None
        if totals is not None and self.reduction == "mean":
            divisors = xp.where(totals > 0, totals, 1.0)
            # The gradient of a minibatch without weight is 0.
            scale = xp.where(totals > 0, 1 / divisors, 0.0)
        else:
            factors = 1 / np.maximum(sizes, 1) if self.reduction == "mean" else np.ones(whole)
            factors = np.repeat(factors.astype(np.float32)[:, None], self.weights_of, axis=1)
            tables["scale"] = factors
        uploaded = {name: self._upload(name, host) for name, host in tables.items()}
        uploaded["scale"] = scale if scale is not None else uploaded["scale"]
        self.loss[...] = 0.0
        self.squares[...] = 0.0
        done = 0
        while done < steps and not interrupted():
            for name, array in uploaded.items():
                if array is not None:
                    self.tables[name][...] = array[done : done + self.steps, ...]
            first = rows.first + done * batch
            numbers = order[first : min(first + self.steps * batch, rows.stop)]
            self.tables["order"][: numbers.shape[0]] = numbers
            self.replay()
            done = min(steps, done + self.steps)
        if done == 0:
            self.in_tables.clear()  # the uploaded values have not reached the graph's tables
        weight: Array | float = min(n, done * batch)
        if totals is not None:
            weight = xp.sum(totals[:done, ...], axis=0)
            weight = weight if self.weights_differ else weight[0]
        dtype = self.backend.dtype("float32")
        loss, penalty = (xp.astype(xp.sum(a, axis=-1), dtype) for a in (self.loss, self.squares))
        if self.alone:
            loss, penalty = loss[0], penalty[0]
        return done, LossSums(loss, weight, penalty if table.hyper.alpha is not None else 0.0)

    def _all_rows(self, rows: EpochRows) -> Array:
        if self.in_file_order is None:
            numbers = np.arange(rows.x.shape[0], dtype=np.int32)
            self.in_file_order = self.backend.asarray(numbers)
        return self.in_file_order

    def _weights(self, rows: EpochRows, weight: Array, order: Array, steps: int) -> Array:
        """The sum of the weights of each step's samples, (S, W)."""
        xp = self.backend.xp
        ordered = xp.take(weight, order[rows.first : rows.stop], axis=0)
        ordered = xp.reshape(ordered, (ordered.shape[0], self.weights_of))
        padded = self._zeros((steps * self.batch, self.weights_of), ordered.dtype)
        padded[: ordered.shape[0], :] = ordered
        return xp.sum(xp.reshape(padded, (steps, self.batch, self.weights_of)), axis=1)

    def _constants(self, table: HyperTable, steps: int) -> dict[str, HostArray]:
        """The tables of rates and constants, and of dropout, for so many steps."""
        of = table.members
        constants = np.zeros((steps, of, len(CONSTANTS)), np.float32)
        for i, value in enumerate(kernel_constants(table.hyper)):
            constants[: table.steps, :, i] = value
        if table.hyper.dropout is None:
            return {"constants": constants}
        keys = np.zeros((steps, of, len(table.hyper.dropout), 2), np.int32)
        scale = np.zeros((steps, of, len(table.hyper.dropout)), np.float32)
        for i, dropout in enumerate(table.hyper.dropout):
            if dropout is not None:
                keys[: table.steps, :, i, 0] = dropout.key
                keys[: table.steps, :, i, 1] = dropout.threshold
                scale[: table.steps, :, i] = dropout.scale
        return {"constants": constants, "drops": keys, "drop_scale": scale}

    def _upload(self, name: str, host: HostArray) -> Array | None:
        """A table on the device; None where its values are in the graph's table already."""
        before = self.in_tables.get(name)
        self.in_tables[name] = host
        if before is not None and len(host) == self.steps and np.array_equal(before, host):
            return None
        return self.backend.asarray(host)
