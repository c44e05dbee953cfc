"""All steps by one launch, whose blocks wait for each other: ``persistent.cu``."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from arraymlp.engines.cuda.fused import FusedSteps, states_of, units_of
from arraymlp.engines.cuda.source import Launches, blocks_of, rounded_up
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer

# As in persistent.cu.
THREADS, BUSY, HEIGHT, WIDTH = 512, 8, 32, 16
ROWS = (1, 2, 4, 8)


class Cut(NamedTuple):
    """How a step is cut among blocks.

    Attributes:
        part: inputs of a block, the bias's among them; a multiple of 4.
        parts: how many of them.
        columns: of the first layer, of a block.
        slices: how many of them.
        rows: of a minibatch that a block takes through the other layers at a time.
        shared_bytes: of shared memory of a block.
        clocks: that a step takes, but for what all cuts have in common; see `clocks_of`.
    """

    part: int
    parts: int
    columns: int
    slices: int
    rows: int
    shared_bytes: int
    clocks: float

    @property
    def blocks(self) -> int:
        """The blocks of the launch."""
        return self.parts * self.slices


class Persistent:
    """The way by one launch for all steps; see `arraymlp.engines.cuda.fused.Way`."""

    name = "persistent"
    file = "persistent.cu"

    def reason(self, network: Network, optimizer: Optimizer, batch: int, device: Launches) -> str:
        """Return why a network is not trained this way in minibatches of so many rows, or ""."""
        members = network.members or 1
        if members > 1:
            return f"it is for one network, not for {members}"
        states = states_of(optimizer)
        if best_cut(network, batch, states, device) is None:
            all_cuts = cuts(network, batch, states, device.processors)
            least = min(cut.shared_bytes for cut in all_cuts)
            return f"a block needs {least:,} bytes of shared memory, of {device.shared_memory:,}"
        return ""

    def __call__(self, steps: FusedSteps, network: Network) -> Callable[[], None]:
        """Prepare the launch.

        Raises:
            RefusedError: the device does not run all blocks at once.
        """
        plan, device = steps.plan, steps.device
        cut = best_cut(network, steps.batch, states_of(steps.optimizer), device)
        if cut is None:
            raise ValueError(self.reason(network, steps.optimizer, steps.batch, device))
        plan["part"], plan["parts_of"] = cut.part, cut.parts
        plan["parts"] = steps.at(steps.new((cut.parts, 1, steps.batch, network.sizes[1])))
        tiles = 0
        for struct, layer in zip(plan["layers"][1:], network.layers[1:], strict=False):
            struct["tile"] = tiles
            tiles += blocks_of(layer.n_in + 1, HEIGHT) * blocks_of(layer.n_out, WIDTH)
        plan["tiles"] = tiles
        steps.loss, steps.squares = (steps.new((1, cut.blocks), "float64") for _ in range(2))
        plan["loss"], plan["squares"] = steps.at(steps.loss), steps.at(steps.squares)
        arrived = steps.new((1,), "int32")
        name, grid = f"persistent_{cut.rows}", (cut.parts, cut.slices, 1)

        def launch(number: int) -> None:
            arrived[...] = 0
            args = (plan, arrived, np.int32(number), np.int32(cut.columns))
            device.launch(name, grid, THREADS, args, cut.shared_bytes, cooperative=True)

        launch(0)  # to load the kernel, and to learn whether the device refuses
        return lambda: launch(steps.steps)


def best_cut(network: Network, batch: int, states: int, device: Launches) -> Cut | None:
    """The cut that takes the fewest clocks, of those that have the shared memory; None without."""
    all_cuts = cuts(network, batch, states, device.processors)
    fitting = [cut for cut in all_cuts if cut.shared_bytes <= device.shared_memory]
    return min(fitting, key=lambda cut: cut.clocks) if fitting else None


def cuts(network: Network, batch: int, states: int, processors: int) -> Iterator[Cut]:
    """The cuts that give each multiprocessor a block at most, by columns and rows of a block.

    The first layer's weights, with the bias as those of one more input, are cut into as many parts
    as there are processors for: fewer would be larger pieces, and leave processors idle.
    """
    n_in, n_out = network.sizes[0] + 1, network.sizes[1]
    for aim in range(1, min(n_out, processors) + 1):
        columns = blocks_of(n_out, aim)
        slices = blocks_of(n_out, columns)
        part = rounded_up(blocks_of(n_in, processors // slices), 4)
        parts = blocks_of(n_in, part)
        for rows in ROWS:
            shared = shared_bytes(network, batch, states, part, columns, rows)
            clocks = clocks_of(network, batch, part, columns, rows, parts * slices)
            yield Cut(part, parts, columns, slices, rows, shared, clocks)


def clocks_of(
    network: Network, batch: int, part: int, columns: int, rows: int, blocks: int
) -> float:
    """The clocks of a multiprocessor in a step, roughly: to compare cuts, not to predict a time.

    A warp's tile of a product takes two loads of 16 bytes a lane for 16 multiplications, and shared
    memory serves such a load in two clocks: 4 clocks a term. 32 bytes a clock come from the second
    level of cache. A pass of rows through the other layers waits some 1500 clocks, whatever their
    widths, and its threads multiply 64 numbers a clock, forward and back.
    """
    n_in, n_out = network.sizes[:2]
    across = blocks_of(columns, WIDTH)
    forward = 4 * blocks_of(batch, HEIGHT) * across * part
    backward = 4 * blocks_of(part, HEIGHT) * across * batch
    others = sum(layer.n_in * layer.n_out for layer in network.layers[1:])
    passes = blocks_of(batch, rows * blocks)
    sums = passes * rows * n_out * blocks_of(n_in + 1, part)
    floats = 2 * batch * columns + sums + others
    return forward + backward + floats / 8 + passes * (1500 + 2 * rows * others / 64)


def shared_bytes(
    network: Network, batch: int, states: int, part: int, columns: int, rows: int
) -> int:
    """Bytes of a block's shared memory: its piece, two minibatches' inputs, and a phase's needs."""
    across = rounded_up(columns, WIDTH)
    apart = part + 4 if part % 8 == 0 else part
    kept = part * across * (1 + states) + 2 * batch * apart + rounded_up(2 * batch, 8)
    others = sum(rounded_up(layer.n_in * layer.n_out, 4) for layer in network.layers[1:])
    through = rounded_up(others, 8) + (units_of(network) + THREADS) * rows
    of_tile = HEIGHT + WIDTH if others else 0
    return 4 * (kept + max(through, batch * (across + of_tile) + BUSY * HEIGHT * WIDTH))
