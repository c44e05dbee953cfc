"""Weights of samples and of classes: checked, and multiplied to one weight for each sample."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.data import ClassWeight, Data, DataSettings, class_positions
from arraymlp.data.row_plans import RowPlan, groups
from arraymlp.data.targets import Targets


def with_class_weights(data: Data, settings: DataSettings, backend: Backend) -> Data:
    """The data with each sample's weight in the loss: its own, times its class's.

    "balanced" is N / (n_classes * N_c) for a class with N_c of the N training rows, as in
    scikit-learn (King, Zeng 2001). A class that a mapping leaves out has weight 1.

    Raises:
        ValueError: there are no classes, one is named that is not there, or a weight or a sum of
            weights that cannot be trained with.
    """
    factors, dtype = _class_factors(data, settings, backend), settings.dtype
    if data.row_plans is not None:
        _require_weight_in_plans(data, data.row_plans, backend)
    n, size = data.X.shape[0], settings.batch_size
    dropped = n % size if settings.drop_last and not settings.shuffle else 0  # in every epoch
    y = _with_loss_weight(data.y, factors, dtype, backend)
    _require_sums(y, n - dropped, dtype, "training", backend)
    y_val = data.y_val
    if y_val is not None:
        y_val = _with_loss_weight(y_val, factors, dtype, backend)
        _require_sums(y_val, None, dtype, "validation", backend)
    return replace(data, y=y, y_val=y_val)


def _class_factors(data: Data, settings: DataSettings, backend: Backend) -> HostArray | None:
    """The weight of each class, (n_classes,), or (n_classes, K) for members; None without any."""
    class_weight, row_plans = settings.class_weight, data.row_plans
    if class_weight is None:
        return None
    positions, classes = class_positions(data.y, backend), data.y.classes
    if positions is None or classes is None:
        raise ValueError(f"class_weight needs classes, but {data.y.loss.name} has none here")
    # Classes are counted among the rows that a member trains on.
    counts = [np.bincount(positions, minlength=len(classes))]
    if row_plans is not None:
        counts = [np.bincount(positions[p.rows], minlength=len(classes)) for p in row_plans]
    if isinstance(class_weight, tuple):
        counts = counts if row_plans is not None else counts * len(class_weight)
        members = list(zip(class_weight, counts, strict=True))
    else:
        members = [(class_weight, count) for count in counts]
    factors = [_factors(weight, classes, count) for weight, count in members]
    of_members = row_plans is not None or isinstance(class_weight, tuple)
    return np.stack(factors, axis=-1) if of_members else factors[0]


def _factors(class_weight: ClassWeight, classes: HostArray, counts: HostArray) -> HostArray:
    """One member's weight of each class (n_classes,), with so many samples of each."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'class_weight must be "balanced" or a mapping, not {class_weight!r}')
        return np.asarray(counts.sum() / (len(classes) * np.maximum(counts, 1)))
    if not isinstance(class_weight, Mapping):
        raise ValueError(f'class_weight must be "balanced" or a mapping, not {class_weight!r}')
    labels = classes.tolist()
    for label, weight in class_weight.items():
        if label not in labels and not all(known in class_weight for known in labels):
            raise ValueError(f"class_weight names class {label!r}, but y has {labels[:20]}")
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise ValueError(
                f"class_weight must be finite and not negative, but class {label!r} has {weight!r}"
            )
    factors = np.asarray([class_weight.get(label, 1.0) for label in labels], dtype=float)
    if not (factors * counts).any():
        raise ValueError("class_weight is 0 for every class")
    return factors


def _with_loss_weight(
    targets: Targets, factors: HostArray | None, dtype: str, backend: Backend
) -> Targets:
    """The targets with each sample's weight times the factor of its class."""
    if factors is None:
        return replace(targets, loss_weight=targets.weight)
    with np.errstate(over="ignore"):
        of_class = factors[class_positions(targets, backend)].astype(dtype)  # (N,) or (N, K)
        weight = backend.asarray(of_class)
        if targets.weight is not None:
            weight = _product(weight, targets.weight)
    return replace(targets, loss_weight=weight)


def _product(a: Array, b: Array) -> Array:
    """The product of two weights, each (N,) or (N, K)."""
    ndim = max(a.ndim, b.ndim)
    a, b = (w[:, None] if w.ndim < ndim else w for w in (a, b))
    return a * b


def _require_sums(
    targets: Targets, rows: int | None, dtype: str, part: str, backend: Backend
) -> None:
    """Raise a ValueError where weights add up to 0, or leave no room for losses in the dtype.

    Args:
        targets: with their weights.
        rows: of the targets to count, from the first; None for all.
        dtype: of the training.
        part: of the data, for the message: "training" or "validation".
        backend: of the targets.
    """
    most = float(np.finfo(dtype).max) ** 0.78  # 1e30 in float32, 1e240 in float64
    weights = {"sample_weight": targets.weight, "the weight by class": targets.loss_weight}
    for name, weight in weights.items():
        if weight is None:
            continue
        with np.errstate(over="ignore"):
            total = backend.to_numpy(backend.xp.sum(weight[:rows, ...], axis=0))
        if not (total > 0).all():
            raise ValueError(f"{name} is 0 for every sample of the {part} data")
        if not ((total > 1 / most) & (total < most)).all():
            raise ValueError(
                f"{name} adds up to {total.max():g} over the {part} data, which leaves no room in "
                f"{dtype} for losses: weigh by numbers nearer to 1"
            )


def _require_weight_in_plans(data: Data, row_plans: tuple[RowPlan, ...], backend: Backend) -> None:
    """Raise a ValueError where none of a member's training or held-out rows has a weight."""
    if data.y.weight is None:
        return
    weight = backend.to_numpy(data.y.weight)
    for row_plan, _, _ in groups(row_plans):
        parts = (row_plan.rows, row_plan.held_out)
        if any(rows is not None and not weight[rows].any() for rows in parts):
            raise ValueError("sample_weight is 0 for every sample of a fold")
