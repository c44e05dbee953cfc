"""Compile the CPU engine into the wheel, where there is a C++ compiler: hatchling calls this.

The library is called by ctypes, so one wheel serves every Python: ``py3-none-<platform>``. Without
a compiler, where it fails, or with ``ARRAYMLP_NATIVE=0``, the wheel is ``py3-none-any``, in which
NumPy trains by the definition, and a line on stderr says why. ``ARRAYMLP_NATIVE=require`` makes
that an error. An editable installation has the library in ``src/``, and so has

    python hatch_build.py                   # where it is older than its sources
    python hatch_build.py --which           # name the compiler; exit status 1 if there is none
    python hatch_build.py --to FILE [--for linux-arm64] [FLAG ...]    # as ci/native does it

The compiler is ``$CXX``, else the first of c++, g++ and clang++. PyPI's ``ziglang`` has one, too,
which ``CXX="python -m ziglang c++"`` takes. It is no requirement of the build: it is a download of
100 MB and takes 20 to 35 seconds for its first library, for a package that works without any.

macOS, and Windows with MSVC (in a prompt where ``cl`` is on the path), are written to work, and
have not been run; ci/native compiles for them.
"""

import argparse
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # run by hand
    BuildHookInterface = object

ENGINES = Path(__file__).resolve().parent / "src" / "arraymlp" / "engines"
FOLDER = ENGINES / "cpu"
SUFFIXES = {"linux": ".so", "macos": ".dylib", "win": ".dll"}
IN_WHEEL = "arraymlp/engines/cpu/_native"

SECONDS = 60.0  # for all of it; without the engine an installation is better than a long one
GNU = [
    *["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti"],
    *["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"],
]
MSVC = ["/nologo", "/std:c++17", "/O2", "/GR-", "/MT", "/fp:contract"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
# By processor, the instruction sets that engine.cpp is compiled for, and the flags of each: those
# of GCC and Clang, and MSVC's.
ISAS: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "x86_64": {
        "baseline": (["-march=x86-64"], []),
        "avx2": (["-march=x86-64", "-mavx2", "-mfma"], ["/arch:AVX2"]),
        "avx512": (["-march=x86-64", "-mfma", *AVX512], ["/arch:AVX512"]),
    },
    "arm64": {"baseline": ([], [])},
}
NAMES = {"amd64": "x86_64", "aarch64": "arm64"}  # of processors, as systems call them


