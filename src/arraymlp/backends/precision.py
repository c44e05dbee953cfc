"""Precision: how the factors of a training step's matrix products are rounded, by which backends.

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

from collections.abc import Sequence

from arraymlp.backends.backend import Backend

PRECISIONS = ("float32", "tf32", "bf16")
FULL = PRECISIONS[0]


def require_precision(
    backend: Backend, precision: str, engine_precisions: Sequence[str] | None, reason: str = ""
) -> None:
    """Raise a ValueError where a training step cannot compute in that precision.

    Args:
        backend: of the training.
        precision: one of ``PRECISIONS``.
        engine_precisions: what the engine that does the steps offers; None without an engine.
        reason: why there is no engine.
    """
    if precision == FULL:
        return
    setting = f"precision={precision!r}"
    capability = backend.compute_capability
    if capability < 8:
        lack = f": compute capability {capability}, and 8.0 is needed" if capability else ""
        where = {"tf32": "cupy or torch or jax", "bf16": "cupy"}[precision]
        raise ValueError(
            f"{backend} computes in full precision only{lack}. {setting} needs a CUDA device, by "
            f"{where}"
        )
    offered = backend.rounded_precisions if engine_precisions is None else engine_precisions
    if precision in offered:
        return
    if backend.name == "cupy":
        raise ValueError(
            f"{setting} needs the engine for CUDA ({reason}): array code on CuPy computes in full "
            "precision only"
        )
    raise ValueError(f"{setting} is CuPy's: {backend} offers {', '.join(offered)}")
