"""The training step on CUDA for networks of any size: cuBLAS's products, and kernels between them.

The mathematics is that of the generic step, to rounding. What differs is where results go:

- Sums, outputs and deltas go into buffers, one set for each number of rows. On the way forward a
  layer's sums become its outputs and, in place, the slopes that the way back multiplies by; both as
  the next layer's dropout leaves them.
- SGD's change is added by the gradient's product itself, W <- beta W - eta X^T delta with the decay
  in beta, or V <- mu V - eta X^T delta with momentum, where these are one number for all members.
  The other rules run over a layer's weights and biases once, in a kernel.
- What the kernels of ``dense.cuh`` do not know is computed as in the generic step, in the same
  buffers: activations and optimisers of the user's own, clipped gradients, losses other than
  softmax_cross_entropy of labels.

With bfloat16 the products' factors are rounded copies, which the kernels make as they write, or,
of weights and data, once a step. Weights, sums, deltas, state and updates stay as they are.
"""

from typing import Any

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.source import (
    ACTIVATION_NUMBERS,
    CONSTANTS,
    MOMENTUM,
    PLAIN_SGD,
    Launches,
    blocks_of,
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
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.update import States, arrays_of, penalty, penalty_factor, tree_map, updated

THREADS = 256  # of a block
BLOCKS = 8  # of such for each multiprocessor, at most: their threads take several numbers each
IDENTITY = ACTIVATION_NUMBERS[ACTIVATIONS["identity"]]
MOST = 2**31  # numbers of one member's minibatch, in any layer
TOLD = CONSTANTS.index("l2") + 1  # as many constants has an update


class LayerWork:
    """One layer's buffers for so many rows.

    Attributes:
        s: (..., B, n_out) sums; of a hidden layer then the slopes.
        z: outputs as the next layer's mask leaves them; the last layer's are s.
        ds: dL/ds.
        outputs: z as products take it.
        deltas: ds as products take it.
    """

    def __init__(self, layer: Layer, rows: int, last: bool, rounds: bool, xp: Any) -> None:
        shape = (*layer.weights.shape[:-2], rows, layer.n_out)
        kind = layer.weights.dtype
        self.s, self.ds = (xp.empty(shape, dtype=kind) for _ in range(2))
        self.z = self.s if last else xp.empty(shape, dtype=kind)
        self.rounded_z = xp.empty(shape, dtype=xp.uint16) if rounds and not last else None
        self.rounded_ds = xp.empty(shape, dtype=xp.uint16) if rounds else None
        self.outputs = self.rounded_z if rounds else self.z
        self.deltas = self.rounded_ds if rounds else self.ds
        self.size = rows * layer.n_out  # of one member


class DenseStep:
    """A step with its buffers; ``step(network, state, batch, hyper)`` as the generic one.

    The loss that it returns stands in a buffer until the next step. Parameters and state that are
    not contiguous by rows are replaced by copies that are, in the first step.

    Args:
        network: what will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum".
        device: launches the kernels of ``dense_float32.cu`` or ``dense_float64.cu``.
        product: multiplies matrices.
        exact: likewise, in the network's own precision: sums over rows, for biases and losses.
        rounds: whether ``product`` is given factors in bfloat16, as uint16.
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
        self.kind = network.layers[0].weights.dtype
        self.number = np.dtype(network.dtype).type
        self.works: dict[int, list[LayerWork]] = {}
        self.buffers: dict[Any, Array] = {}
        self.gradients: list[Gradients] = []  # made when an update asks for them
        self.tabled: list[Any] = [None] * TOLD  # numbers that stand in the table of constants

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """One minibatch: forward, loss, backward, update."""
        if batch.rows not in self.works:
            states = self._make_room(network, states, batch.rows)
        works, n = self.works[batch.rows], len(network.layers)
        weights = [self._rounded(a.weights, ("weights", i)) for i, a in enumerate(network.layers)]
        drops = hyper.dropout or (None,) * n
        inputs = [self._first_input(batch.x, drops[0])]
        for i, (layer, work) in enumerate(zip(network.layers, works, strict=True)):
            self.product(inputs[i], weights[i], work.s)
            if i + 1 < n:
                self._activate(layer, work, drops[i + 1])
                inputs.append(work.outputs)
        loss = self._loss_and_delta(network, works[-1], batch, hyper)
        sums = LossSums(loss, batch.total, penalty(network, hyper, self.xp))

        factor = penalty_factor(batch, hyper, self.reduction)
        rule = self.rule if hyper.gradient_clip is None else None
        added = self._is_added(rule, factor, hyper)
        told = self._constants(hyper, factor) if rule is not None and not added else ()
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
                self._update(layer, gradient, states[i], rule, told)
        if rule is None:
            update = self.optimizer.update
            with_rule = (batch, hyper, update, self.reduction, self.xp)
            states = updated(network, states, self.gradients, *with_rule)
        return states, sums

    # Buffers and launches

    def _make_room(self, network: Network, states: States, rows: int) -> States:
        """Make the buffers for so many rows; the state, contiguous by rows."""
        for layer in network.layers:
            layer.weights, layer.bias = _by_rows(layer.weights), _by_rows(layer.bias)
        last = len(network.layers) - 1
        self.works[rows] = [
            LayerWork(layer, rows, i == last, self.rounds, self.xp)
            for i, layer in enumerate(network.layers)
        ]
        # Where memory is short, that has been said before.
        widest = max(network.sizes)
        if rows * widest >= MOST:
            raise ValueError(
                f"a minibatch of {rows} rows and {widest} numbers each is more than the kernels "
                "can count: give a smaller batch_size, or fast=False"
            )
        known: States = states if self.rule is None else tree_map(_by_rows, states)
        return known

    def _buffer(self, name: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        key = name, shape
        if key not in self.buffers:
            self.buffers[key] = self.xp.empty(shape, dtype=dtype)
        return self.buffers[key]

    def _ones(self, rows: int) -> Array:
        if ("ones", rows) not in self.buffers:
            self.buffers["ones", rows] = self.xp.ones((1, rows), dtype=self.kind)
        return self.buffers["ones", rows]

    def _launch(self, name: str, size: int, members: int, args: tuple[Any, ...]) -> None:
        elementwise(self.device, name, size, members, args)

    # Forward

    def _rounded(self, a: Array, name: Any) -> Array:
        """An array as products take it."""
        if not self.rounds:
            return a
        out = self._buffer(name, a.shape, self.xp.uint16)
        self._launch("rounded", a.size, 1, (a, out, np.int64(a.size)))
        return out

    def _first_input(self, x: Array, drop: DropoutKey | None) -> Array:
        """A minibatch as the mask leaves it, as products take it."""
        if not x.flags.c_contiguous:
            copied = self._buffer("copied", x.shape, self.kind)
            copied[...] = x
            x = copied
        if drop is None:
            return self._rounded(x, "x")
        shape = x.shape if self.alone else (self.members, *x.shape[-2:])
        masked = self._buffer("masked", shape, self.xp.uint16 if self.rounds else self.kind)
        self._mask(drop, x, None if self.rounds else masked, masked if self.rounds else None)
        return masked

    def _mask(self, drop: DropoutKey, x: Array, out: Array | None, rounded: Array | None) -> None:
        """Mask (..., rows, units); x may also be (rows, units), or (G, rows, units)."""
        size = x.shape[-2] * x.shape[-1]
        groups = x.size // size
        sizes = np.uint32(size), np.uint32(self.members // groups)
        self._launch(
            "masked", size, self.members, (x, out, rounded, *sizes, *mask_of(drop, self.number))
        )

    def _activate(self, layer: Layer, work: LayerWork, drop: DropoutKey | None) -> None:
        """From a hidden layer's products to its outputs, and slopes in place of the products."""
        kind = ACTIVATION_NUMBERS.get(layer.activation)
        if kind is not None:
            self._add_bias(layer, work, kind, drop)
            return
        xp, function = self.xp, layer.activation
        work.s += layer.bias
        z = function.function(work.s, xp)
        slopes = function.derivative(work.s, z, xp)
        work.z[...] = z
        work.s[...] = slopes
        if drop is not None:
            self._mask(drop, work.s, work.s, None)
            self._mask(drop, work.z, work.z, work.rounded_z)
        elif work.rounded_z is not None:
            self._launch("rounded", work.z.size, 1, (work.z, work.rounded_z, np.int64(work.z.size)))

    def _add_bias(
        self, layer: Layer, work: LayerWork, kind: int, drop: DropoutKey | None, slopes: bool = True
    ) -> None:
        """Add the bias and apply one of the kernels' activations."""
        arrays = (work.s, layer.bias, work.z, work.rounded_z)
        numbers = (np.uint32(work.size), np.uint32(layer.n_out), np.int32(kind), np.int32(slopes))
        args = (*arrays, *numbers, *mask_of(drop, self.number))
        self._launch("activate", work.size, self.members, args)

    def _loss_and_delta(
        self, network: Network, work: LayerWork, batch: Minibatch, hyper: Hyper
    ) -> Array:
        """The summed loss (...,); the last layer's ds becomes dL/ds."""
        layer, y = network.layers[-1], batch.y
        if (
            type(network.loss) is SoftmaxCrossEntropy
            and y.dtype == np.int32
            and y.flags.c_contiguous
            and batch.weight is None
            and hyper.label_smoothing is None
        ):
            loss = self._softmax(layer, work, y, batch.rows)
        else:
            self._add_bias(layer, work, IDENTITY, None, slopes=False)
            loss, delta = loss_and_delta(network, work.s, batch, hyper, self.reduction, self.xp)
            work.ds[...] = delta
        if work.rounded_ds is not None:
            size = work.ds.size
            self._launch("rounded", size, 1, (work.ds, work.rounded_ds, np.int64(size)))
        return loss

    def _softmax(self, layer: Layer, work: LayerWork, y: Array, rows: int) -> Array:
        members = () if self.alone else (self.members,)
        each = self._buffer("losses", (*members, rows, 1), self.kind)
        total = self._buffer("loss", (*members, 1, 1), self.kind)
        sharing = self.members if y.ndim == 1 else self.members // y.shape[0]
        factor = self.number(1 / rows if self.reduction == "mean" else 1.0)
        sizes = (np.uint32(rows), np.uint32(layer.n_out), np.uint32(sharing))
        args = (work.s, layer.bias, y, work.ds, each, *sizes, factor)
        grid = (blocks_of(rows, THREADS // 32), self.members, 1)
        self.device.launch("softmax", grid, THREADS, args)
        self.exact(self._ones(rows), each, total)
        return total[..., 0, 0]

    # Updates

    def _is_added(self, rule: int | None, factor: Any, hyper: Hyper) -> bool:
        """Whether the gradient's product adds to the weights or to their velocity."""
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
        state: tuple[Any, Any],
        hyper: Hyper,
        factor: float | None,
    ) -> None:
        """SGD's step by products."""
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
        sizes = layer.weights.size, layer.bias.size
        arrays = (layer.weights, velocity, layer.bias, bias_velocity)
        args = (*arrays, *map(np.int64, sizes), self.number(decay_factor))
        self._launch("moved", sum(sizes), 1, args)

    def _update(
        self,
        layer: Layer,
        gradient: Gradients,
        state: tuple[Any, Any],
        rule: int,
        told: tuple[Any, ...],
    ) -> None:
        """An optimiser's step by the kernel."""
        arrays: list[Any] = []
        for parameter, slope, own in zip((layer.weights, layer.bias), gradient, state, strict=True):
            parts = arrays_of(own)
            arrays += [parameter, slope, *parts, *(None,) * (2 - len(parts))]
        sizes = layer.n_in * layer.n_out, layer.n_out
        args = (*arrays, *map(np.int64, sizes), np.int32(rule), *told)
        self._launch("update", sum(sizes), self.members, args)

    def _constants(self, hyper: Hyper, factor: Any) -> tuple[Any, ...]:
        """What the update kernel is told: a table with a row for each member or None, and numbers.

        ``factor`` stands in the place of l2.
        """
        named = kernel_constants(hyper)._replace(l2=0.0 if factor is None else factor)
        values = named[:TOLD]
        alike = [isinstance(value, int | float) for value in values]
        if all(alike):
            return (None, *map(self.number, values))
        table = self._buffer("constants", (self.members, len(CONSTANTS)), self.kind)
        for column, (value, same) in enumerate(zip(values, alike, strict=True)):
            if not same:
                table[:, column] = self.xp.reshape(value, (-1,))
            elif self.tabled[column] != value:
                table[:, column] = value
            self.tabled[column] = value if same else None
        return (table, *(self.number(0),) * TOLD)


def elementwise(
    device: Launches, name: str, size: int, members: int, args: tuple[Any, ...]
) -> None:
    """Launch an elementwise kernel for so many numbers of each member."""
    most = max(1, BLOCKS * device.processors // members)
    grid = (min(blocks_of(size, THREADS), most), members, 1)
    device.launch(name, grid, THREADS, args)


def mask_of(drop: DropoutKey | None, number: Any) -> tuple[Any, ...]:
    """What the kernels are told of a mask; ``number`` makes the network's numbers."""
    if drop is None:
        return (np.int32(0), np.int32(0), np.int32(0), number(0), None, None, None)
    alike = [isinstance(value, int | float) for value in drop]
    key, threshold, scale = (value if same else 0 for value, same in zip(drop, alike, strict=True))
    each = (None if same else value for value, same in zip(drop, alike, strict=True))
    return (np.int32(1), np.int32(key), np.int32(threshold), number(scale), *each)


def _by_rows(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.copy()
