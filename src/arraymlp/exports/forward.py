"""The forward pass of a network as a graph: its own lines, on the graph's values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp.exports.graph import Value
from arraymlp.exports.namespace import xp
from arraymlp.nn.activations import Activation
from arraymlp.training.model import MultilayerPerceptron

# Where ONNX has the very operator; the other activations are computed by their own lines.
OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


class GraphNetwork:
    """A network whose parameters are values of a graph, and so is what it gives.

    A population's predictions have its members on a leading axis: in shapes, (...) is (K,) for one,
    and () for a network.

    Args:
        network: one network, or a population.
        tensors: the values of its tensors, by the names that files have for them.
    """

    def __init__(self, network: MultilayerPerceptron, tensors: Mapping[str, Value]) -> None:
        parameters: Any = tensors  # values are arrays, as far as the forward pass goes
        layers = [
            replace(
                layer,
                weights=parameters[f"layers.{i}.weights"],
                bias=parameters[f"layers.{i}.bias"],
                activation=_on_values(layer.activation),
            )
            for i, layer in enumerate(network.layers)
        ]
        self.network: Any = replace(network, layers=layers)
        self.dtype = np.dtype(network.dtype)
        self.tensors = tensors

    def logits(self, x: Value) -> Value:
        """The last layer's weighted sums (..., N, n_outputs), of features (N, n_inputs)."""
        if self.network.inputs is not None:  # in float64: see `arraymlp.nn.scaling`
            mean, scale = self._scaling("inputs", x.shape[-1:])
            x = (x.cast("float64") - mean) / scale
        s: Value = self.network.forward(x.cast(self.dtype), xp)[-1].z
        return s

    def probabilities(self, s: Value) -> Value:
        """Those of each class or label (..., N, n_classes), of logits."""
        if self.network.loss.classifies == "one":
            return s.apply("Softmax", axis=-1)
        p = s.apply("Sigmoid")
        return p if self.network.classes is None else xp.concat([1 - p, p], axis=-1)

    def choices(self, s: Value) -> Value:
        """The decisions of logits: positions of classes (..., N), or columns of 0 and 1."""
        if self.network.loss.classifies == "one":
            return xp.argmax(s, axis=-1)
        columns = (s > 0).cast("int64")
        return columns if self.network.classes is None else columns.take(0, axis=-1)

    def numbers(self, s: Value) -> Value:
        """The predicted numbers of logits of regression (..., N, n_targets).

        With several quantiles they have an axis more, (..., N, n_targets, n_quantiles).
        """
        loss = self.network.loss
        q = loss.outputs_per_target
        n_targets = int(s.shape[-1]) // q
        each = () if q == 1 else (1,)
        if q > 1:
            s = xp.reshape(s, (*s.shape[:-1], n_targets, q))
        if self.network.outputs is not None:
            mean, scale = self._scaling("outputs", (n_targets, *each))
            s = s * scale.cast(self.dtype) + mean.cast(self.dtype)
        y: Value = loss.output(s, xp)
        return y

    def _scaling(self, name: str, columns: tuple[int | str, ...]) -> tuple[Value, Value]:
        """Mean and scale, (*columns) or (K, 1, *columns), to stand beside (..., N, *columns)."""
        mean, scale = self.tensors[f"{name}.mean"], self.tensors[f"{name}.scale"]
        members = (mean.shape[0], 1) if mean.ndim == 2 else ()
        return xp.reshape(mean, (*members, *columns)), xp.reshape(scale, (*members, *columns))


def _on_values(activation: Activation) -> Activation:
    """The activation, as the operator that ONNX has for it where it has one."""
    if activation.name not in OPERATORS:
        return activation

    def function(s: Any, xp: Any) -> Any:
        return s.apply(OPERATORS[activation.name])

    return replace(activation, function=function)
