"""The kernels of ``dense.cuh`` as functions of arrays.

All arrays are contiguous by rows. An array that is written is of the network's dtype, or of uint16:
then it gets the results rounded to bfloat16, as its bits.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.engines.cuda.arrays import DeviceArray
from arraymlp.engines.cuda.source import Argument, Launches, blocks_of
from arraymlp.engines.numbers import ACTIVATION_NUMBERS
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import DropoutKey

THREADS = 256  # of a block, as in dense.cuh
BLOCKS = 8  # at most, for each multiprocessor; a thread computes several numbers then
PART = 32  # rows of a block, at most, in `activate` and `slopes`
STRIP = 512  # bytes of a row that a warp reads at once
MOST_STRIPS = 65_535  # blocks along z

# What the forward pass leaves for the slopes of the backward pass: dense.cuh's enumeration Left.
SUMS, OUTPUTS, ROUNDED, SLOPES = range(4)
IDENTITY = ACTIVATION_NUMBERS[ACTIVATIONS["identity"]]
# Activations f whose slope, by functions.h, is the same number with z = f(s) in the place of s; of
# the first three also with z times a positive number, or rounded to bfloat16, which has float32's
# exponents: only its sign counts.
BY_SIGN = {ACTIVATION_NUMBERS[ACTIVATIONS[name]] for name in ("identity", "relu", "leaky_relu")}
BY_OUTPUT = BY_SIGN | {ACTIVATION_NUMBERS[ACTIVATIONS[f]] for f in ("sigmoid", "tanh", "elu")}

Number: TypeAlias = type[np.floating[Any]]  # makes a number of the network's dtype


class DenseKernels:
    """Launches the kernels for the members of a network.

    Args:
        device: has the kernels of ``dense_float32.cu`` or ``dense_float64.cu``, as ``dtype`` is.
        members: K, the length of the arrays' leading axis; 1 where they have none.
        dtype: the network's.
    """

    def __init__(self, device: Launches, members: int, dtype: str) -> None:
        self.device, self.members = device, members
        self.number: Number = np.dtype(dtype).type

    def rounded(self, a: Array, out: Array) -> None:
        """Put bfloat16(a) into out, of a's shape."""
        size = cast(DeviceArray, a).size
        self._elementwise("rounded", size, 1, (a, out, np.int64(size)))

    def masked(self, a: Array, out: Array, key: DropoutKey | None) -> None:
        """Put a * mask into out (..., rows, units); a can also be (rows, units), or (G, ...)."""
        size = a.shape[-2] * a.shape[-1]
        groups = cast(DeviceArray, a).size // size
        sizes = np.uint32(size), np.uint32(self.members // groups)
        args = (a, *_full_or_rounded(out), *sizes, *self._mask(key))
        self._elementwise("masked", size, self.members, args)

    def activate(
        self, s: Array, bias: Array, out: Array, activation: int, key: DropoutKey | None = None
    ) -> None:
        """Put f(s + bias) * mask into out, which may be s; both (..., rows, n)."""
        rows, n = s.shape[-2:]
        sizes = np.uint32(rows), np.uint32(n), np.int32(activation)
        args = (s, bias, *_full_or_rounded(out), *sizes, *self._mask(key))
        self._by_columns("activate", rows, n, args)

    def slopes(
        self,
        ds: Array,
        out: Array,
        sums: Array,
        left: int,
        of_forward: Array,
        bias: Array,
        activation: int,
        key: DropoutKey | None,
    ) -> None:
        """Put dL/ds into out, from dL/dz in ds, which may be out.

        Args:
            ds: (..., rows, n).
            out: likewise.
            sums: gets the columns' sums of dL/ds over each of the `row_parts`, (..., parts, n).
            left: what there is of the forward pass: SUMS, OUTPUTS, ROUNDED or SLOPES.
            of_forward: that, (..., rows, n); of uint16 where it is ROUNDED.
            bias: b, (..., 1, n).
            activation: the number of f.
            key: that of the mask which f(s + b) was multiplied by.
        """
        rows, n = ds.shape[-2:]
        _, rounded = _full_or_rounded(out)
        sizes = np.uint32(rows), np.uint32(n), np.int32(left), np.int32(activation)
        arrays = (ds, *_full_or_rounded(of_forward), bias, rounded, sums)
        self._by_columns("slopes", rows, n, (*arrays, *sizes, *self._mask(key)))

    def softmax(
        self,
        s: Array,
        bias: Array,
        labels: Array,
        ds: Array,
        rounded_ds: Array | None,
        losses: Array,
        factor: float,
    ) -> None:
        """Put each row's cross-entropy into losses, and ``factor`` times its gradient into ds.

        Args:
            s: products without bias, (..., rows, n).
            bias: (..., 1, n).
            labels: (rows,), or (G, rows) for groups of neighbouring members.
            ds: (..., rows, n).
            rounded_ds: gets the same in bfloat16.
            losses: (..., rows, 1).
            factor: of the gradient.
        """
        rows, n = s.shape[-2:]
        sharing = self.members // (1 if labels.ndim == 1 else labels.shape[0])
        sizes = np.uint32(rows), np.uint32(n), np.uint32(sharing)
        args = (s, bias, labels, ds, rounded_ds, losses, *sizes, self.number(factor))
        self._by_rows("softmax", rows, args)

    def evaluate(
        self,
        s: Array,
        bias: Array,
        labels: Array,
        figures: tuple[Array, Array, Array],
        caps: tuple[float, float] | None,
    ) -> None:
        """Put each row's cross-entropy and whether its greatest logit is wrong into ``figures``.

        Args:
            s: products without bias, (..., rows, n).
            bias: (..., 1, n).
            labels: (rows,).
            figures: losses and wrong decisions (..., rows); and the number of rows that each class
                is chosen for is added to the third, (..., n).
            caps: the least and the greatest loss; None for no such bounds.
        """
        rows, n = s.shape[-2:]
        sizes = np.uint32(rows), np.uint32(n), np.uint32(self.members)
        least, most = map(self.number, caps or (0, 0))
        args = (s, bias, labels, *figures, *sizes, np.int32(caps is not None), least, most)
        self._by_rows("evaluate", rows, args)

    def update(
        self,
        arrays: Sequence[Argument],
        sizes: tuple[int, int],
        rule: int,
        constants: tuple[Argument, ...],
    ) -> None:
        """Do an optimiser's step of a layer.

        Args:
            arrays: weights (..., n_in, n_out), their gradient and state, two arrays or None; the
                same of the bias.
            sizes: the numbers of a member's weights and biases.
            rule: the optimiser's number.
            constants: the kernel's last arguments.
        """
        args = (*arrays, *map(np.int64, sizes), np.int32(rule), *constants)
        self._elementwise("update", sizes[0], self.members, args)

    def moved(
        self, weights: Array, velocity: Array, bias: Array, bias_velocity: Array, shrink: float
    ) -> None:
        """Multiply the weights by a number, and add the velocities to weights and bias."""
        n, biases = cast(DeviceArray, weights).size, cast(DeviceArray, bias).size
        sizes = np.int64(n), np.int64(biases), self.number(shrink)
        self._elementwise("moved", n, 1, (weights, velocity, bias, bias_velocity, *sizes))

    def _elementwise(self, name: str, size: int, members: int, args: tuple[Argument, ...]) -> None:
        """Launch a kernel for so many numbers of each member."""
        most = max(1, BLOCKS * self.device.processors // members)
        grid = (min(blocks_of(size, THREADS), most), members, 1)
        self.device.launch(name, grid, THREADS, args)

    def _by_columns(self, name: str, rows: int, n: int, args: tuple[Argument, ...]) -> None:
        """Launch a kernel whose blocks have parts of the rows and strips of the n columns."""
        strips = blocks_of(n * self.number().itemsize, STRIP)
        grid = (row_parts(rows), self.members, min(strips, MOST_STRIPS))
        self.device.launch(name, grid, THREADS, args)

    def _by_rows(self, name: str, rows: int, args: tuple[Argument, ...]) -> None:
        """Launch a kernel with a warp for each row."""
        grid = (blocks_of(rows, THREADS // 32), self.members, 1)
        self.device.launch(name, grid, THREADS, args)

    def _mask(self, key: DropoutKey | None) -> tuple[Argument, ...]:
        """The arguments for a mask: key, threshold and scale as numbers, or as arrays."""
        if key is None:
            return (np.int32(0), np.int32(0), np.int32(0), self.number(0), None, None, None)
        shared = [isinstance(value, int | float) for value in key]
        drawn, threshold, scale = (v if same else 0 for v, same in zip(key, shared, strict=True))
        arrays = (None if same else v for v, same in zip(key, shared, strict=True))
        numbers = np.int32(1), np.int32(drawn), np.int32(threshold), self.number(scale)
        return (*numbers, *arrays)


def row_parts(rows: int) -> int:
    """The number of parts of so many rows over which `DenseKernels.slopes` sums."""
    return blocks_of(rows, PART)


def _full_or_rounded(array: Array) -> tuple[Array | None, Array | None]:
    """The array as one argument of two, the second of which is for bfloat16."""
    return (None, array) if array.dtype == np.uint16 else (array, None)
