"""The launch that does all steps: its blocks, on the host, compute what the array code does."""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arraymlp.engines.cuda.fused as fused
from arraymlp import MultilayerPerceptron, resolve
from arraymlp.engines.cuda.fused import FusedSteps
from arraymlp.engines.cuda.persistent import Persistent, best_cut, cuts
from arraymlp.engines.cuda.source import RefusedError, only, source
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import OPTIMIZERS, SGD, Adam
from arraymlp.steps.update import initial_states
from cuda_on_host import (
    BACKWARD,
    MOST_SHARED,
    HostKernels,
    HostModule,
    LaunchError,
    kernel_names,
    unavailable,
)
from fused_cases import Case, Kernels, assert_as_good_as_array, at_once, parameters
from pairwise import pairwise
from test_cuda_fused import LOSSES, RULES

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
    pytest.mark.xdist_group(__name__),  # kernels are compiled once a process
]
ORDERS = [BACKWARD, 0, 1, 2]


class Device(HostKernels):
    """The host with so many processors, and perhaps with other code."""

    def __init__(
        self,
        order: int | None = None,
        processors: int = 6,
        module: HostModule | None = None,
        shared_memory: int = MOST_SHARED,
    ) -> None:
        super().__init__(Persistent.file, order, processors)
        self._module = module or self._module
        self.shared_memory = shared_memory


def kernels(
    order: int | None = None, processors: int = 6, module: HostModule | None = None
) -> Kernels:
    device = partial(Device, order, processors, module)
    return Kernels(resolve("numpy"), device, at_once, Persistent())


CASES = pairwise(
    {
        "optimizer": sorted(RULES),
        "activation": sorted(ACTIVATIONS),
        "loss": LOSSES,
        "label_smoothing": [0.0, 0.2],
        "dropout": [Dropout(0.0), Dropout(0.5, 0.2), Dropout(0.0, 0.4)],
        "alpha": [0.0, 0.3],
        "l2": [0.0, 0.1],
        "weight_decay": [0.0, 0.5],
        "weighted": ["", "shared", "own"],
        "reduction": ["mean", "sum"],
        "members": [None, 1],
        "sizes": [(9, 7, 5, 4), (12, 8, 16, 4), (6, 5)],
        "processors": [1, 5, 12],
    }
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_every_setting(case: dict[str, Any]) -> None:
    case = dict(case)
    processors = case.pop("processors")
    case["optimizer"] = RULES[case["optimizer"]]
    if case["loss"] == "squared_error":
        case["label_smoothing"] = 0.0
    if case["members"] is None and case["weighted"] == "own":
        case["weighted"] = "shared"
    stable = 0.01 if "softmax" in case["loss"] else 0.001
    case["learning_rate"] = stable if case["reduction"] == "mean" else stable / 10
    assert_as_good_as_array(Case(**case), kernels(processors=processors), epochs=2)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() & RULES.keys()))
def test_every_optimizer_keeps_its_state_between_launches(name: str) -> None:
    assert_as_good_as_array(Case(optimizer=name), kernels(), epochs=3)


def test_rows_of_probabilities_as_targets() -> None:
    assert_as_good_as_array(Case(one_hot=True, label_smoothing=0.1), kernels())


SHAPES = [
    ((1, 1), 1, 1, 3),
    ((3, 2), 50, 50, 4),
    ((4, 4, 4), 10, 10, 132),
    ((31, 33, 32, 64, 65), 70, 33, 9),
    ((100, 130, 10), 130, 129, 7),
    ((65, 1, 1, 3), 9, 4, 20),
    ((5, 200, 90), 40, 16, 13),
    ((784, 100, 100, 10), 130, 100, 132),
    ((36, 40, 20, 8), 300, 256, 5),
]


@pytest.mark.parametrize(("sizes", "rows", "batch", "processors"), SHAPES)
def test_shapes_around_the_edges_of_pieces(
    sizes: tuple[int, ...], rows: int, batch: int, processors: int
) -> None:
    case = Case(sizes=sizes, rows=rows, batch=batch, optimizer="momentum", alpha=0.1)
    assert_as_good_as_array(case, kernels(processors=processors))