class NotBuiltError(Exception):
    """Why there is no library, in one line; ``output`` is all that the compiler said."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """Adds the library to the wheel, or to ``src/`` for an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and set the wheel's tag; hatchling calls it before it packs a wheel."""
        if version == "editable":
            build_in_place()
            return
        self.folder = tempfile.TemporaryDirectory()
        library = Path(self.folder.name, "_native").with_suffix(SUFFIXES[this_system()])
        if built(library):
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
            build_data["force_include"][str(library)] = IN_WHEEL + library.suffix

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled; hatchling calls it after it has packed a wheel."""
        if version != "editable":
            self.folder.cleanup()


def build_in_place() -> bool:
    """Compile into ``src/`` where the library there is older than its sources, or none.

    The old one is removed in any case, or it would go on to compute what it computed before.
    """
    library = FOLDER / f"_native{SUFFIXES[this_system()]}"
    if native_wanted() != "0" and _is_newest(library) and _loads(library):
        return True
    library.unlink(missing_ok=True)
    return built(library)


def built(library: Path) -> bool:
    """Compile; False, with a line on stderr, where that cannot be done.

    Raises:
        RuntimeError: it cannot, and ``ARRAYMLP_NATIVE=require``.
    """
    try:
        if native_wanted() == "0":
            raise NotBuiltError("ARRAYMLP_NATIVE=0")
        compile_library(library)
    except NotBuiltError as error:
        if native_wanted() == "require":
            text = f"ARRAYMLP_NATIVE=require, but the CPU engine cannot be built: {error}"
            raise RuntimeError(f"{text}\n{error.output}".strip()) from None
        print(f"arraymlp: without the compiled CPU engine: {error}", file=sys.stderr, flush=True)
        return False
    return True


def native_wanted() -> str:
    """What ``ARRAYMLP_NATIVE`` says.

    Raises:
        ValueError: it is not 0, 1 or require.
    """
    value = os.environ.get("ARRAYMLP_NATIVE", "")
    if value not in ("", "0", "1", "require"):
        raise ValueError(f"ARRAYMLP_NATIVE={value}: give 0, 1, require, or leave it out")
    return value


def compile_library(
    library: Path, flags: Sequence[str] = (), target: str = "", seconds: float = SECONDS
) -> None:
    """Compile the library into a file, which appears when it is complete.

    Args:
        library: the file. It must be one that loads here, but with flags or for another target.
        flags: more flags, for the compiler and the linker.
        target: what it is for, such as "linux-arm64", where that is not this machine.
        seconds: that it may take.

    Raises:
        NotBuiltError: it cannot be compiled.
    """
    deadline = monotonic() + seconds
    compiler = find_compiler()
    if not library.parent.is_dir():
        raise NotBuiltError(f"there is no folder {library.parent}")
    system, _, machine = (target or f"{this_system()}-{this_machine()}").partition("-")
    if machine not in ISAS:
        raise NotBuiltError(f"it has no code for {machine or 'this processor'}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            objects, commands = [], []
            for isa, arch_flags in ISAS[machine].items():
                command, result = _compilation(compiler, system, machine, f"engine-{isa}")
                commands.append([*command, f"-DISA={isa}", *_arch(compiler, arch_flags), *flags])
                objects.append(result)
            command, result = _compilation(compiler, system, machine, "dispatch")
            baseline = _arch(compiler, ISAS[machine]["baseline"])
            _run([*commands, [*command, *baseline, *flags]], folder, deadline)
            linked = Path(folder, library.name)
            link = _linking(compiler, system, machine, [*objects, result], linked.name)
            _run([[*link, *flags]], folder, deadline)
            if not (target or flags) and not _loads(linked):
                raise NotBuiltError(f"what {shlex.join(compiler)} makes cannot be loaded here")
            new = library.with_name(f"{library.name}.{os.getpid()}")
            shutil.copyfile(linked, new)
            os.replace(new, library)  # whole, also for who loads it now
    except OSError as error:
        raise NotBuiltError(str(error)) from None


def find_compiler() -> list[str]:
    """The command that compiles C++.

    Raises:
        NotBuiltError: there is none.
    """
    if given := os.environ.get("CXX", "").strip():
        try:
            command = shlex.split(given, posix=os.name == "posix")
        except ValueError as error:
            raise NotBuiltError(f"CXX={given}: {error}") from None
        if shutil.which(command[0]) is None:
            raise NotBuiltError(f"there is no C++ compiler CXX={given}")
        if os.path.dirname(command[0]):  # it is run in another folder
            command[0] = os.path.abspath(command[0])
        return command
    names = ["c++", "g++", "clang++"]
    for name in ["cl", *names] if os.name == "nt" else names:
        if shutil.which(name):
            return [name]
    raise NotBuiltError(f"there is no C++ compiler: no {', '.join(names)}, and CXX is not set")


def this_system() -> str:
    """The system, as in `SUFFIXES`; whatever it is, ELF's libraries are called ``.so``."""
    return {"darwin": "macos", "win32": "win"}.get(sys.platform, "linux")


def this_machine() -> str:
    """The processor that this Python is for, as in `ISAS`; "" for one of 32 bits."""
    if sys.maxsize < 2**32:
        return ""
    of_python = sysconfig.get_platform().rpartition("-")[2]  # on Windows also where that emulates
    name = platform.machine() if sys.platform == "darwin" else of_python
    return NAMES.get(name.lower(), name.lower())


def platform_tag() -> str:
    """The wheel's platform: this one's own, as no one has looked at what else it would run on."""
    if sys.platform == "darwin":
        return f"macosx_{_macos_version().replace('.', '_')}_{this_machine()}"
    from packaging.tags import platform_tags  # hatchling needs it, too

    tags: Iterator[str] = platform_tags()
    return next(tag for tag in tags if not tag.startswith(("manylinux", "musllinux")))


def _macos_version() -> str:
    """The oldest macOS that the library is for."""
    major, _, minor = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0").partition(".")
    return f"{major}.{minor or 0}"


def _is_msvc(compiler: Sequence[str]) -> bool:
    return Path(compiler[0]).stem.lower() in ("cl", "clang-cl")


def _is_zig(compiler: Sequence[str]) -> bool:
    return any(word == "ziglang" or Path(word).stem == "zig" for word in compiler)


