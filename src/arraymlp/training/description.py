"""Settings in JSON's types and back: what a file says of a run's settings.

A number, a name or a list is itself. An object of this package is ``{"of": its class, ...}`` with
its constants, or the kind of thing it is with its name, such as ``{"activation": "relu"}``. One of
the user's own is ``{"own": where it is defined}``, which can be compared but not made again.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.initializers import INITIALIZERS, Initializer, normal
from arraymlp.nn.losses import LOSSES, Loss, get_loss
from arraymlp.nn.metrics import METRICS, Metric
from arraymlp.steps.optimizers import SGD, Adam, AdamW, RMSProp
from arraymlp.steps.schedules import (
    Adaptive,
    Constant,
    Cosine,
    ExponentialDecay,
    InverseScaling,
    StepDecay,
)
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.schema import ANY, Form, ModelFileError, require
from arraymlp.training.settings import TABLE, Settings

# Made again by their constants.
CLASSES: dict[str, type] = {
    of.__name__: of
    for of in (
        *(SGD, Adam, AdamW, RMSProp),
        *(Constant, StepDecay, ExponentialDecay, Cosine, InverseScaling, Adaptive),
        *(Dropout, EarlyStopping),
    )
}
# Made again by their names: the class, and those of this package.
REGISTRIES: dict[str, tuple[type, Mapping[str, Any]]] = {
    "activation": (Activation, ACTIVATIONS),
    "initializer": (Initializer, INITIALIZERS),
    "metric": (Metric, METRICS),
}
SETTINGS: Form = {f"{name}?": ANY for name in TABLE}  # a later version may have more of them


def described_settings(settings: Settings) -> dict[str, Any]:
    """The settings by name, each as `described`."""
    return {name: described(getattr(settings, name)) for name in TABLE}


def described(value: Any) -> Any:
    """A value in JSON's types, equal for values that are equal, in another process too."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [described(v) for v in value]
    if isinstance(value, Mapping):
        pairs = [[described(k), described(v)] for k, v in value.items()]
        return {"mapping": sorted(pairs, key=repr)}
    kind = type(value).__name__
    if CLASSES.get(kind) is type(value):
        constants = {f.name: described(getattr(value, f.name)) for f in fields(CLASSES[kind])}
        return {"of": kind, **constants}
    if isinstance(value, Loss) and type(LOSSES.get(value.name)) is type(value):
        return {"loss": value.name, "parameters": described(value.parameters)}
    for named, (of, registry) in REGISTRIES.items():
        if isinstance(value, of) and registry.get(value.name) == value:  # type: ignore[attr-defined]
            return {named: value.name}  # type: ignore[attr-defined]
    draw = getattr(value, "draw", None)
    if isinstance(draw, partial) and normal(draw.args[0]).name == value.name:
        return {"normal": draw.args[0]}
    return {"own": where_defined(value)}


def where_defined(value: Any) -> str:
    """Module and name of an object of the user's own, with its text where that says more."""
    if isinstance(value, partial):
        return f"partial of {where_defined(value.func)}"
    named = value if hasattr(value, "__qualname__") else type(value)
    text = f"{named.__module__}.{named.__qualname__}"
    if named is value:
        return text
    own_text = repr(value)
    if " at 0x" in own_text:  # without a text of its own: by what it has that can be compared
        simple = str, int, float, bool, type(None)
        has = {k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, simple)}
        own_text = ", ".join(f"{k}={v!r}" for k, v in sorted(has.items()))
    return f"{text}: {own_text}" if own_text else text


def settings_of(description: Mapping[str, Any]) -> Settings:
    """The settings that `described_settings` describes.

    Raises:
        ModelFileError: they are none, or have something of the user's own.
    """
    require(description, SETTINGS, "its settings")
    values = {name: _made(name, value) for name, value in description.items()}
    try:
        return Settings(**values)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ModelFileError(f"its settings are none ({error})") from error


def _made(name: str, value: Any) -> Any:
    """What `described` described; ``name`` is the setting's, for messages."""
    if isinstance(value, list):
        return tuple(_made(name, v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), "")
    try:
        if kind == "mapping":
            return {_made(name, k): _made(name, v) for k, v in value["mapping"]}
        if kind == "of" and value["of"] in CLASSES:
            constants = {k: _made(name, v) for k, v in value.items() if k != "of"}
            return CLASSES[value["of"]](**constants)
        if kind == "loss":
            return type(get_loss(value["loss"]))(**_made(name, value["parameters"]))
        if kind == "normal":
            return normal(value["normal"])
        if kind in REGISTRIES:
            return REGISTRIES[kind][1][value[kind]]
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise ModelFileError(f"its {name} is not readable ({error!r})") from error
    if kind == "own":
        raise ModelFileError(f"its {name} is {value['own']}, which is not of this package")
    raise ModelFileError(f"its {name} is not readable")


def differing_settings(now: Mapping[str, Any], then: Mapping[str, Any], *but: str) -> list[str]:
    """The settings that differ, in words, without those named."""
    return [
        f"{name} was {_in_words(then.get(name))}, is {_in_words(now.get(name))}"
        for name in dict.fromkeys([*then, *now])
        if name not in but and then.get(name) != now.get(name)
    ]


def _in_words(value: Any) -> str:
    """A description as a person would write it."""
    if isinstance(value, list):
        return f"({', '.join(map(_in_words, value))})"
    if not isinstance(value, dict):
        return repr(value)
    if "of" in value:
        constants = ", ".join(f"{k}={_in_words(v)}" for k, v in value.items() if k != "of")
        return f"{value['of']}({constants})"
    if "mapping" in value and _are_pairs(value["mapping"]):
        return f"{{{', '.join(f'{_in_words(k)}: {_in_words(v)}' for k, v in value['mapping'])}}}"
    return str(next(iter(value.values()), value))


def _are_pairs(value: Any) -> bool:
    """Whether it is what `described` makes of a mapping: a file may say anything."""
    return isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value)
