"""Probes: what goes on inside the layers, measured on the device at a few chosen steps.

A probe asks a fixed sample of training rows how each layer responds to them, and one minibatch how
large its gradients and updates are. Nothing is read until the epoch's end.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from math import ceil, log10
from typing import Any

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
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.gradient import backpropagation
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.step import EpochStep, Step
from arraymlp.steps.update import States

SAMPLE_ROWS = 1000
EVERY_STEP_UNTIL = 32
FEW = 4  # steps to be measured of an epoch whose others are done together
STEPS_A_DECADE = 12
ACTIVE = 1e-3  # |f'(s)| up to this lets almost nothing back: the unit is dead for that row


@dataclass(frozen=True)
class Measurement:
    """What one probe found. Lists run over layers; each figure is a number, or K for a population.

    Attributes:
        step: steps done when it was taken, from 1.
        epoch: the epoch it fell into, from 0.
        loss: mean loss over the sample, unweighted.
        predicted: how often each class was predicted on the sample; None without softmax.
        gradient_norm: Euclidean norm of dL/dW of that step's minibatch, masks and weights
            included, before it was clipped and before the L2 penalty.
        bias_gradient: Euclidean norm of dL/db of that minibatch.
        update_norm: Euclidean norm of the change of W in that step.
        bias_update: root mean square, over units, of the change of b in that step.
        weight_norm: Euclidean norm of W after it.
        spread: root mean square, over units, of the standard deviation of z over the sample: how
            much the layer's output depends on its input.
        active_units: of the hidden units, the fraction with |f'(s)| > 0.001 for some row of the sample.
        active_pairs: of all pairs (row, hidden unit), the fraction with |f'(s)| > 0.001.
        mean: mean of the hidden units' outputs.
    """

    step: int
    epoch: int
    loss: Any
    predicted: Any
    gradient_norm: list[Any]
    bias_gradient: list[Any]
    update_norm: list[Any]
    bias_update: list[Any]
    weight_norm: list[Any]
    spread: list[Any]
    active_units: list[Any]
    active_pairs: list[Any]
    mean: list[Any]

    def member(self, k: int) -> "Measurement":
        """A population's member's own figures."""
        layers: dict[str, Any] = {
            f.name: [of_member(v, k) for v in getattr(self, f.name)]
            for f in fields(self)
            if f.name not in ("step", "epoch", "loss", "predicted")
        }
        loss, predicted = of_member(self.loss, k), of_member(self.predicted, k)
        return replace(self, loss=loss, predicted=predicted, **layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return asdict(self)


def probed_steps(done: int, whole: int, epochs: int, steps_per_epoch: int) -> set[int]:
    """Of the steps after ``done``: the run's first 32, then 12 a decade, and each epoch's last."""
    total = whole + epochs * steps_per_epoch
    decades = range(ceil(STEPS_A_DECADE * log10(total + 1)))
    chosen = {round(10 ** (i / STEPS_A_DECADE)) for i in decades}
    chosen |= {*range(1, EVERY_STEP_UNTIL + 1)}
    chosen |= {*range(whole + steps_per_epoch, total + 1, steps_per_epoch)}
    return {step for step in chosen if done < step <= total}


class Probes:
    """Wraps a step so that some steps are measured; the others run unchanged.

    Args:
        data: the sample is taken from its training rows, evenly spread.
        backend: where it is.
        done: steps of the run so far.
        whole: of these, the steps before the epoch that comes next.
        epoch: number of the epoch that comes next.
        epochs: how many will come.
        steps_per_epoch: of how many steps each.
    """

    def __init__(
        self,
        data: Data,
        backend: Backend,
        done: int,
        whole: int,
        epoch: int,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        rows = sample_rows(data.X.shape[0], SAMPLE_ROWS)
        self.x = take_rows(data.X, rows, backend)
        self.y = take_rows(data.y.values, rows, backend)
        self.backend = backend
        self.steps = probed_steps(done, whole, epochs, steps_per_epoch)
        self.done, self.whole = done, whole
        self.epoch, self.steps_per_epoch = epoch, steps_per_epoch
        self.pending: list[tuple[int, dict[str, Any]]] = []

    def wrap(self, step: Step, network: Network, reduction: str) -> Step:
        """The same step, measured where it is one of the chosen."""
        kind = ProbedEpochStep if isinstance(step, EpochStep) else ProbedStep
        return kind(self, step, network, reduction)

    def measure(
        self,
        network: Network,
        before: Network,
        gradients: list[Gradients],
    ) -> None:
        """File what a step did, by the network as it is and as it was before."""
        xp = self.backend.xp
        figures = self._respond(network)
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

    def _respond(self, network: Network) -> dict[str, Any]:
        """How the network, as it stands, treats the sample."""
        xp = self.backend.xp
        caches = network.forward(self.x, xp)
        s = caches[-1].z
        value, _ = network.loss.value_and_delta(s, self.y, xp)
        figures: dict[str, Any] = {"loss": xp.mean(value, axis=-1), "predicted": None}
        if network.loss.classifies == "one":
            chosen = network.choices(s, xp)
            figures["predicted"] = xp.sum(one_hot(chosen, s.shape[-1], s.dtype, xp), axis=-2)
        figures["spread"] = [xp.sqrt(xp.mean(xp.var(z, axis=-2), axis=-1)) for _, _, z, _ in caches]
        figures["active_units"], figures["active_pairs"], figures["mean"] = [], [], []
        for layer, (_, s, z, _) in zip(network.layers[:-1], caches[:-1], strict=True):
            active = _is_active(layer, s, z, xp)
            any_active = xp.astype(xp.any(active, axis=-2), s.dtype)
            figures["active_units"].append(xp.mean(any_active, axis=-1))
            figures["active_pairs"].append(xp.mean(xp.astype(active, s.dtype), axis=(-2, -1)))
            figures["mean"].append(xp.mean(z, axis=(-2, -1)))
        return figures

    def take_pending(self) -> list[Array]:
        """All figures on the device since the last epoch, flat, for the epoch's one transfer."""
        return [a for _, figures in self.pending for v in figures.values() for a in _flat(v)]

    def filed(self, values: list[Any]) -> list[Measurement]:
        """The figures that `take_pending` handed out, now on the host, as measurements."""
        rest = iter(values)
        measurements = []
        for step, figures in self.pending:
            filled: dict[str, Any] = {}
            for name, value in figures.items():
                found = [next(rest) for _ in _flat(value)]
                filled[name] = found if isinstance(value, list) else (found or [None])[0]
            epoch = self.epoch + (step - self.whole - 1) // self.steps_per_epoch
            measurements.append(Measurement(step, epoch, **filled))
        self.pending = []
        return measurements


