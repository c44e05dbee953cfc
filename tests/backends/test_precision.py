"""The setting ``precision``: what it allows, who refuses it, and that it leaves no trace."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, resolve, sweep, train
from arraymlp.activations import ACTIVATIONS, Activation
from arraymlp.app.sweeps.values import values
from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.cupy import CupyBackend
from arraymlp.backends.jax import JaxBackend
from arraymlp.backends.precision import PRECISIONS, require_precision
from arraymlp.backends.torch import TorchBackend
from arraymlp.sweeps.stacking import stacking_key
from arraymlp.training.settings import Settings
from arraymlp.training.setup import merge_settings

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
LITTLE: dict[str, Any] = {"hidden": (2,), "epochs": 1, "batch_size": 10, "backend": "numpy"}
ON_CUDA = {
    "cupy": (CupyBackend, SimpleNamespace(id=0)),
    "torch": (TorchBackend, "cuda:0"),
    "jax": (JaxBackend, "cuda:0"),
}


def test_float32_is_the_default_and_every_backend_has_it(quick_backend: Backend) -> None:
    assert Settings().precision == "float32"
    require_precision(quick_backend, "float32", None)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="'tf32'"):
        Settings(precision="tf23")  # type: ignore[arg-type]


def test_double_precision_is_not_rounded() -> None:
    Settings(dtype="float64")
    with pytest.raises(ValueError, match="precision='bf16' rounds float32, and the dtype is float"):
        Settings(dtype="float64", precision="bf16")
    double = train(X, Y, dtype="float64", **LITTLE)
    with pytest.raises(ValueError, match="the dtype is float64"):
        train(X, Y, network=double.network, precision="tf32", backend="numpy")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "jax"])
def test_what_computes_on_a_processor_refuses(name: str, precision: str) -> None:
    if name not in ("numpy", "array_api_strict"):
        pytest.importorskip(name)
    backend = resolve(name, None if name in ("numpy", "array_api_strict") else "cpu")
    with pytest.raises(ValueError, match=f"full precision only.*{precision}.* needs a CUDA device"):
        require_precision(backend, precision, PRECISIONS)


@pytest.mark.parametrize(
    ("name", "capability", "precision", "engine", "words"),
    [
        ("cupy", 9.0, "tf32", PRECISIONS, ""),
        ("cupy", 8.0, "bf16", PRECISIONS, ""),
        ("cupy", 9.0, "bf16", None, r"needs the engine for CUDA \(there is none\)"),
        ("cupy", 9.0, "tf32", None, r"needs the engine for CUDA \(there is none\)"),
        ("cupy", 7.5, "tf32", PRECISIONS, "compute capability 7.5, and 8.0 is needed"),
        ("torch", 9.0, "tf32", None, ""),
        ("torch", 9.0, "bf16", None, "'bf16' is CuPy's: torch 1 on cuda:0 offers tf32"),
        ("jax", 9.0, "tf32", None, ""),
        ("jax", 9.0, "bf16", None, "is CuPy's"),
        ("jax", 7.0, "tf32", None, "compute capability 7.0"),
    ],
)
def test_who_computes_in_which(
    name: str,
    capability: float,
    precision: str,
    engine: tuple[str, ...] | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, device = ON_CUDA[name]
    monkeypatch.setattr(kind, "compute_capability", capability)
    backend = kind(name, np, device, "1")
    if not words:
        require_precision(backend, precision, engine, "there is none")
        return
    with pytest.raises(ValueError, match=words):
        require_precision(backend, precision, engine, "there is none")


def test_a_backend_without_a_setting_refuses_to_round(numpy_backend: Backend) -> None:
    with pytest.raises(NotImplementedError, match="has no setting that rounds"):
        numpy_backend.rounding()


def seen_in_training(name: str, look: Callable[[], str]) -> dict[int, set[str]]:
    """Train in TF32; what a hidden layer sees with minibatches of 10 rows, and 20 to validate."""
    relu, seen = ACTIVATIONS["relu"], dict[int, set[str]]()

    def watching(s: Array, xp: Namespace) -> Array:
        if int(s.shape[-2]) in (10, 20):  # it is tried on other rows before
            seen.setdefault(int(s.shape[-2]), set()).add(look())
        return relu.function(s, xp)

    activation = Activation("watching", watching, relu.derivative)
    given = {**LITTLE, "backend": name, "activation": activation, "validation": (X, Y)}
    train(X, Y, precision="tf32", **given)
    return seen


def test_torchs_products_round_in_the_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(TorchBackend, "compute_capability", 9.0)
    seen = seen_in_training("torch", torch.get_float32_matmul_precision)
    assert seen == {10: {"high"}, 20: {"highest"}}
    assert torch.get_float32_matmul_precision() == "highest"


def test_torchs_setting_is_restored_by_the_last_that_rounds() -> None:
    torch = pytest.importorskip("torch")
    backend = resolve("torch", fallback=False)
    with backend.rounding():
        with pytest.raises(ZeroDivisionError), backend.rounding():
            raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


def test_jaxs_products_round_in_the_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(JaxBackend, "compute_capability", 9.0)
    seen = seen_in_training("jax", lambda: jax.config.jax_default_matmul_precision)
    assert seen == {10: {"tensorfloat32"}, 20: {"highest"}}


def test_populations_share_it() -> None:
    keys = [stacking_key(Settings(precision=name)) for name in ("float32", "tf32")]  # type: ignore[arg-type]
    assert [key["precision"] for key in keys] == ["float32", "tf32"]
    assert {**keys[0], "precision": "tf32"} == keys[1]


def test_it_is_among_a_sweeps_settings_and_the_command_lines() -> None:
    assert values("precision", "float32,tf32") == ["float32", "tf32"]
    result = sweep(X, Y, **LITTLE)
    assert result.members[0].settings["precision"] == "float32"
    with pytest.raises(ValueError, match="unknown precision 'tf23'"):
        sweep(X, Y, precision=["float32", "tf23"], **LITTLE)


def test_a_runs_repr_tells_of_it() -> None:
    run = train(X, Y, **LITTLE)
    assert "float32, numpy" in repr(run)
    assert "tf32" not in repr(run)
    run.settings = run.settings.updated({"precision": "tf32"})
    assert ">, tf32, " in repr(run)


def test_a_run_goes_on_in_its_precision() -> None:
    run = train(X, Y, **LITTLE)
    run.settings = run.settings.updated({"precision": "tf32"})
    given = dict.fromkeys(("hidden", "activation", "loss", "initializer", "dtype", "seed"))
    assert merge_settings(given, "default", run.network, run).precision == "tf32"


def test_training_on_the_host_refuses() -> None:
    with pytest.raises(ValueError, match="computes in full precision only"):
        train(X, Y, precision="tf32", **LITTLE)
