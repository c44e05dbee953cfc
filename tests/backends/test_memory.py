"""A lack of memory is told in words: what was asked for, what there is, and what helps."""

import re
from typing import Any

import array_api_strict
import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, DeviceMemoryError, MultilayerPerceptron, sweep
from arraymlp.backends.memory import (
    host_memory,
    is_memory_error,
    memory_text,
    requested_memory,
)


def error_class(module: str, name: str, base: type[Exception]) -> type[Exception]:
    """A class such as a library has, without the library."""
    return type(name, (base,), {"__module__": module})


OF_CUPY = error_class("cupy.cuda.memory", "OutOfMemoryError", MemoryError)
OF_CUDA = error_class("cupy_backends.cuda.api.runtime", "CUDARuntimeError", RuntimeError)
OF_CUBLAS = error_class("cupy_backends.cuda.libs.cublas", "CUBLASError", RuntimeError)
OF_TORCH = error_class("torch", "OutOfMemoryError", RuntimeError)
OF_JAX = error_class("jax.errors", "JaxRuntimeError", RuntimeError)
OF_NUMPY = error_class("numpy._core._exceptions", "_ArrayMemoryError", MemoryError)

LACKS = {
    "cupy": (
        OF_CUPY("Out of memory allocating 4,294,967,296 bytes (allocated so far: 512 bytes)."),
        "4.0 GiB",
    ),
    "cuda": (OF_CUDA("cudaErrorMemoryAllocation: out of memory"), ""),
    "cublas": (OF_CUBLAS("CUBLAS_STATUS_ALLOC_FAILED"), ""),
    "torch": (
        OF_TORCH(
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 "
            "GiB of which 7.25 GiB is free."
        ),
        "20.00 GiB",
    ),
    "torch on the host": (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 40000000000000 bytes. Error code 12 (Cannot allocate "
            "memory)"
        ),
        "36.4 TiB",
    ),
    "jax": (
        OF_JAX("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1536 bytes."),
        "1.5 KiB",
    ),
    "jax on a GPU": (
        OF_JAX(
            "RESOURCE_EXHAUSTED: Failed to allocate request for 37.25GiB (40000000000B) on device "
            "ordinal 0"
        ),
        "37.25 GiB",
    ),
    "numpy": (
        OF_NUMPY(
            "Unable to allocate 7.28 TiB for an array with shape (1000000, 1000000) and data type "
            "float64"
        ),
        "7.28 TiB",
    ),
    "python": (MemoryError(), ""),
}
OTHERS = [
    RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"),
    OF_JAX("INVALID_ARGUMENT: allocate 12 bytes"),
    ValueError("RESOURCE_EXHAUSTED"),
    DeviceMemoryError("told already"),
]


@pytest.mark.parametrize("lack", LACKS)
def test_a_lack_of_memory_is_known_by_its_class_or_words(lack: str) -> None:
    error, requested = LACKS[lack]
    assert is_memory_error(error)
    assert requested_memory(error) == requested


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_none(error: Exception) -> None:
    assert not is_memory_error(error)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (2**30, "1.0 GiB"),
        (5 * 2**50, "5120.0 TiB"),
    ],
)
def test_an_amount_is_in_the_unit_that_fits(n: int, words: str) -> None:
    assert memory_text(n) == words


def test_the_hosts_free_memory_is_part_of_all() -> None:
    memory = host_memory()
    if memory is None:
        pytest.skip("this system does not tell its memory")
    assert 0 <= memory[0] <= memory[1]


# In a context


