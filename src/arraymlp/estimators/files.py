"""Model files of estimators: the network's file, whose header also has what scikit-learn adds.

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
    kind: str,
    network: MultilayerPerceptron,
    parameters: Mapping[str, Any],
    fitted: Mapping[str, Any],
) -> None:
    """Write an estimator's file, whole or not at all.

    Args:
        path: of the file.
        kind: the class's name.
        network: what it trained.
        parameters: as ``get_params`` gives them. A random state that is no number becomes None.
        fitted: its attributes: numbers, strings, None, lists of them, and arrays on the host.

    Raises:
        ValueError: something that has no form in JSON here.
    """
    estimator = {
        "kind": kind,
        "parameters": {name: _to_json(name, value) for name, value in parameters.items()},
        "fitted": {name: _to_json(name, value) for name, value in fitted.items()},
    }
    save(network, path, estimator=estimator)


def load_estimator(
    path: str | os.PathLike[str], kind: str, backend: Backend
) -> tuple[MultilayerPerceptron, dict[str, Any], dict[str, Any]]:
    """Read what `save_estimator` wrote: network, parameters and fitted attributes.

    Raises:
        ModelFileError: the file is damaged, or of something else.
    """
    network, header = read(path, backend)
    found = header.get("estimator")
    if not isinstance(found, dict) or found.get("kind") != kind:
        what = f"an {found.get('kind')}" if isinstance(found, dict) else "a network alone"
        raise ModelFileError(f"{os.fspath(path)}: it holds {what}, not an {kind}")
    try:
        parameters = {name: _from_json(v, tuple) for name, v in found["parameters"].items()}
        fitted = {name: _from_json(v, list) for name, v in found["fitted"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(
            f"{os.fspath(path)}: its estimator is not readable ({error!r})"
        ) from error
    return network, parameters, fitted


def _to_json(name: str, value: Any) -> Any:
    """A value in JSON's types; what has none is an object with one key, which says what it is."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {"mapping": [[_to_json(name, k), _to_json(name, v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        kind = value.dtype.kind
        if kind in "mM":  # times, by their number
            return {"array": value.view(np.int64).tolist(), "dtype": value.dtype.str}
        if kind in "biufU" or (kind == "O" and all(isinstance(v, str) for v in value)):
            return {"array": value.tolist(), "dtype": value.dtype.str if kind != "O" else "O"}
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


def _from_json(value: Any, sequence: type) -> Any:
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
