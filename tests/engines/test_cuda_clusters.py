"""Training by clusters of blocks: it computes what the array code does, for clusters of all sizes.

Every optimiser, activation and loss is trained by clusters, too, in `test_cuda_fused`; here are the
sizes of clusters, shared memory of all sizes, and barriers that are missed.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import arraymlp.engines.cuda.fused as fused
from arraymlp import MultilayerPerceptron, resolve
from arraymlp.engines.cuda.clusters import (
    COLUMNS,
    ROWS,
    SIZES,
    THREADS,
    VECTORS,
    Clusters,
    divisor,
    layout,
)
from arraymlp.engines.cuda.source import only, source
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import SGD, Adam
from cuda_on_host import (
    BACKWARD,
    HostKernels,
    HostModule,
    LaunchError,
    check,
    kernel_names,
    unavailable,
)
from fused_cases import Case, Kernels, assert_as_good_as_array, at_once, parameters

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works"),
    pytest.mark.xdist_group(__name__),  # kernels are compiled once a process
]

MEMORY = HostKernels.shared_memory
LAB = (784, 100, 100, 10)


class Device(HostKernels):
    """Kernels on the host, of a GPU of some size, perhaps with a bug."""

    def __init__(
        self,
        processors: int = 132,
        shared_memory: int = MEMORY,
        order: int | None = None,
        module: HostModule | None = None,
    ) -> None:
        super().__init__("clusters.cu", order, processors)
        self.shared_memory = shared_memory
        self._module = module or self._module

    def launch(self, *args: Any, **kwargs: Any) -> None:
        """As on the host, and within the GPU's shared memory."""
        assert args[4] <= self.shared_memory
        super().launch(*args, **kwargs)


class Count(NamedTuple):
    """The capability of a device is read as a number, and nothing else of it."""

    compute_capability: float
    processors: int = 132
    shared_memory: int = MEMORY


def on(**device: Any) -> Kernels:
    """Clusters on the host, on such a device."""
    return Kernels(resolve("numpy"), partial(Device, **device), at_once, Clusters())


def assert_same_bits(case: Case, one: Kernels, other: Kernels, epochs: int = 1) -> None:
    (ours, our_sums), (theirs, their_sums) = (case.by_fused(k, epochs) for k in (one, other))
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(our_sums, their_sums, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("sizes", [(13, 7, 5, 3), (16, 33, 1), (3, 2), (6, 1, 1, 9)])
def test_clusters_of_every_size(size: int, members: int, sizes: tuple[int, ...]) -> None:
    devices: list[Device] = []

    def device() -> Device:
        devices.append(Device(processors=size * members))
        return devices[-1]

    kernels = on()._replace(device=device)
    settings = {"alpha": 0.1, "dropout": Dropout(0.2, 0.1), "optimizer": "nesterov"}
    case = Case(sizes=sizes, rows=38, batch=15, members=members, **settings)
    assert_as_good_as_array(case, kernels, epochs=3)
    assert {name for d in devices for name in d.launched} == {f"clusters_{size}"}


# Every optimiser and every number of members: the two meet in the smaller networks of other tests.
@pytest.mark.parametrize(
    ("members", "optimizer"),
    [
        *[(None, "momentum"), (None, Adam(epsilon=1e-3)), (1, "sgd")],
        *[(2, "momentum"), (2, Adam(epsilon=1e-3)), (5, "sgd")],
    ],
)
def test_the_lab_s_network(members: int | None, optimizer: Any) -> None:
    # On so small a GPU the members' clusters are of 4 blocks, the fewest that the weights fit.
    case = Case(sizes=LAB, rows=250, batch=100, members=members, optimizer=optimizer, alpha=0.1)
    assert_as_good_as_array(case, on(processors=4), epochs=2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 150), min_size=2, max_size=5),
    members=st.sampled_from([None, 2, 3]),
    batch=st.integers(1, 120),
    processors=st.integers(1, 30),
    kilobytes=st.integers(12, 227),
    optimizer=st.sampled_from(["sgd", "momentum", Adam(epsilon=1e-3)]),
    dropout=st.sampled_from([0.0, 0.3]),
)
def test_any_shared_memory(
    sizes: list[int],
    members: int | None,
    batch: int,
    processors: int,
    kilobytes: int,
    optimizer: Any,
    dropout: float,
) -> None:
    case = Case(
        sizes=tuple(sizes),
        members=members,
        batch=batch,
        rows=2 * batch - batch // 3,
        optimizer=optimizer,
        dropout=Dropout(dropout),
        alpha=0.1,
        learning_rate=0.01,
    )
    kernels = on(processors=processors, shared_memory=1024 * kilobytes)
    network = case.networks["float32"]
    assume(not Clusters().reason(network, case.rule, batch, kernels.device()))
    assert_as_good_as_array(case, kernels)


def test_states_in_global_memory() -> None:
    sizes, batch, optimizer = (40, 37, 5), 12, Adam(epsilon=1e-3)
    near, far = (layout(sizes, batch, 2, n, MEMORY) for n in (2, 0))
    assert near is not None
    assert far is not None
    assert near.states_are_shared
    found = layout(sizes, batch, 2, 2, far.shared)
    assert found is not None
    assert not found.states_are_shared
    case = Case(sizes=sizes, batch=batch, members=2, optimizer=optimizer)
    on_near, on_far = (on(processors=4, shared_memory=a.shared) for a in (near, far))
    assert_as_good_as_array(case, on_far, epochs=3)
    assert_same_bits(case, on_near, on_far, epochs=3)


