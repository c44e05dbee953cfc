"""train(): the one training loop."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import fields
from time import perf_counter
from typing import Any, Literal

import numpy as np

from arraymlp._checks import each
from arraymlp.activations import Activation
from arraymlp.backend import Array, Backend, HostArray, is_device_array, resolve
from arraymlp.batching import Minibatch
from arraymlp.data import Data
from arraymlp.diagnosis import diagnose
from arraymlp.dropout import Dropout
from arraymlp.epoch import EpochRows, EpochTable
from arraymlp.evaluation import evaluate
from arraymlp.heap import keep_freed_memory
from arraymlp.history import Record
from arraymlp.hyper import epoch_hyper, rates
from arraymlp.initializers import Initializer
from arraymlp.interrupt import Interrupt, interruptible
from arraymlp.losses import Loss
from arraymlp.metrics import Metric
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import Hyper, Optimizer, Values
from arraymlp.optimizers import optimizer as find_optimizer
from arraymlp.orders import Orders, epoch_batches
from arraymlp.patience import EarlyStopping
from arraymlp.probes import Probes, shut_units
from arraymlp.profile import Profile
from arraymlp.progress import Progress, progress_for
from arraymlp.run import Callback, EpochEnd, NonFiniteLossError, Run, StepEnd
from arraymlp.schedules import Schedule
from arraymlp.settings import ClassWeight, Settings
from arraymlp.start import data_for, settings_for, start, stopper_for, take_up
from arraymlp.step import Step, StepsTogether, averaging, choose_step, shares_threads
from arraymlp.stream import Streamed
from arraymlp.threads import blas_threads

log = logging.getLogger("arraymlp")

LESS = "A smaller batch_size, narrower hidden layers, or fewer seeds at a time need less."


def train(
    X: Any = None,
    y: Any = None,
    *,
    hidden: Sequence[int] | None = None,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: Values | None = None,
    schedule: str | Schedule | None = None,
    weight_decay: Values | None = None,
    l2: Values | None = None,
    alpha: Values | None = None,
    gradient_clip: Values | None = None,
    weight_average: Values | None = None,
    dropout: Values | Dropout | None = None,
    label_smoothing: Values | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    validation: float | tuple[Any, ...] | None = None,
    early_stopping: bool | str | EarlyStopping | None = None,
    metrics: Sequence[str | Metric | Callable[..., Any]] | None = None,
    initializer: str | Initializer | Sequence[str | Initializer] | None = None,
    reduction: Literal["mean", "sum"] | None = None,
    shuffle: bool | Callable[[int, int], HostArray] | None = None,
    window: int | None = None,
    drop_last: bool | None = None,
    seed: int | Sequence[int] | None = None,
    order_seed: int | None = None,
    dtype: Literal["float32", "float64"] | None = None,
    precision: Literal["float32", "tf32", "bf16"] | None = None,
    training_error: bool | None = None,
    probes: bool | None = None,
    fast: bool | None = None,
    preset: str = "default",
    network: MultilayerPerceptron | Run | None = None,
    backend: str | Backend = "auto",
    device: Any = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | Progress | None = None,
    profile: bool = False,
) -> Run:
    """Train a multilayer perceptron; with no data, on the bundled MNIST digits.

    A setting that is None has the preset's value, or, with ``network=run``, that run's. The values
    given below are those of the default preset.

    A number marked K may also be K numbers, one for each member of a population.

    Args:
        X: (n_samples, n_features) numbers, on the host or on a device. Never written. Larger than
            memory: a `numpy.memmap`, an HDF5- or Zarr-like array, or an iterable of chunks (X, y)
            that can be iterated anew (then y is None); see `arraymlp.stream`.
        y: (n_samples,) integer labels, (n_samples, n_columns) integers 0 and 1 for multi-label, or
            floating-point numbers, 1-D or 2-D, for regression.
        hidden: widths of the hidden layers, (100, 100); () for none.
        activation: of the hidden layers, "relu", or one for each; see
            `arraymlp.activations.activation`.
        loss: "auto" chooses by y's dtype and shape (see `arraymlp.inputs.targets`) and logs it;
            for the others see `arraymlp.losses.loss`.
        optimizer: "momentum" (SGD with momentum 0.9), "sgd", "nesterov", "adam", "adamw",
            "rmsprop", or an `SGD`, `Adam`, `AdamW` or `RMSProp` with constants of its own.
        learning_rate: 0.05 for SGD, 0.001 for the others (K).
        schedule: its factor step by step: "constant", "step", "exponential", "cosine" (with
            warm-up), "inverse_scaling", "adaptive"; see `arraymlp.schedules.schedule`. Its
            fractions are of the whole run, earlier calls included: a finished run that goes on is a
            longer one, in which the rate rises again; one that was broken off is to be given the
            epochs that are left.
        weight_decay: lambda in w <- w - eta lambda w, decoupled, of weights and not of biases: 0,
            or what "adamw" has (K).
        l2: lambda of the penalty lambda/2 |W|^2, whose gradient lambda W is added to the
            minibatch's, 0 (K). The loss is reported without it.
        alpha: scikit-learn's form of the same, 0 (K): the penalty alpha/2 |W|^2 belongs to the
            minibatch's summed loss, so that ``reduction="mean"`` divides it too, and lambda is
            alpha / batch_size, or alpha over the sum of the samples' weights. The history has it,
            divided like the loss, as ``penalty``.
        gradient_clip: bound on the Euclidean norm of the gradients of all layers together, before
            L2 is added, none (K).
        weight_average: d of the moving average a <- d a + (1 - d) w over steps, which then is what
            is evaluated and returned; 0 for none (K). In step t d is at most (t - 1) / (t + 8).
            It begins anew with another optimizer.
        dropout: probability that a hidden unit's output is dropped, 0 (K), or a `Dropout`, which
            also has that of the features.
        label_smoothing: a in (1 - a) y + a/n, with n classes (a/2 for columns of 0 and 1), 0 (K);
            in training, not in validation.
        sample_weight: (n_samples,) or (K, n_samples), not negative. The mean loss, errors and
            metrics are weighted means.
        class_weight: {label: weight} (1 where not named), or "balanced"; or K such. It weighs
            losses, of training and validation, and not errors and metrics; with label smoothing
            the whole of a sample's loss, which PyTorch weighs class by class.
        epochs: passes over the training data in this call, 20. The rest of one that Ctrl-C broke
            off counts as one; so does that of one that a callback's ``on_step`` broke off.
        batch_size: rows a step, 100.
        validation: None; a fraction of the rows to hold out, of each class alike; or (X, y) or
            (X, y, sample_weight); evaluated every epoch. The bundled MNIST comes with its test set.
            Nothing is chosen by it unless early stopping or a schedule watches it.
        early_stopping: False; True stops 10 epochs after the best validation_loss and goes back to
            the weights of that epoch; the name of another figure; or an `EarlyStopping`. Of a
            population each member stops on its own. A run that is broken off keeps the weights it
            has, and goes on as if nothing had happened.
        metrics: names, such as "f1" (see `arraymlp.metrics.metric`), or functions
            ``f(y, output, weight)`` on the device, which must not write to these and take functions
            from their namespace to run on every backend; of the validation rows, and of the
            training rows with ``training_error``.
        initializer: "auto", He for relu and its relatives, Glorot otherwise; or K, one a member.
        reduction: "mean": the gradient is the minibatch's mean; "sum": its sum.
        shuffle: True: a new order of the rows each epoch; or a function ``f(n, epoch)`` that gives
            the numbers of n rows to train on in that epoch, on the host.
        window: None; rows change places only within so many consecutive ones, rounded down to
            whole minibatches, to one at least. Of data larger than memory a window is also what is
            read at once, by default 64 MiB.
        drop_last: False; True leaves out the rows that do not fill the last minibatch.
        seed: 0, of initial weights and dropout. K seeds train a population of K networks at once.
            Of a network that is given, or of a run of one that had none, it is dropout's alone.
        order_seed: 0, of minibatch orders and of the split of a validation fraction.
        dtype: "float32"; X is converted to it.
        precision: "float32"; "tf32" or "bf16" round the factors of the training's matrix products,
            and nothing else, for speed on GPUs; see `arraymlp.precision` for which backends can. A
            ValueError where the backend cannot, or with dtype "float64".
        training_error: False; True evaluates all training rows after each epoch.
        probes: False; True measures the insides of the layers for the diagnosis.
        fast: True trains by the backend's own fast step where there is one (NumPy and CuPy), whose
            results are the generic step's to rounding; False by the generic one.
        preset: "default", or "lab" for the settings of the published lab.
        network: a network to go on training (it is copied, the optimiser starts afresh), or a
            `Run` to go on with exactly where it stopped, with its settings, and on its data
            unless X and y are given. (Data that needed no conversion is the caller's own memory:
            what changes there changes for the run.)
        backend: "auto", "numpy", "cupy", "torch", "jax"; see `arraymlp.resolve`.
        device: the backend's device; None for its default.
        callbacks: each is called with an `EpochEnd` after each epoch, and one that has a method
            ``on_step`` by that with a `StepEnd` after each step; the answer True stops. See
            `arraymlp.callbacks`.
        progress: True shows a progress bar, or a line an epoch where the output is no terminal.
        profile: True measures where the time goes (products, elementwise, gather, evaluation,
            host); ``print(run.profile)`` shows it. On CuPy that is of single steps, not of an epoch
            at a time. See `arraymlp.profile`.

    Returns:
        A `Run`: network, history, and what else there is to know.

    Raises:
        ValueError: data or a setting that cannot be trained with; the message says which and why.
        NonFiniteLossError: the loss of every member became NaN or infinite.
        DeviceMemoryError: the data, or a step, does not fit the device's memory.
        BackendUnavailableError: see `arraymlp.resolve`.
    """
    arguments = locals()
    given = {field.name: arguments[field.name] for field in fields(Settings)}
    before = network if isinstance(network, Run) else None
    old = network.network if isinstance(network, Run) else network
    settings = settings_for(given, preset, old, before)
    called = _callables(callbacks)
    place = _place(X, old, backend, device)
    with place.within_memory(LESS):
        data = data_for(X, y, sample_weight, validation, settings, old, before, place)
        run = start(data, settings, place, old)
        if before is not None:
            take_up(run, before, same_rows=X is None, same_data=X is None and validation is None)
        earlier, epochs = len(run.history), settings.epochs
        shown = progress if isinstance(progress, Progress) else progress_for(progress, epochs)
        with interruptible() as interrupt, shown:
            if profile:
                run.profile = Profile(place)
            failed = train_epochs(run, called, interrupt, shown)
            where = not_finite_layers(run.learner) if failed else []
        _end(run, earlier, interrupt.requested, failed > 0)
    run.findings = diagnose(run)
    if failed:
        raise NonFiniteLossError(_not_finite(run, failed, where), run)
    return run


def _callables(callbacks: Iterable[Callback]) -> list[Callback]:
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, str)
    found: list[Any] = list(callbacks) if several else [callbacks]
    for callback in found:
        if not callable(callback) or isinstance(callback, type):
            raise ValueError(
                f"a callback must be a function, or an object that can be called, not {callback!r}"
            )
    return found


def _place(
    X: Any, old: MultilayerPerceptron | None, backend: str | Backend, device: Any
) -> Backend:
    if backend == "auto" and device is None and old is not None and not is_device_array(X):
        return old.backend
    return resolve(backend, device, like=X)


def train_epochs(
    run: Run, callbacks: Sequence[Callback], interrupt: Interrupt, shown: Progress | None = None
) -> int:
    """Epochs of minibatches, as many as the settings say: the training itself.

    Args:
        run: what is trained; early stopping has restored nothing yet when this returns.
        callbacks: as of `train`.
        interrupt: Ctrl-C.
        shown: shows each epoch before the callbacks see it.

    Returns:
        0, or where it ended since no loss is finite any more, the steps of that epoch.
    """
    settings, data, place = run.settings, run.data, run.backend
    n, size = data.rows, settings.batch_size
    first = run.next_epoch
    per_epoch = n // size if settings.drop_last else -(-n // size)
    whole = run.steps_done - run.position  # steps of whole epochs
    total = whole + settings.epochs * per_epoch
    stopper = run.stopper = stopper_for(run)
    on_steps = [getattr(callback, "on_step", None) for callback in callbacks]
    watching = [on_step for on_step in on_steps if callable(on_step)]
    if place.name == "numpy":
        keep_freed_memory()
    callbacks = [*([] if shown is None else [shown.update]), *callbacks]
    largest = size * max(layer.n_in * layer.n_out for layer in run.network.layers)
    profile = run.profile
    shares = shares_threads(run.learner, settings.fast)
    # A diverging network overflows; that is found and reported at the epoch's end, in our words.
    with blas_threads(place.name, largest, shares) as threads, np.errstate(all="ignore"):
        step, probes = _step(run, threads, per_epoch)
        together = steps_together(step, run, watching)
        orders = Orders(data, settings, place)
        recorded = _record if profile is None else profile.timed("evaluation", _record)
        for epoch in range(first, first + settings.epochs):
            if stopper is not None and stopper.stopped.all():  # in the step that Ctrl-C ended
                break
            started = perf_counter()
            left = per_epoch - run.position
            rate = rates(settings, run.schedule, run.steps_done, left, total)
            hyper = epoch_hyper(settings, run.learner, rate, run.updates, epoch, run.position)
            told = 0.0 if profile is None else profile.total
            done = None
            if together is not None:
                done = run_steps_together(together, run, orders, hyper, interrupt)
            if done is None:
                batches = epoch_batches(data, settings, place, epoch, run.position, orders)
                with closing(batches):
                    taken = batches if profile is None else profile.gathered(batches)
                    done = run_epoch(step, run, taken, hyper, interrupt, watching)
            steps, rows, stopped = done
            run.interrupted = interrupt.requested
            if steps == 0:
                break
            if not stopped and epoch + 1 < first + settings.epochs:
                orders.prepare(epoch + 1)  # while the device is still at work on this one
            run.position = (run.position + steps) % per_epoch
            run.updates = run.updates + steps
            record = recorded(run, epoch, steps, rate[steps - 1], probes, threads)
            record["seconds"] = perf_counter() - started
            if profile is not None:
                profile.ended(record["seconds"], told)
            record["samples_per_s"] = rows / record["seconds"]
            run.history.records.append(record)
            if run.position == 0:
                run.met = 0.0, 0.0, 0.0
                run.schedule.observe(record)
                if stopper is not None:
                    stopped |= stopper.observe(record, run)
            event = EpochEnd(record, epoch - first + 1, settings.epochs, run.network, run.history)
            answers = [callback(event) for callback in callbacks]
            if run.position == 0 and not np.isfinite(record["loss"]).any():
                return steps
            if stopped or interrupt.requested or any(_is_true(answer) for answer in answers):
                break
    return 0


def _step(run: Run, threads: int, per_epoch: int) -> tuple[Step, Probes | None]:
    """The step to train with, averaging and probed where that is asked for, and its probes."""
    settings = run.settings
    rule = find_optimizer(settings.optimizer)
    reduction, profile = settings.reduction, run.profile
    how = (settings.fast, threads, profile, settings.precision)
    step = choose_step(run.learner, rule, reduction, *how)
    if run.learner is not run.network:
        if isinstance(step, StepsTogether):
            log.info("training step by step, not an epoch at a time: weight_average")
        step = averaging(step, run.network)
    if not settings.probes:
        return step, None
    whole = run.steps_done - run.position
    epochs = (run.next_epoch, settings.epochs, per_epoch)
    probes = Probes(run.data, run.backend, run.steps_done, whole, *epochs)
    return probes.wrap(step, run.learner, reduction), probes


def _end(run: Run, earlier: int, interrupted: bool, failed: bool) -> None:
    """What becomes of a run when its training ends: the best weights, and the last probes.

    Args:
        run: that ended.
        earlier: how long its history was before.
        interrupted: by Ctrl-C.
        failed: whether it ended since no loss is finite.
    """
    stopper = run.stopper
    finished = stopper is not None and bool(stopper.stopped.all())
    if len(run.history) > earlier or finished or interrupted:
        run.interrupted, run.best_epoch = interrupted, None
        if stopper is not None and (failed or (not interrupted and run.position == 0)):
            stopper.restore(run)
    if run.settings.probes and not failed:
        with np.errstate(all="ignore"):
            run.shut_units = shut_units(run.network, run.data.X, run.backend, run.settings.window)


def _record(
    run: Run, epoch: int, steps: int, rate: HostArray, probes: Probes | None, threads: int
) -> Record:
    """The epoch's record, and with it the epoch's one transfer from the device."""
    loss, weight, penalty = run.met
    met = {"loss": loss / weight}
    if np.any(each(run.settings.alpha)):
        met["penalty"] = penalty / weight
    figures = _read({**met, **_evaluations(run, threads)}, run, probes)
    return {
        "epoch": epoch,
        "step": run.steps_done + steps,
        "learning_rate": np.resize(rate, run.shape).tolist(),
        **figures,
    }


def _is_true(answer: Any) -> bool:
    return isinstance(answer, bool | np.bool) and bool(answer)


def steps_together(step: Step, run: Run, watching: Sequence[Any]) -> StepsTogether | None:
    """The step, if it is to do those of an epoch together; else, if it could, the log says why."""
    if not isinstance(step, StepsTogether):
        return None
    reasons = {
        "callbacks look at each step": watching,
        "members have rows of their own": run.data.courses,
        "the data is larger than memory": isinstance(run.data.X, Streamed),
    }
    for why, so in reasons.items():
        if so:
            log.info("training step by step, not an epoch at a time: %s", why)
            return None
    return step


def run_steps_together(
    step: StepsTogether, run: Run, orders: Orders, table: EpochTable, interrupt: Interrupt
) -> tuple[int, int, bool] | None:
    """What `run_epoch` does, by a step that can do all of an epoch's together.

    Args:
        step: such a step.
        run: as of `run_epoch`.
        orders: in what order its rows come.
        table: what the steps are told.
        interrupt: Ctrl-C.

    Returns:
        As `run_epoch`; None where the steps have to be done one by one.
    """
    data, settings = run.data, run.settings
    n, size = int(data.X.shape[0]), settings.batch_size
    order = orders.of(run.next_epoch)[1]
    first, stop = run.position * size, n - n % size if settings.drop_last else n
    rows = EpochRows(data.X, data.y.values, data.y.loss_weight, order, size, first, stop)
    done = step.epoch(run.learner, run.state, rows, table, lambda: interrupt.requested)
    if done is None:
        return None
    steps, sums = done
    loss, weight, penalty = run.met
    run.met = loss + sums.loss, weight + sums.weight, penalty + sums.penalty
    return steps, min(stop - first, steps * size), interrupt.requested


def run_epoch(
    step: Step,
    run: Run,
    batches: Iterable[Minibatch],
    hyper: Iterable[Hyper],
    interrupt: Interrupt,
    watching: Sequence[Callable[[StepEnd], bool | None]] = (),
) -> tuple[int, int, bool]:
    """Step through the minibatches, looking at nothing on the device.

    Args:
        step: does one.
        run: whose learner and state it updates; the losses add up in its ``met``.
        batches: the minibatches.
        hyper: for each, what the step is to do.
        interrupt: Ctrl-C.
        watching: called after each step; the answer True stops.

    Returns:
        The number of steps and of rows, and whether it was told to stop.
    """
    loss, weight, penalty = run.met
    steps = rows = 0
    stopped = False
    for batch, own in zip(batches, hyper, strict=False):
        if stopped or interrupt.requested:
            break
        run.state, met = step(run.learner, run.state, batch, own)
        loss = loss + met.loss
        weight = weight + batch.total
        penalty = penalty + met.penalty
        steps += 1
        rows += batch.rows if batch.own_samples is None else int(batch.own_samples.max())
        if watching:
            event = StepEnd(
                run.steps_done + steps,
                run.next_epoch,
                batch.samples,
                met.loss / batch.divisor,
                met.penalty / batch.divisor,
                run.learner,
            )
            answers = [watcher(event) for watcher in watching]
            stopped = any(_is_true(answer) for answer in answers)
    run.met = loss, weight, penalty
    return steps, rows, stopped or interrupt.requested


def _evaluations(run: Run, threads: int) -> dict[str, Array]:
    """The figures asked for at an epoch's end, on the device."""
    data, settings, place = run.data, run.settings, run.backend
    if data.courses is None:
        return _evaluated(run.network, data, settings, place, threads)
    if not data.part_names(settings):
        return {}
    found = [
        _evaluated(run.network.between(start, stop), own, settings, place, threads)
        for start, stop, own in data.by_course(settings, place)
    ]
    return {name: place.xp.concat([part[name] for part in found]) for name in found[0]}


