"""The backends that tests run on, and a comparison that does not let an array change sides.

Two environment variables, each a comma-separated list of backends:

    ARRAYMLP_TEST_BACKENDS=numpy,torch     only these are tested
    ARRAYMLP_REQUIRE_BACKENDS=cupy         these fail where they would be skipped
"""

import gc
import os
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import array_api_compat
import hypothesis  # noqa: F401  # before gc.freeze, which hides from it who keeps trio's generator
import numpy as np
import pytest

from arraymlp import Backend, BackendUnavailableError, resolve
from arraymlp.backends.registry import backend_of

# A shell that starts a command in the background has it ignore Ctrl-C, which many tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# array_api_strict runs on a device that is not its default: whoever forgets `device=` fails.
DEVICES = {
    "numpy": None,
    "array_api_strict": "device1",
    "torch": "cpu",
    "jax": "cpu",
    "cupy": None,
}


def _listed(variable: str, default: list[str]) -> list[str]:
    names = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
    unknown = sorted(set(names) - set(DEVICES))
    if unknown:
        raise pytest.UsageError(f"{variable} names {unknown}; there is {', '.join(DEVICES)}")
    return names or default


SELECTED = _listed("ARRAYMLP_TEST_BACKENDS", list(DEVICES))
REQUIRED = {"numpy", "array_api_strict", *_listed("ARRAYMLP_REQUIRE_BACKENDS", [])}


@cache
def _backend_or_reason(name: str) -> Backend | str:
    try:
        return resolve(name, DEVICES[name], fallback=False)
    except BackendUnavailableError as error:
        return str(error)


def _require(name: str) -> Backend:
    found = _backend_or_reason(name)
    if isinstance(found, Backend):
        return found
    if name in REQUIRED:
        pytest.fail(f"required, but {found}")
    pytest.skip(found)


def _parametrised(request: pytest.FixtureRequest) -> Backend:
    request.node.user_properties.append(("backend", request.param))  # ci/gpu counts by it
    return _require(request.param)


@pytest.fixture(params=SELECTED)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend that works here."""
    return _parametrised(request)


@pytest.fixture(params=[name for name in SELECTED if name != "jax"])
def quick_backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend but JAX, which compiles every operation for every shape: for many shapes."""
    return _parametrised(request)


@pytest.fixture
def numpy_backend() -> Backend:
    """NumPy alone."""
    return resolve("numpy")


@pytest.fixture
def strict_backend() -> Backend:
    """array_api_strict on its non-default device, alone."""
    return _require("array_api_strict")


def _float64_on(backend: Backend) -> AbstractContextManager[Any]:
    if backend.name == "jax":
        import jax

        if hasattr(jax, "enable_x64"):
            return jax.enable_x64(True)
        from jax.experimental import enable_x64  # before JAX 0.8

        return enable_x64()
    try:
        backend.dtype("float64")
    except ValueError as error:
        pytest.skip(str(error))
    return nullcontext()


@pytest.fixture
def float64(backend: Backend) -> Iterator[str]:
    """The name "float64", which `backend` has for the length of this test."""
    with _float64_on(backend):
        yield "float64"


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest, backend: Backend) -> Iterator[str]:
    """Both dtypes by name, on every backend."""
    with _float64_on(backend) if request.param == "float64" else nullcontext():
        yield request.param


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile, nor look for it later in what lives to the end.

    The tests are millions of objects, and half of the time to collect them would go into that.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep JAX's cases in one process: it compiles each operation once a process."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("backend") == "jax":
            item.add_marker(pytest.mark.xdist_group("jax"))


def named(value: object) -> str:
    """The id of a parameter: its text without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """The values of an array of any backend."""
    return backend_of(array).to_numpy(array)


def assert_same(actual: Any, expected: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Same namespace, device, dtype and shape, and values that differ by rounding alone."""
    namespace = array_api_compat.array_namespace
    assert namespace(actual) is namespace(expected)
    assert array_api_compat.device(actual) == array_api_compat.device(expected)
    assert actual.dtype == expected.dtype
    assert tuple(actual.shape) == tuple(expected.shape)
    np.testing.assert_allclose(on_host(actual), on_host(expected), rtol=rtol, atol=atol)
