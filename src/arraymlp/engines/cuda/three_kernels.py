"""Three kernels a step, recorded once as a CUDA graph: ``fused.cu``.

How a step is cut into blocks is decided here, by what that should cost the busiest multiprocessor.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from arraymlp.engines.cuda.fused import FusedSteps, Launch, units_of
from arraymlp.engines.cuda.source import Launches, blocks_of, rounded_up
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer

Record: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]

STAGES = 4  # as in fused.cu
ROWS, THREADS_OF_ROWS = (2, 4, 8), 512
RESERVED = 1024  # bytes of a multiprocessor's shared memory that CUDA takes for each block


class Tile(NamedTuple):
    """A tile of a matrix product as a block of ``fused.cu`` computes it, by lines of 8 threads."""

    rows: int  # of a thread
    columns: int  # of a thread
    lines: int
    depth: int  # terms in shared memory at a time

    @property
    def height(self) -> int:
        """Its rows."""
        return self.lines * self.rows

    @property
    def width(self) -> int:
        """Its columns."""
        return 8 * self.columns

    @property
    def threads(self) -> int:
        """Of a block."""
        return 8 * self.lines

    @property
    def name(self) -> str:
        """As it ends the kernels' names."""
        return f"{self.height}x{self.width}"

    @property
    def clocks(self) -> float:
        """Cycles for one term of the sums, as predicted.

        A warp multiplies and adds once a cycle on each of a multiprocessor's four schedulers; the
        four share the unit that loads from shared memory, up to 16 bytes for a thread at a time.
        """
        loads = blocks_of(self.rows, 4) + self.columns // 4
        return (self.rows * self.columns + 4 * loads) * self.threads / 128

    def shared_bytes(self, numbers: int) -> int:
        """Bytes of shared memory of a block that keeps so many row numbers."""
        pitch = (self.height + 27) // 32 * 32 + 4
        return 4 * (STAGES * self.depth * (pitch + self.width) + numbers)


TILES = (Tile(2, 4, 16, 32), Tile(4, 8, 16, 16), Tile(5, 8, 20, 16))


class Products(NamedTuple):
    """Matrix products of one shape."""

    number: int
    height: int
    width: int

    def tiles(self, tile: Tile) -> int:
        """How many tiles cover them."""
        across = blocks_of(self.width, tile.width)
        return self.number * blocks_of(self.height, tile.height) * across


class Cut(NamedTuple):
    """Products cut into tiles, and each sum of terms into parts of so many."""

    tile: Tile
    tiles: int
    part: int


def together(members: int, number: int, dropped: bool) -> int:
    """How many members' columns of a layer stand next to each other in one product.

    All members' where they share its inputs: those of the first layer, unless each masks them.
    """
    return members if number == 0 and not dropped else 1


