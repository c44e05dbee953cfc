"""A backend works, or says why not: names, devices, fallbacks, and what there is."""

import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    NoSuchDeviceError,
    available_backends,
    register_backend,
    resolve,
    train,
)
from arraymlp.backends import cupy, registry
from conftest import named

NAMES = ("numpy", "cupy", "torch", "jax", "array_api_strict")
ABSENT = "cupy is not installed"
INSTALL = "pip install 'cupy-cuda13x[ctk]'"

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
        ("numpy", 10**30),
        ("cupy", "banana"),
        ("cupy", -1),
        ("cupy", "cuda:x"),
        ("cupy", 1.5),
        ("auto", "banana"),
        ("torch", "banana"),
        ("torch", "cuda:x"),
        ("torch", 1.5),
        ("torch", 10**30),
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
    copy = failing(DynamicLibNotFoundError("Failure finding libnvrtc.so\nSearched: /usr"))


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
        __version__="14.1.0",
        asarray=lambda values: (one * values).view(matrix),
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


# A backend of one's own


class OwnBackend(Backend):
    """array_api_strict once more, under another name."""

    @property
    def device_name(self) -> str:
        return next(name for name, device in own_devices().items() if device == self.device)

    def to_numpy(self, array: Any) -> Any:
        strict = import_module("array_api_strict")
        return np.asarray(strict.asarray(array, device=own_devices()["CPU_DEVICE"]))


def own_devices() -> dict[str, Any]:
    strict = import_module("array_api_strict")
    return {name: strict.Device(name) for name in ("CPU_DEVICE", "device1")}


def load_own(device: Any) -> Backend:
    strict = import_module("array_api_strict")
    if device == "broken":
        raise RuntimeError("it is broken")
    if isinstance(device, str) and device not in own_devices():
        raise NoSuchDeviceError(f"there is no device {device}")
    device = "device1" if device is None else device
    there = own_devices()[device] if isinstance(device, str) else device
    return OwnBackend("own", strict, there, strict.__version__)


def owns_own(array: object) -> bool:
    return type(array).__module__.startswith("array_api_strict")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, strict_backend: Backend) -> str:
    monkeypatch.setattr(registry, "LIBRARIES", registry.LIBRARIES)  # what is there comes back
    monkeypatch.setattr(registry, "_WORKING", registry._WORKING)
    register_backend("own", load_own, owns_own, "pip install own")
    return "own"


def test_a_registered_backend_trains_and_owns_its_arrays(own: str) -> None:
    run = train(**SMALL, backend=own)
    assert run.backend.name == run.network.backend.name == own
    assert run.engine == "array"
    expected = train(**SMALL, backend="array_api_strict", device="device1").network
    assert (run.network.predict_proba(X) == expected.predict_proba(X)).all()
    assert run.network.to("numpy").backend.name == "numpy"


def test_a_registered_backend_follows_its_data(own: str) -> None:
    x = resolve(own).asarray(X, "float32")
    run = train(**SMALL | {"X": x})
    assert run.backend.name == own
    assert type(run.network.predict(x)) is type(x)


def test_a_registered_backend_is_listed_and_pickled(own: str) -> None:
    (status,) = [status for status in available_backends() if status.name == own]
    assert status.available
    backend = resolve(own)
    assert pickle.loads(pickle.dumps(backend)) == backend


def test_a_registered_backend_that_cannot_run_says_why(own: str) -> None:
    with pytest.raises(BackendUnavailableError, match=r"cannot run here.*it is broken"):
        resolve(own, "broken", fallback=False)
    with pytest.raises(NoSuchDeviceError, match="there is no device device9"):
        resolve(own, "device9")
    assert resolve(own, "CPU_DEVICE").device_name == "CPU_DEVICE"


def test_a_name_registered_again_means_the_new_one(own: str) -> None:
    def absent(device: Any) -> Backend:
        raise ModuleNotFoundError("No module named 'own'", name="own")

    assert resolve(own).name == own
    register_backend(own, absent, lambda array: False, "pip install own")
    with pytest.warns(BackendFallbackWarning, match="to install it: pip install own"):
        assert resolve(own).name == "numpy"


@pytest.mark.parametrize("wrong", [None, "own", Backend("other", np, "cpu", "1")])
def test_a_load_that_gives_no_backend_of_its_name_is_a_mistake(own: str, wrong: Any) -> None:
    register_backend(own, lambda device: wrong, owns_own)
    with pytest.raises(TypeError, match="must give a Backend of that name"):
        resolve(own)


def test_without_registration_an_unpickled_backend_says_what_to_do(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(resolve(own))
    monkeypatch.undo()
    with pytest.raises(BackendUnavailableError, match=r"call arraymlp\.register_backend first"):
        pickle.loads(pickled)


def test_numpys_arrays_stay_numpys(own: str) -> None:
    def owns_everything(array: object) -> bool:
        raise AssertionError("asked of an array of NumPy's")

    register_backend(own, load_own, owns_everything)
    assert train(**SMALL, backend="numpy").backend.name == "numpy"


def test_others_may_resolve_while_one_registers(own: str) -> None:
    def resolve_often() -> set[str]:
        return {resolve(own).name for _ in range(200)}

    with ThreadPoolExecutor(2) as pool:
        several = [pool.submit(resolve_often) for _ in range(2)]
        for _ in range(200):
            register_backend(own, load_own, owns_own)
        assert [one.result() for one in several] == [{own}] * 2


@pytest.mark.parametrize("name", ["auto", "numpy", "cupy", "", "my backend", "1st", 1])
def test_a_backends_name_is_an_identifier_of_its_own(own: str, name: Any) -> None:
    with pytest.raises(ValueError, match="a backend's name must be an identifier"):
        register_backend(name, load_own, owns_own)


def test_what_is_registered_can_be_called(own: str) -> None:
    with pytest.raises(TypeError, match="load and owns must be functions"):
        register_backend(own, None, owns_own)  # type: ignore[arg-type]
