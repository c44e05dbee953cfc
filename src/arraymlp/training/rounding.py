"""How far rounding can move the results of one step, number by number.

A step in floating point has no single right result: sums may be added in any order, products fused
or not, ``exp`` be off by a few units in the last place. What a correct step may give is computed
here with the definition's own step, so that an engine's can be judged by it.

Every sum s of the step gets the variance of the rounding errors that may be in it, in float64. With
u half the distance from 1 to the next number, a sum of k products ``x_i w_i`` whose factors have
variances of their own has ::

    var(s) = sum_i (var(x_i) + k u^2 x_i^2) w_i^2 + k u^2 s^2

The first term is the errors of the factors, which are independent; the others are the roundings of
k partial sums, each as large as the terms together, or as the sum (probabilistic rounding analysis:
Higham, Mary 2019). Rows of a minibatch that are the same have the same errors, and no independent
ones: these add up as they are. What is not a sum of products is computed at both ends of its
argument's interval, eight standard deviations to each side: there a ReLU, or the sign of an error,
may turn over, and Adam make +rate of a gradient of -0. So nothing has to be known of an activation
or an optimiser.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from arraymlp.backends.array import Array, HostArray, array_namespace
from arraymlp.data.minibatches import Minibatch
from arraymlp.nn.layer import Gradients, Layer
from arraymlp.nn.linalg import matmul, repeat_groups
from arraymlp.nn.losses import BinaryCrossEntropy, Loss, Poisson, SoftmaxCrossEntropy, smoothed
from arraymlp.nn.network import LayerCache, Network
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.gradient import divisor, loss_and_delta, masks_for
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.update import States, arrays_of, penalty, penalty_factor, tree_map, updated

SIGMAS = 8.0  # of normal errors, one in 10^15 is beyond
ULPS = 8.0  # of an activation, its derivative, or an update
LOSS_ULPS = 64.0
ROOM = 1e3  # to the largest number: nearer to it, one order of adding overflows and another not
# The factors of products may be rounded to fewer bits; see `arraymlp.backends.precision`.
FACTOR_ROUNDING = {"float32": 0.0, "tf32": 2.0**-11, "bf16": 2.0**-8}

Host: TypeAlias = HostArray


class Bound(NamedTuple):
    """The interval in which an array of a step's results must be.

    Attributes:
        name: the array's, in words.
        value: the definition's result.
        low: the lower ends, of the array's shape.
        high: the upper ends.
    """

    name: str
    value: Host
    low: Host
    high: Host

    def misses(self, values: Host) -> Host:
        """Where the values are not within it, or are no numbers."""
        return ~((values >= self.low) & (values <= self.high))

    @property
    def is_finite(self) -> bool:
        """True where all of it are numbers."""
        return bool(np.isfinite(self.low.sum(dtype="float64") + self.high.sum(dtype="float64")))


class StepBounds(NamedTuple):
    """The bounds of all that a step gives.

    Attributes:
        parameters: for each layer those of weights and bias, then those of their states.
        sums: those of the `LossSums`.
        overflows: whether the step comes so near the largest number that overflow hangs on the
            order of the sums.
    """

    parameters: list[Bound]
    sums: list[Bound]
    overflows: bool


def named_arrays(network: Network, states: States) -> list[tuple[str, Array]]:
    """Parameters and states with their names, in the order of `StepBounds.parameters`."""
    named = []
    for i, (layer, of_layer) in enumerate(zip(network.layers, states, strict=True), 1):
        for what, array, state in zip(
            ("weights", "bias"), (layer.weights, layer.bias), of_layer, strict=True
        ):
            named.append((f"{what} of layer {i}", array))
            named += [(f"optimiser's state of {what} of layer {i}", a) for a in arrays_of(state)]
    return named


def step_bounds(
    network: Network,
    states: States,
    batch: Minibatch,
    hyper: Hyper,
    optimizer: Optimizer,
    reduction: str,
    precision: str,
) -> StepBounds:
    """The bounds of the step's results; all arguments are on NumPy, and none is changed.

    Args:
        network: before the step.
        states: the optimiser's, before the step.
        batch: the minibatch.
        hyper: the step's rates and constants.
        optimizer: one of the package's.
        reduction: "mean" or "sum".
        precision: of the products' factors.
    """
    xp = network.backend.xp
    caches = network.forward(batch.x, xp, masks_for(network)(network, batch, hyper))
    loss, delta = loss_and_delta(network, caches[-1].z, batch, hyper, reduction, xp)
    gradients = network.backward(caches, delta, xp)
    errors = _Errors(network, caches, batch, hyper, reduction, precision)
    far = errors.of_gradients(cast(Host, delta), gradients)
    if hyper.gradient_clip is not None:
        gradients, far = _clipped(gradients, far, hyper.gradient_clip, errors.u)
    moves = _moves(network, far, penalty_factor(batch, hyper, reduction), errors.u)
    dtype = network.layers[0].weights.dtype
    results = []
    for shift in (-1, 0, 1):
        shifted = [
            Gradients(*(cast(Host, a + shift * e).astype(dtype) for a, e in zip(g, m, strict=True)))
            for g, m in zip(gradients, moves, strict=True)
        ]
        after, before = network.copy(), tree_map(np.copy, states)
        how = batch, hyper._replace(gradient_clip=None), optimizer.update, reduction, xp
        states_after = updated(after, before, shifted, *how)
        results.append([cast(Host, a) for _, a in named_arrays(after, states_after)])
    ulps = (ULPS + 2 * batch.rows**0.5) * errors.u  # the update may be added within a product
    bounds = []
    for (name, old), one, value, other in zip(named_arrays(network, states), *results, strict=True):
        low, high = np.minimum(one, other), np.maximum(one, other)
        np.minimum(low, value, out=low)
        np.maximum(high, value, out=high)
        # Between both ends and the middle the update may bulge.
        slack = (high - low) / 4 + ulps * (abs(value) + abs(cast(Host, old))) + errors.tiny
        low -= slack
        high += slack
        bounds.append(Bound(name, value, low, high))
    sums = LossSums(loss, batch.total, penalty(network, hyper, xp))
    # Above 1e140 float64 has no squares with room for sums.
    overflows = errors.peak > min(float(np.finfo(network.dtype).max) / ROOM, 1e140)
    return StepBounds(bounds, _bounds_of_sums(sums, errors, network, batch), overflows)


class _Errors:
    """The rounding errors of forward and backward pass: variances of sums, ends of intervals.

    Attributes:
        u: half the distance from 1 to the next number.
        tiny: what may be lost where numbers are too small for full precision.
        peak: a bound on all partial sums.
        loss: of the summed loss, (...,).
    """

    def __init__(
        self,
        network: Network,
        caches: list[LayerCache],
        batch: Minibatch,
        hyper: Hyper,
        reduction: str,
        precision: str,
    ) -> None:
        self.network, self.caches, self.xp = network, caches, network.backend.xp
        limits = np.finfo(network.dtype)
        # Of numbers below 1e-154 float64 has no squares.
        self.u, self.tiny = float(limits.eps) / 2, max(16 * float(limits.smallest_normal), 1e-140)
        self.factors = FACTOR_ROUNDING[precision]
        self.peak = 0.0
        self.squares = [_square(layer.weights) for layer in network.layers]
        self.alike = _alike(cast(Host, caches[0].x))
        self.of_inputs: list[Host] = []  # each layer's, variances
        self.of_sums: list[Host] = []  # likewise, how far s may be off
        self._forward()
        self.of_delta, self.loss = self._of_loss(batch, hyper, reduction)

    def _of_product(self, a: Host, var_a: Host, squares: Host, product: Host, k: int) -> Host:
        """The variances of sums of k products of a with exact factors, given by their squares."""
        each = k * self.u**2
        terms = var_a + (each + 2 * self.factors**2) * _square(a)
        summed = cast(Host, matmul(terms, squares, self.xp))
        return summed + (each + self.factors**2) * _square(product)

    def _reach(self, k: int, a: Array, b: Array) -> None:
        most = [float(np.max(np.abs(cast(Host, x)), initial=0.0)) for x in (a, b)]
        self.peak = max(self.peak, k * most[0] * most[1], *most)

    def _forward(self) -> None:
        variance: Host | float = 0.0
        for layer, cache, squares in zip(
            self.network.layers, self.caches, self.squares, strict=True
        ):
            x, s, z = (cast(Host, a) for a in (cache.x, cache.s, cache.z))
            if cache.mask is not None:
                variance = variance * _square(cache.mask) + self.u**2 * _square(x)
            self.of_inputs.append(np.broadcast_to(variance, x.shape))
            self._reach(layer.n_in, x, layer.weights)
            of_s = self._of_product(x, self.of_inputs[-1], squares, s, layer.n_in)
            of_s = of_s + layer.n_in * self.u**2 * _square(layer.bias)
            # A sum of zeros alone is exact; a ReLU must not be thought to turn over there.
            filled = cast(Array, x.any(axis=-1, keepdims=True))
            if layer.weights.ndim > 2 and x.ndim > 2:
                filled = repeat_groups(filled, int(layer.weights.shape[0]), self.xp)
            exact = ~cast(Host, filled) & (cast(Host, layer.bias) == 0)
            far = SIGMAS * np.sqrt(of_s) + self.tiny * ~exact
            self.of_sums.append(far)
            moved = self._moved(layer, s, z, far)
            off = _max_of(abs(f - z) for f, _ in moved) / SIGMAS
            # By cancellation, as in 1 + tanh, the error can be of the size of s.
            off = off + ULPS / 2 * self.u * (abs(z) + np.minimum(abs(s), 10.0))
            variance = np.where(exact, 0.0, off) ** 2

    def _moved(self, layer: Layer, s: Host, z: Host, far: Host) -> list[tuple[Host, Any]]:
        """The values of f and f' at both ends of the interval of s."""
        ends = [(s + shift * far).astype(s.dtype) for shift in (-1.0, 1.0)]
        f = layer.activation
        values = [cast(Host, f.function(cast(Array, end), self.xp)) for end in ends]
        return [
            (value, f.derivative(cast(Array, end), cast(Array, value), self.xp))
            for end, value in zip(ends, values, strict=True)
        ]

    def of_gradients(self, delta: Host, gradients: Sequence[Gradients]) -> list[Gradients]:
        """How far each gradient may be off, of its shape."""
        network, u2, f2 = self.network, self.u**2, self.factors**2
        dz, var_dz = delta.astype("float64"), (self.of_delta / SIGMAS) ** 2
        far = []
        for i in reversed(range(len(network.layers))):
            layer, cache = network.layers[i], self.caches[i]
            x, s, z = (cast(Host, a) for a in (cache.x, cache.s, cache.z))
            f = cast(Array, layer.activation.derivative(cache.s, cache.z, self.xp))
            slope = np.broadcast_to(cast(Host, f), s.shape)
            ends = self._moved(layer, s, z, self.of_sums[i])
            off = _max_of(abs(end - slope) for _, end in ends)
            off = _together(off, slope) + ULPS * self.u * _cancelled(layer, s)
            ds = dz * slope
            var_ds = var_dz * _square(slope)
            var_ds = var_ds + (np.square(off / SIGMAS) + (ULPS * self.u * slope) ** 2) * dz**2
            var_ds = var_ds + self.tiny**2  # lost where a slope is next to nothing
            rows = int(x.shape[-2])
            self._reach(rows, cache.x, cast(Array, ds))
            x2, ds2 = _square(x), ds**2
            of_x, of_ds = self._summed(self.of_inputs[i]), self._summed(var_ds)
            # Both products in one: x's errors by ds, and x by the errors of ds.
            left = [of_x + (rows * u2 + 2 * f2) * x2, x2 + self.of_inputs[i]]
            right = np.concatenate([ds2, of_ds], axis=-2)
            both = np.concatenate(left, axis=-2).mT
            var_w = cast(Host, matmul(cast(Array, both), cast(Array, right), self.xp))
            g = gradients[i]
            each = rows * u2
            var_w = var_w + (each + f2) * _square(g.weights)
            var_b = (of_ds + each * ds2).sum(axis=-2, keepdims=True)
            var_b = var_b + each * _square(g.bias)
            far.append(
                Gradients(
                    *(cast(Array, SIGMAS * np.sqrt(var) + self.tiny) for var in (var_w, var_b))
                )
            )
            if i > 0:
                self._reach(layer.n_out, cast(Array, ds), layer.weights)
                dz = ds @ np.asarray(layer.weights, dtype="float64").mT
                var_dz = self._of_product(ds, var_ds, self.squares[i].mT, dz, layer.n_out)
                if cache.mask is not None:
                    mask = np.asarray(cache.mask, dtype="float64")
                    dz, var_dz = dz * mask, var_dz * mask**2
        return far[::-1]

    def _summed(self, variances: Host) -> Host:
        """The variances of rows (..., B, n) as they count in a sum over rows.

        Rows that are alike have the same errors, and m of these add up to m times one, not to the
        root of m: each counts m times.
        """
        alike = self.alike
        if alike.ndim > 2 and variances.ndim > 2 and len(alike) != len(variances):
            alike = cast(Host, repeat_groups(cast(Array, alike), len(variances), self.xp))
        return variances * alike

    def _of_loss(self, batch: Minibatch, hyper: Hyper, reduction: str) -> tuple[Host, Host]:
        """How far dL/ds (..., B, n) and the summed loss (...,) may be off."""
        network, xp, loss = self.network, self.xp, self.network.loss
        s, far = cast(Host, self.caches[-1].z), self.of_sums[-1]
        y = batch.y
        if hyper.label_smoothing is not None:
            n = network.layers[-1].n_out
            y = smoothed(y, n, hyper.label_smoothing, loss, xp, cast(Array, s).dtype)
        labels = xp.isdtype(y.dtype, "integral")
        size = np.abs(cast(Host, y)).max(axis=-1, keepdims=True) if not labels else 1.0
        # The difference of s and y is rounded by either's size.
        far = far + ULPS * self.u * (abs(s) + (0.0 if loss.classifies != "no" else size))
        value, delta = (cast(Host, a) for a in loss.value_and_delta(cast(Array, s), y, xp))
        if isinstance(loss, SoftmaxCrossEntropy):
            # dp_j = p_j (ds_j - sum_k p_k ds_k), of the largest ds of the row.
            p = cast(Host, loss.output(cast(Array, s), xp))
            most = far.max(axis=-1, keepdims=True)
            off = np.where(most < 0.5, 1.5 * p * (1 - p) * np.expm1(2 * most), 1.0)
        else:  # column by column, and monotone
            ends = ((s + shift * far).astype(s.dtype) for shift in (-1.0, 1.0))
            off = _max_of(
                abs(cast(Host, loss.value_and_delta(cast(Array, end), y, xp)[1]) - delta)
                for end in ends
            )
        off = _together(off, delta) + ULPS * self.u * (abs(delta) + 2 * size)
        weight = np.ones(1) if batch.weight is None else cast(Host, batch.weight)
        by_value = ((abs(delta) + off) * far).sum(axis=-1)
        by_value = by_value + LOSS_ULPS * self.u * (abs(value) + _terms(loss, s, cast(Host, y)))
        of_loss = (by_value * weight).sum(axis=-1) + self.tiny
        self.peak = max(self.peak, float(np.max(np.abs(value), initial=0.0)) * batch.rows)
        scale = weight[..., None] / np.asarray(divisor(batch, reduction))
        return off * scale, of_loss


