"""Rows to choose from in a page: the user's own, or some that a run was validated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.registry import resolve
from arraymlp.data.data import take_rows
from arraymlp.data.frames.sources import frame_of, is_frame
from arraymlp.data.inputs import features
from arraymlp.data.names import require_names
from arraymlp.data.sources import is_sparse
from arraymlp.data.splits import sample_rows
from arraymlp.data.stream import Streamed
from arraymlp.data.table_input import true_targets
from arraymlp.data.targets import Targets
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import undone
from arraymlp.pages.columns import InputColumn, table_cells
from arraymlp.pages.decoding import decoded
from arraymlp.pages.subject import Subject
from arraymlp.training.run import Run

OF_A_RUN, GIVEN = 200, 1000  # rows at most
GREYS = 255
NEAR = 0.01  # of a grey level, which float32 and standardising leave of it


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows to choose from.

    Attributes:
        cells: rows of a page (N, n), float64.
        truth: what is true of each, in words; None where it is not known.
        classes: position of its class (N,); None of others than classes.
        values: its number (N,); None of others than one number a row.
        what: they are, in words.
    """

    cells: HostArray
    truth: tuple[str, ...] | None = None
    classes: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    what: str = "examples"

    def greys(self) -> tuple[HostArray, float] | None:
        """The cells as uint8 and the size of one grey level; None where they are no such levels."""
        for level in (1.0, 1 / GREYS):
            levels = self.cells / level
            whole = np.round(levels)
            near = bool((np.abs(levels - whole) < NEAR).all())
            if near and whole.min() >= 0 and 1 < whole.max() <= GREYS:
                return whole.astype(np.uint8), level
        return None


def examples_for(
    subject: Subject, columns: Sequence[InputColumn], given: Any = None
) -> Examples | None:
    """The rows to choose from: as given, or else of the run's data, evenly spread.

    Args:
        subject: the model.
        columns: that it takes.
        given: X, or (X, y), as for the model's ``evaluate``; at most 1000 rows are kept. None for
            up to 200 rows that the run was validated on, or else trained on; none of streams.

    Raises:
        ValueError: they are not such as the model takes, or there are none.
    """
    if given is None:
        return None if subject.run is None else _of_run(subject.run, columns)
    X, y = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    network = subject.first
    names = network.targets
    if y is not None or (names and is_frame(X) and set(names) <= set(frame_of(X).names)):
        y = true_targets(X, y, names)
    rows = sample_rows(_length(X), GIVEN)
    if subject.stacks[0].encoding is not None:
        table = frame_of(X, "examples")
        cells = table_cells(columns, table[rows])
    else:
        cells = _numbers(X, columns, network, rows)
    if not len(cells):
        raise ValueError("examples has no rows")
    truth = None if y is None else np.asarray(y)
    if truth is not None and len(truth) != _length(X):
        raise ValueError(f"examples has {_length(X)} rows, but y has {len(truth)}")
    told = _told(network, None if truth is None else truth[rows])
    if told[1] is not None and -1 in told[1]:
        strange = told[0][told[1].index(-1)] if told[0] else ""
        raise ValueError(f"examples has the target {strange!r}, which is no class of the model")
    return Examples(cells, *told)


def _length(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _numbers(
    X: Any, columns: Sequence[InputColumn], network: Network, rows: HostArray
) -> HostArray:
    """Rows of plain features, float64."""
    require_names(X, network.features, "examples")
    if is_frame(X):
        frame = frame_of(X)
        names = [column.name for column in columns]
        X = np.asarray(frame if network.features is None else frame.select(names))
    if is_sparse(X):
        X = X.tocsr()[rows].toarray()
        rows = np.arange(len(rows))
    backend = network.backend if not isinstance(X, list | np.ndarray) else resolve("numpy")
    dtype = "float64" if backend.has("float64") else network.dtype
    found = features(X, backend, dtype, n_features=len(columns), what="examples")
    return np.asarray(backend.to_numpy(found)[rows], dtype=np.float64)


def _of_run(run: Run, columns: Sequence[InputColumn]) -> Examples | None:
    """Rows that a run was validated on, or else trained on, as they were before any scaling."""
    data, backend = run.data, run.backend
    if data is None:
        return None
    X, y, among = data.X, data.y, None
    encoding = data.encoding
    what = "training rows"
    if data.X_val is not None and data.y_val is not None:
        X, y, what = data.X_val, data.y_val, "validation rows"
    elif data.row_plans is not None:
        plan = data.row_plans[0]
        encoding = encoding or plan.encoding
        among = plan.rows if plan.held_out is None else plan.held_out
        several = "validation rows of network 1, which the others were trained on"
        if plan.held_out is not None:
            what = several if len(data.row_plans) > 1 else "validation rows"
    if isinstance(X, Streamed):
        return None
    n = int(X.shape[0]) if among is None else len(among)
    rows = sample_rows(n, OF_A_RUN)
    rows = rows if among is None else np.sort(np.asarray(among)[rows])
    taken = np.asarray(backend.to_numpy(take_rows(X, rows, backend)), dtype=np.float64)
    if data.inputs is not None:
        taken = taken * data.inputs.scale + data.inputs.mean
    values = backend.to_numpy(take_rows(y.values, rows, backend))
    cells = taken if encoding is None else decoded(encoding, columns, taken)
    return Examples(cells, *_told(run.network, _as_given(run.network, y, values)), what=what)


def _as_given(network: Network, y: Targets, values: HostArray) -> HostArray:
    """Targets of a run's data as the user had them."""
    if y.classes is None:
        return np.asarray(undone(y.scaling, values))
    if values.ndim == 1:
        positions = values
    else:
        single = y.n_outputs == 1
        positions = values[:, 0] > 0.5 if single else values.argmax(axis=1)
    return np.asarray(y.classes[positions.astype(int)])


def _told(
    network: Network, values: HostArray | None
) -> tuple[tuple[str, ...] | None, tuple[int, ...] | None, tuple[float, ...] | None]:
    """Targets in words; and the positions of their classes, or the numbers."""
    if values is None:
        return None, None, None
    if network.classes is not None:
        at = {label: i for i, label in enumerate(network.classes.tolist())}
        labels = values.tolist()
        positions = tuple(at.get(label, -1) for label in labels)
        return tuple(map(str, labels)), positions, None
    table = values.reshape(len(values), -1)
    if network.loss.classifies == "each":
        names = network.targets or tuple(map(str, range(table.shape[1])))
        chosen = [[n for n, v in zip(names, row, strict=True) if v > 0.5] for row in table]
        return tuple(", ".join(row) or "none" for row in chosen), None, None
    numbers = tuple(map(float, table[:, 0])) if table.shape[1] == 1 else None
    return tuple(", ".join(f"{v:.6g}" for v in row) for row in table), None, numbers
