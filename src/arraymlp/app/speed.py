"""How fast each backend trains a network here: for a small one the GPU may not be the fastest."""

from collections.abc import Iterator, Sequence
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
from arraymlp.steps.optimizers import Optimizer
from arraymlp.training.callbacks import Callback, EpochEnd
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.settings import Settings
from arraymlp.training.train_function import train

BROKEN_OFF = "interrupted"
TESTS_ONLY = "array_api_strict"
ELSEWHERE = {"torch": ("cuda", "mps"), "jax": ("cpu",)}  # where else than on its default device

FEWEST = 5  # minibatches an epoch
MOST = 5000
X_BYTES = 2**27  # what X may take beyond the fewest; more than the caches hold
EPOCH = 0.25  # seconds that an epoch is to take, which is long beside what an epoch's end costs
LEAST = 3  # epochs to time, unless they take too long
ENDLESS = 10**9  # epochs; the time ends them
RATE = 1e-6  # so small that the weights, and with them the work, stay as they are drawn


@dataclass(frozen=True)
class BackendSpeed:
    """How fast a backend trained; a figure is None where it did not get so far.

    Attributes:
        name: the backend's name.
        device: the device, "" where the backend is absent.
        call: the call of `train` that trains there, "" where none does.
        us_per_step: microseconds a step, the median over the epochs timed, in which the order of
            the rows and the transfer of the loss are included.
        samples_per_s: training rows a second, batch_size over the time of a step.
        first_epoch_s: seconds of the very first epoch, of five minibatches: compilation, and the
            first use of the device. It is in no other figure.
        epochs: how many were timed after it.
        reason: why there are no figures, or "interrupted", after which they are of fewer epochs.
        install: the command that installs the backend, where it is absent.
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


def backend_speeds(
    sizes: Sequence[int] = (784, 100, 100, 10),
    *,
    batch_size: int = 100,
    dtype: Literal["float32", "float64"] = "float32",
    optimizer: str | Optimizer = "momentum",
    seconds: float = 10.0,
) -> list[BackendSpeed]:
    """Train a network on made-up rows on every backend that works here, and say how fast.

    One trains after the other, with `train`. Two epochs of five minibatches tell how many make a
    quarter of a second; epochs of so many are timed, from their second on, as the history has them.
    PyTorch is timed on the CPU and on a GPU, JAX on its default device and on the CPU;
    array_api_strict, which is for tests, is not. Other work on the machine slows those most that
    use several cores. Ctrl-C ends it after the epoch in progress with what there is.

    Args:
        sizes: widths from inputs to outputs. Two outputs or more are classes (softmax
            cross-entropy), one is a regression (squared error); hidden layers are ReLUs.
        batch_size: rows a step.
        dtype: "float32" or "float64", which JAX has to be told to have.
        optimizer: as of `train`.
        seconds: for all together, compilation included, but not the libraries' import. Each has an
            equal share, and takes longer where compilation or four epochs of five minibatches do.

    Returns:
        A `BackendSpeed` for each backend and device: the fastest first, then those without figures,
        each with its reason. One that fails, for lack of memory or of the dtype, is among them.

    Raises:
        ValueError: an argument that cannot be, or a network too large for the host's memory.
    """
    require_numbers("seconds", seconds, POSITIVE)
    problem = _problem(sizes, batch_size, dtype, optimizer)
    with interruptible() as interrupt:
        places = list(_places())
        share = seconds / max(sum(backend is not None for _, backend in places), 1)
        found = [
            row if backend is None else _timed(row, backend, problem, share, interrupt)
            for row, backend in places
        ]
    return sorted(found, key=lambda row: inf if row.us_per_step is None else row.us_per_step)


@dataclass(frozen=True)
class _Problem:
    """What is trained, on the host."""

    X: HostArray
    y: HostArray
    network: MultilayerPerceptron
    batch_size: int
    optimizer: str | Optimizer

    def seconds(self, backend: Backend, steps: int, enough: Callback) -> list[float]:
        """Train on so many minibatches an epoch until it is enough: each epoch's seconds."""
        rows = steps * self.batch_size
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
        return list(run.history["seconds"])


