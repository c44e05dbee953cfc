"""Everything about a training run that is not data: its settings, their defaults and presets."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from numbers import Integral
from typing import Any, Literal

import numpy as np

from arraymlp._checks import is_number, lookup, plain, unknown, values
from arraymlp.activations import Activation, activation
from arraymlp.initializers import Initializer, initializer, normal
from arraymlp.losses import Loss, loss
from arraymlp.optimizers import Optimizer, optimizer

REDUCTIONS = ("mean", "sum")
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """The settings of a run, each documented in `train`; their defaults stand here alone.

    Of a run that went on with a given network, initializer and seed are None: they are not known.
    """

    hidden: Sequence[int] = (100, 100)
    activation: str | Activation = "relu"
    loss: str | Loss = "auto"
    initializer: str | Initializer | None = "auto"
    optimizer: str | Optimizer = "momentum"
    learning_rate: float | Sequence[float] = 0.05
    epochs: int = 20
    batch_size: int = 100
    reduction: Literal["mean", "sum"] = "mean"
    shuffle: bool = True
    drop_last: bool = False
    seed: int | Sequence[int] | None = 0
    order_seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    training_error: bool = False
    probes: bool = False

    def __post_init__(self) -> None:
        for name in ("hidden", "learning_rate", "seed"):  # an array or list of values: a tuple
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not isinstance(self.hidden, tuple):
            raise ValueError(f"hidden must be a sequence of widths, not {self.hidden!r}")
        for width in self.hidden:
            _whole("a hidden layer's width", width, 1)
        activation(self.activation)
        if self.loss != "auto":
            loss(self.loss)
        if self.initializer not in ("auto", None):
            initializer(self.initializer)
        optimizer(self.optimizer)
        for rate in values("learning_rate", self.learning_rate):
            if not is_number(rate) or not 0 < rate < inf:
                raise ValueError(f"learning_rate must be a positive number, not {rate!r}")
        for name, least in (("epochs", 0), ("batch_size", 1), ("order_seed", 0)):
            _whole(name, getattr(self, name), least)
            object.__setattr__(self, name, int(getattr(self, name)))
        for seed in () if self.seed is None else values("seed", self.seed):
            _whole("seed", seed, 0)
        for name, allowed in (("reduction", REDUCTIONS), ("dtype", DTYPES)):
            if getattr(self, name) not in allowed:
                raise unknown(allowed, getattr(self, name), name)
        for name in ("shuffle", "drop_last", "training_error", "probes"):
            if not isinstance(getattr(self, name), bool | np.bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
            object.__setattr__(self, name, bool(getattr(self, name)))

    def updated(self, given: dict[str, Any]) -> "Settings":
        """These settings, with those that were given (that are not None) in their place."""
        return replace(self, **{name: v for name, v in given.items() if v is not None})

    def to_dict(self) -> dict[str, Any]:
        """The settings in plain types, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("activation", "loss", "initializer"):
            plain[name] = getattr(plain[name], "name", plain[name])
        plain["optimizer"] = repr(optimizer(self.optimizer))
        plain["hidden"] = list(self.hidden)
        return plain


def _whole(what: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} must be a whole number from {least}, not {value!r}")


# The published lab's method: tiny initial weights and biases, gradients summed over the minibatch,
# rows in file order.
LAB = Settings(
    initializer=normal(1e-4),
    optimizer="sgd",
    learning_rate=0.005,
    epochs=70,
    reduction="sum",
    shuffle=False,
    drop_last=True,
    training_error=True,
    probes=True,
)

PRESETS = {"default": Settings(), "lab": LAB}


def preset(name: str) -> Settings:
    """The settings of that name: "default" or "lab"."""
    return lookup(PRESETS, name, "preset")
