"""The user's targets, checked, standardised and brought to the device; the loss that suits them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from arraymlp.backends.array import Array, HostArray, dtype_name
from arraymlp.backends.backend import Backend
from arraymlp.data.elsewhere.given import held
from arraymlp.data.inputs import finite, numeric
from arraymlp.data.labels import text_labels
from arraymlp.nn.losses import Loss, get_loss
from arraymlp.nn.scaling import Scaling

log = logging.getLogger("arraymlp")

REGRESSION = "for regression give loss='squared_error', or y.astype(float)"
# More classes than these, with fewer samples each on average, are more likely numbers.
MANY_CLASSES, FEW_SAMPLES = 20, 10


@dataclass(frozen=True)
class Targets:
    """The targets of samples, on the device, with their loss and weights.

    Attributes:
        values: (N,) int32 positions in ``classes``, or (N, n_outputs) numbers, or for quantiles
            (N, n_outputs / outputs_per_target).
        loss: the loss they are for.
        n_outputs: the number of outputs that the network needs.
        classes: the labels in ascending order, integers or texts, on the host; None for regression
            and multi-label.
        weight: of each sample, (N,), or (N, K) for one a member; None where all are 1.
        loss_weight: the same, times the weight of the sample's class.
        scaling: what standardised the values; None where they are as they were given. The loss is
            then that of standardised values.
        unit: u, with which the loss times u is that of the values as they were given.
    """

    values: Array
    loss: Loss
    n_outputs: int
    classes: HostArray | None = None
    weight: Array | None = None
    loss_weight: Array | None = None
    scaling: Scaling | None = None
    unit: float = 1.0

    def rescaled(self, inner: Scaling) -> "Targets":
        """These targets with their values standardised further."""
        scaling = inner if self.scaling is None else self.scaling.then(inner)
        loss, unit = scaled_loss(self.loss, inner, self.scaling)
        return replace(
            self, values=inner.apply(self.values), loss=loss, scaling=scaling, unit=self.unit * unit
        )

    def slice_members(self, start: int, stop: int) -> "Targets":
        """The targets of the members from start to stop - 1 of a population."""

        def columns(w: Array | None) -> Array | None:
            return w[:, start:stop] if w is not None and w.ndim == 2 else w

        return replace(
            self,
            loss=self.loss.select_members(range(start, stop)),
            weight=columns(self.weight),
            loss_weight=columns(self.loss_weight),
        )

    def map(self, change: Callable[[Array], Array]) -> "Targets":
        """The same targets with the arrays of values and weights changed."""
        return replace(
            self,
            values=change(self.values),
            weight=None if self.weight is None else change(self.weight),
            loss_weight=None if self.loss_weight is None else change(self.loss_weight),
        )


def targets(
    y: Any,
    n_samples: int,
    backend: Backend,
    dtype: str,
    *,
    loss: str | Loss = "auto",
    classes: HostArray | None = None,
    n_outputs: int | None = None,
    what: str = "y",
    scaling: Scaling | None = None,
    learn: Callable[[Array | HostArray], Scaling] | None = None,
) -> Targets:
    """Check y, choose the loss where it is "auto", and bring y to the device.

    The rule of "auto": integers, booleans or texts in one dimension are labels for
    softmax_cross_entropy, in two dimensions columns of 0 and 1 for binary_cross_entropy
    (multi-label); floating-point numbers are for squared_error (regression). The choice is logged.

    Args:
        y: (N,), (N, 1) or (N, columns).
        n_samples: the N it must have.
        backend: of the result.
        dtype: of targets that are numbers.
        loss: a loss or "auto".
        classes: the labels of a network that exists.
        n_outputs: the number of its outputs.
        what: the argument's name, for messages.
        scaling: of the targets of a network that exists, whose loss is that of scaled targets.
        learn: the scaling of numbers (N, T), learnt of them, where the loss allows one.

    Raises:
        ValueError: another length, not numeric, not finite, or nothing the loss can learn from,
            such as a negative count.
    """
    y = held(y, what)
    texts = text_labels(y, what)
    values = numeric(y, backend, what, labels=True) if texts is None else texts
    floating = texts is None and dtype_name(values).startswith(("float", "bfloat"))
    column = get_loss(loss).classifies == "each" if loss != "auto" and floating else False
    if values.ndim == 2 and values.shape[1] == 1 and not column:  # of labels, or of one number
        values = values[:, 0]
    _require_targets(values.shape, n_samples, what)
    chosen = loss == "auto"
    loss = _loss_for(values, floating, what) if loss == "auto" else get_loss(loss)
    if texts is not None and (loss.classifies == "no" or values.ndim == 2):
        raise ValueError(f"{loss.name} needs numbers, but {what} is {values.ndim}-D of text")
    if loss.classifies != "no" and values.ndim == 1:
        if floating:
            raise ValueError(
                f"{loss.name} needs integer labels, but {what} is of dtype {values.dtype}: convert "
                "it with y.astype(int), or train for regression with loss='squared_error'"
            )
        made = _labels(values, backend, loss, classes, dtype, what)
        if chosen and classes is None:
            _warn_of_many_classes(made, n_samples, what)
    else:
        columns = values if values.ndim == 2 else values[:, None]
        if scaling is not None:  # which is of the network's columns
            _require_outputs(columns.shape[1] * loss.outputs_per_target, n_outputs, loss, what)
        made = _numbers(columns, backend, loss, dtype, what, scaling, learn)
    _require_outputs(made.n_outputs, n_outputs, loss, what)
    return made


def scaled_loss(loss: Loss, scaling: Scaling, before: Scaling | None = None) -> tuple[Loss, float]:
    """The loss of targets so scaled, and the number that times it is the loss as it was.

    Args:
        loss: of the targets as they are.
        scaling: what is done to them.
        before: what was done to them already. Where columns have scales of their own, the common
            scale of two scalings is not the product of theirs.
    """
    factor = scaling.common if before is None else before.then(scaling).common / before.common
    made = loss.rescaled(float(factor))
    assert made is not None  # no other loss has scaled targets
    return made


def _require_outputs(made: int, n_outputs: int | None, loss: Loss, what: str) -> None:
    """Raise a ValueError unless targets make the outputs that a network has, if there is one."""
    if n_outputs is not None and made != n_outputs:
        per_target = loss.outputs_per_target
        raise ValueError(
            f"{what} has {made // per_target} columns, but the network has {n_outputs} outputs"
            + (f", {per_target} a column" if per_target > 1 else "")
        )


def _require_targets(shape: tuple[int, ...], n_samples: int, what: str) -> None:
    """Raise a ValueError unless the shape is that of targets of so many samples."""
    if len(shape) not in (1, 2):
        raise ValueError(f"{what} must be 1-D or 2-D, not {len(shape)}-D of shape {tuple(shape)}")
    if len(shape) == 2 and shape[1] == 0:
        raise ValueError(f"{what} is empty: shape {tuple(shape)}")
    if shape[0] != n_samples:
        raise ValueError(f"{what} has {shape[0]} samples, but there are {n_samples} rows of data")


def _loss_for(y: Array | HostArray, floating: bool, what: str) -> Loss:
    """The loss that "auto" means for these targets; the choice is logged."""
    if floating:
        name = "squared_error"
    else:
        name = "softmax_cross_entropy" if y.ndim == 1 else "binary_cross_entropy"
    log.info("loss: %s, since %s is %d-D of %s", name, what, y.ndim, y.dtype)
    if floating and isinstance(y, np.ndarray) and _looks_like_classes(y):
        log.warning(
            "%s holds few whole numbers as %s and is taken for regression; convert it with "
            "y.astype(int) for classes, or give loss='squared_error'",
            what,
            y.dtype,
        )
    return get_loss(name)


def _looks_like_classes(y: HostArray) -> bool:
    """True for few different whole numbers: labels that were converted to floating point."""
    return y.size > 40 and len(np.unique(y)) <= 20 and bool((y == np.round(y)).all())


def _warn_of_many_classes(made: Targets, n_samples: int, what: str) -> None:
    """Log a warning where integers that were taken for classes look like numbers."""
    if made.classes is None or made.classes.dtype.kind == "U":
        return
    n = len(made.classes)
    if n > MANY_CLASSES and n_samples < FEW_SAMPLES * n:
        log.warning(
            "%s holds %d different integers in %d rows and is taken for as many classes; %s",
            what,
            n,
            n_samples,
            REGRESSION,
        )
    elif made.classes[0] < 0 and n > 2:
        log.warning(
            "%s holds %d different integers, from %d on, and is taken for as many classes; %s",
            what,
            n,
            made.classes[0],
            REGRESSION,
        )


def _labels(
    y: Array | HostArray,
    backend: Backend,
    loss: Loss,
    classes: HostArray | None,
    dtype: str,
    what: str,
) -> Targets:
    """Labels (N,), integers or texts, as targets: positions in the classes, or columns of 0, 1."""
    host = y if isinstance(y, np.ndarray) else backend.to_numpy(y)
    labels, positions = np.unique(host, return_inverse=True)
    if labels.dtype.kind != "U":
        if labels[-1] > np.iinfo(np.int64).max:
            raise ValueError(f"labels must fit into int64, but {what} contains {labels[-1]}")
        labels = labels.astype(np.int64)
    if classes is not None:
        if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
            given, known = ("text", "integers")[:: 1 if labels.dtype.kind == "U" else -1]
            raise ValueError(
                f"{what} has labels that are {given}, but those of the network are {known}: "
                f"{classes.tolist()[:20]}"
            )
        unseen = np.setdiff1d(labels, classes)
        if unseen.size:
            numbers = "" if labels.dtype.kind == "U" else f"; {REGRESSION}"
            raise ValueError(
                f"{what} contains labels the network does not know: {unseen.tolist()[:10]}; it "
                f"knows {classes.tolist()[:20]}{numbers}"
            )
        positions = np.searchsorted(classes, labels)[positions]
    elif len(labels) < 2:
        raise ValueError(
            f"{what} contains one class only ({labels[0]}); a classifier needs two or more"
        )
    else:
        classes = labels
    if loss.classifies == "each":
        if len(classes) != 2:
            raise ValueError(
                f"binary_cross_entropy with labels needs two classes, but {what} has "
                f"{len(classes)}; use softmax_cross_entropy, or a column of 0 and 1 for each class"
            )
        return Targets(backend.asarray(positions[:, None], dtype), loss, 1, classes)
    return Targets(backend.asarray(positions, "int32"), loss, len(classes), classes)


def _numbers(
    columns: Array | HostArray,
    backend: Backend,
    loss: Loss,
    dtype: str,
    what: str,
    scaling: Scaling | None,
    learn: Callable[[Array | HostArray], Scaling] | None,
) -> Targets:
    """Columns (N, n) of numbers as targets."""
    xp = backend.xp
    unit = 1.0
    if scaling is not None:
        _, part = scaled_loss(loss, Scaling(scaling.mean, 1 / scaling.scale), scaling)
        unit = 1 / part
    elif learn is not None and loss.scales:
        scaling = learn(columns)
        loss, unit = scaled_loss(loss, scaling)
    values = finite(columns, backend, dtype, what, scaling)
    n_outputs = int(values.shape[1])
    if loss.classifies == "no":
        if loss.least_target > -inf:
            _require_least(values, backend, loss, what)
        n = n_outputs * loss.outputs_per_target
        return Targets(values, loss, n, scaling=scaling, unit=unit)
    with backend.active():
        lowest, highest = float(xp.min(values)), float(xp.max(values))
        if lowest < 0 or highest > 1:
            raise ValueError(
                f"{loss.name} with a 2-D {what} needs values from 0 to 1, but they run from "
                f"{lowest:g} to {highest:g}; for regression pass floating-point numbers or "
                "loss='squared_error'"
            )
        if loss.classifies == "each":
            return Targets(values, loss, n_outputs)
        off = float(xp.max(xp.abs(xp.sum(values, axis=1) - 1)))
    if off > 1e-4:
        raise ValueError(
            f"the rows of a one-hot {what} must add up to 1, but one is off by {off:g}; for "
            "several labels a sample use loss='binary_cross_entropy'"
        )
    return Targets(values, loss, n_outputs, np.arange(n_outputs))


def _require_least(values: Array, backend: Backend, loss: Loss, what: str) -> None:
    """Raise a ValueError for the first target of (N, n) that is below the loss's least."""
    with backend.active():
        if float(backend.xp.min(values)) >= loss.least_target:
            return
    host = backend.to_numpy(values)
    bad = host < loss.least_target
    row, column = np.argwhere(bad)[0]
    raise ValueError(
        f"{loss.name} needs targets from {loss.least_target:g}, but {what}[{row}, {column}] is "
        f"{host[row, column]:g} ({int(bad.sum())} such values in all)"
    )
