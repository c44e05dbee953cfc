"""The compiled library of the CPU engine: whether it is there and may be used, and if not, why.

``hatch_build.py`` compiles it when the package is installed, and puts it beside this file. Where
there is none, NumPy trains by the definition. Two variables of the environment are read once:

- ``ARRAYMLP_NATIVE``: ``0`` leaves the library alone, ``require`` makes its absence an error.
- ``ARRAYMLP_ISA``: an instruction set lower than the processor's best, for tests.
"""

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from arraymlp.backends.registry import BackendUnavailableError

log = logging.getLogger("arraymlp")

ABI = 1  # dispatch.cpp's, to be raised with it
ISAS = ("baseline", "avx2", "avx512")  # by dispatch.cpp's numbers
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
PATH = Path(__file__).with_name(f"_native{SUFFIX}")


class Native(NamedTuple):
    """The library, loaded.

    Attributes:
        isa: the instruction set that it computes with, one of `ISAS`.
        path: its file.
        run: does the job at an address, with the GIL released, and returns what the engine returns.
    """

    isa: str
    path: Path
    run: Callable[[int], int]


def load() -> Native | None:
    """The library, loaded once a process; None where there is none, and `why_not` says why.

    Raises:
        ValueError: one of the variables has a value that it cannot have.
        BackendUnavailableError: ``ARRAYMLP_NATIVE=require``, and there is none.
    """
    native = _outcome()
    if isinstance(native, Native):
        return native
    if os.environ.get("ARRAYMLP_NATIVE") == "require":
        raise BackendUnavailableError(
            f"ARRAYMLP_NATIVE=require, but the CPU engine cannot be used: {native}"
        )
    return None


def why_not() -> str:
    """Why there is no library, in words; "" where there is one.

    Raises:
        ValueError: as `load`.
    """
    native = _outcome()
    return native if isinstance(native, str) else ""


def find(path: Path) -> Native | str:
    """The library in a file, or why it is not used.

    Raises:
        ValueError: as `load`.
    """
    isa = _variable("ARRAYMLP_ISA", ISAS)
    if _variable("ARRAYMLP_NATIVE", ("0", "1", "require")) == "0":
        return "ARRAYMLP_NATIVE=0"
    if not path.exists():
        return (
            f"{path.name} was not built: arraymlp was installed without a C++ compiler that "
            'works, or with ARRAYMLP_NATIVE=0 ("pip install -v" says which); to have it, install '
            "a compiler and then arraymlp again"
        )
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        return f"{path} cannot be loaded: {error}"
    try:
        abi, best, run = library.arraymlp_abi, library.arraymlp_isa, library.arraymlp_run
    except AttributeError as error:
        return f"{path} is not of arraymlp: {error}"
    abi.argtypes, abi.restype = [], ctypes.c_int64
    if abi() != ABI:
        return f"{path} is of another version of arraymlp: its interface is {abi()}, not {ABI}"
    best.argtypes, best.restype = [], ctypes.c_int
    run.argtypes, run.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_int64
    number = best()
    if isa:
        if ISAS.index(isa) > number:
            can = ", ".join(ISAS[: number + 1])
            raise ValueError(f"ARRAYMLP_ISA={isa}: this processor has {can}")
        number = ISAS.index(isa)
    return Native(ISAS[number], path, lambda address: run(number, address))


def _variable(name: str, allowed: tuple[str, ...]) -> str:
    """A variable of the environment; "" where it is not set."""
    value = os.environ.get(name, "")
    if value and value not in allowed:
        raise ValueError(f"{name}={value}: give {', '.join(allowed)}, or leave it out")
    return value


class _Process:
    """What this process has found."""

    lock = threading.Lock()
    outcome: Native | str | None = None


def _outcome() -> Native | str:
    with _Process.lock:
        if _Process.outcome is None:
            _Process.outcome = outcome = find(PATH)
            if isinstance(outcome, Native):
                log.info("the CPU engine is compiled, and computes by %s", outcome.isa)
            else:
                log.info("without the CPU engine NumPy trains by the definition: %s", outcome)
        return _Process.outcome


if hasattr(os, "register_at_fork"):  # held over the fork, or the child might find it locked
    os.register_at_fork(
        before=_Process.lock.acquire,
        after_in_parent=_Process.lock.release,
        after_in_child=_Process.lock.release,
    )
