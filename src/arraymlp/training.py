"""train(): the one training loop, and the `Run` it returns."""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np

from arraymlp.activations import Activation
from arraymlp.backend import Array, Backend, is_device_array, resolve
from arraymlp.batching import epoch_order, minibatches, split
from arraymlp.datasets import load_mnist
from arraymlp.diagnosis import Finding, diagnose
from arraymlp.evaluation import evaluate
from arraymlp.history import History, Record
from arraymlp.initializers import Initializer
from arraymlp.inputs import Targets, features, targets
from arraymlp.interrupt import Interrupt, interruptible
from arraymlp.losses import Loss
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Optimizer
from arraymlp.optimizers import optimizer as find_optimizer
from arraymlp.probes import Measurement, Probes, shut_units
from arraymlp.progress import Progress, progress_for
from arraymlp.settings import Settings
from arraymlp.settings import preset as find_preset
from arraymlp.step import Hyper, State, Step, choose_step, initial_state
from arraymlp.threads import blas_threads

log = logging.getLogger("arraymlp")


@dataclass(frozen=True)
class Data:
    """Training and validation data on the device."""

    X: Array
    y: Targets
    X_val: Array | None = None
    y_val: Targets | None = None


@dataclass
class Run:
    """What `train` returns; ``network, history = run`` unpacks it.

    Attributes:
        network: the trained network, on the backend that trained it.
        history: a record for each epoch.
        backend: where it was trained.
        settings: what it was trained with, every default filled in.
        state: the optimiser's state, with which ``train(network=run)`` goes on.
        findings: what the diagnosis found (see `diagnose`).
        measurements: what the probes measured, where they were on.
        shut_units: with probes, for each hidden layer how many units no training row opens.
        interrupted: True where Ctrl-C ended the run early.
        data: the data it was trained on, which going on uses again.
    """

    network: MultilayerPerceptron
    history: History
    backend: Backend
    settings: Settings
    state: State
    data: Data = field(repr=False)
    findings: list[Finding] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list, repr=False)
    shut_units: list[Any] = field(default_factory=list)
    interrupted: bool = False

    def __iter__(self) -> Any:
        return iter((self.network, self.history))

    @property
    def device(self) -> Any:
        """The device it was trained on."""
        return self.backend.device

    def __repr__(self) -> str:
        interrupted = " (interrupted)" if self.interrupted else ""
        return f"<Run{interrupted} of {self.network!r}, {self.history!r}>"


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite. ``run`` holds the network and history as they are."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


@dataclass(frozen=True)
class EpochEnd:
    """What a callback is told after each epoch.

    Attributes:
        record: the epoch's record, as it stands in the history.
        epochs: how many epochs this call of `train` is to make; ``number`` of them are done.
        network: as it is now. A callback must not change it.
        history: all epochs so far, those of a continued run included.
    """

    record: Record
    number: int
    epochs: int
    network: MultilayerPerceptron
    history: History


Callback: TypeAlias = Callable[[EpochEnd], bool | None]


