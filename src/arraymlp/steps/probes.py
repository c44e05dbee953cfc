"""Probes: measurements inside the layers, made on the device at a few chosen steps.

A probe measures each layer's response to a fixed sample of training rows, and the size of one
minibatch's gradients and updates. Nothing is read until the epoch's end.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from math import ceil, log10
from typing import Any, TypeAlias

from arraymlp._checks import of_member
from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data, row_blocks, take_rows
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.splits import sample_rows
from arraymlp.data.stream import Streamed
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.losses import one_hot
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, EpochRows, LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.step import EpochStep, Step
from arraymlp.steps.update import States

SAMPLE_ROWS = 1000
EVERY_STEP_UNTIL = 32
FEW = 4  # measured steps of an epoch whose other steps are done together
STEPS_A_DECADE = 12
ACTIVE = 1e-3  # |f'(s)| up to this lets almost nothing back: the unit is off for that row

Figure: TypeAlias = float | list[float]  # on the host; K numbers for a population
Pending: TypeAlias = dict[str, Array | list[Array] | None]  # a measurement still on the device


@dataclass(frozen=True)
class Measurement:
    """The figures of one probe. Lists run over layers; each figure is a number, or K of them.

    Attributes:
        step: the number of steps done, this one included.
        epoch: the epoch of the step, from 0.
        loss: mean loss over the sample, unweighted.
        predicted: the number of times each class is predicted on the sample, (n,) or (K, n); None
            without softmax.
        gradient_norm: Euclidean norm of dL/dW of that step's minibatch, with masks and sample
            weights, before clipping and without the L2 penalty.
        bias_gradient: Euclidean norm of dL/db of that minibatch.
        update_norm: Euclidean norm of the change of W in that step.
        bias_update: root mean square, over units, of the change of b in that step.
        weight_norm: Euclidean norm of W after it.
        spread: root mean square, over units, of the standard deviation of z over the sample: how
            much the layer's output depends on its input.
        active_units: the fraction of hidden units with ``|f'(s)| > 0.001`` for some row of the
            sample.
        active_pairs: the fraction of pairs (row, hidden unit) with ``|f'(s)| > 0.001``.
        mean: mean of the hidden units' outputs.
    """

    step: int
    epoch: int
    loss: Figure
    predicted: list[Figure] | None
    gradient_norm: list[Figure]
    bias_gradient: list[Figure]
    update_norm: list[Figure]
    bias_update: list[Figure]
    weight_norm: list[Figure]
    spread: list[Figure]
    active_units: list[Figure]
    active_pairs: list[Figure]
    mean: list[Figure]

    def member(self, k: int) -> "Measurement":
        """The figures of member k of a population."""
        layers: dict[str, Any] = {
            f.name: [of_member(v, k) for v in getattr(self, f.name)]
            for f in fields(self)
            if f.name not in ("step", "epoch", "loss", "predicted")
        }
        loss, predicted = of_member(self.loss, k), of_member(self.predicted, k)
        return replace(self, loss=loss, predicted=predicted, **layers)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, in plain types, ready for JSON."""
        return asdict(self)


def probed_steps(done: int, steps_before: int, epochs: int, steps_per_epoch: int) -> set[int]:
    """The steps to measure after ``done``: the first 32, then 12 a decade, and each epoch's last.

    Args:
        done: steps of the run so far.
        steps_before: of these, the steps before the epoch that comes next.
        epochs: the number of epochs to come.
        steps_per_epoch: of each of them.
    """
    total = steps_before + epochs * steps_per_epoch
    decades = range(ceil(STEPS_A_DECADE * log10(total + 1)))
    chosen = {round(10 ** (i / STEPS_A_DECADE)) for i in decades}
    chosen |= {*range(1, EVERY_STEP_UNTIL + 1)}
    chosen |= {*range(steps_before + steps_per_epoch, total + 1, steps_per_epoch)}
    return {step for step in chosen if done < step <= total}


