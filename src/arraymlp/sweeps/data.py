"""The data of a sweep's networks: on the device once, and each network's rows of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, class_positions
from arraymlp.data.loading import (
    Own,
    add_validation,
    load_row_sets,
    require_minibatches,
)
from arraymlp.data.names import feature_names
from arraymlp.data.row_plans import RowPlan
from arraymlp.data.splits import folds, split
from arraymlp.data.standardize import scales_features
from arraymlp.data.stream import Streamed
from arraymlp.data.table_input import TableInput
from arraymlp.data.weights import with_class_weights
from arraymlp.nn.losses import LOSSES, Loss
from arraymlp.training.settings import Settings
from arraymlp.training.setup import require_fit


class Splitter(Protocol):
    """A splitter of scikit-learn's, such as `sklearn.model_selection.KFold`."""

    def split(self, X: Any, y: Any, /) -> Iterable[tuple[Any, Any]]:
        """Pairs of (training rows, held-out rows)."""


# How to cross-validate: a number of folds, a splitter, or pairs of (training rows, held-out rows).
Folds: TypeAlias = int | Splitter | Iterable[tuple[Any, Any]] | None

# What a fold of cross-validation has of its own; number and row plan are None where there is none.
Fold: TypeAlias = tuple[int | None, Settings, RowPlan | None]

# By order_seed, what each fold has learnt of its own rows; nothing where none is held out.
Further: TypeAlias = dict[int, list[Own]]

_Rows: TypeAlias = tuple[HostArray, HostArray | None]  # to train on, and held out


def settings_of_fold(settings: Settings, fold: int, folds: int) -> Settings:
    """The settings of the network of one fold: with seeds of its own.

    Fold f of k has the seeds ``seed * k + f`` and ``order_seed * k + f``, so that no two networks
    have the same one, whatever seeds are swept: networks that begin alike err alike, and an
    ensemble of them gains little.
    """
    assert isinstance(settings.seed, int)  # one network's
    seed, order_seed = (s * folds + fold for s in (settings.seed, settings.order_seed))
    return replace(settings, seed=seed, order_seed=order_seed)


def seen_by(row_plan: RowPlan | None, data: Data) -> Data:
    """The data as members with a row plan have it."""
    return data if row_plan is None else replace(data, row_plans=(row_plan,))