def train(
    X: Any = None,
    y: Any = None,
    *,
    hidden: Sequence[int] | None = None,
    activation: str | Activation | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | Sequence[float] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    validation: float | tuple[Any, Any] | None = None,
    initializer: str | Initializer | None = None,
    reduction: Literal["mean", "sum"] | None = None,
    shuffle: bool | None = None,
    drop_last: bool | None = None,
    seed: int | Sequence[int] | None = None,
    order_seed: int | None = None,
    dtype: Literal["float32", "float64"] | None = None,
    training_error: bool | None = None,
    probes: bool | None = None,
    preset: str = "default",
    network: MultilayerPerceptron | Run | None = None,
    backend: str = "auto",
    device: Any = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | Progress | None = None,
) -> Run:
    """Train a multilayer perceptron; with no data, on the bundled MNIST digits.

    A setting that is None has the preset's value, or, with ``network=run``, that run's. The values
    given below are those of the default preset.

    Args:
        X: (n_samples, n_features) numbers, on the host or on a device. Never written.
        y: (n_samples,) integer labels, (n_samples, n_columns) integers 0 and 1 for multi-label, or
            floating-point numbers, 1-D or 2-D, for regression.
        hidden: widths of the hidden layers, (100, 100); () for none.
        activation: of the hidden layers, "relu"; see `arraymlp.activations.activation`.
        loss: "auto" chooses by y's dtype and shape (see `arraymlp.inputs.targets`) and logs it.
        optimizer: "momentum" (SGD with momentum 0.9), "sgd", "nesterov", or an `SGD`.
        learning_rate: 0.05; for a population also K values, one a member.
        epochs: passes over the training data in this call, 20.
        batch_size: rows a step, 100.
        validation: None; a fraction of the rows to hold out; or (X, y), evaluated every epoch. The
            bundled MNIST comes with its test set as (X, y). Nothing is chosen by it.
        initializer: "auto", He for relu and its relatives, Glorot otherwise.
        reduction: "mean": the gradient is the minibatch's mean; "sum": its sum.
        shuffle: True: a new order of the rows each epoch.
        drop_last: False; True leaves out the rows that do not fill the last minibatch.
        seed: 0, of the initial weights. K seeds train a population of K networks at once.
        order_seed: 0, of minibatch orders and of the split of a validation fraction.
        dtype: "float32"; X is converted to it.
        training_error: False; True evaluates all training rows after each epoch.
        probes: False; True measures the insides of the layers for the diagnosis.
        preset: "default", or "lab" for the settings of the published lab.
        network: a network to go on training (it is copied, the optimiser starts afresh), or a
            `Run` to go on with exactly where it stopped, on its own data unless X and y are given.
        backend: "auto", "numpy", "cupy", "torch", "jax"; see `arraymlp.resolve`.
        device: the backend's device; None for its default.
        callbacks: each is called with an `EpochEnd` after each epoch; True as an answer stops.
        progress: True shows a progress bar, or a line an epoch where the output is no terminal.

    Returns:
        A `Run`: network, history, and what else there is to know.

    Raises:
        ValueError: data or a setting that cannot be trained with; the message says which and why.
        NonFiniteLossError: the loss of every member became NaN or infinite.
        BackendUnavailableError: see `arraymlp.resolve`.
    """
    given = {
        "hidden": hidden,
        "activation": activation,
        "loss": loss,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "initializer": initializer,
        "reduction": reduction,
        "shuffle": shuffle,
        "drop_last": drop_last,
        "seed": seed,
        "order_seed": order_seed,
        "dtype": dtype,
        "training_error": training_error,
        "probes": probes,
    }
    before = network if isinstance(network, Run) else None
    old = before.network if before else network
    assert old is None or isinstance(old, MultilayerPerceptron)
    if old is not None:
        _refuse_what_a_network_has(given)
        given["dtype"] = old.dtype
    settings = (before.settings if before else find_preset(preset)).updated(given)

    place = _place(X, old, backend, device)
    with place.active():
        if X is None and y is None and before is not None and validation is None:
            data = _moved(before, place)
        else:
            data = _load(X, y, validation, settings, old, place)
        current = (
            _create(data, settings, place)
            if old is None
            else old.copy()
            if old.backend == place
            else old.to(place)
        )
        run = Run(current, History(), place, settings, [], data)
        if before is not None:
            run.history = History(list(before.history.records))
            run.measurements = list(before.measurements)
        keep = before is not None and optimizer in (None, before.settings.optimizer)
        run.state = (
            _copied(before, place)
            if before is not None and keep
            else initial_state(current, find_optimizer(settings.optimizer))
        )
        _loop(run, [*callbacks], progress)
    run.findings = diagnose(run)
    return run


def _refuse_what_a_network_has(given: Mapping[str, Any]) -> None:
    fixed = ("hidden", "activation", "loss", "initializer", "seed", "dtype")
    clash = [name for name in fixed if given[name] is not None]
    if clash:
        raise ValueError(
            f"{', '.join(clash)} cannot be given together with network=, which has its own"
        )


def _place(X: Any, old: MultilayerPerceptron | None, backend: str, device: Any) -> Backend:
    if backend == "auto" and device is None and old is not None and not is_device_array(X):
        return old.backend
    return resolve(backend, device, like=X)


