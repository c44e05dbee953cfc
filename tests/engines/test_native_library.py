"""How the CPU engine's library is built, installed, found and refused."""

import _ctypes
import ctypes
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from arraymlp.backends.registry import BackendUnavailableError
from arraymlp.engines.cpu import library
from arraymlp.engines.cpu.library import ABI, ISAS, Native

ROOT = Path(__file__).resolve().parents[2]
CPU = Path("src", "arraymlp", "engines", "cpu")
DISPATCH = ROOT / CPU / "dispatch.cpp"
# In place of the engine: it says in the job which instruction set it was compiled for.
ENGINE = """
#include <stdint.h>
#define NAME_OF(isa) arraymlp_run_##isa
#define NAME(isa) NAME_OF(isa)
#if defined(__AVX512VL__)
enum { ISA_NUMBER = 2 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { ISA_NUMBER = 1 };
#else
enum { ISA_NUMBER = 0 };
#endif
extern "C" int64_t NAME(ISA)(void *job) { *(int64_t *)job = ISA_NUMBER; return 7; }
"""

pytest.importorskip("hatchling")
_spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
assert _spec is not None
assert _spec.loader is not None
hatch_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hatch_build)

no_compiler = not any(shutil.which(name) for name in ("c++", "g++", "clang++"))
needs_compiler = pytest.mark.skipif(no_compiler, reason="no C++ compiler on the path")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("ARRAYMLP_NATIVE", "ARRAYMLP_ISA", "CXX", "MACOSX_DEPLOYMENT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(library._Process, "outcome", None)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone with a small engine, and nothing that a wheel can do without."""
    root = tmp_path_factory.mktemp("project")
    package = root / "src" / "arraymlp"
    (root / CPU).mkdir(parents=True)
    for name in ("hatch_build.py", "pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    shutil.copy(DISPATCH, root / CPU)
    shutil.copy(ROOT / CPU / "library.py", root / CPU)
    (root / CPU / "engine.cpp").write_text(ENGINE)
    licence = package / "data" / "datasets" / "data" / "LICENSE-MNIST.md"
    licence.parent.mkdir(parents=True)
    licence.write_text("a licence\n")
    return root


@pytest.fixture(scope="module")
def compiled(project, tmp_path_factory):
    """The library of that project, beside it nothing."""
    path = tmp_path_factory.mktemp("library") / library.PATH.name
    result = run_python(project / "hatch_build.py", "--to", path)
    assert result.returncode == 0, result.stderr
    return path


def run_python(*args, cwd=None, **variables):
    given = {k: v for k, v in os.environ.items() if k not in ("CXX", "ARRAYMLP_NATIVE")}
    command = [sys.executable, *map(str, args)]
    options = {"capture_output": True, "text": True, "cwd": cwd, "timeout": 120}
    return subprocess.run(command, env={**given, **variables}, **options)


def wheel_of(project, folder, **variables):
    """The wheel built of a project, its names, its WHEEL file, and what stderr has."""
    shutil.rmtree(folder, ignore_errors=True)
    command = ("-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    result = run_python(*command, cwd=project, **variables)
    assert result.returncode == 0, result.stderr
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = archive.read("arraymlp-0.1.0.dist-info/WHEEL").decode()
    lines = [line for line in result.stderr.splitlines() if line.startswith("arraymlp:")]
    return wheel, names, about, lines


def processor():
    """What this processor has, as the operating system says it."""
    flags = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split())
    if not {"avx2", "fma"} <= flags:
        return "baseline"
    return "avx512" if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags else "avx2"


# The build


@needs_compiler
def test_a_wheel_of_an_sdist_has_the_library_and_the_platforms_tag(project, tmp_path):
    (project / CPU / library.PATH.name).write_text("made in place, and not for wheels")
    try:
        result = run_python("-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=project)
    finally:
        (project / CPU / library.PATH.name).unlink()
    assert result.returncode == 0, result.stderr
    with tarfile.open(tmp_path / "arraymlp-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "arraymlp-0.1.0"
    files = {path.name for path in (unpacked / CPU).iterdir()}
    assert files == {"dispatch.cpp", "engine.cpp", "library.py"}

    wheel, names, about, lines = wheel_of(unpacked, tmp_path / "wheels", ARRAYMLP_NATIVE="require")
    assert wheel.name == f"arraymlp-0.1.0-py3-none-{hatch_build.platform_tag()}.whl"
    assert "Root-Is-Purelib: false" in about
    assert {Path(name).name for name in names if "/cpu/" in name} == {
        "library.py",
        library.PATH.name,
    }
    assert lines == []

    with zipfile.ZipFile(wheel) as archive:
        archive.extract(f"arraymlp/engines/cpu/{library.PATH.name}", tmp_path)
    native = library.find(tmp_path / "arraymlp" / "engines" / "cpu" / library.PATH.name)
    assert isinstance(native, Native)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"PATH": ""}, "there is no C++ compiler: no c++, g++, clang++, and CXX is not set"),
        ({"CXX": "nowhere-c++ -O9"}, "there is no C++ compiler CXX=nowhere-c++ -O9"),
        ({"CXX": '"c++'}, 'CXX="c++: No closing quotation'),
        ({"CXX": "false"}, "false failed: exit status 1"),
        ({"ARRAYMLP_NATIVE": "0"}, "ARRAYMLP_NATIVE=0"),
    ],
    ids=["no compiler", "wrong CXX", "half a CXX", "failing", "unwanted"],
)
def test_the_wheel_is_pure_without_a_compiler(project, tmp_path, variables, reason):
    wheel, names, about, lines = wheel_of(project, tmp_path, **variables)
    assert wheel.name == "arraymlp-0.1.0-py3-none-any.whl"
    assert "Root-Is-Purelib: true" in about
    assert [name for name in names if "/cpu/" in name] == ["arraymlp/engines/cpu/library.py"]
    assert lines == [f"arraymlp: without the compiled CPU engine: {reason}"]


