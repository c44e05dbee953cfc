"""The multilayer perceptron: layers in order, and a loss that says what the last one means.

It computes outputs and gradients and knows nothing about training.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np

from arraymlp._checks import joined, plain, values
from arraymlp.activations import Activation
from arraymlp.activations import activation as find_activation
from arraymlp.backend import (
    Array,
    Backend,
    HostArray,
    array_namespace,
    backend_of,
    is_device_array,
    resolve,
)
from arraymlp.batching import BYTES_AT_ONCE, ROWS_AT_ONCE, blocks
from arraymlp.initializers import Initializer, draw_layers
from arraymlp.initializers import initializer as find_initializer
from arraymlp.inputs import class_numbers, features
from arraymlp.layer import Gradients, Layer, of_each_member
from arraymlp.losses import Loss
from arraymlp.losses import loss as find_loss
from arraymlp.stream import is_sparse, stream
from arraymlp.threads import blas_threads, in_threads


class Pass(NamedTuple):
    """What one layer saw on the way forward, kept for the way back.

    Attributes:
        x: its inputs (..., B, n_in), as the mask left them.
        s: its weighted sums (..., B, n_out).
        z: its outputs f(s), the next layer's x before its mask.
        mask: the factors on its inputs, of the shape of x; None for none.
    """

    x: Array
    s: Array
    z: Array
    mask: Array | None = None


@dataclass
class MultilayerPerceptron:
    """Layers in order and a loss; with leading axes in the parameters, many networks at once.

    Attributes:
        layers: first to last. The last one's activation is the identity: its outputs are logits.
        loss: the loss, and with it the meaning of the logits.
        classes: the label that each output stands for, ascending (the two labels of a single
            output); None for regression and multi-label.
    """

    layers: list[Layer]
    loss: Loss
    classes: HostArray | None = None

    @classmethod
    def create(
        cls,
        sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        loss: str | Loss = "softmax_cross_entropy",
        initializer: str | Initializer | Sequence[str | Initializer] = "auto",
        seed: int | Sequence[int] = 0,
        classes: HostArray | None = None,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
    ) -> Self:
        """Draw a new network: widths n_0, n_1, ..., n_L from inputs to outputs.

        Args:
            sizes: the widths, all positive; at least two.
            activation: of the hidden layers; or a sequence, one for each of them.
            loss: the loss on the logits; K members may have K values of its parameters.
            initializer: of every layer; "auto" is He's for relu and its relatives, Glorot's
                for the others and for the last layer. K members may have one each.
            seed: of the initial values; K seeds make a population of K members.
            classes: the labels of the outputs; None for regression, or for labels 0, 1, ...
            backend: where the parameters live, as for `resolve`.
            dtype: "float32" or "float64".
        """
        for size in sizes:
            if not isinstance(size, Integral) or size < 1:
                raise ValueError(f"layer sizes must be positive integers, not {size!r}")
        if len(sizes) < 2:
            raise ValueError(f"a network needs inputs and outputs, but sizes are {list(sizes)}")
        place = resolve(backend)
        functions = [*_hidden(activation, len(sizes) - 2), find_activation("identity")]
        chosen = find_loss(loss)
        rules = [
            [find_initializer(f.initializer if given == "auto" else given) for f in functions]
            for given in values("initializer", plain(initializer))
        ]
        with place.within_memory("Narrower layers, or fewer seeds at a time, need less."):
            layers = [
                Layer(place.asarray(w, dtype, copy=True), place.asarray(b, dtype, copy=True), f)
                for (w, b), f in zip(draw_layers(sizes, rules, seed), functions, strict=True)
            ]
        if classes is None and chosen.classifies == "one":
            classes = class_numbers(sizes[-1])
        network = cls(layers, chosen, classes)
        chosen.require_fit(sizes[-1], network.members)
        return network

    def __repr__(self) -> str:
        members = f"{self.members} x " if self.members is not None else ""
        sizes = "-".join(str(n) for n in self.sizes)
        names = [layer.activation.name for layer in self.layers[:-1]] or ["linear"]
        shown = ", ".join(names if len(set(names)) > 1 else names[:1])
        return (
            f"<MultilayerPerceptron {members}{sizes} {shown}, {self.loss.name}, "
            f"{self.dtype}, {self.backend}>"
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from inputs to outputs."""
        return (self.layers[0].n_in, *(layer.n_out for layer in self.layers))

    @property
    def members(self) -> int | None:
        """K for a population, None for one network."""
        leading = self.layers[0].weights.shape[:-2]
        return int(leading[0]) if leading else None

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases of one member."""
        return sum((layer.n_in + 1) * layer.n_out for layer in self.layers)

    @property
    def backend(self) -> Backend:
        """Where the parameters live."""
        return backend_of(self.layers[0].weights)

    @property
    def dtype(self) -> str:
        """Name of the parameters' dtype: "float32" or "float64"."""
        return str(self.layers[0].weights.dtype).rpartition(".")[2]

    @property
    def rows_at_once(self) -> int:
        """How many rows to run through the network together where no minibatch says it.

        On a CPU as many as leave its cache room, and always the same; on a GPU as many as keep all
        members' values within a budget: each unit's sum and output, and as much in between.
        """
        if not self.backend.is_accelerator:
            return ROWS_AT_ONCE
        units = (self.members or 1) * sum(self.sizes[1:])
        return max(1, BYTES_AT_ONCE // (3 * units * np.dtype(self.dtype).itemsize))

    def _with_parameters(self, change: Callable[[Array], Array]) -> Self:
        layers = [Layer(change(a.weights), change(a.bias), a.activation) for a in self.layers]
        return type(self)(layers, self.loss, self.classes)

    def copy(self) -> Self:
        """A network with copied parameters on the same device."""
        backend = self.backend
        return self._with_parameters(lambda a: backend.asarray(a, copy=True))

    def to(self, backend: str | Backend, device: Any = None) -> Self:
        """A copy of the network on another backend, named as for `resolve`.

        Raises:
            ValueError: that backend has not the parameters' dtype.
        """
        here, there = self.backend, resolve(backend, device)
        there.dtype(self.dtype)  # JAX without 64 bits would cut float64 short
        if here == there:
            return self.copy()
        return self._with_parameters(lambda a: there.asarray(here.to_numpy(a), copy=True))

    def some(self, members: Sequence[int]) -> Self:
        """A population of these members, copied."""
        xp, backend = self.backend.xp, self.backend
        numbers = backend.asarray(np.asarray(members))
        chosen = self._with_parameters(lambda a: xp.take(a, numbers, axis=0))
        return replace(chosen, loss=self.loss.some(members))

    def between(self, start: int, stop: int) -> Self:
        """A population of neighbouring members, whose parameters are views of these."""
        chosen = self._with_parameters(lambda a: a[start:stop, ...])
        return replace(chosen, loss=self.loss.some(range(start, stop)))

    @classmethod
    def stacked(cls, networks: Sequence["MultilayerPerceptron"]) -> "MultilayerPerceptron":
        """A population of networks alike in sizes, activations, dtype, device and kind of loss.

        Its parameters are copies, with a leading axis. The first network's classes are all's.
        """
        first, xp = networks[0], networks[0].backend.xp

        def together(arrays: Iterable[Array]) -> Array:
            return xp.stack(list(arrays))

        layers = [
            Layer(together(a.weights for a in each), together(a.bias for a in each), f.activation)
            for f, *each in zip(first.layers, *(n.layers for n in networks), strict=True)
        ]
        return cls(layers, joined([n.loss for n in networks]), first.classes)

    def member(self, k: int) -> Self:
        """A copy of one network out of a population."""
        if self.members is None or not -self.members <= k < self.members:
            raise IndexError(f"no member {k} in {self!r}")
        k %= self.members
        backend = self.backend
        alone = self._with_parameters(lambda a: backend.asarray(a[k, ...], copy=True))
        return replace(alone, loss=self.loss.member(k))

    def forward(
        self, x: Array, xp: Any = None, masks: Sequence[Array | None] | None = None
    ) -> list[Pass]:
        """Run a minibatch through all layers; the last pass's ``z`` are the logits.

        Args:
            x: inputs (..., B, n_inputs) on the network's device; or (G, B, n_inputs), each of them
                for K / G neighbouring members.
            xp: their namespace, where the caller has it at hand.
            masks: for each layer the factors on its inputs (dropout), or None.
        """
        xp = xp or array_namespace(x)
        passes = []
        if masks is not None and masks[0] is not None and x.ndim > 2:
            x = of_each_member(x, int(masks[0].shape[0]), xp)
        for layer, mask in zip(self.layers, masks or [None] * len(self.layers), strict=True):
            if mask is not None:
                x = x * mask
            s, z = layer.forward(x, xp)
            passes.append(Pass(x, s, z, mask))
            x = z
        return passes

    def backward(self, passes: list[Pass], delta: Array, xp: Any = None) -> list[Gradients]:
        """Send dL/dlogits (..., B, n_outputs) back through all layers: backpropagation.

        Returns:
            Each layer's gradients, first to last, summed over the minibatch.
        """
        xp = xp or array_namespace(delta)
        gradients = []
        dz = delta
        for i in reversed(range(len(self.layers))):
            layer, (x, s, z, mask) = self.layers[i], passes[i]
            ds = layer.backward_activation(s, z, dz, xp)
            gradients.append(layer.backward_parameters(x, ds, xp))
            if i > 0:  # nobody asks for the gradient of the data, and it is the widest product
                dz = layer.backward_input(ds, xp)
                if mask is not None:
                    dz *= mask
        return gradients[::-1]

    def logits(self, X: Any) -> Array:
        """The last layer's weighted sums (..., N, n_outputs) for X (N, n_inputs).

        Host data goes to the network's device and the result comes back; a device array must be
        on the network's device, and the result stays there.

        Raises:
            ValueError: X is not 2-D, numeric, finite, of the right width, or on another device.
        """
        return self._apply(X, lambda s, xp: s)

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class (..., N, n_classes); of each column for multi-label.

        Raises:
            ValueError: the network was trained for regression, or as in `logits`.
        """
        if self.loss.classifies == "no":
            raise ValueError(f"a network trained on {self.loss.name} predicts no probabilities")

        def probabilities(s: Array, xp: Any) -> Array:
            p = self.loss.output(s, xp)
            if self.classes is not None and p.shape[-1] == 1:
                p = xp.concat([1 - p, p], axis=-1)
            return p

        return self._apply(X, probabilities)

    def predict(self, X: Any) -> Array:
        """The most probable label of each sample (..., N); columns of 0 and 1 for multi-label.

        For regression the outputs themselves, (..., N), or (..., N, T) for T > 1 targets: with
        poisson the rates e^s, with several quantiles an ascending last axis more, (..., N, Q) or
        (..., N, T, Q).

        Raises:
            ValueError: as in `logits`.
        """
        if self.loss.classifies == "no":
            return self._apply(X, self._numbers)
        chosen = self._apply(X, self.choices)
        if self.classes is None:
            return chosen
        if not is_device_array(chosen):
            return self.classes[chosen]
        backend = self.backend
        with backend.active():
            labels = self.device_classes()
            flat = backend.xp.take(labels, backend.xp.reshape(chosen, (-1,)), axis=0)
            return backend.xp.reshape(flat, chosen.shape)

    def _numbers(self, s: Array, xp: Any) -> Array:
        """What logits (..., n_outputs) of regression stand for, without axes of length 1."""
        y, each = self.loss.output(s, xp), self.loss.outputs_per_target
        shape = [n for n in (s.shape[-1] // each, each) if n > 1]
        return xp.reshape(y, (*s.shape[:-1], *shape))

    def device_classes(self) -> Array:
        """The classes on the device, in its widest integers: JAX without x64 has int32 alone."""
        backend, classes = self.backend, self.classes
        assert classes is not None
        wide = backend.has("int64")
        if not wide and classes[-1] >= 2**31:
            raise ValueError(
                f"labels such as {classes[-1]} do not fit the integers of {backend}: pass host "
                "(NumPy) data to get them on the host"
            )
        return backend.asarray(classes.astype("int64" if wide else "int32"))

    def choices(self, s: Array, xp: Any) -> Array:
        """Logits as decisions, int32: positions in ``classes`` (..., N), or columns of 0 and 1."""
        if self.loss.classifies == "one":
            return xp.astype(xp.argmax(s, axis=-1), xp.int32)
        columns = xp.astype(s > 0, xp.int32)
        return columns if self.classes is None else columns[..., 0]

    def _apply(self, X: Any, output: Callable[[Array, Any], Array]) -> Array:
        """Rows in, rows out, some at a time: the hidden layers' values stay small."""
        backend, at_once = self.backend, self.rows_at_once
        xp = backend.xp
        on_host = not is_device_array(X)
        with backend.within_memory("Fewer rows at a time need less."):
            if is_sparse(X):
                sparse = stream(X, self.dtype, n_features=self.sizes[0])
                inputs = (x for _, x in sparse.dense_blocks(backend, at_once))
            else:
                x = features(X, backend, self.dtype, n_features=self.sizes[0])
                inputs = (x[some, :] for some in blocks(x.shape[0], at_once))
            several = not is_sparse(X) and x.shape[0] > at_once
            with blas_threads(backend.name, 0) if several else nullcontext(1) as t:
                parts = in_threads(lambda x: output(self.forward(x, xp)[-1].z, xp), inputs, t)
                axis = 0 if self.members is None else 1
                result = parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)
        if not on_host:
            return result
        found = backend.to_numpy(result)
        return found if found.flags.writeable else found.copy()  # JAX's are read-only


def _hidden(given: Any, n: int) -> list[Activation]:
    """The activation of each of n hidden layers."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [find_activation(given)] * n
    if len(given) != n:
        raise ValueError(f"activation has {len(given)} values, but there are {n} hidden layers")
    return [find_activation(a) for a in given]
