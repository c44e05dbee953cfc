"""An ONNX graph, written by computing with its values as one does with arrays.

A `Value` is an array that a graph will compute, and every operation on it is a node. With the
functions of `arraymlp.exports.namespace`, the lines that define a network in this package run on
values as they do on any other arrays: what they compute is what the graph says.

The operators are those of ONNX's opset 13 (2020), which has not changed any of them since, and of
version 2 of its domain for machine learning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from arraymlp.backends.array import HostArray
from arraymlp.training.onnx_file import CONSTANT

OPSET, ML_OPSET, IR_VERSION = 13, 2, 8
ML, PRODUCER = "ai.onnx.ml", "arraymlp"
TYPES = {
    np.dtype("float32"): TensorProto.FLOAT,
    np.dtype("float64"): TensorProto.DOUBLE,
    np.dtype("int64"): TensorProto.INT64,
    np.dtype("bool"): TensorProto.BOOL,
    np.dtype("O"): TensorProto.STRING,
}
BATCH = "batch"  # the number of rows, which a graph does not know

Shape: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """An array that a graph will compute.

    Attributes:
        graph: the graph.
        name: its name there.
        shape: of the array; `BATCH` stands for the number of rows.
        dtype: of the array; texts are objects.
    """

    graph: "Graph"
    name: str
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def apply(self, operator: str, **attributes: Any) -> "Value":
        """f(x), element by element or along an axis, of the same shape and dtype."""
        return self.graph.node(operator, [self], self.shape, self.dtype, **attributes)

    def combined(self, operator: str, other: Any, dtype: Any = None) -> "Value":
        """The operator on this value and another one, or a number, each broadcast to the other."""
        other = self._beside(other)
        shape = broadcast(self.shape, other.shape)
        return self.graph.node(operator, [self, other], shape, dtype or self.dtype)

    def _beside(self, other: Any) -> "Value":
        """A number as a value of the same dtype."""
        if isinstance(other, Value):
            return other
        return self.graph.constant(np.asarray(other, self.dtype))

    def cast(self, dtype: Any) -> "Value":
        """The numbers in another dtype."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        return self.graph.node("Cast", [self], self.shape, dtype, to=TYPES[dtype])

    def take(self, indices: "Value | int", axis: int) -> "Value":
        """Entries along an axis, as ``numpy.take``."""
        if not isinstance(indices, Value):
            indices = self.graph.constant(np.asarray(indices, np.int64))
        axis %= self.ndim
        shape = (*self.shape[:axis], *indices.shape, *self.shape[axis + 1 :])
        return self.graph.node("Gather", [self, indices], shape, self.dtype, axis=axis)

    def __neg__(self) -> "Value":
        return self.apply("Neg")

    def __add__(self, other: Any) -> "Value":
        return self.combined("Add", other)

    def __radd__(self, other: Any) -> "Value":
        return self._beside(other) + self

    def __sub__(self, other: Any) -> "Value":
        return self.combined("Sub", other)

    def __rsub__(self, other: Any) -> "Value":
        return self._beside(other) - self

    def __mul__(self, other: Any) -> "Value":
        return self.combined("Mul", other)

    def __rmul__(self, other: Any) -> "Value":
        return self._beside(other) * self

    def __truediv__(self, other: Any) -> "Value":
        return self.combined("Div", other)

    def __rtruediv__(self, other: Any) -> "Value":
        return self._beside(other) / self

    def __pow__(self, other: Any) -> "Value":
        return self.combined("Pow", other)

    def __gt__(self, other: Any) -> "Value":
        return self.combined("Greater", other, np.dtype("bool"))


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of what is computed element by element of arrays of two shapes."""
    n = max(len(a), len(b))
    padded = [(1,) * (n - len(shape)) + shape for shape in (a, b)]
    return tuple(y if x == 1 else x for x, y in zip(*padded, strict=True))


class Graph:
    """The nodes of a graph, its inputs, initialisers and outputs.

    Attributes:
        nodes: in the order of the computation.
        initializers: the tensors of the model, and constants.
        tensors: those of the model by their names, as arrays.
        inputs: what the graph takes.
        outputs: what it gives.

    Args:
        unique: makes a name, not taken, of one that is wished for, where the graph is to be a part
            of another one; None where names are its own.
    """

    def __init__(self, unique: Callable[[str], str] | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.tensors: dict[str, HostArray] = {}
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self._part = unique is not None
        self._unique = unique or self._unused
        self._names: set[str] = set()
        self._constants: dict[object, Value] = {}

    def _unused(self, wish: str) -> str:
        number = len(self._names)
        name = f"{wish}.{number}"
        while name in self._names:
            number += 1
            name = f"{wish}.{number}"
        self._names.add(name)
        return name

    def input(self, name: str, dtype: Any, width: int) -> Value:
        """A table (N, width) that the graph takes."""
        self._names.add(name)
        value = Value(self, name, (BATCH, width), np.dtype(dtype))
        self.inputs.append(_info(value, name))
        return value

    def output(self, name: str, value: Value) -> None:
        """Give a value, by this name, or where an input has it by one with a line after it."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.nodes.append(helper.make_node("Identity", [value.name], [name]))
        self.outputs.append(_info(value, name))

    def tensor(self, name: str, array: HostArray) -> Value:
        """A tensor of the model, by its name in model files.

        Raises:
            ValueError: an input has the name.
        """
        if self._part:
            return self._initializer(self._unique(name), array)
        if name in self._names:
            raise ValueError(f"a column cannot be named {name!r}, as a tensor of the model is")
        self._names.add(name)
        self.tensors[name] = array
        return self._initializer(name, array)

    def constant(self, array: HostArray) -> Value:
        """An array that the computation needs; equal ones are kept once."""
        key = array.dtype, array.shape, array.tobytes() if array.dtype != object else (*array.flat,)
        if key not in self._constants:
            self._constants[key] = self._initializer(self._unique(CONSTANT), array)
        return self._constants[key]

    def _initializer(self, name: str, array: HostArray) -> Value:
        self.initializers.append(numpy_helper.from_array(array, name))
        return Value(self, name, array.shape, array.dtype)

    def node(
        self,
        operator: str,
        inputs: Sequence[Value],
        shape: Shape,
        dtype: Any,
        *,
        more: int = 0,
        **attributes: Any,
    ) -> Value:
        """What an operator gives, or the first of what it gives.

        Args:
            operator: its name in ONNX.
            inputs: what it takes.
            shape: of what it gives.
            dtype: of what it gives.
            more: how many other outputs it has.
            **attributes: the operator's own; and ``domain``.
        """
        names = [self._unique("values") for _ in range(1 + more)]
        node = helper.make_node(operator, [value.name for value in inputs], names, **attributes)
        self.nodes.append(node)
        return Value(self, names[0], shape, np.dtype(dtype))

    def to_model(self, properties: dict[str, str]) -> ModelProto:
        """The graph with all that makes it a file: versions, and properties by their keys."""
        graph = helper.make_graph(
            self.nodes, PRODUCER, self.inputs, self.outputs, self.initializers
        )
        domains = {"", *(node.domain for node in self.nodes)}  # some readers know the first alone
        versions = {"": OPSET, ML: ML_OPSET}
        opsets = [helper.make_opsetid(domain, versions[domain]) for domain in sorted(domains)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=PRODUCER
        )
        helper.set_model_props(model, properties)
        return model


def _info(value: Value, name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[value.dtype], value.shape)
