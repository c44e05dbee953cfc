"""Shards: a minibatch's gradient as a sum in a fixed order, whoever computes its parts.

A sum of floating-point numbers hangs on its order. So each minibatch is cut into S shards by the
positions of its rows, the gradients of the shards are computed one by one, and they are added up in
one binary tree: ((g0 + g1) + (g2 + g3)) + ... Which thread or process computes which shard changes
nothing, and 1, 2 or 4 processes get the same bits.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from arraymlp.backends.array import Array, Namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.sharding import ShardedMinibatch
from arraymlp.data.stripes import bounds
from arraymlp.nn.layer import Gradients
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import Step
from arraymlp.steps.update import States, penalty, updated

Value = TypeVar("Value")


class Node(NamedTuple):
    """A place in the tree: node i of a level is the sum of nodes 2i and 2i + 1 of the one below."""

    level: int
    place: int


# The sums that a process has, at the nodes that are complete: of each the loss (...,), and each
# layer's gradients of weights and bias; None where no row is below it.
Sums: TypeAlias = list[tuple[Node, list[Array] | None]]


class AddUp(Protocol):
    """Adds up what several processes have of a minibatch."""

    def __call__(self, sums: Sums, rows: int, shapes: Sequence[tuple[int, ...]], /) -> list[Array]:
        """The sum of all shards.

        Args:
            sums: of this process.
            rows: of the minibatch.
            shapes: of the arrays of a sum.
        """


def leaf(shard: int) -> Node:
    """The place of a shard's own gradient."""
    return Node(0, shard)


def add_up(
    nodes: Iterable[tuple[Node, Value | None]], add: Callable[[Value, Value], Value]
) -> list[tuple[Node, Value | None]]:
    """Add up the nodes (ascending) as far as they are complete; None stands for no rows, or 0."""
    done: list[tuple[Node, Value | None]] = []
    for node, value in nodes:
        done.append((node, value))
        while len(done) > 1 and done[-2][0].level == done[-1][0].level and not done[-2][0][1] % 2:
            (below, left), (_, right) = done[-2:]
            both = right if left is None else left if right is None else add(left, right)
            done[-2:] = [(Node(below.level + 1, below.place // 2), both)]
    return done


def padding(shards: int) -> list[tuple[Node, None]]:
    """The leaves without rows that complete the tree, up to a power of two."""
    width = 1 << (shards - 1).bit_length()
    return [(leaf(i), None) for i in range(shards, width)]


def places(rows: int, shards: int, mine: range) -> list[tuple[Node, bool]]:
    """The nodes at which a process with these shards has sums, of a minibatch of so many rows.

    Each comes with whether there are rows below it.
    """
    ends = bounds(rows, shards)
    leaves = [(leaf(s), True if ends[s + 1] > ends[s] else None) for s in mine]
    rest = padding(shards) if mine.stop == shards else []
    return [(node, bool(there)) for node, there in add_up([*leaves, *rest], lambda a, b: True)]


def sharded_step(
    network: Network,
    optimizer: Optimizer,
    reduction: str,
    shards: int,
    all_ranks: AddUp | None = None,
    before: Callable[[], None] = lambda: None,
) -> Step:
    """Return the definition's step, the gradient of which is added up shard by shard.

    Args:
        network: the network that will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum", of the whole minibatch.
        shards: S.
        all_ranks: adds up what several processes have; None where one has all shards.
        before: called before each step.
    """
    xp, backend = network.backend.xp, network.backend
    backpropagate = backpropagation(network, reduction, xp)
    shapes = [tuple(network.layers[0].weights.shape[:-2])]
    shapes += [tuple(a.shape) for layer in network.layers for a in (layer.weights, layer.bias)]

    def step(
        network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        assert isinstance(batch, ShardedMinibatch)
        before()

        def gradient(shard: Minibatch) -> list[Array]:
            loss, gradients = backpropagate(network, shard, hyper)
            return [loss, *(a for both in gradients for a in both)]

        values = dict(
            zip(batch.shards, backend.in_threads(gradient, batch.shards.values()), strict=True)
        )
        rest = padding(shards) if batch.mine.stop == shards else []
        sums = add_up([*((leaf(s), values.pop(s, None)) for s in batch.mine), *rest], _plus)
        whole = sums[0][1] if all_ranks is None else all_ranks(sums, batch.rows, shapes)
        assert whole is not None
        loss, *flat = whole
        gradients = [Gradients(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        of_loss = LossSums(loss, batch.total, penalty(network, hyper, xp))
        states = updated(network, states, gradients, batch, hyper, optimizer.update, reduction, xp)
        return states, of_loss

    return step


def _plus(left: list[Array], right: list[Array]) -> list[Array]:
    """The sums of arrays, in the place of those on the left where they can be written to."""
    for i, more in enumerate(right):
        left[i] += more
    return left


def flattened(value: Sequence[Array], xp: Namespace) -> Array:
    """Arrays one after the other, as one of one dimension."""
    return xp.concat([xp.reshape(a, (-1,)) for a in value])


def unflattened(flat: Array, shapes: Sequence[tuple[int, ...]], xp: Namespace) -> list[Array]:
    """Arrays of these shapes, out of one that has their values in this order."""
    ends = accumulate((prod(shape) for shape in shapes), initial=0)
    return [
        xp.reshape(flat[a:b], shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)
    ]