def test_as_by_three_kernels() -> None:
    case = Case(sizes=(40, 30, 20, 6), optimizer="nesterov", alpha=0.2, dropout=Dropout(0.3, 0.1))
    three = Kernels(resolve("numpy"), partial(HostKernels, "fused.cu"), at_once)
    (theirs, their_sums), (ours, our_sums) = (
        case.by_fused(a, epochs=2) for a in (three, kernels())
    )
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())
    np.testing.assert_allclose(our_sums, their_sums, rtol=2e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    batch=st.integers(1, 60),
    rows=st.integers(1, 80),
    name=st.sampled_from(sorted(RULES)),
    dropout=st.sampled_from([0.0, 0.3]),
    alpha=st.sampled_from([0.0, 0.1]),
    processors=st.integers(1, 16),
    order=st.sampled_from([None, *ORDERS]),
    seed=st.integers(0, 1000),
)
def test_random_networks(
    sizes: list[int],
    batch: int,
    rows: int,
    name: str,
    dropout: float,
    alpha: float,
    processors: int,
    order: int | None,
    seed: int,
) -> None:
    case = Case(
        sizes=tuple(sizes),
        batch=min(batch, rows),
        rows=rows,
        optimizer=RULES[name],
        dropout=Dropout(dropout),
        alpha=alpha,
        learning_rate=0.01,
        seed=seed,
    )
    assert_as_good_as_array(case, kernels(order, processors))


def shifted(array: Any) -> Any:
    """A copy of the array that starts 4 bytes after a multiple of 16."""
    room = np.empty(array.size + 8, array.dtype)
    start = (20 - room.ctypes.data % 16) % 16 // 4
    copy = room[start : start + array.size].reshape(array.shape)
    copy[...] = array
    assert copy.ctypes.data % 16 == 4
    return copy


def test_arrays_that_are_not_aligned_to_16_bytes() -> None:
    case = Case(sizes=(12, 8, 16, 4), optimizer="momentum")
    expected, _ = case.by_fused(kernels())
    case.x = shifted(case.x)
    for layer in case.networks["float32"].layers:
        layer.weights, layer.bias = shifted(layer.weights), shifted(layer.bias)
    steps, network = prepared(case, Device())
    steps(case.rows(), case.table(network))
    assert_same(network, expected)


def prepared(
    case: Case, device: Device, network: MultilayerPerceptron | None = None
) -> tuple[FusedSteps, MultilayerPerceptron]:
    """A case's steps, and the network that they train."""
    network = network or case.networks["float32"]
    states, table = initial_states(network, case.rule), case.table(network)
    rows, way = case.rows(), Persistent()
    steps = FusedSteps(network, case.rule, states, rows, "mean", table, device, way)
    return steps, network


def assert_same(ours: MultilayerPerceptron, theirs: MultilayerPerceptron) -> None:
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_launches_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(optimizer="adam", alpha=0.1, dropout=Dropout(0.2, 0.2), rows=43)
    expected, sums = case.by_fused(kernels(), epochs=2)
    monkeypatch.setattr(fused, "MOST_STEPS", 3)  # of 5 steps: the second launch's last is empty
    launched: list[str] = []

    def device() -> Device:
        made = Device()
        made.launched = launched
        return made

    ours, our_sums = case.by_fused(kernels()._replace(device=device), epochs=2)
    assert launched == ["persistent_2"] * 5  # one to load it
    assert_same(ours, expected)
    assert our_sums[0] == pytest.approx(sums[0], rel=1e-6)
    assert our_sums[2] == pytest.approx(sums[2], rel=1e-6)


@pytest.mark.parametrize("empty", [[0], [1], [1, 2], [0, 3]])
def test_steps_without_rows_wherever_they_are(empty: list[int]) -> None:
    case = Case(rows=20, batch=4, optimizer="momentum", dropout=Dropout(0.0, 0.2))
    full = [step for step in range(5) if step not in empty]

    def trained(steps_with_rows: list[int]) -> MultilayerPerceptron:
        steps, network = prepared(case, Device(), case.networks["float32"].copy())
        replay, steps.replay = steps.replay, lambda: None
        steps(case.rows(), case.table(network))  # fills the tables alone
        steps.tables["rows"][...] = [4 * (step in steps_with_rows) for step in range(5)]
        for name in steps.tables.keys() - {"rows"}:
            by_step = steps.tables[name].reshape(5, -1)
            by_step[steps_with_rows] = by_step[full].copy()
        replay()
        return network

    assert_same(trained(full), trained(list(range(len(full)))))


@pytest.mark.parametrize("order", ORDERS)
def test_no_result_depends_on_which_block_or_thread_is_first(order: int) -> None:
    case = Case(
        sizes=(70, 40, 35, 6), optimizer="adam", alpha=0.1, dropout=Dropout(0.3, 0.1), rows=50
    )
    forward, other = kernels(processors=11), kernels(order, processors=11)
    (ours, our_sums), (theirs, their_sums) = case.by_fused(forward), case.by_fused(other)
    assert_same(ours, theirs)
    for a, b in zip(our_sums, their_sums, strict=True):
        np.testing.assert_array_equal(a, b)


