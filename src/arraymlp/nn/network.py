"""A network: layers in order, and a loss that says what the last one means.

It computes outputs and gradients on arrays, and knows nothing about data or training.
`arraymlp.MultilayerPerceptron` (in `arraymlp.training.model`) is a network that takes the user's
data, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from arraymlp._checks import as_tuple, merge, to_python
from arraymlp.backends.array import (
    Array,
    Device,
    HostArray,
    Namespace,
    array_namespace,
    dtype_name,
)
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of, resolve
from arraymlp.nn.activations import Activation, get_activation
from arraymlp.nn.initializers import Initializer, draw_layers, get_initializer
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.linalg import repeat_groups
from arraymlp.nn.losses import Loss, get_loss
from arraymlp.nn.scaling import Scaling, stacked, undone


class LayerCache(NamedTuple):
    """One layer's values of the forward pass, kept for the backward pass.

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


class Encoding(Protocol):
    """What makes features of a user's table: `arraymlp.data.encoding.encoding.TableEncoding`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table that it takes."""

    @property
    def width(self) -> int:
        """The number of features that it makes."""

    def transform(self, X: Any, dtype: str = "float32") -> HostArray:
        """The features (N, width) of a table of N rows."""


@dataclass
class Network:
    """Layers in order and a loss; with leading axes in the parameters, many networks at once.

    Attributes:
        layers: first to last. The last one's activation is the identity: its outputs are logits.
        loss: the loss, and with it the meaning of the logits.
        classes: the label of each output, ascending (both labels of a single output); None for
            regression and multi-label.
        inputs: what standardises the features that the first layer takes; None where it takes them
            as they are.
        outputs: what standardised the targets, of which the last layer gives the logits; the loss
            is then that of standardised targets.
        features: the names of the features, or of the columns that they are made of, where they
            had names.
        targets: the names of the targets, likewise.
        encoding: what makes features of the user's tables, or K of them, one a member; None where
            X has the features themselves.
    """

    layers: list[Layer]
    loss: Loss
    classes: HostArray | None = None
    inputs: Scaling | None = None
    outputs: Scaling | None = None
    features: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    encoding: Encoding | tuple[Encoding, ...] | None = None

    def __post_init__(self) -> None:
        self.loss = get_loss(self.loss)  # its name will do

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
        inputs: Scaling | None = None,
        outputs: Scaling | None = None,
        features: tuple[str, ...] | None = None,
        targets: tuple[str, ...] | None = None,
        encoding: Encoding | tuple[Encoding, ...] | None = None,
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
            inputs: what standardises the features; None for nothing.
            outputs: what standardised the targets, likewise.
            features: the features' names.
            targets: the targets' names.
            encoding: what makes the features; None for nothing.
            backend: where the parameters live, as for `resolve`.
            dtype: "float32" or "float64".

        Raises:
            ValueError: sizes, names or numbers of values that make no network.
            DeviceMemoryError: the parameters do not fit.
        """
        for size in sizes:
            if not isinstance(size, Integral) or size < 1:
                raise ValueError(f"layer sizes must be positive integers, not {size!r}")
        if len(sizes) < 2:
            raise ValueError(f"a network needs inputs and outputs, but sizes are {list(sizes)}")
        target = resolve(backend)
        activations = [*_hidden_activations(activation, len(sizes) - 2), get_activation("identity")]
        loss = get_loss(loss)
        rules = [
            [get_initializer(a.initializer if rule == "auto" else rule) for a in activations]
            for rule in as_tuple("initializer", to_python(initializer))
        ]
        with target.within_memory("Narrower layers, or fewer seeds at a time, need less."):
            layers = [
                Layer(target.asarray(w, dtype, copy=True), target.asarray(b, dtype, copy=True), a)
                for (w, b), a in zip(draw_layers(sizes, rules, seed), activations, strict=True)
            ]
        if classes is None and loss.classifies == "one":
            classes = np.arange(sizes[-1])
        network = cls(layers, loss, classes, inputs, outputs, features, targets, encoding)
        loss.require_fit(sizes[-1], network.members)
        return network

    def __repr__(self) -> str:
        members = f"{self.members} x " if self.members is not None else ""
        sizes = "-".join(str(n) for n in self.sizes)
        names = [layer.activation.name for layer in self.layers[:-1]] or ["linear"]
        shown = ", ".join(names if len(set(names)) > 1 else names[:1])
        return (
            f"<{type(self).__name__} {members}{sizes} {shown}, {self.loss.name}, "
            f"{self.dtype}, {self.backend}>"
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths n_0, n_1, ..., n_L from inputs to outputs."""
        return (self.layers[0].n_in, *(layer.n_out for layer in self.layers))

    @property
    def members(self) -> int | None:
        """Number K of networks in a population; None for one network."""
        leading = self.layers[0].weights.shape[:-2]
        return int(leading[0]) if leading else None

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases of one member."""
        return sum((layer.n_in + 1) * layer.n_out for layer in self.layers)

    @property
    def backend(self) -> Backend:
        """Library and device of the parameters."""
        return backend_of(self.layers[0].weights)

    @property
    def dtype(self) -> str:
        """Name of the parameters' dtype, "float32" or "float64"."""
        return dtype_name(self.layers[0].weights)

    def _map_parameters(self, change: Callable[[Array], Array]) -> Self:
        """The same network with every weight and bias array changed."""
        layers = [a.with_parameters(change(a.weights), change(a.bias)) for a in self.layers]
        return replace(self, layers=layers)

    def copy(self) -> Self:
        """A network with copied parameters on the same device."""
        backend = self.backend
        return self._map_parameters(lambda a: backend.asarray(a, copy=True))

    def to(self, backend: str | Backend, device: Device | None = None) -> Self:
        """A copy of the network on another backend, named as for `resolve`.

        Raises:
            ValueError: that backend lacks the parameters' dtype.
        """
        here, there = self.backend, resolve(backend, device)
        there.dtype(self.dtype)  # JAX without 64 bits would cut float64 short
        if here == there:
            return self.copy()
        return self._map_parameters(lambda a: there.asarray(here.to_numpy(a), copy=True))

    def select_members(self, members: Sequence[int]) -> Self:
        """A population of the members with these numbers, copied."""
        xp, backend = self.backend.xp, self.backend
        numbers = backend.asarray(np.asarray(members))
        selected = self._map_parameters(lambda a: xp.take(a, numbers, axis=0))
        return selected._of_members(members)

    def slice_members(self, start: int, stop: int) -> Self:
        """A population of the members from start to stop - 1, whose parameters are views."""
        sliced = self._map_parameters(lambda a: a[start:stop, ...])
        return sliced._of_members(range(start, stop))

    def _of_members(self, members: Sequence[int]) -> Self:
        """The same parameters with these members' loss, scalings and encodings."""
        encoding = self.encoding
        if isinstance(encoding, tuple):
            encoding = tuple(encoding[k] for k in members)
        return replace(
            self,
            encoding=encoding,
            loss=self.loss.select_members(members),
            inputs=self.inputs and self.inputs.select_members(members),
            outputs=self.outputs and self.outputs.select_members(members),
        )

    @classmethod
    def stacked(cls, networks: Sequence["Network"]) -> Self:
        """A population of networks alike in sizes, activations, dtype, device and kind of loss.

        Its parameters are copies with a leading axis; layers and classes are the first network's,
        names of features and targets the first ones that there are.
        """
        xp = networks[0].backend.xp
        layers = []
        for same_layer in zip(*(network.layers for network in networks), strict=True):
            weights = xp.stack([layer.weights for layer in same_layer])
            bias = xp.stack([layer.bias for layer in same_layer])
            layers.append(same_layer[0].with_parameters(weights, bias))
        return cls(
            layers,
            merge([n.loss for n in networks]),
            networks[0].classes,
            stacked([n.inputs for n in networks]),
            stacked([n.outputs for n in networks]),
            next((n.features for n in networks if n.features), None),
            next((n.targets for n in networks if n.targets), None),
            _shared([n.encoding for n in networks]),
        )

    def member(self, k: int) -> Self:
        """A copy of member k of a population; negative k counts from the end.

        Raises:
            IndexError: there is no such member.
        """
        if self.members is None or not -self.members <= k < self.members:
            raise IndexError(f"no member {k} in {self!r}")
        k %= self.members
        backend = self.backend
        alone = self._map_parameters(lambda a: backend.asarray(a[k, ...], copy=True))
        encoding = self.encoding[k] if isinstance(self.encoding, tuple) else self.encoding
        return replace(
            alone,
            encoding=encoding,
            features=self.features if encoding is None else encoding.names,
            loss=self.loss.member(k),
            inputs=self.inputs and self.inputs.member(k),
            outputs=self.outputs and self.outputs.member(k),
        )

    def forward(
        self, x: Array, xp: Namespace | None = None, masks: Sequence[Array | None] | None = None
    ) -> list[LayerCache]:
        """Run a minibatch through all layers; the last cache's ``z`` are the logits.

        Features and logits are standardised, where ``inputs`` and ``outputs`` say so.

        Args:
            x: inputs (..., B, n_inputs) on the network's device; or (G, B, n_inputs), each of the G
                for K / G neighbouring members.
            xp: the namespace of the arrays; None to find it from x.
            masks: for each layer the factors on its inputs (dropout), or None.

        Returns:
            Each layer's inputs x, weighted sums s, outputs z and mask, first to last.
        """
        xp = xp or array_namespace(x)
        caches = []
        if masks is not None and masks[0] is not None and x.ndim > 2:
            x = repeat_groups(x, int(masks[0].shape[0]), xp)
        for layer, mask in zip(self.layers, masks or [None] * len(self.layers), strict=True):
            if mask is not None:
                x = x * mask
            s, z = layer.forward(x, xp)
            caches.append(LayerCache(x, s, z, mask))
            x = z
        return caches

    def backward(
        self, caches: list[LayerCache], delta: Array, xp: Namespace | None = None
    ) -> list[Gradients]:
        """Send dL/dlogits (..., B, n_outputs) back through all layers: backpropagation.

        Args:
            caches: as `forward` returned them.
            delta: the loss's derivative with respect to the logits, as the loss gives it.
            xp: the namespace of the arrays; None to find it from delta.

        Returns:
            Each layer's gradients dL/dW and dL/db, first to last, summed over the minibatch.
        """
        xp = xp or array_namespace(delta)
        gradients = []
        dz = delta
        for i in reversed(range(len(self.layers))):
            layer, (x, s, z, mask) = self.layers[i], caches[i]
            ds = layer.backward_activation(s, z, dz, xp)
            gradients.append(layer.backward_parameters(x, ds, xp))
            if i > 0:  # the gradient of the data is not needed, and is the largest product
                dz = layer.backward_input(ds, xp)
                if mask is not None:
                    dz *= mask
        return gradients[::-1]

    def choices(self, s: Array, xp: Namespace) -> Array:
        """The decisions of logits, int32: positions in ``classes`` (..., N), or columns of 0, 1."""
        if self.loss.classifies == "one":
            return xp.astype(xp.argmax(s, axis=-1), xp.int32)
        columns = xp.astype(s > 0, xp.int32)
        return columns if self.classes is None else columns[..., 0]

    def numbers(self, s: Array, xp: Namespace) -> Array:
        """The predicted numbers of logits (..., n_outputs) of regression, axes of length 1 dropped.

        They are in the targets' own units, of shape (..., n_targets, outputs_per_target).
        """
        per_target = self.loss.outputs_per_target
        y = self.loss.output(undone(self.outputs, s), xp)
        shape = [n for n in (s.shape[-1] // per_target, per_target) if n > 1]
        return xp.reshape(y, (*s.shape[:-1], *shape))


def _shared(encodings: Sequence[Any]) -> Any:
    """The encoding that all members have, or each one's."""
    first = encodings[0]
    return first if all(one == first for one in encodings) else tuple(encodings)


def _hidden_activations(
    activation: str | Activation | Sequence[str | Activation], n: int
) -> list[Activation]:
    """The activation of each of n hidden layers."""
    if isinstance(activation, str) or not isinstance(activation, Sequence):
        return [get_activation(activation)] * n
    if len(activation) != n:
        raise ValueError(
            f"activation has {len(activation)} values, but there are {n} hidden layers"
        )
    return [get_activation(a) for a in activation]
