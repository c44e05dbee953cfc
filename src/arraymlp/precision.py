"""Precision: how far the factors of a training step's matrix products are rounded, and where.

    ======= ======================================== ===================== =========================
    name    factors of the products                  bits after the point  backends
    ======= ======================================== ===================== =========================
    float32 as they are, also of float64             23 (52)               all
    tf32    rounded by the GPU as it reads them      10                    CuPy; torch, JAX on CUDA
    bf16    rounded copies                           7                     CuPy
    ======= ======================================== ===================== =========================

Weights, sums, activations, the optimiser's state and its updates stay in float32, and so does all
evaluation and prediction. Rounding needs a GPU of compute capability 8.0 (Ampere) or later.
"""

from collections.abc import Callable
from typing import Any

from arraymlp.backend import Backend

PRECISIONS = ("float32", "tf32", "bf16")
FULL = PRECISIONS[0]
_OFFERED = {"cupy": ("tf32", "bf16"), "torch": ("tf32",), "jax": ("tf32",)}


def require_precision(backend: Backend, precision: str, fast: bool) -> None:
    """A ValueError where a backend's training step cannot compute in that precision.

    Args:
        backend: where.
        precision: one of ``PRECISIONS``.
        fast: whether the backend's own fast step may be taken.
    """
    if precision == FULL:
        return
    asked = f"precision={precision!r}"
    if (found := backend.compute_capability()) < 8:
        reason = f": compute capability {found}, and 8.0 is needed" if found else ""
        raise ValueError(
            f"{backend} computes in full precision only{reason}. {asked} needs a CUDA device, by "
            f"{' or '.join(name for name, known in _OFFERED.items() if precision in known)}"
        )
    if precision not in _OFFERED[backend.name]:
        raise ValueError(f"{asked} is CuPy's: {backend} offers {', '.join(_OFFERED[backend.name])}")
    if backend.name == "cupy" and not fast:
        raise ValueError(
            f"{asked} needs CuPy's fast step: the generic one (fast=False, as in the preset 'lab') "
            "computes in full precision only"
        )


def in_precision(step: Callable[..., Any], backend: Backend, precision: str) -> Callable[..., Any]:
    """The generic step as torch or JAX does it in that precision; see `require_precision`."""
    if precision == FULL:
        return step

    def rounding_step(*args: Any) -> Any:
        with backend.rounding():
            return step(*args)

    return rounding_step
