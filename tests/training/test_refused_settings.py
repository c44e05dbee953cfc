"""Bad settings are refused in one clear line before training."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

from arraymlp.initializers import normal
from arraymlp.nn.initializers import INITIALIZERS
from arraymlp.nn.losses import LOSSES
from arraymlp.optimizers import SGD
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.training.settings import PRESETS, Settings
from refusals import X, Y, assert_says, quick, refusal

# Settings

WHOLE_NUMBERS = (-1, 1.5, "3", True)
BAD_SETTINGS = [
    *(({"hidden": (width,)}, ["width", repr(width)]) for width in (0, *WHOLE_NUMBERS)),
    ({"hidden": (5, 0)}, ["width", "from 1", "not 0"]),
    ({"hidden": (5, 2.5)}, ["width", "from 1", "not 2.5"]),
    ({"hidden": (5, True)}, ["width", "from 1", "not True"]),
    ({"hidden": (5, "5")}, ["width", "from 1", "not '5'"]),
    ({"hidden": (5, (5, 5))}, ["width", "from 1", "not (5, 5)"]),
    ({"hidden": "55"}, ["hidden must be a sequence", "'55'"]),
    ({"hidden": 5}, ["hidden must be a sequence", "5"]),
    ({"activation": "rleu"}, ["unknown activation 'rleu'", "did you mean 'relu'?", "tanh"]),
    ({"activation": 3}, ["unknown activation 3", "relu", "tanh"]),
    ({"loss": "squared_eror"}, ["unknown loss", "did you mean 'squared_error'?", *LOSSES]),
    ({"loss": "mse"}, ["unknown loss 'mse'", *LOSSES]),
    ({"loss": 3}, ["unknown loss 3", *LOSSES]),
    ({"optimizer": "sdg"}, ["unknown optimizer 'sdg'", "did you mean 'sgd'?", *OPTIMIZERS]),
    ({"optimizer": 3}, ["optimizer", "3"]),
    ({"optimizer": SGD}, ["optimizer", "SGD"]),
    ({"initializer": "he_norml"}, ["unknown init", "did you mean 'he_normal'?", *INITIALIZERS]),
    ({"initializer": 3}, ["unknown initializer 3", *INITIALIZERS]),
    ({"preset": "labb"}, ["unknown preset 'labb'", "did you mean 'lab'?", *PRESETS]),
    ({"preset": 3}, ["unknown preset 3", *PRESETS]),
    ({"backend": "nunpy"}, ["unknown backend 'nunpy'", "did you mean 'numpy'?", "torch"]),
    ({"dtype": "float16"}, ["unknown dtype 'float16'", "float32, float64"]),
    ({"dtype": "double"}, ["unknown dtype 'double'", "float32, float64"]),
    ({"dtype": np.float32}, ["unknown dtype", "float32, float64"]),
    ({"reduction": "mena"}, ["unknown reduction 'mena'", "did you mean 'mean'?", "sum"]),
    *(
        ({"learning_rate": rate}, ["learning_rate must be a positive number", repr(rate)])
        for rate in (0, -0.1, nan, inf, "0.1", True)
    ),
    ({"learning_rate": [0.1, -0.1]}, ["learning_rate must be a positive number", "-0.1"]),
    ({"learning_rate": [0.1, "0.1"]}, ["learning_rate must be a positive number", "'0.1'"]),
    ({"learning_rate": [0.1, 0.2]}, ["learning_rate has 2 values", "one network"]),
    ({"learning_rate": []}, ["learning_rate", "empty"]),
    ({"learning_rate": [0.1], "seed": [0, 1]}, ["learning_rate has 1 values", "2 members"]),
    ({"learning_rate": [0.1] * 3, "seed": [0, 1]}, ["learning_rate has 3 values", "2 members"]),
    (
        {"optimizer": SGD(momentum=[0.5] * 3), "seed": [0, 1]},
        ["momentum has 3 values", "2 members"],
    ),
    *(({"epochs": n}, ["epochs must be a whole number from 0", repr(n)]) for n in WHOLE_NUMBERS),
    *(
        ({"total_epochs": n}, ["total_epochs must be a whole number from 1", repr(n)])
        for n in (0, *WHOLE_NUMBERS)
    ),
    *(
        ({"batch_size": n}, ["batch_size must be a whole number from 1", repr(n)])
        for n in (0, *WHOLE_NUMBERS)
    ),
    ({"batch_size": 13}, ["batch_size 13 is larger than the data", "12 training samples"]),
    (
        {"batch_size": 7, "validation": 0.5},
        ["batch_size 7 is larger than the data", "6 training samples"],
    ),
    *(({"seed": n}, ["seed must be a whole number from 0", repr(n)]) for n in WHOLE_NUMBERS),
    ({"seed": [0, 1.5]}, ["seed must be a whole number from 0", "1.5"]),
    ({"seed": []}, ["seed", "empty"]),
    *(({"order_seed": n}, ["order_seed must be a whole", repr(n)]) for n in WHOLE_NUMBERS),
    *(
        ({name: "no"}, [name, "'no'", "True", "False"])
        for name in ("shuffle", "drop_last", "training_error", "probes")
    ),
    ({"callbacks": [3]}, ["callback", "3"]),
    ({"callbacks": 3}, ["callback", "3"]),
    ({"network": "relu"}, ["network must be", "str"]),
    ({"device": "gpu"}, ["NumPy computes on 'cpu' alone", "'gpu'"]),
]


@pytest.mark.parametrize(
    ("bad", "words"), BAD_SETTINGS, ids=["-".join(map(str, s.values())) for s, _ in BAD_SETTINGS]
)
def test_a_bad_setting_is_refused(bad: dict[str, Any], words: list[str]) -> None:
    assert_says(refusal(quick, X, Y, **bad), words)


@pytest.mark.parametrize(
    "several",
    [
        {"hidden": [3, 2]},
        {"hidden": range(3, 1, -1)},
        {"hidden": np.array([3, 2])},
        {"hidden": (np.int64(3), np.uint8(2))},
        {"seed": range(2)},
        {"seed": np.arange(2)},
        {"seed": [0, 1], "learning_rate": np.array([0.1, 0.2], np.float32)},
        {"learning_rate": np.array(0.1)},
        {"learning_rate": np.float32(0.1)},
    ],
    ids=repr,
)
def test_values_may_come_in_any_sequence(several: dict[str, Any]) -> None:
    settings = quick(X, Y, **several).settings
    for name, value in several.items():
        plain = getattr(settings, name)
        assert plain == (tuple(np.asarray(value).tolist()) if np.ndim(value) else float(value))


def test_a_bad_setting_is_refused_before_the_data_is_looked_at() -> None:
    assert "unknown activation" in refusal(quick, object(), Y, activation="rleu")


@pytest.mark.parametrize("momentum", [1, -0.1, nan, "0.9", True, [0.5, 1]])
def test_momentum_is_from_0_up_to_1(momentum: Any) -> None:
    bad = momentum[-1] if isinstance(momentum, list) else momentum
    message = refusal(SGD, momentum)
    assert_says(message, ["momentum must be from 0 up to but not 1", repr(bad)])


def test_momentum_of_members_is_not_empty() -> None:
    assert "momentum is empty" in refusal(SGD, [])


def test_nesterov_needs_momentum() -> None:
    assert "nesterov needs a momentum" in refusal(SGD, 0.0, nesterov=True)


@pytest.mark.parametrize("std", [0, -1.0, nan, inf, "1", None])
def test_a_standard_deviation_is_positive(std: Any) -> None:
    assert_says(refusal(normal, std), ["std must be a positive number", repr(std)])


@pytest.mark.parametrize(
    ("setting", "own"),
    [
        ("loss", "a Loss of your own, an instance of a subclass of arraymlp.losses.Loss"),
        ("activation", "of your own, with function(s, xp) and derivative(s, z, xp)"),
        ("optimizer", "with constants(learning_rate, t), initial_state(parameter, xp), update("),
        ("schedule", "a subclass of arraymlp.schedules.Schedule with factors(steps, n_steps)"),
        ("initializer", "an arraymlp.initializers.Initializer of your own"),
        ("metrics", "a function f(y, output, weight) of your own"),
    ],
)
def test_an_unknown_name_says_what_of_your_own_may_be_given(setting: str, own: str) -> None:
    with pytest.raises(ValueError, match=r"unknown .* There is .* Or give ") as error:
        Settings(**{setting: ("nothing",) if setting == "metrics" else "nothing"})
    assert own in str(error.value)
