"""A run before its first step: its settings, its data, what it takes over from an earlier one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import as_floats, is_number, nearest
from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.loading import (
    add_validation,
    columns,
    load_data,
    member_count,
    require_minibatches,
)
from arraymlp.data.table_input import TableInput
from arraymlp.data.weights import with_class_weights
from arraymlp.nn.metrics import METRICS, greater_is_better, require_suits
from arraymlp.nn.network import Network
from arraymlp.steps.update import initial_states, tree_map
from arraymlp.training.early_stopping import Stopper
from arraymlp.training.held_out import hold_out_in_turn
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.own_layers import require_own_layers
from arraymlp.training.own_loss import require_own_loss
from arraymlp.training.run import Run
from arraymlp.training.settings import DEFAULT, TABLES, Settings, get_preset

# What a given network was made with is read off it; how it was drawn is not known.
OF_NETWORK = ("hidden", "activation", "loss", "dtype")


def merge_settings(given: Mapping[str, Any], preset: str, old: Any, before: Run | None) -> Settings:
    """The preset's settings or the earlier run's, with what was given in their place.

    Args:
        given: settings by name; None where the preset, or the run, says it.
        preset: its name.
        old: the network to go on training, of a run too; None for a new one.
        before: the run to go on with.

    Raises:
        ValueError: a setting that cannot be trained with, or that the network or run has.
    """
    if old is None:
        return get_preset(preset, given)
    if not isinstance(old, MultilayerPerceptron):
        raise ValueError(f"network must be a MultilayerPerceptron or a Run, not {type(old)}")
    fixed = [*OF_NETWORK, "initializer", "standardize"]
    if before is not None and before.settings.seed is not None:
        fixed.append("seed")  # of a network, and of its run so far, dropout may have none
    clash = [name for name in fixed if given.get(name) is not None]
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
    of_network = {
        "hidden": old.sizes[1:-1],
        "activation": tuple(layer.activation for layer in old.layers[:-1]),
        "loss": old.loss,
        "dtype": old.dtype,
    }
    merged = get_preset(preset, {**given, **of_network})
    scales: Any = "targets" if old.outputs is not None else False
    if old.inputs is not None:
        scales = "features" if old.outputs is None else True
    return replace(merged, seed=given.get("seed"), initializer=None, standardize=scales)


def prepare_data(
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
    settings: Settings,
    old: Network | None,
    before: Run | None,
    backend: Backend,
) -> tuple[Data, Settings]:
    """The data to train on, checked against the settings: the user's, the earlier run's, or MNIST.

    The settings come with it, completed by what hangs on the number of rows.

    Raises:
        ValueError: data that cannot be trained with, or not with these settings.
    """
    settings.require_members(member_count(settings, old))
    if before is not None and X is None and y is None and sample_weight is None:
        data = before.required_data().moved(before.backend, backend)
    else:
        data = load_data(X, y, sample_weight, settings, old, backend, validation)
    if validation is not None:
        if (
            X is None
            and before is not None
            and (is_number(validation) or isinstance(validation, str))
        ):
            raise ValueError(
                "a fraction cannot be held out of rows that were trained on: the run goes on "
                "with the validation data it has, unless validation=(X, y) is given"
            )
        if isinstance(validation, str):
            data = hold_out_in_turn(
                data, validation, settings, member_count(settings, old), backend
            )
        else:
            data = add_validation(data, validation, settings, old, backend)
    data = with_class_weights(data, settings, backend)
    settings = settings.for_rows(data.rows)
    require_minibatches(data.rows, settings)
    require_fit(settings, data)
    return data, settings


def require_fit(settings: Settings, data: Data) -> None:
    """A ValueError where settings and data do not go together."""
    loss = data.y.loss
    loss.require_sound()
    require_own_loss(data.y, settings.dtype)
    if loss.classifies == "no" and np.any(as_floats(settings.label_smoothing)):
        raise ValueError(f"label_smoothing needs classes, but {loss.name} has none")
    for metric in settings.metrics:
        require_suits(metric, loss, data.y.n_outputs)
    if settings.metrics and not data.validates and not settings.training_error:
        raise ValueError("metrics need validation data, or training_error=True")
    stopping = settings.early_stopping
    watchers = [("early_stopping", stopping), ("schedule", settings.schedule)]
    known = columns(settings, data)
    for name, watcher in watchers:
        monitor = getattr(watcher, "monitor", None)
        if monitor is not None and monitor not in known:
            stem = monitor.partition("_")[2]
            hint = f"; metrics=[{stem!r}] adds it" if stem in METRICS else nearest(known, monitor)
            if not data.validates and monitor.startswith("validation_"):
                hint = "; give validation="
            raise ValueError(
                f"{name} watches {monitor!r}, but there will be only {', '.join(known)}{hint}"
            )
    if stopping is not None:
        greater_monitored_is_better(stopping.monitor, stopping.greater_is_better, settings)


def greater_monitored_is_better(monitor: str, given: bool | None, settings: Settings) -> bool:
    """True where a greater figure is better: as given, or as the figure's name says it."""
    greater = greater_is_better(monitor, settings.metrics) if given is None else given
    if greater is None:
        raise ValueError(
            f"early stopping cannot know whether a greater {monitor} is better: say so, as in "
            f"EarlyStopping({monitor!r}, greater_is_better=True)"
        )
    return greater


