"""Row plans: the rows that each member of a population trains on, and their order.

Members that share all rows and their order need none. In cross-validation, or where each has a
minibatch order of its own, a member's plan says what it would see if it trained alone. Neighbouring
members with the same plan form a group and share its minibatches, which have a leading axis for the
groups: (G, B, n_features).

All plans of a population have equally many minibatches an epoch. Only the last one can differ in
rows: shorter ones are filled up with rows of weight 0, which change no loss and no gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from arraymlp.backends.array import Array, HostArray, dtype_name
from arraymlp.backends.backend import Backend
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.minibatches import Minibatch, epoch_order, user_order
from arraymlp.data.stream import Streamed
from arraymlp.nn.linalg import repeat_groups
from arraymlp.nn.scaling import Scaling, stacked


@dataclass(frozen=True, eq=False)
class RowPlan:
    """The rows of the data that a member sees.

    Attributes:
        rows: numbers (n,) of the rows it trains on.
        held_out: numbers of those it is validated on; None for the data's validation rows, if any.
        order: of the rows, drawn anew each epoch: an ``order_seed``, or a function as
            `arraymlp.train`'s ``shuffle``; None for the rows as they stand.
        inputs: what standardises the features further, so that it is learnt of these rows.
        outputs: likewise of the targets.
        encoding: what made these rows of a table, where it was learnt of the rows to train on.
    """

    rows: HostArray
    held_out: HostArray | None = None
    order: int | Callable[[int, int], HostArray] | None = None
    inputs: Scaling | None = None
    outputs: Scaling | None = None
    encoding: TableEncoding | None = None

    def begun(self) -> "RowPlan":
        """The plan for one population: an order function with a memory is copied for it."""
        return replace(self, order=deepcopy(self.order)) if callable(self.order) else self

    def minibatches(self, batch_size: int, drop_last: bool) -> int:
        """The number of minibatches of an epoch."""
        n = len(self.rows)
        return n // batch_size if drop_last else -(-n // batch_size)

    def ordered(self, epoch: int, window: int | None) -> HostArray:
        """The row numbers in the order of an epoch, (n,) int32; see `epoch_order`."""
        n = len(self.rows)
        if self.order is None:
            return self.rows
        if callable(self.order):
            return self.rows[user_order(self.order, n, epoch)]
        return self.rows[epoch_order(n, self.order, epoch, window)]


def groups(row_plans: Sequence[RowPlan]) -> list[tuple[RowPlan, int, int]]:
    """Each plan with the neighbouring members that share it: (plan, first, one past the last)."""
    shared, start = [], 0
    for _, same in groupby(row_plans, key=id):
        members = list(same)
        shared.append((members[0], start, start + len(members)))
        start += len(members)
    return shared


class MemberRows(NamedTuple):
    """The rows that some neighbouring members train on in an epoch; see `RowPlan`.

    Attributes:
        order: row numbers, int32, on the host; None for the rows as they stand.
        first: the position in the order at which the first step begins.
        stop: the position past the last step's last row.
        members: how many members.
        inputs: what standardises the features further.
        outputs: likewise the targets.
    """

    order: Array | None
    first: int
    stop: int
    members: int
    inputs: Scaling | None = None
    outputs: Scaling | None = None


class PlannedEpoch:
    """One epoch of the members of a population, in G groups of K / G, each with a row plan."""

    def __init__(
        self,
        row_plans: Sequence[RowPlan],
        epoch: int,
        backend: Backend,
        *,
        batch_size: int,
        window: int | None = None,
        drop_last: bool = False,
    ) -> None:
        """Draw the orders of the epoch.

        Args:
            row_plans: one for each of the K members.
            epoch: counted from 0.
            backend: of the data.
            batch_size: rows of a minibatch.
            window: rows are shuffled only within so many.
            drop_last: leave out the rows that fill no minibatch.
        """
        shared = groups(row_plans)
        if len({stop - start for _, start, stop in shared}) > 1:  # groups must be of one size
            shared = [(plan, k, k + 1) for k, plan in enumerate(row_plans)]
        plans = [plan for plan, _, _ in shared]
        self._backend, self._batch_size = backend, batch_size
        self._members, self._groups, self._plans = len(row_plans), len(plans), plans
        self._inputs = stacked([plan.inputs for plan in plans])
        self._outputs = stacked([plan.outputs for plan in plans])
        self.steps = plans[0].minibatches(batch_size, drop_last)
        # A plan that several groups have is asked for its order once: the order may have a memory.
        distinct = {id(plan): plan for plan in plans}
        order_of = {key: plan.ordered(epoch, window) for key, plan in distinct.items()}
        orders = [order_of[id(plan)] for plan in plans]
        padded = self.steps * batch_size
        self._counts = np.minimum([len(rows) for rows in orders], padded)  # (G,) rows of the epoch
        filled = [
            np.pad(rows[:n], (0, padded - n), "edge")
            for rows, n in zip(orders, self._counts, strict=True)
        ]
        self._rows = np.stack(filled).astype(np.int32)  # (G, padded), on the host
        self._on_device: Array | None = None

    def member_rows(self, first: int) -> tuple[MemberRows, ...]:
        """The rows of each group, from position ``first`` of their orders on."""
        members = self._members // self._groups
        return tuple(
            MemberRows(order, first, int(n), members, plan.inputs, plan.outputs)
            for plan, order, n in zip(self._plans, self._rows, self._counts, strict=True)
        )

    def minibatches(
        self, X: Array | Streamed, y: Array, weight: Array | None, skip: int = 0
    ) -> Iterator[Minibatch]:
        """Yield the minibatches: x (G, B, n_features), and y and weights of each member.

        Args:
            X: all rows, (N, n_features).
            y: targets of all rows, (N,) or (N, n).
            weight: of all rows, (N,), or (N, K) for one a member; None where all are 1.
            skip: the number of minibatches to leave out at the start.
        """
        scaled_x = self._applier(self._inputs, X)
        scaled_y = self._applier(self._outputs, y)
        for step in range(skip, self.steps):
            start = step * self._batch_size
            counts = np.minimum(self._counts - start, self._batch_size)  # (G,) rows of the step
            block = slice(start, start + int(counts.max()))
            samples = np.repeat(counts, self._members // self._groups)  # (K,)
            x, width = scaled_x(self._features(X, block)), block.stop - block.start
            w = None if weight is None else self._weights(weight, block)
            same = bool((counts == width).all())
            if not same:
                is_sample = (np.arange(width) < samples[:, None]).astype(np.float64)
                fill = self._backend.asarray(is_sample, dtype_name(x))
                w = fill if w is None else w * fill
            targets = self._repeated(scaled_y(self._take(y, block)))
            yield Minibatch(x, targets, w, None if same else samples)

    def _applier(
        self, scaling: Scaling | None, values: Array | Streamed
    ) -> Callable[[Array], Array]:
        """A function that standardises values (G, B, n), each group's by its own."""
        if scaling is None:
            return lambda taken: taken
        dtype = values.dtype if isinstance(values, Streamed) else dtype_name(values)
        return scaling.applier(self._backend, dtype)

    @property
    def _device_rows(self) -> Array:
        if self._on_device is None:
            self._on_device = self._backend.asarray(self._rows)
        return self._on_device

    def _take(self, a: Array, block: slice) -> Array:
        """The rows (N, ...) of a that each group has in a block of the epoch, (G, B, ...)."""
        xp = self._backend.xp
        flat = xp.take(a, xp.reshape(self._device_rows[:, block], (-1,)), axis=0)
        return xp.reshape(flat, (self._groups, block.stop - block.start, *a.shape[1:]))

    def _repeated(self, a: Array) -> Array:
        """(G, ...) as (K, ...)."""
        return repeat_groups(a, self._members, self._backend.xp)

    def _features(self, X: Array | Streamed, block: slice) -> Array:
        """The rows of X of each group, (G, B, n_features)."""
        if not isinstance(X, Streamed):
            return self._take(X, block)
        x = X.gather(self._rows[:, block].reshape(-1), self._backend)
        return self._backend.xp.reshape(x, (self._groups, block.stop - block.start, -1))

    def _weights(self, weight: Array, block: slice) -> Array:
        """The weights (K, B) of each member's rows."""
        if weight.ndim == 1:
            return self._repeated(self._take(weight, block))
        # Of (N, K) each member takes its own column: entries of the flat array.
        xp, members = self._backend.xp, self._members
        rows = np.repeat(self._rows[:, block], members // self._groups, axis=0)  # (K, B)
        entries = rows.astype(np.int64) * members + np.arange(members)[:, None]
        integers = "int64" if self._backend.has("int64") else "int32"
        flat = self._backend.asarray(entries.reshape(-1), integers)
        return xp.reshape(xp.take(xp.reshape(weight, (-1,)), flat, axis=0), rows.shape)
