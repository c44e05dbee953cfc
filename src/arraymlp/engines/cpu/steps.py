"""Steps, and epochs of them, by the compiled engine (``engine.cpp``)."""

from collections.abc import Callable, Sequence
from copy import copy
from time import perf_counter
from typing import Any, cast

import numpy as np

from arraymlp._checks import as_floats
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.threads import cores, in_threads
from arraymlp.data.minibatches import Minibatch
from arraymlp.data.row_plans import MemberRows
from arraymlp.engines.cpu.library import Native
from arraymlp.engines.cpu.native import (
    CONTROL,
    COUNT_BYTES,
    JOB,
    LAYER,
    MOST_LAYERS,
    PLAN,
    TRAIN,
    Struct,
    aligned,
    with_whole_rows,
)
from arraymlp.engines.numbers import (
    ACTIVATION_NUMBERS,
    kernel_constants,
    loss_name,
    rule_number,
)
from arraymlp.nn.losses import Huber, Loss, Quantile
from arraymlp.nn.network import Network
from arraymlp.steps.epoch import NO_SUMS, EpochRows, LossSums
from arraymlp.steps.hyper import Hyper, HyperTable
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import EpochStep, array_step, averaging
from arraymlp.steps.update import States, arrays_of, tree_map

SOFTMAX, BINARY, SQUARED, ABSOLUTE, POISSON, HUBER, QUANTILE = range(7)  # as in job.h
LOSS_NUMBERS = {
    "softmax_cross_entropy": (SOFTMAX, False),
    "capped_softmax_cross_entropy": (SOFTMAX, True),
    "binary_cross_entropy": (BINARY, False),
    "capped_binary_cross_entropy": (BINARY, True),
    "squared_error": (SQUARED, False),
    "absolute_error": (ABSOLUTE, False),
    "poisson": (POISSON, False),
    "huber": (HUBER, False),
    "quantile": (QUANTILE, False),
}
MOST_THREADS = 255  # that share a step; see train_together in engine.cpp
SLICE = 0.05  # seconds of steps in one call, between which Ctrl-C is looked for
# Multiply-adds of a step from which a second thread may be worth its while; it tries that itself.
WORTH_A_THREAD = 100_000
FIRST_GUESS = 1e10  # multiply-adds a second


def uncovered(network: Network, optimizer: Optimizer | None) -> str:
    """Return the reason why the engine does not train this network, or ""."""
    if len(network.layers) > MOST_LAYERS:
        return f"the engine has room for {MOST_LAYERS} layers, not for {len(network.layers)}"
    if optimizer is not None and rule_number(optimizer) is None:
        return f"the engine has no {type(optimizer).__name__}"
    for layer in network.layers:
        if layer.activation not in ACTIVATION_NUMBERS:
            return f"the engine has no activation {layer.activation.name!r}"
    if loss_name(network.loss) not in LOSS_NUMBERS:
        return f"the engine has no loss {network.loss.name!r}"
    return ""


