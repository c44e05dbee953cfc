"""Central differences, and where there is no slope.

The central difference (L(w + h) - L(w - h)) / 2h is off by h^2 L'''/6 from the Taylor series and by
about eps |L| / h from rounding. The sum is smallest near h = eps^(1/3), which is 6e-6 in float64,
and then about eps^(2/3) = 4e-11 (Press et al., Numerical Recipes, section 5.7): so far below the
tolerance that a wrong formula cannot pass for rounding. float32 would leave three digits, too few.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray

STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
KINK = 1e-3  # how far the slopes to both sides differ at most where f has no kink
BEND = 1e-7  # how far differences of two widths do where f' has none
CURVED = 0.75  # of a jump that is left with half the width, where it is a curve's
NOISE = 20 * float(np.finfo(np.float64).eps)  # of f's values, relative

Function: TypeAlias = Callable[[HostArray], Any]  # of an array, on the host


def widths(at: HostArray) -> HostArray:
    """Half the width of the difference by each entry."""
    return np.asarray(STEP * np.maximum(1.0, np.abs(at)))


def slopes(
    f: Function, at: HostArray, h: HostArray, width: Any
) -> tuple[HostArray, HostArray, HostArray]:
    """The central differences of f, where they are slopes, and how far rounding may move them.

    They are slopes where f and f' have no kink: a jump of the slope from one side to the other
    stays as it is with half the width, where a curve's halves.

    Args:
        f: of an array of the shape of ``at``.
        at: the point.
        h: how far each entry is moved, to both sides.
        width: the same, as it stands under the difference: of the shape of f's values.
    """
    up, middle, down = np.asarray(f(at + h)), np.asarray(f(at)), np.asarray(f(at - h))
    half_up, half_down = np.asarray(f(at + h / 2)), np.asarray(f(at - h / 2))
    right, left = (up - middle) / width, (middle - down) / width
    jump, of_half = right - left, (half_up + half_down - 2 * middle) / (width / 2)
    slope, closer = (right + left) / 2, (half_up - half_down) / width
    noise = NOISE * np.maximum(np.maximum(np.abs(up), np.abs(down)), np.abs(middle)) / width
    size = np.maximum(np.maximum(np.abs(right), np.abs(left)), 1.0)
    curved = np.abs(of_half) <= CURVED * np.abs(jump)
    straight = (np.abs(jump) <= KINK * size + noise) | curved
    return slope, straight & (np.abs(slope - closer) <= BEND * size + noise), noise


def slopes_by_entry(
    f: Function, at: HostArray, positions: HostArray
) -> tuple[HostArray, HostArray, HostArray]:
    """The same of a number, by some entries of an array, one after another.

    Args:
        f: of an array of the shape of ``at``, to a number.
        at: the point.
        positions: of the entries, in the flat array.
    """
    of_entries = []
    for position in positions:
        h = np.zeros_like(at)
        h.flat[position] = width = widths(at.flat[position])
        of_entries.append(slopes(f, at, h, width))
    numeric, smooth, noise = (np.array(part) for part in zip(*of_entries, strict=True))
    return numeric, smooth, noise
