"""A backend works, or says why not: names, devices, fallbacks, and arrays in and out."""

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import array_api_compat
import numpy as np
import pytest

from arraymlp import (
    Backend,
    BackendFallbackWarning,
    BackendUnavailableError,
    available_backends,
    resolve,
    train,
)
from arraymlp.backends import cupy
from arraymlp.backends.cupy import CupyBackend
from arraymlp.backends.jax import JaxBackend
from arraymlp.backends.strict import StrictBackend
from arraymlp.backends.torch import TorchBackend
from conftest import named

NAMES = ("numpy", "cupy", "torch", "jax", "array_api_strict")
ABSENT = "cupy is not installed"
INSTALL = "pip install 'arraymlp[cuda13]'"
SHAPES = ((), (1,), (0,), (2, 3), (2, 0, 4))

X = np.random.default_rng(0).normal(size=(6, 2))
SMALL: dict[str, Any] = {"X": X, "y": [0, 1] * 3, "hidden": (2,), "epochs": 1, "batch_size": 3}


def resolve_or_skip(name: str, device: Any = None) -> Backend:
    try:
        return resolve(name, device, fallback=False)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


def import_cupy_from(source: Callable[[], Any], patch: pytest.MonkeyPatch) -> None:
    def import_or_fake(name: str) -> Any:
        return source() if name == "cupy" else import_module(name)

    patch.setattr(cupy, "import_module", import_or_fake)


@pytest.fixture(autouse=True)
def fallback_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARRAYMLP_FALLBACK", raising=False)


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    import_cupy_from(absent, monkeypatch)


# Names and devices


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("numpy", None, "cpu"),
        ("numpy", "cpu", "cpu"),
        ("array_api_strict", None, "CPU_DEVICE"),
        ("array_api_strict", "CPU_DEVICE", "CPU_DEVICE"),
        ("array_api_strict", "device1", "device1"),
        ("array_api_strict", "device2", "device2"),
        ("array_api_strict", "no_float64", "no_float64"),
        ("torch", None, "cpu"),
        ("torch", "cpu", "cpu"),
        ("jax", "cpu", "cpu:0"),
        ("jax", "cpu:0", "cpu:0"),
        ("cupy", None, "cuda:0"),
        ("cupy", 0, "cuda:0"),
        ("cupy", "0", "cuda:0"),
        ("cupy", "cuda", "cuda:0"),
        ("cupy", "gpu", "cuda:0"),
        ("cupy", "cuda:0", "cuda:0"),
        ("cupy", "gpu:0", "cuda:0"),
    ],
)
def test_names_and_devices(name: str, device: Any, expected: str) -> None:
    backend = resolve_or_skip(name, device)
    assert backend.name == name
    assert str(backend) == f"{name} {backend.version} on {expected}"


def test_a_backends_own_device_object_is_taken(backend: Backend) -> None:
    assert resolve(backend.name, backend.device, fallback=False) == backend


def test_arrays_are_made_on_the_device_asked_for(backend: Backend) -> None:
    made = backend.asarray([1.0], "float32")
    assert array_api_compat.device(made) == backend.device


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nunpy", "did you mean 'numpy'?"),
        ("NumPy", "did you mean 'numpy'?"),
        ("cuppy", "did you mean 'cupy'?"),
        ("tensorflow", ""),
        ("", ""),
        (None, ""),
        (["numpy"], ""),
    ],
)
def test_an_unknown_name_lists_what_there_is(name: Any, hint: str) -> None:
    with pytest.raises(ValueError, match="unknown backend") as caught:
        resolve(name)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)
    assert all(known in str(caught.value) for known in ("auto", *NAMES))


@pytest.mark.usefixtures("without_cupy")
@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("numpy", "gpu"),
        ("numpy", 0),
        ("cupy", "banana"),
        ("cupy", -1),
        ("cupy", "cuda:x"),
        ("cupy", 1.5),
        ("auto", "banana"),
        ("torch", "banana"),
        ("torch", "cuda:x"),
        ("torch", 1.5),
        ("torch", "meta"),
        ("jax", "banana"),
        ("jax", "cpu:x"),
        ("array_api_strict", "banana"),
        ("array_api_strict", 1),
    ],
)
def test_an_impossible_device_is_a_mistake_and_no_reason_to_fall_back(
    name: str, device: Any
) -> None:
    if name in ("torch", "jax"):
        resolve_or_skip(name)
    with pytest.raises(ValueError, match=str(device).rpartition(":")[2]):
        resolve(name, device)


def test_a_jax_device_beyond_the_last_is_named() -> None:
    resolve_or_skip("jax", "cpu")
    with pytest.raises(BackendUnavailableError, match="cpu:7"):
        resolve("jax", "cpu:7", fallback=False)


