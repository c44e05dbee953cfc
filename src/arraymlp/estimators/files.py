"""Model files of estimators: the network's file, whose header has the estimator's entries, too.

Under ``estimator`` the header has the class's name, the parameters and the fitted attributes, in
JSON. Like the network, they are read without running anything.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from arraymlp.backends.backend import Backend
from arraymlp.nn.activations import Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import LOSSES, Loss, get_loss
from arraymlp.training.files import ModelFileError, read, save
from arraymlp.training.model import MultilayerPerceptron

# Of the machine or the session, and no part of a model.
LEFT_OUT = (np.random.RandomState, np.random.Generator)


def save_estimator(
    path: str | os.PathLike[str],
    class_name: str,
    network: MultilayerPerceptron,
    parameters: Mapping[str, object],
    fitted: Mapping[str, object],
) -> None:
    """Write an estimator's file, whole or not at all.

    Args:
        path: of the file.
        class_name: the estimator's.
        network: the one that it trained.
        parameters: as ``get_params`` gives them. A random state that is no number becomes None.
        fitted: its attributes: numbers, strings, None, lists of them, and arrays on the host.

    Raises:
        ValueError: a value has no form in JSON here.
        OSError: the file cannot be written; nothing is left behind.
    """
    estimator = {
        "kind": class_name,
        "parameters": {name: _to_json(name, value) for name, value in parameters.items()},
        "fitted": {name: _to_json(name, value) for name, value in fitted.items()},
    }
    save(network, path, estimator=estimator)


def load_estimator(
    path: str | os.PathLike[str], class_name: str, backend: Backend
) -> tuple[MultilayerPerceptron, dict[str, Any], dict[str, Any]]:
    """Read what `save_estimator` wrote: network, parameters and fitted attributes.

    Raises:
        ModelFileError: the file is damaged, or of something else.
    """
    network, header = read(path, backend)
    entry = header.get("estimator")
    if not isinstance(entry, dict) or entry.get("kind") != class_name:
        content = f"an {entry.get('kind')}" if isinstance(entry, dict) else "a network alone"
        raise ModelFileError(f"{os.fspath(path)}: it holds {content}, not an {class_name}")
    try:
        parameters = {name: _from_json(v, tuple) for name, v in entry["parameters"].items()}
        fitted = {name: _from_json(v, list) for name, v in entry["fitted"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(
            f"{os.fspath(path)}: its estimator is not readable ({error!r})"
        ) from error
    return network, parameters, fitted


def _to_json(name: str, value: object) -> object:
    """A value in JSON's types; one that has none is an object, whose first key says what it is.

    Args:
        name: of the parameter or attribute, for the message.
        value: its value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {"mapping": [[_to_json(name, k), _to_json(name, v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        dtype_kind = value.dtype.kind
        if dtype_kind in "mM":  # times, by their number
            return {"array": value.view(np.int64).tolist(), "dtype": value.dtype.str}
        if dtype_kind in "biufU" or (dtype_kind == "O" and all(isinstance(v, str) for v in value)):
            dtype = value.dtype.str if dtype_kind != "O" else "O"
            return {"array": value.tolist(), "dtype": dtype}
    if isinstance(value, Loss) and type(LOSSES.get(value.name)) is type(value):
        return {"loss": value.name, "parameters": value.parameters}
    if isinstance(value, Dropout):
        return {"dropout": asdict(value)}
    if isinstance(value, Activation):
        return value.name
    if isinstance(value, Backend):
        return value.name
    if isinstance(value, LEFT_OUT):
        return None
    if isinstance(value, Iterable):
        return [_to_json(name, v) for v in value]
    raise ValueError(f"{name} cannot be written to a model file: {value!r}")


def _from_json(value: Any, sequence: type[list[Any]] | type[tuple[Any, ...]]) -> Any:
    """The value that `_to_json` was given; its lists and tuples as ``sequence``."""
    if isinstance(value, list):
        return sequence(_from_json(v, sequence) for v in value)
    if not isinstance(value, dict):
        return value
    if "mapping" in value:
        return {k: _from_json(v, sequence) for k, v in value["mapping"]}
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        array = np.asarray(value["array"], dtype=dtype)
        if array.dtype.kind not in "biufUOmM" or array.ndim != 1:
            raise ValueError(f"an array of {dtype} in {array.ndim} dimensions")
        return array
    if "loss" in value:
        return replace(get_loss(value["loss"]), **value["parameters"])
    return Dropout(**value["dropout"])
