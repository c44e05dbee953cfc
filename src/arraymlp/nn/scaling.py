"""Standardisation: each column less its mean, divided by its standard deviation.

What is learnt of the training rows stays with the network, which so takes raw features and gives
predictions in the targets' own units, wherever it goes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray, dtype_name
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of


@dataclass(frozen=True, eq=False)
class Scaling:
    """x -> (x - mean) / scale, column by column. Equal where its numbers are.

    Attributes:
        mean: (n,) float64 on the host; or (K, n), for each member of a population its own.
        scale: of the same shape, positive.
    """

    mean: HostArray
    scale: HostArray

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scaling)
            and np.array_equal(self.mean, other.mean)
            and np.array_equal(self.scale, other.scale)
        )

    def __hash__(self) -> int:
        return hash((self.mean.tobytes(), self.scale.tobytes()))

    @property
    def members(self) -> int | None:
        """Number K of members with a scaling of their own; None where all share one."""
        return len(self.mean) if self.mean.ndim == 2 else None

    @property
    def common(self) -> Any:
        """The root mean square of the columns' scales: a number, or (K,)."""
        return root_mean_square(self.scale)

    @property
    def proportions(self) -> "Scaling | None":
        """What undoes that columns have scales of their own, but not their common one, nor means.

        None where all columns have one scale.
        """
        common = self.common[..., None]
        if np.allclose(self.scale, common, rtol=1e-12, atol=0):
            return None
        return Scaling(np.zeros_like(self.mean), self.scale / common)

    def exactly(self, x: HostArray) -> HostArray:
        """Standardised numbers (N, n) of any dtype on the host, computed in float64."""
        return np.asarray((x - self.mean) / self.scale)

    def apply(self, x: Any) -> Any:
        """Standardised x (..., N, n), in its own dtype: (K, N, n) where members have their own."""
        return self.applier(backend_of(x), dtype_name(x))(x)

    def applier(self, backend: Backend, dtype: str) -> Callable[[Any], Any]:
        """`apply` for many arrays of a backend, to which the constants are brought once."""
        mean, factor = (self._beside(v, backend, dtype) for v in (self.mean, 1 / self.scale))
        return lambda x: (x - mean) * factor

    def undo(self, x: Any) -> Any:
        """The inverse of `apply`, of an array of the same columns, in its own dtype."""
        backend, dtype = backend_of(x), dtype_name(x)
        scale, mean = (self._beside(v, backend, dtype) for v in (self.scale, self.mean))
        return x * scale + mean

    def _beside(self, values: HostArray, backend: Backend, dtype: str) -> Any:
        """The values on a device, to stand beside (..., N, n): (n,), or (K, 1, n)."""
        return backend.asarray(values if self.members is None else values[:, None, :], dtype)

    def then(self, inner: "Scaling") -> "Scaling":
        """The scaling that applies this one first, and then the other."""
        return Scaling(self.mean + self.scale * inner.mean, self.scale * inner.scale)

    def shared(self) -> tuple["Scaling", "Scaling | None"]:
        """A scaling for all members, and what each does after it; None where that is nothing.

        It is, column by column, that of the member with the smallest scale: values rounded between
        the two, far from 0 though they are or with outliers in other members' rows, lose no digits.
        """
        if self.members is None:
            return self, None
        finest = self.scale.argmin(axis=0), np.arange(self.scale.shape[1])
        base = Scaling(self.mean[finest], self.scale[finest])
        return base, self.after(base)

    def after(self, base: "Scaling") -> "Scaling | None":
        """What is left of this scaling once ``base`` has been applied; None where nothing is."""
        if self == base:
            return None
        return Scaling((self.mean - base.mean) / base.scale, self.scale / base.scale)

    def repeated(self, n: int) -> "Scaling":
        """The same for columns of which each stands n times, one beside the other."""
        return Scaling(np.repeat(self.mean, n, axis=-1), np.repeat(self.scale, n, axis=-1))

    def member(self, k: int) -> "Scaling":
        """That of member k."""
        return self if self.members is None else Scaling(self.mean[k], self.scale[k])

    def select_members(self, members: Sequence[int]) -> "Scaling":
        """Those of these members."""
        if self.members is None:
            return self
        numbers = list(members)
        return Scaling(self.mean[numbers], self.scale[numbers])


def stacked(scalings: "Sequence[Scaling | None]") -> Scaling | None:
    """One for K members: the one that all have, or with a leading axis, one a member."""
    first = scalings[0]
    if all(one == first for one in scalings):
        return first
    n = next(one for one in scalings if one is not None).mean.shape[-1]
    none = Scaling(np.zeros(n), np.ones(n))
    every = [one or none for one in scalings]
    return Scaling(np.stack([s.mean for s in every]), np.stack([s.scale for s in every]))


def root_mean_square(values: HostArray) -> Any:
    """Over the last axis, of positive numbers whose squares may be out of float64's range."""
    largest = values.max(axis=-1)
    return largest * np.sqrt(np.mean((values / largest[..., None]) ** 2, axis=-1))


def undone(scaling: Scaling | None, s: Any) -> Any:
    """Logits (..., N, n) in the units of the targets, of which there are n or fewer columns."""
    if scaling is None:
        return s
    return scaling.repeated(s.shape[-1] // scaling.mean.shape[-1]).undo(s)