@pytest.mark.parametrize("lack", LACKS)
def test_every_lack_is_told_in_words(lack: str, numpy_backend: Backend) -> None:
    error, _ = LACKS[lack]
    with (
        pytest.raises(DeviceMemoryError, match=r"ran out of memory: .*\. So be it\.") as caught,
        numpy_backend.within_memory("So be it."),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_pass_as_they_are(backend: Backend) -> None:
    for error in OTHERS:
        with pytest.raises(type(error)) as caught, backend.within_memory("Nothing helps."):
            raise error
        assert caught.value is error


def test_a_real_lack_is_told_with_size_rest_and_remedy(backend: Backend) -> None:
    """400 TB: more than a process can address."""
    xp = backend.xp
    with (
        pytest.raises(DeviceMemoryError, match=r"\. Less is less\.$") as caught,
        backend.within_memory("Less is less."),
    ):
        xp.zeros((10**6, 10**8), dtype=xp.float32, device=backend.device)
    message = str(caught.value)
    assert message.startswith(f"{backend} ran out of memory: ")
    requested = re.search(r": ([\d.]+) TiB were asked for, ", message)
    assert requested is not None
    assert float(requested[1]) == pytest.approx(4e14 / 2**40, rel=0.01)
    if backend.memory() or host_memory():
        assert re.search(r", [\d.]+ [KMGT]iB of [\d.]+ [KMGT]iB are free\.", message)
    assert is_memory_error(caught.value.__cause__)  # type: ignore[arg-type]


def test_what_a_gpu_has_is_told_for_it(
    monkeypatch: pytest.MonkeyPatch, numpy_backend: Backend
) -> None:
    monkeypatch.setattr(Backend, "is_accelerator", True)
    monkeypatch.setattr(Backend, "memory", lambda self: (3 * 2**29, 2**34))
    with pytest.raises(DeviceMemoryError) as caught, numpy_backend.within_memory("So be it."):
        raise LACKS["cupy"][0]
    report = "ran out of memory: 4.0 GiB were asked for, 1.5 GiB of 16.0 GiB are free. So be it."
    assert str(caught.value) == f"{numpy_backend} {report}"


def test_the_hosts_lack_beside_a_gpu_is_told_of_the_host(
    monkeypatch: pytest.MonkeyPatch, numpy_backend: Backend
) -> None:
    """Initial values are drawn there."""
    monkeypatch.setattr(Backend, "is_accelerator", True)
    monkeypatch.setattr(arraymlp.backends.backend, "host_memory", lambda: (2**30, 2**31))
    with pytest.raises(DeviceMemoryError) as caught, numpy_backend.within_memory("So be it."):
        raise LACKS["numpy"][0]
    report = "ran out of memory: 7.28 TiB were asked for, 1.0 GiB of 2.0 GiB are free. So be it."
    assert str(caught.value) == f"the host {report}"


def test_without_any_figure_the_error_is_repeated(
    monkeypatch: pytest.MonkeyPatch, numpy_backend: Backend
) -> None:
    monkeypatch.setattr(arraymlp.backends.backend, "host_memory", lambda: None)
    words = r"memory: MemoryError: no message\. So be it"
    with (
        pytest.raises(DeviceMemoryError, match=words),
        numpy_backend.within_memory("So be it."),
    ):
        raise MemoryError


# At the public entries


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Exception:
    """Make array_api_strict's products lack memory, with CuPy's error."""
    error, _ = LACKS["cupy"]

    def matmul(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(array_api_strict, "matmul", matmul)
    return error


STRICT: dict[str, Any] = {"backend": "array_api_strict", "device": "device1", "hidden": (6, 5)}


def test_train_tells_it(strict_backend: Backend, lacking: Exception) -> None:
    with pytest.raises(DeviceMemoryError, match="A smaller batch_size, narrower") as caught:
        arraymlp.train(*problems.labels(), **STRICT, batch_size=8)
    assert caught.value.__cause__ is lacking


def test_sweep_tells_of_its_option(strict_backend: Backend, lacking: Exception) -> None:
    with pytest.raises(
        DeviceMemoryError, match="Up to 3 networks train at once: a smaller memory="
    ):
        sweep(*problems.labels(), **STRICT, batch_size=8, seed=range(3))
    with pytest.raises(DeviceMemoryError, match="A smaller batch_size, or narrower"):
        sweep(*problems.labels(), **STRICT, batch_size=8)


def test_predict_tells_it(strict_backend: Backend, lacking: Exception) -> None:
    network = MultilayerPerceptron.create((4, 5, 3), backend=strict_backend)
    for predict in (network.predict, network.predict_proba, network.logits):
        with pytest.raises(DeviceMemoryError, match="Fewer rows at a time need less"):
            predict(problems.labels()[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_estimators_tell_it(strict_backend: Backend, lacking: Exception, solver: str) -> None:
    pytest.importorskip("sklearn")
    model = arraymlp.MLPClassifier(solver=solver, backend=strict_backend)
    with pytest.raises(DeviceMemoryError, match="need less"):
        model.fit(*problems.labels())


def test_sweeping_in_threads_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arraymlp.sweeps.partition, "cores", lambda: 2)
    monkeypatch.setattr(arraymlp.sweeps.partition, "WORTH_A_THREAD", 1)

    def population(*args: Any, **given: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(arraymlp.sweeps.partition, "train_population", population)
    with pytest.raises(DeviceMemoryError, match="Up to 2 networks train at once"):
        sweep(*problems.labels(), hidden=(6, 5), batch_size=8, seed=range(4), backend="numpy")


def test_data_that_does_not_fit_is_told_of_windows(
    monkeypatch: pytest.MonkeyPatch, strict_backend: Backend
) -> None:
    asarray = array_api_strict.asarray

    def only_small(values: Any, **given: Any) -> Any:
        if np.size(values) > 50:
            raise LACKS["cupy"][0]
        return asarray(values, **given)

    monkeypatch.setattr(array_api_strict, "asarray", only_small)
    with pytest.raises(DeviceMemoryError, match=r"X as a numpy\.memmap, or as chunks"):
        arraymlp.train(*problems.labels(), **STRICT, batch_size=8)


def test_layers_that_do_not_fit_the_host_are_told_by_whoever_draws_them() -> None:
    wide = 100_000, 10**10  # 8 PB
    with pytest.raises(DeviceMemoryError, match=r"PiB were asked for, .*Narrower layers"):
        MultilayerPerceptron.create((4, *wide, 3))
    with pytest.raises(DeviceMemoryError, match="Narrower layers"):
        arraymlp.train(*problems.labels(), hidden=wide, batch_size=8, backend="numpy")
    pytest.importorskip("sklearn")
    with pytest.raises(DeviceMemoryError, match="Narrower layers"):
        arraymlp.MLPClassifier(wide).fit(*problems.labels())
