"""The rates and constants of each step of an epoch, computed on the host beforehand.

All of them are known before the epoch starts. So they are computed on the host, in double
precision, uploaded once, and read on the device step by step; no step waits for the host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import NamedTuple, Protocol

import numpy as np

from arraymlp._checks import as_floats, as_tuple
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.nn.dropout import Dropout, DropoutKey
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Constant, Constants, Optimizer, PerMember
from arraymlp.steps.schedules import Schedule

# A random stream of its own: initial values have 0, minibatch orders 1, splits 2.
_DROPOUT = 3


class Hyper(NamedTuple):
    """The rates and constants of one step; None for a feature that is off.

    Each is a number, or (K, 1, 1) on the device: one value for each member of a population.

    Attributes:
        optimizer: the optimiser's constants; see `Optimizer.constants`.
        dropout: for each layer the key of the mask on its inputs, or None.
        label_smoothing: a; see `arraymlp.nn.losses.smoothed`.
        gradient_clip: c: all gradients of a member are multiplied by min(1, c / norm), with norm
            the Euclidean norm of all of them together (Pascanu, Mikolov, Bengio 2013).
        l2: lambda: the penalty lambda / 2 |W|^2 on the weights, never on biases, adds lambda W to
            their gradient, after the clipping.
        alpha: the same, but of the minibatch's *summed* loss: it adds alpha W / (sum of the weights
            of its samples) with the reduction "mean", as in scikit-learn.
        decay_factor: 1 - eta lambda: decoupled weight decay multiplies the weights, never biases,
            by it before the update (Loshchilov, Hutter 2019).
        average_rate: 1 - d; see `arraymlp.steps.step.averaging`.
    """

    optimizer: Constants
    dropout: Sequence[DropoutKey | None] | None = None
    label_smoothing: Constant | None = None
    gradient_clip: Constant | None = None
    l2: Constant | None = None
    alpha: Constant | None = None
    decay_factor: Constant | None = None
    average_rate: Constant | None = None


@dataclass(frozen=True)
class HyperTable:
    """The `Hyper` of each step of an epoch, in double precision on the host; iterate for them.

    Attributes:
        steps: their number, S.
        hyper: each entry a number, (K,), (S, 1) or (S, K). Of dropout: keys (S, 1) or (S, K),
            threshold and scale () or (K,).
        backend: that of the steps.
        dtype: the network's.
    """

    steps: int
    hyper: Hyper
    backend: Backend
    dtype: str

    @property
    def constants(self) -> dict[str, Constant]:
        """All entries but dropout's, by name; the optimiser's by their own names."""
        entries = zip(Hyper._fields[2:], self.hyper[2:], strict=True)
        return {
            **self.hyper.optimizer._asdict(),
            **{name: value for name, value in entries if value is not None},
        }

    @property
    def members(self) -> int:
        """K where members differ in any entry, else 1."""
        keys = [value for key in self.hyper.dropout or () for value in key or ()]
        values = [*self.constants.values(), *keys]
        return max(np.shape(v)[-1] if np.ndim(v) else 1 for v in values)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Hyper]:
        """The entries of each step, on the device; all are uploaded before the first."""
        keys = self.hyper.dropout
        columns = (
            self._constants_by_step(self.hyper.optimizer),
            repeat(None) if keys is None else zip(*map(self._keys_by_step, keys), strict=False),
            *(repeat(None) if v is None else self._by_step(v) for v in self.hyper[2:]),
        )
        # Some of them have no end.
        return (Hyper(*row) for row in islice(zip(*columns, strict=False), self.steps))

    def part(self, start: int, stop: int) -> "HyperTable":
        """The table of the steps from start to stop - 1."""

        def rows(value: Constant) -> Constant:
            return value[start:stop] if np.ndim(value) == 2 else value

        keys = self.hyper.dropout
        hyper = Hyper(
            type(self.hyper.optimizer)(*map(rows, self.hyper.optimizer)),
            keys and [key and key._replace(key=rows(key.key)) for key in keys],
            *map(rows, self.hyper[2:]),
        )
        return replace(self, steps=stop - start, hyper=hyper)

    def _constants_by_step(self, constants: Constants) -> Iterator[Constants]:
        """The optimiser's constants step by step; where none changes, one object for all."""
        columns = [self._by_step(value) for value in constants]
        make = type(constants)
        if all(isinstance(column, repeat) for column in columns):
            return repeat(make(*map(next, columns)))
        return (make(*row) for row in zip(*columns, strict=False))

    def _by_step(self, value: Constant) -> Iterator[Constant]:
        """A number, (K,), (S, 1) or (S, K) on the host, step by step and on the device."""
        v = np.asarray(value)
        if v.ndim == 2 and (v == v[:1]).all():
            v = v[0]
        if v.size == 1:
            return repeat(v.item())
        if v.ndim == 1:
            return repeat(self._on_device(v))
        if v.shape[1] == 1:
            return iter(v[:, 0].tolist())
        return _rows(self._on_device(v))

    def _keys_by_step(self, dropout: DropoutKey | None) -> Iterator[DropoutKey | None]:
        """One layer's dropout step by step, on the device."""
        if dropout is None:
            return repeat(None)
        drawn, threshold, scale = dropout
        per_member = drawn.shape[1] > 1
        keys = _rows(self._on_device(drawn, "int32")) if per_member else drawn[:, 0].tolist()
        return map(
            DropoutKey,
            keys,
            repeat(self._on_device(threshold, "int32") if threshold.ndim else threshold.item()),
            repeat(self._on_device(scale) if scale.ndim else scale.item()),
        )

    def _on_device(self, v: HostArray, dtype: str | None = None) -> Array:
        """(..., K) on the host as (..., K, 1, 1) on the device."""
        return self.backend.asarray(v[..., None, None], dtype or self.dtype)


