"""The fused CUDA kernels' own: they do what the generic step does.

Without a GPU that is shown twice: of their source, compiled for the host (`cuda_on_host`), and of
their algorithm in NumPy (`fused_in_numpy`), which runs everywhere. On a GPU `test_cuda` does it.
"""

import logging
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arraymlp.engines.cuda.fused as fused
from arraymlp import Backend, MultilayerPerceptron, NonFiniteLossError, Run, resolve, train
from arraymlp.data.minibatches import minibatches
from arraymlp.engines.cpu.engine import CpuEngine
from arraymlp.engines.cuda.epochs import FusedEpochs, uncovered
from arraymlp.engines.cuda.source import source
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Loss
from arraymlp.optimizers import SGD, Adam
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.hyper import hyper_table
from arraymlp.steps.optimizers import OPTIMIZERS, AdamW, Optimizer, RMSProp, get_optimizer
from arraymlp.steps.step import array_step
from arraymlp.steps.update import initial_states
from arraymlp.training.settings import Settings
from conftest import SELECTED, _require
from cuda_on_host import BACKWARD, HostKernels, HostModule, unavailable
from fused_in_numpy import NumpyKernels

needs_compiler = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")


class Kernels(NamedTuple):
    """Where the kernels run, and by what."""

    backend: Backend
    device: Callable[[], Any]
    record: Callable[[Callable[[], None]], Callable[[], None]]


def at_once(work: Callable[[], None]) -> Callable[[], None]:
    """A graph on the host: the launches again, each time."""
    return work


def _kernels(where: str) -> Kernels:
    """By their source on the host, by their algorithm in NumPy, or as they are on a GPU."""
    if where == "numpy":
        return Kernels(resolve("numpy"), NumpyKernels, at_once)
    if where == "cupy":
        backend = _require("cupy")
        cuda = import_module("arraymlp.engines.cuda.device")
        return Kernels(backend, lambda: cuda.kernels("fused.cu", backend.device.id), cuda.recorded)
    if unavailable():
        pytest.skip(unavailable())
    return Kernels(resolve("numpy"), partial(HostKernels, "fused.cu"), at_once)


HOSTS = ["source", "numpy"]


