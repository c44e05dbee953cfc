"""The derivatives of activations and losses, beside finite differences."""

from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.nn.activations import Activation
from arraymlp.nn.losses import Loss
from arraymlp.training.gradient_check.differences import slopes, widths
from arraymlp.training.gradient_check.term import Term, on_host

ROWS, COLUMNS = 5, 3  # of what is made up


def activation_terms(
    activation: Activation, X: Any, backend: Backend, rng: np.random.Generator
) -> list[Term]:
    """f'(s), for s from -4 to 4 with 0 among them and some at random, or at the points given."""
    drawn = np.concatenate([np.linspace(-4, 4, 33), rng.normal(size=8)])
    s = np.array(drawn if X is None else X, dtype=np.float64).reshape(-1, 1)
    name, xp = activation.name, backend.xp

    def f(at: HostArray) -> HostArray:
        sums = backend.asarray(at, "float64", copy=True)
        z = on_host(activation.function(sums, xp), backend, f"{name}.function", at.shape)
        _require_unwritten(sums, at, backend, f"{name}.function", "s")
        return z

    def place(at: tuple[int, ...]) -> str:
        return f"at s = {s[at]:.6g}"

    def derivative(s: HostArray, z: HostArray) -> HostArray:
        sums, outputs = (backend.asarray(a, "float64", copy=True) for a in (s, z))
        slope = activation.derivative(sums, outputs, xp)
        _require_unwritten(sums, s, backend, f"{name}.derivative", "s")
        _require_unwritten(outputs, z, backend, f"{name}.derivative", "z")
        return on_host(slope, backend, f"{name}.derivative", s.shape, broadcasts=True)

    z, in_a_row = f(s), f(s.T).T
    if not np.isfinite(z).all():
        at = s[~np.isfinite(z)][0]
        raise ValueError(f"{name}.function is not finite at s = {at:.6g}: it must be, for any s")
    if not np.allclose(z, in_a_row, rtol=1e-12, atol=1e-12):
        again = "f gives other values each time that it is called"
        alone = "f is to take each sum by itself, and of a row it gives other values"
        mistake = alone if np.array_equal(z, f(s)) else again
        everywhere = np.ones(z.shape, dtype=bool)
        by = "the same sums one by one"
        return [Term("f(s)", in_a_row, z, everywhere, {mistake: in_a_row}, place, by)]
    numeric, smooth, noise = slopes(f, s, widths(s), widths(s))
    given, mistakes = derivative(s, z), {"It is f(s) itself": z}
    exchanged = derivative(z, s)
    if np.allclose(exchanged[smooth], numeric[smooth], rtol=1e-6) and not np.allclose(
        given, exchanged
    ):
        mistakes["It has s and z exchanged"] = given
    return [Term("f'(s)", given, numeric, smooth, mistakes, place, noise=noise)]


def _require_unwritten(
    array: Any, before: HostArray, backend: Backend, what: str, name: str
) -> None:
    """Raise a ValueError where a function wrote to an argument, which the step goes on using."""
    if not np.array_equal(backend.to_numpy(array), before, equal_nan=True):
        raise ValueError(f"{what} writes to its argument {name}: it must return a new array")


def drawn_targets(loss: Loss, rows: int, n: int, rng: np.random.Generator) -> HostArray:
    """Targets (rows, n / outputs_per_target), or labels (rows,), of the kind that a loss is for."""
    if loss.classifies == "one":
        return (np.arange(rows) % n).astype(np.int32)
    y = rng.normal(size=(rows, n // loss.outputs_per_target))
    if loss.classifies == "each":
        return (y > 0).astype(np.float64)
    return y if loss.least_target == -np.inf else loss.least_target + np.abs(y)


def targets_on(y: Any, backend: Backend) -> Any:
    """Targets on the device: labels as integers, numbers in float64."""
    y = np.asarray(y)
    labels = y.ndim < 2 and y.dtype.kind in "iu"
    return backend.asarray(y, "int32" if labels else "float64")


def loss_terms(
    loss: Loss, X: Any, y: Any, backend: Backend, rng: np.random.Generator
) -> list[Term]:
    """dL/ds of each sample, for logits and targets that are drawn or given."""
    loss.require_sound()
    n = COLUMNS * loss.outputs_per_target
    leading = () if loss.members is None else (loss.members,)
    s = rng.normal(size=(*leading, ROWS, n)) if X is None else np.array(X, dtype=np.float64)
    rows, n = s.shape[-2:]
    targets = targets_on(drawn_targets(loss, rows, n, rng) if y is None else y, backend)
    method = f"{loss.name}.value_and_delta"

    def called(at: HostArray) -> tuple[HostArray, HostArray]:
        logits = backend.asarray(at, "float64", copy=True)
        result = loss.value_and_delta(logits, targets, backend.xp)
        if not isinstance(result, tuple) or len(result) != 2:
            kind = type(result).__name__
            raise ValueError(f"{method} must return (value, delta), not a {kind}")
        value = on_host(result[0], backend, f"{method}, for the value,", at.shape[:-1])
        return value, on_host(result[1], backend, f"{method}, for the delta,", at.shape)

    def value(at: HostArray) -> HostArray:
        return called(at)[0]

    _, delta = called(s)
    h = widths(s)
    by_output = [slopes(value, s, h * (np.arange(n) == j), h[..., j]) for j in range(n)]
    numeric, smooth, noise = (np.stack(parts, axis=-1) for parts in zip(*by_output, strict=True))
    mistakes = {
        f"It is divided by the {rows} rows, but is to be each sample's own; the training takes the "
        "mean": numeric / rows,
        f"It is divided by the {n} outputs, and the value is not": numeric / n,
    }
    given = np.asarray(backend.to_numpy(targets), np.float64)
    if given.ndim == 1 and loss.classifies == "one":
        given = np.eye(n)[given.astype(int)]
    if given.shape[-1] == n:
        given = np.broadcast_to(given, s.shape)
        mistakes |= {
            "It lacks the term - y": numeric + given,
            "It has y with the wrong sign": numeric + 2 * given,
        }

    def place(at: tuple[int, ...]) -> str:
        of_member = f", member {at[0]}" if leading else ""
        return f"for output {at[-1]} of row {at[-2]}{of_member}"

    return [Term("dL/ds", delta, numeric, smooth, mistakes, place, noise=noise, each=(-2,))]
