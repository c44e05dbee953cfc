"""The setting ``precision``: what it allows, who refuses it, and that it leaves no trace."""

from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, resolve, sweep, train
from arraymlp.app.sweeps.values import values
from arraymlp.backends.precision import in_precision, require_precision
from arraymlp.sweeps.stacking import kind, resolved
from arraymlp.training.settings import Settings
from arraymlp.training.setup import merge_settings

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


class OnCuda:
    """A backend as the functions here see it, with a device of some compute capability."""

    def __init__(self, name: str, capability: float) -> None:
        self.name, self.compute_capability = name, lambda: capability

    def __str__(self) -> str:
        return f"{self.name} on cuda:0"


def test_float32_is_the_default_and_every_backend_has_it(quick_backend: Backend) -> None:
    assert Settings().precision == "float32"
    require_precision(quick_backend, "float32", engine="array")


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="'tf32'"):
        Settings(precision="tf23")  # type: ignore[arg-type]


def test_double_precision_is_not_rounded() -> None:
    Settings(dtype="float64")
    with pytest.raises(ValueError, match="precision='bf16' rounds float32, and the dtype is float"):
        Settings(dtype="float64", precision="bf16")
    double = train(X, Y, hidden=(2,), epochs=1, batch_size=10, dtype="float64", backend="numpy")
    with pytest.raises(ValueError, match="the dtype is float64"):
        train(X, Y, network=double.network, precision="tf32", backend="numpy")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "jax"])
def test_what_computes_on_a_processor_refuses(name: str, precision: str) -> None:
    if name not in ("numpy", "array_api_strict"):
        pytest.importorskip(name)
    backend = resolve(name, None if name in ("numpy", "array_api_strict") else "cpu")
    with pytest.raises(ValueError, match=f"full precision only.*{precision}.* needs a CUDA device"):
        require_precision(backend, precision, engine="auto")


@pytest.mark.parametrize(
    ("name", "capability", "precision", "fast", "words"),
    [
        ("cupy", 9.0, "tf32", True, ""),
        ("cupy", 8.0, "bf16", True, ""),
        ("cupy", 9.0, "bf16", False, "needs CuPy's fast step"),
        ("cupy", 7.5, "tf32", True, "compute capability 7.5, and 8.0 is needed"),
        ("torch", 9.0, "tf32", False, ""),
        ("torch", 9.0, "bf16", True, "'bf16' is CuPy's: torch on cuda:0 offers tf32"),
        ("jax", 9.0, "tf32", True, ""),
        ("jax", 9.0, "bf16", True, "is CuPy's"),
        ("jax", 7.0, "tf32", True, "compute capability 7.0"),
    ],
)
def test_who_computes_in_which(
    name: str, capability: float, precision: str, fast: bool, words: str
) -> None:
    backend: Any = OnCuda(name, capability)
    if not words:
        require_precision(backend, precision, fast)
        return
    with pytest.raises(ValueError, match=words):
        require_precision(backend, precision, fast)


def test_torchs_products_round_in_the_step_alone() -> None:
    torch = pytest.importorskip("torch")
    seen = []

    def step(value: int) -> int:
        seen.append(torch.get_float32_matmul_precision())
        if value < 0:
            raise ZeroDivisionError
        return value

    backend = resolve("torch", fallback=False)
    rounding = in_precision(step, backend, "tf32")
    assert rounding(3) == 3
    with pytest.raises(ZeroDivisionError):
        rounding(-1)
    assert seen == ["high", "high"]
    assert torch.get_float32_matmul_precision() == "highest"
    assert in_precision(step, backend, "float32") is step


def test_jaxs_products_round_in_the_step_alone() -> None:
    jax = pytest.importorskip("jax")
    backend = resolve("jax", fallback=False)
    rounding = in_precision(lambda: jax.config.jax_default_matmul_precision, backend, "tf32")
    with backend.active():
        assert jax.config.jax_default_matmul_precision == "highest"
        assert rounding() == "tensorfloat32"
        assert jax.config.jax_default_matmul_precision == "highest"


def test_populations_share_it() -> None:
    kinds = [kind(resolved(Settings(precision=name))) for name in ("float32", "tf32")]  # type: ignore[arg-type]
    assert [found["precision"] for found in kinds] == ["float32", "tf32"]
    assert {**kinds[0], "precision": "tf32"} == kinds[1]


def test_it_is_among_a_sweeps_settings_and_the_command_lines() -> None:
    assert values("precision", "float32,tf32") == ["float32", "tf32"]
    given: dict[str, Any] = {"hidden": (2,), "epochs": 1, "batch_size": 10, "backend": "numpy"}
    result = sweep(X, Y, **given)
    assert result.members[0].settings["precision"] == "float32"
    with pytest.raises(ValueError, match="unknown precision 'tf23'"):
        sweep(X, Y, precision=["float32", "tf23"], **given)


def test_a_runs_repr_tells_of_it() -> None:
    run = train(X, Y, hidden=(2,), epochs=1, batch_size=10, backend="numpy")
    assert "float32, numpy" in repr(run)
    assert "tf32" not in repr(run)
    run.settings = run.settings.updated({"precision": "tf32"})
    assert ">, tf32, " in repr(run)


def test_a_run_goes_on_in_its_precision() -> None:
    run = train(X, Y, hidden=(2,), epochs=1, batch_size=10, backend="numpy")
    run.settings = run.settings.updated({"precision": "tf32"})
    given = dict.fromkeys(("hidden", "activation", "loss", "initializer", "dtype", "seed"))
    assert merge_settings(given, "default", run.network, run).precision == "tf32"


def test_training_on_the_host_refuses() -> None:
    with pytest.raises(ValueError, match="computes in full precision only"):
        train(X, Y, hidden=(2,), epochs=1, batch_size=10, backend="numpy", precision="tf32")
