"""Everything about a training run that is not data: its settings, each described in one place.

The fields of `Settings` are that place: default, rule, whether members of a population may have one
each, and help text. The signatures of `train` and `arraymlp.sweep`, the command line and the
documentation's table are held to them by a test.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from math import inf
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from arraymlp._checks import (
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SWITCH,
    Rule,
    as_floats,
    as_tuple,
    keep_numbers,
    lookup,
    require_arguments,
    to_python,
    unknown,
)
from arraymlp.backends.array import HostArray
from arraymlp.backends.precision import FULL, PRECISIONS
from arraymlp.nn.activations import Activation, get_activation
from arraymlp.nn.dropout import Dropout, get_dropout
from arraymlp.nn.initializers import Initializer, get_initializer, normal
from arraymlp.nn.losses import Loss, get_loss
from arraymlp.nn.metrics import Metric, get_metric
from arraymlp.steps.optimizers import (
    OPTIMIZERS,
    AdamW,
    Optimizer,
    PerMember,
    default_rate,
    get_optimizer,
)
from arraymlp.steps.schedules import Schedule, get_schedule
from arraymlp.training.defaults import (
    AUTO,
    AUTO_SCHEDULE,
    TABLE_SETTINGS,
    auto_batch_size,
    auto_rate,
)
from arraymlp.training.early_stopping import EarlyStopping, get_early_stopping

ENGINES = ("auto", "array")
MANY_SNAPSHOTS = 16  # that True stands for
REDUCTIONS = ("mean", "sum")
DTYPES = ("float32", "float64")

ABOVE_0 = Rule("a positive number", lambda v: v > 0)  # infinity, too


def whole(least: int) -> Rule:
    """A whole number from ``least``."""
    return Rule(
        f"a whole number from {least}",
        lambda v: isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= least,
    )


def one_of(allowed: Sequence[str]) -> Rule:
    """One of these names."""
    return Rule(" or ".join(map(repr, allowed)), lambda v: isinstance(v, str) and v in allowed)


# How members of a population may differ in a setting.
NUMBER = "number"  # a number, or K of them, one a member
CONSTANTS = "constants"  # an object of this package, whose numbers may be K, one a member
VALUE = "value"  # one value, or a tuple of K
APART = "apart"  # a member's own is kept in its schedule or its row plan, not here
SHARED = "shared"  # one for all


def setting(
    default: Any, help: str, *, members: str = SHARED, rule: Rule | None = None, cli: str = ""
) -> Any:
    """A field of `Settings`: a row of the table of settings.

    Args:
        default: a name where there is one; it is resolved when Settings is made.
        help: what it is, in a phrase.
        members: how members of a population may differ in it.
        rule: what it must be; None where the object that it becomes says so itself.
        cli: values as they are written on the command line, for its help.
    """
    about = {"help": help, "members": members, "rule": rule, "cli": cli}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """The settings of a run, each documented in `train`; their defaults stand here alone.

    Names are resolved when it is made: ``Settings(optimizer="adam").optimizer`` is an `Adam`. What
    optimizer "auto" stands for is said in `arraymlp.training.defaults`; with any other, None for
    learning_rate becomes the optimiser's own, None for schedule "constant", and None for
    weight_decay means the optimiser's. None for batch_size becomes a number in `for_rows`. inf for
    gradient_clip is none. Of a run that went on with a given network, initializer and seed are
    None: they are not known.

    Raises:
        ValueError: a value that breaks its rule; the message names the setting.
    """

    hidden: tuple[int, ...] = setting(
        (100, 100), "widths of the hidden layers", rule=whole(1), cli="100-100,50,none"
    )
    activation: Activation | tuple[Activation, ...] = setting(
        "relu", "function of the hidden layers, or one for each", cli="relu,tanh,sigmoid,gelu,..."
    )
    loss: Any = setting(  # "auto" or a Loss
        "auto",
        "what is minimised; auto chooses by y",
        members=CONSTANTS,
        cli="auto,softmax_cross_entropy,squared_error,huber,...",
    )
    initializer: Any = setting(  # "auto", an Initializer, None, or one of these a member
        "auto",
        "how initial weights are drawn",
        members=VALUE,
        cli="auto,he_normal,glorot_uniform,...",
    )
    optimizer: Optimizer = setting(
        "auto",
        "the update rule",
        members=CONSTANTS,
        cli=",".join(["auto", *OPTIMIZERS]),
    )
    learning_rate: PerMember = setting(
        None, "step size of the updates", members=NUMBER, rule=POSITIVE, cli="0.001,0.003,0.01"
    )
    schedule: Schedule = setting(
        None,
        "the learning rate's factor, step by step",
        members=APART,
        cli="constant,step,exponential,cosine,inverse_scaling,adaptive",
    )
    weight_decay: PerMember | None = setting(
        None, "decay decoupled from the gradient", members=NUMBER, rule=NOT_NEGATIVE, cli="0,0.01"
    )
    l2: PerMember = setting(
        0.0, "L2 penalty on the weights", members=NUMBER, rule=NOT_NEGATIVE, cli="0,1e-4"
    )
    alpha: PerMember = setting(
        0.0, "the same in scikit-learn's form", members=NUMBER, rule=NOT_NEGATIVE, cli="0,1e-4"
    )
    gradient_clip: PerMember = setting(
        inf, "bound on the gradient's norm", members=NUMBER, rule=ABOVE_0, cli="1,10"
    )
    weight_average: PerMember = setting(
        0.0,
        "share of the old value in the moving average of weights",
        members=NUMBER,
        rule=PROBABILITY,
        cli="0,0.999",
    )
    dropout: Dropout = setting(
        0.0, "probability that a hidden unit is dropped", members=CONSTANTS, cli="0,0.2,0.5"
    )
    label_smoothing: PerMember = setting(
        0.0, "how far targets are smoothed", members=NUMBER, rule=PROBABILITY, cli="0,0.1"
    )
    class_weight: Any = setting(  # a ClassWeight, or one a member
        None, "weight of each class in the loss", members=VALUE
    )
    epochs: int = setting(20, "passes over the training data", rule=whole(0), cli="20")
    total_epochs: int | None = setting(
        None,
        "epochs of the whole run, for the schedule, when it is trained in pieces",
        rule=whole(1),
    )
    batch_size: int = setting(None, "rows a step", rule=whole(1), cli="50,100,200")
    early_stopping: EarlyStopping | None = setting(
        False,
        "epochs without a better validation_loss, or the figure to watch",
        members=CONSTANTS,
        cli="10",
    )
    standardize: bool | Literal["features", "targets"] = setting(
        "targets",
        "what is brought to mean 0 and variance 1",
        rule=Rule(
            "True, False, 'features' or 'targets'",
            lambda v: isinstance(v, bool) or (isinstance(v, str) and v in ("features", "targets")),
        ),
        cli="targets,features,true,false",
    )
    metrics: tuple[Metric, ...] = setting(
        (), "further figures of each epoch", cli="accuracy,f1,r2,..."
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean", "how a minibatch's gradients are combined", rule=one_of(REDUCTIONS), cli="mean,sum"
    )
    shuffle: bool | Callable[[int, int], HostArray] = setting(
        True, "a new order of the rows each epoch", rule=SWITCH
    )
    window: int | None = setting(None, "rows that change places among themselves", rule=whole(1))
    drop_last: bool = setting(False, "leave out rows that fill no minibatch", rule=SWITCH)
    seed: int | tuple[int, ...] | None = setting(
        0,
        "seed of initial weights and dropout",
        members=VALUE,
        rule=whole(0),
        cli="0:4 is 0,1,2,3, and 0:9:3 is 0,3,6",
    )
    order_seed: int = setting(
        0, "seed of minibatch orders and the split", members=APART, rule=whole(0), cli="0:4"
    )
    dtype: Literal["float32", "float64"] = setting(
        "float32", "type of data and parameters", rule=one_of(DTYPES), cli="float32,float64"
    )
    precision: Literal["float32", "tf32", "bf16"] = setting(
        FULL,
        "rounding of the training's products, on GPUs",
        rule=one_of(PRECISIONS),
        cli="float32,tf32,bf16",
    )
    training_error: bool = setting(False, "evaluate the training rows each epoch", rule=SWITCH)
    probes: bool = setting(False, "measure the insides of the layers", rule=SWITCH)
    snapshots: int = setting(
        0,
        "after how many epochs at most the weights are kept, to look at them",
        rule=Rule("0, or a whole number from 2", lambda v: whole(0).allows(v) and v != 1),
    )
    shards: int | None = setting(
        None, "parts that each minibatch's gradient is added up of", rule=whole(1)
    )
    engine: Literal["auto", "array"] = setting(
        "auto", "who does the steps: an engine, or array code", rule=one_of(ENGINES)
    )

    def __post_init__(self) -> None:
        self._resolve()
        for f in fields(self):
            rule, value = f.metadata["rule"], getattr(self, f.name)
            if f.metadata["members"] == NUMBER:
                if value is not None or f.default is not None:
                    keep_numbers(self, **{f.name: rule})
            elif rule is not None:
                self._require(f.name, rule, value)
        if self.total_epochs is not None and self.epochs > self.total_epochs:
            raise ValueError(
                f"epochs={self.epochs} is more than total_epochs={self.total_epochs}, the epochs "
                "of the whole run"
            )
        if self.dtype != "float32" and self.precision != FULL:
            raise ValueError(
                f"precision={self.precision!r} rounds float32, and the dtype is {self.dtype}"
            )

    def _resolve(self) -> None:
        """Put objects in place of names, and tuples in place of lists and arrays."""

        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("hidden", "activation", "seed", "class_weight", "initializer"):
            keep(name, to_python(getattr(self, name)))
        if not isinstance(self.hidden, tuple):
            raise ValueError(f"hidden must be a sequence of widths, not {self.hidden!r}")
        given: Any = self.activation
        per_layer = isinstance(given, tuple)
        keep(
            "activation", tuple(map(get_activation, given)) if per_layer else get_activation(given)
        )
        if not (isinstance(self.loss, str) and self.loss == "auto"):
            keep("loss", get_loss(self.loss))
        drawn = tuple(
            rule if rule is None or rule == "auto" else get_initializer(rule)
            for rule in as_tuple("initializer", self.initializer)
        )
        keep("initializer", drawn if isinstance(self.initializer, tuple) else drawn[0])
        chosen = isinstance(self.optimizer, str) and self.optimizer == "auto"
        keep("optimizer", get_optimizer(AUTO if chosen else self.optimizer))
        if self.learning_rate is None:
            rate = auto_rate(self.hidden) if chosen else default_rate(self.optimizer)
            keep("learning_rate", rate)
        if self.schedule is None:
            keep("schedule", AUTO_SCHEDULE if chosen else "constant")
        keep("schedule", get_schedule(self.schedule))
        if isinstance(self.snapshots, bool):
            keep("snapshots", MANY_SNAPSHOTS if self.snapshots else 0)
        keep("dropout", get_dropout(self.dropout))
        keep("early_stopping", get_early_stopping(self.early_stopping))
        metrics: Any = self.metrics
        is_list = isinstance(metrics, Iterable) and not isinstance(metrics, str)
        keep("metrics", tuple(get_metric(m) for m in (metrics if is_list else (metrics,))))
        if len({m.name for m in self.metrics}) < len(self.metrics):
            raise ValueError(
                f"metrics must have names of their own: {[m.name for m in self.metrics]}"
            )
        for weights in as_tuple("class_weight", self.class_weight):
            if not (weights is None or isinstance(weights, str | Mapping)):
                raise ValueError(
                    'class_weight must be {label: weight}, "balanced" or None (or one of these '
                    f"for each member), not {weights!r}"
                )

    def _require(self, name: str, rule: Rule, value: Any) -> None:
        """Hold a setting that is no number a member to its rule, and keep it as Python's type."""
        if name == "shuffle" and callable(value):
            require_arguments(value, ("n", "epoch"), "a shuffle function")
            return
        if value is None and name in ("total_epochs", "window", "seed", "batch_size", "shards"):
            return
        values: tuple[Any, ...] = (value,)
        if name == "hidden":
            values = value
        elif name == "seed":  # one, or one a member
            values = as_tuple(name, value)
        for one in values:
            if not rule.allows(one):
                if rule.what.startswith("'"):
                    raise unknown(rule.what.replace("'", "").split(" or "), one, name)
                what = "a hidden layer's width" if name == "hidden" else name
                raise ValueError(f"{what} must be {rule.what}, not {one!r}")
        if isinstance(value, np.generic):
            object.__setattr__(self, name, value.item())

    @property
    def decay(self) -> PerMember:
        """The decoupled weight decay as given, or else the optimiser's own, which most lack."""
        if self.weight_decay is not None:
            return self.weight_decay
        rule: object = self.optimizer
        return rule.decay(self.learning_rate) if isinstance(rule, AdamW) else 0.0

    def require_members(self, members: int | None) -> None:
        """Raise a ValueError where a setting has K values, but there are not K members."""
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.metadata["members"] in (NUMBER, VALUE) and f.name != "seed"
        }
        rule, factor = self.optimizer, self.schedule
        for part in (rule, factor, self.dropout, self.early_stopping):
            if type(part).__module__.startswith("arraymlp."):
                values |= {f"{type(part).__name__}.{name}": v for name, v in vars(part).items()}
        counts = {name: len(v) for name, v in values.items() if isinstance(v, tuple)}
        # How many members a rule of the user's own speaks for is seen in what it says.
        one = np.ones((1, 1), dtype=int)
        counts |= {repr(rule): np.size(v) for v in rule.constants(one, one)}
        counts |= {repr(factor): np.size(factor.begin().factors(one, 1))}
        for name, n in counts.items():
            if n != members and (n != 1 or isinstance(values.get(name), tuple)):
                there = f"there are {members} members" if members else "one network"
                hint = "" if members else ": give as many seeds"
                raise ValueError(f"{name} has {n} values, but {there}{hint}")
        with np.errstate(over="ignore"):
            too_much = np.any(as_floats(self.learning_rate) * as_floats(self.decay) >= 1)
        if too_much:
            raise ValueError(
                f"learning_rate {self.learning_rate} times weight_decay {self.decay} must stay "
                "below 1: every step would take all of each weight away, or more"
            )

    def for_rows(self, n: int) -> "Settings":
        """These settings for n training rows: with a batch_size, where none was given."""
        return self if self.batch_size else replace(self, batch_size=auto_batch_size(n))

    def updated(self, given: Mapping[str, Any]) -> "Settings":
        """These settings, with those that were given (that are not None) in their place."""
        return replace(self, **{name: v for name, v in given.items() if v is not None})

    def to_dict(self) -> dict[str, Any]:
        """The settings in plain types, ready for JSON; an infinite limit becomes None."""
        return {f.name: _json(getattr(self, f.name)) for f in fields(self)}


