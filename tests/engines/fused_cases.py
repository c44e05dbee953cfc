"""Networks to train by the fused kernels and by the array code, and the places to run the kernels.

Without a GPU the kernels run in two ways: their source, compiled for the host (`cuda_on_host`), and
their algorithm in NumPy (`fused_in_numpy`), which runs everywhere.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest

from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.data.minibatches import minibatches
from arraymlp.engines.cuda.clusters import Clusters
from arraymlp.engines.cuda.epochs import FusedEpochs
from arraymlp.engines.cuda.fused import Way
from arraymlp.engines.cuda.persistent import Persistent
from arraymlp.engines.cuda.source import Launches
from arraymlp.engines.cuda.three_kernels import ThreeKernels
from arraymlp.steps.epoch import EpochRows, LossSums
from arraymlp.steps.hyper import HyperTable, hyper_table
from arraymlp.steps.optimizers import Optimizer, get_optimizer
from arraymlp.steps.step import array_step
from arraymlp.steps.update import initial_states
from arraymlp.training.settings import Settings
from conftest import _require
from cuda_on_host import MOST_SHARED, HostKernels, unavailable
from fused_in_numpy import NumpyKernels

HostArray = np.ndarray[Any, Any]
ON_HOST = ["source", "numpy"]
ON_GPU = ["cupy", "cupy-clusters"]


class Kernels(NamedTuple):
    """A place to run the kernels: arrays' backend, device, what records a graph, and way."""

    backend: Backend
    device: Callable[[], Any]
    record: Callable[[Callable[[], None]], Callable[[], None]]
    way: Way | None = None  # by three kernels


class OneWay(NamedTuple):
    """The only way there is, and its device: see `arraymlp.engines.cuda.epochs.Chooses`."""

    way: Way
    device: Launches

    def usual(self) -> tuple[Way, Launches]:
        return self

    def chosen(self, network: Any, optimizer: Any, batch: int) -> tuple[Way, Launches]:
        assert not self.way.reason(network, optimizer, batch, self.device)
        return self


class Limited:
    """A device that says that it has so many multiprocessors and bytes of shared memory a block."""

    def __init__(self, device: Any, processors: int, shared_memory: int) -> None:
        self._device, self.processors, self.shared_memory = device, processors, shared_memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def limited(kernels: Kernels, processors: int = 132, shared_memory: int = MOST_SHARED) -> Kernels:
    """The kernels, in steps that are cut into blocks for a device with other limits."""
    return kernels._replace(device=lambda: Limited(kernels.device(), processors, shared_memory))


def at_once(work: Callable[[], None]) -> Callable[[], None]:
    """A graph on the host: the launches again, each time."""
    return work


def kernels_of(name: str) -> Kernels:
    """By their "source" on the host, by their algorithm in "numpy", or as they are, on "cupy".

    These are three kernels a step; "clusters" and "persistent" are the other ways, on the host or,
    as "cupy-clusters", on a GPU.
    """
    if name == "numpy":
        return Kernels(resolve("numpy"), NumpyKernels, at_once)
    way = {"clusters": Clusters(), "persistent": Persistent()}.get(name.rpartition("-")[2])
    file = "fused.cu" if way is None else way.file
    if name.startswith("cupy"):
        backend = _require("cupy")
        cuda = import_module("arraymlp.engines.cuda.device")
        device = partial(cuda.kernels, file, backend.device.id)
        return Kernels(backend, device, cuda.recorded, way)
    if unavailable():
        pytest.skip(unavailable())
    return Kernels(resolve("numpy"), partial(HostKernels, file), at_once, way)


def fused_step(
    network: MultilayerPerceptron,
    rule: Optimizer,
    reduction: str,
    kernels: Kernels,
    device: Launches | None = None,
) -> FusedEpochs:
    """A step as `arraymlp.engines.cuda.engine` makes it, but for the single steps."""
    step = array_step(network, rule, reduction)
    device = kernels.device() if device is None else device
    way = kernels.way or ThreeKernels(kernels.record)
    return FusedEpochs(step, network, rule, reduction, OneWay(way, device))