@pytest.mark.parametrize("n_in", [8, 9])
def test_samples_anywhere_in_memory(n_in: int) -> None:
    case = Case(sizes=(n_in, 5, 3), members=2, dropout=Dropout(0.2))
    moved = np.empty(case.x.size + 1, np.float32)[1:].reshape(case.x.shape)  # not by 16 bytes
    moved[...] = case.x
    case.x = moved
    assert_as_good_as_array(case, on())


@pytest.mark.parametrize("order", [BACKWARD, 0, 1, 2])
@pytest.mark.parametrize("size", [1, 4])
def test_no_result_depends_on_which_block_or_thread_is_first(order: int, size: int) -> None:
    case = Case(sizes=(70, 40, 35, 6), members=2, optimizer="adam", alpha=0.1, dropout=Dropout(0.3))
    kernels = on(processors=2 * size), on(processors=2 * size, order=order)
    assert_same_bits(case, *kernels, epochs=2)


def test_a_launch_has_some_steps_and_those_of_no_rows_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(members=2, rows=44, batch=10, optimizer="momentum")
    assert case.steps == 5
    whole = case.by_fused(on(), epochs=2)[0]
    monkeypatch.setattr(fused, "MOST_STEPS", 2)  # three launches of two steps
    assert_as_good_as_array(case, on(), epochs=2)
    for a, b in zip(parameters(case.by_fused(on(), epochs=2)[0]), parameters(whole), strict=True):
        np.testing.assert_array_equal(a, b)


# Of each barrier: what the source is without it. A block's own barrier stays.
BARRIERS = {
    "before the first layer's outputs": [
        ("if (of_samples) cluster_wait();", ""),
        ("cluster_arrive();\n    for", "for"),
        ("alpha / 2;\n        cluster_arrive();", "alpha / 2;"),
        ("cluster_wait();  // nobody", "// nobody"),
    ],
    "before the rows": [
        (
            "have the rows\n                cluster_arrive();\n                cluster_wait();",
            "\n__syncthreads();",
        )
    ],
    "before the gradients": [
        (
            "rows are there\n                cluster_arrive();\n                cluster_wait();",
            "\n__syncthreads();",
        )
    ],
}


@pytest.mark.parametrize("name", BARRIERS)
def test_a_missing_barrier_is_noticed(name: str) -> None:
    text = source("clusters.cu")
    for old, new in BARRIERS[name]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    module = HostModule(text, ["-O0"])  # it is run less than compiled
    case = Case(members=1, rows=40, batch=10)
    right = parameters(case.by_fused(on())[0])
    noticed = []
    for order in (None, BACKWARD, 0, 1):
        try:
            found = parameters(case.by_fused(on(order=order, module=module))[0])
        except LaunchError:
            noticed.append(True)
            continue
        noticed.append(not all(map(np.array_equal, found, right)))
    assert any(noticed)


def test_gpus_without_clusters_and_networks_that_do_not_fit() -> None:
    network, way = MultilayerPerceptron.create(LAB), Clusters()
    assert way.reason(network, SGD(), 100, Device()) == ""
    assert "8.0" in way.reason(network, SGD(), 100, Count(8.0))  # type: ignore[arg-type]
    assert "100 rows" in way.reason(network, SGD(), 100, Device(shared_memory=65536))
    wide = MultilayerPerceptron.create((784, 512, 512, 10))
    assert "shared memory" in way.reason(wide, SGD(), 100, Device())


def used(struct: Any, m: int, n: int, k: int, height: int) -> float:
    """The share of the products that the block's threads do which are not in vain."""
    panel, part, depth = (int(struct[name]) for name in ("panel", "part", "depth"))
    rounds = sum(-(-min(part, k - k0) // 4) for k0 in range(0, k, depth))
    return m * n * k / (-(-m // panel) * rounds * 4 * THREADS * height * COLUMNS)


def test_threads_have_work() -> None:
    found = layout(LAB, 100, 4, 0, MEMORY)
    assert found is not None
    first, second, _ = found.plan["layers"][:3]
    assert used(first["forward"], 100, 25, 785, ROWS) > 0.93
    assert used(first["gradient"], 785, 25, 100, 4 * VECTORS) > 0.93
    assert used(second["forward"], 100, 25, 101, ROWS) > 0.8
    assert used(second["back"], 100, 25, 100, 4 * VECTORS) > 0.75
    assert used(second["gradient"], 101, 25, 100, 4 * VECTORS) > 0.75


def test_division_by_multiplication() -> None:
    numbers = np.arange(1024, dtype=np.int32)
    for size in range(1, 1025):
        _, inverse = divisor(size)
        np.testing.assert_array_equal(numbers * np.int32(inverse) >> 20, numbers // size)


def test_each_kernel_can_be_compiled_by_itself() -> None:
    text = source("clusters.cu")
    names = kernel_names(text)
    assert names == tuple(f"clusters_{size}" for size in SIZES)
    for name in names:
        assert kernel_names(only(text, name)) == (name,)
    check(only(text, names[-1]))
