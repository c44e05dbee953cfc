"""README and docs are true: names, paths, links, examples, the table of settings, the reference."""

import re
from importlib import import_module
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
from pages import PAGES, README, ROOT, blocks, of_language, page_name, prose, quoted

DOCS = ROOT / "docs"
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=page_name)
# Arguments of train that are no settings, but in the table.
BESIDES = {"sample_weight", "validation", "callbacks"}
ESTIMATORS = {name for name in arraymlp._LAZY if arraymlp._LAZY[name].startswith("estimators.")}


def test_the_readme_is_short_and_narrow() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200
    code = [line for block in blocks(README) for line in block.code.splitlines()]
    assert max(map(len, code)) <= 92  # what fits a forge's page beside its margins


def test_the_readme_says_early_what_has_not_run_on_a_gpu() -> None:
    results = [path.name for path in (ROOT / "ci" / "results").glob("*gpu*")]
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:30])
    assert bool(results) != ("run on a CUDA GPU" in first_screen)


# Code


@pytest.mark.parametrize(
    ("page", "words", "name"),
    [
        ("training", "early_stopping=True,  # 10", "regression"),
        ("scikit-learn", "GridSearchCV", "pipeline_grid_search"),
        ("sweeps", "early_stopping=True,  # each", "sweep_and_ensemble"),
    ],
)
def test_what_a_page_shows_is_the_example(page: str, words: str, name: str) -> None:
    code = [block.code for block in of_language("python", DOCS / f"{page}.md")]
    (shown,) = [block for block in code if words in block]
    example = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    body, _, _ = example.partition('"""\n\n')[2].partition("\nassert")
    assert shown == body


def test_every_example_is_linked() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for example in (ROOT / "examples").glob("*.py"):
        assert f"examples/{example.name}" in text, example.name


# Names


def named(name: str) -> object:
    """What a dotted name under arraymlp stands for: a public name, or one inside a module."""
    parts = name.split(".")
    if parts[0] in ESTIMATORS:  # without importing scikit-learn, which need not be there
        return arraymlp._LAZY[parts[0]]
    file = (ROOT / "src" / "arraymlp").joinpath(*parts).with_suffix(".py")
    if file.exists():  # it may need a library that is not here
        return file
    for n in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(["arraymlp", *parts[:n]]))
        except ImportError:
            continue
        return attrgetter(".".join(parts[n:]))(module) if parts[n:] else module
    return attrgetter(name)(arraymlp)


@EACH_PAGE
def test_public_names_exist(page: Path) -> None:
    code = "\n".join([*(block.code for block in of_language("python", page)), *quoted(page)])
    for name in set(re.findall(r"\barraymlp\.([A-Za-z_][\w.]*)", code)):
        if name.startswith("exports.skl2onnx"):
            pytest.importorskip("skl2onnx")
        assert named(name.rstrip(".")) is not None, name


def test_names_in_docstrings_exist() -> None:
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r"(?<!`)`arraymlp\.([\w.]+)`(?!`)", text))
    assert len(names) > 20
    for name in names:
        assert named(name) is not None, name


def test_the_reference_has_every_public_name() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: arraymlp\.([\w.]+)", text, flags=re.MULTILINE))
    public = set(arraymlp.__all__) | ESTIMATORS
    namespaces = set(arraymlp._NAMESPACES)
    expected = public - namespaces
    for namespace in namespaces:
        names = import_module(f"arraymlp.{namespace}").__all__
        tables = {name for name in names if name.isupper()} - {"SGD", "MNIST"}  # which are classes
        expected |= {f"{namespace}.{name}" for name in set(names) - tables}
    assert documented == expected


# The table of settings


def rows() -> dict[str, str]:
    """What the table of settings says of each name."""
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| `train(...)` | what it may be |\n|---|---|\n")
    lines = table.partition("\n\n")[0].splitlines()
    cells = [line.strip("| ").split(" | ", 1) for line in lines]
    return {name: text for names, text in cells for name in re.findall(r"`(\w+)=`", names)}


def test_the_table_has_every_setting() -> None:
    assert set(rows()) == set(TABLE) | BESIDES


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("optimizer", {"auto", *OPTIMIZERS}),
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


# Paths and links


@EACH_PAGE
def test_paths_exist(page: Path) -> None:
    folders = ("src", "tests", "examples", "docs", "ci")
    texts = quoted(page)
    paths = [text for text in texts if re.fullmatch(rf"({'|'.join(folders)})/[\w./*-]*", text)]
    for path in paths:
        assert list(ROOT.glob(path)), path


@EACH_PAGE
def test_paths_inside_the_rooms_exist(page: Path) -> None:
    source, tests = ROOT / "src" / "arraymlp", ROOT / "tests"
    rooms = "|".join(path.name for path in source.iterdir() if path.is_dir())
    for path in [text for text in quoted(page) if re.fullmatch(rf"({rooms})/[\w./]*", text)]:
        assert any(file.exists() for file in (source / path, tests / path)), path


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the forges and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", prose(page)):
        if not link.startswith("https://"):
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def test_rooms_are_those_of_the_tree() -> None:
    tree = re.findall(r"^  (\w+)/ ", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "src" / "arraymlp").glob("*/__init__.py")}
    assert len(tree) == len(set(tree)) == len(folders)
    assert set(tree) == folders


# Commands


def test_options_of_the_command_line_exist() -> None:
    typer_main = pytest.importorskip("typer.main")
    from arraymlp.app.main import command_line

    commands = typer_main.get_command(command_line()).commands
    texts = [*(block.code for block in of_language("sh")), *(t for p in PAGES for t in quoted(p))]
    used = [line for text in texts for line in text.splitlines() if re.match(r"arraymlp \w+", line)]
    assert len(used) > 5
    for line in used:
        command = commands[line.split()[1]]
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", line)) <= options, line


# The functions of the standard that the definition needs


def test_the_architecture_page_lists_the_functions_of_the_standard_that_are_used() -> None:
    _, _, text = (
        (DOCS / "architecture.md")
        .read_text(encoding="utf-8")
        .partition("## Which functions of the standard are needed")
    )
    listed = re.findall(r"^- (.*?)(?=^- |^$)", text.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`(__\w+__|[a-z]\w*)`", "".join(listed)))
    used: set[str] = set()
    for room in ("nn", "data", "steps", "training", "sweeps", "diagnosis"):
        for path in (ROOT / "src" / "arraymlp" / room).rglob("*.py"):
            used |= set(re.findall(r"\bxp\.(\w+)", path.read_text(encoding="utf-8")))
    assert named == used | {"mT"}
