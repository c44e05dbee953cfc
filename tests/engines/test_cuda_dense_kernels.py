"""The kernels between cuBLAS's products, one by one, compiled for the host.

By rows and addresses a kernel reads four float32, or two float64, at once, or one number. Shapes
here are around multiples of these and of a block's strips, and arrays begin at any number.
"""

from itertools import pairwise as consecutive
from typing import Any

import numpy as np
import pytest

from arraymlp.activations import ACTIVATIONS
from arraymlp.engines.cuda import dense_kernels
from arraymlp.engines.cuda.dense_kernels import (
    BY_OUTPUT,
    BY_SIGN,
    OUTPUTS,
    ROUNDED,
    SLOPES,
    SUMS,
    DenseKernels,
    row_parts,
)
from arraymlp.engines.cuda.source import only, source
from arraymlp.engines.numbers import ACTIVATION_NUMBERS, CONSTANTS
from arraymlp.nn.dropout import DropoutKey, mask_maker
from bfloat16 import from_bfloat16, to_bfloat16
from cuda_on_host import BACKWARD, HostKernels, kernel_names, unavailable
from pairwise import pairwise

HostArray = np.ndarray[Any, Any]

pytestmark = pytest.mark.xdist_group(__name__)  # kernels are compiled once a process
needs_host = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")


def kernels_of(dtype: str, members: int = 1, order: int | None = None) -> DenseKernels:
    return DenseKernels(HostKernels(f"dense_{dtype}.cu", order), members, dtype)