# Fallback


@pytest.mark.usefixtures("without_cupy")
def test_a_fallback_is_one_warning_with_cause_and_remedy_at_the_callers_line() -> None:
    with pytest.warns(BackendFallbackWarning) as record:
        backend = resolve("cupy")
    assert backend == resolve("numpy")
    (warning,) = record
    assert warning.filename == __file__
    for words in ("the cupy backend cannot run here", ABSENT, INSTALL, "NumPy is used instead"):
        assert words in str(warning.message)


@pytest.mark.usefixtures("without_cupy")
def test_train_falls_back_with_one_warning_at_the_callers_line() -> None:
    with pytest.warns(BackendFallbackWarning, match=ABSENT) as record:
        run = train(**SMALL, backend="cupy")
    assert [warning.filename for warning in record] == [__file__]
    assert run.backend.name == "numpy"


@pytest.mark.usefixtures("without_cupy")
def test_every_call_warns_again() -> None:
    with pytest.warns(BackendFallbackWarning) as record:
        [resolve("cupy") for _ in range(3)]
    assert len(record) == 3


@pytest.mark.usefixtures("without_cupy")
def test_a_module_whose_name_begins_like_ours_is_not_ours() -> None:
    source = compile("resolve('cupy')", "the_users_file.py", "exec")
    with pytest.warns(BackendFallbackWarning) as record:
        exec(source, {"__name__": "arraymlp_experiments", "resolve": resolve})
    assert record[0].filename == "the_users_file.py"


@pytest.mark.usefixtures("without_cupy")
def test_the_error_has_the_same_words_as_the_warning() -> None:
    with pytest.warns(BackendFallbackWarning) as record:
        resolve("cupy")
    with pytest.raises(BackendUnavailableError) as caught:
        resolve("cupy", fallback=False)
    assert str(record[0].message) == f"{caught.value}. NumPy is used instead."