class Case:
    """Data, a network and settings to train an epoch with, drawn from a seed."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (9, 7, 5, 4),
        members: int | None = None,
        loss: str = "softmax_cross_entropy",
        activation: Any = "gelu",
        rows: int = 23,
        batch: int = 10,
        weighted: str = "",
        one_hot: bool = False,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        seeds = 0 if members is None else tuple(range(members))
        self.settings = Settings(
            batch_size=batch, seed=seeds, **{"learning_rate": 0.05, **settings}
        )
        self.rule = get_optimizer(self.settings.optimizer)
        network = MultilayerPerceptron.create(sizes, activation=activation, loss=loss, seed=seeds)
        for layer in network.layers:
            layer.bias += rng.normal(0, 0.1, layer.bias.shape).astype("float32")
        self.networks = {dtype: in_dtype(network, dtype) for dtype in ("float32", "float64")}
        n = sizes[-1]
        self.x = rng.normal(size=(rows, sizes[0])).astype("float32")
        if "softmax" in loss and not one_hot:
            self.y = rng.integers(0, n, rows).astype("int32")
        elif "softmax" in loss:
            self.y = rng.dirichlet(np.ones(n), rows).astype("float32")
        elif "binary" in loss:
            self.y = rng.integers(0, 2, (rows, n)).astype("float32")
        else:
            self.y = rng.normal(size=(rows, n)).astype("float32")
        self.weight: HostArray | None = None
        if weighted:
            shape = (rows,) if weighted == "shared" else (rows, members or 1)
            self.weight = rng.uniform(0, 2, shape).astype("float32")
            self.weight[rng.permutation(rows)[: rows // 3]] = 0.0
        self.order = rng.permutation(rows).astype("int32")
        self.steps = -(-rows // batch)

    def table(self, network: MultilayerPerceptron, epoch: int = 0) -> HyperTable:
        """The constants of an epoch's steps."""
        rates = np.atleast_1d(np.asarray(self.settings.learning_rate, dtype=float))
        fall = np.linspace(1, 0.7, self.steps)[:, None]
        return hyper_table(self.settings, network, rates * fall, epoch * self.steps, epoch)

    def by_array(self, dtype: str, epochs: int = 1) -> tuple[MultilayerPerceptron, LossSums]:
        """The network after these epochs by the array code, and the last one's sums."""
        network = self.networks[dtype].copy()
        step = array_step(network, self.rule, self.settings.reduction)
        states = initial_states(network, self.rule)
        x = self.x.astype(dtype)
        y = self.y if self.y.dtype.kind == "i" else self.y.astype(dtype)
        weight = None if self.weight is None else self.weight.astype(dtype)
        sums = LossSums()
        for epoch in range(epochs):
            sums = LossSums()
            size, backend = self.settings.batch_size, network.backend
            batches = minibatches(x, y, size, backend=backend, weight=weight, order=self.order)
            for batch, hyper in zip(batches, self.table(network, epoch), strict=True):
                states, of_step = step(network, states, batch, hyper)
                sums = sums.plus(of_step)
        return network, sums

    def rows(
        self, first: int = 0, stop: int | None = None, backend: Backend | None = None
    ) -> EpochRows:
        """All of them, or those from first to stop - 1 in the order."""
        size, n = self.settings.batch_size, len(self.x)
        arrays = [self.x, self.y, self.weight, self.order]
        if backend is not None:
            arrays = [None if a is None else backend.asarray(a) for a in arrays]
        return EpochRows(*arrays, size, first, stop or n)

    def by_fused(self, kernels: Kernels, epochs: int = 1) -> tuple[MultilayerPerceptron, LossSums]:
        """The same by the fused kernels."""
        backend = kernels.backend
        with backend.active():
            network = self.networks["float32"].to(backend)
            states = initial_states(network, self.rule)
            step = fused_step(network, self.rule, self.settings.reduction, kernels)
            rows, sums = self.rows(backend=backend), LossSums()
            for epoch in range(epochs):
                table = self.table(network, epoch)
                done = step.epoch(network, states, rows, table, lambda: False)
                assert done is not None
                steps, sums = done
                assert steps == self.steps
            figures = [a if isinstance(a, int | float) else backend.to_numpy(a) for a in sums]
        return network.to("numpy"), LossSums(*figures)


def in_dtype(network: MultilayerPerceptron, dtype: str) -> MultilayerPerceptron:
    """The network with its parameters in a dtype."""
    layers = [
        a.with_parameters(a.weights.astype(dtype), a.bias.astype(dtype)) for a in network.layers
    ]
    return MultilayerPerceptron(layers, network.loss, network.classes)


def parameters(network: MultilayerPerceptron) -> list[Any]:
    return [a for layer in network.layers for a in (layer.weights, layer.bias)]


def assert_as_good_as_array(case: Case, kernels: Kernels, epochs: int = 1) -> None:
    """The fused result is as near the one in float64 as the array code's in float32 is.

    Within a factor, and a few units in the last place where that one happens to be nearer still.
    """
    exact, exact_sums = case.by_array("float64", epochs)
    plain, plain_sums = case.by_array("float32", epochs)
    fused, sums = case.by_fused(kernels, epochs)
    largest = max(np.abs(a).max() for a in parameters(exact))
    of_parameters = zip(parameters(exact), parameters(plain), parameters(fused), strict=True)
    compared = [(*three, largest) for three in of_parameters]
    of_sums = zip(exact_sums, plain_sums, sums, strict=True)
    compared += [(*three, np.abs(three[0]).max()) for three in of_sums]
    for right, near, ours, size in compared:
        assert np.shape(ours) == np.shape(near)
        assert np.abs(ours - right).max() <= 4 * np.abs(near - right).max() + 3e-6 * size
