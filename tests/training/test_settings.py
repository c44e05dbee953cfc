"""The table of settings, and the places that are held to it: signature and docstring of train."""

import inspect
import pydoc
import re

import pytest

import arraymlp
from arraymlp import Settings
from arraymlp.steps.optimizers import DECAY_A_STEP, OPTIMIZERS, AdamW
from arraymlp.training.defaults import BATCHES, HIGHEST_RATE, LARGEST_BATCH, RATE, RATE_OF_WIDTH
from arraymlp.training.settings import TABLE

# What train is given besides settings.
ARGUMENTS = {
    "X",
    "y",
    "sample_weight",
    "validation",
    "encode",
    "preset",
    "network",
    "backend",
    "device",
    "callbacks",
    "checkpoint",
    "group",
    "progress",
    "profile",
}


def documented() -> dict[str, str]:
    """The text of each argument in the docstring of train."""
    _, _, text = inspect.getdoc(arraymlp.train).partition("Args:\n")
    text, _, _ = text.partition("\n\n")
    entries = re.split(r"^ {4}(\w+): ", text, flags=re.MULTILINE)[1:]
    return dict(zip(entries[::2], entries[1::2], strict=True))


def test_train_takes_every_setting_by_name() -> None:
    parameters = inspect.signature(arraymlp.train).parameters
    assert set(parameters) == set(TABLE) | ARGUMENTS
    for name in TABLE:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is None, name  # the preset's value


def test_train_documents_its_arguments_in_their_order() -> None:
    assert list(documented()) == list(inspect.signature(arraymlp.train).parameters)


@pytest.mark.parametrize(
    "name", [name for name, row in TABLE.items() if row.default not in (None, ())]
)
def test_train_documents_the_default(name: str) -> None:
    default = TABLE[name].default
    text = f'"{default}"' if isinstance(default, str) else str(default)
    text = {"inf": "none", "0.0": "0"}.get(text, text)
    assert re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.]\w)", documented()[name])


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("learning_rate", [RATE_OF_WIDTH, RATE, HIGHEST_RATE, 0.05, 0.001]),
        ("schedule", ['"cosine"', '"constant"']),
        ("weight_decay", [DECAY_A_STEP, AdamW().weight_decay, 0]),
        ("batch_size", [1, LARGEST_BATCH]),
    ],
)
def test_train_documents_what_a_default_becomes(name: str, numbers: list[object]) -> None:
    assert TABLE[name].default is None
    for number in numbers:
        text = f"{number:.5f}".rstrip("0") if isinstance(number, float) else str(number)
        assert re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.]\w)", documented()[name]), text
    assert BATCHES == 100  # "a hundredth"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_train_documents_every_optimizer(name: str) -> None:
    assert f'"{name}"' in documented()["optimizer"]


@pytest.mark.parametrize("name", TABLE)
def test_each_setting_has_a_help_text(name: str) -> None:
    assert TABLE[name].metadata["help"]


ONE_FOR_ALL = sorted(
    name
    for name, field in TABLE.items()
    if field.metadata["rule"] is not None
    and field.metadata["members"] != "number"
    and name not in ("hidden", "seed")
)


@pytest.mark.parametrize("name", ONE_FOR_ALL)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_setting_of_one_value_takes_no_tuple(name: str, count: int) -> None:
    allowed = getattr(Settings(), name)
    value = ((1 if allowed is None else allowed),) * count
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("function", [arraymlp.train, arraymlp.sweep])
def test_help_begins_with_a_sentence_and_an_example(function) -> None:
    text = pydoc.render_doc(function, renderer=pydoc.plaintext)
    _, heading, sentence, empty, example, *_ = [line.strip() for line in text.splitlines()[1:]]
    assert heading == f"{function.__name__}(X=None, y=None, *, ...)"
    assert sentence.endswith(".")
    assert not empty
    assert f"{function.__name__}(X, y, " in example
    assert len(inspect.signature(function).parameters) > 10  # all are there for editors