class NativeSteps(EpochStep):
    """Steps by the compiled engine, one or many at a time.

    Args:
        network: the network that will be trained.
        optimizer: the update rule.
        reduction: "mean" or "sum".
        native: the library.
    """

    averages = row_plans = streams = True

    def __init__(
        self, network: Network, optimizer: Optimizer, reduction: str, native: Native
    ) -> None:
        self._native, self._optimizer, self._reduction = native, optimizer, reduction
        self._definition = array_step(network, optimizer, reduction)
        self._average: Network | None = None
        self._scratch: HostArray = np.empty(0, np.uint8)
        self._control = Struct(CONTROL)
        self._per_second = FIRST_GUESS
        self._dtype = np.dtype(network.dtype)

    def averaging(self, average: Network) -> "NativeSteps":
        """The same steps, which also update a network of the weights' averages."""
        steps = copy(self)
        steps._average, steps._control = average, Struct(CONTROL)
        return steps

    def __call__(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        """Do one step."""
        if batch.x.ndim > 2:  # members on rows of their own
            return self._by_definition(network, states, batch, hyper)
        weight = batch.weight
        if weight is not None and weight.ndim == 2:
            weight = weight.mT
        rows = EpochRows(batch.x, batch.y, weight, None, batch.rows, 0, batch.rows)
        table = HyperTable(1, tree_map(_of_table, hyper), network.backend, network.dtype)
        _, sums = self.epoch(network, states, rows, table, lambda: False, LossSums())
        return states, sums

    def _by_definition(
        self, network: Network, states: States, batch: Minibatch, hyper: Hyper
    ) -> tuple[States, LossSums]:
        step = self._definition
        step = step if self._average is None else averaging(step, self._average)
        return step(network, states, batch, hyper)

    def epoch(
        self,
        network: Network,
        states: States,
        rows: EpochRows,
        table: HyperTable,
        interrupted: Callable[[], bool],
        sums: LossSums = NO_SUMS,
    ) -> tuple[int, LossSums]:
        """Do the steps over all these rows; see `EpochStep`."""
        job = Struct(JOB)
        parameters = _Parameters()
        k = network.members or 1
        job.set(
            bytes=self._dtype.itemsize,
            n_layers=len(network.layers),
            members=k,
            layers=self._layers(network, states, table, parameters),
            batch=rows.batch_size,
            steps=table.steps,
            mean=self._reduction == "mean",
            rule=rule_number(self._optimizer),
            clips=table.hyper.gradient_clip is not None,
        )
        self._set_rows(job, rows, k)
        self._set_loss(job, network.loss)
        self._set_table(job, table, len(network.layers))
        # In float64, one after the other, so that they are the same in whatever parts they come.
        added: list[Any] = [np.array(np.broadcast_to(np.asarray(v, float), (k,))) for v in sums]
        job.set(loss_sum=added[0], weight_sum=added[1], penalty_sum=added[2])
        done = self._run(job, network, rows, interrupted)
        parameters.give_back()
        if network.members is None:
            added = [v[0] for v in added]
        elif rows.plans is None and (rows.weight is None or rows.weight.ndim == 1):
            added[1] = added[1][0]
        return done, LossSums(*added)

    def _layers(
        self, network: Network, states: States, table: HyperTable, parameters: "_Parameters"
    ) -> Struct:
        layers = Struct(LAYER, len(network.layers))
        dropout = table.hyper.dropout
        averages = self._average.layers if self._average is not None else None
        for i, (layer, (of_weights, of_bias)) in enumerate(
            zip(network.layers, states, strict=True)
        ):
            arrays: dict[str, Array] = {"weights": layer.weights, "bias": layer.bias}
            for name, state in (("weights", of_weights), ("bias", of_bias)):
                for number, array in enumerate(arrays_of(state), 1):
                    arrays[f"{name}_{number}"] = array
            if averages is not None and table.hyper.average_rate is not None:
                arrays["average_weights"] = averages[i].weights
                arrays["average_bias"] = averages[i].bias
            layers.set(
                i,
                **{name: parameters.whole(array) for name, array in arrays.items()},
                n_in=layer.n_in,
                n_out=layer.n_out,
                activation=ACTIVATION_NUMBERS[layer.activation],
                dropped=dropout is not None and dropout[i] is not None,
            )
        return layers

    def _set_rows(self, job: Struct, rows: EpochRows, members: int) -> None:
        x, y = with_whole_rows(cast(HostArray, rows.x), self._dtype), cast(HostArray, rows.y)
        job.set(x=x, x_step=x.strides[0] // x.itemsize)
        if y.ndim == 1:
            job.set(labels=np.ascontiguousarray(y, np.int32), n_targets=1)
        else:
            job.set(targets=np.ascontiguousarray(y, self._dtype), n_targets=y.shape[1])
        if rows.weight is not None:
            weight = np.ascontiguousarray(rows.weight, self._dtype)
            job.set(weight=weight, weights_of=1 if weight.ndim == 1 else members)
        plans: Sequence[MemberRows]
        if rows.plans is None:
            plans = [MemberRows(rows.order, rows.first, rows.stop, members)]
        else:
            plans = rows.plans
        struct = Struct(PLAN, len(plans))
        for g, plan in enumerate(plans):
            order = None if plan.order is None else np.ascontiguousarray(plan.order, np.int32)
            struct.set(g, order=order, first=plan.first, n=plan.stop)
            for name, scaling in (("x", plan.inputs), ("y", plan.outputs)):
                if scaling is not None:
                    mean, factor = (
                        np.asarray(v, self._dtype) for v in (scaling.mean, 1 / scaling.scale)
                    )
                    struct.set(g, **{f"{name}_mean": mean, f"{name}_factor": factor})
        plan_of = np.repeat(np.arange(len(plans)), [plan.members for plan in plans])
        job.set(plans=struct, n_plans=len(plans), plan_of=plan_of.astype(np.int64))

    def _set_loss(self, job: Struct, loss: Loss) -> None:
        kind, capped = LOSS_NUMBERS[loss.name]
        constants = np.zeros((1, 1))
        if isinstance(loss, Huber):
            constants = np.asarray(as_floats(loss.threshold)).reshape(-1, 1)
        elif isinstance(loss, Quantile):
            constants = np.atleast_2d(np.asarray(loss.levels, dtype=float))
        job.set(
            loss=kind,
            capped=capped,
            loss_constants=np.ascontiguousarray(constants),
            loss_members=constants.shape[0],
            loss_width=constants.shape[1],
        )

    def _set_table(self, job: Struct, table: HyperTable, layers: int) -> None:
        of, hyper = table.members, table.hyper
        limits = np.finfo(self._dtype)
        columns = [
            *kernel_constants(hyper),
            0.0 if hyper.average_rate is None else hyper.average_rate,
            limits.max if hyper.gradient_clip is None else hyper.gradient_clip,
        ]
        # Rounded as a single step's are, so that steps have the same bits alone and together.
        constants = np.empty((table.steps, of, len(columns)))
        for i, value in enumerate(columns):
            constants[:, :, i] = np.asarray(value, self._dtype)
        job.set(constants=constants, constants_of=of)
        if hyper.dropout is None:
            return
        keys = np.zeros((table.steps, of, layers), np.int32)
        thresholds, scales = np.zeros((of, layers), np.int32), np.ones((of, layers))
        for i, dropout in enumerate(hyper.dropout):
            if dropout is not None:
                keys[:, :, i] = dropout.key
                thresholds[:, i] = dropout.threshold
                scales[:, i] = dropout.scale
        job.set(keys=keys, thresholds=thresholds, drop_scales=scales)

    def _run(
        self, job: Struct, network: Network, rows: EpochRows, interrupted: Callable[[], bool]
    ) -> int:
        """Do all steps, some at a time; the number that was done."""
        k, (steps,) = network.members or 1, job.values["steps"]
        a_step = 3 * network.n_parameters * rows.batch_size * k  # multiply-adds
        threads = cores() if a_step > WORTH_A_THREAD else 1
        together = k < threads or (k % threads and k < 2 * threads)
        most = min(MOST_THREADS, max(1, rows.batch_size // 8)) if together else k
        threads = min(threads, most)
        job.set(command=COUNT_BYTES)
        size = self._native.run(job.address)
        needed = (1 if together else threads) * size
        if self._scratch.size < needed + 64:
            self._scratch = np.empty(needed + 64, np.uint8)
        job.set(
            command=TRAIN,
            threads=threads,
            together=together,
            scratch=aligned(self._scratch),
            scratch_bytes=size,
            control=self._control,
        )
        done = 0
        while done < steps and not interrupted():
            some = max(1, min(int(steps) - done, int(SLICE * self._per_second / a_step)))
            self._control.values["met"] = 0
            job.values["from"], job.values["to"] = done, done + some
            started = perf_counter()
            in_threads(lambda _: self._native.run(job.address), range(threads))
            self._per_second = some * a_step / max(perf_counter() - started, 1e-6)
            done += some
        return done


class _Parameters:
    """Arrays that the engine writes: the caller's own, or copies of those not in C order."""

    def __init__(self) -> None:
        self._copies: list[tuple[HostArray, HostArray]] = []

    def whole(self, array: Array) -> HostArray:
        """The array, or a copy in C order."""
        host = cast(HostArray, array)
        if host.flags.c_contiguous and host.flags.aligned and host.flags.writeable:
            return host
        ours = np.array(host, order="C")
        self._copies.append((host, ours))
        return ours

    def give_back(self) -> None:
        """Copy the copies back."""
        for theirs, ours in self._copies:
            theirs[...] = ours


def _of_table(value: Any) -> Any:
    """A step's number, or (K, 1, 1), as a table's: (1, 1) or (1, K)."""
    return np.asarray(value).reshape(1, -1)
