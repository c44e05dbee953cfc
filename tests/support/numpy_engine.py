"""Which engine NumPy has in this installation: without a C++ compiler, it has none."""

from importlib import import_module


def numpy_engine() -> str:
    """As ``run.engine`` names it."""
    try:
        library = import_module("arraymlp.engines.cpu.library")
    except ModuleNotFoundError:
        return "array"
    return "array" if library.load() is None else "cpu"
