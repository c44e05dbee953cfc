"""How fast each backend trains a network here: a GPU may not be the fastest for a small one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from time import perf_counter
from typing import Literal

import numpy as np

from arraymlp._checks import POSITIVE, error_text, require_numbers, to_python
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt, interruptible
from arraymlp.backends.registry import BackendUnavailableError, available_backends, resolve
from arraymlp.steps.optimizers import Optimizer, get_optimizer
from arraymlp.training import schema
from arraymlp.training.callbacks import EpochEnd
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.settings import Settings
from arraymlp.training.train_function import train

INTERRUPTED_HERE = "interrupted"
TESTS_ONLY = "array_api_strict"
OTHER_DEVICES = {"torch": ("cuda", "mps"), "jax": ("cpu",)}  # besides the default device

FEWEST = 5  # minibatches an epoch
MOST = 5000
X_BYTES = 2**27  # of X, beyond the fewest minibatches; more than the caches hold
EPOCH_SECONDS = 0.25  # of an epoch: long beside the cost of an epoch's end
LEAST_EPOCHS = 3  # to time, unless they take too long
ENDLESS = 10**9  # epochs; a callback ends the training
RATE = 1e-6  # so small that the weights, and with them the work, stay as they are drawn


@dataclass(frozen=True)
class BackendSpeed:
    """How fast a backend trained on a device; a figure that was not measured is None.

    Attributes:
        name: the backend's name.
        device: the device, "" where the backend is absent.
        call: the call of `train` that trains there, "" where none does.
        us_per_step: microseconds per step of all networks, the median over the timed epochs;
            drawing the order of the rows and reading the loss are included.
        samples_per_s: training rows per second: batch_size, for each network, over the time of a
            step.
        first_epoch_s: seconds of the very first epoch, of five minibatches: compilation, and the
            first use of the device. No other figure includes it.
        epochs: how many were timed after it.
        reason: why there are no figures, or "interrupted"; then they are of fewer epochs.
        install: the command that installs the backend, where it is absent.
        way: how CuPy's engine trained whole epochs, where it has several ways; else "".
    """

    name: str
    device: str = ""
    call: str = ""
    us_per_step: float | None = None
    samples_per_s: float | None = None
    first_epoch_s: float | None = None
    epochs: int = 0
    reason: str = ""
    install: str = ""
    way: str = ""


def backend_speeds(
    sizes: Sequence[int] = (784, 100, 100, 10),
    *,
    batch_size: int = 100,
    dtype: Literal["float32", "float64"] = "float32",
    optimizer: str | Optimizer = "momentum",
    seconds: float = 10.0,
    members: int = 1,
) -> list[BackendSpeed]:
    """Time the training of a network, on random rows, with every backend that works here.

    The backends train one after another, with `train`. Two epochs of five minibatches show how many
    minibatches take a quarter of a second; epochs of so many are timed, from the second on, by
    ``seconds`` in the history. PyTorch is timed on the CPU and on a GPU, JAX on its default device
    and on the CPU, CuPy in each way of its engine that covers the network; array_api_strict, which
    is for tests, is not timed. Other work on the machine slows those most that use several cores.
    Ctrl-C or SIGTERM ends the timing; the figures of the epochs that are whole are returned.

    Args:
        sizes: widths from inputs to outputs. Two outputs or more are classes (softmax
            cross-entropy), one is a regression (squared error); hidden layers are ReLUs.
        batch_size: rows per step.
        dtype: "float32" or "float64"; JAX has the latter only where it was switched on.
        optimizer: a name, as for `train` but "auto", or an optimiser.
        seconds: for all together, compilation included, the import of libraries not. Each backend
            has an equal share, and takes longer if compilation or four epochs of five minibatches
            do.
        members: how many networks of these widths train together.

    Returns:
        A `BackendSpeed` for each backend and device, fastest first; last come those without
        figures, absent or failed (out of memory, no such dtype), with the reason.

    Raises:
        ValueError: an invalid argument, or a network too large for the host's memory.
    """
    require_numbers("seconds", seconds, POSITIVE)
    require_numbers("members", members, schema.POSITIVE)
    problem = _problem(sizes, batch_size, dtype, optimizer, members)
    with interruptible() as interrupt:
        devices = list(_devices(problem))
        share = seconds / max(sum(backend is not None for _, backend in devices), 1)
        rows = [
            row if backend is None else _timed(row, backend, problem, share, interrupt)
            for row, backend in devices
        ]
    return sorted(rows, key=lambda row: inf if row.us_per_step is None else row.us_per_step)


@dataclass(frozen=True)
class _Problem:
    """Data on the host, and the network to train on it."""

    X: HostArray
    y: HostArray
    network: MultilayerPerceptron
    batch_size: int
    optimizer: Optimizer

    def seconds(
        self, backend: Backend, way: str, steps: int, enough: Callable[[EpochEnd], bool]
    ) -> list[float]:
        """The seconds of each whole epoch of so many steps, until ``enough`` returns True.

        Raises:
            RuntimeError: a way of the engine's was left for the definition.
        """
        rows = steps * self.batch_size
        with _going(way):
            run = train(
                self.X[:rows],
                self.y[:rows],
                network=self.network,
                optimizer=self.optimizer,
                learning_rate=RATE,
                batch_size=self.batch_size,
                epochs=ENDLESS,
                backend=backend,
                callbacks=[enough],
            )
        if way and run.engine_reason:
            raise RuntimeError(run.engine_reason)
        whole = run.history[: len(run.history) - (run.partial_epoch.steps > 0)]
        return [record["seconds"] for record in whole]


def _problem(
    sizes: Sequence[int],
    batch_size: int,
    dtype: Literal["float32", "float64"],
    optimizer: str | Optimizer,
    members: int,
) -> _Problem:
    """The network, and rows for an epoch of MOST steps, or of as many as X_BYTES allow."""
    widths = to_python(sizes)
    if not (
        isinstance(widths, tuple)
        and len(widths) >= 2
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in widths)
    ):
        raise ValueError(
            "sizes must be two or more whole numbers from 1, the widths from inputs to outputs, "
            f"not {sizes!r}"
        )
    rule = get_optimizer(optimizer)
    Settings(batch_size=batch_size, dtype=dtype, optimizer=rule)  # raises the ValueErrors
    n_in, n_out = widths[0], widths[-1]
    steps = X_BYTES // (batch_size * n_in * np.dtype(dtype).itemsize)
    rows = min(max(steps, FEWEST), MOST) * batch_size
    loss = "softmax_cross_entropy" if n_out > 1 else "squared_error"
    rng = np.random.default_rng(0)
    try:
        X = rng.random((rows, n_in), dtype=np.dtype(dtype).type)
        y = rng.integers(0, n_out, rows) if n_out > 1 else rng.random(rows)
        seed = range(members) if members > 1 else 0
        network = MultilayerPerceptron.create(widths, loss=loss, seed=seed, dtype=dtype)
    except MemoryError as error:
        name = "-".join(map(str, widths))
        raise ValueError(f"{name} in minibatches of {batch_size} needs too much memory") from error
    return _Problem(X, y, network, batch_size, rule)


def _devices(problem: _Problem) -> Iterator[tuple[BackendSpeed, Backend | None]]:
    """Each backend on each device to time; None, and a row with the reason, for one that is not."""
    for status in available_backends():
        name = status.name
        row = BackendSpeed(name, status.device, reason=status.reason, install=status.install)
        if name == TESTS_ONLY:
            yield replace(row, reason="for tests, not timed", install=""), None
        elif not status.available:
            yield row, None
        else:
            default = resolve(name, fallback=False)
            for way in _ways(default, problem):
                yield replace(row, call=f'train(backend="{name}")', way=way), default
            for device in OTHER_DEVICES.get(name, ()):
                try:
                    other = resolve(name, device, fallback=False)
                except BackendUnavailableError:
                    continue
                if other.device != default.device:
                    call = f'train(backend="{name}", device="{other.device_name}")'
                    yield BackendSpeed(name, other.device_name, call), other


def _ways(backend: Backend, problem: _Problem) -> Sequence[str]:
    """The ways of the backend's engine to train it; one without a name if there are no others."""
    if backend.name != "cupy":
        return ("",)
    try:
        from arraymlp.engines.cuda.engine import ways
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("arraymlp.engines"):
            raise
        return ("",)
    every = ways(backend).covering(problem.network, problem.optimizer, problem.batch_size)
    return every or ("",)


