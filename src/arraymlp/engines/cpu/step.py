"""The training step on NumPy in reused buffers, with products that add to their result.

Its results are those of the definition (`arraymlp.steps.step.array_step`), to rounding. It differs
in where results go:

- Sums, outputs and deltas go into buffers, one set for each number of rows.
- With SGD the learning rate is multiplied into the delta of the few outputs. Backpropagation is
  linear, and so all gradients come out as changes, -eta dL/dW. The products themselves add these,
  with the decay in beta: W <- beta W + X^T (-eta delta), or V <- mu V + X^T (-eta delta) with
  momentum.
- The other optimisers' ``update`` is called for a few rows of a matrix at a time, so that its
  passes over weights, gradient and state stay in the processor's cache.
"""

from collections.abc import Callable
from typing import TypeAlias, cast

import numpy as np

from arraymlp.backends.array import Array, DType, HostArray, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cpu.blas import Product
from arraymlp.nn.activations import ACTIVATIONS, Activation, least_exponent
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.linalg import repeat_groups
from arraymlp.nn.losses import SoftmaxCrossEntropy
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.gradient import loss_and_delta, masks_for
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Constants,
    Optimizer,
    RMSProp,
    State,
)
from arraymlp.steps.update import States, Update, penalty, penalty_factor, tree_map, updated

PIECE = 32_768  # numbers of a parameter that are updated at a time
NUMPY = cast(Namespace, np)


class LayerWork:
    """One layer's buffers for so many rows, and its products."""

    def __init__(self, layer: Layer, rows: int, product: Callable[..., Product]) -> None:
        members = layer.weights.shape[:-2]
        dtype, n_in, n_out = layer.weights.dtype, layer.n_in, layer.n_out
        k = members[0] if members else None
        self.s: HostArray = np.empty((*members, rows, n_out), dtype)  # sums; outputs, if in place
        self.z = self.s
        self.ds = np.empty_like(self.s)
        self.scratch: dict[object, HostArray] = {}
        self.ones = np.ones((1, rows), dtype)
        self.forward = product(rows, n_in, n_out, k, dtype.name)
        self.backward = product(rows, n_out, n_in, k, dtype.name)
        self.gradient = product(n_in, rows, n_out, k, dtype.name)
        self.in_place = IN_PLACE.get(layer.activation)

    def like_s(self, dtype: DType) -> HostArray:
        """A buffer of the shape of s."""
        if dtype not in self.scratch:
            self.scratch[dtype] = np.empty(self.s.shape, dtype)
        return self.scratch[dtype]

    def row_of(self, value: float) -> HostArray:
        """A row of one number: NumPy compares with it several times faster than with a number."""
        if value not in self.scratch:
            self.scratch[value] = np.full((1, self.s.shape[-1]), value, self.s.dtype)
        return self.scratch[value]

    def outputs(self, layer: Layer, x: HostArray, xp: Namespace) -> HostArray:
        """Return Z = f(X W + b)."""
        weights, bias = cast(HostArray, layer.weights), cast(HostArray, layer.bias)
        if self.forward.adds:
            self.s[...] = bias
            self.forward(x, weights, self.s, 1.0)
        else:
            self.forward(x, weights, self.s)
            self.s += bias
        if self.in_place is None:
            self.z = cast(HostArray, layer.activation.function(self.s, xp))
        else:
            self.in_place[0](self)
        return self.z

    def times_slope(self, layer: Layer, xp: Namespace) -> None:
        """Turn dL/dZ into dL/dS, both in ds."""
        if self.in_place is None:
            self.ds *= cast(HostArray, layer.activation.derivative(self.s, self.z, xp))
        else:
            self.in_place[1](self)


# Activations on z = s in place, and their slopes on ds, from z alone.


def _relu(work: LayerWork) -> None:
    np.maximum(work.s, work.row_of(0.0), out=work.s)


def _relu_slope(work: LayerWork) -> None:
    work.ds *= np.greater(work.s, 0.0, out=work.like_s(bool))


def _sigmoid(work: LayerWork) -> None:
    s = work.s
    np.maximum(s, work.row_of(least_exponent(s, NUMPY)), out=s)
    np.negative(s, out=s)
    np.exp(s, out=s)
    s += 1.0
    np.reciprocal(s, out=s)


