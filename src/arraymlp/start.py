"""A run before its first step: its settings, its data, what it takes over from an earlier one."""

from dataclasses import replace
from typing import Any

from arraymlp._checks import is_number, nearest, values
from arraymlp.backend import Backend
from arraymlp.data import (
    Data,
    add_validation,
    columns,
    load_data,
    member_count,
    require_minibatches,
    with_class_weights,
)
from arraymlp.history import History
from arraymlp.metrics import METRICS, greater_is_better, require_suits
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import optimizer
from arraymlp.patience import early_stopping
from arraymlp.run import Run
from arraymlp.schedules import schedule
from arraymlp.settings import Settings
from arraymlp.settings import preset as find_preset
from arraymlp.stopping import Stopper
from arraymlp.update import initial_state, mapped


def settings_for(given: dict[str, Any], preset: str, old: Any, before: Run | None) -> Settings:
    """The preset's settings or the earlier run's, with what was given in their place."""
    base = find_preset(preset)
    if old is None:
        return _filled(base.updated(given))
    if not isinstance(old, MultilayerPerceptron):
        raise ValueError(f"network must be a MultilayerPerceptron or a Run, not {type(old)}")
    fixed = ["hidden", "activation", "loss", "initializer", "dtype"]
    if before is not None and before.settings.seed is not None:
        fixed.append("seed")  # of a network, and of its run so far, dropout may have none
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
        "activation": tuple(layer.activation for layer in old.layers[:-1]),
        "loss": old.loss,
        "dtype": old.dtype,
    }
    updated = base.updated({**given, **own})
    return _filled(replace(updated, seed=given["seed"], initializer=None))


def _filled(settings: Settings) -> Settings:
    """The settings with the learning rate that they mean."""
    return replace(settings, learning_rate=settings.rate)


def data_for(
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
    settings: Settings,
    old: MultilayerPerceptron | None,
    before: Run | None,
    place: Backend,
) -> Data:
    """The data to train on, checked against the settings: the user's, the earlier run's, or MNIST.

    Raises:
        ValueError: data that cannot be trained with, or not with these settings.
    """
    settings.require_members(member_count(settings, old))
    if before is not None and X is None and y is None and sample_weight is None:
        if before.data is None:
            raise ValueError("the run was kept without its data: give X and y to go on")
        data = before.data.moved(before.backend, place)
    else:
        data = load_data(X, y, sample_weight, settings, old, place)
    if validation is not None:
        if X is None and before is not None and is_number(validation):
            raise ValueError(
                "a fraction cannot be held out of rows that were trained on: the run goes on "
                "with the validation data it has, unless validation=(X, y) is given"
            )
        data = add_validation(data, validation, settings, old, place)
    data = with_class_weights(data, settings, place)
    require_minibatches(data.X.shape[0], settings)
    require_fit(settings, data)
    return data


def require_fit(settings: Settings, data: Data) -> None:
    """A ValueError where settings and data do not go together."""
    loss = data.y.loss
    loss.require_sound()
    if loss.classifies == "no" and any(values("label_smoothing", settings.label_smoothing)):
        raise ValueError(f"label_smoothing needs classes, but {loss.name} has none")
    for metric in settings.metrics:
        require_suits(metric, loss, data.y.n_outputs)
    if settings.metrics and not data.validates and not settings.training_error:
        raise ValueError("metrics need validation data, or training_error=True")
    stopping = early_stopping(settings.early_stopping)
    watchers = [("early_stopping", stopping), ("schedule", schedule(settings.schedule))]
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
        _greater_is_better(stopping.monitor, stopping.greater_is_better, settings)


def _greater_is_better(monitor: str, given: bool | None, settings: Settings) -> bool:
    found = greater_is_better(monitor, settings.metrics) if given is None else given
    if found is None:
        raise ValueError(
            f"early stopping cannot know whether a greater {monitor} is better: say so, as in "
            f"EarlyStopping({monitor!r}, greater_is_better=True)"
        )
    return found


def start(data: Data, settings: Settings, place: Backend, old: MultilayerPerceptron | None) -> Run:
    """A new run, of a new network or of a copy of the given one."""
    network = _create(data, settings, place) if old is None else old.to(place)
    averaged = any(values("weight_average", settings.weight_average))
    learner = network.copy() if averaged else network
    state = initial_state(learner, optimizer(settings.optimizer))
    factor = schedule(settings.schedule).begin()
    return Run(network, History(), place, settings, data, state, learner=learner, schedule=factor)


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


def take_up(run: Run, before: Run, *, same_rows: bool, same_data: bool) -> None:
    """Bring a new run of an earlier one's network to where that stopped; copies, nothing shared.

    Args:
        run: the new one.
        before: the earlier one.
        same_rows: whether it trains on the same rows.
        same_data: whether it also validates on the same.
    """
    moved = before.mover(run.backend)
    now, then = run.settings, before.settings
    if before.learner is not before.network:  # an average goes on, or is given up
        learner = before.learner.to(run.backend)
        run.network = run.network if run.learner is not run.network else learner
        run.learner = learner
    same_state = optimizer(now.optimizer) == optimizer(then.optimizer)
    if same_state:
        run.state, run.updates = mapped(moved, before.state), before.updates
    run.best_epoch, run.interrupted = before.best_epoch, before.interrupted
    run.history = History(list(before.history.records))
    run.measurements = list(before.measurements)
    same_loss = all(
        getattr(now, name) == getattr(then, name)
        for name in ("dropout", "label_smoothing", "class_weight")
    )
    comparable = same_data and same_loss
    run.comparable_from = before.comparable_from if comparable else len(run.history)
    names = ("batch_size", "drop_last", "shuffle", "window", "order_seed")
    if same_rows and all(getattr(now, name) == getattr(then, name) for name in names):
        run.position, run.met = before.position, mapped(moved, before.met)
    if schedule(now.schedule) == schedule(then.schedule):
        run.schedule = before.schedule.begin()
        if not comparable:
            run.schedule.compare_anew()
    fits = comparable and same_state and now.early_stopping == then.early_stopping
    fits = fits and (run.learner is run.network) == (before.learner is before.network)
    if before.stopper is not None and fits:
        run.stopper = before.stopper.copied(moved)
        if not before.interrupted and before.position == 0:
            run.stopper.restart()


def stopper_for(run: Run) -> Stopper | None:
    """What watches for early stopping: that of the run taken up, or a new one."""
    wanted = early_stopping(run.settings.early_stopping)
    if wanted is None or isinstance(run.stopper, Stopper):
        return run.stopper if wanted else None
    greater = _greater_is_better(wanted.monitor, wanted.greater_is_better, run.settings)
    return Stopper(wanted, greater, run.network.members)
