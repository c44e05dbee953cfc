"""The CUDA step for networks of any size: its products' plans, its kernels and the step itself.

The kernels are compiled for the host; `HostProducts` takes the place of cuBLAS, and follows a plan
on memory by columns, as cuBLAS does.
"""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import arraymlp
from arraymlp.data.minibatches import Minibatch
from arraymlp.engines.cpu.engine import CpuEngine
from arraymlp.engines.cuda.cublas import plan
from arraymlp.engines.cuda.dense import DenseStep, LayerWork
from arraymlp.engines.cuda.dense_kernels import OUTPUTS, ROUNDED, SUMS
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.dropout import DropoutKey
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import Step, array_step
from arraymlp.steps.update import initial_states, tree_map
from bfloat16 import from_bfloat16, to_bfloat16
from cuda_on_host import BACKWARD, HostKernels, unavailable
from engine_and_array import (
    CASES,
    HostArray,
    NormedSGD,
    assert_alike,
    assert_same_folds,
    assert_same_parameters,
    both,
    data_and_settings,
    problem,
)
from pairwise import pairwise

pytestmark = pytest.mark.xdist_group(__name__)  # kernels are compiled once a process
needs_host = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")


class HostProducts:
    """`arraymlp.engines.cuda.device.Products` with NumPy; the dtypes of factors are noted."""

    def __init__(self) -> None:
        self.dtypes: set[str] = set()

    def __call__(
        self, a: HostArray, b: HostArray, out: HostArray, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        assert out.dtype == (np.float32 if a.dtype == np.uint16 else a.dtype)
        assert b.dtype == a.dtype
        self.dtypes.add(a.dtype.name)
        planned = plan(a, b, out)
        n, m, k = planned.sizes

        def column_major(array: HostArray, i: int, j: int, operand: int, shape: Any) -> HostArray:
            offset = i * planned.steps[operand] + j * planned.apart[operand]
            leading, item = planned.leading[operand], array.itemsize
            assert leading >= shape[0]
            first = as_strided(array, (offset + 1,), (item,))[offset:]
            return as_strided(first, shape, (item, leading * item))

        for i in range(planned.calls):
            for j in range(planned.matrices):
                left = column_major(b, i, j, 0, (k, n) if planned.transposed[0] else (n, k))
                right = column_major(a, i, j, 1, (m, k) if planned.transposed[1] else (k, m))
                if a.dtype == np.uint16:
                    left, right = from_bfloat16(left), from_bfloat16(right)
                result = column_major(out, i, j, 2, (n, m))
                op_b = left.T if planned.transposed[0] else left
                op_a = right.T if planned.transposed[1] else right
                result[...] = alpha * (op_b @ op_a) + (beta * result if beta else 0.0)


# Plans of products


def stored(rng: np.random.Generator, shape: tuple[int, ...], layout: str) -> HostArray:
    """Random numbers by rows, by columns, or as a part of something larger."""
    if layout == "columns":
        return np.asarray(rng.normal(size=(*shape[:-2], shape[-1], shape[-2])).mT)
    if layout == "wider":
        return rng.normal(size=(*shape[:-1], shape[-1] + 3))[..., : shape[-1]]
    if layout == "inside":
        return rng.normal(size=(shape[0] + 2, *shape[1:]))[1:-1]
    return rng.normal(size=shape)


# Members of the result, and on the leading axes of A and of B; None where there is no such axis.
LEADING_AXES = [
    (None, None, None),
    (1, None, 1),
    (1, 1, None),
    *((6, groups, 6) for groups in (None, 1, 2, 3, 6)),
    (6, None, None),
    (6, None, 1),
    *((12, groups, 12) for groups in (2, 3, 4, 12)),
]
LAYOUTS = ["rows", "columns", "wider", "inside"]
PLANS = pairwise(
    {
        "leading": LEADING_AXES,
        "layout of a": LAYOUTS,
        "layout of b": LAYOUTS,
        "m": [1, 2, 7],
        "n": [1, 3, 8],
        "k": [1, 5],
    }
)


@pytest.mark.parametrize("seed", range(len(PLANS)))
def test_a_plan_multiplies(seed: int) -> None:
    rng, case = np.random.default_rng(seed), PLANS[seed]
    m, n, k = (case[name] for name in "mnk")
    members, of_a, of_b = (() if axis is None else (axis,) for axis in case["leading"])
    a = stored(rng, (*of_a, m, k), case["layout of a"])
    b = stored(rng, (*of_b, k, n), case["layout of b"])
    out = rng.normal(size=(*members, m, n))
    each_a = np.repeat(a, members[0] // of_a[0], axis=0) if of_a else a
    expected = 2.0 * (each_a @ b) - 0.5 * out
    HostProducts()(a, b, out, 2.0, -0.5)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    out[...] = np.nan
    HostProducts()(a, b, out)
    np.testing.assert_allclose(out, np.broadcast_to(each_a @ b, out.shape), rtol=1e-12, atol=1e-12)


def test_members_are_multiplied_in_few_calls() -> None:
    w, out = np.zeros((12, 3, 4)), np.zeros((12, 5, 4))
    calls = [plan(np.zeros((g, 5, 3)), w, out).calls for g in (1, 2, 3, 4, 6, 12)]
    assert calls == [1, 2, 3, 3, 2, 1]
    assert plan(np.zeros((5, 3)), w, out).apart == (12, 0, 20)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (np.zeros((4, 3)), np.zeros((4, 2)), np.zeros((4, 2))),
        (np.zeros((4, 3)), np.zeros((3, 2)), np.zeros((4, 3))),
        (np.zeros((4, 4, 3)), np.zeros((6, 3, 2)), np.zeros((6, 4, 2))),
        (np.zeros((4, 3)), np.zeros((3, 3, 2)), np.zeros((6, 4, 2))),
        (np.zeros((4, 6))[:, ::2], np.zeros((3, 2)), np.zeros((4, 2))),
        (np.zeros((4, 3))[::-1], np.zeros((3, 2)), np.zeros((4, 2))),
        (np.zeros((4, 3)), np.zeros((3, 2)), np.zeros((2, 4)).T),
    ],
)
def test_what_cublas_cannot_multiply_is_refused(a: Any, b: Any, out: Any) -> None:
    with pytest.raises(ValueError, match=r"shape|members|rows of the result"):
        plan(a, b, out)