def _evaluated(
    network: MultilayerPerceptron, data: Data, settings: Settings, place: Backend, threads: int
) -> dict[str, Array]:
    figures: dict[str, Array | None] = {}
    for part, X, y in data.parts(settings):
        how = (settings.metrics, settings.window, threads, settings.fast)
        found = evaluate(network, X, y, place, *how)
        figures[f"{part}_loss"], figures[f"{part}_error"] = found.loss, found.error
        figures |= {f"{part}_{name}": value for name, value in found.metrics.items()}
        if part == "validation" and settings.probes:
            figures["predicted"] = found.predicted
    return {name: value for name, value in figures.items() if value is not None}


def _read(figures: dict[str, Array], run: Run, probes: Probes | None) -> Record:
    """The epoch's one transfer: figures and measurements together."""
    pending = probes.take_pending() if probes else []
    values = [value.tolist() for value in run.backend.fetch([*figures.values(), *pending])]
    if probes:
        run.measurements += probes.filed(values[len(figures) :])
    return dict(zip(figures, values, strict=False))


def _not_finite(run: Run, steps: int, layers: list[str]) -> str:
    """What to say where the loss of every member is no longer finite, after an epoch's steps."""
    record = run.history[-1]
    where = f"no longer finite: the weights of layers {', '.join(layers)}"
    weights = where if layers else "all weights are still finite"
    members = f" in all {run.network.members} members" if run.network.members else ""
    last = record["step"]
    return (
        f"the loss became {np.ravel(record['loss'])[0]}{members} in epoch {record['epoch']} "
        f"(steps {last - steps + 1} to {last}); {weights}. "
        f"A smaller learning_rate than {run.settings.learning_rate} usually helps"
        f"{', and less dropout' if run.settings.dropout != Dropout() else ''}."
    )


def not_finite_layers(network: MultilayerPerceptron) -> list[str]:
    """The numbers, from 1, of the layers whose weights are not all finite."""
    to_numpy = network.backend.to_numpy
    return [
        str(i)
        for i, layer in enumerate(network.layers, 1)
        if not np.isfinite(to_numpy(layer.weights)).all()
    ]
