"""The algorithm of ``fused.cu`` in NumPy, block by block, to be read before the kernels.

It is launched with the same arguments, and reads and writes the arrays by their addresses. Threads
and shared memory are left to NumPy; how a step is cut into blocks, in which order a block adds up,
what it masks, scales, updates and leaves to the next kernel is as on a GPU.
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from arraymlp.engines.cuda.fused import BINARY, LOSS_NUMBERS, SOFTMAX
from arraymlp.engines.cuda.three_kernels import TILES, Tile, together
from arraymlp.engines.numbers import (
    ACTIVATION_NUMBERS,
    ADAM,
    CONSTANTS,
    MOMENTUM,
    NESTEROV,
    PLAIN_SGD,
    RMSPROP,
)
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import hash32
from arraymlp.nn.losses import LOSSES, one_hot

FUNCTIONS = {number: activation for activation, number in ACTIVATION_NUMBERS.items()}
NAMES = {numbers: name for name, numbers in LOSS_NUMBERS.items()}
TILES_BY_NAME = {tile.name: tile for tile in TILES}
Block = tuple[int, int, int]


class NumpyKernels:
    """`arraymlp.engines.cuda.source.Launches`, in NumPy."""

    processors, shared_memory, compute_capability = 132, 227 * 1024, 9.0

    def __init__(self) -> None:
        self.launched: list[str] = []

    def prepare(self, names: Iterable[str]) -> None:
        """Nothing: there is nothing to compile."""

    def launch(
        self,
        name: str,
        grid: Block,
        threads: int,
        args: Sequence[Any],
        shared: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Run all blocks, one after the other."""
        assert not cooperative
        self.launched.append(name)
        kernel, _, size = name.rpartition("_")
        plan, step = Plan(args[0]), int(args[1])
        for z, y, x in np.ndindex(grid[::-1]):
            if kernel in ("rows", "rows_staged"):  # in another memory the same weights
                rows(plan, step, (x, y, z), grid, int(size))
            else:
                blocks = {"first_layer": first_layer, "gradients": gradients}[kernel]
                blocks(plan, step, (x, y, z), TILES_BY_NAME[size])

    def address(self, array: Any) -> int:
        """The address of the array's first number."""
        assert array.flags.c_contiguous
        return int(array.ctypes.data)


