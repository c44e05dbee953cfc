"""Model files of estimators: the network's file, whose header has the estimator's entries, too.

Under ``estimator`` the header has the class's name, the parameters and the fitted attributes, in
JSON. Like the network, they are read without running anything.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from math import isfinite
from reprlib import repr as brief
from typing import Any

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.nn.activations import Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import LOSSES, Loss, get_loss
from arraymlp.training.files import read, save
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.schema import ANY, NUMBERS, PLAIN, TEXT, Form, ModelFileError, require
from arraymlp.training.tensor_file import naming

# Of the machine or the session, and no part of a model.
LEFT_OUT = (np.random.RandomState, np.random.Generator)

# Bytes of an array in the header: labels are as wide as the longest, whatever the others are.
ARRAY_LIMIT = 1 << 26
DTYPE = re.compile(
    r"\|b1|[<>|][iu][1248]|[<>]f[248]|[<>]U\d{1,9}|O|[<>][mM]8(\[\d{0,9}[a-zA-Z]{1,2}\])?"
)

ENTRY: Form = {"kind": TEXT, "parameters": {"*": ANY}, "fitted": {"*": ANY}}
OBJECTS: tuple[dict[str, Form], ...] = (  # that `_to_json` makes
    {"mapping": [Rule("a pair", lambda v: isinstance(v, list) and len(v) == 2)]},
    {"number": Rule("inf, -inf or nan", lambda v: v in ("inf", "-inf", "nan"))},
    {
        "array": [PLAIN],
        "dtype": Rule("a dtype", lambda v: isinstance(v, str) and DTYPE.fullmatch(v) is not None),
    },
    {"loss": TEXT, "parameters": {"*": NUMBERS}},
    {"dropout": {"hidden": NUMBERS, "input": NUMBERS}},
)


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
    network, entry = read(path, backend)
    with naming(path):
        if entry is None or entry.get("kind") != class_name:
            content = "a network alone" if entry is None else f"an {entry.get('kind')}"
            raise ModelFileError(f"it holds {content}, not an {class_name}")
        require(entry, ENTRY, "its estimator")
        try:
            parameters = {name: _from_json(v, tuple) for name, v in entry["parameters"].items()}
            fitted = {name: _from_json(v, list) for name, v in entry["fitted"].items()}
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelFileError(f"its estimator is not readable ({error})") from error
    return network, parameters, fitted


def _to_json(name: str, value: object) -> object:
    """A value in JSON's types; one that has none is an object, whose first key says what it is.

    Args:
        name: of the parameter or attribute, for the message.
        value: its value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {"mapping": [[_to_json(name, k), _to_json(name, v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.nbytes <= ARRAY_LIMIT:
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
    if isinstance(value, Iterable) and not isinstance(value, np.ndarray):
        return [_to_json(name, v) for v in value]
    raise ValueError(f"{name} cannot be written to a model file: {value!r}")


def _from_json(value: Any, sequence: type[list[Any]] | type[tuple[Any, ...]]) -> Any:
    """The value that `_to_json` was given; its lists and tuples as ``sequence``."""
    if isinstance(value, list):
        return sequence(_from_json(v, sequence) for v in value)
    if not isinstance(value, dict):
        return value
    form = next((form for form in OBJECTS if form.keys() == value.keys()), None)
    if form is None:
        raise ValueError(f"an object of {brief(list(value))}")
    require(value, form, "its estimator")
    if "mapping" in value:
        return {k: _from_json(v, sequence) for k, v in value["mapping"]}
    if "number" in value:
        return float(value["number"])
    if "array" in value:
        return _array(value["array"], value["dtype"])
    if "loss" in value:
        return replace(get_loss(value["loss"]), **value["parameters"])
    return Dropout(**value["dropout"])


def _array(values: list[Any], dtype_text: str) -> HostArray:
    """An array (n,) of the values, in which they are what they were."""
    dtype = np.dtype(dtype_text)
    if len(values) * dtype.itemsize > ARRAY_LIMIT:
        raise ValueError(f"an array of {len(values)} {dtype}")
    if dtype.kind in "mM":
        return np.asarray(values, np.int64).view(dtype)
    array = np.asarray(values, dtype)
    if array.tolist() != values:
        raise ValueError(f"values that are none of {dtype}")
    return array
