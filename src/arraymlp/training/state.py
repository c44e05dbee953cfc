"""The state of a run: all that it takes to go on to the same bits, as JSON and arrays.

Nothing of it hangs on the backend. The data is no part of it, nor is what the same call of `train`
makes again: row orders and dropout are functions of seed, epoch and step.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.steps.epoch import LossSums
from arraymlp.steps.probes import Measurement
from arraymlp.steps.schedules import Schedule
from arraymlp.steps.update import tree_map
from arraymlp.training.description import where_defined
from arraymlp.training.early_stopping import updated_arrays
from arraymlp.training.history import History
from arraymlp.training.network_parts import parameters
from arraymlp.training.run import ENDS, PartialEpoch, Run, Unrecorded
from arraymlp.training.schema import (
    ANY,
    COUNT,
    FLAG,
    NUMBER,
    REAL,
    TEXT,
    Form,
    ModelFileError,
    optional,
    require,
)
from arraymlp.training.snapshots import (
    SNAPSHOT,
    described_snapshots,
    restored_snapshots,
    snapshot_arrays,
)
from arraymlp.training.tensor_file import parse_object

# Columns of the history that a record may have, beside those that every one has.
COLUMNS = (
    "penalty",
    *(f"{part}_{what}" for part in ("training", "validation") for what in ("loss", "error")),
)
JSON = "run.json"  # a tensor: the history may be longer than a header can be

# Of epochs and steps: sums and products of them are to be exact, and to fit 64 bits.
PLACE = Rule("a whole number below 2 ** 53", lambda v: COUNT.allows(v) and v < 2**53)


def _or_list(rule: Rule) -> Rule:
    """The rule for a value, or for each of a list."""
    return Rule(
        f"{rule.what}, or a list of those",
        lambda v: all(map(rule.allows, v)) if isinstance(v, list) else rule.allows(v),
    )


FIGURE, COUNTS, FLAGS = _or_list(REAL), _or_list(PLACE), _or_list(FLAG)
EPOCHS = _or_list(Rule("a whole number from -1", lambda v: v == -1 or PLACE.allows(v)))
FIGURES = Rule(
    "a list of numbers, or of lists of those",
    lambda v: isinstance(v, list) and all(map(FIGURE.allows, v)),
)
SUM = Rule(  # the shape is of an array, which stands among the tensors
    "a number, or the shape of an array of numbers",
    lambda v: all(map(COUNT.allows, v)) if isinstance(v, list) else REAL.allows(v),
)
DURATION = Rule("a finite number from 0", lambda v: NUMBER.allows(v) and v >= 0)
RECORD: Form = {
    "epoch": PLACE,
    "step": PLACE,
    "learning_rate": FIGURE,
    "loss": FIGURE,
    **{f"{column}?": FIGURE for column in COLUMNS},
    "predicted?": FIGURES,
    "seconds?": REAL,
    "samples_per_s?": REAL,
    "*": ANY,
}
MEASUREMENT: Form = {
    f.name: {
        "step": PLACE,
        "epoch": PLACE,
        "loss": FIGURE,
        "predicted": optional(FIGURES),
    }.get(f.name, FIGURES)
    for f in fields(Measurement)
}
STOPPER: Form = {
    "stopped": FLAGS,
    "epoch": EPOCHS,
    "updates": COUNTS,
    "keeps": FLAG,
    "patience": {"best": FIGURE, "waited": COUNTS},
}
STATE: dict[str, Form] = {
    "partial_epoch": {
        "steps": PLACE,
        "sums": [SUM],
        "unrecorded": {"steps": PLACE, "rows": PLACE, "seconds": DURATION},
    },
    "updates": COUNTS,
    "history": [RECORD],
    "measurements": [MEASUREMENT],
    "dead_units": FIGURES,
    "snapshots?": [SNAPSHOT],
    "cause": TEXT,
    "ended": Rule(" or ".join(ENDS), lambda v: isinstance(v, str) and v in ENDS),
    "comparable_from": PLACE,
    "best_epoch": optional(COUNTS),
    "schedule": ANY,
    "stopper": ANY,  # of STOPPER, or null
    "engine": TEXT,
    "engine_reason": TEXT,
}


class State(NamedTuple):
    """A state, taken apart.

    Attributes:
        content: in JSON's types; numbers may be NaN or infinite.
        arrays: by name; on a device, or on the host.
    """

    content: dict[str, Any]
    arrays: dict[str, Array]

    def tensors(self, backend: Backend) -> dict[str, HostArray]:
        """What a file has of it, on the host."""

        def on_host(array: Array) -> HostArray:
            return array if isinstance(array, np.ndarray) else backend.to_numpy(array)

        with backend.active():
            tensors = {name: _filled(on_host(a)) for name, a in self.arrays.items()}
        text = json.dumps(self.content)
        return {**tensors, JSON: np.frombuffer(text.encode(), np.uint8)}


def _filled(array: HostArray) -> HostArray:
    """The array as a file has it: with an axis at least, its rows one after another."""
    return np.ascontiguousarray(array.reshape(array.shape or (1,)))


def content_of(tensors: dict[str, HostArray]) -> dict[str, Any]:
    """Take the content out of a file's tensors; a ModelFileError where it has none."""
    if JSON not in tensors or tensors[JSON].dtype != np.uint8:
        raise ModelFileError(f"it has no {JSON}")
    return parse_object(tensors.pop(JSON).tobytes(), f"its {JSON}", constants=True)


