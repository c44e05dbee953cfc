"""Importing the package stays light, and each library is imported where the design says."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import arraymlp
from processes import OPTIONAL, modules_after

ROOT = Path(arraymlp.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
LIGHT = "import numpy, array_api_compat.numpy"
HEAVY = {"asyncio", "multiprocessing", "unittest", "http", "sqlite3", "xml", "ssl", "tkinter"}


@pytest.fixture(scope="module")
def ours() -> set[str]:
    """What `import arraymlp` imports beyond what its two dependencies do."""
    return modules_after("import arraymlp") - modules_after(LIGHT)


def test_the_package_itself_is_seen(ours: set[str]) -> None:
    assert "arraymlp" in ours


def test_import_needs_no_optional_library(ours: set[str]) -> None:
    assert not ours & OPTIONAL


def test_import_needs_no_heavy_part_of_the_standard_library(ours: set[str]) -> None:
    assert not ours & HEAVY


def test_training_on_numpy_needs_no_optional_library() -> None:
    training = "train([[0], [1]], [0, 1], epochs=1, batch_size=2, backend='numpy')"
    found = modules_after(f"from arraymlp import train; {training}")
    assert not (found - modules_after(LIGHT)) & OPTIONAL


# Who imports what


def imported_by(source: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, `import_module("...")` included."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            assert isinstance(node.args[0], ast.Constant), f"{source}:{node.lineno}: which?"
            yield str(node.args[0].value)


def importers_of(library: str) -> set[str]:
    return {
        source.relative_to(ROOT).as_posix()
        for source in SOURCES
        if any(
            library in name.split(".")
            for name in imported_by(source)
            if not name.startswith("arraymlp.")
        )
    }


@pytest.mark.parametrize("library", ["cupy", "torch", "jax", "array_api_strict"])
def test_only_the_backend_and_its_kernels_import_an_array_library(library: str) -> None:
    importers = importers_of(library)
    assert "backend.py" in importers
    assert importers <= {"backend.py", f"kernels/{library}.py"}


def test_the_maths_does_not_import_numpy() -> None:
    maths = {"activations", "losses", "layer", "optimizers", "step", "dropout", "metrics"}
    maths = {f"{name}.py" for name in maths}
    assert maths <= {source.name for source in SOURCES}
    assert not importers_of("numpy") & maths


# What is offered


def test_all_is_complete() -> None:
    tree = ast.parse(Path(arraymlp.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert imported | set(arraymlp._LATER) == set(arraymlp.__all__)
    assert all(getattr(arraymlp, name).__name__ == name for name in arraymlp._LATER)


def test_all_is_sorted() -> None:
    # Constants, then classes, then functions, as ruff sorts it.
    def key(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert sorted(arraymlp.__all__, key=key) == arraymlp.__all__


def test_type_checkers_may_look_inside() -> None:
    assert (ROOT / "py.typed").is_file()


# Extras that are not installed


def without(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)


def test_a_plot_without_matplotlib_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    without("matplotlib", monkeypatch)
    history = arraymlp.History([{"epoch": 0, "loss": 1.0}])
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'arraymlp\[plot\]'"):
        history.plot()
