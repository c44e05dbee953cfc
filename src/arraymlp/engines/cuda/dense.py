"""The training step on CUDA for networks of any size: cuBLAS's products, and kernels between them.

Its results are those of the definition (`arraymlp.steps.step.array_step`), to rounding. It differs
in where results go:

- Sums, outputs and deltas go into buffers, one set for each number of rows. In the forward pass a
  layer's sums become its outputs and, in place, the slopes that the backward pass multiplies by;
  both times the next layer's dropout mask.
- The gradient's product itself adds SGD's change, W <- beta W - eta X^T delta with the decay in
  beta, or V <- mu V - eta X^T delta with momentum, where these are one number for all members. The
  other rules run over a layer's weights and biases once, in a kernel.
- Whatever the kernels of ``dense.cuh`` lack is computed by the definition's array code, in the same
  buffers: activations and optimisers of the user's own, clipped gradients, losses other than
  softmax_cross_entropy of labels.

With bfloat16 the products' factors are rounded copies, which the kernels make as they write, or,
of weights and data, once a step. Weights, sums, deltas, state and updates keep their precision.
"""

from typing import Any, TypeAlias, cast

import numpy as np

from arraymlp.backends.array import Array, DType, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cuda.arrays import DeviceArray, contiguous, is_contiguous
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.source import Argument, Launches, blocks_of
from arraymlp.engines.numbers import (
    ACTIVATION_NUMBERS,
    CONSTANTS,
    MOMENTUM,
    PLAIN_SGD,
    kernel_constants,
    rule_number,
)
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import DropoutKey
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.losses import SoftmaxCrossEntropy
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.gradient import loss_and_delta
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Constant, Optimizer, State
from arraymlp.steps.update import States, arrays_of, penalty, penalty_factor, tree_map, updated

THREADS = 256  # of a block
BLOCKS = 8  # at most, for each multiprocessor; a thread computes several numbers then
IDENTITY = ACTIVATION_NUMBERS[ACTIVATIONS["identity"]]
MOST = 2**31  # numbers of one member's minibatch, in any layer
UPDATE_CONSTANTS = CONSTANTS.index("l2") + 1  # the first so many are those of an update

Number: TypeAlias = type[np.floating[Any]]  # makes a number of the network's dtype


class LayerWork:
    """One layer's buffers for so many rows.

    Attributes:
        s: (..., B, n_out) sums; of a hidden layer then the slopes.
        z: outputs times the next layer's mask; the last layer's are s.
        ds: dL/ds.
        outputs: z, or its rounded copy, as products read it.
        deltas: ds, or its rounded copy, as products read it.
    """

    def __init__(self, layer: Layer, rows: int, last: bool, rounds: bool, xp: Namespace) -> None:
        shape = (*layer.weights.shape[:-2], rows, layer.n_out)

        def empty(dtype: DType = layer.weights.dtype) -> DeviceArray:
            return cast(DeviceArray, xp.empty(shape, dtype=dtype))

        self.s, self.ds = empty(), empty()
        self.z = self.s if last else empty()
        self.rounded_z = empty(xp.uint16) if rounds and not last else None
        self.rounded_ds = empty(xp.uint16) if rounds else None
        self.outputs = self.z if self.rounded_z is None else self.rounded_z
        self.deltas = self.ds if self.rounded_ds is None else self.rounded_ds
        self.size = rows * layer.n_out  # of one member


