"""A loss of the user's own, tried on a few rows before it trains: shapes, numbers, derivative."""

import warnings
from math import inf

import numpy as np

from arraymlp._checks import caller_level
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of
from arraymlp.data.targets import Targets
from arraymlp.nn.losses import Loss

ROWS, COLUMNS = 6, 8  # that are tried
DRAWS = 3  # of logits; one of them may lie on a kink
HALF, OFF = 1e-4, 1e-3  # of a central difference: half its width, and how far a slope may be off


def require_own_loss(targets: Targets, dtype: str) -> None:
    """Raise a ValueError where a loss that is not of this package cannot be trained with.

    It is called with a few rows of the targets and random logits, and its derivative compared with
    central differences in float64, where the device has that. One that points uphill is an error;
    one that differs otherwise, as a surrogate's may, is a warning.

    Args:
        targets: with their loss.
        dtype: that will be trained in.

    Raises:
        ValueError: value or derivative has another shape than it must, is not finite, the
            derivative points uphill, or ``rescaled`` says what is not so.
    """
    loss = targets.loss.member(0)
    if type(loss).__module__.startswith("arraymlp."):
        return
    backend = backend_of(targets.values)
    y = targets.values[:ROWS, ...]
    logits = [
        np.random.default_rng(draw).normal(size=(int(y.shape[0]), targets.n_outputs))
        for draw in range(DRAWS)
    ]
    with backend.active(), np.errstate(all="ignore"):
        for s in logits:
            _called(loss, s, y, backend, dtype)
        if not backend.has("float64"):
            return
        if y.ndim == 2:
            y = backend.asarray(y, "float64")
        if loss.scales:
            _require_scale(loss, logits[0], y, backend)
        slopes = [_slopes(loss, s, y, backend) for s in logits]
    off = [text for _, text in slopes if text]
    if sum(uphill for uphill, _ in slopes) > DRAWS // 2:
        raise ValueError(f"{off[0]}: it points uphill, and training would raise the loss")
    if len(off) > DRAWS // 2:
        warnings.warn(
            f"{off[0]}: unless that is meant, its value_and_delta has a mistake",
            stacklevel=caller_level(),
        )


def _slopes(loss: Loss, s: HostArray, y: Array, backend: Backend) -> tuple[bool, str]:
    """Whether the derivative points uphill, and its worst entry in words; "" where all are right.

    The first `COLUMNS` outputs are compared with central differences of the samples' values.
    """
    value, delta = _called(loss, s, y, backend, "float64")
    delta = delta[:, :COLUMNS]
    columns = []
    for j in range(delta.shape[1]):
        step = HALF * (np.arange(s.shape[1]) == j)
        up, _ = _called(loss, s + step, y, backend, "float64")
        down, _ = _called(loss, s - step, y, backend, "float64")
        columns.append((up - down) / (2 * HALF))
    slope = np.stack(columns, axis=1)
    wrong = np.abs(delta - slope)
    worst = np.unravel_index(wrong.argmax(), wrong.shape)
    rounding = 4 * np.finfo(float).eps * np.abs(value).max() / HALF
    if wrong[worst] <= OFF * max(np.abs(slope).max(), np.abs(delta).max()) + rounding:
        return False, ""
    return bool((delta * slope).sum() < 0), (
        f"dL/ds of {loss.name} is {delta[worst]:.4g} for output {worst[1]}, where the value's own "
        f"slope is {slope[worst]:.4g}"
    )


def _require_scale(loss: Loss, s: HostArray, y: Array, backend: Backend) -> None:
    """Raise a ValueError where `Loss.rescaled` does not hold for numbers c times as large, plus m.

    Targets must allow it: of a loss that has a least one, numbers from there are tried.
    """
    c, m = 3.0, 0.0 if loss.least_target > -inf else 5.0
    inner, unit = loss.rescaled(c) or (loss, 1.0)
    value, _ = _called(loss, m + c * s, m + c * y, backend, "float64")
    scaled, _ = _called(inner, s, y, backend, "float64")
    if not np.allclose(value, unit * scaled, rtol=1e-6, atol=1e-6 * np.abs(value).max()):
        raise ValueError(
            f"{loss.name} of numbers {c:g} times as large is {value[0]:.6g}, where its rescaled "
            f"says {unit * scaled[0]:.6g}: return another loss and unit, or None"
        )


def _called(
    loss: Loss, s: HostArray, y: Array, backend: Backend, dtype: str
) -> tuple[HostArray, HostArray]:
    """Value and derivative for logits s (B, n), on the host.

    Raises:
        ValueError: they are not two arrays (B,) and (B, n) of finite numbers.
    """
    result = loss(backend.asarray(s, dtype), y)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"{loss.name} must return (value, delta), not a {type(result).__name__}")
    arrays = []
    for name, part, shape in (("value", result[0], s.shape[:1]), ("delta", result[1], s.shape)):
        has = getattr(part, "shape", None)
        if has is None or tuple(has) != shape:
            given = type(part).__name__ if has is None else f"an array of shape {tuple(has)}"
            raise ValueError(
                f"the {name} that {loss.name} returns must be an array of shape {shape} for logits "
                f"{s.shape}, not {given}"
            )
        host = backend.to_numpy(part).astype(float)
        if not np.isfinite(host).all():
            raise ValueError(f"the {name} that {loss.name} returns is not finite for logits {s[0]}")
        arrays.append(host)
    return arrays[0], arrays[1]
