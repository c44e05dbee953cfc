"""Files of runs: a run without its data, as `save` writes it and a checkpoint keeps it.

The header has the version of the content alone; the tensor ``run.json`` has the rest of what is no
array: the state (`arraymlp.training.state`), the settings (`arraymlp.training.description`), the
header of the network's own file, and the fingerprint of the data.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.fingerprint import Fingerprint, fingerprint
from arraymlp.steps.update import initial_states
from arraymlp.training.description import described_settings, settings_of
from arraymlp.training.history import History
from arraymlp.training.network_parts import SCALINGS, network_header, network_of, scaling_tensors
from arraymlp.training.run import Run
from arraymlp.training.schema import (
    ANY,
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    Form,
    ModelFileError,
    optional,
    require,
)
from arraymlp.training.setup import stopper_for
from arraymlp.training.state import (
    COLUMNS,
    STATE,
    State,
    content_of,
    restore_state,
    state_of,
)

VERSION = 1  # of the content
HEADER: Mapping[str, Form] = {"run": {"version": COUNT}}
OBJECT: Form = {"*": ANY}
SIZES = Rule(
    "a list of sizes", lambda v: isinstance(v, list) and len(v) > 0 and all(map(COUNT.allows, v))
)
# Of `arraymlp.data.fingerprint`.
DATA: Form = {
    "rows?": [[optional(TEXT)]],
    "*": {"shape": SIZES, "kind": TEXT, "digest": TEXT, "labels?": TEXT, "scale?": [NUMBER]},
}
CONTENT: dict[str, Form] = {
    **STATE,
    "settings": OBJECT,
    "network": ANY,
    "data": DATA,
    "began": optional(TEXT),
    "callbacks": [ANY],
    "finished": optional(FLAG),
}


def file_state(
    run: Run,
    settings: Mapping[str, Any],
    data: Fingerprint | None,
    *,
    began: str | None = None,
    callbacks: Sequence[Any] = (),
    finished: bool | None = None,
    copied: bool = False,
) -> State:
    """All that a run's file has, but its header.

    Args:
        run: between two steps.
        settings: as `described_settings` describes them.
        data: the fingerprint.
        began: what the network of the call begins with; see `arraymlp.training.checkpoint`.
        callbacks: what those of the call remember.
        finished: whether the call has nothing left to train; None where it is of no call.
        copied: whether the arrays are copies.
    """
    state = state_of(run, copied=copied)
    try:
        network = network_header(run.network)
    except ValueError:  # a function of the user's own: the same call has it, and `load` has not
        network = None
    state.content.update(
        settings=settings,
        network=network,
        data=data or {},
        began=began,
        callbacks=list(callbacks),
        finished=finished,
    )
    return State(state.content, {**state.arrays, **scaling_tensors(run.network)})


def read_content(header: Mapping[str, Any], tensors: dict[str, HostArray]) -> dict[str, Any]:
    """The content of a run's file, held to its form; its tensor is taken out of the others.

    Raises:
        ModelFileError: it is not that of a run.
    """
    if "run" not in header:
        raise ModelFileError("it holds no run")
    require(header, HEADER, "its header")
    if header["run"]["version"] != VERSION:
        raise ModelFileError(
            f"its run has version {header['run']['version']}, but this version reads {VERSION}"
        )
    content = content_of(tensors)
    require(content, CONTENT, "its run")
    return content


def restore_run(run: Run, content: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> None:
    """Give a run of the same network and settings a file's state; errors as of `restore_state`."""
    scalings = {f"{name}.{part}" for name in SCALINGS for part in ("mean", "scale")}
    for record in content["history"]:
        for column in ("learning_rate", "loss", *COLUMNS):
            if np.shape(record.get(column, np.empty(run.shape))) != run.shape:
                raise ModelFileError(f"the {column} of its history is of other members")
    restore_state(run, content, {k: v for k, v in tensors.items() if k not in scalings})
    _require_within_epoch(run, content["data"])


def _require_within_epoch(run: Run, data: Fingerprint) -> None:
    """A ModelFileError where more is done of an epoch than it has steps."""
    done, size = run.partial_epoch.steps, run.settings.batch_size
    if done and "X" in data and isinstance(size, int):
        rows = int(data["X"]["shape"][0])
        if done >= (rows // size if run.settings.drop_last else -(-rows // size)):
            raise ModelFileError(f"it has done {done} steps of an epoch that has fewer")


def run_parts(run: Run) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """The header and the tensors of a run's file.

    Raises:
        ValueError: something in its network or settings is the user's own.
    """
    network_header(run.network)  # refuses what is the user's own
    settings = described_settings(run.settings)
    for name, value in settings.items():
        if (own := _own(value)) is not None:
            raise ValueError(
                f"the run's {name} is {own}, which is not of this package: load could not find it. "
                "save(run.network, path) saves the network alone"
            )
    data = run.fingerprint if run.data is None else fingerprint(run.data, run.backend)
    state = file_state(run, settings, data)
    return {"run": {"version": VERSION}}, state.tensors(run.backend)


def _own(description: Any) -> str | None:
    """Of a description, where something of the user's own in it is defined; None without such."""
    if isinstance(description, dict) and "own" in description:
        return str(description["own"])
    inner = description.values() if isinstance(description, dict) else description
    several = inner if isinstance(description, dict | list) else ()
    return next((own for part in several if (own := _own(part)) is not None), None)


def run_of_file(header: Mapping[str, Any], tensors: dict[str, HostArray], there: Backend) -> Run:
    """The run of a file, without data, on a backend; a ModelFileError where it is none."""
    content = read_content(header, tensors)
    require(content["network"], OBJECT, "its network")
    names = ("layers.", *(f"{name}." for name in SCALINGS))
    of_network = {k: v for k, v in tensors.items() if k.startswith(names)}
    network = network_of(content["network"], of_network).to(there)
    raw = network.copy() if any(name.startswith("raw.") for name in tensors) else network
    settings = settings_of(content["settings"])
    if (tuple(settings.hidden), settings.dtype) != (network.sizes[1:-1], network.dtype):
        raise ModelFileError("its network is not that of its settings")
    run = Run(
        network=network,
        history=History(),
        backend=there,
        settings=settings,
        data=None,
        states=initial_states(raw, settings.optimizer),
        raw_network=raw,
        schedule=settings.schedule.begin(),
        fingerprint=content["data"] or None,
    )
    if content["stopper"] is not None:
        try:
            run.stopper = stopper_for(run)
        except ValueError as error:
            raise ModelFileError(str(error)) from error
    restore_run(run, content, tensors)
    return run
