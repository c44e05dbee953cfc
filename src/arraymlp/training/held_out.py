"""The rows that a run holds out where it is not told which: a fraction, or each member its own.

Early stopping needs rows that a network does not train on. Where each member of a population holds
out others, all rows are trained on by most of them: on the tables that the defaults were chosen on
their mean was better than where all hold out the same, at the same cost.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, class_positions
from arraymlp.data.frames.frame import Frame
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import dealt
from arraymlp.data.stream import Streamed
from arraymlp.data.table_input import TableInput
from arraymlp.training.defaults import FOLDS, HELD_OUT
from arraymlp.training.settings import Settings

IN_TURN = "in_turn"  # what `train` calls it, that each member holds out rows of its own


def validation_for(X: Any, given: Any, every: Sequence[Settings]) -> Any:
    """What to validate on: as given, or some of a table's rows where early stopping needs them.

    Of a table in memory each member of a population holds out rows of its own.
    """
    watched = any(settings.early_stopping is not None for settings in every)
    if given is not None or not isinstance(X, TableInput) or not watched:
        return given
    populations = all(isinstance(settings.seed, tuple) for settings in every)
    own = populations and isinstance(X.table, Frame) and len(X) >= FOLDS
    return IN_TURN if own and not any(settings.probes for settings in every) else HELD_OUT


def hold_out_in_turn(
    data: Data, validation: str, settings: Settings, members: int | None, backend: Backend
) -> Data:
    """The data of K members, each of which holds out one of `FOLDS` parts of the rows, in turn.

    What encodes or standardises is learnt of all rows, each of which most members train on, and is
    the same for all. Members whose part is a row shorter train on a row less, so that all have
    equally many steps.

    Raises:
        ValueError: another word; one network; rows that are too few, or not all in memory; probes,
            which need members that see the same rows.
    """
    if validation != IN_TURN:
        raise ValueError(
            f'validation must be a fraction, (X, y), (X, y, sample_weight) or "{IN_TURN}", not '
            f"{validation!r}"
        )
    if members is None:
        raise ValueError(f'validation="{IN_TURN}" is for members: give several seeds')
    if settings.probes:
        raise ValueError(f'validation="{IN_TURN}" and probes exclude each other')
    if isinstance(data.X, Streamed):
        raise ValueError(f'validation="{IN_TURN}" needs X in memory')
    n = int(data.X.shape[0])
    if n < FOLDS:
        raise ValueError(f'validation="{IN_TURN}" needs {FOLDS} rows, and there are {n}')
    parts = dealt(n, FOLDS, settings.order_seed, class_positions(data.y, backend))
    fewest = n - max(len(held_out) for _, held_out in parts)
    plans = []
    for k in range(members):
        rows, held_out = parts[k % FOLDS]
        own = settings.order_seed * members + k
        order = own if settings.shuffle is True else settings.shuffle or None
        plans.append(RowPlan(rows[:fewest], held_out, order).begun())
    return replace(data, row_plans=tuple(plans), X_val=None, y_val=None)
