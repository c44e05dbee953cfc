"""An epoch as a whole: the rows it meets, what its steps are told, and what they add up to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from arraymlp.backend import Array, Backend, HostArray
from arraymlp.batching import Minibatch, minibatches
from arraymlp.dropout import Drop
from arraymlp.optimizers import Hyper


@dataclass(frozen=True)
class EpochTable:
    """Rates, constants and keys of dropout, in double precision; iterated, a ``hyper`` a step.

    Attributes:
        steps: S, how many.
        constants: each a number, (K,), (S, 1) or (S, K), by name; see `arraymlp.step`.
        drops: for each layer, what masks its inputs, or None: keys (S, 1) or (S, K), threshold and
            scale () or (K,), all on the host; None where no layer's are masked.
        backend: where the steps are done.
        dtype: of the network.
    """

    steps: int
    constants: Mapping[str, Any]
    drops: list[Drop | None] | None
    backend: Backend
    dtype: str

    @property
    def members(self) -> int:
        """K where members are told different things, else 1."""
        values = [*self.constants.values(), *(a for drop in self.drops or () for a in drop or ())]
        return max(np.shape(v)[-1] if np.ndim(v) else 1 for v in values)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Hyper]:
        """What `arraymlp.step` calls ``hyper``, for each step."""
        fixed: dict[str, Any] = {}
        moving: dict[str, Iterator[Any]] = {}
        for name, value in self.constants.items():
            v = np.asarray(value)
            if v.ndim == 2 and (v == v[:1]).all():
                v = v[0]
            if v.size == 1:
                fixed[name] = v.item()
            elif v.ndim == 1:
                fixed[name] = self._on_device(v)
            elif v.shape[1] == 1:
                moving[name] = iter(v[:, 0].tolist())
            else:
                moving[name] = _rows(self._on_device(v))
        if self.drops is not None:
            moving["dropout"] = zip(*map(self._by_step, self.drops), strict=False)
        if not moving:
            return repeat(fixed, self.steps)
        return (fixed | {name: next(v) for name, v in moving.items()} for _ in range(self.steps))

    def part(self, start: int, stop: int) -> "EpochTable":
        """The table of some of its steps."""

        def some(value: Any) -> Any:
            return value[start:stop] if np.ndim(value) == 2 else value

        drops = self.drops
        if drops is not None:
            drops = [None if d is None else d._replace(key=some(d.key)) for d in drops]
        told = {name: some(value) for name, value in self.constants.items()}
        return EpochTable(stop - start, told, drops, self.backend, self.dtype)

    def _by_step(self, drop: Drop | None) -> Iterator[Drop | None]:
        if drop is None:
            return repeat(None)
        several = drop.key.shape[1] > 1
        keys = _rows(self._on_device(drop.key, "int32")) if several else drop.key[:, 0].tolist()
        threshold, scale = drop.threshold, drop.scale
        return map(
            Drop,
            keys,
            repeat(self._on_device(threshold, "int32") if threshold.ndim else threshold.item()),
            repeat(self._on_device(scale) if scale.ndim else scale.item()),
        )

    def _on_device(self, v: HostArray, dtype: str | None = None) -> Array:
        """(..., K) on the host as (..., K, 1, 1) on the device."""
        return self.backend.asarray(v[..., None, None], dtype or self.dtype)


class EpochRows(NamedTuple):
    """What an epoch, or the rest of one, trains on, on the device.

    Attributes:
        x: (N, n_features).
        y: (N,) class positions, or (N, n) numbers.
        weight: of each sample, (N,), or (N, K) for one a member; None where all are alike.
        order: (N,) numbers of rows, int32; None for the rows as they stand.
        batch_size: rows of a step.
        first: where in the order the first step begins.
        stop: where the last one ends.
    """

    x: Array
    y: Array
    weight: Array | None
    order: Array | None
    batch_size: int
    first: int
    stop: int

    def part(self, start: int, stop: int) -> "EpochRows":
        """The rows of some of its steps."""
        first = self.first + start * self.batch_size
        return self._replace(
            first=first, stop=min(self.stop, first + (stop - start) * self.batch_size)
        )

    def minibatch(self, number: int, backend: Backend) -> Minibatch:
        """The rows of the step of this number."""
        size = self.batch_size
        how = (size, self.order, False, backend, self.first // size + number, self.weight)
        return next(minibatches(self.x, self.y, *how))


class EpochSums(NamedTuple):
    """What steps add up to, each () or (K,) on the device, or a number.

    Attributes:
        loss: summed over steps and samples.
        weight: of all samples.
        penalty: alpha / 2 |W|^2, summed over the steps.
    """

    loss: Array
    weight: Any
    penalty: Array | float

    def plus(self, more: "EpochSums") -> "EpochSums":
        """The sums of these steps and more."""
        return EpochSums(*(a + b for a, b in zip(self, more, strict=True)))


def _rows(array: Array) -> Iterator[Array]:
    return (array[i, ...] for i in range(array.shape[0]))
