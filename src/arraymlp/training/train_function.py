"""train(): settings, data, the loop and the end of a run, put together."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from arraymlp._checks import require_switch, with_brief_help
from arraymlp.backends.array import HostArray, is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.group import group_of
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.data import ClassWeight
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.fingerprint import fingerprint, knows_data
from arraymlp.data.magnitudes import far_in_words
from arraymlp.data.table_input import take_table
from arraymlp.nn.activations import Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.initializers import Initializer
from arraymlp.nn.losses import Loss
from arraymlp.nn.metrics import Metric
from arraymlp.steps.optimizers import Optimizer, PerMember
from arraymlp.steps.probes import count_dead_units
from arraymlp.steps.profile import Profile
from arraymlp.steps.schedules import Schedule
from arraymlp.training.callbacks import AnyCallback, callback_list
from arraymlp.training.checkpoint import Checkpoint, RunFile, as_checkpoint
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.held_out import validation_for
from arraymlp.training.loop import Position, not_finite_layers, train_epochs
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.own_layers import require_layers
from arraymlp.training.progress import Progress, progress_for
from arraymlp.training.ranks.agreement import in_shards, require_alike
from arraymlp.training.ranks.callbacks import of_first_rank
from arraymlp.training.ranks.file import FileOfFirstRank
from arraymlp.training.ranks.nccl import carrier_for
from arraymlp.training.ranks.ranks import Ranks
from arraymlp.training.run import (
    DIVERGED,
    FINISHED,
    INTERRUPTED,
    STOPPED_EARLY,
    NonFiniteLossError,
    Run,
)
from arraymlp.training.saver import Saver
from arraymlp.training.settings import DEFAULT
from arraymlp.training.setup import (
    merge_settings,
    new_run,
    prepare_data,
    preset_for,
    require_end,
    resume_from,
    stopper_for,
)

LESS_MEMORY = "A smaller batch_size, narrower hidden layers, or fewer seeds at a time need less."


@with_brief_help
def train(
    X: Any = None,
    y: Any = None,
    *,
    hidden: Sequence[int] | None = None,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: PerMember | None = None,
    schedule: str | Schedule | None = None,
    weight_decay: PerMember | None = None,
    l2: PerMember | None = None,
    alpha: PerMember | None = None,
    gradient_clip: PerMember | None = None,
    weight_average: PerMember | None = None,
    dropout: PerMember | Dropout | None = None,
    label_smoothing: PerMember | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    epochs: int | None = None,
    total_epochs: int | None = None,
    batch_size: int | None = None,
    validation: float | str | tuple[Any, ...] | None = None,
    early_stopping: bool | str | EarlyStopping | None = None,
    standardize: bool | Literal["features", "targets"] | None = None,
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
    snapshots: int | bool | None = None,
    shards: int | None = None,
    engine: Literal["auto", "array"] | None = None,
    encode: bool | TableEncoder | TableEncoding | None = None,
    preset: str | None = None,
    network: MultilayerPerceptron | Run | None = None,
    backend: str | Backend = "auto",
    device: Any = None,
    callbacks: AnyCallback | Iterable[AnyCallback] = (),
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    group: Any = None,
    progress: bool | Progress | None = None,
    profile: bool = False,
) -> Run:
    """Train a multilayer perceptron; with no data, on the bundled MNIST digits.

    >>> network, history = train(X, y, hidden=(64, 64), validation=0.1, backend="cupy")
    >>> network.predict(X_new)

    A setting that is None has the preset's value, or, with ``network=run``, that run's. The values
    given below are those of the default preset.

    A number marked K may also be K numbers, one for each member of a population.

    Args:
        X: (n_samples, n_features) numbers, on the host or on a device. Never written. Larger than
            memory: a `numpy.memmap`, an array of HDF5, Zarr or dask, or an iterable of chunks
            (X, y) that can be iterated anew (then y is None); see `arraymlp.data.stream`. Or a
            table (see ``encode``): a data frame of pandas, polars or pyarrow, or a structured
            array; or, larger than memory, a data frame of dask, or the path or URL of a folder of
            Parquet files.
        y: (n_samples,) labels, integers or texts, (n_samples, n_columns) integers 0 and 1 for
            multi-label, or floating-point numbers, 1-D or 2-D, for regression; or the name of a
            column of the table X, or several: the rest is then what is learnt from.
        hidden: widths of the hidden layers, (100, 100); () for none.
        activation: of the hidden layers, "relu", or one for each; see
            `arraymlp.activations.get_activation`.
        loss: "auto" chooses by y's dtype and shape (see `arraymlp.data.targets.targets`) and logs
            it; for the others see `arraymlp.losses.get_loss`.
        optimizer: "auto" (AdamW, with the rate, schedule and decay said below), "sgd", "momentum"
            (SGD with momentum 0.9), "nesterov", "adam", "adamw", "rmsprop", or an `SGD`, `Adam`,
            `AdamW` or `RMSProp` with constants of its own.
        learning_rate: with optimizer "auto" 0.2 over the narrowest hidden layer's width, from 0.001
            to 0.01 (0.01 without one); otherwise 0.05 for SGD, 0.001 for the others (K).
        schedule: its factor step by step: "cosine" (with warm-up) with optimizer "auto", otherwise
            "constant"; "step", "exponential", "inverse_scaling", "adaptive"; see
            `arraymlp.schedules.get_schedule`. Its fractions are of the whole run, from its first
            epoch to the end of this call, or of ``total_epochs``: without that, a finished run that
            goes on is a longer one, in which the rate rises again, and one that was broken off is
            to be given the epochs that are left.
        weight_decay: lambda in w <- w - eta lambda w, decoupled, of weights and not of biases: with
            optimizer "auto" 0.0005 / learning_rate, with "adamw" 0.01, otherwise 0 (K).
        l2: lambda of the penalty ``lambda / 2 |W|^2``, whose gradient lambda W is added to the
            minibatch's, 0 (K). The loss is reported without it.
        alpha: scikit-learn's form of the same, 0 (K): the penalty ``alpha / 2 |W|^2`` belongs to
            the minibatch's summed loss, so that ``reduction="mean"`` divides it too, and lambda is
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
        class_weight: {label: weight} (1 where not named; where all of y's are, others are passed
            over), or "balanced"; or K such. It weighs losses, of training and validation, and not
            errors and metrics; with label smoothing the whole of a sample's loss, which PyTorch
            weighs class by class.
        epochs: passes over the training data in this call, 20. The rest of one that Ctrl-C or
            SIGTERM broke off counts as one; so does that of one that a callback's ``on_step`` did.
        total_epochs: None; epochs of the whole run, earlier calls and later ones included, over
            which the schedule is laid where the run is trained in pieces: 5 epochs with
            ``total_epochs=20`` and, by ``network=run``, 15 more have the weights of 20 (but with
            early stopping, which goes back to the best weights at the end of each call). The run
            keeps it. A call that would end after it is an error; a greater one lets it go on.
        batch_size: rows a step: a hundredth of those to train on, from 1 to 100. More than there
            are is an error.
        validation: None; a fraction of the rows to hold out, of each class alike; "in_turn": member
            k of a population holds out the k-th of eight parts, so that all rows are trained on; or
            (X, y) or (X, y, sample_weight); evaluated every epoch. The bundled MNIST comes with its
            test set. Of a table, with early stopping, it is "in_turn", or 0.15 of one network.
            Nothing is chosen by it unless early stopping or a schedule watches it.
        early_stopping: False; True stops 10 epochs after the best validation_loss and goes back to
            the weights of that epoch; the name of another figure; or an `EarlyStopping`. Of a
            population each member stops on its own. A run that is broken off keeps the weights it
            has, and goes on as if nothing had happened.
        standardize: "targets": numbers to predict are brought to mean 0 and variance 1 before the
            training (with several columns by one scale), where the loss allows it (see
            `arraymlp.losses.Loss.rescaled`); "features": each column of X is; True: both, and each
            column of y by its own scale; False: neither. Means and scales are learnt of the
            training rows and kept in the network, which takes X as it is and gives predictions in
            the units of y; so are losses and metrics. With several columns and True, the loss is of
            columns that weigh alike, times the mean of their variances.
        metrics: names, such as "f1" (see `arraymlp.metrics.get_metric`), or functions
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
            and nothing else, for speed on GPUs; `arraymlp.backends.precision` says which backends
            can. A ValueError where the backend cannot, or with dtype "float64".
        training_error: False; True evaluates all training rows after each epoch.
        probes: False; True measures the insides of the layers for the diagnosis.
        snapshots: 0; True (16) or a number from 2 on: the weights after so many epochs at most are
            kept as ``run.snapshots``, those before the first step and the latest among them, evenly
            spread. Each takes the network's memory, on the host, and as much in the run's file.
        shards: None; parts that each minibatch is cut into by the positions of its rows. Their
            gradients are added up in one fixed tree, so that whoever computes them, in whatever
            number of threads or of processes (``group``), gets the same bits. With a window, or
            data larger than memory, each shard is drawn from its own stripe of the window.
        engine: "auto": an engine of the backend does the steps where there is one that covers the
            network (NumPy, CuPy), with the results of the array code to rounding; "array": the
            array code does, which is the definition: `arraymlp.nn.layer.Layer`, the losses and
            optimisers. ``run.engine`` and the log say which did, and why.
        encode: whether features are made of the columns of a table, texts and missing values among
            them, by a `TableEncoder` with its defaults, or by the one given. It is learnt of the
            training rows and kept in the network, which then takes such tables, the columns in any
            order. None: where y is a name, or a column is no numbers. An encoding that was learnt
            before, ``TableEncoder().learn(X)``, is taken as it is. With it ``standardize`` is about
            targets alone.
        preset: "default"; "table", for tables that are encoded, and their default, with early
            stopping on 15 % of the rows unless ``validation`` or ``early_stopping`` say otherwise
            (`arraymlp.training.defaults` has its values); or "lab" for the settings of the
            published lab.
        network: a network to go on training (it is copied, the optimiser starts afresh), or a
            `Run` to go on with exactly where it stopped, with its settings, and on its data
            unless X and y are given. (Data that needed no conversion is the caller's own memory:
            what changes there changes for the run.)
        backend: "auto", "numpy", "cupy", "torch", "jax"; see `arraymlp.resolve`.
        device: the backend's device; None for its default.
        callbacks: one or several. Each is called with an `EpochEnd` after each epoch, and one that
            has a method ``on_step`` with a `StepEnd` after each step. Return True to stop. See
            `arraymlp.callbacks`.
        checkpoint: the path of a file, or a `Checkpoint` that also says how often: the run's state
            is kept there, and the same call goes on from it, to the same bits, whatever ended it;
            a finished one returns at once. Other data or settings are an error. The file has
            nothing of the data but digests; see docs/long-runs.md.
        group: None; "mpi" or an mpi4py communicator (or an `arraymlp.Group`): the processes of the
            group train one network together, with the bits of one process with as many shards
            (``shards``, by default 8). All make the same call with the same data, of which each
            reads the rows of its own shards where it is larger than memory; rank 0 shows progress,
            calls back and writes the checkpoint; all return the run. An error in one ends all. See
            docs/many-machines.md.
        progress: True shows a progress bar on a terminal, a bar and growing curves in a notebook,
            and elsewhere a line an epoch.
        profile: True measures where the time goes (products, elementwise, gather, evaluation,
            host); ``print(run.profile)`` shows it. On CuPy that is of single steps, not of an epoch
            at a time. See `arraymlp.steps.profile`.

    Returns:
        The `Run`, with network, history, and what else there is to know.

    Raises:
        ValueError: data or a setting that cannot be trained with; the message says which and why.
        NonFiniteLossError: the loss of every member became NaN or infinite.
        DeviceMemoryError: the data, or a step, does not fit the device's memory.
        CheckpointError: the checkpoint is another call's, or damaged, or another process has it.
        OSError: the checkpoint cannot be read, or not be written at the beginning.
        RankError: of a group: another process failed, or was given something else.
        BackendUnavailableError: see `arraymlp.resolve`.
    """
    given = {
        "hidden": hidden,
        "activation": activation,
        "loss": loss,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "l2": l2,
        "alpha": alpha,
        "gradient_clip": gradient_clip,
        "weight_average": weight_average,
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "class_weight": class_weight,
        "epochs": epochs,
        "total_epochs": total_epochs,
        "batch_size": batch_size,
        "early_stopping": early_stopping,
        "standardize": standardize,
        "metrics": metrics,
        "initializer": initializer,
        "reduction": reduction,
        "shuffle": shuffle,
        "window": window,
        "drop_last": drop_last,
        "seed": seed,
        "order_seed": order_seed,
        "dtype": dtype,
        "precision": precision,
        "training_error": training_error,
        "probes": probes,
        "snapshots": snapshots,
        "shards": shards,
        "engine": engine,
    }
    if progress is not None and not isinstance(progress, Progress):
        require_switch("progress", progress)
    require_switch("profile", profile)
    before = network if isinstance(network, Run) else None
    old = network.network if isinstance(network, Run) else network
    if isinstance(old, MultilayerPerceptron):
        require_layers(old)
    ranks = Ranks(None if group is None else group_of(group))
    with ranks.together():
        X, y = take_table(X, y, encode, old)
        preset = preset or (preset_for(X) if old is None else DEFAULT)
        settings = merge_settings(given, preset, old, before)
        validation = validation_for(X, validation, [settings])
        listed = callback_list(callbacks)
        target = ranks.own_device(_resolve(X, old, backend, device), device)
        with ranks.sharing_cores(), target.within_memory(LESS_MEMORY):
            data, settings = prepare_data(
                X, y, sample_weight, validation, settings, old, before, target
            )
            settings = in_shards(settings, data, group is not None, profile)
            run = new_run(data, settings, target, old)
            if before is not None:
                same_rows, same_data = X is None, X is None and validation is None
                if before.fingerprint is not None and before.data is None:  # of a file
                    now = fingerprint(data, target)
                    same_rows, same_data = knows_data(before.fingerprint, now)
                resume_from(run, before, same_rows=same_rows, same_data=same_data)
            require_end(run)
            require_alike(ranks, run, checkpoint is not None)
            if ranks.size > 1:
                ranks.carrier = carrier_for(ranks, target)
            shown = progress if ranks.is_first else False
            bar = shown if isinstance(shown, Progress) else progress_for(shown, settings.epochs)
            if profile:
                run.profile = Profile(target)
            _train_kept(run, listed, bar, ranks, checkpoint)
    if run.ended == DIVERGED:
        raise NonFiniteLossError(run.cause, run)
    return run


class Call(NamedTuple):
    """Where a call begins, before a checkpoint puts its run further on.

    Attributes:
        start: its first step.
        records: of the history before it.
        ended: how the run ended before it.
    """

    start: Position
    records: int
    ended: str

    @classmethod
    def of(cls, run: Run) -> "Call":
        """The call that begins with a run as it is."""
        return cls(Position.of(run, run.required_data().rows), len(run.history), run.ended)


def _train_kept(
    run: Run,
    callbacks: Sequence[AnyCallback],
    progress: Progress,
    ranks: Ranks,
    checkpoint: str | os.PathLike[str] | Checkpoint | None,
) -> None:
    """As `_train`, from what the checkpoint has, and kept there; with none, as it is."""
    if checkpoint is None:
        _train(run, of_first_rank(callbacks, ranks, run), progress, ranks)
        return
    run.stopper = stopper_for(run)
    kept = as_checkpoint(checkpoint)
    file = FileOfFirstRank(lambda: RunFile(kept, run, callbacks), run, ranks)
    call = Call.of(run)
    # Around it all: a first signal ends nothing before the last state is written.
    with interruptible(), file.open() as resumes:
        if not file.is_finished:
            told = of_first_rank(callbacks, ranks, run)
            _train(run, told, progress, ranks, call, file.saver, resumes)
            file.finish()


def _train(
    run: Run,
    callbacks: Sequence[AnyCallback],
    progress: Progress,
    ranks: Ranks,
    call: Call | None = None,
    saver: Saver | None = None,
    resumes: bool = False,
) -> None:
    """Train a run to the end of its call, give back the best weights, and count the dead units.

    Args:
        run: to train.
        callbacks: of the call.
        progress: of the call.
        ranks: the processes that train it together.
        call: where it began; None for here.
        saver: of checkpoints.
        resumes: whether the run is as a checkpoint has it.
    """
    call = call or Call.of(run)
    run.ended = FINISHED
    with interruptible() as interrupt, progress:
        if saver is not None:
            count = saver.resume if resumes else saver.begin
            count(run.steps_done, run.next_epoch)
        if run.settings.shards is not None:
            interrupt = ranks.agreed(interrupt)
        failed = train_epochs(run, callbacks, interrupt, progress, call.start, saver, ranks)
        interrupted = interrupt.requested
    stopper = run.stopper
    all_stopped = stopper is not None and bool(stopper.stopped.all())
    if len(run.history) > call.records or all_stopped or interrupted:
        if failed:
            run.ended = DIVERGED
        elif interrupted and run.ended != STOPPED_EARLY:
            run.ended = INTERRUPTED
        elif all_stopped:
            run.ended = STOPPED_EARLY
        run.best_epoch = None
        run.cause = _not_finite(run) if failed else ""
        if failed or (run.ended != INTERRUPTED and run.partial_epoch.steps == 0):
            run.restore_best()
    else:
        run.ended = call.ended
    if run.settings.probes and not failed:
        X, window = run.required_data().X, run.settings.window
        with np.errstate(all="ignore"):
            run.dead_units = count_dead_units(run.network, X, run.backend, window)


def _resolve(
    X: Any, old: MultilayerPerceptron | None, backend: str | Backend, device: Any
) -> Backend:
    """Where to train: where the network is that goes on, unless data or arguments say otherwise."""
    if backend == "auto" and device is None and old is not None and not is_device_array(X):
        return old.backend
    return resolve(backend, device, like=X)


def _not_finite(run: Run) -> str:
    """The message for a loss that is no longer finite in any member."""
    record, layers = run.history[-1], not_finite_layers(run.raw_network)
    before_it = [earlier["step"] for earlier in run.history if earlier["epoch"] < record["epoch"]]
    where = f"no longer finite: the weights of layers {', '.join(layers)}"
    weights = where if layers else "all weights are still finite"
    members = f" in all {run.network.members} members" if run.network.members else ""
    last = record["step"]
    less = f" smaller learning_rate than {run.settings.learning_rate}"
    less += ", and less dropout" if run.settings.dropout != Dropout() else ""
    far = far_in_words(run.required_data(), run.backend, run.required_data().features)
    before = f"{far}: train on values around 1 before you try a{less}"
    advice = before if far else f"A{less} usually helps"
    return (
        f"the loss became {np.ravel(record['loss'])[0]}{members} in epoch {record['epoch']} "
        f"(steps {max(before_it, default=0) + 1} to {last}); {weights}. {advice}."
    )
