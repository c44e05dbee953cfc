"""Importing the package stays light, and each library is imported where the design says."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

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

COMPUTED = "?"  # a name that is put together


def named(source: Path) -> str:
    """A file's path inside the package."""
    return source.relative_to(ROOT).as_posix()


def imported_by(source: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, `import_module("...")` included."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            yield str(name.value) if isinstance(name, ast.Constant) else COMPUTED


def importers_of(library: str) -> set[str]:
    return {
        named(source)
        for source in SOURCES
        if any(
            library in name.split(".")
            for name in imported_by(source)
            if not name.startswith("arraymlp.")
        )
    }


LIBRARIES = {
    "cupy": {"backends/cupy.py", "backends/nccl.py", "engines/cuda/device.py"},
    "torch": {"backends/torch.py"},
    "jax": {"backends/jax.py"},
    "array_api_strict": {"backends/strict.py"},
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_only_its_backend_and_its_engine_import_an_array_library(library: str) -> None:
    expected = {name for name in LIBRARIES[library] if (ROOT / name).exists()}
    assert expected  # the engines may be deleted, the backends not
    assert importers_of(library) == expected


def test_only_tables_of_the_packages_own_modules_are_imported_from() -> None:
    assert importers_of(COMPUTED) == {"__init__.py", "training/engine.py"}


# The rooms that compute on the device. What they may not do is checked for every file in them, but
# for these, which work on the host: initial values and constants are made there, in double
# precision, and what a probe or a rule of patience says is read there.
DEVICE_ROOMS = ("nn", "steps")
ON_THE_HOST = {
    "nn/initializers.py": "draws initial values",
    "nn/network.py": "makes class numbers, and picks members by number",
    "nn/scaling.py": "keeps means and scales, in double precision",
    "steps/hyper.py": "computes what an epoch's steps are told",
    "steps/patience.py": "counts epochs",
    "steps/schedules.py": "computes an epoch's factors",
}


def test_the_maths_does_not_import_numpy() -> None:
    maths = {name for name in map(named, SOURCES) if name.partition("/")[0] in DEVICE_ROOMS}
    assert len(maths) > len(ON_THE_HOST)
    assert importers_of("numpy") & maths == ON_THE_HOST.keys()


def test_no_module_is_named_like_a_public_function() -> None:
    # Importing it would overwrite the function.
    functions = {name for name in arraymlp.__all__ if callable(getattr(arraymlp, name))}
    modules = {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    assert not functions & modules


# What is offered


def test_all_is_complete() -> None:
    light = {n for n, module in arraymlp._LAZY.items() if not module.startswith("estimators.")}
    assert light | set(arraymlp._NAMESPACES) == set(arraymlp.__all__)
    assert all(getattr(arraymlp, name).__name__ == name for name in light)


def test_lazy_names_are_where_type_checkers_are_told() -> None:
    tree = ast.parse(Path(arraymlp.__file__).read_text(encoding="utf-8"))
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: (node.module or "").removeprefix("arraymlp.")
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    namespaces = {name for name, module in told.items() if module == "arraymlp"}
    assert namespaces == set(arraymlp._NAMESPACES)
    assert {n: module for n, module in told.items() if n not in namespaces} == arraymlp._LAZY


NAMESPACES = [name for name in arraymlp.__all__ if isinstance(getattr(arraymlp, name), ModuleType)]


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_offers_what_it_imports(name: str) -> None:
    module = getattr(arraymlp, name)
    public = {n for n, v in vars(module).items() if not n.startswith("_") and v is not None}
    assert set(module.__all__) == public


def test_what_signatures_ask_for_is_offered() -> None:
    offered = {
        getattr(space, name)
        for space in (arraymlp, *(getattr(arraymlp, n) for n in NAMESPACES))
        for name in space.__all__
        if isinstance(getattr(space, name), type)
    }
    hints = get_type_hints(arraymlp.train)
    asked = {kind for hint in hints.values() for kind in classes_in(hint)}
    assert {kind for kind in asked if kind.__module__.startswith("arraymlp.")} <= offered


def classes_in(hint: Any) -> set[type]:
    """The classes in an annotation, however deep."""
    if isinstance(hint, type) and not get_args(hint):
        return {hint}
    return {kind for part in get_args(hint) for kind in classes_in(part)}


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
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        history.plot()
