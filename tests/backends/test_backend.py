"""Arrays in and out of a backend: values, layouts, dtypes, devices, and what is refused."""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import array_api_compat
import numpy as np
import pytest

from arraymlp import Backend, BackendUnavailableError, resolve, train
from arraymlp.backends.cupy import CupyBackend
from arraymlp.backends.jax import JaxBackend
from arraymlp.backends.strict import StrictBackend
from arraymlp.backends.torch import TorchBackend
from conftest import named

SHAPES = ((), (1,), (0,), (2, 3), (2, 0, 4))
X = np.random.default_rng(0).normal(size=(6, 2))
SMALL: dict[str, Any] = {"X": X, "y": [0, 1] * 3, "hidden": (2,), "epochs": 1, "batch_size": 3}


def resolve_or_skip(name: str, device: Any = None) -> Backend:
    try:
        return resolve(name, device, fallback=False)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


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
        (CupyBackend, SimpleNamespace(id=0), True),
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


@pytest.mark.parametrize("kind", [Backend, StrictBackend, CupyBackend, TorchBackend, JaxBackend])
def test_a_backend_is_a_key_whatever_its_device(kind: type[Backend]) -> None:
    def on(number: int) -> Backend:
        return kind("name", np, SimpleNamespace(id=number), "1")  # without a hash, as CuPy's device

    assert on(0) == on(0)
    assert on(0) != on(1)
    assert len({on(0), on(0), on(1)}) == 2
