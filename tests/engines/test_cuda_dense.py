"""The CUDA step for networks of any size: its products' plans, its kernels and the step itself.

The kernels are compiled for the host; cuBLAS is played by `HostProducts`, which does what a plan
says on memory by columns, as cuBLAS does.
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
from arraymlp.engines.cuda.dense import DenseStep
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.dropout import DropoutKey
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import Step, array_step
from arraymlp.steps.update import initial_states, tree_map
from cuda_on_host import BACKWARD, HostKernels, unavailable
from engine_and_array import assert_alike, assert_same_parameters, both, problem

needs_host = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")
HostArray = np.ndarray[Any, Any]


def to_bfloat16(a: HostArray) -> HostArray:
    """The bits of the bfloat16 nearest to each number, of two as near the even one."""
    low = np.abs(a).view(np.uint32) >> 16
    infinite = 0x7F80
    high = np.minimum(low + 1, infinite)

    def size(bits: HostArray) -> HostArray:
        return np.where(bits == infinite, 2.0**128, from_bfloat16(bits).astype(np.float64))

    true = np.where(np.isinf(a), 2.0**128, np.abs(a).astype(np.float64))
    below, above = true - size(low), size(high) - true
    up = (above < below) | ((above == below) & (low % 2 == 1))
    return (np.where(up, high, low) | np.signbit(a) << 15).astype(np.uint16)


def from_bfloat16(bits: HostArray) -> HostArray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


class HostProducts:
    """`arraymlp.engines.cuda.cublas.Products` with NumPy; each call's factors are kept."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def __call__(
        self, a: HostArray, b: HostArray, out: HostArray, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        assert out.dtype == (np.float32 if a.dtype == np.uint16 else a.dtype)
        assert b.dtype == a.dtype
        self.kinds.add(a.dtype.name)
        todo = plan(a, b, out)
        n, m, k = todo.sizes

        def column_major(array: HostArray, i: int, j: int, backend: int, shape: Any) -> HostArray:
            offset, item = i * todo.steps[backend] + j * todo.apart[backend], array.itemsize
            leading = todo.leading[backend]
            assert leading >= shape[0]
            first = as_strided(array, (offset + 1,), (item,))[offset:]
            return as_strided(first, shape, (item, leading * item))

        for i in range(todo.calls):
            for j in range(todo.matrices):
                left = column_major(b, i, j, 0, (k, n) if todo.transposed[0] else (n, k))
                right = column_major(a, i, j, 1, (m, k) if todo.transposed[1] else (k, m))
                if a.dtype == np.uint16:
                    left, right = from_bfloat16(left), from_bfloat16(right)
                result = column_major(out, i, j, 2, (n, m))
                op_b = left.T if todo.transposed[0] else left
                op_a = right.T if todo.transposed[1] else right
                result[...] = alpha * (op_b @ op_a) + (beta * result if beta else 0.0)


# Plans of products


