"""The functions of the array API that a network's forward pass needs, for values of a graph."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from arraymlp.exports.graph import BATCH, Value, broadcast


class ValuesNamespace:
    """The namespace ``xp`` of values."""

    finfo = staticmethod(np.finfo)

    def matmul(self, a: Value, b: Value) -> Value:
        """A B over the last two axes."""
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return a.graph.node("MatMul", [a, b], shape, a.dtype)

    def exp(self, a: Value) -> Value:
        """e^a."""
        return a.apply("Exp")

    def expm1(self, a: Value) -> Value:
        """e^a - 1, as far as ONNX has it: off by the rounding of 1, but no more."""
        return a.apply("Exp") - 1.0

    def log1p(self, a: Value) -> Value:
        """The logarithm of 1 + a, likewise."""
        return (a + 1.0).apply("Log")

    def tanh(self, a: Value) -> Value:
        """The hyperbolic tangent."""
        return a.apply("Tanh")

    def sqrt(self, a: Value) -> Value:
        """The square root."""
        return a.apply("Sqrt")

    def abs(self, a: Value) -> Value:
        """The absolute value."""
        return a.apply("Abs")

    def maximum(self, a: Value, b: Any) -> Value:
        """The larger one of each two."""
        return a.combined("Max", b)

    def minimum(self, a: Value, b: Any) -> Value:
        """The smaller one of each two."""
        return a.combined("Min", b)

    def isnan(self, a: Value) -> Value:
        """Whether each is NaN."""
        return a.graph.node("IsNaN", [a], a.shape, np.bool)

    def equal(self, a: Value, b: Any) -> Value:
        """Whether each two are the same."""
        return a.combined("Equal", b, np.bool)

    def where(self, condition: Value, a: Any, b: Value) -> Value:
        """A where a condition holds, else b."""
        number = b.graph.constant(np.asarray(a, b.dtype))
        return b.graph.node("Where", [condition, number, b], b.shape, b.dtype)

    def sum(self, a: Value, axis: int) -> Value:
        """The sum over an axis."""
        axes = a.graph.constant(np.asarray([axis], np.int64))
        axis %= a.ndim
        shape = a.shape[:axis] + a.shape[axis + 1 :]
        return a.graph.node("ReduceSum", [a, axes], shape, a.dtype, keepdims=0)

    def argmax(self, a: Value, axis: int) -> Value:
        """The places (N,) of the largest of n numbers (N, n); of equal ones, of the first."""
        places = a.graph.node("ArgMax", [a], a.shape[:1], np.int64, axis=axis, keepdims=0)
        # onnxruntime 1.19 gives (0, n) of no rows.
        flat = a.graph.constant(np.asarray([-1], np.int64))
        return a.graph.node("Reshape", [places, flat], places.shape, np.int64)

    def sort(self, a: Value, axis: int) -> Value:
        """The numbers of the last axis in ascending order."""
        # TopK of no rows ends the process of onnxruntime before 1.32, so there is one more.
        rows = a.shape.index(BATCH)
        row = np.zeros([1 if n == BATCH else int(n) for n in a.shape], a.dtype)
        more = a.graph.node("Concat", [a, a.graph.constant(row)], a.shape, a.dtype, axis=rows)
        k = a.graph.constant(np.asarray([a.shape[-1]], np.int64))
        how = {"axis": axis, "largest": 0, "sorted": 1}
        ordered = a.graph.node("TopK", [more, k], a.shape, a.dtype, more=1, **how)
        ends = [a.graph.constant(np.asarray([n], np.int64)) for n in (0, -1, rows)]
        return a.graph.node("Slice", [ordered, *ends], a.shape, a.dtype)

    def reshape(self, a: Value, shape: Sequence[int | str]) -> Value:
        """The same numbers in another shape, of which one axis may be -1; rows stay rows."""
        known = [n for n in shape if isinstance(n, int) and n != -1]
        rest = prod(n for n in a.shape if isinstance(n, int)) // prod(known)
        target = tuple(rest if n == -1 else n for n in shape)
        if target == a.shape:
            return a
        # In ONNX 0 stands for the length that the axis had.
        axes = a.graph.constant(
            np.asarray([n if isinstance(n, int) else 0 for n in target], np.int64)
        )
        return a.graph.node("Reshape", [a, axes], target, a.dtype)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """The values one after the other along an axis."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        axis %= first.ndim
        length = sum(int(value.shape[axis]) for value in values)
        shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
        return first.graph.node("Concat", values, shape, first.dtype, axis=axis)

    def pad(self, a: Value, n: int) -> Value:
        """A table (N, m) with n columns of zeros after its own."""
        pads = a.graph.constant(np.asarray([0, 0, 0, n], np.int64))
        return a.graph.node("Pad", [a, pads], (a.shape[0], int(a.shape[1]) + n), a.dtype)


xp = ValuesNamespace()