class ProbedStep:
    """A step that is measured where it is one of those that its probes chose."""

    def __init__(self, probes: Probes, step: Step, network: Network, reduction: str) -> None:
        self._probes, self._step = probes, step
        self._backpropagate = backpropagation(network, reduction)

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """One minibatch."""
        self._probes.done += 1
        if self._probes.done not in self._probes.steps:
            return self._step(network, states, batch, hyper)
        _, gradients = self._backpropagate(network, batch, hyper)
        before = network.copy()
        states, met = self._step(network, states, batch, hyper)
        self._probes.measure(network, before, gradients)
        return states, met


class ProbedEpochStep(ProbedStep, EpochStep):
    """The same of a step that can do those of an epoch together."""

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
    ) -> tuple[int, LossSums] | None:
        """Steps over all these rows: together, where the step can, but for the few measured ones.

        See `arraymlp.steps.step.EpochStep`.
        """
        together, probes = self._step, self._probes
        alone = [i for i in range(table.steps) if probes.done + 1 + i in probes.steps]
        assert isinstance(together, EpochStep)
        if len(alone) > FEW or 0 in alone:
            return None
        sums, done = LossSums(0.0, 0.0, 0.0), 0
        for stop in [*alone, table.steps]:
            if stop > done:
                some = rows.part(done, stop), table.part(done, stop)
                found = together.epoch(network, states, *some, interrupted)
                if found is None:  # of the first part already: what is covered is one for all
                    return None
                steps, more = found
                probes.done, done, sums = probes.done + steps, done + steps, sums.plus(more)
            if done < stop or interrupted():
                break
            if stop < table.steps:
                batch = rows.minibatch(stop, network.backend)
                (hyper,) = table.part(stop, stop + 1)
                _, loss = self(network, states, batch, hyper)  # the states are updated in place
                sums, done = sums.plus(loss), done + 1
        return done, sums


def _flat(value: Any) -> list[Array]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _is_active(layer: Layer, s: Array, z: Array, xp: Namespace) -> Array:
    """Where the layer lets something back, |f'(s)| > 0.001; same shape as s."""
    # The product with ones gives a constant derivative, a float, the shape of s.
    return xp.abs(layer.activation.derivative(s, z, xp) * xp.ones_like(s)) > ACTIVE


def _norm(a: Array, xp: Namespace) -> Array:
    return xp.sqrt(xp.sum(a * a, axis=(-2, -1)))


def count_dead_units(
    network: Network, X: Array | Streamed, backend: Backend, window: int | None = None
) -> list[Any]:
    """For each hidden layer, how many units are dead (|f'(s)| <= 0.001) for every row of X."""
    xp = backend.xp
    ever: list[Array] = []
    with backend.active():
        for _, x in row_blocks(X, network, window):
            caches = network.forward(x, xp)[:-1]
            now = [
                xp.any(_is_active(layer, s, z, xp), axis=-2)
                for layer, (_, s, z, _) in zip(network.layers[:-1], caches, strict=True)
            ]
            ever = [a | b for a, b in zip(ever, now, strict=True)] if ever else now
        dtype = network.layers[0].weights.dtype
        counts = [xp.sum(xp.astype(~a, dtype), axis=-1) for a in ever]
        return [c.tolist() for c in backend.fetch(counts)]