def sums_products(members: int, batch: int, n_out: int, dropped: bool) -> list[Products]:
    """The first layer's products, minibatch by weights."""
    of = together(members, 0, dropped)
    return [Products(members // of, batch, of * n_out)]


def gradient_products(members: int, sizes: tuple[int, ...], dropped: bool) -> list[Products]:
    """Each layer's products, inputs by deltas."""
    products = []
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        of = together(members, number, dropped)
        products.append(Products(members // of, n_in, of * n_out))
    return products


def cut(products: list[Products], terms: int, processors: int, in_parts: bool) -> Cut:
    """The cheapest way to cut products with sums of so many terms; for equal ones large tiles last.

    Blocks run two at a time on each multiprocessor, so that one's copies and barriers are hidden by
    the other. To begin a tile, and to store its sums and add them up later, takes about as long as
    to multiply 32 terms.
    """

    def cost(way: Cut) -> float:
        blocks = way.tiles * blocks_of(terms, way.part)
        return blocks_of(blocks, 2 * processors) * (way.part + 32) * way.tile.clocks

    def ways() -> Iterator[Cut]:
        for tile in TILES:
            tiles, chunks = sum(p.tiles(tile) for p in products), blocks_of(terms, tile.depth)
            for part in range(chunks, 0, -1) if in_parts else [chunks]:
                yield Cut(tile, tiles, part * tile.depth)

    return min(ways(), key=cost)


def shared_bytes(network: Network, rows: int, staged: bool = False) -> int:
    """Bytes of shared memory that a block of ``rows_R`` needs for so many rows.

    Args:
        network: the network.
        rows: of the minibatch.
        staged: whether the block keeps the weights of the layers after the first there, too.
    """
    units = (units_of(network) + THREADS_OF_ROWS) * rows
    weights = (rounded_up(layer.n_in * layer.n_out, 8) for layer in network.layers[1:])
    return 4 * (units + sum(weights) * staged)


def rows_kernel(network: Network, members: int, batch: int, device: Launches) -> tuple[str, int]:
    """The kernel for everything between the first layer's products and the gradients, and its R.

    The fewest rows a block that give each multiprocessor a block or two; beyond that, more rows
    share the weights that a block reads. These are staged in shared memory where two blocks still
    fit a multiprocessor, or one does if there are no more. A block then brings each weight once,
    all at the same time, where else it waits for eight after eight, forward and back again: so it
    never costs more, in a population either.
    """
    fitting = [r for r in ROWS if shared_bytes(network, r) <= device.shared_memory]
    blocks = {r: blocks_of(batch, r) * members for r in fitting}
    few_blocks = [r for r in fitting if blocks[r] <= 2 * device.processors]
    rows = few_blocks[0] if few_blocks else fitting[-1]
    alone = blocks[rows] <= device.processors
    room = device.shared_memory if alone else device.shared_memory // 2 - RESERVED
    staged = shared_bytes(network, rows, staged=True) <= room
    return f"rows_staged_{rows}" if staged else f"rows_{rows}", rows


class ThreeKernels:
    """The way by three kernels a step; see `arraymlp.engines.cuda.fused.Way`.

    Args:
        record: makes one function of many launches, a graph.
    """

    name = "three kernels"
    file = "fused.cu"

    def __init__(self, record: Record) -> None:
        self._record = record

    def reason(self, network: Network, optimizer: Optimizer, batch: int, device: Launches) -> str:
        """Return "": it trains whatever can be trained a whole epoch at a time."""
        return ""

    def __call__(self, steps: FusedSteps, network: Network) -> Callable[[], None]:
        """Record the steps."""
        launches = sized(steps, network)
        steps.device.prepare([name for name, *_ in launches])

        def step(number: int) -> None:
            this, following = np.int32(number), np.int32(min(number + 1, steps.steps - 1))
            for name, grid, threads, shared in launches:
                numbers = (this, following) if name.startswith("rows") else (this,)
                steps.device.launch(name, grid, threads, (steps.plan, *numbers), shared)

        def all_steps() -> None:
            for number in range(steps.steps):
                step(number)

        step(0)  # of no rows, to load the kernels, which a graph cannot
        return self._record(all_steps)


def sized(steps: FusedSteps, network: Network) -> tuple[Launch, ...]:
    """Cut a step into blocks, as the plan is told here; return its launches."""
    plan, device, k, batch = steps.plan, steps.device, steps.members, steps.batch
    (n_in, n_out), dropped = network.sizes[:2], bool(plan["layers"][0]["dropped"])

    sums = sums_products(k, batch, n_out, dropped)
    first = cut(sums, n_in, device.processors, in_parts=True)
    parts = blocks_of(n_in, first.part)
    plan["part"], plan["parts_of"] = first.part, parts
    plan["parts"] = steps.at(steps.new((parts, batch, k, n_out)))

    rows_name, rows = rows_kernel(network, k, batch, device)
    blocks = blocks_of(batch, rows)
    steps.loss = steps.new((k, blocks), "float64")
    plan["loss"] = steps.at(steps.loss)

    of_layers = gradient_products(k, network.sizes, dropped)
    last = cut(of_layers, batch, device.processors, in_parts=False)
    tiles = squares = 0
    for struct, layer, products in zip(plan["layers"], network.layers, of_layers, strict=False):
        struct["tile"] = tiles
        tiles += products.tiles(last.tile)
        squares += blocks_of(layer.n_in, last.tile.height) * layer.n_out  # of each column of a tile
    plan["tiles"] = squares
    steps.squares = steps.new((k, squares), "float64")
    plan["squares"] = steps.at(steps.squares)

    staged = rows_name.startswith("rows_staged")
    of_rows = shared_bytes(network, rows, staged)
    tile, grid = first.tile, (first.tiles // sums[0].number, parts, sums[0].number)
    return (
        (f"first_layer_{tile.name}", grid, tile.threads, tile.shared_bytes(tile.height)),
        (rows_name, (blocks, k, 1), THREADS_OF_ROWS, of_rows),
        (
            f"gradients_{last.tile.name}",
            (tiles, 1, 1),
            last.tile.threads,
            last.tile.shared_bytes(batch),
        ),
    )