def state_of(run: Run, *, copied: bool = True) -> State:
    """The state of a run as it is now.

    Args:
        run: between two steps.
        copied: whether the arrays are copies, since the next step writes to the run's own.
    """

    def copy(array: Array) -> Array:
        return run.backend.asarray(array, copy=True) if copied else array

    arrays = {name: copy(array) for name, array in updated(run).items()}
    partial, stopper = run.partial_epoch, run.stopper
    sums: list[Any] = list(partial.sums)
    arrays |= {
        f"sums.{i}": copy(run.backend.asarray(a)) for i, a in enumerate(sums) if not _is_plain(a)
    }
    arrays |= snapshot_arrays(run.snapshots)
    if stopper is not None:
        arrays |= {f"best.{i}": a for i, a in enumerate(_leaves(stopper.kept))}
    content = {
        "partial_epoch": {
            "steps": partial.steps,
            "sums": [a if _is_plain(a) else list(a.shape) for a in sums],
            "unrecorded": partial.unrecorded._asdict(),
        },
        "updates": np.asarray(run.updates).tolist(),
        "history": [plain(record) for record in run.history],
        "measurements": [plain(m.to_dict()) for m in run.measurements],
        "dead_units": plain(run.dead_units),
        **described_snapshots(run.snapshots),
        "ended": run.ended,
        "cause": run.cause,
        "comparable_from": run.comparable_from,
        "best_epoch": plain(run.best_epoch),
        "schedule": strict(run.schedule.state(), run.schedule),
        "stopper": None if stopper is None else stopper.state(),
        "engine": run.engine,
        "engine_reason": run.engine_reason,
    }
    return State(content, arrays)


