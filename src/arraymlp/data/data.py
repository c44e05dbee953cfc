"""Training and validation data, brought to the device once and never written there.

Where X is larger than memory (`arraymlp.data.stream`), only targets and weights are brought; X
comes in windows of rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, Protocol, TypeAlias

import numpy as np

from arraymlp._checks import merge
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks, rows_at_once, some_blocks
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.row_plans import RowPlan, groups
from arraymlp.data.stream import Streamed, window_rows
from arraymlp.data.targets import Targets, scaled_loss
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling, stacked

ClassWeight: TypeAlias = Mapping[int, float] | Literal["balanced"] | None


class DataSettings(Protocol):
    """The part of a run's settings (`arraymlp.Settings`) that this room reads."""

    @property
    def loss(self) -> str | Loss:
        """The loss of the targets, or "auto"."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics evaluated beside the loss."""

    @property
    def alpha(self) -> float | Sequence[float]:
        """The L2 penalty of the summed loss; K values, one a member."""

    @property
    def class_weight(self) -> ClassWeight | Sequence[ClassWeight]:
        """The weights of classes; K of them, one a member."""

    @property
    def batch_size(self) -> int:
        """Rows of a minibatch."""

    @property
    def shuffle(self) -> bool | Callable[[int, int], HostArray]:
        """True for a new order each epoch, or a function ``(n, epoch) -> order``."""

    @property
    def window(self) -> int | None:
        """Rows that are shuffled among themselves; None for all, or for 64 MiB of a stream."""

    @property
    def drop_last(self) -> bool:
        """True to leave out rows that fill no minibatch."""

    @property
    def seed(self) -> int | Sequence[int] | None:
        """The seed of a network, K seeds of a population; None for a given network."""

    @property
    def order_seed(self) -> int:
        """The seed of minibatch orders and splits."""

    @property
    def dtype(self) -> str:
        """The dtype of data and parameters."""

    @property
    def standardize(self) -> bool | str:
        """What is standardised: True, False, "features" or "targets"."""

    @property
    def shards(self) -> int | None:
        """The number of parts that a minibatch's gradient is added up of; None for no parts."""

    @property
    def training_error(self) -> bool:
        """True to evaluate the training rows each epoch."""


@dataclass(frozen=True)
class Data:
    """Rows and targets on the device; the validation's are None where there is none.

    Attributes:
        X: training rows (N, n_features); a `Streamed` where they are larger than memory.
        y: their targets and weights.
        X_val: validation rows, likewise.
        y_val: their targets and weights.
        row_plans: for each member the rows it trains on, and their order; None where all members
            train on all rows in one order.
        inputs: what standardised the rows; None where they are as they were given.
        features: the names of the columns of X; None where they had none.
        targets: the names of the targets, likewise.
        encoding: what made the rows of a table; with row plans, None where each has its own.
        copies: how often the rows stand in X one below the other, each time encoded for another
            row plan.
    """

    X: Array | Streamed
    y: Targets
    X_val: Array | Streamed | None = None
    y_val: Targets | None = None
    row_plans: tuple[RowPlan, ...] | None = None
    inputs: Scaling | None = None
    features: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    encoding: TableEncoding | None = None
    copies: int = 1

    @property
    def rows(self) -> int:
        """The number of rows that an epoch trains on; with row plans, of the longest."""
        if self.row_plans is None:
            return int(self.X.shape[0])
        return max(len(row_plan.rows) for row_plan in self.row_plans)

    @property
    def validates(self) -> bool:
        """True where there are rows to validate on."""
        if self.row_plans is not None and self.row_plans[0].held_out is not None:
            return True
        return self.X_val is not None

    def moved(self, here: Backend, there: Backend) -> "Data":
        """The same data on another backend."""
        if here == there:
            return self

        def move(a: Array) -> Array:
            return there.asarray(here.to_numpy(a))

        def move_rows(X: Array | Streamed) -> Array | Streamed:
            return X if isinstance(X, Streamed) else move(X)

        return replace(
            self,
            X=move_rows(self.X),
            y=self.y.map(move),
            X_val=None if self.X_val is None else move_rows(self.X_val),
            y_val=None if self.y_val is None else self.y_val.map(move),
        )

    def select_rows(self, rows: HostArray, backend: Backend) -> "Data":
        """These training rows alone (ascending row numbers), as training data."""
        numbers = backend.asarray(rows)

        def take(a: Array) -> Array:
            return backend.xp.take(a, numbers, axis=0)

        X = self.X.kept(rows) if isinstance(self.X, Streamed) else take(self.X)
        return replace(self, X=X, y=self.y.map(take), X_val=None, y_val=None, row_plans=None)

    @property
    def scalings(self) -> tuple[Scaling | None, Scaling | None]:
        """What standardised features and targets, of members with row plans each one's own."""
        plans = self.row_plans or ()
        inputs = [_then(self.inputs, plan.inputs) for plan in plans] or [self.inputs]
        outputs = [_then(self.y.scaling, plan.outputs) for plan in plans] or [self.y.scaling]
        return stacked(inputs), stacked(outputs)

    @property
    def encodings(self) -> TableEncoding | tuple[TableEncoding, ...] | None:
        """What made the rows of a table, of members with row plans each one's own."""
        own = [plan.encoding for plan in self.row_plans or ()]
        given = tuple(encoding for encoding in own if encoding is not None)
        if not given:
            return self.encoding
        return given[0] if all(encoding == given[0] for encoding in given) else given

    @property
    def loss(self) -> Loss:
        """The loss of the standardised targets, of all members."""
        return merge([loss for loss, _ in self._losses])

    @property
    def loss_unit(self) -> float | tuple[float, ...]:
        """u, with which the loss times u is that of the targets as given; or K, one a member."""
        return merge([unit for _, unit in self._losses])

    @property
    def _losses(self) -> list[tuple[Loss, float]]:
        """Loss and unit, for all members or for each of them."""
        y = self.y
        plans = self.row_plans or ()
        if all(plan.outputs is None for plan in plans):
            return [(y.loss, y.unit)]
        each = []
        for k, plan in enumerate(plans):
            loss, unit = y.loss.member(k), 1.0
            if plan.outputs is not None:
                loss, unit = scaled_loss(loss, plan.outputs, y.scaling)
            each.append((loss, unit * y.unit))
        return each

    def rescaled(self, inputs: Scaling | None, outputs: Scaling | None) -> "Data":
        """The same data with features and targets standardised further."""

        def apply(X: Array | Streamed | None) -> Array | Streamed | None:
            if X is None or inputs is None:
                return X
            return X.scaled(inputs) if isinstance(X, Streamed) else inputs.apply(X)

        def apply_to(y: Targets | None) -> Targets | None:
            return y if y is None or outputs is None else y.rescaled(outputs)

        whole = _then(self.inputs, inputs)
        X, y = apply(self.X), apply_to(self.y)
        assert X is not None
        assert y is not None
        return replace(
            self, X=X, y=y, X_val=apply(self.X_val), y_val=apply_to(self.y_val), inputs=whole
        )

    def parts(self, settings: DataSettings) -> Iterator[tuple[str, Array | Streamed, Targets]]:
        """The parts of the data evaluated at an epoch's end, as (name, rows, targets)."""
        if settings.training_error:
            yield "training", self.X, self.y
        if self.X_val is not None and self.y_val is not None:
            yield "validation", self.X_val, self.y_val

    def part_names(self, settings: DataSettings) -> list[str]:
        """The names of the parts of the data evaluated at an epoch's end."""
        return ["training"] * settings.training_error + ["validation"] * self.validates

    def by_row_plan(
        self, settings: DataSettings, backend: Backend
    ) -> Iterator[tuple[int, int, "Data"]]:
        """The data of neighbouring members that share a row plan.

        Yields:
            Its first member, one past the last, and the data; all rows are kept to train on where
            training_error does not ask for them.
        """
        assert self.row_plans is not None
        for row_plan, start, stop in groups(self.row_plans):
            whole = replace(self, y=self.y.slice_members(start, stop), row_plans=None)
            whole = whole.rescaled(row_plan.inputs, row_plan.outputs)
            train = whole.select_rows(row_plan.rows, backend) if settings.training_error else whole
            if row_plan.held_out is not None:
                held_out = whole.select_rows(row_plan.held_out, backend)
                yield start, stop, replace(train, X_val=held_out.X, y_val=held_out.y)
            else:
                y_val = None if whole.y_val is None else whole.y_val.slice_members(start, stop)
                yield start, stop, replace(train, X_val=whole.X_val, y_val=y_val)

    def window(self, settings: DataSettings) -> int:
        """The number of rows that are shuffled among themselves: whole minibatches, or all rows."""
        n, size = int(self.X.shape[0]), settings.batch_size
        any_order = not isinstance(self.X, Streamed) or self.X.any_order
        if settings.window is None and any_order:
            return n
        return min(n, window_rows(self.X.shape[1], size, settings.dtype, settings.window))