def _arch(compiler: Sequence[str], flags: tuple[list[str], list[str]]) -> list[str]:
    """The flags of an instruction set; zig calls the oldest x86-64 by a name of its own."""
    gnu, msvc = flags
    if _is_zig(compiler):
        return [flag.replace("=x86-64", "=x86_64") for flag in gnu]
    return msvc if _is_msvc(compiler) else gnu


def _of_macos(system: str, machine: str) -> list[str]:
    if system != "macos" or sys.platform != "darwin":  # zig's -target says it
        return []
    return ["-arch", machine, f"-mmacosx-version-min={_macos_version()}"]


def _compilation(
    compiler: Sequence[str], system: str, machine: str, name: str
) -> tuple[list[str], str]:
    """The command that compiles a source, but for flags of its own, and the object it makes."""
    source = str(FOLDER / f"{name.partition('-')[0]}.cpp")
    if _is_msvc(compiler):
        return [*compiler, *MSVC, "/c", source, f"/Fo{name}.obj"], f"{name}.obj"
    flags = [*GNU, *_of_macos(system, machine)]
    return [*compiler, *flags, "-c", source, "-o", f"{name}.o"], f"{name}.o"


def _linking(
    compiler: Sequence[str], system: str, machine: str, objects: list[str], library: str
) -> list[str]:
    """The command that links: the library needs C's, and no run-time library of C++ or GCC."""
    if _is_msvc(compiler):
        return [*compiler, "/nologo", "/LD", "/MT", *objects, f"/Fe{library}"]
    flags = _of_macos(system, machine)
    if _is_zig(compiler) or system == "macos":
        flags.append("-nostdlib++")
    if system != "macos":
        flags.append("-static-libgcc")
    if system == "linux":
        flags.append("-Wl,--as-needed")  # g++ names libstdc++, which is not needed
    return [*compiler, "-shared", *flags, *objects, "-o", library, *(["-lm"] * (system == "linux"))]


def _run(commands: Sequence[Sequence[str]], folder: str, deadline: float) -> None:
    """Run commands side by side in a folder.

    Raises:
        NotBuiltError: one of them fails, or the time is up.
        OSError: one of them cannot be started.
    """
    running: list[subprocess.Popen[bytes]] = []
    try:
        for i, command in enumerate(commands):
            with Path(folder, f"{i}.log").open("wb") as output:
                # A compiler starts others: on POSIX they are a group, which can be ended.
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            running.append(process)
        for i, (command, process) in enumerate(zip(commands, running, strict=True)):
            if process.wait(max(0.0, deadline - monotonic())):
                said = Path(folder, f"{i}.log").read_text(errors="replace").strip()
                lines = [line.strip() for line in said.splitlines() if "error" in line.lower()]
                reason = lines[0] if lines else f"exit status {process.returncode}"
                raise NotBuiltError(
                    f"{command[0]} failed: {reason}", f"{shlex.join(command)}\n{said}"
                )
    except subprocess.TimeoutExpired:
        raise NotBuiltError(f"{commands[0][0]} took too long") from None
    finally:
        for process in running:
            if process.poll() is None:
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _loads(library: Path) -> bool:
    """Whether Python can load it; asked in a process of its own, which may crash."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).arraymlp_abi()"
    tried = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True)
    return tried.returncode == 0


def _is_newest(library: Path) -> bool:
    """Whether the library is younger than all that it is made of."""
    sources = [*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"), *ENGINES.glob("*.h"), Path(__file__)]
    return library.exists() and library.stat().st_mtime >= max(s.stat().st_mtime for s in sources)


def main() -> int:
    """Do what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compile the CPU engine into src/.")
    parser.add_argument("--which", action="store_true", help="name the compiler")
    parser.add_argument("--to", type=Path, metavar="FILE", help="into this file")
    parser.add_argument("--for", dest="target", default="", metavar="SYSTEM-MACHINE")
    arguments, flags = parser.parse_known_args()
    if not (arguments.to or arguments.which) and (flags or arguments.target):
        parser.error("more flags, and --for, only with --to FILE")
    try:
        if arguments.which:
            print(shlex.join(find_compiler()))
        elif arguments.to:
            compile_library(arguments.to.resolve(), flags, arguments.target, seconds=600)
        else:
            build_in_place()  # or without it, as the installation does
    except NotBuiltError as error:
        print(f"hatch_build.py: {error}\n{error.output}".strip(), file=sys.stderr)
        return 1
    except (RuntimeError, ValueError) as error:
        print(f"hatch_build.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