def compiler_that(folder, does):
    """A compiler that writes to its standard error and does something."""
    path = folder / "c++"
    path.write_text(f"#!{sys.executable}\nimport sys, time\n{does}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_required_library_fails_the_build_with_all_that_the_compiler_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ARRAYMLP_NATIVE", "require")
    does = "print('some words'); print('engine.cpp:7: error: no'); sys.exit(3)"
    compiler = compiler_that(tmp_path, does)
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(RuntimeError) as caught:
        hatch_build.built(tmp_path / "library")
    text = str(caught.value)
    assert f"cannot be built: {compiler} failed: engine.cpp:7: error: no\n" in text
    assert "some words" in text


def test_a_compiler_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    compiler = compiler_that(tmp_path, f"open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(60)")
    monkeypatch.setenv("CXX", compiler)
    started = time.monotonic()
    with pytest.raises(hatch_build.NotBuiltError, match="took too long"):
        hatch_build.compile_library(tmp_path / "library", seconds=1.0)
    assert time.monotonic() - started < 40
    assert (tmp_path / "begun").exists()
    assert not (tmp_path / "library").exists()


def test_what_cannot_be_loaded_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "CXX", compiler_that(tmp_path, "open(sys.argv[-2], 'w').write('no library')")
    )
    monkeypatch.setattr(hatch_build, "_linking", lambda c, s, m, o, name: [*c, name, "last"])
    with pytest.raises(hatch_build.NotBuiltError, match="cannot be loaded here"):
        hatch_build.compile_library(tmp_path / "library")


@pytest.mark.parametrize("value", ["yes", "2", "Require"])
def test_odd_values_of_the_variable_are_refused(tmp_path, monkeypatch, value):
    monkeypatch.setenv("ARRAYMLP_NATIVE", value)
    with pytest.raises(ValueError, match=f"ARRAYMLP_NATIVE={value}: give 0, 1, require"):
        hatch_build.built(tmp_path / "library")
    with pytest.raises(ValueError, match=f"ARRAYMLP_NATIVE={value}: give 0, 1, require"):
        library.load()


