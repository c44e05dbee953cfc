"""How the three kernels cut a step into blocks; no way to cut it changes what they compute."""

import faulthandler
import mmap
import multiprocessing
import signal
from collections.abc import Callable
from ctypes import CDLL, addressof, c_size_t, c_void_p
from functools import partial
from typing import Any

import numpy as np
import pytest

import arraymlp.engines.cuda.three_kernels as three_kernels
from arraymlp import MultilayerPerceptron, resolve
from arraymlp.engines.cuda.fused import FusedSteps
from arraymlp.engines.cuda.source import source
from arraymlp.engines.cuda.three_kernels import (
    ROWS,
    TILES,
    Products,
    Tile,
    cut,
    gradient_products,
    rows_kernel,
    sums_products,
)
from arraymlp.nn.dropout import Dropout
from arraymlp.steps.update import arrays_of, initial_states
from cuda_on_host import BACKWARD, MOST_SHARED, HostKernels, HostModule, kernel_names, unavailable
from fused_cases import (
    Case,
    Kernels,
    assert_as_good_as_array,
    at_once,
    fused_step,
    limited,
    parameters,
)

pytestmark = pytest.mark.xdist_group(__name__)  # kernels are compiled once a process
needs_compiler = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")
SIZES, BATCH, PROCESSORS = (784, 100, 100, 10), 100, 132  # the lab's network, on an H100


def computed(products: list[Products], tile: Tile) -> float:
    """How many multiply-adds the tiles do for each that the products need."""
    done = sum(p.tiles(tile) for p in products) * tile.height * tile.width
    return done / sum(p.number * p.height * p.width for p in products)


def test_a_population_computes_little_more_than_it_needs() -> None:
    sums, gradients = sums_products(64, BATCH, 100, False), gradient_products(64, SIZES, False)
    assert computed(sums, cut(sums, 784, PROCESSORS, True).tile) == 1.0
    assert computed(gradients, cut(gradients, BATCH, PROCESSORS, False).tile) < 1.115
    # The products' terms leave no rest in a chunk, whose sums go on in fours.
    assert cut(sums, 784, PROCESSORS, True).part % 4 == 784 % 4 == BATCH % 4 == 0


def test_members_that_mask_the_inputs_have_tiles_of_their_own() -> None:
    assert sums_products(5, 30, 7, dropped=False) == [Products(1, 30, 35)]
    assert sums_products(5, 30, 7, dropped=True) == [Products(5, 30, 7)]
    products = gradient_products(5, (9, 7, 3), dropped=False)
    assert products == [Products(1, 9, 35), Products(5, 7, 3)]
    products = gradient_products(5, (9, 7, 3), dropped=True)
    assert products == [Products(5, 9, 7), Products(5, 7, 3)]