def _load(
    X: Any,
    y: Any,
    validation: float | tuple[Any, Any] | None,
    settings: Settings,
    old: MultilayerPerceptron | None,
    place: Backend,
) -> Data:
    """Check the data and bring it to the device, once."""
    if X is None and y is None:
        if old is not None:
            raise ValueError("X and y are needed to go on training a network")
        mnist = load_mnist(dtype=settings.dtype)
        X, y = mnist.X_train, mnist.y_train
        validation = (mnist.X_test, mnist.y_test) if validation is None else validation
    if X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is missing: give both, or neither for MNIST")
    dtype = settings.dtype
    n_features = None if old is None else old.sizes[0]
    x = features(X, place, dtype, n_features=n_features)
    known: dict[str, Any] = {"loss_name": settings.loss}
    if old is not None:
        known = {"loss_name": old.loss, "classes": old.classes, "n_outputs": old.sizes[-1]}
    t = targets(y, x.shape[0], place, dtype, **known)
    if validation is None:
        return _fits(Data(x, t), settings)
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ValueError(f"validation must be (X, y), not {len(validation)} things")
        x_val = features(
            validation[0], place, dtype, n_features=x.shape[1], what="the validation X"
        )
        t_val = targets(
            validation[1],
            x_val.shape[0],
            place,
            dtype,
            loss_name=t.loss,
            classes=t.classes,
            n_outputs=t.n_outputs,
            what="the validation y",
        )
        return _fits(Data(x, t, x_val, t_val), settings)
    if not isinstance(validation, float):
        raise ValueError(f"validation must be None, a fraction or (X, y), not {validation!r}")
    train_rows, held_out = (
        place.asarray(rows) for rows in split(x.shape[0], validation, settings.order_seed)
    )

    def rows_of(rows: Array) -> tuple[Array, Targets]:
        values = place.xp.take(t.values, rows, axis=0)
        return place.xp.take(x, rows, axis=0), Targets(values, t.loss, t.n_outputs, t.classes)

    return _fits(Data(*rows_of(train_rows), *rows_of(held_out)), settings)


def _fits(data: Data, settings: Settings) -> Data:
    n, batch = data.X.shape[0], settings.batch_size
    if batch > n:
        raise ValueError(f"batch_size {batch} is larger than the data: {n} training samples")
    if settings.drop_last and n % batch:
        warnings.warn(
            f"the last {n % batch} of {n} samples do not fill a minibatch of {batch} and are "
            "dropped",
            stacklevel=4,
        )
    return data


def _moved(run: Run, place: Backend) -> Data:
    """The run's data, moved where it was on another backend."""
    if run.backend == place:
        return run.data

    def move(a: Array) -> Array:
        return None if a is None else place.asarray(run.backend.to_numpy(a))

    def targets_of(t: Targets | None) -> Targets | None:
        return t and Targets(move(t.values), t.loss, t.n_outputs, t.classes)

    y = targets_of(run.data.y)
    assert y is not None
    return Data(move(run.data.X), y, move(run.data.X_val), targets_of(run.data.y_val))


def _copied(run: Run, place: Backend) -> State:
    """The run's optimiser state, copied: it is updated in place."""

    def copy(a: Array) -> Array:
        if a is None:
            return None
        return place.asarray(a if run.backend == place else run.backend.to_numpy(a), copy=True)

    return [(copy(of_weights), copy(of_bias)) for of_weights, of_bias in run.state]


def _create(data: Data, settings: Settings, place: Backend) -> MultilayerPerceptron:
    return MultilayerPerceptron.create(
        [int(data.X.shape[1]), *(int(n) for n in settings.hidden), data.y.n_outputs],
        activation_name=settings.activation,
        loss_name=data.y.loss,
        initializer_name=settings.initializer,
        seed=settings.seed,
        classes=data.y.classes,
        backend=place,
        dtype=settings.dtype,
    )


def _hyper(settings: Settings, network: MultilayerPerceptron) -> Hyper:
    """The learning rate and the optimiser's constants: numbers, or (K, 1, 1) on the device."""
    values = {
        "learning_rate": settings.learning_rate,
        **find_optimizer(settings.optimizer).constants,
    }
    hyper: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(value, Sequence):
            hyper[name] = float(value)
            continue
        if len(value) != network.members:
            raise ValueError(
                f"{name} has {len(value)} values, but "
                + (f"there are {network.members} members" if network.members else "one network")
            )
        column = np.asarray(value, dtype=network.dtype).reshape(-1, 1, 1)
        hyper[name] = network.backend.asarray(column)
    return hyper