def test_processors_without_code_of_their_own_have_no_library(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(hatch_build, "this_machine", lambda: "ppc64le")
    with pytest.raises(hatch_build.NotBuiltError, match="it has no code for ppc64le"):
        hatch_build.compile_library(tmp_path / "library")


@needs_compiler
def test_in_place_it_is_built_where_it_is_older_than_its_sources(project):
    path = project / CPU / library.PATH.name

    def build(**variables):
        result = run_python(project / "hatch_build.py", **variables)
        assert result.returncode == 0, result.stderr
        return path.stat().st_mtime_ns if path.exists() else None

    first = build()
    assert first is not None
    assert build(CXX="false") == first  # nothing to do
    (project / CPU / "engine.cpp").touch()
    assert build() > first
    (project / CPU / "engine.cpp").touch()
    assert build(CXX="false") is None  # rather none than an old one
    assert run_python(project / "hatch_build.py", CXX="false", ARRAYMLP_NATIVE="require").returncode


def test_both_sides_agree_about_names():
    suffix = hatch_build.SUFFIXES[hatch_build.this_system()]
    assert Path(hatch_build.IN_WHEEL).with_suffix(suffix).name == library.PATH.name
    assert all(set(isas) <= set(ISAS) for isas in hatch_build.ISAS.values())
    assert f"arraymlp_abi(void) {{ return {ABI}; }}" in DISPATCH.read_text()


@pytest.mark.skipif(
    not (library.PATH.exists() and library.PATH.parent.samefile(ROOT / CPU)),
    reason="there is no library in src/, or it is not the one that is used",
)
def test_the_library_in_src_is_of_the_sources_beside_it():
    assert hatch_build._is_newest(library.PATH), "build it anew: python hatch_build.py"


# The library


@needs_compiler
def test_it_computes_by_the_best_instructions_of_the_processor(compiled, monkeypatch):
    best = library.find(compiled)
    assert isinstance(best, Native)
    if sys.platform == "linux" and hatch_build.this_machine() == "x86_64":
        assert best.isa == processor()
    job = ctypes.c_int64(-1)
    for isa in ISAS[: ISAS.index(best.isa) + 1]:
        monkeypatch.setenv("ARRAYMLP_ISA", isa)
        native = library.find(compiled)
        assert isinstance(native, Native)
        assert native.run(ctypes.addressof(job)) == 7
        assert (native.isa, job.value) == (isa, ISAS.index(isa))


@needs_compiler
def test_instructions_that_are_not_there_are_refused(compiled, monkeypatch):
    monkeypatch.setenv("ARRAYMLP_ISA", "avx9")
    with pytest.raises(ValueError, match="ARRAYMLP_ISA=avx9: give baseline, avx2, avx512"):
        library.find(compiled)
    monkeypatch.setenv("ARRAYMLP_ISA", "avx2")
    raw = ctypes.CDLL(str(compiled))
    assert raw.arraymlp_run(len(ISAS), None) == raw.arraymlp_run(-1, None) == -1
    monkeypatch.setattr(ctypes, "CDLL", lambda path: Baseline)
    with pytest.raises(ValueError, match=r"ARRAYMLP_ISA=avx2: this processor has baseline$"):
        library.find(compiled)


class Baseline:
    """A library on a processor that has no more."""

    @staticmethod
    def arraymlp_abi():
        return ABI

    @staticmethod
    def arraymlp_isa():
        return 0

    @staticmethod
    def arraymlp_run(isa, job):
        return 0


@needs_compiler
def test_a_library_of_another_version_is_refused(compiled, monkeypatch):
    monkeypatch.setattr(library, "ABI", ABI + 1)
    reason = library.find(compiled)
    assert reason == (
        f"{compiled} is of another version of arraymlp: its interface is {ABI}, not {ABI + 1}"
    )


def test_absent_damaged_and_foreign_libraries_are_refused(tmp_path):
    path = tmp_path / library.PATH.name
    assert "was installed without a C++ compiler that works" in str(library.find(path))
    path.write_bytes(b"\x7fELF and no more")
    assert f"{path} cannot be loaded: " in str(library.find(path))
    if hasattr(_ctypes, "__file__"):  # it is a library, of another kind
        foreign = Path(_ctypes.__file__)
        assert f"{foreign} is not of arraymlp: " in str(library.find(foreign))


def test_it_is_loaded_once_and_logged_once_by_many_threads(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "arraymlp")
    found, loaded = [], []

    def slow(path):
        found.append(path)
        time.sleep(0.05)  # in which the others come
        return Native("avx2", path, lambda address: 0)

    monkeypatch.setattr(library, "find", slow)
    threads = [threading.Thread(target=lambda: loaded.append(library.load())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [library.PATH]
    assert len(loaded) == 8
    assert all(native is loaded[0] for native in loaded)
    assert library.why_not() == ""
    assert [record.getMessage() for record in caplog.records] == [
        "the CPU engine is compiled, and computes by avx2"
    ]


def test_its_absence_is_logged_once_and_an_error_where_it_is_required(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "arraymlp")
    monkeypatch.setenv("ARRAYMLP_NATIVE", "0")
    assert library.load() is None
    assert library.why_not() == "ARRAYMLP_NATIVE=0"
    assert [record.getMessage() for record in caplog.records] == [
        "without the CPU engine NumPy trains by the definition: ARRAYMLP_NATIVE=0"
    ]
    monkeypatch.setenv("ARRAYMLP_NATIVE", "require")
    words = r"ARRAYMLP_NATIVE=require, but .*: ARRAYMLP_NATIVE=0"
    with pytest.raises(BackendUnavailableError, match=words):
        library.load()


FORK = """
import os, signal, threading
from arraymlp.engines.cpu import library

inside, go_on = threading.Event(), threading.Event()

def slow(path):
    inside.set()
    go_on.wait(10)
    return "slow"

library.find = slow
thread = threading.Thread(target=library.why_not)
thread.start()
inside.wait(10)
threading.Timer(0.1, go_on.set).start()
child = os.fork()  # waits until the library is loaded
if not child:
    signal.alarm(20)  # which ends it
    os._exit(0 if library.why_not() == "slow" else 1)
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_it_is_loaded_loads_it_too():
    # In a process of its own: this one may have JAX, which warns of every fork.
    env = {**os.environ, "ARRAYMLP_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", FORK], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