# The step against the definition

SQUARE = Activation("square", lambda s, xp: s * s, lambda s, z, xp: 2 * s)


def dense(
    network: arraymlp.MultilayerPerceptron,
    rule: Optimizer,
    reduction: str,
    rounds: bool = False,
    order: int | None = None,
) -> DenseStep:
    device = HostKernels(f"dense_{network.dtype}.cu", order)
    return DenseStep(network, rule, reduction, device, HostProducts(), HostProducts(), rounds)


def hyper_of(rule: Optimizer, rate: float, t: int = 1) -> Hyper:
    """The constants of step t of an optimiser, and no other feature."""
    constants = rule.constants(np.full((1, 1), rate), np.full((1, 1), t))
    return Hyper(type(constants)(*(np.asarray(value).item() for value in constants)))


@pytest.fixture
def by_dense(monkeypatch: pytest.MonkeyPatch) -> list[DenseStep]:
    """From now on `train` without ``engine="array"`` trains by the dense step; the steps made."""
    made: list[DenseStep] = []

    def step(_: Any, network: Any, rule: Any, reduction: str, *rest: Any) -> Step:
        made.append(dense(network, rule, reduction))
        return made[-1]

    monkeypatch.setattr(CpuEngine, "step", step)
    monkeypatch.setattr(CpuEngine, "uncovered", lambda *_: "")  # where it is not compiled, too
    return made


@needs_host
@pytest.mark.parametrize("seed", range(len(CASES)))
def test_it_agrees_with_the_array_code(seed: int, by_dense: list[DenseStep]) -> None:
    rng = np.random.default_rng(seed)
    sizes = {"rows": (45, 90), "widths": (1, 14), "batch_sizes": (1, 30)}
    X, y, settings = data_and_settings(CASES[seed], rng, **sizes)
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-9)
    assert by_dense


RULES = ["sgd", "momentum", "nesterov", "adam", "rmsprop"]