def _alike(x: Host) -> Host:
    """How many rows of a minibatch (..., B, n) are the same as each: (..., B, 1)."""
    counts = np.empty((*x.shape[:-1], 1))
    for matrix in np.ndindex(x.shape[:-2]):
        rows = [row.tobytes() for row in x[matrix]]
        of_each = Counter(rows)
        counts[matrix] = [[of_each[row]] for row in rows]
    return counts


def _cancelled(layer: Layer, s: Host) -> Host | float:
    """The size of the terms whose sum is the slope, beside it: 1 - z^2 of a tanh may be off by u.

    A ReLU's 0 or 1 is not.
    """
    f = layer.activation
    at = cast(Array, np.array([-2.0, -1.0, 1.0, 2.0]))
    xp = array_namespace(at)
    slope = np.broadcast_to(cast(Host, f.derivative(at, f.function(at, xp), xp)), (4,))
    if slope[0] == slope[1] and slope[2] == slope[3]:
        return 0.0
    # (1 - t^2) of gelu's tanh is multiplied by a polynomial of third degree, until t is 1.
    return 1 + np.minimum(abs(s), 6.0) ** 3 / 8 if f.name == "gelu" else 1.0


def _together(off: Host, values: Host) -> Host:
    """What turns over, made so much larger that all of it may turn over together.

    Rows that stand in the data twice do; small errors are independent.
    """
    turned = off > 0.1 * (abs(values) + off)
    n = turned.sum(axis=(-2, -1), keepdims=True)
    return np.where(turned, off * np.sqrt(n), off)