TABLE: Mapping[str, Field[Any]] = MappingProxyType({f.name: f for f in fields(Settings)})
# How members may differ, as the documentation says it.
_EACH = {
    NUMBER: " Or K numbers, one a member.",
    CONSTANTS: " Its constants may be K numbers, one a member.",
    VALUE: " Or a tuple of K, one a member.",
}
_ATTRIBUTES = "".join(
    f"        {name}: {f.metadata['help']}. Default {f.default!r}."
    f"{_EACH.get(f.metadata['members'], '')}\n"
    for name, f in TABLE.items()
)
if Settings.__doc__ is not None:  # with python -OO it is
    Settings.__doc__ = Settings.__doc__.replace(
        "    Raises:", f"    Attributes:\n{_ATTRIBUTES}\n    Raises:"
    )


def setting_names(*members: str) -> tuple[str, ...]:
    """The settings in which members of a population may differ in one of these ways."""
    return tuple(n for n, f in TABLE.items() if not members or f.metadata["members"] in members)


def _json(value: Any) -> Any:
    """A setting in plain types: what has a name and nothing else by its name, objects by repr."""
    if isinstance(value, tuple):
        return [_json(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, Activation | Initializer | Metric):
        return value.name
    if isinstance(value, Loss) and not value.parameters:
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if value == inf:
        return None
    return value if value is None or isinstance(value, str | int | float) else repr(value)


# The published lab's method: tiny initial weights and biases, gradients summed over the minibatch,
# rows in file order.
DEFAULT, TABLES = "default", "table"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    TABLES: TABLE_SETTINGS,
    "lab": {
        "initializer": normal(1e-4),
        "optimizer": "sgd",
        "learning_rate": 0.005,
        "epochs": 70,
        "batch_size": 100,
        "reduction": "sum",
        "shuffle": False,
        "drop_last": True,
        "training_error": True,
        "probes": True,
    },
}


def get_preset(name: str, given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of that name, of `PRESETS`, with those given that are not None."""
    changes = {name: value for name, value in (given or {}).items() if value is not None}
    return Settings(**{**lookup(PRESETS, name, "preset"), **changes})