@needs_host
@pytest.mark.parametrize(
    ("activation", "optimizer"), list(zip(ACTIVATIONS, RULES + RULES[:4], strict=True))
)
def test_they_agree_in_single_precision(
    activation: str, optimizer: str, by_dense: list[DenseStep]
) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 70, 13, 10)
    settings: dict[str, Any] = {"hidden": (15, 9), "optimizer": optimizer, "epochs": 2}
    settings |= {"activation": activation, "learning_rate": 1e-3, "batch_size": 32}
    assert_alike(*both(X, y, "float32", **settings), rtol=2e-5)


@needs_host
@pytest.mark.parametrize("members", [None, 3])
def test_a_step_is_that_of_the_array_code_to_rounding(members: int | None) -> None:
    rng = np.random.default_rng(3)
    seeds = 0 if members is None else list(range(members))
    for rule in arraymlp.steps.optimizers.OPTIMIZERS.values():
        network = arraymlp.MultilayerPerceptron.create(
            (7, 6, 5, 3), activation="gelu", seed=seeds, dtype="float64"
        )
        twin = network.copy()
        states = [initial_states(net, rule) for net in (network, twin)]
        steps = dense(network, rule, "mean"), array_step(twin, rule, "mean")
        for t in range(1, 5):
            hyper = hyper_of(rule, 0.01, t)
            x, y = rng.normal(size=(11, 7)), rng.integers(0, 3, 11).astype(np.int32)
            losses = []
            for i, net in enumerate((network, twin)):
                states[i], sums = steps[i](net, states[i], Minibatch(x, y), hyper)
                losses.append(np.array(sums.loss))
            np.testing.assert_allclose(*losses, rtol=1e-12)
        for a, b in zip(network.layers, twin.layers, strict=True):
            np.testing.assert_allclose(a.weights, b.weights, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-12, atol=1e-13)


@needs_host
@pytest.mark.parametrize(
    ("optimizer", "dropout"),
    [("sgd", 0.0), ("momentum", arraymlp.Dropout(0.2, 0.2)), ("adam", arraymlp.Dropout(0.2, 0.2))],
)
def test_folds_agree(optimizer: str, dropout: Any, by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(1), "softmax_cross_entropy", 61, 4, 3)
    settings: dict[str, Any] = {"hidden": (11,), "epochs": 2, "batch_size": 20}
    assert_same_folds(X, y, optimizer=optimizer, dropout=dropout, **settings)
    assert by_dense


@needs_host
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_functions_and_rules_of_ones_own(dropout: float, by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 50, 6, 4)
    settings: dict[str, Any] = {"hidden": (9, 8), "optimizer": NormedSGD(), "epochs": 2}
    settings |= {"activation": (SQUARE, "relu"), "dropout": dropout, "batch_size": 20}
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-10)


@needs_host
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda X: X[::-1], lambda X: X[:, ::2]])
def test_data_in_any_layout(layout: Any, by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 50, 6, 4)
    X = layout(X)
    X.flags.writeable = False
    settings: dict[str, Any] = {"hidden": (9,), "shuffle": False, "batch_size": 20, "epochs": 1}
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-10)


@needs_host
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_weights_in_any_layout(optimizer: str) -> None:
    rule = arraymlp.optimizers.get_optimizer(optimizer)
    network = arraymlp.MultilayerPerceptron.create((5, 6, 3), dtype="float64")
    for layer in network.layers:
        layer.weights = np.asfortranarray(layer.weights)
    twin = network.copy()
    states, of_twin = initial_states(network, rule), initial_states(twin, rule)
    rng = np.random.default_rng(0)
    batch = Minibatch(rng.normal(size=(8, 5)), rng.integers(0, 3, 8).astype(np.int32))
    hyper = hyper_of(rule, 0.1)
    step, by_array = dense(network, rule, "mean"), array_step(twin, rule, "mean")
    for _ in range(3):
        states, _ = step(network, states, batch, hyper)
        of_twin, _ = by_array(twin, of_twin, batch, hyper)
    assert_same_parameters(network, twin, 1e-12)
    for a, b in zip(states, of_twin, strict=True):
        tree_map(lambda v, w: np.testing.assert_allclose(v, w, rtol=1e-9), list(a), list(b))