def _rows(array: Array) -> Iterator[Array]:
    return (array[i, ...] for i in range(array.shape[0]))


class StepSettings(Protocol):
    """The settings of a run (`arraymlp.Settings`) that this room reads."""

    @property
    def optimizer(self) -> Optimizer:
        """The update rule."""

    @property
    def learning_rate(self) -> PerMember:
        """Eta, before the schedule; K values, one a member, here and below."""

    @property
    def decay(self) -> PerMember:
        """Lambda of the decoupled weight decay; 0 is off."""

    @property
    def l2(self) -> PerMember:
        """Lambda of the L2 penalty; 0 is off."""

    @property
    def alpha(self) -> PerMember:
        """The L2 penalty of the summed loss; 0 is off."""

    @property
    def gradient_clip(self) -> PerMember:
        """The bound on the gradients' norm; infinite is off."""

    @property
    def weight_average(self) -> PerMember:
        """The decay d of the moving average of weights; 0 is off."""

    @property
    def label_smoothing(self) -> PerMember:
        """The amount by which targets are smoothed; 0 is off."""

    @property
    def dropout(self) -> Dropout:
        """The probabilities with which inputs are dropped."""

    @property
    def seed(self) -> int | Sequence[int] | None:
        """The seed of the dropout masks; K seeds for K members."""


def learning_rates(
    settings: StepSettings, schedule: Schedule, first: int, steps: int, total: int
) -> HostArray:
    """The learning rates of ``steps`` steps from number ``first`` of ``total``: (S, 1) or (S, K).

    Raises:
        ValueError: the schedule's factors are not finite, or of another shape.
    """
    factors = np.asarray(schedule.factors(first + np.arange(steps)[:, None], total))
    if factors.ndim != 2 or factors.shape[0] != steps or not np.isfinite(factors).all():
        raise ValueError(
            f"{schedule!r} must give finite factors of shape ({steps}, 1), or ({steps}, K) for K "
            f"members, not {factors.shape}: {factors.ravel()[:3].tolist()}, ..."
        )
    return np.asarray(as_floats(settings.learning_rate) * factors)


def hyper_table(
    settings: StepSettings,
    network: Network,
    rate: HostArray,
    updates: int | HostArray,
    epoch: int,
    first: int = 0,
) -> HyperTable:
    """The table of the steps of an epoch, from number ``first`` of it on.

    Args:
        settings: the run's.
        network: the one that will be trained.
        rate: the learning rate of each step, (S, 1) or (S, K).
        updates: the number of steps that the optimiser's state has seen, or (K,) of them.
        epoch: the epoch's number, from 0.
        first: the number of steps of the epoch that are done already.

    Raises:
        ValueError: the optimiser's constants are no NamedTuple.
    """
    t = np.asarray(updates) + np.arange(1, len(rate) + 1)[:, None]
    constants = settings.optimizer.constants(rate, t)
    if not hasattr(constants, "_asdict"):
        raise ValueError(
            f"{settings.optimizer!r}.constants must give a NamedTuple, not {type(constants)}"
        )
    hyper = Hyper(
        constants,
        dropout=_dropout_keys(settings, len(network.layers), epoch, first, first + len(rate)),
        label_smoothing=_where_any(as_floats(settings.label_smoothing)),
        l2=_where_any(as_floats(settings.l2)),
        alpha=_where_any(as_floats(settings.alpha)),
    )
    if np.any(decay := as_floats(settings.decay)):
        hyper = hyper._replace(decay_factor=1 - rate * decay)
    if np.any(np.isfinite(clip := as_floats(settings.gradient_clip))):
        limits = np.finfo(network.dtype)
        hyper = hyper._replace(gradient_clip=np.clip(clip, limits.smallest_normal, limits.max))
    if np.any(average := as_floats(settings.weight_average)):
        hyper = hyper._replace(average_rate=1 - np.minimum(average, (t - 1) / (t + 8)))
    return HyperTable(len(rate), hyper, network.backend, network.dtype)


def _where_any(value: Constant) -> Constant | None:
    """The value, or None where it is 0 for all members: then the feature is off."""
    return value if np.any(value) else None


def _dropout_keys(
    settings: StepSettings, layers: int, epoch: int, start: int, stop: int
) -> list[DropoutKey | None] | None:
    """For each layer the keys of the masks of these steps, on the host; None for no masks."""
    probabilities = [settings.dropout.input] + [settings.dropout.hidden] * (layers - 1)
    of_layers: list[DropoutKey | None] = []
    for layer, probability in enumerate(probabilities):
        p = np.asarray(as_floats(probability))
        if not p.any():
            of_layers.append(None)
            continue
        # The largest int32 stands for a probability that rounds to 1.
        threshold = np.minimum(np.round(p * 2.0**32) - 2.0**31, 2.0**31 - 1).astype(np.int64)
        seeds = as_tuple("seed", 0 if settings.seed is None else settings.seed)
        drawn = np.stack([_keys(s, layer, epoch, stop)[start:] for s in seeds], axis=-1)
        of_layers.append(DropoutKey(drawn, threshold, 1 / (1 - p)))
    return of_layers if any(key is not None for key in of_layers) else None


def _keys(seed: int, layer: int, epoch: int, steps: int) -> HostArray:
    """A random int32 for each step of an epoch, from a stream of this seed, layer and epoch."""
    stream = np.random.SeedSequence(seed, spawn_key=(_DROPOUT, layer, epoch))
    return np.random.default_rng(stream).integers(-(2**31), 2**31, steps, dtype=np.int32)
