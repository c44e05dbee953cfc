"""Courses: which rows each member of a population trains on, and in what order.

Members that share all rows need none. In cross-validation, or where each has a minibatch order of
its own, a member's course says what it would see if it trained alone. Neighbouring members with one
course share its minibatches, which then have a leading axis: (G, B, n_features) for G courses.

All courses of a population have equally many minibatches an epoch. Only the last one can differ in
rows: shorter ones are filled up with rows of weight 0, which change no loss and no gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.minibatches import Minibatch, epoch_order, own_order
from arraymlp.nn.linalg import repeat_groups


@dataclass(frozen=True, eq=False)
class RowPlan:
    """What a member sees of the data.

    Attributes:
        rows: numbers (n,) of the rows it trains on.
        held_out: numbers of those it is validated on; None for the data's validation rows, or none.
        order: of the rows, anew each epoch: the ``order_seed``; a function as `arraymlp.train`'s
            ``shuffle``; None as they stand.
    """

    rows: HostArray
    held_out: HostArray | None = None
    order: int | Callable[[int, int], HostArray] | None = None

    def begun(self) -> "RowPlan":
        """The course for one population: an order that remembers is a copy of its own."""
        return replace(self, order=deepcopy(self.order)) if callable(self.order) else self

    def minibatches(self, batch_size: int, drop_last: bool) -> int:
        """How many an epoch has."""
        n = len(self.rows)
        return n // batch_size if drop_last else -(-n // batch_size)

    def ordered(self, epoch: int, window: int | None) -> HostArray:
        """The row numbers in the order in which an epoch meets them, (n,) int32."""
        n = len(self.rows)
        if self.order is None:
            return self.rows
        if callable(self.order):
            return self.rows[own_order(self.order, n, epoch)]
        return self.rows[epoch_order(n, self.order, epoch, window)]


def groups(row_plans: Sequence[RowPlan]) -> list[tuple[RowPlan, int, int]]:
    """Each course with the neighbouring members that share it: (course, first, past the last)."""
    found, start = [], 0
    for _, same in groupby(row_plans, key=id):
        several = list(same)
        found.append((several[0], start, start + len(several)))
        start += len(several)
    return found


def plan_minibatches(
    X: Any,
    y: Array,
    weight: Array | None,
    row_plans: Sequence[RowPlan],
    batch_size: int,
    epoch: int,
    window: int | None,
    drop_last: bool,
    backend: Backend,
    skip: int = 0,
    gather: Callable[[HostArray], Array] | None = None,
) -> Iterator[Minibatch]:
    """The minibatches of an epoch: x (G, B, n_features), and y and weights of each member.

    Args:
        X: all rows, (N, n_features).
        y: targets of all rows, (N,) or (N, n).
        weight: of all rows, (N,), or (N, K) for one a member.
        row_plans: one for each of the K members.
        batch_size: rows of a minibatch.
        epoch: its number.
        window: rows change places only within so many.
        drop_last: leave out the rows that fill no minibatch.
        backend: of the arrays.
        skip: how many minibatches to leave out at the start.
        gather: where X is no array, brings the rows of these numbers (m,) to the device.
    """
    xp, members = backend.xp, len(row_plans)
    each = groups(row_plans)
    if len({stop - start for _, start, stop in each}) > 1:  # groups of one size alone share rows
        each = [(row_plan, k, k + 1) for k, row_plan in enumerate(row_plans)]
    known = {id(c): c.ordered(epoch, window) for c, _, _ in each}
    orders = [known[id(c)] for c, _, _ in each]
    steps = each[0][0].minibatches(batch_size, drop_last)
    padded = steps * batch_size
    counts = np.minimum([len(r) for r in orders], padded)  # rows of each course in the epoch
    ends = [np.pad(r[:n], (0, padded - n), "edge") for r, n in zip(orders, counts, strict=True)]
    table = np.stack(ends).astype(np.int32)  # (G, padded)
    uploaded = backend.asarray(table)
    kind = "int64" if backend.has("int64") else "int32"  # of numbers of entries of (N, K)
    for step in range(skip, steps):
        start = step * batch_size
        sizes = np.minimum(counts - start, batch_size)
        stop = start + int(sizes.max())

        def own(a: Array, start: int = start, stop: int = stop) -> Array:
            taken = xp.take(a, xp.reshape(uploaded[:, start:stop], (-1,)), axis=0)
            return xp.reshape(taken, (len(each), stop - start, *a.shape[1:]))

        if gather is None:
            x = own(X)
        else:
            x = gather(table[:, start:stop].reshape(-1))
            x = xp.reshape(x, (len(each), stop - start, int(x.shape[-1])))
        samples = np.repeat(sizes, members // len(each))
        w = None
        if weight is not None and weight.ndim == 1:
            w = repeat_groups(own(weight), members, xp)
        elif weight is not None:  # (N, K): each member's own column
            rows = np.repeat(table[:, start:stop], members // len(each), axis=0)
            entries = rows.astype(np.int64) * members + np.arange(members)[:, None]
            flat = backend.asarray(entries.reshape(-1), kind)
            w = xp.reshape(xp.take(xp.reshape(weight, (-1,)), flat, axis=0), rows.shape)
        if (sizes < stop - start).any():
            there = np.arange(stop - start) < samples[:, None]
            real = backend.asarray(there.astype(np.float64), str(x.dtype).rpartition(".")[2])
            w = real if w is None else w * real
        even = bool((samples == stop - start).all())
        yield Minibatch(x, repeat_groups(own(y), members, xp), w, None if even else samples)