def _loop(run: Run, callbacks: list[Callback], progress: bool | Progress | None) -> None:
    """Epochs of minibatches: the training itself."""
    settings, data, place = run.settings, run.data, run.backend
    n = data.X.shape[0]
    hyper = _hyper(settings, run.network)
    step = choose_step(find_optimizer(settings.optimizer), settings.reduction)
    steps_per_epoch = n // settings.batch_size + bool(
        n % settings.batch_size and not settings.drop_last
    )
    done = run.history[-1]["step"] if len(run.history) else 0
    first = run.history[-1]["epoch"] + 1 if len(run.history) else 0
    probes = None
    if settings.probes:
        probes = Probes(
            data.X,
            data.y.values,
            place,
            done=done,
            total=settings.epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
        )
        step = probes.wrap(step, settings.reduction)
    shown = progress if isinstance(progress, Progress) else progress_for(progress, settings.epochs)
    layers = run.network.layers
    threads = blas_threads(
        place.name, settings.batch_size * max(layer.n_in * layer.n_out for layer in layers)
    )
    # A diverging network overflows; that is found and reported at the epoch's end, in our words.
    with threads, shown, interruptible() as interrupt, np.errstate(all="ignore"):
        for epoch in range(first, first + settings.epochs):
            started = perf_counter()
            order = epoch_order(n, settings.order_seed, epoch) if settings.shuffle else None
            batches = minibatches(
                data.X, data.y.values, settings.batch_size, order, settings.drop_last, place
            )
            total, steps, rows = run_epoch(step, run, batches, hyper, interrupt)
            run.interrupted = interrupt.requested
            if steps == 0:
                break
            done += steps
            figures = {"loss": total / rows, **_evaluations(run)}
            record = _read(figures, probes, place, run, started, rows)
            head = {"epoch": epoch, "step": done, "learning_rate": settings.learning_rate}
            run.history.records.append({**head, **record})
            _require_finite(run, steps)
            event = EpochEnd(
                run.history[-1], epoch - first + 1, settings.epochs, run.network, run.history
            )
            answers = [callback(event) for callback in (shown.update, *callbacks)]
            if interrupt.requested or any(answer is True for answer in answers):
                break
    if probes is not None:
        run.shut_units = shut_units(run.network, data.X, place)


def run_epoch(
    step: Step,
    run: Run,
    batches: Iterable[tuple[Array, Array]],
    hyper: Hyper,
    interrupt: Interrupt,
) -> tuple[Array, int, int]:
    """Step through the minibatches, looking at nothing on the device.

    Returns:
        The summed loss (on the device), the number of steps and the number of rows.
    """
    total: Array = 0.0
    steps = rows = 0
    for x, y in batches:
        if interrupt.requested:
            break
        run.state, loss = step(run.network, run.state, x, y, hyper)
        total = total + loss
        steps += 1
        rows += x.shape[-2]
    return total, steps, rows


def _evaluations(run: Run) -> dict[str, Array]:
    """The figures asked for at an epoch's end, on the device."""
    data = run.data
    figures: dict[str, Array] = {}
    if run.settings.training_error:
        found = evaluate(run.network, data.X, data.y.values, run.backend)
        figures["training_loss"], figures["training_error"] = found.loss, found.error
    if data.X_val is not None and data.y_val is not None:
        found = evaluate(run.network, data.X_val, data.y_val.values, run.backend)
        figures["validation_loss"], figures["validation_error"] = found.loss, found.error
        if run.settings.probes:
            figures["predicted"] = found.predicted
    return {name: value for name, value in figures.items() if value is not None}


def _read(
    figures: dict[str, Array],
    probes: Probes | None,
    place: Backend,
    run: Run,
    started: float,
    rows: int,
) -> Record:
    """The epoch's one transfer: figures and probes together."""
    pending = probes.take_pending() if probes else []
    values = place.fetch([*figures.values(), *pending])
    if probes:
        probes.give_back(values[len(figures) :])
        run.measurements += probes.measurements
        probes.measurements = []
    seconds = perf_counter() - started
    record: Record = {
        name: value.tolist() for name, value in zip(figures, values[: len(figures)], strict=True)
    }
    return {**record, "seconds": seconds, "samples_per_s": rows / seconds}


def _require_finite(run: Run, steps: int) -> None:
    """Stop where no member's loss is finite any more."""
    record = run.history[-1]
    if np.isfinite(record["loss"]).any():
        return
    layers = [
        i
        for i, layer in enumerate(run.network.layers)
        if not np.isfinite(run.backend.to_numpy(layer.weights)).all()
    ]
    where = (
        f"the weights of layer {layers[0]} are no longer finite"
        if layers
        else "all weights are finite"
    )
    last = record["step"]
    members = f" in all {run.network.members} members" if run.network.members else ""
    run.findings = diagnose(run)
    raise NonFiniteLossError(
        f"the loss became {np.ravel(record['loss'])[0]}{members} in epoch {record['epoch']} "
        f"(steps {last - steps + 1} to {last}); {where}. "
        f"A smaller learning_rate than {run.settings.learning_rate} usually helps.",
        run,
    )