# What each mutation of the source leaves out; any of them has to be noticed.
MUTATIONS = {
    "barrier 1": ("barrier.wait();\n        for (", "for ("),
    "barrier 2": ("barrier.wait();\n        squares +=", "squares +="),
    "the meeting after the count": (
        "wait_for_count(arrived, count);\n        __syncthreads();",
        "wait_for_count(arrived, count);",
    ),
    "the wait for inputs": (
        "wait_for_copies();\n        __syncthreads();\n        if (now",
        "if (now",
    ),
    "the wait for weights": (
        "wait_for_copies();\n        __syncthreads();\n    }",
        "__syncthreads(); }",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_missing_barrier_or_wait_is_noticed(name: str) -> None:
    text = source(Persistent.file)
    there, instead = MUTATIONS[name]
    assert text.count(there) == 1
    module = HostModule(only(text.replace(there, instead), "persistent_2"), ["-O0"])
    case = Case(sizes=(20, 12, 9, 4), optimizer="momentum")
    expected, _ = case.by_fused(kernels())

    def right(order: int | None) -> bool:
        try:
            ours, _ = case.by_fused(kernels(order, module=module))
        except LaunchError:
            return False
        pairs = zip(parameters(ours), parameters(expected), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    assert not all(right(order) for order in (None, *ORDERS))


def test_a_block_that_stays_away_is_noticed() -> None:
    text = source(Persistent.file)
    there = "Barrier barrier(arrived);"
    assert text.count(there) == 1
    away = f"if (block == 3) return; {there}"
    module = HostModule(only(text.replace(there, away), "persistent_2"), ["-O0"])
    with pytest.raises(LaunchError, match=r"deadlock.*wait at wait_for_count.*blocks 1 are over"):
        Case().by_fused(kernels(module=module))


def test_a_device_that_does_not_run_all_blocks_refuses() -> None:
    class Busy(Device):
        def launch(self, *args: Any, **kwargs: Any) -> None:
            self.processors = 2  # others have the rest
            super().launch(*args, **kwargs)

    case = Case()
    before = [a.copy() for a in parameters(case.networks["float32"])]
    with pytest.raises(RefusedError, match="2 blocks fit on the host, not"):
        prepared(case, Busy())
    for a, b in zip(parameters(case.networks["float32"]), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_it_is_not_for() -> None:
    way, device = Persistent(), Device(processors=132)
    network = MultilayerPerceptron.create((784, 100, 100, 10), seed=(0, 1))
    assert way.reason(network, SGD(), 100, device) == "it is for one network, not for 2"
    network = MultilayerPerceptron.create((784, 100, 100, 10))
    for batch in (1, 100, 256):
        assert not way.reason(network, Adam(), batch, device)
    assert "bytes of shared memory" in way.reason(network, SGD(), 1024, device)
    small = Device(processors=40, shared_memory=2**16)
    assert "of 65,536" in way.reason(network, SGD(), 100, small)
    assert not way.reason(MultilayerPerceptron.create((64, 60, 10)), SGD(), 100, small)
    wide = MultilayerPerceptron.create((784, 512, 512, 10))
    reason = way.reason(wide, SGD(), 100, device)
    assert re.fullmatch(r"a block needs 1,1\d\d,\d{3} bytes of shared memory, of 232,448", reason)


@pytest.mark.parametrize("processors", [1, 2, 7, 40, 108, 132, 160])
@pytest.mark.parametrize("sizes", [(784, 100, 100, 10), (9, 7, 5), (1, 1), (30, 300, 3)])
def test_pieces_cover_the_first_layer_and_fit_on_the_device(
    processors: int, sizes: tuple[int, ...]
) -> None:
    network = MultilayerPerceptron.create(sizes)
    for cut in cuts(network, 100, 1, processors):
        assert cut.blocks <= processors
        assert cut.part % 4 == 0
        assert (cut.parts - 1) * cut.part < sizes[0] + 1 <= cut.parts * cut.part
        assert (cut.slices - 1) * cut.columns < sizes[1] <= cut.slices * cut.columns


def test_the_cut_of_the_lab() -> None:
    network = MultilayerPerceptron.create((784, 100, 100, 10))
    cut = best_cut(network, 100, 1, Device(processors=132))
    assert cut is not None
    assert (cut.part, cut.parts, cut.columns, cut.slices, cut.rows) == (44, 18, 15, 7, 1)


def test_each_kernel_can_be_compiled_by_itself() -> None:
    text = source(Persistent.file)
    names = kernel_names(text)
    assert names == tuple(f"persistent_{rows}" for rows in (1, 2, 4, 8))
    for name in names:
        assert kernel_names(only(text, name)) == (name,)