class Probes:
    """Wrap a step so that some steps are measured; the others run unchanged.

    Args:
        data: the sample is taken from its training rows, evenly spread.
        backend: that of the data.
        done: steps of the run so far.
        steps_before: of these, the steps before the epoch that comes next.
        epoch: the number of the epoch that comes next.
        epochs: the number of epochs to come.
        steps_per_epoch: of each of them.
    """

    def __init__(
        self,
        data: Data,
        backend: Backend,
        done: int,
        steps_before: int,
        epoch: int,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        rows = sample_rows(data.X.shape[0], SAMPLE_ROWS)
        self.x = take_rows(data.X, rows, backend)
        self.y, self.unit = take_rows(data.y.values, rows, backend), data.y.unit
        self.backend = backend
        self.steps = probed_steps(done, steps_before, epochs, steps_per_epoch)
        self.done, self.steps_before = done, steps_before
        self.epoch, self.steps_per_epoch = epoch, steps_per_epoch
        self.pending: list[tuple[int, Pending]] = []

    def wrap(self, step: Step, network: Network, reduction: str) -> Step:
        """Return the step with the chosen ones measured; an `EpochStep` stays one."""
        wrapper = ProbedEpochStep if isinstance(step, EpochStep) else ProbedStep
        return wrapper(self, step, network, reduction)

    def measure(
        self,
        network: Network,
        before: Network,
        gradients: list[Gradients],
    ) -> None:
        """Note a step's figures, from the network after it and before it, and its gradients."""
        xp = self.backend.xp
        figures = self._response(network)
        figures["gradient_norm"] = [_norm(g.weights, xp) for g in gradients]
        figures["bias_gradient"] = [_norm(g.bias, xp) for g in gradients]
        figures["weight_norm"] = [_norm(a.weights, xp) for a in network.layers]
        figures["update_norm"] = [
            _norm(a.weights - b.weights, xp)
            for a, b in zip(network.layers, before.layers, strict=True)
        ]
        figures["bias_update"] = [
            _norm(a.bias - b.bias, xp) / a.n_out**0.5
            for a, b in zip(network.layers, before.layers, strict=True)
        ]
        self.pending.append((self.done, figures))

    def _response(self, network: Network) -> Pending:
        """The figures of the network's response to the sample."""
        xp = self.backend.xp
        caches = network.forward(self.x, xp)
        s = caches[-1].z
        value, _ = network.loss.value_and_delta(s, self.y, xp)
        figures: Pending = {"loss": xp.mean(value, axis=-1), "predicted": None}
        if network.loss.classifies == "one":
            chosen = network.choices(s, xp)
            figures["predicted"] = xp.sum(one_hot(chosen, s.shape[-1], s.dtype, xp), axis=-2)
        # Less the first row: outputs that are alike for all rows then have a spread of exactly 0.
        differences = [z - z[..., :1, :] for _, _, z, _ in caches]
        figures["spread"] = [xp.sqrt(xp.mean(xp.var(d, axis=-2), axis=-1)) for d in differences]
        units: list[Array] = []
        pairs: list[Array] = []
        for layer, (_, s, z, _) in zip(network.layers[:-1], caches[:-1], strict=True):
            active = _is_active(layer, s, z, xp)
            any_active = xp.astype(xp.any(active, axis=-2), s.dtype)
            units.append(xp.mean(any_active, axis=-1))
            pairs.append(xp.mean(xp.astype(active, s.dtype), axis=(-2, -1)))
        figures["active_units"], figures["active_pairs"] = units, pairs
        figures["mean"] = [xp.mean(z, axis=(-2, -1)) for _, _, z, _ in caches[:-1]]
        return figures

    def take_pending(self) -> list[Array]:
        """All figures on the device since the last epoch, flat, for the epoch's one transfer."""
        return [a for _, figures in self.pending for v in figures.values() for a in _flat(v)]

    def filed(self, values: list[Figure]) -> list[Measurement]:
        """Return the measurements that `take_pending` began, with their figures now on the host."""
        rest = iter(values)
        measurements = []
        for step, figures in self.pending:
            filled: dict[str, Any] = {}
            for name, value in figures.items():
                of_layers = [next(rest) for _ in _flat(value)]
                filled[name] = of_layers if isinstance(value, list) else next(iter(of_layers), None)
            # On the host: the square of a tiny or huge unit is not for float32.
            loss = filled["loss"]
            scaled = [self.unit * a for a in loss] if isinstance(loss, list) else self.unit * loss
            filled["loss"] = scaled
            epoch = self.epoch + (step - self.steps_before - 1) // self.steps_per_epoch
            measurements.append(Measurement(step, epoch, **filled))
        self.pending = []
        return measurements


class ProbedStep:
    """A step that is measured where its probes chose it."""

    def __init__(self, probes: Probes, step: Step, network: Network, reduction: str) -> None:
        self._probes, self._step = probes, step
        self._backpropagate = backpropagation(network, reduction)

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step."""
        self._probes.done += 1
        if self._probes.done not in self._probes.steps:
            return self._step(network, states, batch, hyper)
        _, gradients = self._backpropagate(network, batch, hyper)
        before = network.copy()
        states, sums = self._step(network, states, batch, hyper)
        self._probes.measure(network, before, gradients)
        return states, sums


class ProbedEpochStep(ProbedStep, EpochStep):
    """The same for a step that can do the steps of a whole epoch at once."""

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
        sums: LossSums = NO_SUMS,
    ) -> tuple[int, LossSums] | None:
        """Do the measured steps one by one, and the steps between them together.

        See `arraymlp.steps.step.EpochStep`. An epoch with more than a few measured steps is trained
        step by step.
        """
        step, probes = self._step, self._probes
        measured = [i for i in range(table.steps) if probes.done + 1 + i in probes.steps]
        assert isinstance(step, EpochStep)
        if len(measured) > FEW or 0 in measured:
            return None
        done = 0
        for stop in [*measured, table.steps]:
            if stop > done:
                part = rows.part(done, stop), table.part(done, stop)
                trained = step.epoch(network, states, *part, interrupted, sums)
                if trained is None:  # in the first part: the parts of an epoch are all alike
                    return None
                steps, sums = trained
                probes.done, done = probes.done + steps, done + steps
            if done < stop or interrupted():
                break
            if stop < table.steps:
                batch = rows.minibatch(stop, network.backend)
                (hyper,) = table.part(stop, stop + 1)
                _, loss = self(network, states, batch, hyper)  # the states are updated in place
                sums, done = sums.plus(loss), done + 1
        return done, sums


def _flat(value: Array | list[Array] | None) -> list[Array]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _is_active(layer: Layer, s: Array, z: Array, xp: Namespace) -> Array:
    """Where |f'(s)| > 0.001, so that a gradient passes back; same shape as s."""
    # The product with ones gives a constant derivative, a float, the shape of s.
    return xp.abs(layer.activation.derivative(s, z, xp) * xp.ones_like(s)) > ACTIVE


def _norm(a: Array, xp: Namespace) -> Array:
    return xp.sqrt(xp.sum(a * a, axis=(-2, -1)))


def count_dead_units(
    network: Network, X: Array | Streamed, backend: Backend, window: int | None = None
) -> list[Figure]:
    """The number of dead units, |f'(s)| <= 0.001 for every row of X, in each hidden layer."""
    xp = backend.xp
    active: list[Array] = []  # for some row so far, of each layer
    with backend.active():
        for _, x in row_blocks(X, network, window):
            caches = network.forward(x, xp)[:-1]
            in_block = [
                xp.any(_is_active(layer, s, z, xp), axis=-2)
                for layer, (_, s, z, _) in zip(network.layers[:-1], caches, strict=True)
            ]
            active = [a | b for a, b in zip(active, in_block, strict=True)] if active else in_block
        dtype = network.layers[0].weights.dtype
        counts = [xp.sum(xp.astype(~a, dtype), axis=-1) for a in active]
        return [c.tolist() for c in backend.fetch(counts)]
