"""The user's data, checked and brought to the device: every complaint about data is made here."""

import logging
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from arraymlp._checks import require_table, require_width
from arraymlp.backends.array import Array, HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.data.blocks import ROWS_AT_ONCE, blocks
from arraymlp.nn.losses import Loss, get_loss

log = logging.getLogger("arraymlp")


def features(
    X: Any, backend: Backend, dtype: str, *, n_features: int | None = None, what: str = "X"
) -> Array:
    """Return X as (N, n_features) of ``dtype`` on the backend's device; X is never written.

    Raises:
        ValueError: X is not 2-D, empty, of another width, not numeric, not finite, or on another
            device.
    """
    X = numeric(X, backend, what)
    require_table(X.shape, what)
    if isinstance(X, np.ndarray):  # to take rows, NumPy would copy the whole of others each time
        X = np.ascontiguousarray(X)
    require_width(X.shape[1], n_features, what)
    return _finite(X, backend, dtype, what)


def numeric(values: Any, backend: Backend, what: str) -> Array:
    """The values as an array of numbers, on the host or on the backend's device; else an error."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} is a masked array, whose mask would be lost: fill it first")
    if is_device_array(values):
        backend.require(values, what)
        numeric = backend.xp.isdtype(values.dtype, ("bool", "integral", "real floating"))
    else:
        try:
            values = np.asarray(values)
        except ValueError as error:  # ragged lists
            raise ValueError(f"{what} is not an array: {error}") from error
        numeric = values.dtype.kind in "biuf"
    if not numeric:
        remedy = "; convert it, as with astype('float32')" if values.dtype == object else ""
        raise ValueError(f"{what} must be numeric, not of dtype {values.dtype}{remedy}")
    return values


def _finite(values: Array, backend: Backend, dtype: str, what: str) -> Array:
    """Convert and upload (N, n) values; complain of the first one that is not finite."""
    xp = backend.xp
    with backend.active(), np.errstate(over="ignore"):
        moved = backend.asarray(values, dtype)
        fine = xp.ones((), dtype=xp.bool, device=backend.device)
        for rows in blocks(moved.shape[0], ROWS_AT_ONCE):
            fine = fine & xp.all(xp.isfinite(moved[rows, :]))
        if bool(fine):
            return moved
        bad = ~np.isfinite(backend.to_numpy(moved))
        row, column = np.argwhere(bad)[0]
        value = backend.to_numpy(moved[int(row), int(column)])
    raise ValueError(
        f"{what} must be finite, but {what}[{row}, {column}] is {value} as {dtype} "
        f"({int(bad.sum())} such values in all)"
    )


@dataclass(frozen=True)
class Targets:
    """What a network is to learn, on the device.

    Attributes:
        values: (N,) int32 positions in ``classes``, or (N, n_outputs) numbers, or for quantiles
            (N, n_outputs / outputs_per_target).
        loss: the loss they are for.
        n_outputs: how many outputs the network needs.
        classes: the labels in ascending order, on the host; None for regression and multi-label.
        weight: of each sample, (N,), or (N, K) for one a member; None where all are alike.
        loss_weight: the same, times the weight of the sample's class.
    """

    values: Array
    loss: Loss
    n_outputs: int
    classes: HostArray | None = None
    weight: Array | None = None
    loss_weight: Array | None = None

    def between(self, start: int, stop: int) -> "Targets":
        """The targets of neighbouring members of a population."""

        def own(w: Array | None) -> Array | None:
            return w[:, start:stop] if w is not None and w.ndim == 2 else w

        loss = self.loss.some(range(start, stop))
        return replace(self, loss=loss, weight=own(self.weight), loss_weight=own(self.loss_weight))


def targets(
    y: Any,
    n_samples: int,
    backend: Backend,
    dtype: str,
    *,
    loss_name: str | Loss = "auto",
    classes: HostArray | None = None,
    n_outputs: int | None = None,
    what: str = "y",
) -> Targets:
    """Check y, choose the loss where it is "auto", and bring y to the device.

    The rule of "auto": integers (or booleans) in one dimension are labels for
    softmax_cross_entropy, in two dimensions columns of 0 and 1 for binary_cross_entropy
    (multi-label); floating-point numbers are for squared_error (regression). The choice is logged.

    Args:
        y: (N,), (N, 1) or (N, columns).
        n_samples: the N it must have.
        backend: where to.
        dtype: of targets that are numbers.
        loss_name: a loss or "auto".
        classes: the labels a network already knows.
        n_outputs: the outputs a network already has.
        what: the argument's name, for messages.

    Raises:
        ValueError: another length, not numeric, not finite, or nothing the loss can learn from
            (a negative count, for one).
    """
    y = numeric(y, backend, what)
    floating = str(y.dtype).rpartition(".")[2].startswith(("float", "bfloat"))
    column = get_loss(loss_name).classifies == "each" if loss_name != "auto" and floating else False
    if y.ndim == 2 and y.shape[1] == 1 and not column:  # a column of labels, or of one number
        y = backend.xp.reshape(y, (-1,)) if is_device_array(y) else y.reshape(-1)
    if y.ndim not in (1, 2):
        raise ValueError(f"{what} must be 1-D or 2-D, not {y.ndim}-D of shape {tuple(y.shape)}")
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError(f"{what} is empty: shape {tuple(y.shape)}")
    if y.shape[0] != n_samples:
        raise ValueError(f"{what} has {y.shape[0]} samples, but there are {n_samples} rows of data")
    if loss_name == "auto":
        if floating:
            name = "squared_error"
        else:
            name = "softmax_cross_entropy" if y.ndim == 1 else "binary_cross_entropy"
        log.info("loss: %s, since %s is %d-D of %s", name, what, y.ndim, y.dtype)
        if floating and not is_device_array(y) and _looks_like_classes(y):
            log.warning(
                "%s holds few whole numbers as %s and is taken for regression; convert it with "
                "y.astype(int) for classes, or give loss='squared_error'",
                what,
                y.dtype,
            )
        loss_name = name
    chosen = get_loss(loss_name)
    if chosen.classifies != "no" and y.ndim == 1:
        if floating:
            raise ValueError(
                f"{chosen.name} needs integer labels, but {what} is of dtype {y.dtype}: convert it "
                "with y.astype(int), or train for regression with loss='squared_error'"
            )
        found = _labels(y, backend, chosen, classes, dtype, what)
    else:
        found = _numbers(y, backend, chosen, dtype, what)
    if n_outputs is not None and found.n_outputs != n_outputs:
        each = chosen.outputs_per_target
        raise ValueError(
            f"{what} has {found.n_outputs // each} columns, but the network has {n_outputs} outputs"
            + (f", {each} a column" if each > 1 else "")
        )
    return found


def _looks_like_classes(y: HostArray) -> bool:
    """Whole numbers, and few different ones: labels that became floating point on their way."""
    return y.size > 40 and len(np.unique(y)) <= 20 and bool((y == np.round(y)).all())


def class_numbers(n: int) -> HostArray:
    """The labels 0 to n - 1."""
    return np.arange(n)


def _labels(
    y: Array, backend: Backend, chosen: Loss, classes: HostArray | None, dtype: str, what: str
) -> Targets:
    host = backend.to_numpy(y) if is_device_array(y) else y
    known, positions = np.unique(host, return_inverse=True)
    if known[0] < 0:
        raise ValueError(f"labels must not be negative, but {what} contains {known[0]}")
    if known[-1] > np.iinfo(np.int64).max:
        raise ValueError(f"labels must fit into int64, but {what} contains {known[-1]}")
    known = known.astype(np.int64)
    if classes is not None:
        unseen = np.setdiff1d(known, classes)
        if unseen.size:
            raise ValueError(
                f"{what} contains labels the network does not know: {unseen.tolist()[:10]}; it "
                f"knows {classes.tolist()[:20]}"
            )
        positions = np.searchsorted(classes, known)[positions]
    elif len(known) < 2:
        raise ValueError(
            f"{what} contains one class only ({known[0]}); a classifier needs two or more"
        )
    else:
        classes = known
    if chosen.classifies == "each":
        if len(classes) != 2:
            raise ValueError(
                f"binary_cross_entropy with labels needs two classes, but {what} has "
                f"{len(classes)}; use softmax_cross_entropy, or a column of 0 and 1 for each class"
            )
        return Targets(backend.asarray(positions[:, None], dtype), chosen, 1, classes)
    return Targets(backend.asarray(positions, "int32"), chosen, len(classes), classes)


def _numbers(y: Array, backend: Backend, chosen: Loss, dtype: str, what: str) -> Targets:
    xp = backend.xp
    columns = y if y.ndim == 2 else y[:, None]
    values = _finite(columns, backend, dtype, what)
    n_outputs = int(values.shape[1])
    if chosen.classifies == "no":
        if chosen.least_target > -inf:
            _require_least(values, backend, chosen, what)
        return Targets(values, chosen, n_outputs * chosen.outputs_per_target)
    with backend.active():
        lowest, highest = float(xp.min(values)), float(xp.max(values))
        if lowest < 0 or highest > 1:
            raise ValueError(
                f"{chosen.name} with a 2-D {what} needs values from 0 to 1, but they run from "
                f"{lowest:g} to {highest:g}; for regression pass floating-point numbers or "
                "loss='squared_error'"
            )
        if chosen.classifies == "each":
            return Targets(values, chosen, n_outputs)
        off = float(xp.max(xp.abs(xp.sum(values, axis=1) - 1)))
    if off > 1e-4:
        raise ValueError(
            f"the rows of a one-hot {what} must add up to 1, but one is off by {off:g}; for "
            "several labels a sample use loss='binary_cross_entropy'"
        )
    return Targets(values, chosen, n_outputs, class_numbers(n_outputs))


def _require_least(values: Array, backend: Backend, chosen: Loss, what: str) -> None:
    """Complain of the first target (N, n) below the loss's least."""
    with backend.active():
        if float(backend.xp.min(values)) >= chosen.least_target:
            return
    host = backend.to_numpy(values)
    bad = host < chosen.least_target
    row, column = np.argwhere(bad)[0]
    raise ValueError(
        f"{chosen.name} needs targets from {chosen.least_target:g}, but {what}[{row}, {column}] is "
        f"{host[row, column]:g} ({int(bad.sum())} such values in all)"
    )
