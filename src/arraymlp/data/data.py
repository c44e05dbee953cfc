"""Training and validation data, brought to the device once and never written there.

Where X is larger than memory (`arraymlp.data.stream`), only its targets and weights are; X comes by
windows of rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks, rows_at_once
from arraymlp.data.inputs import Targets
from arraymlp.data.row_plans import RowPlan, groups
from arraymlp.data.stream import Streamed, window_rows
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.nn.network import Network

ClassWeight: TypeAlias = Mapping[int, float] | Literal["balanced"] | None


class DataSettings(Protocol):
    """The settings of a run (`arraymlp.Settings`) that this room reads."""

    @property
    def loss(self) -> str | Loss: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def alpha(self) -> float | Sequence[float]: ...
    @property
    def class_weight(self) -> ClassWeight | Sequence[ClassWeight]: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def shuffle(self) -> bool | Callable[[int, int], HostArray]: ...
    @property
    def window(self) -> int | None: ...
    @property
    def drop_last(self) -> bool: ...
    @property
    def seed(self) -> int | Sequence[int] | None: ...
    @property
    def order_seed(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def training_error(self) -> bool: ...


@dataclass(frozen=True)
class Data:
    """Rows and targets on the device; the validation's are None where there is none.

    Attributes:
        X: training rows (N, n_features); a `Streamed` where they are larger than memory.
        y: their targets and weights.
        X_val: validation rows, likewise.
        y_val: their targets and weights.
        row_plans: which of the rows each member trains on, and in what order; None for all of them in
            one order for all.
    """

    X: Array | Streamed
    y: Targets
    X_val: Array | Streamed | None = None
    y_val: Targets | None = None
    row_plans: tuple[RowPlan, ...] | None = None

    @property
    def rows(self) -> int:
        """How many rows an epoch trains on: of courses, the longest."""
        if self.row_plans is None:
            return int(self.X.shape[0])
        return max(len(row_plan.rows) for row_plan in self.row_plans)

    @property
    def validates(self) -> bool:
        """Whether there are rows to validate on."""
        if self.row_plans is not None and self.row_plans[0].held_out is not None:
            return True
        return self.X_val is not None

    def moved(self, here: Backend, there: Backend) -> "Data":
        """The same data on another backend."""
        if here == there:
            return self
        return self.changed(lambda a: there.asarray(here.to_numpy(a)))

    def changed(
        self,
        change: Callable[[Array], Array],
        streamed: Callable[[Streamed], Streamed] = lambda s: s,
    ) -> "Data":
        """The same data with every array changed alike, and what is streamed in its own way."""

        def one(a: Any) -> Any:
            if a is None:
                return None
            return streamed(a) if isinstance(a, Streamed) else change(a)

        def of(t: Targets | None) -> Any:
            if t is None:
                return None
            return replace(
                t, values=one(t.values), weight=one(t.weight), loss_weight=one(t.loss_weight)
            )

        return replace(
            self, X=one(self.X), y=of(self.y), X_val=one(self.X_val), y_val=of(self.y_val)
        )

    def taken(self, rows: HostArray, backend: Backend) -> "Data":
        """These training rows alone, in ascending order, as training data."""
        numbers = backend.asarray(rows)
        training = Data(self.X, self.y)
        return training.changed(
            lambda a: backend.xp.take(a, numbers, axis=0), lambda s: s.kept(rows)
        )

    def parts(self, settings: DataSettings) -> Iterator[tuple[str, Array | Streamed, Targets]]:
        """What is evaluated at an epoch's end, as (name, rows, targets)."""
        if settings.training_error:
            yield "training", self.X, self.y
        if self.X_val is not None and self.y_val is not None:
            yield "validation", self.X_val, self.y_val

    def part_names(self, settings: DataSettings) -> list[str]:
        """What is evaluated at an epoch's end, by name."""
        return ["training"] * settings.training_error + ["validation"] * self.validates

    def by_row_plan(
        self, settings: DataSettings, backend: Backend
    ) -> Iterator[tuple[int, int, "Data"]]:
        """The data of neighbouring members with one course: (first, past the last, their data)."""
        assert self.row_plans is not None
        for row_plan, start, stop in groups(self.row_plans):
            own = replace(self, y=self.y.between(start, stop), row_plans=None)
            kept = own.taken(row_plan.rows, backend) if settings.training_error else own
            if row_plan.held_out is not None:
                out = own.taken(row_plan.held_out, backend)
                yield start, stop, Data(kept.X, kept.y, out.X, out.y)
            else:
                y_val = None if self.y_val is None else self.y_val.between(start, stop)
                yield start, stop, Data(kept.X, kept.y, self.X_val, y_val)

    def window(self, settings: DataSettings) -> int:
        """Rows that are shuffled among themselves: whole minibatches, or all rows."""
        n, size = self.X.shape[0], settings.batch_size
        free = not isinstance(self.X, Streamed) or self.X.any_order
        if settings.window is None and free:
            return int(n)
        return min(int(n), window_rows(self.X.shape[1], size, settings.dtype, settings.window))


def class_positions(t: Targets, backend: Backend) -> HostArray | None:
    """The class of each sample (N,), as its position; None where a sample has no one class."""
    if t.classes is None:
        return None
    values = backend.to_numpy(t.values)
    if values.ndim == 1:
        return values
    return np.asarray(values[:, 0] > 0.5 if t.n_outputs == 1 else values.argmax(axis=1), dtype=int)


def row_blocks(
    X: Array | Streamed, network: Network, window: int | None = None
) -> Iterator[tuple[slice, Array]]:
    """All rows of X, as many at a time as go through a network together.

    Rows larger than memory are read by ``window``, or by as many as fill 64 MiB.

    Yields:
        Where they stand, and the rows on the network's device.
    """
    backend, at_once = network.backend, rows_at_once(network)
    if not isinstance(X, Streamed):
        for rows in blocks(X.shape[0], at_once):
            yield rows, X[rows, :]
        return
    start = 0
    if X.any_order:
        yield from X.dense_blocks(backend, at_once)
        return
    size = window_rows(X.shape[1], ROWS_AT_ONCE, "float64", window)
    with closing(X.windows(backend, size)) as windows:
        for some in windows:
            for rows in blocks(some.shape[0], at_once):
                yield slice(start + rows.start, start + rows.stop), some[rows, :]
            start += some.shape[0]


def take_rows(X: Array | Streamed, rows: HostArray, backend: Backend) -> Array:
    """Some rows of X, in ascending order, together on the device."""
    if isinstance(X, Streamed):
        return X.take(rows, backend)
    return backend.xp.take(X, backend.asarray(rows), axis=0)
