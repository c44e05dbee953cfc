"""One launch a thousand steps, each member of a population by a cluster of blocks: ``clusters.cu``.

The members' weights stay in the shared memory of the clusters' blocks. What stands where in it, and
how the threads share out each product, is arithmetic that is done here, once.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from arraymlp.engines.cuda.fused import MOST_LAYERS, FusedSteps, states_of
from arraymlp.engines.cuda.source import Launches, blocks_of, rounded_up
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer

# As in clusters.cu.
SIZES, THREADS = (1, 2, 4, 8), 256  # blocks of a cluster, threads of a block
ROWS, COLUMNS, VECTORS = 10, 5, 4
DIVISOR = np.dtype([("size", "i4"), ("inverse", "i4")])
TILES = np.dtype(
    [(name, DIVISOR) for name in ("across", "deep", "items")]
    + [(name, "i4") for name in ("panel", "groups", "part", "depth")]
)
SHARE = np.dtype(
    [("columns", DIVISOR)]
    + [(name, "i4") for name in ("weights", "z", "ds", "stride_in", "stride_out")]
    + [(name, TILES) for name in ("forward", "back", "gradient")]
)
CLUSTERS = np.dtype(
    [("layers", SHARE, (MOST_LAYERS,)), ("states", "u8")]
    + [("parameters", "i4"), ("state", "i4"), ("rows", DIVISOR), ("deltas", "i4")]
    + [(name, "i4") for name in ("stride_rows", "samples", "buffers", "buffer")],
    align=True,
)
BUFFER = 10240  # floats: an eighth of 100 rows of 784 inputs, so that the first is soon there
LEAST_BUFFER = 1024
COMPUTE_CAPABILITY = 9.0


class Tiles(NamedTuple):
    """How a block's threads share out an (m, n) product of k terms, see clusters.cu."""

    across: int
    deep: int
    items: int
    panel: int
    groups: int
    part: int
    depth: int


class Layout(NamedTuple):
    """A cluster's size, and its plan, but for the states' address.

    Attributes:
        size: blocks of a cluster.
        plan: the struct that the kernel is given.
        shared: bytes of shared memory of a block.
        states_are_shared: whether the optimiser's states are among them.
    """

    size: int
    plan: np.void
    shared: int
    states_are_shared: bool


def padded(n: int) -> int:
    """A row's floats: whole vectors of four, and an odd number of them, for different banks."""
    return 4 * (blocks_of(n, 4) | 1)


def divisor(size: int) -> tuple[int, int]:
    """A size up to 1024, and its inverse."""
    return size, blocks_of(2**20, size)


