"""The code in README and docs runs: Python as a script a page, commands line by line."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from pages import NAMES, PAGES, ROOT, Block, blocks, of_language, page_name, script
from quotes import QUOTATION, renewed

# Whose sections each need a tracker: test_logging.py runs them.
APART = ("docs/logging.md",)
WITH_PYTHON = [
    page for page in PAGES if of_language("python", page) and page_name(page) not in APART
]
# Pages whose commands go on with the files of those before them.
IN_ORDER = ("docs/tables.md",)
LINES = {
    line.partition("#")[0].strip(): (block, line)  # one that stands in two pages is tried once
    for block in sorted(of_language("sh"), key=lambda block: block.page in IN_ORDER)
    for line in block.code.splitlines()
    if line.strip() and not line.startswith("#")
}
COMMANDS = [
    pytest.param(*at, id=f"{at[0].page}: {text}")
    for text, at in LINES.items()
    if at[0].page not in IN_ORDER
]
# What a page's example would have a reader wait for is made short; the last of an option counts.
SHORTER = {"sweep": ["--epochs", "1"], "lab": ["--epochs", "1"], "--bench": ["--seconds", "2"]}
# By what a page's code shows that it needs a library which is not always there.
NEEDS = {
    "sklearn": r"\bMLP(Classifier|Regressor|Search|Ensemble)",
    "torch": "import torch",
    "pandas": "import pandas",
    "zarr": "import zarr",
    "dask.dataframe": "import dask.dataframe",
    "pyarrow": "to_parquet",
    "onnx": "to_onnx",
    "onnxruntime": "import onnxruntime",
    "skl2onnx": r"to_onnx\(pipeline",
    "distributed": "import Client",
    "mpi4py": "mpi4py|group=",
}
NO_GPU = "the cupy backend cannot run here"  # the one warning that the pages themselves speak of


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MPLBACKEND": "Agg", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("page", WITH_PYTHON, ids=page_name)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    code = script(page)
    for library, signs in NEEDS.items():
        if re.search(signs, code):
            pytest.importorskip(library)
    file = tmp_path / f"{page.stem}.py"
    file.write_text(code, encoding="utf-8")
    warnings = ["-W", "error", "-W", f"ignore:{NO_GPU}"]
    done = run([sys.executable, *warnings, str(file)], tmp_path)
    assert done.returncode == 0, f"{page}, at the same line:\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("block", "line"), COMMANDS)
def test_command_works(block: Block, line: str, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)
    if words[0].startswith("ci/"):
        works_in_ci(words)
    elif words[:2] == ["pip", "install"] or words[1:4] == ["-m", "pip", "install"]:
        installs_what_the_project_knows(words)
    elif words[0] == "arraymlp":
        pytest.importorskip("typer")
        (tmp_path / "flowers.csv").write_text(
            "width,height,species\n"
            + "".join(f"{i % 7},{i % 5},{'iris' if i % 7 > 3 else 'rose'}\n" for i in range(60))
        )
        shorter = [option for word in words for option in SHORTER.get(word, [])]
        done = run([sys.executable, "-m", *words, *shorter], tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    elif words[0] == "python":
        assert (ROOT / words[1]).exists(), line  # CI runs every example
        # CI compiles the engine, too
        assert words[1].startswith("examples/") or words[1] == "hatch_build.py"
    else:
        assert words[0] in ("git", "cd"), f"{block.page}: no test knows how to try {line!r}"


# The commands by their names, the slow ones with fewer epochs.
SHELL = """set -eo pipefail
python() { "$PYTHON" "$@"; }
arraymlp() {
    case $1 in train | sweep) set -- "$@" --epochs 2 ;; esac
    python -m arraymlp "$@"
}
"""
# How a line of output begins that says the same on every machine.
SAME = ("table ", "target ", "columns ", "left out ", "held out ", "predicts ", "from ", "  ")


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
@pytest.mark.parametrize("name", IN_ORDER)
def test_commands_of_a_page_work_in_their_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("typer")
    code = "".join(block.code for block in of_language("sh", ROOT / name))
    if find_spec("onnx") is None:
        code = re.sub(r"^arraymlp export .*$", "", code, flags=re.MULTILINE)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("PYTHON", sys.executable)
    done = run(["bash", "-c", SHELL + code], tmp_path)
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr[-3000:]
    shown = "".join(block.code for block in of_language("text", ROOT / name)).splitlines()
    said = [line for line in shown if line.startswith(SAME)]
    assert len(said) > 10
    assert set(said) <= set(done.stdout.splitlines())


def works_in_ci(words: list[str]) -> None:
    """A script of ci/ is one that CI runs (but on GPU machines alone), and has these options."""
    path = ROOT / words[0]
    assert os.access(path, os.X_OK)
    used = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert words[0] in used or words[0] in ("ci/gpu", "ci/bench", "ci/tables", "ci/setup"), words
    help_text = path.read_text(encoding="utf-8") + run(["bash", str(path), "--help"], ROOT).stdout
    known = re.findall(r"--[a-z]+(?:-[a-z]+)*", help_text)
    assert {word for word in words if word.startswith("--")} <= set(known), words


def installs_what_the_project_knows(words: list[str]) -> None:
    """What pip is asked for is this clone with extras that it has, or a package of an extra."""
    extras, packages = installable()
    for word in words[words.index("install") + 1 :]:
        if word.startswith("."):
            chosen = word.removeprefix(".").strip("[]")
            assert {extra for extra in chosen.split(",") if extra} <= extras
        else:
            assert word in packages, word


def installable() -> tuple[set[str], set[str]]:
    """The project's extras, and the packages that it names, without versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    named = [name for names in extras.values() for name in names]
    named += [name for names in project["dependency-groups"].values() for name in names]
    packages = {re.split(r"[<>=]", name)[0] for name in named if isinstance(name, str)}
    return set(extras), packages


def test_messages_name_packages_that_exist() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    installed = re.findall(r"pip install ((?:'[^']+'|[a-z][\w-]*)(?: [a-z][\w-]*)*)", code)
    assert len(installed) > 8
    _, packages = installable()
    for text in installed:
        assert set(shlex.split(text)) <= packages, text


def test_the_pages_are_found() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/extending.md"} <= set(NAMES)
    assert len(COMMANDS) > 10
    assert find_spec("arraymlp") is not None


def test_quoted_code_is_what_the_files_have() -> None:
    quoted = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        quoted += len(QUOTATION.findall(text))
        assert renewed(page) == text, f"{page}: python tests/docs/quotes.py"
    assert quoted == len(of_language("py")) > 8  # each such block is held to a file


LANGUAGES = {
    "python": "runs",
    "py": "is held to a file",
    "sh": "is tried line by line",
    "text": "is no code",
    "diff": "is no code",
    "{toctree}": "of Sphinx",
    "{eval-rst}": "of Sphinx",
    "{include} ../CONTRIBUTING.md": "of Sphinx",
    "{include} ../CHANGELOG.md": "of Sphinx",
}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_is_of_a_kind_that_is_tried(page: Path) -> None:
    fences = re.findall(r"^\s*(?:```|~~~|:::)", page.read_text(encoding="utf-8"), re.MULTILINE)
    found = blocks(page)
    assert len(fences) == 2 * len(found)
    assert {block.language for block in found} <= set(LANGUAGES)
