"""Dropout: masks computed from counters, so that every backend draws the same bits.

In training each unit's output is set to 0 with probability p and otherwise divided by 1 - p, anew
for every row of every minibatch; in prediction nothing is dropped (Srivastava et al. 2014, in the
inverted form). An integer hash of (seed, layer, step, row of the minibatch, unit) decides whether a
unit is dropped: nothing is stored, next to nothing is transferred (a key for each layer and step,
with the epoch's rates), and a run can be resumed inside an epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from arraymlp._checks import PROBABILITY, require_numbers, to_python
from arraymlp.backends.array import Array, Device, DType, Namespace


@dataclass(frozen=True)
class Dropout:
    """The probabilities of dropping a layer's inputs in training (Srivastava et al. 2014).

    An input is multiplied by 0 with probability p, and else by 1 / (1 - p), anew for every row of
    every minibatch; in prediction nothing is dropped. With one seed every backend drops the same.

    Attributes:
        hidden: probability that a hidden unit's output is dropped, from 0 up to but not 1; or K
            values, one a member.
        input: probability that a feature is dropped, likewise; or K values.

    Raises:
        ValueError: a probability outside these bounds.
    """

    hidden: float | Sequence[float] = 0.0
    input: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        for name in ("hidden", "input"):
            rate = to_python(getattr(self, name))
            object.__setattr__(self, name, rate)
            what = "dropout" if name == "hidden" else "input dropout"
            require_numbers(what, rate, PROBABILITY)


def get_dropout(value: "float | Sequence[float] | Dropout") -> Dropout:
    """The `Dropout` itself, or one with this probability for the hidden units."""
    return value if isinstance(value, Dropout) else Dropout(value)


class DropoutKey(NamedTuple):
    """The numbers, or (K, 1, 1) arrays on the device, that mask one layer's input in one step.

    Attributes:
        key: int32, drawn for the step from the stream of seed, layer and epoch.
        threshold: hashes below it are dropped: 2^32 p - 2^31; int32.
        scale: 1 / (1 - p).
    """

    key: Any
    threshold: Any
    scale: Any


def mask_maker(dtype: DType, xp: Namespace, device: Device) -> Callable[..., Array]:
    """A function that makes masks; it keeps the hashed counters of the shapes it has met."""
    counters: dict[tuple[int, int, int], Array] = {}

    def mask(dropout: DropoutKey, rows: int, units: int, first: int = 0) -> Array:
        """Factors (..., rows, units) for a layer's input, from row ``first``: 0, or 1 / (1 - p)."""
        if (first, rows, units) not in counters:
            start = first * units
            count = xp.arange(start, start + rows * units, dtype=xp.int32, device=device)
            counters[first, rows, units] = hash32(xp.reshape(count, (rows, units)))
        kept = hash32(counters[first, rows, units] ^ dropout.key) >= dropout.threshold
        factors: Array = xp.astype(kept, dtype) * dropout.scale
        return factors

    return mask


def hash32(x: Array) -> Array:
    """A 32-bit integer hash in which every bit depends on every bit (Wellons's lowbias32).

    It works on int32, whose products wrap around; a right shift of int32 keeps the sign, and the
    masks after it remove the copies of the sign bit.
    """
    x = x ^ ((x >> 16) & 0xFFFF)  # a new array, which the next lines overwrite
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - (1 << 32)
    x ^= (x >> 16) & 0xFFFF
    return x
