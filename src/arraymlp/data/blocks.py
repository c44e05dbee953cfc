"""Blocks of rows that go through a network together, in evaluation and prediction."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from arraymlp.nn.network import Network

ROWS_AT_ONCE = 1000  # a hidden layer's values for so many rows stay in the processor's cache
BYTES_AT_ONCE = 256 * 2**20  # of all layers' values on a GPU, which is to have few launches


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` rows that cover n; the last is smaller where it must be."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))  # the standard has no slices past the end


def some_blocks(n: int, size: int, own: Callable[[int], range]) -> Iterator[slice]:
    """Of the blocks of ``size`` rows that cover n, those in a row that ``own(number)`` says."""
    numbers = own(-(-n // size))
    return islice(blocks(n, size), numbers.start, numbers.stop)


def rows_at_once(network: Network) -> int:
    """The number of rows of a block.

    On a CPU it is the same for all networks, and fits the cache; on a GPU all members' values stay
    within a budget: each unit's sum and output, and as much again in between.
    """
    if not network.backend.is_accelerator:
        return ROWS_AT_ONCE
    units = (network.members or 1) * sum(network.sizes[1:])
    return max(1, BYTES_AT_ONCE // (3 * units * np.dtype(network.dtype).itemsize))