def _problem(
    sizes: Sequence[int],
    batch_size: int,
    dtype: Literal["float32", "float64"],
    optimizer: str | Optimizer,
) -> _Problem:
    """The network, and rows for the longest epoch."""
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
    Settings(batch_size=batch_size, dtype=dtype, optimizer=optimizer)  # complains of them
    n_in, n_out = widths[0], widths[-1]
    fitting = X_BYTES // (batch_size * n_in * np.dtype(dtype).itemsize)
    rows = min(max(fitting, FEWEST), MOST) * batch_size
    loss = "softmax_cross_entropy" if n_out > 1 else "squared_error"
    rng = np.random.default_rng(0)
    try:
        X = rng.random((rows, n_in), dtype=np.dtype(dtype).type)
        y = rng.integers(0, n_out, rows) if n_out > 1 else rng.random(rows)
        network = MultilayerPerceptron.create(widths, loss=loss, dtype=dtype)
    except MemoryError as error:
        name = "-".join(map(str, widths))
        raise ValueError(f"{name} in minibatches of {batch_size} needs too much memory") from error
    return _Problem(X, y, network, batch_size, optimizer)


def _places() -> Iterator[tuple[BackendSpeed, Backend | None]]:
    """Every backend on every kind of device, and where it is not to be timed, None and why."""
    for status in available_backends():
        name = status.name
        row = BackendSpeed(name, status.device, reason=status.reason, install=status.install)
        if name == TESTS_ONLY:
            yield replace(row, reason="for tests, not timed", install=""), None
        elif not status.available:
            yield row, None
        else:
            here = resolve(name, fallback=False)
            yield replace(row, call=f'train(backend="{name}")'), here
            for device in ELSEWHERE.get(name, ()):
                try:
                    there = resolve(name, device, fallback=False)
                except BackendUnavailableError:
                    continue
                if there.device != here.device:
                    call = f'train(backend="{name}", device="{there.device_name}")'
                    yield BackendSpeed(name, there.device_name, call), there


def _timed(
    row: BackendSpeed, backend: Backend, problem: _Problem, share: float, interrupt: Interrupt
) -> BackendSpeed:
    """The row with its figures, or with the reason why there are none.

    Args:
        row: names backend and device.
        backend: where to train.
        problem: what.
        share: seconds to do it in.
        interrupt: Ctrl-C.
    """
    if interrupt.requested:
        return replace(row, reason=BROKEN_OFF)
    started = perf_counter()

    def tried(end: EpochEnd) -> bool:
        return end.number == 2 or interrupt.requested

    def enough(end: EpochEnd) -> bool:
        timed = end.history["seconds"][1:]
        over = perf_counter() - started >= share
        return interrupt.requested or (over and (len(timed) >= LEAST or sum(timed) >= share))

    try:
        first, *later = problem.seconds(backend, FEWEST, tried)
        row = replace(row, first_epoch_s=first)
        seconds: list[float] = []
        if not interrupt.requested:
            wanted = round(FEWEST * min(EPOCH, share / (LEAST + 1)) / later[0])
            steps = min(max(wanted, FEWEST), len(problem.y) // problem.batch_size)
            seconds = problem.seconds(backend, steps, enough)[1:]
    except Exception as error:  # a library fails in many classes; each is a reason, none a crash
        return replace(row, reason=error_text(error))
    if interrupt.requested:
        row = replace(row, reason=BROKEN_OFF)
    if not seconds:
        return row
    each = median(seconds) / steps
    return replace(
        row,
        us_per_step=1e6 * each,
        samples_per_s=problem.batch_size / each,
        epochs=len(seconds),
    )
