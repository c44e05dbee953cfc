"""The README is true: its examples, its table of settings, its names, paths and options."""

import ast
import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import arraymlp
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.initializers import INITIALIZERS
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.metrics import METRICS
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.steps.schedules import SCHEDULES
from arraymlp.training.settings import TABLE

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What code stands in: blocks with a language, and single backticks.
PYTHON = [block.partition("```")[0] for block in README.split("```python\n")[1:]]
SHELL = [block.partition("```")[0] for block in README.split("```sh\n")[1:]]
QUOTED = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
# Arguments of train that are no settings, but in the table.
BESIDES = {"sample_weight", "validation", "callbacks"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("early_stopping=True,  # 10", "regression"),
        ("GridSearchCV", "pipeline_grid_search"),
        ("arraymlp.sweep(", "sweep_and_ensemble"),
    ],
)
def test_what_the_readme_shows_is_the_example(words: str, name: str) -> None:
    (shown,) = [block for block in PYTHON if words in block]
    example = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    code, _, _ = example.partition('"""\n\n')[2].partition("\nassert")
    assert shown == code
    assert sum(bool(line) for line in shown.splitlines()) <= 30


@pytest.mark.parametrize("block", PYTHON)
def test_calls_in_the_examples_have_such_arguments(block: str) -> None:
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == "arraymlp.train":
            given = {keyword.arg for keyword in call.keywords}
            assert given <= set(inspect.signature(arraymlp.train).parameters)


def test_public_names_exist() -> None:
    code = "\n".join([*PYTHON, *QUOTED])
    names = set(re.findall(r"\barraymlp\.([\w.]+)", code))
    assert {"train", "optimizers.SGD"} <= names
    for name in names:
        attrgetter(name.rstrip("."))(arraymlp)


# The table of settings


def rows() -> dict[str, str]:
    """What the table of settings says of each name."""
    _, _, table = README.partition("| `train(...)` | what it may be |\n|---|---|\n")
    lines = table.partition("\n\n")[0].splitlines()
    cells = [line.strip("| ").split(" | ", 1) for line in lines]
    return {name: text for names, text in cells for name in re.findall(r"`(\w+)=`", names)}


def test_the_table_has_every_setting() -> None:
    assert set(rows()) == (set(TABLE) | BESIDES) - {"learning_rate"}  # which stands by optimizer
    assert "`learning_rate`" in rows()["optimizer"]


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        # Those that are capped are for scikit-learn's numbers.
        ("loss", {name for name in LOSSES if not name.startswith("capped_")}),
        ("activation", ACTIVATIONS),
        ("metrics", METRICS),
        ("initializer", {"auto", *INITIALIZERS}),
    ],
)
def test_the_table_has_every_name(setting: str, names: set[str]) -> None:
    assert set(re.findall(r'"(\w+)"', rows()[setting])) == set(names)


# Paths and commands


def test_paths_exist() -> None:
    folders = ("src", "tests", "examples", "docs", "ci")
    paths = [text for text in QUOTED if re.fullmatch(rf"({'|'.join(folders)})/[\w./*-]*", text)]
    assert len(paths) > 10
    for path in paths:
        assert list(ROOT.glob(path)), path


def test_paths_inside_the_rooms_exist() -> None:
    source, tests = ROOT / "src" / "arraymlp", ROOT / "tests"
    rooms = "|".join(path.name for path in source.iterdir() if path.is_dir())
    paths = [text for text in QUOTED if re.fullmatch(rf"({rooms})/[\w./]*", text)]
    assert len(paths) > 20
    for path in paths:
        assert any(file.exists() for file in (source / path, tests / path, tests / f"{path}.py"))


def test_rooms_are_those_of_the_tree() -> None:
    tree = re.findall(r"^  (\w+)/ ", README, flags=re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "src" / "arraymlp").glob("*/__init__.py")}
    assert len(tree) == len(set(tree)) == 10
    assert set(tree) == folders


def test_options_of_the_command_line_exist() -> None:
    typer_main = pytest.importorskip("typer.main")
    from arraymlp.app.main import command_line

    commands = typer_main.get_command(command_line()).commands
    lines = [line for text in [*SHELL, *QUOTED] for line in text.splitlines()]
    used = [line for line in lines if re.match(r"arraymlp \w+", line)]
    assert len(used) > 5
    for line in used:
        command = commands[line.split()[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= options, line