@pytest.mark.usefixtures("without_cupy")
@pytest.mark.parametrize("call", [resolve, lambda name: train(**SMALL, backend=name)])
def test_the_environment_can_forbid_the_fallback(
    call: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARRAYMLP_FALLBACK", "error")
    with pytest.raises(BackendUnavailableError, match=ABSENT):
        call("cupy")


# "auto"


def test_auto_follows_device_arrays(backend: Backend) -> None:
    if backend.name == "numpy":
        pytest.skip("NumPy arrays are on the host: they decide nothing")
    assert resolve("auto", like=backend.asarray([1.0], "float32")) == backend


@pytest.mark.parametrize("like", [None, [1.0], np.ones(2)], ids=["nothing", "list", "NumPy"])
def test_auto_is_numpy_for_host_data_without_cupy(
    like: Any, without_cupy: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="arraymlp"):
        assert resolve("auto", like=like).name == "numpy"
    assert ABSENT in caplog.text
    assert "backend: numpy" in caplog.text


def test_auto_is_cupy_for_host_data_where_cupy_works() -> None:
    assert resolve("auto", like=np.ones(2)) == resolve_or_skip("cupy")


def test_auto_on_the_cpu_is_numpy() -> None:
    assert resolve("auto", "cpu").name == "numpy"


@pytest.mark.usefixtures("without_cupy")
def test_auto_on_a_gpu_means_cupy() -> None:
    with pytest.warns(BackendFallbackWarning, match="the cupy backend cannot run here"):
        resolve("auto", "cuda:0")


def test_auto_accepts_the_datas_own_device(strict_backend: Backend) -> None:
    like = strict_backend.asarray([1.0])
    assert resolve("auto", "device1", like=like) == strict_backend


def test_auto_refuses_another_device_than_the_datas(strict_backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"device1.*device2"):
        resolve("auto", "device2", like=strict_backend.asarray([1.0]))


def test_auto_refuses_a_missing_device_for_device_data() -> None:
    tensor = resolve_or_skip("torch").asarray([1.0])
    with pytest.raises(ValueError, match="cuda"):
        resolve("auto", "cuda", like=tensor)


# A CuPy that is installed and does not work. Fakes stand in for the failures only.


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime raises it."""


class DynamicLibNotFoundError(RuntimeError):
    """As cupy raises it where NVRTC is missing."""


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: object) -> None:
        raise error

    return fail


class Matrix(np.ndarray):
    def get(self) -> np.ndarray:
        return np.asarray(self)


class NoCompiler(Matrix):
    __mul__ = failing(DynamicLibNotFoundError("Failure finding libnvrtc.so\nSearched: /usr"))


class NoCublas(Matrix):
    __matmul__ = failing(ImportError("libcublas.so.12: cannot open shared object file"))


class Device:
    def __init__(self, number: int) -> None:
        self.id = number

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *error: object) -> None: ...


def fake_cupy(
    count: Callable[[], int] = lambda: 2, matrix: type = Matrix, one: float = 1
) -> SimpleNamespace:
    return SimpleNamespace(
        __version__="14.0",
        float32=np.float32,
        ones=lambda shape, dtype: np.full(shape, one, dtype).view(matrix),
        cuda=SimpleNamespace(Device=Device, runtime=SimpleNamespace(getDeviceCount=count)),
    )


NO_DRIVER = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
FAULTS = {
    "import": (failing(ImportError("libcuda.so.1: not found")), "ImportError: libcuda.so.1"),
    "driver": (
        lambda: fake_cupy(count=failing(NO_DRIVER)),
        "CUDARuntimeError: cudaErrorInsufficientDriver",
    ),
    "no device": (lambda: fake_cupy(count=lambda: 0), "there is no CUDA device 0: 0 found"),
    "compiler": (
        lambda: fake_cupy(matrix=NoCompiler),
        "DynamicLibNotFoundError: Failure finding libnvrtc.so",
    ),
    "cuBLAS": (lambda: fake_cupy(matrix=NoCublas), "ImportError: libcublas.so.12"),
    "results": (lambda: fake_cupy(one=0), "CUDA device 0 computes wrong results"),
}


@pytest.fixture
def unchecked() -> Iterator[None]:
    """A device found good before must be looked at again, and none may count as good after."""
    cupy.require_working.cache_clear()
    yield
    cupy.require_working.cache_clear()


@pytest.fixture(params=FAULTS)
def reason(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> str:
    """Install a CuPy with this fault; return the words that must be told of it."""
    source, words = FAULTS[request.param]
    import_cupy_from(source, monkeypatch)
    return words


def test_a_fallback_from_a_broken_cupy_tells_the_cause(reason: str) -> None:
    with pytest.warns(BackendFallbackWarning) as record:
        assert resolve("cupy").name == "numpy"
    (warning,) = record
    assert reason in str(warning.message)
    assert INSTALL in str(warning.message)
    assert "\n" not in str(warning.message)


def test_auto_passes_a_broken_cupy_by_in_silence(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="arraymlp"):
        assert resolve("auto").name == "numpy"
    assert reason in caplog.text


def test_a_broken_cupy_is_listed_with_the_cause(reason: str) -> None:
    (status,) = (status for status in available_backends() if status.name == "cupy")
    assert not status.available
    assert reason in status.reason
    assert INSTALL in status.install


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("device", [3, "3", "cuda:3", "gpu:3", Device(3)], ids=named)
def test_a_device_number_beyond_the_last_falls_back(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_cupy_from(fake_cupy, monkeypatch)
    with pytest.warns(BackendFallbackWarning, match="there is no CUDA device 3: 2 found"):
        resolve("cupy", device)


# What there is


def test_every_backend_is_listed_available_or_with_a_reason() -> None:
    statuses = available_backends()
    assert [status.name for status in statuses] == list(NAMES)
    for status in statuses:
        if status.available:
            assert status.version
            assert status.device
            assert not status.reason
            assert not status.install
        else:
            assert status.reason
            assert "pip install" in status.install
            assert not status.version


def test_what_is_listed_as_available_resolves() -> None:
    for status in available_backends():
        if status.available:
            assert resolve(status.name, fallback=False).version == status.version


@pytest.mark.usefixtures("without_cupy")
def test_an_absent_backend_is_listed_as_such() -> None:
    status = available_backends()[1]
    assert (status.available, status.reason) == (False, ABSENT)
    assert INSTALL in status.install


# Arrays in and out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_values_come_back_as_they_went_in(
    backend: Backend, shape: tuple[int, ...], dtype: str
) -> None:
    values = np.random.default_rng(1).integers(-9, 9, shape).astype(dtype)
    there = backend.asarray(values)
    back = backend.to_numpy(there)
    assert array_api_compat.device(there) == backend.device
    assert type(back) is np.ndarray
    assert back.dtype == dtype
    assert back.shape == shape
    assert (back == values).all()


@pytest.mark.parametrize(
    "form",
    [
        lambda a: a.tolist(),
        np.asfortranarray,
        lambda a: a[::-1, ::-1],
        lambda a: a[:, ::2],
        lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
        lambda a: a.astype(">f4"),
        lambda a: a.astype("uint8"),
    ],
    ids=["list", "Fortran", "reversed", "strided", "read-only", "big-endian", "uint8"],
)
def test_any_layout_of_host_data_is_taken(backend: Backend, form: Callable[..., Any]) -> None:
    values = form(np.arange(12, dtype=np.float32).reshape(3, 4))
    back = backend.to_numpy(backend.asarray(values, "float32"))
    assert back.dtype == "float32"
    assert (back == np.asarray(values)).all()


def test_a_copy_shares_no_memory(backend: Backend) -> None:
    host = np.ones(3, np.float32)
    first = backend.asarray(host, copy=True)
    second = backend.asarray(first, copy=True)
    host[:] = 2
    first *= 3
    assert (backend.to_numpy(second) == 1).all()


def test_an_array_of_this_backend_is_converted(backend: Backend) -> None:
    there = backend.asarray([1, 2], "int32")
    converted = backend.asarray(there, "float32")
    assert backend.to_numpy(converted).dtype == "float32"


def test_fetch_reads_many_shapes_in_one_transfer(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = []
    to_numpy = Backend.to_numpy

    def counting(self: Backend, array: Any) -> Any:
        transfers.append(array)
        return to_numpy(self, array)

    monkeypatch.setattr(Backend, "to_numpy", counting)
    values = [np.random.default_rng(2).normal(size=s).astype(np.float32) for s in SHAPES]
    fetched = backend.fetch([backend.asarray(v) for v in values])
    assert len(transfers) == 1
    assert len(fetched) == len(values)
    for actual, expected in zip(fetched, values, strict=True):
        assert actual.shape == expected.shape
        assert (actual == expected).all()


def test_fetch_of_nothing_is_nothing(backend: Backend) -> None:
    assert backend.fetch([]) == []


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_jax_without_x64_refuses_64_bits_and_names_the_setting(dtype: str) -> None:
    backend = resolve_or_skip("jax", "cpu")
    if import_module("jax").config.jax_enable_x64:
        pytest.skip("x64 is on")
    with pytest.raises(ValueError, match=rf"{dtype}.*jax_enable_x64"):
        backend.asarray([1], dtype)


def test_jax_without_x64_does_not_train_in_float64() -> None:
    resolve_or_skip("jax", "cpu")
    if import_module("jax").config.jax_enable_x64:
        pytest.skip("x64 is on")
    with pytest.raises(ValueError, match="jax_enable_x64"):
        train(**SMALL, backend="jax", device="cpu", dtype="float64")


def test_a_device_without_float64_refuses_it() -> None:
    backend = resolve("array_api_strict", "no_float64", fallback=False)
    with pytest.raises(ValueError, match=r"no_float64 has no float64"):
        backend.asarray([1.0], "float64")
    assert backend.to_numpy(backend.asarray([1.5], "float32")) == [1.5]


def test_require_accepts_its_own(backend: Backend) -> None:
    backend.require(backend.asarray([1.0], "float32"))


def test_an_array_from_another_backend_is_refused_and_both_are_named(
    strict_backend: Backend,
) -> None:
    other = resolve("numpy")
    foreign = strict_backend.asarray([1.0])
    for refuse in (other.require, other.asarray):
        with pytest.raises(ValueError, match=r"array_api_strict, device device1.*numpy.*cpu"):
            refuse(foreign)


def test_an_array_from_another_device_is_refused_and_both_are_named(
    strict_backend: Backend,
) -> None:
    foreign = resolve("array_api_strict", "device2").asarray([1.0])
    for refuse in (strict_backend.require, strict_backend.asarray):
        with pytest.raises(ValueError, match=r"device device2.*device device1"):
            refuse(foreign)


def test_require_says_what_it_refuses(strict_backend: Backend) -> None:
    with pytest.raises(ValueError, match="the validation X is on array_api_strict"):
        resolve("numpy").require(strict_backend.asarray([1.0]), "the validation X")


@pytest.mark.parametrize(
    ("kind", "device", "is_accelerator"),
    [
        (Backend, "cpu", False),
        (StrictBackend, "device1", False),
        (CupyBackend, Device(0), True),
        (TorchBackend, SimpleNamespace(type="cpu"), False),
        (TorchBackend, SimpleNamespace(type="cuda"), True),
        (TorchBackend, SimpleNamespace(type="mps"), True),
        (JaxBackend, SimpleNamespace(platform="cpu"), False),
        (JaxBackend, SimpleNamespace(platform="gpu"), True),
    ],
    ids=named,
)
def test_any_device_but_the_cpu_is_an_accelerator(
    kind: type[Backend], device: Any, is_accelerator: bool
) -> None:
    assert kind("name", np, device, "1").is_accelerator is is_accelerator