def _going(way: str) -> AbstractContextManager[None]:
    """Have whole epochs go this way."""
    if not way:
        return nullcontext()
    from arraymlp.engines.cuda.ways import wanted

    return wanted(way)


def _timed(
    row: BackendSpeed, backend: Backend, problem: _Problem, share: float, interrupt: Interrupt
) -> BackendSpeed:
    """The row with its figures, or with the reason why there are none.

    Args:
        row: of backend and device, without figures.
        backend: to train on.
        problem: to train.
        share: seconds for everything here.
        interrupt: Ctrl-C or SIGTERM.
    """
    if interrupt.requested:
        return replace(row, reason=INTERRUPTED_HERE)
    started = perf_counter()

    def two_epochs(end: EpochEnd) -> bool:
        return end.number == 2 or interrupt.requested

    def time_is_over(end: EpochEnd) -> bool:
        timed = end.history["seconds"][1:]
        over = perf_counter() - started >= share
        return interrupt.requested or (over and (len(timed) >= LEAST_EPOCHS or sum(timed) >= share))

    try:
        begun = problem.seconds(backend, row.way, FEWEST, two_epochs)
        row = replace(row, first_epoch_s=begun[0] if begun else None)
        seconds: list[float] = []
        if len(begun) == 2 and not interrupt.requested:
            steps = round(FEWEST * min(EPOCH_SECONDS, share / (LEAST_EPOCHS + 1)) / begun[1])
            steps = min(max(steps, FEWEST), len(problem.y) // problem.batch_size)
            seconds = problem.seconds(backend, row.way, steps, time_is_over)[1:]
    except Exception as error:  # libraries raise many classes; each is a reason, none a crash
        return replace(row, reason=error_text(error))
    if interrupt.requested:
        row = replace(row, reason=INTERRUPTED_HERE)
    if not seconds:
        return row
    seconds_per_step = median(seconds) / steps
    return replace(
        row,
        us_per_step=1e6 * seconds_per_step,
        samples_per_s=problem.batch_size * (problem.network.members or 1) / seconds_per_step,
        epochs=len(seconds),
    )
