"""What a sweep's networks see: the data, once on the device, and each network's rows of it."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.array import is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, class_positions
from arraymlp.data.loading import add_validation, load_data, require_minibatches
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import folds, split
from arraymlp.data.stream import Streamed
from arraymlp.data.weights import with_class_weights
from arraymlp.training.settings import Settings
from arraymlp.training.setup import require_fit


def seen_by(row_plan: RowPlan | None, data: Data) -> Data:
    """The data as members with a course have it."""
    return data if row_plan is None else replace(data, row_plans=(row_plan,))


class SweepData:
    """The data on the device, once for each dtype and kind of targets, and the rows of members."""

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        cv: Any,
        every: Sequence[Settings],
        backend: Backend,
    ) -> None:
        if cv is not None and validation is not None:
            raise ValueError("cv and validation both say what to validate on: give one of them")
        self._given, self._backend, self._cv = (X, y, sample_weight), backend, cv
        self._validation = validation
        self._known: dict[Any, Data] = {}
        self._made: dict[Any, list[tuple[int | None, RowPlan]]] = {}
        self._own_orders = len({s.order_seed for s in every}) > 1
        self._fraction = is_number(validation) and self._own_orders
        first = self.data(every[0])
        weighed: list[Any] = []
        for settings in every:
            data = self.data(settings)
            require_fit(settings, seen_by(self.row_plans(settings)[0][1], data))
            with warnings.catch_warnings():  # of rows left over one warning is enough
                if settings is not every[0]:
                    warnings.simplefilter("ignore")
                for _, row_plan in self.row_plans(settings):
                    rows = int(data.X.shape[0]) if row_plan is None else len(row_plan.rows)
                    require_minibatches(rows, settings)
            own = tuple(c for _, c in self.row_plans(settings) if c is not None)
            if settings.class_weight is not None or (own and sample_weight is not None):
                checked = id(data), own, settings.class_weight
                if checked not in weighed:
                    with_class_weights(replace(data, row_plans=own or None), settings, backend)
                    weighed.append(checked)
        plain = not isinstance(first.X, Streamed) or first.X.any_order
        if (cv is not None or self._own_orders) and not plain:
            raise ValueError("folds, and minibatch orders of networks' own, need X in memory")
        if (cv is not None or self._own_orders) and any(s.probes for s in every):
            raise ValueError("probes need networks that all train on the same minibatches")

    def data(self, settings: Settings) -> Data:
        """The rows and targets for a network with these settings."""
        loss = settings.loss if isinstance(settings.loss, str) else type(settings.loss)
        per_target = None if isinstance(settings.loss, str) else settings.loss.outputs_per_target
        key = settings.dtype, loss, per_target
        if key not in self._known:
            X, y, weight = self._given
            backend = self._backend
            for (dtype, *_), known in self._known.items():
                whole = y is not None and self._validation is None  # none of its rows held out
                if whole and dtype == settings.dtype and not isinstance(known.X, Streamed):
                    X = known.X  # checked, and brought to the device, once
            data = load_data(X, y, weight, settings, None, backend)
            if self._cv is not None or self._fraction:
                data = replace(data, X_val=None, y_val=None)
            elif self._validation is not None:
                data = add_validation(data, self._validation, settings, None, backend)
            self._known[key] = data
        return self._known[key]

    def row_plans(self, settings: Settings) -> list[tuple[int | None, RowPlan | None]]:
        """The folds' numbers and courses of a network with these settings, or one of neither."""
        if self._cv is None and not self._own_orders:
            return [(None, None)]
        order: Any = settings.order_seed if settings.shuffle is True else settings.shuffle or None
        data = self.data(settings)
        # Of classes the rows are dealt out alike.
        key = order, settings.order_seed, data.y.classes is not None
        if key not in self._made:
            n, classes = int(data.X.shape[0]), class_positions(data.y, self._backend)
            pairs: list[tuple[Any, Any]] = [(np.arange(n, dtype=np.int32), None)]
            if self._cv is not None:
                pairs = self._folds(n, settings.order_seed, classes)
            elif self._fraction:
                pairs = [split(n, float(self._validation), settings.order_seed, classes)]
            numbered = self._cv is not None
            self._made[key] = [
                (fold if numbered else None, RowPlan(rows, out, order))
                for fold, (rows, out) in enumerate(pairs)
            ]
        return list(self._made[key])

    def _folds(self, n: int, order_seed: int, classes: Any) -> list[tuple[Any, Any]]:
        cv = self._cv
        if is_number(cv) or isinstance(cv, bool | str):
            return list(folds(n, cv, order_seed, classes))
        if hasattr(cv, "split"):
            y = self._given[1]
            labels = (
                classes if y is None else self._backend.to_numpy(y) if is_device_array(y) else y
            )
            cv = cv.split(np.zeros((n, 1)), labels)
        try:
            pairs = [tuple(np.asarray(rows) for rows in pair) for pair in cv]
        except TypeError as error:
            raise ValueError(
                f"cv must be a number of folds, a splitter, or pairs of rows, not {self._cv!r}"
            ) from error
        self._cv = pairs  # an iterator gives them once
        found = []
        for i, pair in enumerate(pairs):
            if len(pair) != 2:
                raise ValueError(f"fold {i} of cv must be a pair (training rows, held-out rows)")
            for rows in pair:
                fine = rows.ndim == 1 and rows.size > 0 and rows.dtype.kind in "iu"
                if not fine or rows.min() < 0 or rows.max() >= n:
                    raise ValueError(f"fold {i} of cv must have numbers of the {n} rows")
            found.append((np.sort(pair[0]).astype(np.int32), np.sort(pair[1]).astype(np.int32)))
        if not found:
            raise ValueError("cv has no folds")
        return found
