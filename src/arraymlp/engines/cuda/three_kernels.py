"""Three kernels a step, recorded once as a CUDA graph: ``fused.cu``."""

from collections.abc import Callable

import numpy as np

from arraymlp.engines.cuda.fused import FusedSteps, Launch, units_of
from arraymlp.engines.cuda.source import blocks_of
from arraymlp.nn.network import Network

TILES, DEPTH, THREADS = (32, 64), 32, 128  # as in fused.cu
ROWS, THREADS_OF_ROWS = (2, 4, 8), 512


def shared_bytes(network: Network, rows: int) -> int:
    """Bytes of shared memory that a block of ``rows_R`` needs for so many rows."""
    return (units_of(network) + THREADS_OF_ROWS) * rows * 4


class ThreeKernels:
    """The way by three kernels a step; see `arraymlp.engines.cuda.fused.Way`.

    Args:
        record: makes one function of many launches, a graph.
    """

    def __init__(self, record: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self._record = record

    def __call__(self, steps: FusedSteps, network: Network) -> Callable[[], None]:
        """Record the steps."""
        launches = sized(steps, network)

        def step(number: int) -> None:
            for name, grid, threads, shared in launches:
                steps.device.launch(name, grid, threads, (steps.plan, np.int32(number)), shared)

        def all_steps() -> None:
            for number in range(steps.steps):
                step(number)

        step(0)  # of no rows, to load the kernels, which a graph cannot
        return self._record(all_steps)


def sized(steps: FusedSteps, network: Network) -> tuple[Launch, ...]:
    """Cut a step into blocks, as the plan is told here; return its launches."""
    plan, device, k, batch = steps.plan, steps.device, steps.members, steps.batch
    n_in, n_out = network.sizes[:2]

    def tiles_of(size: int) -> int:  # in the first layer's sums of a minibatch
        return blocks_of(batch, size) * blocks_of(n_out, size)

    # Large tiles where even then each multiprocessor gets one.
    small, large = TILES
    size = large if tiles_of(large) * k >= device.processors else small
    tiles, all_tiles = tiles_of(size), 0
    for struct, layer in zip(plan["layers"], network.layers, strict=False):
        struct["tile"] = all_tiles
        all_tiles += blocks_of(layer.n_in + 1, size) * blocks_of(layer.n_out, size)
    plan["tiles"] = all_tiles
    steps.squares = steps.new((k, all_tiles), "float64")
    plan["squares"] = steps.at(steps.squares)
    aim = 2 * device.processors  # blocks
    parts = max(1, min(blocks_of(n_in, DEPTH), aim // (tiles * k)))
    plan["part"] = part = blocks_of(blocks_of(n_in, parts), DEPTH) * DEPTH
    plan["parts_of"] = parts = blocks_of(n_in, part)
    plan["parts"] = steps.at(steps.new((parts, k, batch, n_out)))
    # The fewest rows a block that give each multiprocessor a block or two; beyond that, more
    # rows share the weights that a block reads.
    fitting = [r for r in ROWS if shared_bytes(network, r) <= device.shared_memory]
    few_blocks = [r for r in fitting if blocks_of(batch, r) * k <= aim]
    rows = few_blocks[0] if few_blocks else fitting[-1]
    blocks = blocks_of(batch, rows)
    steps.loss = steps.new((k, blocks), "float64")
    plan["loss"] = steps.at(steps.loss)
    chunk = 4 * DEPTH * (size + size // 16 + size + 4)  # bytes
    return (
        (f"first_layer_{size}", (tiles, parts, k), THREADS, chunk),
        (f"rows_{rows}", (blocks, k, 1), THREADS_OF_ROWS, shared_bytes(network, rows)),
        (f"gradients_{size}", (all_tiles, k, 1), THREADS, chunk),
    )
