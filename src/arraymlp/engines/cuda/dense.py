"""The training step on CUDA for networks of any size: cuBLAS's products, and kernels between them.

Its results are those of the definition (`arraymlp.steps.step.array_step`), to rounding. It differs
in where results go:

- Sums, outputs and deltas go into buffers, one set for each number of rows. Slopes are not stored:
  the backward pass computes them anew, from a layer's outputs where that gives the same numbers,
  else from its sums. The same kernel adds up the deltas for the biases.
- The gradient's product itself adds SGD's change, W <- beta W - eta X^T delta with the decay in
  beta, or V <- mu V - eta X^T delta with momentum, where these are one number for all members. The
  other rules run over a layer's weights and biases once, in a kernel.
- Whatever the kernels of ``dense.cuh`` lack is computed by the definition's array code, in the same
  buffers: activations and optimisers of the user's own, clipped gradients, losses other than
  softmax_cross_entropy of labels.

With bfloat16 the products' factors are rounded copies, which the kernels write in place of outputs
and deltas, or make, of weights and data, once a step. Weights, sums, state and updates keep their
precision, and biases add up deltas that are not rounded.

No rounded weights are kept for the next step, though an update could write them. Between two steps
others may write to the network's arrays: callbacks have it, and the check of an engine has this
same step train a copy. Stale weights would be wrong, and nobody would see it. There is little to
gain, too. In bytes a weight, SGD's product that adds to the weights moves 8 and their rounding 6,
and a kernel that did both after a product of its own would move 18; with Adam it is 34 for 38.
"""

from typing import cast

import numpy as np

from arraymlp.backends.array import Array, DType, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cuda.arrays import DeviceArray, contiguous, is_contiguous
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.dense_kernels import (
    BY_OUTPUT,
    BY_SIGN,
    IDENTITY,
    OUTPUTS,
    ROUNDED,
    SLOPES,
    SUMS,
    DenseKernels,
    row_parts,
)
from arraymlp.engines.cuda.source import Argument, Launches
from arraymlp.engines.numbers import (
    ACTIVATION_NUMBERS,
    CONSTANTS,
    MOMENTUM,
    PLAIN_SGD,
    kernel_constants,
    rule_number,
)
from arraymlp.nn.dropout import DropoutKey
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.losses import SoftmaxCrossEntropy
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.gradient import loss_and_delta
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Constant, Optimizer, State
from arraymlp.steps.update import States, arrays_of, penalty, penalty_factor, tree_map, updated

MOST = 2**31  # numbers of one member's minibatch, in any layer
UPDATE_CONSTANTS = CONSTANTS.index("l2") + 1  # the first so many are those of an update


class LayerWork:
    """One layer's buffers for so many rows.

    Attributes:
        activation: the kernels' number of the activation; None where they have none.
        left: what the forward pass of a hidden layer leaves for its slopes; see `dense_kernels`.
        s: (..., B, n_out) sums; then what ``left`` says, but for ROUNDED.
        outputs: z times the next layer's mask, as products read it, also in the place of s; of the
            last layer s.
        of_forward: where that stands which ``left`` says: s, or the outputs.
        ds: dL/ds; where ``deltas`` is a rounded copy, of a hidden layer dL/dz.
        deltas: dL/ds, as products read it.
        addends: (..., R, n_out), of which the bias's gradient is the sum over R.
    """

    def __init__(
        self, layer: Layer, rows: int, last: bool, masked: bool, rounds: bool, xp: Namespace
    ) -> None:
        shape = (*layer.weights.shape[:-2], rows, layer.n_out)
        dtype = layer.weights.dtype

        def empty(dtype: DType, shape: tuple[int, ...] = shape) -> DeviceArray:
            return cast(DeviceArray, xp.empty(shape, dtype=dtype))

        self.activation = ACTIVATION_NUMBERS.get(layer.activation)
        self.left = SUMS
        if self.activation is None:
            self.left = SLOPES
        elif rounds and self.activation in BY_SIGN:
            self.left = ROUNDED
        elif not rounds and self.activation in (BY_SIGN if masked else BY_OUTPUT):
            self.left = OUTPUTS
        of_products = xp.uint16 if rounds else dtype
        self.s, self.ds = empty(dtype), empty(dtype)
        in_place = last or self.left == OUTPUTS
        self.outputs = self.s if in_place else empty(of_products)
        self.of_forward = self.outputs if self.left == ROUNDED else self.s
        self.deltas = empty(of_products) if rounds else self.ds
        self.addends = self.ds
        if not last:
            self.addends = empty(dtype, (*shape[:-2], row_parts(rows), layer.n_out))


