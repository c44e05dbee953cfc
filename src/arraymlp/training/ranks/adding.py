"""The sum of all ranks' gradients: each rank adds up a part of the vectors, then all get all parts.

With W ranks each sends 2 (W - 1) / W of a vector, which is the least that is possible. No message
is added up on its way: the library that carries it has no say in the order of a sum.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.backends.group import Group
from arraymlp.backends.registry import resolve
from arraymlp.data.stripes import bounds
from arraymlp.steps.shards import Node, add_up

# Of a process, the nodes of the tree at which it has a sum, and whether there are rows below.
Places = Sequence[tuple[Node, bool]]


class Carrier(Protocol):
    """What carries vectors between ranks: by way of the host, or from device to device."""

    @property
    def xp(self) -> Namespace:
        """The namespace of what is carried."""

    def taken(self, vector: Array) -> Array:
        """A vector of the network's backend, as it is carried."""

    def given(self, vector: Array) -> Array:
        """What was carried, on the network's backend."""

    def exchange(self, pieces: Sequence[Array], lengths: Sequence[int]) -> list[Array]:
        """As `arraymlp.Group.exchange`."""

    def join(self, piece: Array, lengths: Sequence[int]) -> Array:
        """As `arraymlp.Group.join`."""


class HostCarrier:
    """Carries by a group's own messages, of NumPy arrays.

    Args:
        group: of the ranks.
        backend: of the network.
    """

    def __init__(self, group: Group, backend: Backend) -> None:
        self._group, self._backend = group, backend
        self.xp: Namespace = resolve("numpy").xp

    def taken(self, vector: Array) -> Array:
        """The vector on the host."""
        return self._backend.to_numpy(vector)

    def given(self, vector: Array) -> Array:
        """The vector on the network's device."""
        return self._backend.asarray(vector)

    def exchange(self, pieces: Sequence[Array], lengths: Sequence[int]) -> list[Array]:
        """As `arraymlp.Group.exchange`."""
        return list(self._group.exchange([np.asarray(piece) for piece in pieces], lengths))

    def join(self, piece: Array, lengths: Sequence[int]) -> Array:
        """As `arraymlp.Group.join`."""
        return self._group.join(np.asarray(piece), lengths)


def sum_over_ranks(
    carrier: Carrier, rank: int, vectors: Sequence[Array], places: Sequence[Places], like: Array
) -> Array:
    """The sum of the vectors of all ranks, by the tree of `arraymlp.steps.shards`.

    Args:
        carrier: of the vectors.
        rank: the number of this one.
        vectors: of this rank, (n,) each.
        places: for each rank, where in the tree its vectors stand, and where it has none.
        like: any vector (n,) of the same dtype and device.
    """
    xp, n = carrier.xp, int(like.shape[0])
    parts = list(pairwise(bounds(n, len(places))))
    carried = [carrier.taken(vector) for vector in vectors] or [carrier.taken(like)[:0]]
    pieces = [xp.concat([vector[a:b] for vector in carried]) for a, b in parts]
    start, stop = parts[rank]
    lengths = [(stop - start) * sum(there for _, there in of_rank) for of_rank in places]
    values: list[tuple[Node, Array | None]] = []
    for of_rank, received in zip(places, carrier.exchange(pieces, lengths), strict=True):
        position = 0
        for node, there in of_rank:
            length = (stop - start) * there
            values.append((node, received[position : position + length] if there else None))
            position += length
    ((_, total),) = add_up(values, lambda a, b: a + b)
    assert total is not None  # a minibatch has rows
    return carrier.given(carrier.join(total, [b - a for a, b in parts]))