def restore_state(run: Run, content: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> None:
    """Give a run the state that `state_of` took of one with the same network and settings.

    Args:
        run: with network, optimiser's states, schedule and stopper as at its beginning.
        content: of the state; it is held to its form.
        tensors: those of the state, and no others.

    Raises:
        ModelFileError: they are not those of such a run.
    """
    names = (name.removesuffix("?") for name in STATE)
    state = {name: content[name] for name in names if name in content}
    require(state, STATE, "its run")
    _require_order(state)
    _require_shapes(state, run)
    rest = dict(tensors)
    expected = updated(run)
    run_arrays = {name: taken(rest, name, array, run.backend) for name, array in expected.items()}
    try:
        _set_updated(run, run_arrays)
        _restore_sums(run, state["partial_epoch"], rest)
        _restore_stopper(run, state["stopper"], rest)
        _restore_schedule(run, state["schedule"])
        run.snapshots = restored_snapshots(state, rest, run.network)
        run.measurements = [Measurement(**m) for m in state["measurements"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"its run does not fit its settings ({error!r})") from error
    if rest:
        raise ModelFileError(f"it has tensors of no use: {', '.join(list(rest)[:20])}")
    updates = state["updates"]
    run.updates = np.asarray(updates) if isinstance(updates, list) else updates
    run.history = History([dict(record) for record in state["history"]])
    for name in (
        "dead_units",
        "ended",
        "cause",
        "comparable_from",
        "best_epoch",
        "engine",
        "engine_reason",
    ):
        setattr(run, name, state[name])


def updated(run: Run) -> dict[str, Array]:
    """The arrays that steps update, by the names that a file has for them."""
    arrays = parameters(run.network)
    if run.averages:
        arrays |= parameters(run.raw_network, "raw.")
    return arrays | {f"states.{i}": a for i, a in enumerate(_leaves(run.states))}


def _set_updated(run: Run, arrays: Mapping[str, Array]) -> None:
    for prefix, network in (("raw.", run.raw_network), ("", run.network)):
        if prefix and not run.averages:
            continue
        for i, layer in enumerate(network.layers):
            layer.weights = arrays[f"{prefix}layers.{i}.weights"]
            layer.bias = arrays[f"{prefix}layers.{i}.bias"]
    states = (a for name, a in arrays.items() if name.startswith("states."))
    run.states = _refilled(run.states, states)


def _restore_sums(run: Run, partial: Mapping[str, Any], rest: dict[str, HostArray]) -> None:
    sums: list[Any] = list(partial["sums"])
    if len(sums) != len(LossSums._fields):
        raise ModelFileError("it has other sums of losses than a run has")
    for i, value in enumerate(sums):
        if isinstance(value, list):
            if tuple(value) not in ((), run.shape):
                raise ModelFileError(f"its sums.{i} has the shape {value}")
            tensor = rest.pop(f"sums.{i}").reshape(value)
            if tensor.dtype.kind != "f":
                raise ModelFileError(f"its sums.{i} is of {tensor.dtype}")
            sums[i] = run.backend.asarray(tensor)
    unrecorded = Unrecorded(**partial["unrecorded"])
    run.partial_epoch = PartialEpoch(partial["steps"], LossSums(*sums), unrecorded)


def _require_order(state: Mapping[str, Any]) -> None:
    """A ModelFileError unless epochs and steps follow one another."""
    partial, history = state["partial_epoch"], state["history"]
    for name in ("epoch", "step"):
        numbers = [record[name] for record in history]
        if sorted(numbers) != numbers:
            raise ModelFileError(f"the {name}s of its history do not follow one another")
    if state["comparable_from"] > len(history):
        raise ModelFileError("its comparable_from is beyond its history")
    unrecorded = partial["unrecorded"]["steps"]
    if unrecorded > partial["steps"]:
        raise ModelFileError("it has more steps without a record than steps of their epoch")
    if partial["steps"] > unrecorded and not history:
        raise ModelFileError("a part of its epoch has a record, but it has no history")


def _require_shapes(state: Mapping[str, Any], run: Run) -> None:
    """A ModelFileError unless figures are of the run's members, layers and outputs."""
    shape, layers = run.shape, len(run.network.layers)
    hidden = ("active_units", "active_pairs", "mean")  # the others are of all layers
    for name in ("updates", "best_epoch"):
        if state[name] is not None and np.shape(state[name]) not in ((), shape):
            raise ModelFileError(f"its {name} is of other members")
    if state["dead_units"]:
        _require_shape("dead_units", state["dead_units"], (layers - 1, *shape))
    for measurement in state["measurements"]:
        for name, value in measurement.items():
            if name == "loss":
                _require_shape(name, value, shape)
            elif name == "predicted":
                outputs = run.network.layers[-1].n_out
                _require_shape(name, value, (*shape, outputs)) if value is not None else None
            elif name not in ("step", "epoch"):
                _require_shape(name, value, (layers - (name in hidden), *shape))


def _require_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """A ModelFileError unless numbers in lists have a shape; an empty list has any with a 0."""
    try:
        fits = np.shape(value) == shape or (0 in shape and value == [])
    except ValueError:  # lists of several lengths
        fits = False
    if not fits:
        raise ModelFileError(f"its {name} is not of its layers and members")


def _restore_schedule(run: Run, state: Any) -> None:
    """Give the schedule what it remembers, and have it give the factors of a step."""
    if type(run.schedule).state is Schedule.state:
        if state is not None:
            raise ModelFileError("its schedule remembers something, but that of its settings not")
        return
    run.schedule.restore(state)
    factors = run.schedule.factors(np.asarray([[run.steps_done]]), run.steps_done + 1)
    if np.shape(factors) not in ((1, 1), (1, *run.shape)) or not np.isfinite(factors).all():
        raise ModelFileError("its schedule gives no factors for its members")


def _restore_stopper(run: Run, state: Mapping[str, Any] | None, rest: dict[str, HostArray]) -> None:
    if (state is None) != (run.stopper is None):
        raise ModelFileError("early stopping is in its settings or in its run, not in both")
    if state is None or run.stopper is None:
        return
    require(state, STOPPER, "its early stopping")
    kept = None
    if state["keeps"]:
        template = updated_arrays(run.networks, run.states)
        of_file = (
            taken(rest, f"best.{i}", a, run.backend) for i, a in enumerate(_leaves(template))
        )
        kept = _refilled(template, of_file)
    run.stopper.restore_state(state, kept)
    for name in ("stopped", "epoch", "updates"):
        if getattr(run.stopper, name).shape != run.shape:
            raise ModelFileError(f"its early stopping has {name} of other members")
    patience = run.stopper.patience
    if not all(a.shape in ((), run.shape) for a in (patience.best, patience.waited)):
        raise ModelFileError("its early stopping has waited for other members")
    if kept is None and (run.stopper.epoch >= 0).any():
        raise ModelFileError("its early stopping has an epoch whose weights it has not")


def taken(rest: dict[str, HostArray], name: str, like: Array, backend: Backend) -> Array:
    """A tensor of the file, on the device; it must have the shape and dtype of an array there."""
    if name not in rest:
        raise ModelFileError(f"it has no {name}")
    tensor, shape = rest.pop(name), tuple(like.shape)
    dtype = next((d for d in ("float32", "float64") if like.dtype == getattr(backend.xp, d, 0)), "")
    if tensor.shape != (shape or (1,)) or tensor.dtype.name != dtype:
        raise ModelFileError(
            f"its {name} is {tensor.shape} {tensor.dtype}, where {shape} {dtype} was expected"
        )
    return backend.asarray(tensor.reshape(shape))


def _leaves(tree: Any) -> list[Array]:
    """The arrays in nested lists and tuples, one after another."""
    leaves: list[Array] = []
    tree_map(leaves.append, tree)
    return leaves


def _refilled(tree: Any, arrays: Iterator[Array]) -> Any:
    """The same nest with other arrays."""
    return tree_map(lambda _: next(arrays), tree)


def _is_plain(value: Any) -> bool:
    """Whether it is a number of Python's own, which no array is and no NumPy scalar."""
    return isinstance(value, int | float) and not isinstance(value, np.generic)


def plain(value: Any) -> Any:
    """A figure in JSON's types: a callback may have put NumPy's numbers into a record."""

    def other(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        return repr(value)

    return _in_json(value, other)


def strict(value: Any, of: Any) -> Any:
    """What an object remembers, in JSON's types.

    Raises:
        TypeError: something in it is of another type, and would come back as another thing.
    """

    def other(value: Any) -> Any:
        raise TypeError(f"the state() of {of!r} has a {type(value).__name__}, which JSON has not")

    return _in_json(value, other)


def _in_json(value: Any, other: Callable[[Any], Any]) -> Any:
    """A value in JSON's types, with ``other`` of what has none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {k: _in_json(v, other) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(v, other) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return other(value)


def callback_states(callbacks: Sequence[Any]) -> list[Any]:
    """What each callback remembers, with its class; None of those that remember nothing."""
    states = []
    for callback in callbacks:
        state = strict(callback.state(), callback) if _remembers(callback) else None
        of = where_defined(type(callback))
        states.append(None if state is None else {"of": of, "state": state})
    return states


def _remembers(callback: Any) -> bool:
    return all(callable(getattr(callback, name, None)) for name in ("state", "restore"))


def restore_callbacks(callbacks: Sequence[Any], states: Sequence[Any]) -> None:
    """Give callbacks back what they remembered, the first of a class to the first of that class.

    Callbacks that remember nothing may be others than before.

    Raises:
        ModelFileError: there is no callback for a state.
    """
    rest = [callback for callback in callbacks if _remembers(callback)]
    for entry in states:
        if entry is None:
            continue
        require(entry, {"of": TEXT, "state": ANY}, "its callback")
        fits = [
            i for i, callback in enumerate(rest) if where_defined(type(callback)) == entry["of"]
        ]
        if not fits:
            raise ModelFileError(
                f"it has what a {entry['of']} remembers, but no such callback is given"
            )
        callback = rest.pop(fits[0])
        try:
            callback.restore(entry["state"])
        except Exception as error:  # of any kind: it may be the user's
            raise ModelFileError(f"{callback!r} cannot go on from it ({error!r})") from error