def at(address: int, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """The array of this shape at an address."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_char * n).from_address(int(address))
    return np.frombuffer(memory, dtype).reshape(shape)


class Layer:
    """One of the plan's layers, its arrays by name: (K, n_in, n_out), (K, B, n_out) and so on."""

    def __init__(self, struct: Any, k: int, b: int) -> None:
        self.n_in, self.n_out = int(struct["n_in"]), int(struct["n_out"])
        self.tile, self.dropped = int(struct["tile"]), bool(struct["dropped"])
        self.activation = FUNCTIONS[int(struct["activation"])]
        weights, bias, outputs = (k, self.n_in, self.n_out), (k, self.n_out), (k, b, self.n_out)
        shapes = {"weights": weights, "weights_1": weights, "weights_2": weights, "bias": bias}
        shapes |= {"bias_1": bias, "bias_2": bias, "z": outputs, "ds": outputs}
        self.arrays = {name: at(struct[name], s) for name, s in shapes.items() if struct[name]}


class Plan:
    """The struct that the kernels are given, as arrays."""

    def __init__(self, struct: Any) -> None:
        self.s = struct
        self.k, self.b = int(struct["members"]), int(struct["batch"])
        self.layers = [
            Layer(layer, self.k, self.b) for layer in struct["layers"][: int(struct["n_layers"])]
        ]

    def table(self, name: str, step: int, member: int, shape: tuple[int, ...], of: int) -> Any:
        """A step's row of a table, or that of a member where members differ."""
        row = step * of + (member if of > 1 else 0)
        dtype = np.int32 if name in ("rows", "drops", "order") else np.float32
        size = int(np.prod(shape)) * 4
        return at(int(self.s[name]) + row * size, shape, dtype)

    def constants(self, step: int, member: int) -> tuple[int, Any, dict[str, Any]]:
        """The number of the step's rows, the factor on its gradients, and its constants."""
        n = int(self.table("rows", step, 0, (1,), 1)[0])
        scale = self.table("scale", step, member, (1,), int(self.s["weights_of"]))[0]
        of = int(self.s["constants_of"])
        constants = self.table("constants", step, member, (len(CONSTANTS),), of)
        return n, scale, dict(zip(CONSTANTS, constants, strict=True))

    def samples(self, step: int, n: int) -> Any:
        """The row numbers of the step's samples."""
        return self.table("order", step, 0, (self.b,), 1)[:n]

    def x(self, samples: Any) -> Any:
        """Their features."""
        n_in = self.layers[0].n_in
        return np.stack([at(int(self.s["x"]) + int(i) * n_in * 4, (n_in,)) for i in samples])

    def mask(self, number: int, step: int, member: int, first: int, n: int) -> Any:
        """The factors on the inputs of a layer in rows ``first`` to ``first + n``."""
        layer, of = self.layers[number], int(self.s["constants_of"])
        if not layer.dropped:
            return np.float32(1)
        layers = len(self.layers)
        key, threshold = self.table("drops", step, member, (layers, 2), of)[number]
        scale = self.table("drop_scale", step, member, (layers,), of)[number]
        rows, units = np.ogrid[first : first + n, : layer.n_in]
        count = (rows * layer.n_in + units).astype(np.int32)
        return np.where(hash32(hash32(count) ^ key) >= threshold, scale, np.float32(0))


def chunks(start: int, stop: int, depth: int) -> Iterator[slice]:
    """A sum's terms, as many at a time as are in shared memory."""
    for first in range(start, stop, depth):
        yield slice(first, min(first + depth, stop))


class Columns:
    """A tile's columns of a layer: members' units next to each other.

    Args:
        plan: the plan.
        number: the layer's.
        group: the product that the tile is of.
        left: the tile's first column in it.
        width: the tile's.
    """

    def __init__(self, plan: Plan, number: int, group: int, left: int, width: int) -> None:
        layer = plan.layers[number]
        of = together(plan.k, number, layer.dropped)
        columns = np.arange(left, min(left + width, of * layer.n_out))
        self.members, self.units = group * of + columns // layer.n_out, columns % layer.n_out

    def by_member(self) -> Iterator[tuple[int, Any, Any]]:
        """Each member, where its columns are among these, and which units they are."""
        for member in np.unique(self.members):
            (here,) = np.nonzero(self.members == member)
            yield int(member), slice(here[0], here[-1] + 1), self.units[here]


def first_layer(plan: Plan, step: int, block: Block, tile: Tile) -> None:
    """A tile of one part of X W."""
    layer, (number, part, group) = plan.layers[0], block
    of = together(plan.k, 0, layer.dropped)
    n, _, _ = plan.constants(step, 0)
    top, left = divmod(number, -(-of * layer.n_out // tile.width))
    rows = slice(top * tile.height, min((top + 1) * tile.height, n))
    if rows.start >= n:
        return
    columns = Columns(plan, 0, group, left * tile.width, tile.width)
    x = plan.x(plan.samples(step, n)[rows])
    x = x * plan.mask(0, step, group * of, rows.start, len(x))  # 1 where members are together
    weights = layer.arrays["weights"][columns.members, :, columns.units].T
    sums = np.zeros((len(x), weights.shape[1]), np.float32)
    start, of_part = part * int(plan.s["part"]), int(plan.s["part"])
    for chunk in chunks(start, min(layer.n_in, start + of_part), tile.depth):
        sums += x[:, chunk] @ weights[chunk]
    shape = (int(plan.s["parts_of"]), plan.b, plan.k, layer.n_out)
    at(plan.s["parts"], shape)[part][rows, columns.members, columns.units] = sums


def rows(plan: Plan, step: int, block: Block, grid: Block, size: int) -> None:
    """A few rows from the parts of the first sums to all deltas."""
    number, member, _ = block
    first, layers = number * size, plan.layers
    n, scale, constants = plan.constants(step, member)
    if first >= n:
        return
    here = slice(first, min(first + size, n))
    shape = (int(plan.s["parts_of"]), plan.b, plan.k, layers[0].n_out)
    slopes: list[Any] = []
    z = s = np.float32(0)
    for i, layer in enumerate(layers):
        if i == 0:
            s = at(plan.s["parts"], shape)[:, here, member].sum(axis=0, dtype=np.float32)
        else:
            s = z @ layer.arrays["weights"][member]
        s = s + layer.arrays["bias"][member]
        if i + 1 < len(layers):
            mask = plan.mask(i + 1, step, member, first, here.stop - first)
            output = layer.activation.function(s, np)
            slopes.append(layer.activation.derivative(s, output, np) * mask)
            layer.arrays["z"][member, here] = z = output * mask

    samples = plan.samples(step, n)[here]
    value, delta = loss(plan, s, samples, constants)
    if plan.s["weight"]:
        of = int(plan.s["weights_of"])
        weights = [plan.table("weight", int(i), member, (1,), of)[0] for i in samples]
        weight = np.asarray(weights, np.float32)
        value, delta = value * weight, delta * weight[:, None]
    at(plan.s["loss"], grid[:2][::-1], np.float64)[member, number] += value.sum(dtype=np.float64)
    ds = delta * scale
    layers[-1].arrays["ds"][member, here] = ds
    for i in reversed(range(1, len(layers))):
        ds = ds @ layers[i].arrays["weights"][member].T * slopes[i - 1]
        layers[i - 1].arrays["ds"][member, here] = ds


def loss(plan: Plan, s: Any, samples: Any, constants: dict[str, Any]) -> tuple[Any, Any]:
    """The loss of rows of logits, and its derivative."""
    kind, n = int(plan.s["loss_kind"]), s.shape[1]
    if plan.s["labels"]:
        all_labels = [at(int(plan.s["labels"]) + int(i) * 4, (1,), np.int32)[0] for i in samples]
        y = one_hot(np.asarray(all_labels), n, np.float32, np)
    else:
        y = np.stack([at(int(plan.s["targets"]) + int(i) * n * 4, (n,)) for i in samples])
    if kind in (SOFTMAX, BINARY):
        smoothing = constants["label_smoothing"]
        y = (1 - smoothing) * y + smoothing / np.float32(n if kind == SOFTMAX else 2)
    return LOSSES[NAMES[kind, bool(plan.s["capped"])]].value_and_delta(s, y, np)


def gradients(plan: Plan, step: int, block: Block, tile: Tile) -> None:
    """A tile of one layer's weights, and of its bias at the top: gradients, and updates by them."""
    number = max(i for i, layer in enumerate(plan.layers) if layer.tile <= block[0])
    layer = plan.layers[number]
    of = together(plan.k, number, layer.dropped)
    n, _, _ = plan.constants(step, 0)
    if n == 0:
        return
    across, down = -(-of * layer.n_out // tile.width), -(-layer.n_in // tile.height)
    group, of_group = divmod(block[0] - layer.tile, across * down)
    top, left = divmod(of_group, across)
    rows = slice(top * tile.height, (top + 1) * tile.height)
    columns = Columns(plan, number, group, left * tile.width, tile.width)
    if number == 0:
        x = plan.x(plan.samples(step, n)) * plan.mask(0, step, group * of, 0, n)
    else:
        x = plan.layers[number - 1].arrays["z"][group, :n]
    x, ds = x[:, rows], layer.arrays["ds"][columns.members, :n, columns.units].T
    g = np.zeros((x.shape[1], ds.shape[1]), np.float32)
    for chunk in chunks(0, n, tile.depth):
        g += x[chunk].T @ ds[chunk]
    before = sum(-(-a.n_in // tile.height) * a.n_out for a in plan.layers[:number])
    squares = at(plan.s["squares"], (plan.k, int(plan.s["tiles"])), np.float64)
    for member, here, units in columns.by_member():
        _, scale, constants = plan.constants(step, member)
        own = slice(units[0], units[-1] + 1)
        w = layer.arrays["weights"][member, rows, own]
        sums = np.sum(w * w, axis=0).astype(np.float64)
        squares[member, before + top * layer.n_out + units] += sums * constants["alpha"] / 2
        gradient = g[:, here] + (constants["l2"] + constants["alpha"] * scale) * w
        updates = [("weights", (member, rows, own), constants["decay_factor"] * w, gradient)]
        if top == 0:
            bias = layer.arrays["bias"][member, own]
            updates.append(("bias", (member, own), bias, ds[:, here].sum(axis=0)))
        for name, index, parameter, change in updates:
            states = [layer.arrays.get(f"{name}_{i}") for i in (1, 2)]
            v = [state[index] for state in states if state is not None]
            rule = int(plan.s["rule"])
            layer.arrays[name][index] = updated(rule, parameter, change, v, constants)


def updated(rule: int, w: Any, g: Any, v: list[Any], constants: dict[str, Any]) -> Any:
    """The parameter after a step of the rule; its state is updated in place."""
    change = constants["rate"] * g
    if rule == PLAIN_SGD:
        return w - change
    if rule in (MOMENTUM, NESTEROV):
        v[0][...] = constants["decay1"] * v[0] - change
        return w + (constants["decay1"] * v[0] - change if rule == NESTEROV else v[0])
    if rule == RMSPROP:
        v[0][...] = constants["decay1"] * v[0] + constants["gain1"] * g * g
        return w - change / (np.sqrt(v[0]) + constants["epsilon"])
    assert rule == ADAM
    v[0][...] = constants["decay1"] * v[0] + constants["gain1"] * g
    v[1][...] = constants["decay2"] * v[1] + constants["gain2"] * g * g
    return w - constants["rate"] * (v[0] / (np.sqrt(v[1]) + constants["epsilon"]))


assert set(FUNCTIONS.values()) == set(ACTIVATIONS.values())