def _terms(loss: Loss, s: Host, y: Host) -> Host | float:
    """The size of the terms of which a sample's loss is the sum, where it may be less, (..., B)."""
    if isinstance(loss, SoftmaxCrossEntropy):
        return 1.0
    if isinstance(loss, BinaryCrossEntropy):
        terms: Host = (1 + abs(s)).sum(axis=-1)
        return terms
    if isinstance(loss, Poisson):
        log_y = abs(np.log(np.maximum(y, np.finfo(s.dtype).smallest_normal)))
        by_column: Host = (y * (1 + log_y + abs(s)) + np.exp(np.minimum(s, 80.0))).sum(axis=-1)
        return by_column
    return 0.0


def _moves(network: Network, far: list[Gradients], factor: Any, u: float) -> list[Gradients]:
    """How far the gradients may be off with the penalty in them, in the network's dtype."""
    moves = []
    for layer, (of_weights, of_bias) in zip(network.layers, far, strict=True):
        if factor is not None:
            of_weights = of_weights + ULPS * u * factor * abs(cast(Host, layer.weights))
        dtype = layer.weights.dtype
        both = (cast(Host, a).astype(dtype) for a in (of_weights, of_bias))
        moves.append(Gradients(*both))
    return moves


def _clipped(
    gradients: list[Gradients], far: list[Gradients], most: Any, u: float
) -> tuple[list[Gradients], list[Gradients]]:
    """The gradients as the definition clips them, in float64, and how far they may be off then."""

    def norm(of: list[Gradients]) -> Host:
        flat = [np.asarray(a, dtype="float64") for both in of for a in both]
        squares = [np.square(a).sum(axis=(-2, -1), keepdims=True) for a in flat]
        root: Host = np.sqrt(sum(squares[1:], start=squares[0]))
        return root

    size = np.maximum(norm(gradients), np.finfo("float64").tiny)
    n = sum(int(np.prod(np.shape(a)[-2:])) for both in gradients for a in both)
    scale = np.minimum(1.0, np.asarray(most, dtype="float64") / size)
    off = norm(far) / size / SIGMAS + (ULPS + n**0.5) * u  # of the scale, relative
    clipped = [Gradients(*(cast(Array, scale * a) for a in g)) for g in gradients]
    beyond = []
    for both, far_of_both in zip(clipped, far, strict=True):
        pairs = zip(both, far_of_both, strict=True)
        beyond.append(
            Gradients(*(cast(Array, scale * e + off * abs(cast(Host, a))) for a, e in pairs))
        )
    return clipped, beyond


def _bounds_of_sums(
    sums: LossSums, errors: _Errors, network: Network, batch: Minibatch
) -> list[Bound]:
    """Those of the loss, of the weight and of the penalty."""
    added = ULPS + 4 * batch.rows**0.5, ULPS + 4 * network.n_parameters**0.5
    loss, weight, decay = (np.asarray(a, dtype="float64") for a in sums)
    slacks = (
        np.broadcast_to(errors.loss, loss.shape),
        added[0] * errors.u * weight + errors.tiny,
        added[1] * errors.u * decay + errors.tiny,
    )
    return [
        Bound(f"the sum of {name}", value, value - slack, value + slack)
        for name, value, slack in zip(
            ("losses", "weights of samples", "penalties"),
            (loss, weight, decay),
            slacks,
            strict=True,
        )
    ]


def _square(a: Array | Host) -> Host:
    """The squares in float64: in float32 a small number has none."""
    return cast(Host, np.square(cast(Host, a), dtype="float64"))


def _max_of(arrays: Any) -> Host:
    """The largest of arrays of one shape, entry by entry."""
    largest: Host = np.maximum.reduce(list(arrays))
    return largest
