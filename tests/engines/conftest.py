"""Fixtures of the tests of the fused CUDA kernels: the places to run them."""

import pytest

from arraymlp import BackendUnavailableError, resolve
from arraymlp.engines.cuda.clusters import COMPUTE_CAPABILITY
from conftest import SELECTED
from fused_cases import ON_GPU, ON_HOST, Kernels, kernels_of


def on_gpu() -> list[str]:
    """The places on a GPU, where there may be one; clusters where it is known to have them."""
    if "cupy" not in SELECTED:
        return []
    try:
        capability = resolve("cupy", fallback=False).compute_capability
    except BackendUnavailableError:
        capability = 0.0
    return ON_GPU if capability >= COMPUTE_CAPABILITY else ["cupy"]


@pytest.fixture(params=[*ON_HOST, "clusters", *on_gpu()], scope="module")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels in every way in which they run here."""
    return kernels_of(request.param)


@pytest.fixture(params=[*ON_HOST, *(["cupy"] if "cupy" in SELECTED else [])], scope="module")
def by_three_kernels(request: pytest.FixtureRequest) -> Kernels:
    """Those of three kernels a step, which alone are cut for any device."""
    return kernels_of(request.param)


@pytest.fixture(params=ON_HOST, scope="module")
def host_kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels on the host, in both ways."""
    return kernels_of(request.param)


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    """Tell ci/gpu which tests are CuPy's."""
    callspec = getattr(request.node, "callspec", None)
    where = {"kernels", "by_three_kernels"}
    if callspec is not None and {callspec.params.get(name) for name in where} & {*ON_GPU}:
        request.node.user_properties.append(("backend", "cupy"))
