"""The fused CUDA kernels: they compute what the array code does.

Their source is compiled for the host, and their algorithm runs in NumPy; see `fused_cases`. On a
GPU the kernels themselves run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arraymlp.engines.cuda.fused as fused
import arraymlp.engines.cuda.three_kernels as three_kernels
from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.engines.cuda.epochs import uncovered
from arraymlp.engines.cuda.source import only, source
from arraymlp.engines.cuda.three_kernels import TILES, ThreeKernels, Tile
from arraymlp.engines.numbers import rule_number
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import OPTIMIZERS, SGD, Adam, AdamW, RMSProp
from arraymlp.steps.epoch import EpochRows
from arraymlp.steps.hyper import hyper_table
from arraymlp.steps.update import initial_states
from arraymlp.training.settings import Settings
from cuda_on_host import check, kernel_names, unavailable
from fused_cases import (
    Case,
    Kernels,
    assert_as_good_as_array,
    fused_step,
    limited,
    parameters,
)
from fused_in_numpy import NumpyKernels
from pairwise import pairwise

pytestmark = pytest.mark.xdist_group(__name__)  # kernels are compiled once a process
needs_compiler = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")


LOSSES = sorted(fused.LOSS_NUMBERS)
COVERED = {name: rule for name, rule in OPTIMIZERS.items() if rule_number(rule) is not None}
# With the usual epsilon, 1e-8, a gradient of 1e-9 that is off by rounding makes another step.
RULES = {
    **COVERED,
    "adam": Adam(epsilon=1e-3),
    "adamw": AdamW(epsilon=1e-3),
    "rmsprop": RMSProp(epsilon=1e-3),
}


def test_the_kernels_know_these_optimizers() -> None:
    assert COVERED.keys() >= {"sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"}


@pytest.mark.parametrize("name", sorted(COVERED))
@pytest.mark.parametrize("members", [None, 3])
def test_every_optimizer(kernels: Kernels, name: str, members: int | None) -> None:
    assert_as_good_as_array(Case(optimizer=name, members=members), kernels, epochs=2)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(kernels: Kernels, name: str) -> None:
    assert_as_good_as_array(Case(activation=name, seed=1), kernels, epochs=2)


LOSS_CASES = pairwise({"loss": LOSSES, "label_smoothing": [0.0, 0.2], "members": [None, 2]})


@pytest.mark.parametrize("case", LOSS_CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_every_loss(kernels: Kernels, case: dict[str, Any]) -> None:
    if case["loss"] == "squared_error":
        case = case | {"label_smoothing": 0.0}
    assert_as_good_as_array(Case(**case), kernels)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "capped" in loss])
def test_a_cap_is_reached(kernels: Kernels, loss: str) -> None:
    case = Case(loss=loss, sizes=(6, 5, 3))
    for network in case.networks.values():
        network.layers[-1].weights *= 60
    case.settings = Settings(batch_size=10, learning_rate=1e-6)
    assert_as_good_as_array(case, kernels)


def test_rows_of_probabilities_as_targets(kernels: Kernels) -> None:
    assert_as_good_as_array(Case(one_hot=True, label_smoothing=0.1), kernels)


@pytest.mark.parametrize(
    ("weighted", "members"), [("shared", None), ("shared", 3), ("own", 3), ("own", 1)]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_samples(
    kernels: Kernels, weighted: str, members: int | None, reduction: Any
) -> None:
    case = Case(weighted=weighted, members=members, reduction=reduction, alpha=0.3, batch=7)
    assert_as_good_as_array(case, kernels, epochs=2)


def test_a_minibatch_without_weight_changes_nothing(kernels: Kernels) -> None:
    case = Case(weighted="shared", batch=4)
    case.weight[case.order[4:8]] = 0.0  # type: ignore[index]
    assert_as_good_as_array(case, kernels)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_penalties_and_decay(kernels: Kernels, name: str, reduction: Any) -> None:
    settings = {"l2": (0.1, 0.0, 0.3), "alpha": (0.2, 0.0, 1.0), "weight_decay": (0.0, 0.5, 0.1)}
    settings |= {"learning_rate": (0.01, 0.02, 0.005)}
    case = Case(members=3, optimizer=name, reduction=reduction, **settings)
    assert_as_good_as_array(case, kernels, epochs=2)


def test_constants_of_each_member(kernels: Kernels) -> None:
    rule = Adam(beta1=(0.9, 0.5), beta2=(0.99, 0.9), epsilon=(1e-8, 1e-3))
    assert_as_good_as_array(Case(members=2, optimizer=rule), kernels, epochs=2)
    rule = SGD(momentum=(0.9, 0.5), nesterov=True)
    assert_as_good_as_array(Case(members=2, optimizer=rule, label_smoothing=(0.0, 0.3)), kernels)


@pytest.mark.parametrize("members", [None, 3])
def test_dropout_draws_the_same_bits(kernels: Kernels, members: int | None) -> None:
    dropout = Dropout((0.5, 0.0, 0.9), (0.0, 0.3, 0.1)) if members else Dropout(0.5, 0.2)
    case = Case(sizes=(40, 37, 33, 4), members=members, dropout=dropout)
    assert_as_good_as_array(case, kernels, epochs=2)
    assert_as_good_as_array(Case(members=members, dropout=Dropout(0.4)), kernels)
    assert_as_good_as_array(Case(members=members, dropout=Dropout(0.0, 0.4)), kernels)


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
    assert_as_good_as_array(
        Case(sizes=sizes, rows=rows, batch=batch, optimizer="momentum"), kernels
    )


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
    dropout=st.sampled_from([Dropout(0.0), Dropout(0.3), Dropout(0.3, 0.2)]),
    alpha=st.sampled_from([0.0, 0.1]),
    tile=st.sampled_from(TILES),
    processors=st.sampled_from([132, 2]),
    shared_memory=st.sampled_from([227 * 1024, 16 * 1024]),
    seed=st.integers(0, 1000),
)
def test_random_networks(
    by_three_kernels: Kernels,
    sizes: list[int],
    members: int | None,
    batch: int,
    rows: int,
    name: str,
    activation: str,
    loss: str,
    dropout: Dropout,
    alpha: float,
    tile: Tile,
    processors: int,
    shared_memory: int,
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
        dropout=dropout,
        alpha=alpha,
        learning_rate=0.01 if "softmax" in loss else 0.0003,  # where training is stable
        seed=seed,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(three_kernels, "TILES", (tile,))
        assert_as_good_as_array(case, limited(by_three_kernels, processors, shared_memory))


@needs_compiler
def test_each_kernel_can_be_compiled_by_itself() -> None:
    text = source("fused.cu")
    names = kernel_names(text)
    assert len(names) == 12
    for name in names:
        assert kernel_names(only(text, name)) == (name,)
    # The others differ by numbers.
    for name in ("first_layer_32x32", "rows_2", "rows_staged_2", "gradients_32x32"):
        check(only(text, name))


def test_rows_in_file_order(host_kernels: Kernels) -> None:
    case = Case()
    case.order = np.arange(len(case.x), dtype=np.int32)
    expected, _ = case.by_fused(host_kernels)
    network = case.networks["float32"].copy()
    states = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    rows = case.rows()._replace(order=None)
    step.epoch(network, states, rows, case.table(network), lambda: False)
    for a, b in zip(parameters(network), parameters(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("rows", "batch", "steps", "graphs"),
    [(60_000, 100, 600, 1), (60_000, 32, 938, 2), (1025, 1, 513, 2), (10, 20, 1, 1)],
)
def test_graphs_of_one_length_cover_an_epoch(
    rows: int, batch: int, steps: int, graphs: int
) -> None:
    case = Case(sizes=(2, 2), rows=3, batch=3)
    network = case.networks["float32"]
    states = initial_states(network, case.rule)
    x = np.zeros((rows, 2), np.float32)
    epoch = EpochRows(x, np.zeros(rows, np.int32), None, None, batch, 0, rows)
    replays: list[int] = []

    def counted(work: Callable[[], None]) -> Callable[[], None]:
        return lambda: replays.append(1)

    table = hyper_table(case.settings, network, np.full((-(-rows // batch), 1), 0.1), 0, 0)
    fused_steps = fused.FusedSteps(
        network, case.rule, states, epoch, "mean", table, NumpyKernels(), ThreeKernels(counted)
    )
    assert fused_steps.steps == steps
    fused_steps(epoch, table)
    assert len(replays) == graphs


def test_a_large_batch_goes_step_by_step(host_kernels: Kernels) -> None:
    case = Case(sizes=(2, 2), rows=1100, batch=1025)
    network = case.networks["float32"]
    step = fused_step(network, case.rule, "mean", host_kernels)
    states = initial_states(network, case.rule)
    assert step.epoch(network, states, case.rows(), case.table(network), lambda: False) is None


def test_rows_in_another_order_are_copied_once(host_kernels: Kernels) -> None:
    recorded: list[int] = []

    def record(work: Callable[[], None]) -> Callable[[], None]:
        recorded.append(1)
        return work

    case = Case(loss="squared_error", weighted="each", members=2)
    expected, _ = case.by_fused(host_kernels, epochs=2)
    case.x, case.y = np.asfortranarray(case.x), np.asfortranarray(case.y)
    assert case.weight is not None
    case.weight = np.asfortranarray(case.weight)
    ours, _ = case.by_fused(host_kernels._replace(record=record), epochs=2)
    for a, b in zip(parameters(ours), parameters(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(recorded) == 1


def test_parameters_in_fortran_order_go_step_by_step(host_kernels: Kernels) -> None:
    case = Case()
    network = case.networks["float32"].copy()
    network.layers[0].weights = np.asfortranarray(network.layers[0].weights)
    step = fused_step(network, case.rule, "mean", host_kernels)
    states = initial_states(network, case.rule)
    assert step.epoch(network, states, case.rows(), case.table(network), lambda: False) is None


def test_new_parameters_are_noticed(host_kernels: Kernels, numpy_backend: Backend) -> None:
    case = Case(optimizer="momentum")
    network = case.networks["float32"].copy()
    states = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    step.epoch(network, states, case.rows(), case.table(network), lambda: False)
    before = [a.copy() for a in parameters(network)]
    fresh = case.networks["float32"].copy()
    network.layers = fresh.layers  # as early stopping puts back the best ones
    states = initial_states(network, case.rule)
    step.epoch(network, states, case.rows(), case.table(network), lambda: False)
    for a, b in zip(before, parameters(network), strict=True):
        np.testing.assert_array_equal(a, b)
    assert network.backend == resolve("numpy") == numpy_backend