def tiles(
    m: int, n: int, k: int, buffer: int, height: int, chunk: Callable[[int, int], tuple[int, int]]
) -> Tiles | None:
    """Share out a product so that as many threads as possible have work, and few rounds of it.

    Args:
        m: along the panels, of which each is made in one pass over the terms.
        n: across them.
        k: terms.
        buffer: floats of each of the two buffers.
        height: of m, that a thread has.
        chunk: its rows and columns, given a panel and a number of terms.

    Returns:
        None if no chunk is small enough.
    """

    def fits(panel: int, depth: int) -> bool:
        rows, columns = chunk(panel, depth)
        return rows * padded(columns) <= buffer

    deep, rounds = blocks_of(n, COLUMNS), blocks_of(k, 4)
    most = THREADS // deep
    while most > 0:
        # Panels of one size; the threads that are left take a part of the terms each.
        panels = blocks_of(blocks_of(m, height), most)
        across = blocks_of(blocks_of(m, height), panels)
        items = across * deep
        scratch = items * height * COLUMNS  # floats of a group's sums
        for groups in range(min(THREADS // items, rounds, max(1, 2 * buffer // scratch)), 0, -1):
            # As few groups as have as few rounds, and chunks of one size.
            groups = blocks_of(rounds, blocks_of(rounds, groups))
            panel, turns = height * across, blocks_of(rounds, groups)
            fitting = [t for t in range(1, turns + 1) if fits(panel, 4 * groups * t)]
            if fitting:
                part = 4 * blocks_of(turns, blocks_of(turns, fitting[-1]))
                return Tiles(across, deep, items, panel, groups, part, groups * part)
        most = across - 1
    return None


def dot(m: int, n: int, k: int, buffer: int) -> Tiles | None:
    """Tiles of a product whose chunks are rows of m by terms; its sums go through the buffers."""
    found = tiles(m, n, k, buffer, ROWS, lambda panel, depth: (min(panel, m), depth))
    if found and found.groups * found.items * ROWS * COLUMNS > 2 * buffer:
        return None
    return found


def outer(m: int, n: int, k: int, buffer: int) -> Tiles | None:
    """Tiles of a product whose chunks are terms by columns of m, four by four."""
    return tiles(m, n, k, buffer, 4 * VECTORS, lambda panel, depth: (depth, panel))


def layout(
    sizes: Sequence[int], batch: int, size: int, states: int, shared_memory: int
) -> Layout | None:
    """Divide a network among a cluster's blocks.

    Args:
        sizes: inputs, and units of each layer.
        batch: rows of a minibatch.
        size: blocks of the cluster.
        states: the optimiser's numbers of each weight.
        shared_memory: bytes of a block.

    Returns:
        None if a block's part does not fit its shared memory.
    """
    plan = np.zeros(1, CLUSTERS)[0]
    rows, last = blocks_of(batch, size), len(sizes) - 2
    plan["rows"], plan["stride_rows"] = divisor(rows), padded(batch)
    floats = 0

    def take(name: str, n: int, struct: np.void = plan) -> None:
        nonlocal floats
        struct[name] = floats
        floats += n

    widths = list(pairwise(sizes))
    columns = [blocks_of(n_out, size) for _, n_out in widths]
    for share, own, (n_in, n_out) in zip(plan["layers"], columns, widths, strict=False):
        share["columns"] = divisor(own)
        share["stride_in"], share["stride_out"] = padded(n_in + 1), padded(n_out + 1)
        take("weights", own * padded(n_in + 1), share)
    plan["parameters"] = parameters = floats
    for number, (share, (_, n_out)) in enumerate(zip(plan["layers"], widths, strict=False)):
        take("z", rows * padded(n_out + 1), share)
        if number < last:
            take("ds", rows * padded(n_out + 1), share)
    take("deltas", max(columns) * padded(batch))
    take("samples", rounded_up(2 * batch, 4))
    most = shared_memory // 4
    shared = states > 0 and floats + states * parameters + 2 * BUFFER <= most
    if shared:
        take("state", states * parameters)
    plan["buffer"] = buffer = min(BUFFER, (most - floats) // 8 * 4)
    if buffer < LEAST_BUFFER:
        return None
    take("buffers", 2 * buffer)
    for number, (share, own, (n_in, n_out)) in enumerate(
        zip(plan["layers"], columns, widths, strict=False)
    ):
        found = {
            "forward": dot(batch, own, n_in + 1, buffer)
            if number == 0
            else dot(n_out, rows, n_in + 1, buffer),
            "gradient": outer(n_in + 1, own, batch, buffer),
        }
        if number > 0:
            found["back"] = outer(n_in, rows, n_out, buffer)
        for name, of_product in found.items():
            if of_product is None:
                return None
            share[name] = (*map(divisor, of_product[:3]), *of_product[3:])
    return Layout(size, plan, 4 * floats, shared)


def chosen(
    network: Network, batch: int, members: int, device: Launches, optimizer: Optimizer
) -> Layout | None:
    """The largest clusters with which all members run at once, or else the smallest that fit."""
    states = states_of(optimizer)
    found = [layout(network.sizes, batch, c, states, device.shared_memory) for c in SIZES]
    fitting = [a for a in found if a is not None]
    at_once = [a for a in fitting if a.size * members <= device.processors]
    return at_once[-1] if at_once else fitting[0] if fitting else None


class Clusters:
    """The way by clusters; see `arraymlp.engines.cuda.fused.Way`."""

    name = "clusters"
    file = "clusters.cu"

    def reason(self, network: Network, optimizer: Optimizer, batch: int, device: Launches) -> str:
        """Return why a network is not trained this way in minibatches of so many rows, or ""."""
        if device.compute_capability < COMPUTE_CAPABILITY:
            return f"a GPU of compute capability {device.compute_capability} has no clusters"
        members = network.members or 1
        if chosen(network, batch, members, device, optimizer) is None:
            return f"weights and {batch} rows do not fit the shared memory of {SIZES[-1]} blocks"
        return ""

    def __call__(self, steps: FusedSteps, network: Network) -> Callable[[], None]:
        """Prepare the steps: what is returned launches one kernel that does all.

        Raises:
            RefusedError: the device has no room for such clusters.
        """
        device, members = steps.device, steps.members
        found = chosen(network, steps.batch, members, device, steps.optimizer)
        if found is None:
            raise ValueError(self.reason(network, steps.optimizer, steps.batch, device))
        size, clusters, shared, _ = found
        states = states_of(steps.optimizer)
        if states and not found.states_are_shared:
            apart = (states, members, size, int(clusters["parameters"]))
            clusters["states"] = steps.at(steps.new(apart))
        steps.loss, steps.squares = (steps.new((members, size), "float64") for _ in range(2))
        steps.plan["loss"], steps.plan["squares"] = map(steps.at, (steps.loss, steps.squares))
        grid = size, members, 1

        def launch(number: int) -> None:
            args = (steps.plan, clusters, np.int32(number))
            device.launch(f"clusters_{size}", grid, THREADS, args, shared)

        launch(0)  # to load the kernel, and to learn whether the device refuses
        return lambda: launch(steps.steps)