def stored(rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
    """Random numbers by rows, by columns, or as a part of something larger."""
    how = rng.integers(4)
    if how == 0:
        return np.asarray(rng.normal(size=(*shape[:-2], shape[-1], shape[-2])).mT)
    if how == 1:
        wide = rng.normal(size=(*shape[:-1], shape[-1] + 3))
        return wide[..., : shape[-1]]
    if how == 2:
        return rng.normal(size=(shape[0] + 2, *shape[1:]))[1:-1]
    return rng.normal(size=shape)


@pytest.mark.parametrize("seed", range(200))
def test_a_plan_multiplies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n, k = (int(v) for v in rng.integers(1, 9, 3))
    members = [None, 1, 2, 6, 12][seed % 5]
    leading: tuple[int, ...] = () if members is None else (members,)
    divisors = [g for g in (1, 2, 3, 6, 12) if members is not None and members % g == 0]
    group = rng.choice([0, *divisors])
    of_a: tuple[int, ...] = (int(group),) if group else ()
    of_b = leading if group or members is None or rng.random() < 0.8 else ()
    a, b = stored(rng, (*of_a, m, k)), stored(rng, (*of_b, k, n))
    out = rng.normal(size=(*leading, m, n))
    each_a = np.repeat(a, (members or 1) // int(group), axis=0) if group else a
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


# Rounding


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
    kernels = HostKernels("dense_float32.cu", order)
    kernels.launch("rounded", (3, 1, 1), 64, (a, out, np.int64(a.size)))
    numbers = ~np.isnan(a)
    np.testing.assert_array_equal(out[numbers], to_bfloat16(a[numbers]))
    assert np.isnan(from_bfloat16(out[~numbers])).all()


# The step against the generic one

SQUARE = Activation("square", lambda s, xp: s * s, lambda s, z, xp: 2 * s)
OPTIMIZERS: list[Any] = [
    *("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"),
    arraymlp.optimizers.SGD(momentum=0.5),
    arraymlp.optimizers.Adam(0.8, 0.99, 1e-3, epsilon_hat=True),
    arraymlp.optimizers.RMSProp(0.9, 1e-3),
]


def dense(
    network: arraymlp.MultilayerPerceptron,
    rule: Optimizer,
    reduction: str,
    rounds: bool = False,
    order: int | None = None,
) -> DenseStep:
    device = HostKernels(f"dense_{network.dtype}.cu", order)
    return DenseStep(network, rule, reduction, device, HostProducts(), HostProducts(), rounds)


def some_settings(seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """Data and settings drawn at random."""
    rng = np.random.default_rng(seed)

    def one_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    members = one_of(None, None, 1, 3)
    n = int(rng.integers(45, 90))
    sizes = [int(size) for size in rng.integers(1, 14, 4)]
    loss = one_of(*["softmax_cross_entropy"] * 3, "binary_cross_entropy", "huber")
    X, y = problem(rng, loss, n, sizes[0], one_of(2, 3, 10, 40))
    layers = int(rng.integers(1, 4))

    def own(*values: Any) -> Any:
        """A value, or one for each member."""
        several = members is not None and rng.random() < 0.5
        return [one_of(*values) for _ in range(members)] if several else one_of(*values)

    smoothing = own(0.0, 0.1) if loss != "huber" else 0.0
    settings: dict[str, Any] = {
        "hidden": tuple(sizes[1 : 1 + layers]),
        "activation": [one_of(*ACTIVATIONS) for _ in range(layers)],
        "loss": loss,
        "optimizer": one_of(*OPTIMIZERS),
        "learning_rate": own(1e-3, 1e-2),
        "schedule": one_of("constant", "cosine", "exponential"),
        "weight_decay": own(0.0, 0.1),
        "l2": one_of(0.0, own(0.0, 0.01)),
        "alpha": one_of(0.0, own(0.0, 0.01)),
        "gradient_clip": one_of(np.inf, np.inf, np.inf, 0.5),
        "weight_average": one_of(0.0, 0.9),
        "dropout": one_of(
            0.0, own(0.2, 0.3), arraymlp.Dropout(0.2, 0.1), arraymlp.Dropout(0.0, 0.3)
        ),
        "label_smoothing": one_of(0.0, 0.0, smoothing),
        "batch_size": int(rng.integers(1, 30)),
        "reduction": one_of("mean", "mean", "sum"),
        "shuffle": one_of(True, False),
        "seed": 5 if members is None else list(range(members)),
        "epochs": 2,
    }
    if rng.random() < 0.3:
        settings["sample_weight"] = rng.random(n)
    return X, y, settings


def told(constants: Any) -> Hyper:
    """A step that is told an optimiser's constants, and nothing else."""
    return Hyper(type(constants)(*(np.asarray(value).item() for value in constants)))


@pytest.fixture
def by_dense(monkeypatch: pytest.MonkeyPatch) -> list[DenseStep]:
    """From now on `train` without ``engine="array"`` trains by the dense step; the steps made."""
    made: list[DenseStep] = []

    def step(_: Any, network: Any, rule: Any, reduction: str, *rest: Any) -> Step:
        made.append(dense(network, rule, reduction))
        return made[-1]

    monkeypatch.setattr(CpuEngine, "step", step)
    return made


@needs_host
@pytest.mark.parametrize("seed", range(120))
def test_it_agrees_with_the_generic_step(seed: int, by_dense: list[DenseStep]) -> None:
    X, y, settings = some_settings(seed)
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-9)
    assert by_dense


@needs_host
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "rmsprop"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_they_agree_in_single_precision(
    activation: str, optimizer: str, by_dense: list[DenseStep]
) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 70, 13, 10)
    settings: dict[str, Any] = {"hidden": (15, 9), "optimizer": optimizer, "epochs": 2}
    settings |= {"activation": activation, "learning_rate": 1e-3, "batch_size": 32}
    assert_alike(*both(X, y, "float32", **settings), rtol=2e-5)


@needs_host
@pytest.mark.parametrize("members", [None, 3])
def test_one_step_is_the_generic_one_to_rounding(members: int | None) -> None:
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
            hyper = told(rule.constants(np.full((1, 1), 0.01), np.full((1, 1), t)))
            x, y = rng.normal(size=(11, 7)), rng.integers(0, 3, 11).astype(np.int32)
            losses = []
            for i, net in enumerate((network, twin)):
                states[i], met = steps[i](net, states[i], Minibatch(x, y), hyper)
                losses.append(np.array(met.loss))
            np.testing.assert_allclose(*losses, rtol=1e-12)
        for a, b in zip(network.layers, twin.layers, strict=True):
            np.testing.assert_allclose(a.weights, b.weights, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-12, atol=1e-13)


@needs_host
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("dropout", [0.0, arraymlp.Dropout(0.2, 0.2)])
def test_folds_agree(optimizer: str, dropout: Any, by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(1), "softmax_cross_entropy", 61, 4, 3)
    found = [
        arraymlp.sweep(
            X,
            y,
            hidden=(11,),
            seed=range(2),
            cv=3,
            epochs=2,
            batch_size=20,
            backend="numpy",
            optimizer=optimizer,
            dropout=dropout,
            dtype="float64",
            engine=engine,
        )
        for engine in ("auto", "array")
    ]
    for a, b in zip(*found, strict=True):
        for name in ("loss", "validation_loss"):
            np.testing.assert_allclose(a.history[name], b.history[name], rtol=1e-9)


class Normed(arraymlp.optimizers.SGD):
    """An optimiser of the user's own, which needs to see a whole gradient at once."""

    def update(
        self, parameter: Any, gradient: Any, state: Any, constants: Any, xp: Any
    ) -> tuple[Any, Any]:
        gradient = gradient / (1 + xp.sqrt(xp.sum(gradient**2)))
        return super().update(parameter, gradient, state, constants, xp)


@needs_host
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_what_is_the_users_own(dropout: float, by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 50, 6, 4)
    settings: dict[str, Any] = {"hidden": (9, 8), "optimizer": Normed(), "epochs": 2}
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
    state, own = initial_states(network, rule), initial_states(twin, rule)
    rng = np.random.default_rng(0)
    batch = Minibatch(rng.normal(size=(8, 5)), rng.integers(0, 3, 8).astype(np.int32))
    hyper = told(rule.constants(np.full((1, 1), 0.1), np.ones((1, 1))))
    step, generic = dense(network, rule, "mean"), array_step(twin, rule, "mean")
    for _ in range(3):
        state, _ = step(network, state, batch, hyper)
        own, _ = generic(twin, own, batch, hyper)
    assert_same_parameters(network, twin, 1e-12)
    for a, b in zip(state, own, strict=True):
        tree_map(lambda v, w: np.testing.assert_allclose(v, w, rtol=1e-9), list(a), list(b))


@needs_host
def test_huge_logits_cost_what_the_generic_step_says(by_dense: list[DenseStep]) -> None:
    X = np.asarray([[1e30], [-1e30], [3e35]])
    settings: dict[str, Any] = {"hidden": (), "epochs": 1, "batch_size": 3, "learning_rate": 1e-30}
    by_engine, by_array = both(X, [0, 1, 2], "float32", **settings)
    np.testing.assert_allclose(by_engine.history["loss"], by_array.history["loss"], rtol=1e-6)


@needs_host
def test_a_diverging_run_ends_alike(by_dense: list[DenseStep]) -> None:
    X, y = problem(np.random.default_rng(1), "squared_error", 60, 5, 1)
    with pytest.raises(arraymlp.NonFiniteLossError, match="in epoch"):
        arraymlp.train(X, y, learning_rate=1e6, batch_size=9, backend="numpy")


@needs_host
@pytest.mark.parametrize("order", [BACKWARD, 0])
def test_the_order_of_threads_changes_no_bit(order: int) -> None:
    batch = Minibatch(
        np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32),
        np.arange(9, dtype=np.int32) % 5,
    )
    found = []
    for how in (None, order):
        network = arraymlp.MultilayerPerceptron.create((7, 40, 5), seed=[0, 1])
        rule = arraymlp.optimizers.Adam()
        step = dense(network, rule, "mean", order=how)
        hyper = told(rule.constants(np.full((1, 1), 0.1), 1))
        step(network, initial_states(network, rule), batch, hyper)
        found.append(network)
    for a, b in zip(found[0].layers, found[1].layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)