def _sigmoid_slope(work: LayerWork) -> None:
    slope = np.subtract(1.0, work.s, out=work.like_s(work.s.dtype))
    slope *= work.s
    work.ds *= slope


def _tanh(work: LayerWork) -> None:
    np.tanh(work.s, out=work.s)


def _tanh_slope(work: LayerWork) -> None:
    square = np.multiply(work.s, work.s, out=work.like_s(work.s.dtype))
    work.ds *= np.subtract(1.0, square, out=square)


def _nothing(work: LayerWork) -> None:
    pass


InPlace: TypeAlias = tuple[Callable[[LayerWork], None], Callable[[LayerWork], None]]
IN_PLACE: dict[Activation, InPlace] = {
    ACTIVATIONS["relu"]: (_relu, _relu_slope),
    ACTIVATIONS["sigmoid"]: (_sigmoid, _sigmoid_slope),
    ACTIVATIONS["tanh"]: (_tanh, _tanh_slope),
    ACTIVATIONS["identity"]: (_nothing, _nothing),
}


class Softmax:
    """Softmax and cross-entropy for labels: the loss, and its delta times a factor.

    The logits are transposed, (..., n, B), so that NumPy's loops run along the samples, of which
    there are more than classes.
    """

    def __init__(self, work: LayerWork) -> None:
        *members, rows, n = work.s.shape
        dtype = work.s.dtype
        self.t, self.hot, self.picked = (np.empty((*members, n, rows), dtype) for _ in range(3))
        self.total = np.empty((*members, 1, rows), dtype)
        self.classes: HostArray = np.arange(n)[:, None]
        self.most = float(np.finfo(dtype).max) / 4  # as in the loss itself

    def __call__(
        self, s: HostArray, y: HostArray, delta: HostArray, factor: float | HostArray
    ) -> HostArray:
        """Return the summed loss (...,) of logits s; ``delta`` becomes factor (softmax(s) - y)."""
        if self.classes.dtype != y.dtype:
            self.classes = self.classes.astype(y.dtype)
        t, hot, total = self.t, self.hot, self.total
        np.minimum(s.mT, self.most, out=t)
        np.maximum(t, -self.most, out=t)
        t -= np.maximum.reduce(t, axis=-2, keepdims=True, out=total)
        np.equal(y[..., None, :], self.classes, out=hot, casting="unsafe")
        picked = np.add.reduce(np.multiply(t, hot, out=self.picked), axis=(-2, -1))
        np.exp(t, out=t)
        np.add.reduce(t, axis=-2, keepdims=True, out=total)
        t /= total
        t -= hot
        t *= factor
        delta[...] = t.mT
        loss: HostArray = np.add.reduce(np.log(total, out=total), axis=(-2, -1)) - picked
        return loss