class SweepData:
    """The data on the device, once for each dtype and kind of targets, and the rows of members.

    Args:
        X: as for `arraymlp.sweep`, and so are y, sample_weight, validation and cv.
        y: see X.
        sample_weight: see X.
        validation: see X.
        cv: see X.
        every: the settings of each network.
        backend: where the data goes.

    Raises:
        ValueError: data, folds or settings that some network cannot be trained with.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        cv: Folds,
        every: Sequence[Settings],
        backend: Backend,
    ) -> None:
        if cv is not None and validation is not None:
            raise ValueError("cv and validation both say what to validate on: give one of them")
        self._X, self._y, self._sample_weight = X, y, sample_weight
        self._validation, self._cv, self._backend = validation, cv, backend
        self._order_seeds = list(dict.fromkeys(s.order_seed for s in every))
        self._loaded: dict[tuple[object, ...], tuple[Data, Further]] = {}
        self._plans: dict[tuple[object, ...], list[RowPlan]] = {}
        self._own_orders = len(self._order_seeds) > 1
        self._has_plans = cv is not None or self._own_orders
        first = self.data(every[0])
        self._require_trainable(every)
        in_order = isinstance(first.X, Streamed) and not first.X.any_order
        if self._has_plans and in_order:
            raise ValueError("folds, and minibatch orders of networks' own, need X in memory")
        if self._has_plans and any(s.probes for s in every):
            raise ValueError("probes need networks that all train on the same minibatches")

    def _require_trainable(self, every: Sequence[Settings]) -> None:
        """Raise a ValueError where any network cannot be trained on its rows."""
        weighed: list[tuple[int, tuple[RowPlan, ...], object]] = []
        for settings in every:
            data = self.data(settings)
            of_folds = self.folds(settings)
            row_plans = [plan for _, _, plan in of_folds]
            require_fit(settings, seen_by(row_plans[0], data))
            for _, its_settings, row_plan in of_folds:
                rows = int(data.X.shape[0]) if row_plan is None else len(row_plan.rows)
                # One warning about rows left over is enough.
                require_minibatches(rows, its_settings, warn=settings is every[0])
            plans = tuple(plan for plan in row_plans if plan is not None)
            if settings.class_weight is None and not (plans and self._sample_weight is not None):
                continue
            weights = id(data), plans, settings.class_weight
            if weights not in weighed:
                with_class_weights(replace(data, row_plans=plans or None), settings, self._backend)
                weighed.append(weights)

    def data(self, settings: Settings) -> Data:
        """The rows and targets for a network with these settings."""
        return self._data_and_further(settings)[0]

    def _data_and_further(self, settings: Settings) -> tuple[Data, Further]:
        loss: object = settings.loss
        if isinstance(loss, Loss):  # one of your own may have its unit hang on its parameters
            loss = type(loss) if type(LOSSES.get(loss.name)) is type(loss) else id(loss)
        per_target = None if isinstance(settings.loss, str) else settings.loss.outputs_per_target
        key = settings.dtype, loss, per_target, settings.standardize
        if key not in self._loaded:
            self._loaded[key] = self._load(settings)
        return self._loaded[key]

    def _load(self, settings: Settings) -> tuple[Data, Further]:
        X, backend = self._X, self._backend
        for (dtype, *_), (loaded, _) in self._loaded.items():
            whole = self._y is not None and self._validation is None  # none of its rows held out
            as_given = loaded.inputs is None and not scales_features(settings.standardize)
            whole = whole and as_given and not isinstance(loaded.X, Streamed)
            whole = whole and not isinstance(X, TableInput)
            if whole and dtype == settings.dtype:
                X = loaded.X  # checked, and brought to the device, once

        def row_sets(n: int, classes: HostArray | None) -> list[HostArray]:
            splits = [self._split(n, classes, order_seed) for order_seed in self._order_seeds]
            return [rows for split in splits for rows, _ in split]

        holds_out = self._cv is not None or is_number(self._validation)
        data, each = load_row_sets(
            X,
            self._y,
            self._sample_weight,
            settings,
            None,
            backend,
            row_sets if holds_out else None,
        )
        data = replace(data, features=data.features or feature_names(self._X))
        rest = iter(each)
        folds = len(each) // len(self._order_seeds)
        further = {seed: list(islice(rest, folds)) for seed in self._order_seeds}
        if self._cv is not None or (self._own_orders and is_number(self._validation)):
            data = replace(data, X_val=None, y_val=None)  # row plans hold out rows
        elif self._validation is not None:
            data = add_validation(data, self._validation, settings, None, backend)
        return data, further

    def folds(self, settings: Settings) -> list[Fold]:
        """Each fold's number, settings and row plan, of a network with these settings.

        Without folds there is one, whose number is None; without orders of networks' own, too, its
        row plan is None.
        """
        data, further = self._data_and_further(settings)
        if not self._has_plans:
            return [(None, settings.for_rows(data.rows), None)]
        # The rows of each class are spread evenly over folds.
        key: tuple[object, ...] = (
            settings.shuffle,
            settings.order_seed,
            data.y.classes is not None,
            *_scales(data, settings),
        )
        if key not in self._plans:
            n, classes = int(data.X.shape[0]) // data.copies, class_positions(data.y, self._backend)
            split = self._split(n, None if classes is None else classes[:n], settings.order_seed)
            learnt = further[settings.order_seed] or [Own()] * len(split)
            first = self._order_seeds.index(settings.order_seed) * len(split)
            plans = []
            for f, ((rows, held_out), own) in enumerate(zip(split, learnt, strict=True)):
                start = (first + f) * n if data.copies > 1 else 0  # of the copy encoded for it
                plans.append(
                    RowPlan(
                        (rows + start).astype(np.int32),
                        None if held_out is None else (held_out + start).astype(np.int32),
                        _order(self._of_fold(settings, f, len(split))),
                        *own,
                    )
                )
            self._plans[key] = plans
        plans = self._plans[key]
        fewest = min(len(plan.rows) for plan in plans)  # all folds have minibatches of one size
        result: list[Fold] = []
        for fold, plan in enumerate(plans):
            its_settings = self._of_fold(settings, fold, len(plans))
            number = None if self._cv is None else fold
            result.append((number, its_settings.for_rows(fewest), plan))
        return result

    def _of_fold(self, settings: Settings, fold: int, folds: int) -> Settings:
        return settings if self._cv is None else settings_of_fold(settings, fold, folds)

    def _split(self, n: int, classes: HostArray | None, order_seed: int) -> Sequence[_Rows]:
        """Of n rows those to train on and those held out: of each fold, or of the one split."""
        if self._cv is not None:
            return self._folds(self._cv, n, order_seed, classes)
        if is_number(self._validation):
            return [split(n, float(self._validation), order_seed, classes)]
        return [(np.arange(n, dtype=np.int32), None)]

    def _folds(
        self, cv: Any, n: int, order_seed: int, classes: HostArray | None
    ) -> Sequence[_Rows]:
        if is_number(cv) or isinstance(cv, bool | str):
            return folds(n, cv, order_seed, classes)
        if hasattr(cv, "split"):
            y = self._y
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
        if not pairs:
            raise ValueError("cv has no folds")
        self._cv = pairs  # type: ignore[assignment]  # an iterator gives them once
        return [_checked(pair, i, n) for i, pair in enumerate(pairs)]


def _order(settings: Settings) -> int | Callable[[int, int], HostArray] | None:
    """The order of a row plan: see `RowPlan`."""
    return settings.order_seed if settings.shuffle is True else settings.shuffle or None


def _scales(data: Data, settings: Settings) -> tuple[object, ...]:
    """What the scalings of row plans hang on: setting and dtype, and whether there are any."""
    how = settings.standardize, settings.dtype, data.copies
    return how, data.inputs is not None, data.y.scaling is not None


def _checked(pair: Sequence[HostArray], fold: int, n: int) -> tuple[HostArray, HostArray]:
    """A fold's rows in ascending order (int32); a ValueError where they are not some of n rows."""
    if len(pair) != 2:
        raise ValueError(f"fold {fold} of cv must be a pair (training rows, held-out rows)")
    for rows in pair:
        fine = rows.ndim == 1 and rows.size > 0 and rows.dtype.kind in "iu"
        if not fine or rows.min() < 0 or rows.max() >= n:
            raise ValueError(f"fold {fold} of cv must have numbers of the {n} rows")
    training, held_out = (np.sort(rows).astype(np.int32) for rows in pair)
    return training, held_out