@needs_host
def test_huge_logits_have_the_loss_of_the_array_code(by_dense: list[DenseStep]) -> None:
    X = np.asarray([[1e30], [-1e30], [3e35]])
    settings: dict[str, Any] = {"hidden": (), "epochs": 1, "batch_size": 3}
    settings |= {"optimizer": "sgd", "learning_rate": 1e-30}
    by_engine, by_array = both(X, [0, 1, 2], "float32", **settings)
    np.testing.assert_allclose(by_engine.history["loss"], by_array.history["loss"], rtol=1e-6)


@needs_host
def test_a_diverging_run_ends_alike(by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(1), "squared_error", 60, 5, 1)
    with pytest.raises(arraymlp.NonFiniteLossError, match="in epoch"):
        arraymlp.train(X, y, optimizer="sgd", learning_rate=1e6, batch_size=9, backend="numpy")


@needs_host
@pytest.mark.parametrize("order", [BACKWARD, 0])
def test_the_order_of_threads_changes_no_bit(order: int) -> None:
    batch = Minibatch(
        np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32),
        np.arange(9, dtype=np.int32) % 5,
    )
    trained = []
    for threads_order in (None, order):
        network = arraymlp.MultilayerPerceptron.create((7, 40, 5), seed=[0, 1])
        rule = arraymlp.optimizers.Adam()
        step = dense(network, rule, "mean", order=threads_order)
        step(network, initial_states(network, rule), batch, hyper_of(rule, 0.1))
        trained.append(network)
    for a, b in zip(trained[0].layers, trained[1].layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)


@needs_host
@pytest.mark.parametrize(
    ("optimizer", "per_member", "rounds"),
    [
        ("sgd", False, False),
        ("sgd", True, True),
        ("momentum", False, True),
        ("nesterov", True, False),
        ("adam", False, False),
        ("rmsprop", True, True),
    ],
)
def test_a_step_allocates_nothing(optimizer: str, per_member: bool, rounds: bool) -> None:
    rule = arraymlp.optimizers.get_optimizer(optimizer)
    network = arraymlp.MultilayerPerceptron.create((160, 150, 140, 130), seed=[0, 1])
    rng = np.random.default_rng(0)
    batch = Minibatch(
        rng.normal(size=(400, 160)).astype("float32"), rng.integers(0, 130, 400).astype("int32")
    )
    hyper = hyper_of(rule, 0.01)._replace(
        dropout=[DropoutKey(5, -(2**30), 4 / 3)] * 3,
        decay_factor=np.full((2, 1, 1), 0.99, np.float32) if per_member else 0.99,
    )
    device = HostKernels("dense_float32.cu")

    def nothing(*args: Any) -> None:
        """In place of a product, since NumPy's allocates arrays."""

    step = DenseStep(network, rule, "mean", device, nothing, nothing, rounds)
    state = initial_states(network, rule)
    for layer in network.layers:
        layer.bias[...] = 0
    state, _ = step(network, state, batch, hyper)
    kept = [id(array) for array in step.buffers.values()]
    launched = len(device.launched)
    tracemalloc.start()
    try:
        state, _ = step(network, state, batch, hyper)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 400 * 130 * 2  # bytes: of one member's numbers in bfloat16
    assert [id(array) for array in step.buffers.values()] == kept
    assert len(device.launched) == 2 * launched


# Precision


