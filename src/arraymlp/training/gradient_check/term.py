"""A term of backpropagation beside its finite differences: is it right, and if not, what is it?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend

ALIKE = 1e-5  # up to which a wrong derivative counts as the right one times a number


def index_text(at: tuple[int, ...]) -> str:
    """An entry's index, for a message."""
    return f"at [{', '.join(map(str, at))}]"


@dataclass(frozen=True)
class Term:
    """A derivative to judge.

    Attributes:
        name: as formulas have it, such as "dL/dW".
        given: as the subject computes it.
        numeric: by finite differences; of another shape where ``given`` has a wrong one.
        smooth: where there is a slope.
        mistakes: what it would be by known mistakes, by what these are in words.
        place: an entry's index, in words.
        by: what ``numeric`` is by, in words.
        noise: how far rounding may have moved ``numeric``.
        each: the axes whose entries are of one size; of others each has a size of its own.
    """

    name: str
    given: HostArray
    numeric: HostArray
    smooth: HostArray
    mistakes: dict[str, HostArray] = field(default_factory=dict)
    place: Callable[[tuple[int, ...]], str] = index_text
    by: str = "finite differences"
    noise: HostArray | float = 0.0
    each: tuple[int, ...] = (-2, -1)

    def judged(self, tolerance: float) -> tuple[float, str]:
        """The largest difference over the largest entry, and what is wrong; "" for nothing."""
        given, numeric, smooth = self.given, self.numeric, self.smooth
        if given.shape != numeric.shape:
            turned = given.ndim > 1 and given.swapaxes(-1, -2).shape == numeric.shape
            hint = ": it is the transpose" if turned else ""
            return np.inf, f"{self.name} is {given.shape}, where {numeric.shape} is right{hint}"
        if (lost := smooth & ~np.isfinite(given)).any():
            at = _first(lost)
            return np.inf, f"{self.name} is {given[at]} {self.place(at)}"
        if not smooth.any():
            return np.inf, f"{self.name} cannot be checked: there is no slope at any point"
        largest = float(np.abs(numeric[smooth]).max(initial=0.0)) or 1.0
        axes = self.each if numeric.ndim > 1 else (0,)
        scale = np.abs(np.where(smooth, numeric, 0.0)).max(axis=axes, keepdims=True)
        scale = np.where(scale > 0, scale, largest)
        off = np.maximum(np.abs(given - numeric) - self.noise, 0.0)
        off = np.where(smooth, off, 0.0) / scale
        error = float(off.max(initial=0.0))
        if error <= tolerance:
            return error, ""
        at = _first(off == error)
        return error, (
            f"{self.name} is {given[at]:.6g} {self.place(at)}, where {self.by} give "
            f"{numeric[at]:.6g}; {np.sum(off > tolerance)} of {np.sum(smooth)} entries differ"
            f"{self._likeness(largest)}"
        )

    def _likeness(self, scale: float) -> str:
        """What it looks like, for the end of a message; "" where it is like nothing known."""
        given, numeric = self.given[self.smooth], self.numeric[self.smooth]
        if not given.any():
            return ". It is 0 everywhere"
        for mistake, array in self.mistakes.items():
            if array.shape == self.given.shape and _near(given, array[self.smooth], scale):
                return f". {mistake}"
        turned = self.given.swapaxes(-1, -2) if self.given.ndim > 1 else self.given
        if turned.shape == self.given.shape and _near(turned[self.smooth], numeric, scale):
            return ". It is the transpose of what is right"
        ratio = float((given * numeric).sum() / max((numeric * numeric).sum(), 1e-300))
        if (
            abs(ratio) < ALIKE
            or abs(ratio - 1) < ALIKE
            or not _near(given, ratio * numeric, scale * max(1.0, abs(ratio)))
        ):
            return ""
        if abs(ratio + 1) < ALIKE:
            return ". Its sign is wrong everywhere"
        return f". It is {ratio:.6g} times what is right, everywhere"


def _first(holds: HostArray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(holds)[0])


def _near(a: HostArray, b: HostArray, scale: float) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) <= ALIKE * scale)


def _broadcasts(has: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(has, shape) == shape
    except ValueError:
        return False


def on_host(
    value: Any, backend: Backend, what: str, shape: tuple[int, ...], broadcasts: bool = False
) -> HostArray:
    """What a subject's method returned, on the host in float64.

    Args:
        value: what it returned.
        backend: of its arrays.
        what: it is, for the message.
        shape: that it must have.
        broadcasts: whether one that broadcasts to it will do.

    Raises:
        ValueError: it is no array of that shape.
    """
    if isinstance(value, int | float | np.generic | list):
        value = np.asarray(value, dtype=np.float64)
    has = getattr(value, "shape", None)
    if broadcasts and has is not None and _broadcasts(tuple(has), shape):
        host = value if isinstance(value, np.ndarray) else backend.to_numpy(value)
        return np.array(np.broadcast_to(host, shape), dtype=np.float64)
    if has is None or tuple(has) != shape:
        kind = "None" if value is None else f"a {type(value).__name__}"
        given = kind if has is None else f"an array of shape {tuple(has)}"
        raise ValueError(f"{what} must return an array of shape {shape}, not {given}")
    return np.asarray(backend.to_numpy(value), dtype=np.float64)