@pytest.fixture(params=[*HOSTS, *(["cupy"] if "cupy" in SELECTED else [])], scope="module")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels in every way in which they run here."""
    return _kernels(request.param)


@pytest.fixture(params=HOSTS, scope="module")
def host_kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels on the host, in both ways."""
    return _kernels(request.param)


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    """Tell ci/gpu which tests are CuPy's."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("kernels") == "cupy":
        request.node.user_properties.append(("backend", "cupy"))


LOSSES = sorted(fused.LOSS_NUMBERS)
# With the usual epsilon, 1e-8, a gradient of 1e-9 that is off by rounding makes another step.
RULES = {
    **OPTIMIZERS,
    "adam": Adam(epsilon=1e-3),
    "adamw": AdamW(epsilon=1e-3),
    "rmsprop": RMSProp(epsilon=1e-3),
}


def fused_step(
    network: MultilayerPerceptron, rule: Optimizer, reduction: str, kernels: Kernels
) -> FusedEpochs:
    """What `arraymlp.engines.cuda.device` makes."""
    step = array_step(network, rule, reduction)
    return FusedEpochs(step, network, rule, reduction, kernels.device(), kernels.record)


class Case:
    """Data, a network and settings to train one epoch with, drawn from a seed."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (9, 7, 5, 4),
        members: int | None = None,
        loss: str = "softmax_cross_entropy",
        activation: Any = "gelu",
        rows: int = 23,
        batch: int = 10,
        weighted: str = "",
        one_hot: bool = False,
        seed: int = 0,
        **changes: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        seeds = 0 if members is None else tuple(range(members))
        changes.setdefault("learning_rate", 0.05)
        self.settings = Settings(batch_size=batch, seed=seeds, **changes)
        self.rule = get_optimizer(self.settings.optimizer)
        network = MultilayerPerceptron.create(sizes, activation=activation, loss=loss, seed=seeds)
        for layer in network.layers:
            layer.bias += rng.normal(0, 0.1, layer.bias.shape).astype("float32")
        self.networks = {dtype: self._in(network, dtype) for dtype in ("float32", "float64")}
        n = sizes[-1]
        self.x = rng.normal(size=(rows, sizes[0])).astype("float32")
        if "softmax" in loss and not one_hot:
            self.y = rng.integers(0, n, rows).astype("int32")
        elif "softmax" in loss:
            self.y = rng.dirichlet(np.ones(n), rows).astype("float32")
        elif "binary" in loss:
            self.y = rng.integers(0, 2, (rows, n)).astype("float32")
        else:
            self.y = rng.normal(size=(rows, n)).astype("float32")
        self.weight = None
        if weighted:
            shape = (rows,) if weighted == "shared" else (rows, members or 1)
            self.weight = rng.uniform(0, 2, shape).astype("float32")
            self.weight[rng.permutation(rows)[: rows // 3]] = 0.0
        self.order = rng.permutation(rows).astype("int32")
        self.steps = -(-rows // batch)

    @staticmethod
    def _in(network: MultilayerPerceptron, dtype: str) -> MultilayerPerceptron:
        return network._map_parameters(lambda a: a.astype(dtype))

    def table(self, network: MultilayerPerceptron, epoch: int = 0) -> Any:
        """What the steps are told."""
        each = np.atleast_1d(np.asarray(self.settings.learning_rate, dtype=float))
        fall = np.linspace(1, 0.7, self.steps)[:, None]
        return hyper_table(self.settings, network, each * fall, epoch * self.steps, epoch)

    def generic(self, dtype: str, epochs: int = 1) -> tuple[MultilayerPerceptron, LossSums]:
        """The network after these epochs of the generic step, and the last one's sums."""
        network = self.networks[dtype].copy()
        step = array_step(network, self.rule, self.settings.reduction)
        state = initial_states(network, self.rule)
        x = self.x.astype(dtype)
        y = self.y if self.y.dtype.kind == "i" else self.y.astype(dtype)
        weight = None if self.weight is None else self.weight.astype(dtype)
        for epoch in range(epochs):
            sums = LossSums(0.0, 0.0, 0.0)
            size, backend = self.settings.batch_size, network.backend
            batches = minibatches(x, y, size, backend=backend, weight=weight, order=self.order)
            for batch, hyper in zip(batches, self.table(network, epoch), strict=True):
                state, met = step(network, state, batch, hyper)
                sums = LossSums(
                    sums.loss + met.loss, sums.weight + batch.total, sums.penalty + met.penalty
                )
        return network, sums

    def rows(
        self, first: int = 0, stop: int | None = None, backend: Backend | None = None
    ) -> EpochRows:
        """All of them, or some."""
        size, n = self.settings.batch_size, len(self.x)
        there = [self.x, self.y, self.weight, self.order]
        if backend is not None:
            there = [None if a is None else backend.asarray(a) for a in there]
        return EpochRows(*there, size, first, stop or n)

    def fused(self, kernels: Kernels, epochs: int = 1) -> tuple[MultilayerPerceptron, LossSums]:
        """The same by the fused kernels."""
        backend = kernels.backend
        with backend.active():
            network = self.networks["float32"].to(backend)
            state = initial_states(network, self.rule)
            step = fused_step(network, self.rule, self.settings.reduction, kernels)
            rows = self.rows(backend=backend)
            for epoch in range(epochs):
                table = self.table(network, epoch)
                done = step.epoch(network, state, rows, table, lambda: False)
                assert done is not None
                steps, sums = done
                assert steps == self.steps
            read = [a if isinstance(a, int | float) else backend.to_numpy(a) for a in sums]
        return network.to("numpy"), LossSums(*read)


def parameters(network: MultilayerPerceptron) -> list[Any]:
    return [a for layer in network.layers for a in (layer.weights, layer.bias)]


def assert_as_good_as_generic(case: Case, kernels: Kernels, epochs: int = 1) -> None:
    """The fused result is as near the one in float64 as the generic step's in float32 is.

    Within a factor, and a few units in the last place where that one happens to be nearer still.
    """
    exact, exact_sums = case.generic("float64", epochs)
    plain, plain_sums = case.generic("float32", epochs)
    found, sums = case.fused(kernels, epochs)
    largest = max(np.abs(a).max() for a in parameters(exact))
    of_parameters = zip(parameters(exact), parameters(plain), parameters(found), strict=True)
    compared = [(*three, largest) for three in of_parameters]
    of_sums = zip(exact_sums, plain_sums, sums, strict=True)
    compared += [(*three, np.abs(three[0]).max()) for three in of_sums]
    for right, near, own, size in compared:
        assert np.shape(own) == np.shape(near)
        assert np.abs(own - right).max() <= 4 * np.abs(near - right).max() + 3e-6 * size


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("members", [None, 3])
def test_every_optimizer(kernels: Kernels, name: str, members: int | None) -> None:
    assert_as_good_as_generic(Case(optimizer=name, members=members), kernels, epochs=2)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(kernels: Kernels, name: str) -> None:
    assert_as_good_as_generic(Case(activation=name, seed=1), kernels, epochs=2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("members", [None, 2])
def test_every_loss(kernels: Kernels, loss: str, smoothing: float, members: int | None) -> None:
    smoothing = 0.0 if loss == "squared_error" else smoothing
    assert_as_good_as_generic(Case(loss=loss, members=members, label_smoothing=smoothing), kernels)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "capped" in loss])
def test_a_cap_is_reached(kernels: Kernels, loss: str) -> None:
    case = Case(loss=loss, sizes=(6, 5, 3))
    for network in case.networks.values():
        network.layers[-1].weights *= 60
    case.settings = Settings(batch_size=10, learning_rate=1e-6)
    assert_as_good_as_generic(case, kernels)


def test_rows_of_probabilities_as_targets(kernels: Kernels) -> None:
    assert_as_good_as_generic(Case(one_hot=True, label_smoothing=0.1), kernels)


@pytest.mark.parametrize(
    ("weighted", "members"), [("shared", None), ("shared", 3), ("own", 3), ("own", 1)]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_samples(
    kernels: Kernels, weighted: str, members: int | None, reduction: Any
) -> None:
    case = Case(weighted=weighted, members=members, reduction=reduction, alpha=0.3, batch=7)
    assert_as_good_as_generic(case, kernels, epochs=2)


def test_a_minibatch_without_weight_says_nothing(kernels: Kernels) -> None:
    case = Case(weighted="shared", batch=4)
    case.weight[case.order[4:8]] = 0.0  # type: ignore[index]
    assert_as_good_as_generic(case, kernels)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_penalties_and_decay(kernels: Kernels, name: str, reduction: Any) -> None:
    own = {"l2": (0.1, 0.0, 0.3), "alpha": (0.2, 0.0, 1.0), "weight_decay": (0.0, 0.5, 0.1)}
    rate = (0.01, 0.02, 0.005)
    case = Case(members=3, optimizer=name, reduction=reduction, learning_rate=rate, **own)
    assert_as_good_as_generic(case, kernels, epochs=2)


def test_constants_of_each_member(kernels: Kernels) -> None:
    rule = Adam(beta1=(0.9, 0.5), beta2=(0.99, 0.9), epsilon=(1e-8, 1e-3))
    assert_as_good_as_generic(Case(members=2, optimizer=rule), kernels, epochs=2)
    rule = SGD(momentum=(0.9, 0.5), nesterov=True)
    assert_as_good_as_generic(Case(members=2, optimizer=rule, label_smoothing=(0.0, 0.3)), kernels)


@pytest.mark.parametrize("members", [None, 3])
def test_dropout_draws_the_same_bits(kernels: Kernels, members: int | None) -> None:
    one = Dropout(0.5, 0.2)
    several = Dropout((0.5, 0.0, 0.9), (0.0, 0.3, 0.1))
    case = Case(sizes=(40, 37, 33, 4), members=members, dropout=several if members else one)
    assert_as_good_as_generic(case, kernels, epochs=2)
    assert_as_good_as_generic(Case(members=members, dropout=Dropout(0.4)), kernels)
    assert_as_good_as_generic(Case(members=members, dropout=Dropout(0.0, 0.4)), kernels)


SHAPES = [
    ((1, 1), 1, 1),
    ((3, 2), 50, 50),
    ((31, 33, 32, 64, 65), 70, 33),
    ((100, 130, 10), 130, 129),
    ((65, 1, 1, 3), 9, 4),
    ((5, 200, 300), 40, 16),
    ((784, 100, 100, 10), 130, 100),
]


@pytest.mark.parametrize(("sizes", "rows", "batch"), SHAPES)
def test_shapes_around_the_edges_of_tiles(
    kernels: Kernels, sizes: tuple[int, ...], rows: int, batch: int
) -> None:
    assert_as_good_as_generic(
        Case(sizes=sizes, rows=rows, batch=batch, optimizer="momentum"), kernels
    )


@pytest.mark.parametrize(
    ("sizes", "members", "batch", "names"),
    [
        ((5, 4, 3), 2, 100, {"rows_2", "first_layer_32", "gradients_32"}),
        ((5, 4, 3), 10, 90, {"rows_4", "first_layer_32", "gradients_32"}),
        ((5, 4, 3), 6, 200, {"rows_8"}),
        ((70, 66, 3), 36, 100, {"rows_8", "first_layer_64", "gradients_64"}),
        ((300, 500, 3), 5, 250, {"rows_8", "first_layer_64", "gradients_64"}),
    ],
)
def test_more_rows_and_members_take_larger_blocks(
    host_kernels: Kernels, sizes: tuple[int, ...], members: int, batch: int, names: set[str]
) -> None:
    rows = batch + batch // 2
    told = {"alpha": 0.1, "dropout": Dropout(0.1, 0.1), "optimizer": "momentum"}
    case = Case(sizes=sizes, rows=rows, batch=batch, members=members, **told)
    network = case.networks["float32"].copy()
    device = host_kernels.device()
    state = initial_states(network, case.rule)
    make = (network, case.rule, state, case.rows(), "mean", case.table(network))
    fused.FusedSteps(*make, device, at_once)
    assert names <= set(device.launched)
    assert_as_good_as_generic(case, host_kernels)


def test_wide_layers_share_no_more_memory_than_there_is() -> None:
    sizes = (3, *[512] * 7, 512)
    network = MultilayerPerceptron.create(sizes)
    assert not uncovered(network, SGD(), 227 * 1024)
    assert "shared memory" in uncovered(network, SGD(), 48 * 1024)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    members=st.sampled_from([None, 1, 2, 5]),
    batch=st.integers(1, 60),
    rows=st.integers(1, 80),
    name=st.sampled_from(sorted(RULES)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(LOSSES),
    dropout=st.sampled_from([0.0, 0.3]),
    alpha=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_random_networks(
    kernels: Kernels,
    sizes: list[int],
    members: int | None,
    batch: int,
    rows: int,
    name: str,
    activation: str,
    loss: str,
    dropout: float,
    alpha: float,
    seed: int,
) -> None:
    case = Case(
        sizes=tuple(sizes),
        members=members,
        batch=min(batch, rows),
        rows=rows,
        optimizer=RULES[name],
        activation=activation,
        loss=loss,
        dropout=Dropout(dropout),
        alpha=alpha,
        learning_rate=0.01 if "softmax" in loss else 0.0003,  # where training is stable
        seed=seed,
    )
    assert_as_good_as_generic(case, kernels)


@needs_compiler
def test_each_kernel_can_be_compiled_by_itself() -> None:
    text = source("fused.cu")
    names = HostModule(text).names
    assert len(names) == 7
    for name in names:
        assert HostModule(text, ["-DONLY", f"-DONLY_{name}"]).names == (name,)


@needs_compiler
@pytest.mark.parametrize("order", [BACKWARD, 0, 1])
def test_no_result_depends_on_which_block_or_thread_is_first(order: int) -> None:
    case = Case(sizes=(70, 40, 35, 6), members=2, optimizer="adam", alpha=0.1, dropout=Dropout(0.3))
    forward, otherwise = (
        Kernels(resolve("numpy"), partial(HostKernels, "fused.cu", o), at_once)
        for o in (None, order)
    )
    (one, sums), (two, others) = case.fused(forward), case.fused(otherwise)
    for a, b in zip(parameters(one), parameters(two), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(sums, others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_in_file_order(host_kernels: Kernels) -> None:
    case = Case()
    case.order = np.arange(len(case.x), dtype=np.int32)
    expected, _ = case.fused(host_kernels)
    network = case.networks["float32"].copy()
    state = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    rows = case.rows()._replace(order=None)
    step.epoch(network, state, rows, case.table(network), lambda: False)
    for a, b in zip(parameters(network), parameters(expected), strict=True):
        np.testing.assert_array_equal(a, b)


# --- within train --------------------------------------------------------------------------------


@pytest.fixture
def on_host(host_kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> list[FusedEpochs]:
    """Has `train` take the fused step on NumPy; lists those that it took."""
    taken = []

    def step(_: Any, network: Any, rule: Any, reduction: str, *rest: Any) -> Any:
        taken.append(fused_step(network, rule, reduction, host_kernels))
        return taken[-1]

    monkeypatch.setattr(CpuEngine, "step", step)
    return taken


N, FEATURES, CLASSES = 53, 12, 3


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, FEATURES)).astype("float32")
    return X, np.argmax(X[:, :CLASSES], axis=1)


def trained(engine: Any, **changes: Any) -> Run:
    X, y = data()
    told = {"hidden": (9, 8), "epochs": 4, "batch_size": 10, "validation": 0.2, **changes}
    return train(X, y, engine=engine, backend="numpy", **told)


def assert_same_runs(one: Run, two: Run) -> None:
    assert len(one.history) == len(two.history)
    for a, b in zip(one.history.records, two.history.records, strict=True):
        for name in a.keys() - {"seconds", "samples_per_s"}:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for p, q in zip(parameters(one.network), parameters(two.network), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-3, atol=1e-5)
    assert [m.step for m in one.measurements] == [m.step for m in two.measurements]
    for m, n in zip(one.measurements, two.measurements, strict=True):
        np.testing.assert_allclose(m.gradient_norm, n.gradient_norm, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffle": False},
        {"drop_last": True},
        {"seed": (0, 1, 2), "learning_rate": (0.01, 0.02, 0.1), "dropout": 0.2},
        {"schedule": "cosine", "optimizer": "adamw", "alpha": 0.01},
        {"class_weight": "balanced", "early_stopping": True},
        {"window": 20},
        {"preset": "lab", "learning_rate": 0.01, "initializer": "auto", "epochs": 30},
        {"probes": True, "shuffle": True, "epochs": 30, "class_weight": "balanced", "alpha": 0.1},
        {"loss": "squared_error", "validation": None},
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
@pytest.mark.filterwarnings("ignore:the last .* samples do not fill")
def test_train_is_the_same_run(on_host: list[FusedEpochs], changes: dict[str, Any]) -> None:
    if changes.get("loss") == "squared_error":
        X, _ = data()
        y, told = X[:, :2].copy(), {"hidden": (9, 8), "epochs": 4, "batch_size": 10}
        runs = [train(X, y, engine=engine, backend="numpy", **told) for engine in ("auto", "array")]
    else:
        runs = [trained(engine, **changes) for engine in ("auto", "array")]
    assert_same_runs(*runs)
    assert on_host[0]._fused is not None  # else the array code was compared with itself


def test_a_graph_shorter_than_an_epoch(
    on_host: list[FusedEpochs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "MOST_STEPS", 2)
    told = {"schedule": "cosine", "dropout": 0.1, "class_weight": "balanced"}
    assert_same_runs(trained("auto", **told), trained("array", **told))


def test_a_run_goes_on_in_the_middle_of_an_epoch(on_host: list[FusedEpochs]) -> None:
    class Stop:
        def __init__(self) -> None:
            self.steps = 0

        def __call__(self, event: Any) -> None: ...

        def on_step(self, event: Any) -> bool:
            self.steps += 1
            return self.steps == 7

    def both(engine: Any) -> Run:
        first = trained(engine, callbacks=[Stop()], optimizer="adam")
        assert first.partial_epoch.steps == 7 % 5
        return train(network=first, epochs=3, backend="numpy")

    assert_same_runs(both("auto"), both("array"))
    assert any(step._fused is not None for step in on_host)


def test_an_interrupt_ends_between_two_graphs(
    host_kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "MOST_STEPS", 2)
    case = Case(rows=50, batch=10, weighted="shared")
    network = case.networks["float32"].copy()
    state = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    answers = iter([False, True])
    done = step.epoch(network, state, case.rows(), case.table(network), lambda: next(answers))
    assert done is not None
    steps, sums = done
    assert steps == 2
    np.testing.assert_allclose(sums.weight, case.weight[case.order[:20]].sum(), rtol=1e-6)  # type: ignore[index]
    case.steps = 3
    rest = step.epoch(network, state, case.rows(20), case.table(network), lambda: False)
    assert rest is not None
    assert rest[0] == 3


def test_a_diverged_network_is_found_out(on_host: list[FusedEpochs]) -> None:
    with pytest.raises(NonFiniteLossError, match="no longer finite"):
        trained("auto", learning_rate=1e30, activation="relu", loss="auto", epochs=3)
    assert on_host[0]._fused is not None


# --- what is not covered -------------------------------------------------------------------------


class Own(SGD):
    """A rule of the user's."""


class Watching:
    """A callback that looks at each step."""

    def __call__(self, event: Any) -> None: ...

    def on_step(self, event: Any) -> None: ...


class OwnLoss(Loss):
    """A loss of the user's, by the name of another."""

    name = "squared_error"


def network_of(sizes: tuple[int, ...] = (3, 4, 2), **changes: Any) -> MultilayerPerceptron:
    return MultilayerPerceptron.create(sizes, **changes)


@pytest.mark.parametrize(
    ("network", "rule", "why"),
    [
        (network_of(dtype="float64"), SGD(), "float32, not in float64"),
        (network_of((3, 513, 2)), SGD(), "up to 512 units, not of 513"),
        (network_of((2,) * 10), SGD(), "8 layers, not for 9"),
        (network_of(), Own(), "no Own"),
        (
            network_of(activation=Activation("mine", ACTIVATIONS["tanh"].function, lambda *a: 1.0)),
            SGD(),
            "no activation 'mine'",
        ),
        (network_of(loss="poisson"), SGD(), "have no loss 'poisson'"),
        (network_of(loss=OwnLoss()), SGD(), "have no loss 'squared_error'"),
    ],
)
def test_what_the_kernels_do_not_cover(
    network: MultilayerPerceptron, rule: Optimizer, why: str
) -> None:
    assert why in uncovered(network, rule, HostKernels.shared_memory)
    assert not uncovered(network_of(), SGD(), HostKernels.shared_memory)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gradient_clip": 1.0}, "the kernels have no gradient_clip"),
        ({"optimizer": Own(0.5)}, "the kernels have no Own"),
        ({"hidden": (600,)}, "up to 512 units"),
        ({"weight_average": 0.9}, "weight_average"),
        ({"callbacks": [Watching()]}, "callbacks look at each step"),
    ],
)
def test_it_says_once_why_it_goes_step_by_step(
    on_host: list[FusedEpochs], changes: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "arraymlp"):
        one, two = trained("auto", **changes), trained("array", **changes)
    lines = [r.getMessage() for r in caplog.records if "step by step" in r.getMessage()]
    assert len(lines) == 1
    assert why in lines[0]
    assert on_host[0]._fused is None
    assert_same_runs(one, two)


class Rebinding(SGD):
    """A rule of the user's whose state is a new array after each step."""

    def initial_state(self, parameter: Any, xp: Any) -> Any:
        return xp.zeros_like(parameter)

    def update(self, parameter: Any, gradient: Any, state: Any, constants: Any, xp: Any) -> Any:
        state = 0.9 * state + gradient
        parameter -= constants.learning_rate * state
        return parameter, state


def test_probes_keep_the_state_of_a_rule_that_binds_it_anew(on_host: list[FusedEpochs]) -> None:
    told = {"optimizer": Rebinding(), "probes": True, "batch_size": 20, "epochs": 12}
    assert_same_runs(trained("auto", **told), trained("array", **told))
    assert len(on_host) == 1


@pytest.mark.parametrize(
    ("rows", "batch", "steps", "graphs"),
    [(60_000, 100, 600, 1), (60_000, 32, 938, 2), (1025, 1, 513, 2), (10, 20, 1, 1)],
)
def test_graphs_of_one_length_cover_an_epoch(
    rows: int, batch: int, steps: int, graphs: int
) -> None:
    case = Case(sizes=(2, 2), rows=3, batch=3)
    network, state = case.networks["float32"], initial_states(case.networks["float32"], case.rule)
    x = np.zeros((rows, 2), np.float32)
    of = EpochRows(x, np.zeros(rows, np.int32), None, None, batch, 0, rows)
    replays: list[int] = []

    def never(work: Callable[[], None]) -> Callable[[], None]:
        return lambda: replays.append(1)

    make = (network, case.rule, state, of, "mean")
    table = hyper_table(case.settings, network, np.full((-(-rows // batch), 1), 0.1), 0, 0)
    many = fused.FusedSteps(*make, table, NumpyKernels(), never)
    assert many.steps == steps
    many(of, table)
    assert len(replays) == graphs


def test_a_large_batch_goes_step_by_step(host_kernels: Kernels) -> None:
    case = Case(sizes=(2, 2), rows=1100, batch=1025)
    network = case.networks["float32"]
    step = fused_step(network, case.rule, "mean", host_kernels)
    state = initial_states(network, case.rule)
    assert step.epoch(network, state, case.rows(), case.table(network), lambda: False) is None


def test_columns_in_fortran_order_go_step_by_step(host_kernels: Kernels) -> None:
    case = Case()
    network = case.networks["float32"]
    step = fused_step(network, case.rule, "mean", host_kernels)
    rows = case.rows()._replace(x=np.asfortranarray(case.x))
    state = initial_states(network, case.rule)
    assert step.epoch(network, state, rows, case.table(network), lambda: False) is None


def test_new_parameters_are_found(host_kernels: Kernels, numpy_backend: Backend) -> None:
    case = Case(optimizer="momentum")
    network = case.networks["float32"].copy()
    state = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    step.epoch(network, state, case.rows(), case.table(network), lambda: False)
    old = [a.copy() for a in parameters(network)]
    again = case.networks["float32"].copy()
    network.layers = again.layers  # as early stopping puts back the best ones
    state = initial_states(network, case.rule)
    step.epoch(network, state, case.rows(), case.table(network), lambda: False)
    for a, b in zip(old, parameters(network), strict=True):
        np.testing.assert_array_equal(a, b)
    assert network.backend == resolve("numpy") == numpy_backend