@contextmanager
def rounded_matmul(xp: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In it products round their factors, but not those with ones, which are sums."""
    exact = xp.matmul

    def matmul(a: HostArray, b: HostArray) -> HostArray:
        if (a == 1).all() or (b == 1).all():
            return np.asarray(exact(a, b))
        return np.asarray(exact(*(from_bfloat16(to_bfloat16(factor)) for factor in (a, b))))

    with monkeypatch.context() as patch:
        patch.setattr(xp, "matmul", matmul)
        yield


KEY = DropoutKey(5, -(2**30), 4 / 3)
BFLOAT16 = pairwise(
    {
        "optimizer": ["sgd", "momentum", "adam"],
        "dropout": [(None, None, KEY), (KEY, KEY, None), (None,) * 3],
        "seed": [0, [0, 1]],
        "activation": [("relu", SQUARE), ("tanh", "gelu"), ("leaky_relu", "softplus")],
    }
)


@needs_host
@pytest.mark.parametrize("number", range(len(BFLOAT16)))
def test_in_bfloat16_the_products_factors_alone_are_rounded(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, case = np.random.default_rng(number), BFLOAT16[number]
    rule = arraymlp.optimizers.get_optimizer(case["optimizer"])
    network = arraymlp.MultilayerPerceptron.create(
        (7, 9, 8, 5), activation=case["activation"], seed=case["seed"]
    )
    twin, plain = network.copy(), network.copy()
    steps = [dense(network, rule, "mean", rounds=True)]
    steps += [array_step(net, rule, "mean") for net in (twin, plain)]
    states = [initial_states(net, rule) for net in (network, twin, plain)]
    x, y = rng.normal(size=(11, 7)).astype("float32"), rng.integers(0, 5, 11).astype("int32")
    hyper = hyper_of(rule, 0.1)._replace(dropout=case["dropout"])
    for _ in range(3):
        states[0], sums = steps[0](network, states[0], Minibatch(x, y), hyper)
        with rounded_matmul(network.backend.xp, monkeypatch):
            states[1], of_twin = steps[1](twin, states[1], Minibatch(x, y), hyper)
        states[2], _ = steps[2](plain, states[2], Minibatch(x, y), hyper)
        np.testing.assert_allclose(sums.loss, of_twin.loss, rtol=1e-3)
    assert (steps[0].product.dtypes, steps[0].exact.dtypes) == ({"uint16"}, {"float32"})
    for a, b, c in zip(network.layers, twin.layers, plain.layers, strict=True):
        for name in ("weights", "bias"):
            one, two, full = (np.asarray(getattr(layer, name)) for layer in (a, b, c))
            assert one.dtype == np.float32
            # A rounding of the sums can tip one of the factors, but only rarely.
            assert np.mean(np.abs(one - two) < 1e-6) > 0.8
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-3)
            assert np.max(np.abs(one - full)) > 1e-5


# Between two steps


def with_others(optimizer: str, rounds: bool, anew: bool) -> Any:
    """A network after three steps, between which others wrote to its arrays.

    The steps are made anew each time, or all by one, which also trains copies.
    """
    rule = arraymlp.optimizers.get_optimizer(optimizer)
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(9, 8)).astype("float32"), rng.integers(0, 4, 9).astype("int32")
    network = arraymlp.MultilayerPerceptron.create((8, 12, 4), seed=3)
    states, step = initial_states(network, rule), dense(network, rule, "mean", rounds)
    for t in range(3):
        if anew:
            step = dense(network, rule, "mean", rounds)
        else:
            copied = tree_map(np.copy, states)
            step(network.copy(), copied, Minibatch(x, y), hyper_of(rule, 0.3))
        states, _ = step(network, states, Minibatch(x, y), hyper_of(rule, 0.1))
        first, last = network.layers
        if t == 0:
            first.weights[...] *= 0.5
            last.bias[...] += 0.25
        else:
            last.weights = np.asfortranarray(last.weights[:, ::-1])
    return network


@needs_host
@pytest.mark.parametrize("rounds", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_what_others_do_to_a_network_between_two_steps_counts(optimizer: str, rounds: bool) -> None:
    networks = [with_others(optimizer, rounds, anew) for anew in (False, True)]
    assert_same_parameters(*networks, 0)


# Buffers


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rounds", [False, True])
def test_outputs_take_the_place_of_sums_where_slopes_follow_from_them(
    activation: str, masked: bool, rounds: bool
) -> None:
    by_sign = activation in ("identity", "relu", "leaky_relu")
    by_output = by_sign or activation in ("sigmoid", "tanh", "elu")
    network = arraymlp.MultilayerPerceptron.create((2, 5, 3), activation=activation)
    work = LayerWork(network.layers[0], 70, False, masked, rounds, np)
    if rounds:
        assert work.left == (ROUNDED if by_sign else SUMS)
        assert work.outputs.dtype == work.deltas.dtype == np.uint16
    else:
        assert work.left == (OUTPUTS if by_sign or (by_output and not masked) else SUMS)
        assert (work.outputs is work.s) == (work.left == OUTPUTS)
        assert work.deltas is work.ds
    assert work.addends.shape == (3, 5)