def _then(outer: Scaling | None, inner: Scaling | None) -> Scaling | None:
    """The scaling that applies the one and then the other, where there are such."""
    if outer is None or inner is None:
        return inner or outer
    return outer.then(inner)


def class_positions(targets: Targets, backend: Backend) -> HostArray | None:
    """The class of each sample (N,), as its position; None where a sample has no single class."""
    if targets.classes is None:
        return None
    values = backend.to_numpy(targets.values)
    if values.ndim == 1:
        return values
    single = targets.n_outputs == 1
    return np.asarray(values[:, 0] > 0.5 if single else values.argmax(axis=1), dtype=int)


def row_blocks(
    X: Array | Streamed,
    network: Network,
    window: int | None = None,
    own: Callable[[int], range] = range,
) -> Iterator[tuple[slice, Array]]:
    """The rows of X in blocks that go through a network together; see `rows_at_once`.

    Rows larger than memory are read ``window`` at a time, or as many as fill 64 MiB.

    Args:
        X: (N, n_in).
        network: that they go through.
        window: rows to read at once.
        own: of a number of blocks, or of windows, those to give; by default all.

    Yields:
        The positions of a block, and its rows on the network's device.
    """
    backend, at_once = network.backend, rows_at_once(network)
    n = int(X.shape[0])
    if not isinstance(X, Streamed):
        for rows in some_blocks(n, at_once, own):
            yield rows, X[rows, :]
        return
    if X.any_order:
        yield from X.dense_blocks(backend, at_once, own)
        return
    size = window_rows(X.shape[1], ROWS_AT_ONCE, "float64", window)
    numbers = own(-(-n // size))
    start = numbers.start * size
    with closing(X.windows(backend, size, numbers.start)) as windows:
        for x in islice(windows, len(numbers)):
            for rows in blocks(x.shape[0], at_once):
                yield slice(start + rows.start, start + rows.stop), x[rows, :]
            start += x.shape[0]


def take_rows(X: Array | Streamed, rows: HostArray, backend: Backend) -> Array:
    """Rows of X (ascending row numbers), together on the device."""
    if isinstance(X, Streamed):
        return X.take(rows, backend)
    return backend.xp.take(X, backend.asarray(rows), axis=0)