class DenseStep:
    """A step in buffers; called as the definition's, see `arraymlp.steps.step`.

    The loss that it returns stands in a buffer until the next step. In the first step, parameters
    and states that are not contiguous by rows are replaced by copies that are.

    Args:
        network: the network that will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum".
        device: launches the kernels of ``dense_float32.cu`` or ``dense_float64.cu``.
        product: multiplies matrices.
        exact: the same in the network's own precision, for sums over rows: biases and losses.
        rounds: True where ``product`` is given factors in bfloat16, as uint16.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        device: Launches,
        product: Multiplies,
        exact: Multiplies,
        rounds: bool = False,
    ) -> None:
        self.xp, self.reduction, self.optimizer = network.backend.xp, reduction, optimizer
        self.device, self.product, self.exact, self.rounds = device, product, exact, rounds
        self.rule = rule_number(optimizer)
        self.members = network.members or 1
        self.alone = network.members is None
        self.dtype = network.layers[0].weights.dtype
        self.number: Number = np.dtype(network.dtype).type
        self.works: dict[int, list[LayerWork]] = {}
        self.buffers: dict[object, DeviceArray] = {}
        self.gradients: list[Gradients] = []  # made when an update asks for them
        # Numbers that are in the table of constants already.
        self.in_table: list[Constant] = [None] * UPDATE_CONSTANTS

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step: forward, loss, backward, update."""
        if batch.rows not in self.works:
            states = self._make_room(network, states, batch.rows)
        works, n = self.works[batch.rows], len(network.layers)
        weights = [self._rounded(a.weights, ("weights", i)) for i, a in enumerate(network.layers)]
        keys = hyper.dropout or (None,) * n
        inputs = [self._first_input(batch.x, keys[0])]
        for i, (layer, work) in enumerate(zip(network.layers, works, strict=True)):
            self.product(inputs[i], weights[i], work.s)
            if i + 1 < n:
                self._activate(layer, work, keys[i + 1])
                inputs.append(work.outputs)
        loss = self._loss_and_delta(network, works[-1], batch, hyper)
        sums = LossSums(loss, batch.total, penalty(network, hyper, self.xp))

        factor = penalty_factor(batch, hyper, self.reduction)
        rule = self.rule if hyper.gradient_clip is None else None
        added = self._is_added(rule, factor, hyper)
        constants = self._constants(hyper, factor) if rule is not None and not added else ()
        if not added and not self.gradients:
            empty = self.xp.empty_like
            self.gradients = [Gradients(empty(a.weights), empty(a.bias)) for a in network.layers]
        ones = self._ones(batch.rows)
        for i in reversed(range(n)):
            layer, work, x = network.layers[i], works[i], inputs[i].mT
            if i > 0:
                before = works[i - 1]
                self.product(work.deltas, weights[i].mT, before.ds)
                args = (before.ds, before.s, before.rounded_ds, np.int64(before.ds.size))
                self._launch("slopes", before.ds.size, 1, args)
            if added:
                self._add(layer, work, x, ones, states[i], hyper, factor)
                continue
            gradient = self.gradients[i]
            self.product(x, work.deltas, gradient.weights)
            self.exact(ones, work.ds, gradient.bias)
            if rule is not None:
                self._update(layer, gradient, states[i], rule, constants)
        if rule is None:
            states = updated(
                network,
                states,
                self.gradients,
                batch,
                hyper,
                self.optimizer.update,
                self.reduction,
                self.xp,
            )
        return states, sums

    # Buffers and launches

    def _make_room(self, network: Network, states: States, rows: int) -> States:
        """Make the buffers for so many rows; return the states, contiguous by rows."""
        for layer in network.layers:
            layer.weights, layer.bias = contiguous(layer.weights), contiguous(layer.bias)
        last = len(network.layers) - 1
        self.works[rows] = [
            LayerWork(layer, rows, i == last, self.rounds, self.xp)
            for i, layer in enumerate(network.layers)
        ]
        # After the buffers: where memory is short, that is the error to report.
        widest = max(network.sizes)
        if rows * widest >= MOST:
            raise ValueError(
                f"a minibatch of {rows} rows and {widest} numbers each is more than the kernels "
                'can count: give a smaller batch_size, or engine="array"'
            )
        return states if self.rule is None else tree_map(contiguous, states)

    def _buffer(self, name: object, shape: tuple[int, ...], dtype: DType) -> DeviceArray:
        key = name, shape
        if key not in self.buffers:
            self.buffers[key] = cast(DeviceArray, self.xp.empty(shape, dtype=dtype))
        return self.buffers[key]

    def _ones(self, rows: int) -> DeviceArray:
        key = "ones", rows
        if key not in self.buffers:
            ones = self.xp.ones((1, rows), dtype=self.dtype)
            self.buffers[key] = cast(DeviceArray, ones)
        return self.buffers[key]

    def _launch(self, name: str, size: int, members: int, args: tuple[Argument, ...]) -> None:
        elementwise(self.device, name, size, members, args)

    # Forward

    def _rounded(self, a: Array, name: object) -> Array:
        """An array, or its rounded copy, as products read it."""
        if not self.rounds:
            return a
        out = self._buffer(name, a.shape, self.xp.uint16)
        self._round(a, out)
        return out

    def _round(self, a: Array, out: DeviceArray) -> None:
        self._launch("rounded", out.size, 1, (a, out, np.int64(out.size)))

    def _first_input(self, x: Array, key: DropoutKey | None) -> Array:
        """A minibatch times its mask, as products read it."""
        if not is_contiguous(x):
            copied = self._buffer("copied", x.shape, self.dtype)
            copied[...] = x
            x = copied
        if key is None:
            return self._rounded(x, "x")
        shape = x.shape if self.alone else (self.members, *x.shape[-2:])
        masked = self._buffer("masked", shape, self.xp.uint16 if self.rounds else self.dtype)
        self._mask(key, x, None if self.rounds else masked, masked if self.rounds else None)
        return masked

    def _mask(self, key: DropoutKey, x: Array, out: Array | None, rounded: Array | None) -> None:
        """Mask (..., rows, units); x may also be (rows, units), or (G, rows, units)."""
        size = x.shape[-2] * x.shape[-1]
        groups = cast(DeviceArray, x).size // size
        sizes = np.uint32(size), np.uint32(self.members // groups)
        args = (x, out, rounded, *sizes, *mask_arguments(key, self.number))
        self._launch("masked", size, self.members, args)

    def _activate(self, layer: Layer, work: LayerWork, key: DropoutKey | None) -> None:
        """Turn a hidden layer's products into its slopes, and put its outputs beside them."""
        activation = ACTIVATION_NUMBERS.get(layer.activation)
        if activation is not None:
            self._add_bias(layer, work, activation, key)
            return
        work.s += layer.bias
        z = layer.activation.function(work.s, self.xp)
        slopes = layer.activation.derivative(work.s, z, self.xp)
        work.z[...] = z
        work.s[...] = slopes
        if key is not None:
            self._mask(key, work.s, work.s, None)
            self._mask(key, work.z, work.z, work.rounded_z)
        elif work.rounded_z is not None:
            self._round(work.z, work.rounded_z)

    def _add_bias(
        self,
        layer: Layer,
        work: LayerWork,
        activation: int,
        key: DropoutKey | None,
        slopes: bool = True,
    ) -> None:
        """Add the bias and apply one of the kernels' activations."""
        arrays = (work.s, layer.bias, work.z, work.rounded_z)
        sizes = np.uint32(work.size), np.uint32(layer.n_out)
        choices = np.int32(activation), np.int32(slopes)
        args = (*arrays, *sizes, *choices, *mask_arguments(key, self.number))
        self._launch("activate", work.size, self.members, args)

    def _loss_and_delta(
        self, network: Network, work: LayerWork, batch: Minibatch, hyper: Hyper
    ) -> Array:
        """Return the summed loss (...,); the last layer's ds becomes dL/ds."""
        layer, y = network.layers[-1], batch.y
        if (
            type(network.loss) is SoftmaxCrossEntropy
            and y.dtype == np.int32
            and is_contiguous(y)
            and batch.weight is None
            and hyper.label_smoothing is None
        ):
            loss = self._softmax(layer, work, y, batch.rows)
        else:
            self._add_bias(layer, work, IDENTITY, None, slopes=False)
            loss, delta = loss_and_delta(network, work.s, batch, hyper, self.reduction, self.xp)
            work.ds[...] = delta
        if work.rounded_ds is not None:
            self._round(work.ds, work.rounded_ds)
        return loss

    def _softmax(self, layer: Layer, work: LayerWork, y: Array, rows: int) -> Array:
        members = () if self.alone else (self.members,)
        losses = self._buffer("losses", (*members, rows, 1), self.dtype)
        total = self._buffer("loss", (*members, 1, 1), self.dtype)
        sharing = self.members if y.ndim == 1 else self.members // y.shape[0]
        factor = self.number(1 / rows if self.reduction == "mean" else 1.0)
        sizes = (np.uint32(rows), np.uint32(layer.n_out), np.uint32(sharing))
        args = (work.s, layer.bias, y, work.ds, losses, *sizes, factor)
        grid = (blocks_of(rows, THREADS // 32), self.members, 1)
        self.device.launch("softmax", grid, THREADS, args)
        self.exact(self._ones(rows), losses, total)
        return total[..., 0, 0]

    # Updates

    def _is_added(self, rule: int | None, factor: Constant | None, hyper: Hyper) -> bool:
        """True where the gradient's product adds to the weights or to their velocity."""
        if rule not in (PLAIN_SGD, MOMENTUM) or (rule == MOMENTUM and factor is not None):
            return False
        numbers = (*hyper.optimizer, *(v for v in (hyper.decay_factor, factor) if v is not None))
        return all(isinstance(value, int | float) for value in numbers)

    def _add(
        self,
        layer: Layer,
        work: LayerWork,
        x: Array,
        ones: Array,
        state: tuple[State, State],
        hyper: Hyper,
        factor: float | None,
    ) -> None:
        """Do SGD's step by products."""
        rate, momentum = hyper.optimizer
        decay_factor = 1.0 if hyper.decay_factor is None else hyper.decay_factor
        velocity, bias_velocity = state
        if velocity is None:
            self.product(
                x, work.deltas, layer.weights, -rate, decay_factor - rate * (factor or 0.0)
            )
            self.exact(ones, work.ds, layer.bias, -rate, 1.0)
            return
        self.product(x, work.deltas, velocity, -rate, momentum)
        self.exact(ones, work.ds, bias_velocity, -rate, momentum)
        sizes = velocity.size, bias_velocity.size
        arrays = (layer.weights, velocity, layer.bias, bias_velocity)
        args = (*arrays, *map(np.int64, sizes), self.number(decay_factor))
        self._launch("moved", sum(sizes), 1, args)

    def _update(
        self,
        layer: Layer,
        gradient: Gradients,
        state: tuple[State, State],
        rule: int,
        constants: tuple[Argument, ...],
    ) -> None:
        """Do an optimiser's step by the kernel."""
        arrays: list[Argument] = []
        parameters = layer.weights, layer.bias
        for parameter, slope, kept in zip(parameters, gradient, state, strict=True):
            parts = arrays_of(kept)
            arrays += [parameter, slope, *parts, *(None,) * (2 - len(parts))]
        sizes = layer.n_in * layer.n_out, layer.n_out
        args = (*arrays, *map(np.int64, sizes), np.int32(rule), *constants)
        self._launch("update", sum(sizes), self.members, args)

    def _constants(self, hyper: Hyper, factor: Constant | None) -> tuple[Argument, ...]:
        """The constants for the update kernel: a table with a row a member, or None; and numbers.

        ``factor`` takes the place of l2.
        """
        constants = kernel_constants(hyper)._replace(l2=0.0 if factor is None else factor)
        values = constants[:UPDATE_CONSTANTS]
        shared = [isinstance(value, int | float) for value in values]
        if all(shared):
            return (None, *map(self.number, values))
        table = self._buffer("constants", (self.members, len(CONSTANTS)), self.dtype)
        for column, (value, is_shared) in enumerate(zip(values, shared, strict=True)):
            if not is_shared:
                table[:, column] = self.xp.reshape(value, (-1,))
            elif self.in_table[column] != value:
                table[:, column] = value
            self.in_table[column] = value if is_shared else None
        return (table, *(self.number(0),) * UPDATE_CONSTANTS)


def elementwise(
    device: Launches, name: str, size: int, members: int, args: tuple[Argument, ...]
) -> None:
    """Launch an elementwise kernel for so many numbers of each member."""
    most = max(1, BLOCKS * device.processors // members)
    grid = (min(blocks_of(size, THREADS), most), members, 1)
    device.launch(name, grid, THREADS, args)


def mask_arguments(dropout: DropoutKey | None, number: Number) -> tuple[Argument, ...]:
    """The kernels' arguments for a mask: key, threshold and scale as numbers, or as arrays."""
    if dropout is None:
        return (np.int32(0), np.int32(0), np.int32(0), number(0), None, None, None)
    shared = [isinstance(value, int | float) for value in dropout]
    key, threshold, scale = (v if same else 0 for v, same in zip(dropout, shared, strict=True))
    arrays = (None if same else v for v, same in zip(dropout, shared, strict=True))
    return (np.int32(1), np.int32(key), np.int32(threshold), number(scale), *arrays)