class DenseStep:
    """A step in buffers; called as the definition's, see `arraymlp.steps.step`.

    The loss that it returns stands in a buffer until the next step. Parameters and states that are
    not contiguous by rows are replaced by copies that are.

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
        self.product, self.exact, self.rounds = product, exact, rounds
        self.rule = rule_number(optimizer)
        self.members = network.members or 1
        self.alone = network.members is None
        self.dtype = network.layers[0].weights.dtype
        self.kernels = DenseKernels(device, self.members, network.dtype)
        # By the number of rows, and which layers' inputs are masked.
        self.works: dict[tuple[int, tuple[bool, ...]], list[LayerWork]] = {}
        self.buffers: dict[object, DeviceArray] = {}
        self.gradients: list[Gradients] = []  # made when an update asks for them
        # Numbers that are in the table of constants already.
        self.in_table: list[Constant] = [None] * UPDATE_CONSTANTS

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step: forward, loss, backward, update."""
        n = len(network.layers)
        keys = hyper.dropout or (None,) * n
        masks = tuple(key is not None for key in keys)
        for layer in network.layers:
            layer.weights, layer.bias = contiguous(layer.weights), contiguous(layer.bias)
        if self.rule is not None:
            states = tree_map(contiguous, states)
        if (batch.rows, masks) not in self.works:
            self._make_room(network, batch.rows, masks)
        works = self.works[batch.rows, masks]
        weights = [self._rounded(a.weights, ("weights", i)) for i, a in enumerate(network.layers)]
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
        for i in reversed(range(n)):
            layer, work, x = network.layers[i], works[i], inputs[i].mT
            if i > 0:
                self.product(work.deltas, weights[i].mT, works[i - 1].ds)
                self._multiply_slopes(network.layers[i - 1], works[i - 1], keys[i])
            if added:
                self._add(layer, work, x, states[i], hyper, factor)
                continue
            gradient = self.gradients[i]
            self.product(x, work.deltas, gradient.weights)
            self.exact(self._ones(work), work.addends, gradient.bias)
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

    def _make_room(self, network: Network, rows: int, masks: tuple[bool, ...]) -> None:
        """Make the buffers for so many rows."""
        last = len(network.layers) - 1
        works = [
            LayerWork(layer, rows, i == last, i < last and masks[i + 1], self.rounds, self.xp)
            for i, layer in enumerate(network.layers)
        ]
        # After the buffers: where memory is short, that is the error to report.
        widest = max(network.sizes)
        if rows * widest >= MOST:
            raise ValueError(
                f"a minibatch of {rows} rows and {widest} numbers each is more than the kernels "
                'can count: give a smaller batch_size, or engine="array"'
            )
        self.works[rows, masks] = works

    def _buffer(self, name: object, shape: tuple[int, ...], dtype: DType) -> DeviceArray:
        key = name, shape
        if key not in self.buffers:
            self.buffers[key] = cast(DeviceArray, self.xp.empty(shape, dtype=dtype))
        return self.buffers[key]

    def _ones(self, work: LayerWork) -> DeviceArray:
        """A row of ones (1, R), whose product with the layer's addends is their sum."""
        rows = work.addends.shape[-2]
        key = "ones", rows
        if key not in self.buffers:
            ones = self.xp.ones((1, rows), dtype=self.dtype)
            self.buffers[key] = cast(DeviceArray, ones)
        return self.buffers[key]

    # Forward

    def _rounded(self, a: Array, name: object) -> Array:
        """An array, or its rounded copy, as products read it."""
        if not self.rounds:
            return a
        out = self._buffer(name, a.shape, self.xp.uint16)
        self.kernels.rounded(a, out)
        return out

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
        self.kernels.masked(x, masked, key)
        return masked

    def _activate(self, layer: Layer, work: LayerWork, key: DropoutKey | None) -> None:
        """Turn a hidden layer's products into its outputs, and what `LayerWork.left` says."""
        if work.activation is not None:
            self.kernels.activate(work.s, layer.bias, work.outputs, work.activation, key)
            return
        work.s += layer.bias
        z = layer.activation.function(work.s, self.xp)
        slopes = layer.activation.derivative(work.s, z, self.xp)
        work.ds[...] = z  # which may be s
        work.s[...] = slopes
        self.kernels.masked(work.ds, work.outputs, key)
        if key is not None:
            self.kernels.masked(work.s, work.s, key)

    def _multiply_slopes(self, layer: Layer, work: LayerWork, key: DropoutKey | None) -> None:
        """Turn a hidden layer's dL/dz into dL/ds."""
        activation = IDENTITY if work.activation is None else work.activation
        left = work.left, work.of_forward, layer.bias, activation, key
        self.kernels.slopes(work.ds, work.deltas, work.addends, *left)

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
            return self._softmax(layer, work, y, batch.rows)
        self.kernels.activate(work.s, layer.bias, work.s, IDENTITY)
        loss, delta = loss_and_delta(network, work.s, batch, hyper, self.reduction, self.xp)
        work.ds[...] = delta
        if self.rounds:
            self.kernels.rounded(work.ds, work.deltas)
        return loss

    def _softmax(self, layer: Layer, work: LayerWork, y: Array, rows: int) -> Array:
        members = () if self.alone else (self.members,)
        losses = self._buffer("losses", (*members, rows, 1), self.dtype)
        total = self._buffer("loss", (*members, 1, 1), self.dtype)
        factor = 1 / rows if self.reduction == "mean" else 1.0
        rounded = work.deltas if self.rounds else None
        self.kernels.softmax(work.s, layer.bias, y, work.ds, rounded, losses, factor)
        self.exact(self._ones(work), losses, total)
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
        state: tuple[State, State],
        hyper: Hyper,
        factor: float | None,
    ) -> None:
        """Do SGD's step by products."""
        rate, momentum = hyper.optimizer
        decay_factor = 1.0 if hyper.decay_factor is None else hyper.decay_factor
        velocity, bias_velocity = state
        ones = self._ones(work)
        if velocity is None:
            self.product(
                x, work.deltas, layer.weights, -rate, decay_factor - rate * (factor or 0.0)
            )
            self.exact(ones, work.addends, layer.bias, -rate, 1.0)
            return
        self.product(x, work.deltas, velocity, -rate, momentum)
        self.exact(ones, work.addends, bias_velocity, -rate, momentum)
        arrays = (layer.weights, velocity, layer.bias, bias_velocity)
        self.kernels.moved(*arrays, decay_factor)

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
        self.kernels.update(arrays, sizes, rule, constants)

    def _constants(self, hyper: Hyper, factor: Constant | None) -> tuple[Argument, ...]:
        """The constants for the update kernel: a table with a row a member, or None; and numbers.

        ``factor`` takes the place of l2.
        """
        constants = kernel_constants(hyper)._replace(l2=0.0 if factor is None else factor)
        values = constants[:UPDATE_CONSTANTS]
        shared = [isinstance(value, int | float) for value in values]
        if all(shared):
            return (None, *map(self.kernels.number, values))
        table = self._buffer("constants", (self.members, len(CONSTANTS)), self.dtype)
        for column, (value, is_shared) in enumerate(zip(values, shared, strict=True)):
            if not is_shared:
                table[:, column] = self.xp.reshape(value, (-1,))
            elif self.in_table[column] != value:
                table[:, column] = value
            self.in_table[column] = value if is_shared else None
        return (table, *(self.kernels.number(0),) * UPDATE_CONSTANTS)
