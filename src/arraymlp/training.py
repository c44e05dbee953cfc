"""train(): the one training loop."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from arraymlp._checks import is_number
from arraymlp.activations import Activation
from arraymlp.backend import Array, Backend, is_device_array, resolve
from arraymlp.batching import epoch_order, minibatches
from arraymlp.data import Data, add_validation, load_data, require_minibatches
from arraymlp.diagnosis import diagnose
from arraymlp.evaluation import evaluate
from arraymlp.history import History, Record
from arraymlp.initializers import Initializer
from arraymlp.interrupt import Interrupt, interruptible
from arraymlp.losses import Loss
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer
from arraymlp.optimizers import optimizer as find_optimizer
from arraymlp.probes import Probes, shut_units
from arraymlp.progress import Progress, progress_for
from arraymlp.run import Callback, EpochEnd, NonFiniteLossError, Run
from arraymlp.settings import Settings
from arraymlp.settings import preset as find_preset
from arraymlp.step import State, Step, choose_step, initial_state
from arraymlp.threads import blas_threads


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
    backend: str | Backend = "auto",
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
        epochs: passes over the training data in this call, 20. The rest of one that Ctrl-C broke
            off counts as one.
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
            `Run` to go on with exactly where it stopped, with its settings, and on its data
            unless X and y are given. (Data that needed no conversion is the caller's own memory:
            what changes there changes for the run.)
        backend: "auto", "numpy", "cupy", "torch", "jax"; see `arraymlp.resolve`.
        device: the backend's device; None for its default.
        callbacks: each is called with an `EpochEnd` after each epoch; the answer True stops.
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
    old = network.network if isinstance(network, Run) else network
    settings = _settings(given, preset, old, before)
    called = _callables(callbacks)
    place = _place(X, old, backend, device)
    with place.active():
        if before is not None and X is None and y is None:
            data = before.data.moved(before.backend, place)
        else:
            data = load_data(X, y, settings, old, place)
        if validation is not None:
            if X is None and before is not None and is_number(validation):
                raise ValueError(
                    "a fraction cannot be held out of rows that were trained on: the run goes on "
                    "with the validation data it has, unless validation=(X, y) is given"
                )
            data = add_validation(data, validation, settings, place)
        require_minibatches(data.X.shape[0], settings)
        run = _start(data, settings, place, old, before)
        if before is not None:
            same_data = X is None and validation is None
            run.comparable_from = before.comparable_from if same_data else len(run.history)
            run.position = before.position if _same_minibatches(settings, before, X) else 0
        _loop(run, called, progress)
    run.findings = diagnose(run)
    return run


def _settings(given: dict[str, Any], preset: str, old: Any, before: Run | None) -> Settings:
    """The preset's settings or the earlier run's, with what was given in their place."""
    base = find_preset(preset)
    if old is None:
        return base.updated(given)
    if not isinstance(old, MultilayerPerceptron):
        raise ValueError(f"network must be a MultilayerPerceptron or a Run, not {type(old)}")
    fixed = ("hidden", "activation", "loss", "initializer", "seed", "dtype")
    clash = [name for name in fixed if given[name] is not None]
    if clash:
        raise ValueError(
            f"{', '.join(clash)} cannot be given together with network=, which has its own"
        )
    if before is not None:
        if preset != "default":
            raise ValueError(
                f"preset {preset!r} cannot be given with a Run, which has its settings"
            )
        return before.settings.updated(given)
    # What a given network was made with is read off it; how it was drawn is not known.
    own = {
        "hidden": old.sizes[1:-1],
        "activation": old.layers[0].activation if len(old.layers) > 1 else None,
        "loss": old.loss,
        "dtype": old.dtype,
    }
    return replace(base.updated({**given, **own}), seed=None, initializer=None)


def _callables(callbacks: Iterable[Callback]) -> list[Callback]:
    found = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in found:
        if not callable(callback):
            raise ValueError(f"a callback must be a function, not {callback!r}")
    return found


def _place(
    X: Any, old: MultilayerPerceptron | None, backend: str | Backend, device: Any
) -> Backend:
    if backend == "auto" and device is None and old is not None and not is_device_array(X):
        return old.backend
    return resolve(backend, device, like=X)


def _start(
    data: Data,
    settings: Settings,
    place: Backend,
    old: MultilayerPerceptron | None,
    before: Run | None,
) -> Run:
    """A new run, or an earlier one taken up; what it will update is its own copy."""
    network = _create(data, settings, place) if old is None else old.to(place)
    rule = find_optimizer(settings.optimizer)
    if before is None:
        return Run(network, History(), place, settings, data, initial_state(network, rule))
    if rule == find_optimizer(before.settings.optimizer):
        state = _copied(before.state, before.backend, place)
    else:
        state = initial_state(network, rule)
    history = History(list(before.history.records))
    run = Run(network, history, place, settings, data, state)
    run.measurements = list(before.measurements)
    return run


def _same_minibatches(settings: Settings, before: Run, X: Any) -> bool:
    """Whether an epoch that was broken off can go on with the minibatch that came next."""
    names = ("batch_size", "drop_last", "shuffle", "order_seed")
    same = all(getattr(settings, name) == getattr(before.settings, name) for name in names)
    return same and X is None


def _create(data: Data, settings: Settings, place: Backend) -> MultilayerPerceptron:
    assert settings.initializer is not None  # only a given network's are unknown
    assert settings.seed is not None
    return MultilayerPerceptron.create(
        [int(data.X.shape[1]), *(int(n) for n in settings.hidden), data.y.n_outputs],
        activation=settings.activation,
        loss=data.y.loss,
        initializer=settings.initializer,
        seed=settings.seed,
        classes=data.y.classes,
        backend=place,
        dtype=settings.dtype,
    )


def _copied(state: State, here: Backend, there: Backend) -> State:
    def copy(a: Array | None) -> Array | None:
        if a is None:
            return None
        return there.asarray(a if here == there else here.to_numpy(a), copy=True)

    return [(copy(of_weights), copy(of_bias)) for of_weights, of_bias in state]


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
            members = network.members
            raise ValueError(
                f"{name} has {len(value)} values, but "
                + (f"there are {members} members" if members else "one network: give as many seeds")
            )
        column = np.asarray(value, dtype=network.dtype).reshape(-1, 1, 1)
        hyper[name] = network.backend.asarray(column)
    return hyper


def _loop(run: Run, callbacks: list[Callback], progress: bool | Progress | None) -> None:
    """Epochs of minibatches: the training itself."""
    settings, data, place = run.settings, run.data, run.backend
    n, size = data.X.shape[0], settings.batch_size
    first = run.next_epoch
    per_epoch = n // size if settings.drop_last else -(-n // size)
    hyper = _hyper(settings, run.network)
    step = choose_step(run.network, find_optimizer(settings.optimizer), settings.reduction)
    probes = None
    if settings.probes:
        whole = run.steps_done - run.position  # steps of whole epochs
        probes = Probes(data, place, run.steps_done, whole, first, settings.epochs, per_epoch)
        step = probes.wrap(step, settings.reduction)
    shown = progress if isinstance(progress, Progress) else progress_for(progress, settings.epochs)
    largest = size * max(layer.n_in * layer.n_out for layer in run.network.layers)
    # A diverging network overflows; that is found and reported at the epoch's end, in our words.
    with (
        blas_threads(place.name, largest),
        np.errstate(all="ignore"),
        interruptible() as interrupt,
        shown,
    ):
        for epoch in range(first, first + settings.epochs):
            started = perf_counter()
            order = epoch_order(n, settings.order_seed, epoch) if settings.shuffle else None
            batches = minibatches(
                data.X, data.y.values, size, order, settings.drop_last, place, run.position
            )
            loss, steps, rows = run_epoch(step, run, batches, hyper, interrupt)
            run.interrupted = interrupt.requested
            if steps == 0:
                break
            run.position = (run.position + steps) % per_epoch
            figures = _read({"loss": loss / rows, **_evaluations(run)}, run, probes)
            seconds = perf_counter() - started
            run.history.records.append(
                {
                    "epoch": epoch,
                    "step": run.steps_done + steps,
                    "learning_rate": settings.learning_rate,
                    **figures,
                    "seconds": seconds,
                    "samples_per_s": rows / seconds,
                }
            )
            _require_finite(run, steps)
            event = EpochEnd(
                run.history[-1], epoch - first + 1, settings.epochs, run.network, run.history
            )
            answers = [callback(event) for callback in (shown.update, *callbacks)]
            if interrupt.requested or any(isinstance(a, bool | np.bool) and a for a in answers):
                break
        if probes is not None:
            run.shut_units = shut_units(run.network, data.X, place)
        run.interrupted = interrupt.requested


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


def _read(figures: dict[str, Array], run: Run, probes: Probes | None) -> Record:
    """The epoch's one transfer: figures and measurements together."""
    pending = probes.take_pending() if probes else []
    values = [value.tolist() for value in run.backend.fetch([*figures.values(), *pending])]
    if probes:
        run.measurements += probes.filed(values[len(figures) :])
    return dict(zip(figures, values, strict=False))


def _require_finite(run: Run, steps: int) -> None:
    """Stop where no member's loss is finite any more."""
    record = run.history[-1]
    if np.isfinite(record["loss"]).any():
        return
    layers = [
        str(i)
        for i, layer in enumerate(run.network.layers, 1)
        if not np.isfinite(run.backend.to_numpy(layer.weights)).all()
    ]
    where = f"no longer finite: the weights of layers {', '.join(layers)}"
    weights = where if layers else "all weights are still finite"
    members = f" in all {run.network.members} members" if run.network.members else ""
    last = record["step"]
    run.findings = diagnose(run)
    raise NonFiniteLossError(
        f"the loss became {np.ravel(record['loss'])[0]}{members} in epoch {record['epoch']} "
        f"(steps {last - steps + 1} to {last}); {weights}. "
        f"A smaller learning_rate than {run.settings.learning_rate} usually helps.",
        run,
    )