@needs_host
@pytest.mark.parametrize(("own", "rounds"), [(False, False), (True, True)])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "rmsprop"])
def test_a_step_makes_no_array_anew(optimizer: str, rounds: bool, own: bool) -> None:
    rule = arraymlp.optimizers.get_optimizer(optimizer)
    network = arraymlp.MultilayerPerceptron.create((160, 150, 140, 130), seed=[0, 1])
    rng = np.random.default_rng(0)
    batch = Minibatch(
        rng.normal(size=(400, 160)).astype("float32"), rng.integers(0, 130, 400).astype("int32")
    )
    hyper = told(rule.constants(np.full((1, 1), 0.01), np.ones((1, 1))))
    hyper = hyper._replace(dropout=[DropoutKey(5, -(2**30), 4 / 3)] * 3)
    factor = np.full((2, 1, 1), 0.99, np.float32) if own else 0.99
    hyper = hyper._replace(decay_factor=factor)
    device = HostKernels("dense_float32.cu")

    def nothing(*args: Any) -> None:
        """No product: NumPy's own makes arrays."""

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


@needs_host
@pytest.mark.parametrize("seed", range(12))
def test_in_bfloat16_the_products_factors_alone_are_rounded(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    rule = [arraymlp.optimizers.SGD(), arraymlp.optimizers.SGD(0.9), arraymlp.optimizers.Adam()][
        seed % 3
    ]
    network = arraymlp.MultilayerPerceptron.create(
        (7, 9, 8, 5), activation=["relu", SQUARE], seed=[0, 1] if seed % 2 else 0
    )
    twin, plain = network.copy(), network.copy()
    steps = [dense(network, rule, "mean", rounds=True)]
    steps += [array_step(net, rule, "mean") for net in (twin, plain)]
    states = [initial_states(net, rule) for net in (network, twin, plain)]
    x, y = rng.normal(size=(11, 7)).astype("float32"), rng.integers(0, 5, 11).astype("int32")
    hyper = told(rule.constants(np.full((1, 1), 0.1), 1))
    masked = DropoutKey(5, -(2**30), 4 / 3)
    masks = [(None, None, masked), (masked, masked, None), (None,) * 3][seed % 3]
    hyper = hyper._replace(dropout=masks)
    for _ in range(3):
        states[0], met = steps[0](network, states[0], Minibatch(x, y), hyper)
        with rounded_matmul(network.backend.xp, monkeypatch):
            states[1], of_twin = steps[1](twin, states[1], Minibatch(x, y), hyper)
        states[2], _ = steps[2](plain, states[2], Minibatch(x, y), hyper)
        np.testing.assert_allclose(met.loss, of_twin.loss, rtol=1e-3)
    assert (steps[0].product.kinds, steps[0].exact.kinds) == ({"uint16"}, {"float32"})
    for a, b, c in zip(network.layers, twin.layers, plain.layers, strict=True):
        for name in ("weights", "bias"):
            one, two, full = (np.asarray(getattr(layer, name)) for layer in (a, b, c))
            assert one.dtype == np.float32
            # A rounding of the sums can tip one of the factors, but only rarely.
            assert np.mean(np.abs(one - two) < 1e-6) > 0.8
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-3)
            assert np.max(np.abs(one - full)) > 1e-5
