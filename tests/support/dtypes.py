"""The floating-point dtypes that a test goes through on a backend, one after another."""

from arraymlp import Backend


def dtypes_of(backend: Backend) -> list[str]:
    """Those of the two that the backend has: JAX, as it is by default, has float32 alone."""
    return [name for name in ("float32", "float64") if backend.has(name)]
