"""Weights of samples and classes: checked, and joined to one weight of each sample in the loss."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import ClassWeight, Data, DataSettings, class_positions
from arraymlp.data.inputs import Targets
from arraymlp.data.row_plans import RowPlan, groups


def with_class_weights(data: Data, settings: DataSettings, backend: Backend) -> Data:
    """The data with each sample's weight in the loss: its own, times its class's.

    "balanced" is N / (n_classes * N_c) for a class with N_c of the N training rows, as in
    scikit-learn (King, Zeng 2001). A class that a mapping leaves out has weight 1.

    Raises:
        ValueError: there are no classes, one is named that is not there, or a bad weight.
    """
    given, row_plans = settings.class_weight, data.row_plans
    if given is None:
        factors = None
    else:
        classes = class_positions(data.y, backend)
        if classes is None or data.y.classes is None:
            raise ValueError(f"class_weight needs classes, but {data.y.loss.name} has none here")
        members = given if isinstance(given, tuple) else (given,) * len(row_plans or "1")
        several = row_plans is not None or isinstance(given, tuple)
        counts = [np.bincount(classes, minlength=len(data.y.classes))] * len(members)
        if row_plans is not None:  # "balanced" is of the rows that a member trains on
            counts = [np.bincount(classes[c.rows], minlength=len(counts[0])) for c in row_plans]
        own = [_factors(one, data.y.classes, n) for one, n in zip(members, counts, strict=True)]
        factors = np.stack(own, axis=-1) if several else own[0]

    def of(t: Targets | None, whose: str, rows: int | None = None) -> Any:
        if t is None or (factors is None and t.weight is None):
            return t if t is None else replace(t, loss_weight=None)
        found = t.weight
        if factors is not None:
            with np.errstate(over="ignore"):
                own = factors[class_positions(t, backend)].astype(settings.dtype)  # (N,) or (N, K)
                found = backend.asarray(own)
                found = found if t.weight is None else _times(found, t.weight)
        for name, w in (("sample_weight", t.weight), ("the weight by class", found)):
            if w is None:
                continue
            with np.errstate(over="ignore"):
                total = backend.to_numpy(backend.xp.sum(w[:rows, ...], axis=0))
            if not (total > 0).all():
                raise ValueError(f"{name} is 0 for every sample of the {whose} data")
            most = float(np.finfo(settings.dtype).max) ** 0.78  # 1e30 in float32, 1e240 in float64
            if not ((total > 1 / most) & (total < most)).all():
                raise ValueError(
                    f"{name} adds up to {total.max():g} over the {whose} data, which leaves no "
                    f"room in {settings.dtype} for losses: weigh by numbers nearer to 1"
                )
        return replace(t, loss_weight=found)

    if row_plans is not None:
        _require_weight(data, row_plans, backend)
    n, cut = data.X.shape[0], settings.drop_last and not settings.shuffle
    trained_on = n - n % settings.batch_size if cut else n
    y, y_val = of(data.y, "training", trained_on), of(data.y_val, "validation")
    return replace(data, y=y, y_val=y_val)


def _require_weight(data: Data, row_plans: tuple[RowPlan, ...], backend: Backend) -> None:
    """A ValueError where none of the rows of a member, or of those held out, has a weight."""
    if data.y.weight is not None:
        weight = backend.to_numpy(data.y.weight)
        for row_plan, _, _ in groups(row_plans):
            parts = (row_plan.rows, row_plan.held_out)
            if any(rows is not None and not weight[rows].any() for rows in parts):
                raise ValueError("sample_weight is 0 for every sample of a fold")


def _times(a: Array, b: Array) -> Array:
    """The product of two weights, each (N,) or (N, K)."""
    both = max(a.ndim, b.ndim)
    a, b = (w[:, None] if w.ndim < both else w for w in (a, b))
    return a * b


def _factors(given: ClassWeight, classes: HostArray, counts: HostArray) -> HostArray:
    """One member's weight of each class (n_classes,)."""
    if given is None:
        return np.ones(len(classes))
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f'class_weight must be "balanced" or a mapping, not {given!r}')
        return np.asarray(counts.sum() / (len(classes) * np.maximum(counts, 1)))
    if not isinstance(given, Mapping):
        raise ValueError(f'class_weight must be "balanced" or a mapping, not {given!r}')
    labels = classes.tolist()
    for label, weight in given.items():
        if label not in labels:
            raise ValueError(f"class_weight names class {label!r}, but y has {labels[:20]}")
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise ValueError(
                f"class_weight must be finite and not negative, but class {label!r} has {weight!r}"
            )
    found = np.asarray([given.get(label, 1.0) for label in labels], dtype=float)
    if not (found * counts).any():
        raise ValueError("class_weight is 0 for every class")
    return found