def place(a: HostArray, offset: int) -> HostArray:
    """A copy that begins ``offset`` numbers behind a multiple of 64 bytes."""
    memory = np.empty(a.nbytes + 64 + offset * a.itemsize, np.uint8)
    start = -memory.ctypes.data % 64 + offset * a.itemsize
    there: HostArray = memory[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    there[...] = a
    return there


def empty(shape: tuple[int, ...], dtype: Any, offset: int) -> HostArray:
    """Numbers to be overwritten: NaN, or bits of it."""
    kind = np.dtype(dtype)
    return place(np.full(shape, 0xFFFF if kind == np.uint16 else np.nan, kind), offset)


def key_of(mask: str, members: int, dtype: str) -> DropoutKey | None:
    if mask == "none":
        return None
    if mask == "shared":
        return DropoutKey(5, -(2**30), 4 / 3)
    shape = (members, 1, 1)
    keys = np.arange(7, 7 + members, dtype=np.int32).reshape(shape)
    share = np.linspace(0.2, 0.6, members)
    thresholds = (2.0**32 * share - 2.0**31).astype(np.int32).reshape(shape)
    return DropoutKey(keys, thresholds, (1 / (1 - share)).astype(dtype).reshape(shape))


def factors_of(key: DropoutKey | None, rows: int, n: int, dtype: str) -> HostArray:
    if key is None:
        return np.ones((rows, n), dtype)
    mask = mask_maker(np.dtype(dtype), np, "cpu")
    return np.asarray(mask(key, rows, n))


# Of f and f'


LAYERS = pairwise(
    {
        "n": [1, 2, 3, 4, 5, 6, 8, 12, 31, 33, 64, 127, 128, 132, 260],
        "rows": [1, 7, 32, 33, 70],
        "activation": sorted(ACTIVATIONS),
        "dtype": ["float32", "float64"],
        "members": [1, 3],
        "mask": ["none", "shared", "each"],
        "offset": [0, 1, 2, 3],
        "order": [None, BACKWARD, 0],
    }
)


class LayerCase:
    """Sums, bias and deltas of a hidden layer, and what the definition makes of them."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.rows, self.n, self.dtype = case["rows"], case["n"], case["dtype"]
        self.offset, members = case["offset"], case["members"]
        self.number = ACTIVATION_NUMBERS[ACTIVATIONS[case["activation"]]]
        self.key = key_of(case["mask"], members, self.dtype)
        self.kernels = kernels_of(self.dtype, members, case["order"])
        rng = np.random.default_rng(self.rows * self.n)
        shape = (members, self.rows, self.n)
        self.s, self.ds = (self.placed(rng.normal(size=shape)) for _ in range(2))
        self.bias = self.placed(rng.normal(size=(members, 1, self.n)))
        self.s[:, ::3] = -self.bias  # f at 0
        self.factors = factors_of(self.key, self.rows, self.n, self.dtype)
        activation = ACTIVATIONS[case["activation"]]
        true = self.s + self.bias
        f = activation.function(true, np)
        self.z = f * self.factors
        self.slopes = activation.derivative(true, f, np) * self.factors * np.ones_like(f)
        self.tolerance = {"float32": 1e-5, "float64": 1e-13}[self.dtype]

    def placed(self, a: HostArray) -> HostArray:
        return place(a.astype(self.dtype), self.offset)

    def activate(self, dtype: Any, in_place: bool = False) -> HostArray:
        s = self.placed(self.s)
        out = s if in_place else empty(s.shape, dtype, self.offset)
        self.kernels.activate(s, self.bias, out, self.number, self.key)
        return out

    def multiply(self, left: int, of_forward: HostArray, dtype: Any) -> tuple[HostArray, HostArray]:
        """The deltas, in place where they are not rounded, and their sums."""
        ds = self.placed(self.ds)
        out = ds if dtype == self.dtype else empty(ds.shape, dtype, self.offset)
        shape = (ds.shape[0], row_parts(self.rows), self.n)
        sums = empty(shape, self.dtype, self.offset)
        there = left, place(of_forward, self.offset), self.bias, self.number, self.key
        self.kernels.slopes(ds, out, sums, *there)
        return out, sums


@needs_host
@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_outputs_and_deltas_are_the_definitions(number: int) -> None:
    case = LayerCase(LAYERS[number])
    close = {"rtol": case.tolerance, "atol": case.tolerance}
    z = case.activate(case.dtype)
    np.testing.assert_allclose(z, case.z, **close)
    np.testing.assert_array_equal(case.activate(case.dtype, in_place=True), z)

    ds, sums = case.multiply(SUMS, case.s, case.dtype)
    np.testing.assert_allclose(ds, case.ds * case.slopes, **close)
    bounds = [case.rows * p // row_parts(case.rows) for p in range(row_parts(case.rows) + 1)]
    for p, (first, end) in enumerate(consecutive(bounds)):
        np.testing.assert_allclose(sums[:, p], ds[:, first:end].sum(axis=1), rtol=0, atol=1e-5)
    given, _ = case.multiply(SLOPES, case.slopes.astype(case.dtype), case.dtype)
    np.testing.assert_allclose(given, ds, **close)


@needs_host
@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_from_outputs_the_slopes_are_the_same_bits(number: int) -> None:
    case = LayerCase(LAYERS[number])
    ds, sums = case.multiply(SUMS, case.s, case.dtype)
    same = case.number in (BY_OUTPUT if case.key is None else BY_SIGN)
    if same:
        for a, b in zip(
            case.multiply(OUTPUTS, case.activate(case.dtype), case.dtype), (ds, sums), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    if case.dtype == "float32":
        rounded, its_sums = case.multiply(SUMS, case.s, np.uint16)
        np.testing.assert_array_equal(rounded, to_bfloat16(ds))
        np.testing.assert_array_equal(its_sums, sums)
        z = case.activate(np.uint16)
        np.testing.assert_array_equal(z, to_bfloat16(case.activate("float32")))
        if case.number in BY_SIGN:
            rounded, its_sums = case.multiply(ROUNDED, z, np.uint16)
            np.testing.assert_array_equal(rounded, to_bfloat16(ds))
            np.testing.assert_array_equal(its_sums, sums)


@needs_host
@pytest.mark.parametrize(("n", "narrow"), [(260, 65), (257, 65), (128, 10)])
def test_a_block_can_have_several_strips(
    n: int, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"rows": 9, "n": n, "activation": "tanh", "dtype": "float32", "members": 1}
    case = LayerCase(settings | {"mask": "none", "offset": 0, "order": 0})
    results = []
    for most in (65_535, 1):
        monkeypatch.setattr(dense_kernels, "MOST_STRIPS", most)
        results.append((case.activate("float32"), *case.multiply(SUMS, case.s, "float32")))
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


def test_the_slopes_that_follow_from_outputs() -> None:
    edge = [0.0, -0.0, 2e-36, -2e-36, 1e-30, -1e-30, 88.0, -88.0, 1e30, -1e30]
    s = np.concatenate([np.linspace(-9, 9, 4001), edge]).astype(np.float32)
    follows = {"output": set(), "sign": set()}
    for activation, number in ACTIVATION_NUMBERS.items():
        z = activation.function(s, np)
        slope = activation.derivative(s, z, np) * np.ones_like(s)
        rounded = from_bfloat16(to_bfloat16(z)) * np.float32(1.5)
        for name, kept in (("output", z), ("sign", rounded)):
            if np.array_equal(activation.derivative(kept, kept, np) * np.ones_like(s), slope):
                follows[name].add(number)
    assert follows == {"output": BY_OUTPUT, "sign": BY_SIGN}


# Elementwise kernels


FLAT = pairwise(
    {
        "size": [1, 2, 3, 4, 5, 7, 8, 9, 1023, 1024, 1025, 40_000],
        "dtype": ["float32", "float64"],
        "offset of a": [0, 1, 2, 3],
        "offset of out": [0, 1, 2, 3],
        "members": [1, 2],
        "order": [None, 0],
    }
)


def flat_case(number: int) -> tuple[DenseKernels, dict[str, Any], np.random.Generator]:
    case = FLAT[number]
    kernels = kernels_of(case["dtype"], case["members"], case["order"])
    kernels.device.processors = 1  # a thread computes several of 40,000 numbers then
    return kernels, case, np.random.default_rng(number)


@needs_host
@pytest.mark.parametrize("number", range(len(FLAT)))
def test_masks_and_roundings_of_any_size(number: int) -> None:
    kernels, case, rng = flat_case(number)
    dtype, members, n = case["dtype"], case["members"], case["size"]
    a = place(rng.normal(size=(3, n)).astype(dtype), case["offset of a"])
    key = key_of("each", members, dtype)
    expected = (a * factors_of(key, 3, n, dtype)).reshape(members, 3, n)
    out = empty((members, 3, n), dtype, case["offset of out"])
    kernels.masked(a, out, key)
    np.testing.assert_array_equal(out, expected)
    if dtype == "float32":
        rounded = empty((members, 3, n), np.uint16, case["offset of out"])
        kernels.masked(a, rounded, key)
        np.testing.assert_array_equal(rounded, to_bfloat16(expected))
        rounded = empty((3, n), np.uint16, case["offset of out"])
        kernels.rounded(a, rounded)
        np.testing.assert_array_equal(rounded, to_bfloat16(a))


@needs_host
@pytest.mark.parametrize("number", range(len(FLAT)))
def test_updates_of_any_size(number: int) -> None:
    kernels, case, rng = flat_case(number)
    dtype, members, n = case["dtype"], case["members"], case["size"]
    rules = {"sgd": 0, "momentum": 1, "nesterov": 2, "adam": 3, "rmsprop": 4}
    rule = list(rules)[number % 5]
    states = {"sgd": 0, "adam": 2}.get(rule, 1)
    rate, decay1, gain1, decay2, gain2, epsilon, shrink, l2 = 0.1, 0.9, 0.2, 0.8, 0.3, 0.1, 0.7, 0.5
    values = (rate, decay1, gain1, decay2, gain2, epsilon, shrink, l2)
    assert CONSTANTS[: len(values)][-1] == "l2"
    offsets = case["offset of a"], case["offset of out"]

    def arrays(n: int) -> list[Any]:
        shape = (members, 1, n)
        made = [np.abs(rng.normal(size=shape)).astype(dtype) for _ in range(2 + states)]
        placed = [place(a, offsets[i % 2]) for i, a in enumerate(made)]
        return [*placed, *(None,) * (2 - states)]

    given = [arrays(n), arrays(3)]
    expected = []
    for (w, g, v1, v2), (factor, pull) in zip(given, ((shrink, l2), (1.0, 0.0)), strict=True):
        g, w = g + pull * w, factor * w
        if rule == "sgd":
            w = w - rate * g
        elif rule == "rmsprop":
            v1 = decay1 * v1 + gain1 * g * g
            w = w - rate * g / (np.sqrt(v1) + epsilon)
        elif rule == "adam":
            v1, v2 = decay1 * v1 + gain1 * g, decay2 * v2 + gain2 * g * g
            w = w - rate * v1 / (np.sqrt(v2) + epsilon)
        else:
            v1 = decay1 * v1 - rate * g
            w = w + (v1 if rule == "momentum" else decay1 * v1 - rate * g)
        expected.append((w, v1, v2))
    constants = (None, *map(np.dtype(dtype).type, values))
    kernels.update([*given[0], *given[1]], (n, 3), rules[rule], constants)
    for (w, _, v1, v2), right in zip(given, expected, strict=True):
        for a, b in zip((w, v1, v2), right, strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    weights, velocity, bias, bias_velocity = *arrays(n)[:2], *arrays(3)[:2]
    right = np.dtype(dtype).type(0.7) * weights + velocity, bias + bias_velocity
    kernels.moved(weights, velocity, bias, bias_velocity, 0.7)
    for a, b in zip((weights, bias), right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@needs_host
@pytest.mark.parametrize("order", [None, BACKWARD])
def test_rounding_to_bfloat16_is_to_nearest_even(order: int | None) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    ties = rng.integers(0, 2**16, 500, dtype=np.uint32) << 16 | 0x8000
    edge = np.asarray([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, 1e-45], np.float32)
    nans = np.asarray([0x7F800001, 0xFFBFFFFF, 0x7FFFFFFF], np.uint32)  # some with low bits alone
    bits = np.concatenate([bits, ties, ties + 1, ties - 1, edge.view(np.uint32), nans])
    a = bits.view(np.float32)
    out = np.zeros(a.size, np.uint16)
    kernels_of("float32", order=order).rounded(a, out)
    numbers = ~np.isnan(a)
    np.testing.assert_array_equal(out[numbers], to_bfloat16(a[numbers]))
    assert np.isnan(from_bfloat16(out[~numbers])).all()


@needs_host
@pytest.mark.parametrize("name", ["dense_float32.cu", "dense_float64.cu"])
def test_each_kernel_can_be_compiled_alone(name: str) -> None:
    text = source(name)
    for kernel in kernel_names(text):
        assert kernel_names(only(text, kernel)) == (kernel,)
        guarded = text.split(f"defined(ONLY_{kernel})\n")[1].split("#endif")[0]
        assert guarded.count("\n}\n") == 1  # the kernel, and nothing that another may need