def new_run(
    data: Data, settings: Settings, backend: Backend, old: MultilayerPerceptron | None
) -> Run:
    """A new run, of a new network or of a copy of the given one."""
    network = _create(data, settings, backend) if old is None else old.to(backend)
    require_own_layers(network)
    if network.encoding is None:
        network.features = network.features or data.features
    network.targets = network.targets or data.targets
    averages = bool(np.any(as_floats(settings.weight_average)))
    raw = network.copy() if averages else network
    states = initial_states(raw, settings.optimizer)
    schedule = settings.schedule.begin()
    return Run(network, History(), backend, settings, data, states, raw, schedule)


def preset_for(X: Any) -> str:
    """The preset of data for which none is named."""
    return TABLES if isinstance(X, TableInput) else DEFAULT


def _names(encodings: Any) -> tuple[str, ...]:
    """The columns that a network's encoding takes, which are those of each member's."""
    first: TableEncoding = encodings[0] if isinstance(encodings, tuple) else encodings
    return first.names


def _create(data: Data, settings: Settings, backend: Backend) -> MultilayerPerceptron:
    assert settings.initializer is not None  # only a given network's are unknown
    assert settings.seed is not None
    inputs, outputs = data.scalings
    return MultilayerPerceptron.create(
        [int(data.X.shape[1]), *(int(n) for n in settings.hidden), data.y.n_outputs],
        activation=settings.activation,
        loss=data.loss,
        inputs=inputs,
        outputs=outputs,
        features=data.features if data.encodings is None else _names(data.encodings),
        targets=data.targets,
        encoding=data.encodings,
        initializer=settings.initializer,
        seed=settings.seed,
        classes=data.y.classes,
        backend=backend,
        dtype=settings.dtype,
    )


def resume_from(run: Run, before: Run, *, same_rows: bool, same_data: bool) -> None:
    """Bring a new run of an earlier one's network to where that stopped; copies, nothing shared.

    Args:
        run: the new one.
        before: the earlier one.
        same_rows: whether it trains on the same rows.
        same_data: whether it also validates on the same.
    """
    moved = before.mover(run.backend)
    now, then = run.settings, before.settings

    def same(*names: str) -> bool:
        return all(getattr(now, name) == getattr(then, name) for name in names)

    if before.averages:  # an average goes on, or is given up
        raw = before.raw_network.to(run.backend)
        run.network = run.network if run.averages else raw
        run.raw_network = raw
    if same("optimizer"):
        run.states, run.updates = tree_map(moved, before.states), before.updates
    run.best_epoch, run.ended = before.best_epoch, before.ended
    run.history = History(list(before.history.records))
    run.measurements, run.snapshots = list(before.measurements), list(before.snapshots)
    comparable = same_data and same("dropout", "label_smoothing", "class_weight")
    run.comparable_from = before.comparable_from if comparable else len(run.history)
    if same_rows and same("batch_size", "drop_last", "shuffle", "window", "order_seed"):
        run.partial_epoch = tree_map(moved, before.partial_epoch)
    if same("schedule"):
        run.schedule = before.schedule.begin()
        if not comparable:
            run.schedule.compare_anew()
    fits = comparable and same("optimizer", "early_stopping")
    fits = fits and len(run.networks) == len(before.networks)
    if before.stopper is not None and fits:
        run.stopper = before.stopper.copied(moved)
        if not before.interrupted and before.partial_epoch.steps == 0:
            run.stopper.restart()


def require_end(run: Run) -> None:
    """A ValueError where the run, as it stands, would end after its ``total_epochs``."""
    total, end = run.settings.total_epochs, run.next_epoch + run.settings.epochs
    if total is not None and end > total:
        raise ValueError(
            f"the run would end after {end} epochs, {run.settings.epochs} of them in this call, "
            f"but total_epochs is {total}: give fewer epochs, or a greater total_epochs"
        )


def stopper_for(run: Run) -> Stopper | None:
    """The stopper for early stopping: that of the run that goes on, or a new one."""
    wanted = run.settings.early_stopping
    if wanted is None or run.stopper is not None:
        return run.stopper if wanted is not None else None
    greater = greater_monitored_is_better(wanted.monitor, wanted.greater_is_better, run.settings)
    return Stopper(wanted, greater, run.network.members)