@pytest.mark.parametrize(
    ("members", "first", "parts", "gradients"),
    [
        (1, "32x32", 13, "32x32"),
        (8, "64x64", 10, "64x64"),
        (16, "100x64", 10, "100x64"),
        (64, "100x64", 5, "100x64"),
        (256, "100x64", 3, "100x64"),
    ],
)
def test_more_members_take_larger_tiles_and_fewer_parts(
    members: int, first: str, parts: int, gradients: str
) -> None:
    way = cut(sums_products(members, BATCH, 100, False), 784, PROCESSORS, True)
    assert (way.tile.name, -(-784 // way.part)) == (first, parts)
    products = gradient_products(members, SIZES, False)
    assert cut(products, BATCH, PROCESSORS, False).tile.name == gradients


def test_every_part_of_the_sums_has_terms() -> None:
    for n_in in (1, 31, 32, 33, 784, 3072):
        for members in (1, 5, 64):
            way = cut(sums_products(members, BATCH, 100, False), n_in, PROCESSORS, True)
            assert way.part % way.tile.depth == 0
            assert (-(-n_in // way.part) - 1) * way.part < n_in


@pytest.mark.parametrize(
    ("members", "shared_memory", "name"),
    [
        (1, MOST_SHARED, "rows_staged_2"),
        (1, 99 * 1024, "rows_staged_2"),  # 50 blocks: one of 51 KiB a multiprocessor is enough
        (1, 48 * 1024, "rows_2"),
        (4, MOST_SHARED, "rows_staged_2"),
        (4, 99 * 1024, "rows_2"),  # 200 blocks: two do not fit
        (10, MOST_SHARED, "rows_staged_4"),
        (64, MOST_SHARED, "rows_staged_8"),
        (64, 99 * 1024, "rows_8"),
    ],
)
def test_weights_are_staged_where_the_blocks_still_fit(
    members: int, shared_memory: int, name: str
) -> None:
    class Device:
        processors = PROCESSORS

    device: Any = Device()
    device.shared_memory = shared_memory
    network = MultilayerPerceptron.create(SIZES)
    assert rows_kernel(network, members, BATCH, device)[0] == name


def test_a_block_needs_no_more_shared_memory_than_every_device_has() -> None:
    assert all(tile.shared_bytes(1024) <= 48 * 1024 for tile in TILES)


# Each kernel by itself: a device has so many multiprocessors that a step is cut for it

CUTS = [
    (TILES[0], 90, MOST_SHARED, 2, True),
    (TILES[0], 90, 16 * 1024, 2, False),
    (TILES[1], 60, MOST_SHARED, 4, True),
    (TILES[1], 60, 26 * 1024, 4, False),
    (TILES[2], 2, MOST_SHARED, 8, True),
    (TILES[2], 2, 48 * 1024, 8, False),
]


@pytest.fixture(params=CUTS, ids=lambda cut: "-".join(map(str, (cut[0].name, *cut[1:]))))
def way_to_cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Steps are cut into this tile; the limits of a device, and the kernels that it has to run."""
    tile, processors, shared_memory, rows, staged = request.param
    monkeypatch.setattr(three_kernels, "TILES", (tile,))
    of_rows = f"rows_staged_{rows}" if staged else f"rows_{rows}"
    names = {f"first_layer_{tile.name}", of_rows, f"gradients_{tile.name}"}
    return processors, shared_memory, names


def populations() -> list[Case]:
    """Members' columns share tiles, or not; their edges are on multiples of 4, or not."""
    settings: dict[str, Any] = {"members": 3, "rows": 171, "batch": 114, "weighted": "own"}
    settings |= {"alpha": (0.1, 0.0, 0.2), "learning_rate": (0.05, 0.01, 0.1)}
    other_rest = settings | {"rows": 83, "batch": 66}  # chunks end in another place
    dropout = Dropout(0.2, 0.2)
    return [
        Case(sizes=(70, 28, 36, 8), optimizer="momentum", **settings),
        Case(sizes=(67, 29, 35, 3), optimizer="adam", **other_rest),
        Case(sizes=(70, 28, 36, 8), optimizer="adam", dropout=dropout, **settings),
        Case(sizes=(67, 29, 35, 3), optimizer="momentum", dropout=dropout, **settings),
        Case(sizes=(103, 1, 1), optimizer="momentum", **settings),
    ]


def test_no_cut_changes_what_is_computed(by_three_kernels: Kernels, way_to_cut: Any) -> None:
    processors, shared_memory, _ = way_to_cut
    for case in populations():
        assert_as_good_as_array(case, limited(by_three_kernels, processors, shared_memory))


def test_a_step_is_cut_so(host_kernels: Kernels, way_to_cut: Any) -> None:
    processors, shared_memory, names = way_to_cut
    case = populations()[0]
    device = limited(host_kernels, processors, shared_memory).device()
    network = case.networks["float32"].copy()
    step = fused_step(network, case.rule, "mean", host_kernels, device)
    states = initial_states(network, case.rule)
    step.epoch(network, states, case.rows(), case.table(network), lambda: False)
    assert set(device.launched) == names


@needs_compiler
def test_these_are_all_the_kernels() -> None:
    names = {f"{kind}_{tile.name}" for kind in ("first_layer", "gradients") for tile in TILES}
    names |= {f"{kind}_{rows}" for kind in ("rows", "rows_staged") for rows in ROWS}
    assert set(kernel_names(source("fused.cu"))) == names


@needs_compiler
def test_no_result_depends_on_which_block_or_thread_is_first(way_to_cut: Any) -> None:
    processors, shared_memory, _ = way_to_cut
    forward, *others = (
        limited(
            Kernels(resolve("numpy"), partial(HostKernels, "fused.cu", first), at_once),
            processors,
            shared_memory,
        )
        for first in (None, BACKWARD, 0)
    )
    for case in populations()[::3]:
        ours, our_sums = case.by_fused(forward)
        for otherwise in others:
            theirs, their_sums = case.by_fused(otherwise)
            for a, b in zip(parameters(ours), parameters(theirs), strict=True):
                np.testing.assert_array_equal(a, b)
            for a, b in zip(our_sums, their_sums, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("members", [36, 64])
def test_many_members(kernels: Kernels, members: int) -> None:
    settings: dict[str, Any] = {"alpha": 0.1, "optimizer": "momentum"}
    case = Case(sizes=(40, 7, 5, 3), members=members, rows=150, batch=100, **settings)
    assert_as_good_as_array(case, kernels)


# No kernel reads or writes beyond an array: each ends, or begins, at a page that nobody may touch


def guarded(array: Any, at_end: bool) -> Any:
    """A copy of the array between two such pages, next to one of them."""
    page, size = mmap.PAGESIZE, -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + 2 * page)
    start = c_void_p.from_buffer(memory)
    address = addressof(start)
    for forbidden in (address, address + page + size):
        assert CDLL(None).mprotect(c_void_p(forbidden), c_size_t(page), 0) == 0
    offset = page + (size - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def train_guarded(cases: list[Case], limits: tuple[int, int], at_end: bool) -> None:
    """Train an epoch of each case on arrays of which each is guarded."""
    zeros = FusedSteps._zeros
    FusedSteps._zeros = lambda *args: guarded(zeros(*args), at_end)  # type: ignore[method-assign]
    for case in cases:
        train_case(case, limits, at_end)


def train_case(case: Case, limits: tuple[int, int], at_end: bool) -> None:
    kernels = Kernels(resolve("numpy"), partial(HostKernels, "fused.cu"), at_once)
    network = case.networks["float32"].copy()
    for layer in network.layers:
        layer.weights, layer.bias = guarded(layer.weights, at_end), guarded(layer.bias, at_end)
    for name in ("x", "y", "weight", "order"):
        setattr(case, name, guarded(getattr(case, name), at_end))
    states = [
        tuple(tuple(guarded(a, at_end) for a in arrays_of(state)) for state in of_layer)
        for of_layer in initial_states(network, case.rule)
    ]
    step = fused_step(network, case.rule, "mean", kernels, limited(kernels, *limits).device())
    done = step.epoch(network, states, case.rows(), case.table(network), lambda: False)
    assert done is not None
    assert np.isfinite(done[1].loss).all()


FORKS = pytest.mark.filterwarnings("ignore:os.fork")  # of a process that tests JAX, too


def in_a_process(work: Callable[[], None]) -> int | None:
    """The exit status of a process that does the work; negative for a signal."""

    def quietly() -> None:
        faulthandler.disable()
        work()

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    process.join()
    return process.exitcode


BEYOND = r"""
extern "C" __global__ void reads(const float *x, float *y, int n) { y[0] = x[n]; }
"""


@needs_compiler
@FORKS
def test_a_read_beyond_an_array_is_noticed() -> None:
    module, y = HostModule(BEYOND), np.zeros(1, np.float32)
    x = guarded(np.zeros(5, np.float32), at_end=True)

    def reads(n: int) -> None:
        module.launch("reads", (1, 1, 1), (1, 1, 1), (x, y, np.int32(n)))

    assert in_a_process(partial(reads, 4)) == 0
    assert in_a_process(partial(reads, 5)) == -signal.SIGSEGV


@needs_compiler
@FORKS
@pytest.mark.parametrize("at_end", [True, False])
def test_no_kernel_leaves_its_arrays(way_to_cut: Any, at_end: bool) -> None:
    HostKernels("fused.cu")  # compiled once
    work = partial(train_guarded, populations(), way_to_cut[:2], at_end)
    assert in_a_process(work) == 0