class BufferedStep:
    """A step in buffers; called as the definition's, see `arraymlp.steps.step`."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        product: Callable[..., Product],
    ) -> None:
        self.xp, self.reduction, self.product = network.backend.xp, reduction, product
        self.masks = masks_for(network)
        self.sgd = optimizer if type(optimizer) is SGD and not optimizer.nesterov else None
        elementwise = type(optimizer) in (SGD, Adam, AdamW, RMSProp)
        self.update = in_pieces(optimizer.update) if elementwise else optimizer.update
        self.works: dict[int, list[LayerWork]] = {}
        self.softmax: dict[int, Softmax] = {}
        self.gradients: list[Gradients] = []  # made when an optimiser asks for them
        self.biases = [np.empty_like(layer.bias) for layer in network.layers]

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step: forward, loss, backward, update."""
        if batch.rows not in self.works:
            self.works[batch.rows] = [
                LayerWork(layer, batch.rows, self.product) for layer in network.layers
            ]
        works = self.works[batch.rows]
        inputs, masks = self._forward(network, works, batch, hyper)
        folded = self.sgd is not None and hyper.gradient_clip is None
        rate: Constant
        momentum: Constant
        rate, momentum = hyper.optimizer if folded else (None, None)
        scale = -rate if folded else None
        loss = self._delta(network, works[-1], batch, hyper, scale)
        sums = LossSums(loss, batch.total, penalty(network, hyper, self.xp))
        if folded:
            l2 = penalty_factor(batch, hyper, self.reduction)
            decay_factor = 1.0 if hyper.decay_factor is None else hyper.decay_factor
            keep = decay_factor if l2 is None else decay_factor + scale * l2
        elif not self.gradients:
            self.gradients = [
                Gradients(np.empty_like(a.weights), b)
                for a, b in zip(network.layers, self.biases, strict=True)
            ]
        for i in reversed(range(len(works))):
            layer, work, x = network.layers[i], works[i], inputs[i]
            weights = cast(HostArray, layer.weights)
            if i > 0:
                before = works[i - 1]
                work.backward(work.ds, weights.mT, before.ds)
                if masks is not None and (mask := masks[i]) is not None:
                    before.ds *= mask
                before.times_slope(network.layers[i - 1], self.xp)
            change = np.matmul(work.ones, work.ds, out=self.biases[i])
            if not folded:
                work.gradient(x.mT, work.ds, cast(HostArray, self.gradients[i].weights))
                continue
            velocity, bias_velocity = states[i]
            if velocity is None:
                work.gradient(x.mT, work.ds, weights, keep)
                layer.bias += change
                continue
            work.gradient(x.mT, work.ds, velocity, momentum)
            if l2 is not None:
                velocity += (scale * l2) * layer.weights
            if hyper.decay_factor is not None:
                layer.weights *= decay_factor
            layer.weights += velocity
            bias_velocity *= momentum
            bias_velocity += change
            layer.bias += bias_velocity
        if folded:
            return states, sums
        states = updated(
            network, states, self.gradients, batch, hyper, self.update, self.reduction, self.xp
        )
        return states, sums

    def _forward(
        self,
        network: Network,
        works: list[LayerWork],
        batch: Minibatch,
        hyper: Hyper,
    ) -> tuple[list[HostArray], list[HostArray | None] | None]:
        """Each layer's inputs, as the masks left them, and the masks."""
        masks = cast(list[HostArray | None] | None, self.masks(network, batch.rows, hyper))
        x, inputs = cast(HostArray, batch.x), list[HostArray]()
        if masks is not None and masks[0] is not None and x.ndim > 2:
            x = cast(HostArray, repeat_groups(x, masks[0].shape[0], self.xp))
        for i, (layer, work) in enumerate(zip(network.layers, works, strict=True)):
            if masks is not None and (mask := masks[i]) is not None:
                x = x * mask
            inputs.append(x)
            x = work.outputs(layer, x, self.xp)
        return inputs, masks

    def _delta(
        self,
        network: Network,
        work: LayerWork,
        batch: Minibatch,
        hyper: Hyper,
        factor: Constant,
    ) -> Array:
        """Return the summed loss (...,); the last layer's ds becomes ``factor`` dL/ds."""
        labels = type(network.loss) is SoftmaxCrossEntropy and batch.y.dtype.kind in "iu"
        if labels and batch.weight is None and hyper.label_smoothing is None:
            if batch.rows not in self.softmax:
                self.softmax[batch.rows] = Softmax(work)
            share = 1 / batch.rows if self.reduction == "mean" else 1.0
            scale = share if factor is None else factor * share
            return self.softmax[batch.rows](work.z, cast(HostArray, batch.y), work.ds, scale)
        loss, delta = loss_and_delta(network, work.z, batch, hyper, self.reduction, self.xp)
        np.multiply(cast(HostArray, delta), 1.0 if factor is None else factor, out=work.ds)
        return loss


def in_pieces(update: Update) -> Update:
    """Return the same update of a parameter, done for a few rows at a time.

    Args:
        update: elementwise and in place.
    """

    def by_rows(
        parameter: Array, gradient: Array, state: State, constants: Constants, xp: Namespace
    ) -> tuple[Array, State]:
        n = parameter.shape[-2]
        rows = max(1, PIECE * n // cast(HostArray, parameter).size)
        for start in range(0, n, rows):

            def piece(a: Array, rows: slice = slice(start, start + rows)) -> Array:
                return a[..., rows, :]

            update(piece(parameter), piece(gradient), tree_map(piece, state), constants, xp)
        return parameter, state

    return by_rows
